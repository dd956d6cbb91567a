//! Files held open with their checked footers, the longest unused given up first.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use retort_schemas::SchemaVersion;
use retort_schemas::manifest::TableFile;

use crate::Result;
use crate::table::Table;

/// Open tables, found by path and checksum of the footer: another file under the same name is another table.
#[derive(Debug)]
pub(crate) struct OpenTables {
    most: usize,
    tables: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    clock: u64,
    /// Bytes of all footers read so far.
    footer_bytes: u64,
    /// By path, with the time of the last use and the checksum of the footer.
    tables: HashMap<PathBuf, (u64, String, Arc<Table>)>,
}

impl OpenTables {
    /// Holds at most so many files open, at least one.
    pub(crate) fn at_most(most: usize) -> Self {
        Self { most: most.max(1), tables: Mutex::default() }
    }

    /// The open table of a file that a manifest describes.
    pub(crate) fn get(&self, path: &Path, file: &TableFile, version: SchemaVersion) -> Result<Arc<Table>> {
        if let Some(known) = self.known(path, file) {
            return Ok(known);
        }
        // Opened without the lock; where two threads open one file, the later stays.
        let table = Arc::new(Table::open(path, file, version)?);
        let mut used = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        used.footer_bytes += file.bytes.saturating_sub(file.rest_offset());
        if used.tables.len() >= self.most
            && let Some(oldest) = used.tables.iter().min_by_key(|(_, (used, ..))| *used).map(|(path, _)| path.clone())
        {
            used.tables.remove(&oldest);
        }
        let now = used.clock;
        used.tables.insert(path.to_owned(), (now, file.rest.clone(), table.clone()));
        Ok(table)
    }

    /// Bytes of footers read so far.
    pub(crate) fn footer_bytes(&self) -> u64 {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).footer_bytes
    }

    fn known(&self, path: &Path, file: &TableFile) -> Option<Arc<Table>> {
        let mut used = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        used.clock += 1;
        let now = used.clock;
        let (last, _, table) = used.tables.get_mut(path).filter(|(_, rest, _)| *rest == file.rest)?;
        *last = now;
        Some(table.clone())
    }
}
