//! Files outside of the folder that was opened, where [`crate::Options::allow_external`] lets them in.
//!
//! `SELECT ... FROM 'file.parquet'` and `CREATE EXTERNAL TABLE` read them, `COPY ... TO` writes them. No checksum covers
//! what is read, and nothing is written into the folder itself: what is there is never edited in place.

mod copy;
mod parquet_file;

use std::path::Path;
use std::sync::Arc;

use datafusion::catalog::{TableProvider, UrlTableFactory};
use datafusion::common::{Result, plan_err};
use datafusion::datasource::dynamic_file::DynamicListTableFactory;
use datafusion::execution::context::SessionContext;

pub(crate) use copy::copy;

/// Endings of files that can be a table.
const ENDINGS: [&str; 4] = [".parquet", ".csv", ".json", ".ndjson"];
/// The name by which `CREATE EXTERNAL TABLE` knows Parquet.
const PARQUET: &str = "PARQUET";

/// Whether the name of a table is rather the path of a file.
pub(crate) fn is_path(name: &str) -> bool {
    name.contains('/') || ENDINGS.iter().any(|ending| name.to_lowercase().ends_with(ending))
}

/// Opens files as tables.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Of all but Parquet.
    listing: DynamicListTableFactory,
}

impl Files {
    /// Lets the statements of a context open files.
    pub(crate) fn allow(&self, context: &SessionContext) {
        self.listing.session_store().with_state(context.state_weak_ref());
        let state = context.state_ref();
        state.write().table_factories_mut().insert(PARQUET.to_owned(), Arc::new(parquet_file::Factory));
    }

    /// The table in a file; none if the name is no path.
    ///
    /// # Errors
    /// If there is no such file, or it is of no kind that can be read.
    pub(crate) async fn open(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if !is_path(name) {
            return Ok(None);
        }
        if !Path::new(name).exists() {
            return plan_err!("there is no file {name}");
        }
        if Path::new(name).is_dir() {
            return plan_err!("{name} is a folder: expected a file .parquet, .csv or .json (an object a line)");
        }
        if name.to_lowercase().ends_with(".parquet") && Path::new(name).is_file() {
            return Ok(Some(parquet_file::open(Path::new(name))?));
        }
        match self.listing.try_new(name).await? {
            Some(table) => Ok(Some(table)),
            None => plan_err!("{name} is no table: expected a file .parquet, .csv or .json (an object a line)"),
        }
    }
}
