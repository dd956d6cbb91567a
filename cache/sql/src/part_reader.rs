//! Reads a part of a scan: what the filter is about, then what is wanted of the rows that pass.
//!
//! ```text
//! filter's columns --> rows that pass --> pages of the wanted columns with such rows --> rows --> batches
//!        |                        |
//!        +-- all, if nothing wanted is wide        +-> vectors of functions, row by row --> values
//! ```

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;

use crate::filter::{Filter, is_narrow, is_true};
use crate::functions::values;
use crate::parts::{Table, places};
use crate::scan::ScanColumns;

/// What it takes to read any part of a scan.
#[derive(Clone)]
pub(crate) struct PartReader {
    pub(crate) table: Arc<Table>,
    pub(crate) columns: ScanColumns,
    pub(crate) filter: Option<Arc<Filter>>,
    pub(crate) schema: SchemaRef,
    /// Rows of a batch.
    pub(crate) rows: usize,
    /// What a part takes while it is in memory.
    pub(crate) held: Arc<MemoryReservation>,
}

impl PartReader {
    pub(crate) async fn read(self, part: usize) -> Result<ReadPart> {
        if self.table.all_virtual(&self.columns.stored)
            && self.columns.calls.is_empty()
            && self.filter.is_none()
            && let Some(rows) = self.table.parts[part].rows
        {
            // Nothing in the file is asked for.
            let held = self.held.new_empty();
            return Ok(ReadPart { held, reader: self, part, stored: None, values: vec![], rows, numbers: None });
        }
        // Reading and checking block, so they get threads of their own; other partitions go on meanwhile.
        let read = SpawnedTask::spawn_blocking(move || self.read_blocking(part));
        read.await.map_err(|error| DataFusionError::External(Box::new(error)))?
    }

    fn read_blocking(self, part: usize) -> Result<ReadPart> {
        let Self { table, columns, .. } = &self;
        let Passing { wanted, read } = self.passing(part)?;
        let numbers = wanted.as_ref().map(|wanted| wanted.values().set_indices().collect::<Vec<_>>());
        let values = match &numbers {
            Some(numbers) if numbers.is_empty() => vec![Vec::new(); columns.calls.len()],
            _ => values(&columns.calls, table, part, wanted.as_ref(), self.rows)?,
        };
        let stored = match (read, &numbers) {
            (Some(read), _) => Some(read),
            _ if table.all_virtual(&columns.stored) && (numbers.is_some() || !values.is_empty()) => None,
            (None, Some(numbers)) => Some(read_some(table, part, &columns.stored, numbers)?),
            (None, None) => Some(table.read(part, &columns.stored)?),
        };
        let of_values = values.iter().map(|batches| batches.iter().map(|batch| batch.len()).sum());
        // One that is damaged and skipped has none, by whichever was read.
        let known = numbers.as_ref().map(Vec::len).into_iter().chain(stored.as_ref().map(RecordBatch::num_rows));
        let rows = known.chain(of_values).min().unwrap_or(0);
        // Counted and not asked for, so that a sort that holds much makes room for the next shard by spilling.
        let held = self.held.new_empty();
        held.grow(stored.as_ref().map_or(0, RecordBatch::get_array_memory_size));
        held.grow(values.iter().flatten().map(Array::get_array_memory_size).sum());
        Ok(ReadPart { held, reader: self, part, stored, values, rows, numbers })
    }

    /// Decides the filter for the rows of a part.
    fn passing(&self, part: usize) -> Result<Passing> {
        let Some(filter) = &self.filter else { return Ok(Passing { wanted: None, read: None }) };
        let wanted = &self.columns.stored;
        let narrow = |column: &usize| is_narrow(self.table.schema.field(*column).data_type());
        // Then one reading is enough.
        if self.columns.calls.is_empty() && wanted.iter().all(narrow) {
            let more = filter.columns().iter().filter(|column| !wanted.contains(column));
            let columns: Vec<usize> = wanted.iter().chain(more).copied().collect();
            if !self.table.all_virtual(&columns) {
                let read = self.table.read(part, &columns)?;
                let passing = Passing::of(&filter.passing_of(part, &read)?);
                let taken = passing.wanted.as_ref().map(|wanted| filter_record_batch(&read, wanted));
                return Ok(Passing { read: Some(taken.transpose()?.unwrap_or(read)), ..passing });
            }
        }
        Ok(Passing::of(&filter.passing(part)?))
    }
}

/// What a filter lets pass of a part.
struct Passing {
    /// Of all rows, unless all pass; without nulls.
    wanted: Option<BooleanArray>,
    /// The columns that are wanted, of these rows, where they had to be read.
    read: Option<RecordBatch>,
}

impl Passing {
    fn of(passing: &BooleanArray) -> Self {
        let passing = is_true(passing);
        let all = passing.true_count() == passing.len() && !passing.is_empty();
        Self { wanted: (!all).then_some(passing), read: None }
    }
}

/// Reads some rows of a part: the pages that have them, or all where these would be most.
fn read_some(table: &Table, part: usize, columns: &[usize], rows: &[usize]) -> Result<RecordBatch> {
    if table.are_few(part, rows.len()) {
        return table.read_rows(part, columns, rows);
    }
    let read = table.read(part, columns)?;
    // One that is damaged and skipped has none.
    let there: Vec<usize> = rows.iter().copied().filter(|row| *row < read.num_rows()).collect();
    Ok(take_record_batch(&read, &places(&there))?)
}

/// A part in memory, still as stored.
pub(crate) struct ReadPart {
    /// Given back when the last row is out.
    held: MemoryReservation,
    reader: PartReader,
    part: usize,
    stored: Option<RecordBatch>,
    /// Of each call, in batches.
    values: Vec<Vec<ArrayRef>>,
    rows: usize,
    /// Of each row, where they are not all of the part's.
    numbers: Option<Vec<usize>>,
}

impl ReadPart {
    /// Its rows as SQL shows them, some at a time, each made when it is asked for.
    pub(crate) fn batches(self) -> impl Iterator<Item = Result<RecordBatch>> {
        let PartReader { table, columns, schema, rows, .. } = self.reader;
        (0..self.rows).step_by(rows).enumerate().map(move |(batch, from)| {
            let _counted = &self.held;
            let rows = from..(from + rows).min(self.rows);
            let (stored, columns, numbers) = (self.stored.as_ref(), &columns.stored, self.numbers.as_deref());
            let mut shown = table.shown_columns(self.part, stored, columns, &schema, rows.clone(), numbers)?;
            shown.extend(self.values.iter().filter_map(|batches| batches.get(batch).cloned()));
            let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
            Ok(RecordBatch::try_new_with_options(schema.clone(), shown, &options)?)
        })
    }
}
