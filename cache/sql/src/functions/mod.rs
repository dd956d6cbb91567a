//! Functions over vectors and hashes: of a row, of many rows, and whole tables that are searched for.

mod aggregate;
mod arguments;
mod as_stored;
mod bytes;
mod duplicates;
mod found;
mod join;
mod nearest;
mod outliers;
mod places;
mod rank;
mod scalar;
mod selected;
mod sieve;
mod stored;
mod vector_table;
mod vectors;

use std::sync::Arc;

use datafusion::catalog::TableFunctionImpl;
use datafusion::execution::context::SessionContext;

pub use nearest::QueryEncoder;
pub(crate) use stored::{Pushed, StoredCall, values};

/// Makes all of them known to a context whose catalog is [`crate::catalog::Schemas`].
pub(crate) fn register(context: &SessionContext, encoder: Option<Arc<dyn QueryEncoder>>) {
    scalar::all().for_each(|function| context.register_udf(function));
    context.register_udf(bytes::octet_length());
    aggregate::all().for_each(|function| context.register_udaf(function));
    let tables: [(&str, Arc<dyn TableFunctionImpl>); 5] = [
        ("nearest", Arc::new(nearest::NearestFunction { encoder })),
        ("nearest_join", Arc::new(join::NearestJoinFunction)),
        ("near_duplicates", Arc::new(duplicates::NearDuplicatesFunction)),
        ("outliers", Arc::new(outliers::OutliersFunction)),
        ("selected_words", Arc::new(selected::SelectedWordsFunction)),
    ];
    for (name, function) in tables {
        context.register_udtf(name, function);
    }
}
