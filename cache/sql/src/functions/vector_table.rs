//! The vectors of a table, one a row, read part by part into memory that is used again.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, exec_err, plan_err};
use futures::{StreamExt, stream};
use retort_cache::vectors::Rows;
use retort_cache::{StoredVector, VectorScan};

use super::found::blocking;
use super::places::{KEY, has_words, keys_of};
use super::rank::Place;
use crate::parts::Table;

/// Rows that are decoded at a time: half a megabyte of floats of the usual width stays in a core's cache.
const ROWS: usize = 256;

/// A column of vectors of a table.
#[derive(Debug, Clone)]
pub(super) struct VectorTable {
    pub(super) table: Arc<Table>,
    /// The column.
    pub(super) column: usize,
    pub(super) width: usize,
}

impl VectorTable {
    /// The vectors of a table in the column of this name, or in the only one that has any.
    ///
    /// # Errors
    /// If there is no such column, or there are several.
    pub(super) fn of(table: Arc<Table>, column: Option<&str>) -> Result<Self> {
        let fields = table.schema.fields().iter().enumerate();
        let vectors = fields.filter_map(|(at, field)| match field.data_type() {
            DataType::FixedSizeList(_, width) => Some((at, field.name().as_str(), usize::try_from(*width).ok()?)),
            _ => None,
        });
        let vectors: Vec<(usize, &str, usize)> = vectors.collect();
        let names = || vectors.iter().map(|(_, name, _)| *name).collect::<Vec<_>>().join(", ");
        let table_name = &table.name;
        let (column, width) = match (column, vectors.as_slice()) {
            (None, [(at, _, width)]) => (*at, *width),
            (None, []) => return plan_err!("{table_name} has no column of one vector a row"),
            (None, [_, (_, second, _), ..]) => {
                return plan_err!(
                    "{table_name} has more than one column of vectors, {}: name one of them, as '{table_name}.{second}'",
                    names()
                );
            }
            (Some(wanted), _) => match vectors.iter().find(|(_, name, _)| *name == wanted) {
                Some((at, _, width)) => (*at, *width),
                None if vectors.is_empty() => return plan_err!("{table_name} has no column of one vector a row"),
                None => return plan_err!("{table_name} has no column of vectors {wanted}; it has {}", names()),
            },
        };
        Ok(Self { table, column, width })
    }

    /// The name of its table.
    pub(super) fn name(&self) -> &str {
        &self.table.name
    }

    /// Whether it is the same column of the same table.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.table, &other.table) && self.column == other.column
    }

    /// All parts.
    pub(super) fn parts(&self) -> Vec<usize> {
        (0..self.table.parts.len()).collect()
    }

    /// So many rows, or all where that is fewer.
    pub(super) fn at_most(&self, wanted: usize) -> usize {
        self.table.rows(self.parts()).map_or(wanted, |rows| rows.min(wanted))
    }

    /// Rows of a part, by the manifest.
    pub(super) fn rows(&self, part: usize) -> usize {
        self.table.parts[part].rows.unwrap_or(0)
    }

    /// Reads a part: as stored, checked.
    pub(super) fn read(&self, part: usize) -> Result<VectorPart> {
        // Where damage is skipped, the keys are read too: rows are not to be found that cannot be named.
        self.read_with(part, if self.table.may_skip() { &[KEY] } else { &[] })
    }

    fn read_with(&self, part: usize, more: &[usize]) -> Result<VectorPart> {
        let columns = [&[self.column], more].concat();
        let stored = self.table.read(part, &columns)?;
        Ok(VectorPart { rows: self.rows_of(&stored)?, stored })
    }

    fn rows_of(&self, stored: &RecordBatch) -> Result<Rows> {
        let rows = Rows::of(stored, self.table.schema.field(self.column).name());
        rows.map_err(|error| DataFusionError::External(Box::new(error)))
    }

    /// Hands the vectors of a part over, in order: each row that is `wanted`, and its vector as stored.
    pub(super) fn scan(
        &self,
        part: usize,
        scan: &mut Option<VectorScan>,
        wanted: impl Fn(usize) -> bool,
        use_vector: impl FnMut(usize, StoredVector<'_>),
    ) -> Result<()> {
        self.scan_or(part, scan, wanted, use_vector, || self.read(part))
    }

    /// As [`VectorTable::scan`], of rows that are not to be named: nothing but the vectors is read, and of few rows only the
    /// pages that have them. All are wanted where nothing else is said.
    pub(super) fn scan_unnamed(
        &self,
        part: usize,
        wanted: Option<&BooleanArray>,
        mut use_vector: impl FnMut(usize, StoredVector<'_>),
    ) -> Result<()> {
        if let Some(wanted) = wanted.filter(|wanted| self.table.are_few(part, wanted.true_count())) {
            let rows: Vec<usize> = wanted.values().set_indices().collect();
            let vectors = self.rows_of(&self.table.read_rows(part, &[self.column], &rows)?)?;
            rows.iter().zip(0..vectors.len()).for_each(|(row, at)| use_vector(*row, vectors.vector(at)));
            return Ok(());
        }
        let wanted = |row: usize| wanted.is_none_or(|wanted| wanted.value(row));
        self.scan_or(part, &mut None, wanted, use_vector, || self.read_with(part, &[]))
    }

    /// Reads where a part cannot be scanned.
    fn scan_or(
        &self,
        part: usize,
        scan: &mut Option<VectorScan>,
        wanted: impl Fn(usize) -> bool,
        mut use_vector: impl FnMut(usize, StoredVector<'_>),
        read: impl FnOnce() -> Result<VectorPart>,
    ) -> Result<()> {
        let column = self.table.schema.field(self.column).name();
        let external = |error| DataFusionError::External(Box::new(error));
        // Of a part that may be left out nothing is to be used before all of it was seen.
        if !self.table.may_skip()
            && let Some((dataset, teacher, shard, table)) =
                self.table.parts[part].source.of_teacher().map_err(external)?
        {
            let scan = match scan {
                Some(scan) => scan,
                None => scan.insert(VectorScan::new().map_err(external)?),
            };
            return scan.read(teacher, dataset, &shard, (table, column), wanted, use_vector).map_err(external);
        }
        let VectorPart { rows, .. } = read()?;
        (0..rows.len()).filter(|row| wanted(*row)).for_each(|row| use_vector(row, rows.vector(row)));
        Ok(())
    }

    /// The vector of a row.
    pub(super) async fn vector(&self, place: Place) -> Result<Vec<f32>> {
        let table = self.clone();
        blocking(move || {
            let part = table.read(place.part as usize)?;
            let mut floats = Vec::new();
            let row = place.row as usize;
            if row >= part.stored.num_rows() {
                return exec_err!("the vector of row {row} of {} lies in a damaged shard", table.name());
            }
            Ok(part.decode(row..row + 1, &mut floats).to_vec())
        })
        .await
    }

    /// The first row with this key.
    ///
    /// # Errors
    /// If there is none.
    pub(super) async fn find(&self, key: &str, partitions: usize) -> Result<Place> {
        let find = |part: usize| {
            let (table, key) = (self.table.clone(), key.to_owned());
            blocking(move || {
                let row = keys_of(&table, part)?.iter().position(|found| found == Some(key.as_str()));
                Ok(row.map(|row| Place::new(part, row)))
            })
        };
        // In order, and so the first is the same at any number of partitions.
        let mut found = stream::iter(self.parts()).map(find).buffered(partitions.max(1));
        while let Some(place) = found.next().await {
            if let Some(place) = place? {
                return Ok(place);
            }
        }
        let what = if has_words(&self.table) { "word" } else { "id" };
        exec_err!("no row of {} has the {what} {key}", self.name())
    }
}

/// A part in memory, as stored.
pub(super) struct VectorPart {
    rows: Rows,
    /// All columns that were read.
    pub(super) stored: RecordBatch,
}

impl VectorPart {
    /// Its rows, some at a time.
    pub(super) fn batches(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let rows = self.rows.len();
        (0..rows).step_by(ROWS).map(move |from| from..(from + ROWS).min(rows))
    }

    /// The floats of some rows, `[rows, width]`, in memory that is used again.
    pub(super) fn decode<'a>(&self, rows: Range<usize>, floats: &'a mut Vec<f32>) -> &'a [f32] {
        floats.resize(rows.len() * self.rows.width(), 0.0);
        self.rows.decode(rows, floats);
        floats
    }
}
