//! Reads tables: wanted columns only, every byte checked before it is used.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use arrow::array::{Array, AsArray, FixedSizeBinaryArray, RecordBatch, RecordBatchReader};
use arrow::compute::concat_batches;
use bytes::{Buf, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use retort_schemas::manifest::{ColumnChunk, TableFile};
use retort_schemas::{ID_BYTES, SCHEMA_KEY, SchemaVersion};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::seal::hex64;
use crate::write::outside_chunks;
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
    fn wants(&self, path: &str) -> bool {
        let root = path.split('.').next().unwrap_or(path);
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(&root),
        }
    }
}

/// Reads a file that a manifest describes, as one batch.
///
/// # Errors
/// [`Error::Damaged`] naming the column whose bytes differ from their checksum, [`Error::Broken`] if the file is
/// missing or of another size, [`Error::Schema`] if it is of another version.
pub fn read_table(path: &Path, file: &TableFile, version: SchemaVersion, columns: Columns<'_>) -> Result<RecordBatch> {
    let checked = CheckedBytes::load(path, file, columns)?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(checked).map_err(Error::parquet(path))?;
    accept(path, version, &builder)?;
    decode(path, builder, columns)
}

/// Reads a file that no manifest describes, such as a run's metrics, as one batch.
///
/// # Errors
/// [`Error::Io`], [`Error::Parquet`], [`Error::Schema`] if it is of another version.
pub fn read_plain_table(path: &Path, version: SchemaVersion) -> Result<RecordBatch> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(Error::parquet(path))?;
    accept(path, version, &builder)?;
    decode(path, builder, Columns::All)
}

/// Checks the version in a file's metadata.
fn accept<R>(path: &Path, version: SchemaVersion, builder: &ParquetRecordBatchReaderBuilder<R>) -> Result<()>
where
    R: ChunkReader + 'static,
{
    let found = builder.schema().metadata().get(SCHEMA_KEY).cloned().unwrap_or_default();
    version.accept(&found).map_err(|source| Error::Schema { path: path.to_owned(), source })
}

fn decode<R: ChunkReader + 'static>(
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

/// The checked parts of a file: everything outside the column chunks, and the chunks of the wanted columns.
struct CheckedBytes {
    length: u64,
    /// Offset and bytes, in order.
    parts: Vec<(u64, Bytes)>,
}

impl CheckedBytes {
    fn load(path: &Path, description: &TableFile, columns: Columns<'_>) -> Result<Self> {
        let broken = |problem: String| Error::Broken { path: path.to_owned(), problem };
        let mut file = File::open(path).map_err(|error| broken(format!("it cannot be opened: {error}")))?;
        let length = file.metadata().map_err(Error::io("read", path))?.len();
        if length != description.bytes {
            return Err(broken(format!("it has {length} bytes, expected {}", description.bytes)));
        }
        let mut parts = Vec::new();
        let mut rest = Xxh3::new();
        for (from, to) in outside_chunks(description) {
            let bytes = read_range(path, &mut file, from, to - from)?;
            rest.update(&bytes);
            parts.push((from, bytes));
        }
        check(path, "the footer", &description.rest, rest.digest())?;
        for chunk in description.chunks.iter().filter(|chunk| columns.wants(&chunk.column)) {
            let bytes = read_range(path, &mut file, chunk.offset, chunk.bytes)?;
            check_chunk(path, chunk, &bytes)?;
            parts.push((chunk.offset, bytes));
        }
        parts.sort_by_key(|(offset, _)| *offset);
        Ok(Self { length, parts })
    }

    fn slice(&self, start: u64, length: Option<usize>) -> parquet::errors::Result<Bytes> {
        let after = self.parts.partition_point(|(offset, _)| *offset <= start);
        let unchecked = || ParquetError::General(format!("byte {start} was not read and checked"));
        let (offset, bytes) = after.checked_sub(1).and_then(|at| self.parts.get(at)).ok_or_else(unchecked)?;
        let from = (start - offset) as usize;
        let to = length.map_or(bytes.len(), |length| from + length);
        if from <= to && to <= bytes.len() { Ok(bytes.slice(from..to)) } else { Err(unchecked()) }
    }
}

/// Checks one column chunk against its description.
pub(crate) fn check_chunk(path: &Path, chunk: &ColumnChunk, bytes: &[u8]) -> Result<()> {
    check(path, &format!("column {}", chunk.column), &chunk.xxh3, xxh3_64(bytes))
}

pub(crate) fn check(path: &Path, what: &str, expected: &str, computed: u64) -> Result<()> {
    let found = hex64(computed);
    if found == expected {
        Ok(())
    } else {
        Err(Error::Damaged { path: path.to_owned(), what: what.to_owned(), expected: expected.to_owned(), found })
    }
}

pub(crate) fn read_range(path: &Path, file: &mut File, offset: u64, length: u64) -> Result<Bytes> {
    let mut bytes = vec![0; length as usize];
    file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut bytes)).map_err(Error::io("read", path))?;
    Ok(Bytes::from(bytes))
}

impl Length for CheckedBytes {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for CheckedBytes {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(self.slice(start, None)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.slice(start, Some(length))
    }
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
