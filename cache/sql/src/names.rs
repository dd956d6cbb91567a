//! What a query can name: for completion, and for whoever looks around.

use std::collections::BTreeSet;

use datafusion::common::TableReference;
use datafusion::execution::context::SessionContext;

use crate::Result;
use crate::catalog::{CATALOG, Schemas};

/// The names of the teachers of a context that [`crate::open`] made, without their fingerprints; a run has none.
pub fn teachers(context: &SessionContext) -> BTreeSet<String> {
    let catalog = context.catalog(CATALOG);
    let schemas = catalog.as_ref().and_then(|catalog| catalog.downcast_ref::<Schemas>());
    schemas.map(Schemas::teachers).unwrap_or_default()
}

/// Tables, columns and functions, each as it is written in a query.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// Tables with their columns, in the order in which they are shown.
    pub tables: Vec<TableNames>,
    /// Functions, in the order of the alphabet.
    pub functions: Vec<String>,
}

/// A table and its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableNames {
    /// The table, with its schema where it is a teacher's.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<String>,
}

impl Names {
    /// The names of a context that [`crate::open`] made.
    ///
    /// # Errors
    /// If the columns of a table cannot be told: a file is damaged.
    pub async fn of(context: &SessionContext) -> Result<Self> {
        let catalog = context.catalog(CATALOG);
        let schemas = catalog.as_ref().and_then(|catalog| catalog.downcast_ref::<Schemas>());
        let mut tables = Vec::new();
        for name in schemas.map(Schemas::queryable).unwrap_or_default() {
            let schema = context.table_provider(TableReference::from(name.as_str())).await?.schema();
            let columns = schema.fields().iter().map(|field| field.name().clone()).collect();
            tables.push(TableNames { name, columns });
        }
        let state = context.state();
        let functions: BTreeSet<&String> = state
            .scalar_functions()
            .keys()
            .chain(state.aggregate_functions().keys())
            .chain(state.window_functions().keys())
            .chain(state.table_functions().keys())
            .collect();
        Ok(Self { tables, functions: functions.into_iter().cloned().collect() })
    }
}
