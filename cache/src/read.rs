//! Reads tables: wanted columns only, every byte checked before it is used.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, FixedSizeBinaryArray, RecordBatch, RecordBatchReader};
use arrow::compute::concat_batches;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::ChunkReader;
use retort_schemas::manifest::TableFile;
use retort_schemas::{ID_BYTES, SchemaVersion};

use crate::checksums::column_of;
use crate::table::{CheckedPages, Table, guarded};
use crate::{Error, Result};

/// Which columns to read.
#[derive(Debug, Clone, Copy)]
pub enum Columns<'a> {
    /// All of them.
    All,
    /// Those of these names, in file order.
    Named(&'a [&'a str]),
}

impl Columns<'_> {
    /// Whether a column path such as `tokens.list.item` belongs to a wanted column.
    pub(crate) fn wants(&self, path: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(&column_of(path)),
        }
    }
}

/// Reads a file that a manifest describes, as one batch. Every page is checked as it is read, those of other columns are
/// not touched.
///
/// # Errors
/// [`Error::Damaged`] naming the column whose bytes differ from their checksum, [`Error::Broken`] if the file is
/// missing or of another size, [`Error::Schema`] if it is of another version.
pub fn read_table(path: &Path, file: &TableFile, version: SchemaVersion, columns: Columns<'_>) -> Result<RecordBatch> {
    let table = Arc::new(Table::open(path, file, version)?);
    let metadata = table.metadata().clone();
    let (pages, found) = CheckedPages::new(table);
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(pages, metadata);
    // What the pages' own check found says more than what the decoder made of it.
    guarded(path, || decode(path, builder, columns)).map_err(|error| found.take().unwrap_or(error))
}

pub(crate) fn decode<R: ChunkReader + 'static>(
    path: &Path,
    builder: ParquetRecordBatchReaderBuilder<R>,
    columns: Columns<'_>,
) -> Result<RecordBatch> {
    let leaves = builder.parquet_schema().columns().iter().enumerate();
    let wanted: Vec<usize> =
        leaves.filter(|(_, leaf)| columns.wants(&leaf.path().string())).map(|(index, _)| index).collect();
    let mask = ProjectionMask::leaves(builder.parquet_schema(), wanted);
    let rows = usize::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
    let reader = builder.with_projection(mask).with_batch_size(rows.max(1)).build().map_err(Error::parquet(path))?;
    let schema = RecordBatchReader::schema(&reader);
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(Error::arrow(path))?;
    concat_batches(&schema, &batches).map_err(Error::arrow(path))
}

/// A column of a batch, as the type that the caller expects.
///
/// # Errors
/// [`Error::Column`] if it is missing or of another type.
pub fn column<'a, A: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a A> {
    let found = batch
        .column_by_name(name)
        .ok_or_else(|| Error::Column { column: name.to_owned(), problem: "is missing".to_owned() })?;
    found.as_any().downcast_ref::<A>().ok_or_else(|| Error::Column {
        column: name.to_owned(),
        problem: format!("has type {}, expected {}", found.data_type(), std::any::type_name::<A>()),
    })
}

/// The ids of a batch, whose first column they are.
///
/// # Errors
/// [`Error::Column`] if the first column holds no ids.
pub fn take_ids(batch: &RecordBatch) -> Result<&FixedSizeBinaryArray> {
    let ids = batch.columns().first().and_then(|column| column.as_fixed_size_binary_opt());
    ids.filter(|ids| ids.value_length() == ID_BYTES)
        .ok_or_else(|| Error::Column { column: "id".to_owned(), problem: "is not the first column".to_owned() })
}
