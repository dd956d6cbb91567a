//! Rows of one table as a batch: only the pages that hold them are read and checked.
//!
//! Where [`crate::Reader::take`] copies the bytes of plain columns, this decodes columns of every kind; both read pages
//! by [`Table::read_pages`], which checks them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection, RowSelectionPolicy};
use retort_schemas::SchemaVersion;
use retort_schemas::manifest::TableFile;

use crate::checksums::Page;
use crate::open::OpenTables;
use crate::read::{Columns, decode};
use crate::table::{CheckedPages, Table, guarded};
use crate::{Error, Result};

/// What reading by rows has cost so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowsRead {
    /// Bytes read from files: whole pages, and the footers that lead to them.
    pub read_bytes: u64,
    /// Of these, the share of each page that the rows asked for have in its rows.
    pub used_bytes: u64,
}

impl std::ops::Add for RowsRead {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { read_bytes: self.read_bytes + other.read_bytes, used_bytes: self.used_bytes + other.used_bytes }
    }
}

/// Reads rows of tables, whose files it holds open, and counts the bytes.
#[derive(Debug)]
pub(crate) struct RowTables {
    open: OpenTables,
    page_bytes: AtomicU64,
    used_bytes: AtomicU64,
}

impl RowTables {
    /// Holds at most so many files open.
    pub(crate) fn at_most(most: usize) -> Self {
        Self { open: OpenTables::at_most(most), page_bytes: AtomicU64::new(0), used_bytes: AtomicU64::new(0) }
    }

    /// Reads rows of a file in the order asked for; a row asked for twice comes twice.
    pub(crate) fn read(
        &self,
        path: &Path,
        file: &TableFile,
        version: SchemaVersion,
        columns: Columns<'_>,
        rows: &[usize],
    ) -> Result<RecordBatch> {
        if let Some(row) = rows.iter().find(|row| **row as u64 >= file.rows) {
            let problem = format!("it has {} rows, no row {row}", file.rows);
            return Err(Error::Broken { path: path.to_owned(), problem });
        }
        let table = self.open.get(path, file, version)?;
        let mut sorted = rows.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let batch = self.read_sorted(&table, columns, &sorted)?;
        if sorted == rows {
            return Ok(batch);
        }
        let places = rows.iter().map(|row| sorted.partition_point(|known| known < row) as u32);
        take_record_batch(&batch, &UInt32Array::from_iter_values(places)).map_err(Error::arrow(path))
    }

    fn read_sorted(&self, table: &Arc<Table>, columns: Columns<'_>, rows: &[usize]) -> Result<RecordBatch> {
        let path = table.path();
        let count = usize::try_from(table.parquet().file_metadata().num_rows()).unwrap_or(0);
        let (pages, found) = CheckedPages::new(table.clone());
        let ranges = rows.chunk_by(|a, b| a + 1 == *b).map(|run| run[0]..run[0] + run.len());
        // Selectors, as a mask would read and decode what lies between the rows.
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(pages, table.metadata().clone())
            .with_row_selection(RowSelection::from_consecutive_ranges(ranges, count))
            .with_row_selection_policy(RowSelectionPolicy::Selectors);
        let batch = guarded(path, || decode(path, builder, columns));
        self.page_bytes.fetch_add(found.read_bytes(), Ordering::Relaxed);
        let leaves = table.leaves().iter().filter(|leaf| columns.wants(&leaf.path));
        let used = leaves.flat_map(|leaf| &leaf.pages).map(|page| used_bytes(page, rows, count)).sum();
        self.used_bytes.fetch_add(used, Ordering::Relaxed);
        // What the pages' own check found says more than what the decoder made of it.
        batch.map_err(|error| found.take().unwrap_or(error))
    }

    /// What was read so far.
    pub(crate) fn rows_read(&self) -> RowsRead {
        RowsRead {
            read_bytes: self.page_bytes.load(Ordering::Relaxed) + self.open.footer_bytes(),
            used_bytes: self.used_bytes.load(Ordering::Relaxed),
        }
    }
}

/// The share of a page's bytes that sorted rows have; of a dictionary, which serves all rows, the share of the file.
fn used_bytes(page: &Page, rows: &[usize], rows_of_file: usize) -> u64 {
    let before = |row: usize| rows.partition_point(|known| *known < row);
    let (wanted, all) = if page.rows.is_empty() {
        (rows.len(), rows_of_file)
    } else {
        (before(page.rows.end) - before(page.rows.start), page.rows.len())
    };
    (page.bytes as u64 * wanted as u64) / (all as u64).max(1)
}
