//! What queries left out because it is damaged.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use datafusion::execution::context::SessionContext;
use retort_cache::Error;

use crate::options::Opened;
use crate::parts::Part;

/// A damaged part of a table, which a query left out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// The table, as in a query.
    pub table: String,
    /// The shard, or the split where a table has no shards; empty where it has neither.
    pub shard: String,
    /// The rows that it cost, where a manifest tells.
    pub rows: Option<usize>,
    /// What is wrong with it.
    pub problem: String,
}

impl Skipped {
    /// A part of a table of this name.
    pub(crate) fn of(part: &Part, table: &str, problem: String) -> Self {
        let shard = part.shard.clone().or_else(|| part.split.clone()).unwrap_or_default();
        Self { table: table.to_owned(), shard, rows: part.rows, problem }
    }
}

/// Where scans put what they skipped. Every part is told once, however often it is read.
#[derive(Debug, Default)]
pub(crate) struct Skips(Mutex<BTreeMap<(String, usize), Skipped>>);

impl Skips {
    pub(crate) fn add(&self, part: usize, skipped: Skipped) {
        // A map is whole after every insertion, even if a thread died beside it.
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.insert((skipped.table.clone(), part), skipped);
    }

    fn take(&self) -> Vec<Skipped> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_values().collect()
    }
}

/// Whether bytes of a file are not what they were, so that it can be left out.
pub(crate) fn is_damage(error: &Error) -> bool {
    matches!(error, Error::Damaged { .. } | Error::Broken { .. } | Error::Parquet { .. } | Error::Arrow { .. })
}

/// What the queries of a context left out since this was last called, by table and shard. Nothing, unless it was opened
/// with [`crate::Options::skip_damaged`].
pub fn take_skipped(context: &SessionContext) -> Vec<Skipped> {
    Opened::of(context).and_then(|opened| Some(opened.skips.as_ref()?.take())).unwrap_or_default()
}
