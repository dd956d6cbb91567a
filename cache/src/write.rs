//! Writes a table to a Parquet file and describes every byte of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use retort_schemas::manifest::{ColumnChunk, TableFile};
use retort_schemas::{ID_BYTES, Layout};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::files::NewFile;
use crate::seal::hex64;
use crate::{Error, Result, measure};

/// Rows of a row group: a shard of the default size is one.
pub(crate) const ROW_GROUP_ROWS: usize = 64 * 1024;

/// Writes one table of a shard and returns its description for the manifest.
///
/// # Errors
/// [`Error::Parquet`] and [`Error::Io`]; the file is then not there.
pub fn write_table(path: &Path, batch: &RecordBatch) -> Result<TableFile> {
    let (new, mut file) = NewFile::create(path)?;
    encode(path, &file, batch)?;
    let description = describe(path, &mut file, batch)?;
    new.commit(&file)?;
    Ok(description)
}

/// Writes a table that no manifest describes, such as a run's metrics.
///
/// # Errors
/// As [`write_table`].
pub fn write_plain_table(path: &Path, batch: &RecordBatch) -> Result<()> {
    let (new, file) = NewFile::create(path)?;
    encode(path, &file, batch)?;
    new.commit(&file)
}

fn encode(path: &Path, file: &File, batch: &RecordBatch) -> Result<()> {
    let schema = batch.schema();
    // Level 1: vectors hardly shrink further at higher levels, and reading costs the same.
    let level = ZstdLevel::try_new(1).map_err(Error::parquet(path))?;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
    for scale in measure::scale_columns(&schema) {
        // Hardly two scales are the same, but their upper bytes are.
        let column = ColumnPath::new(scale);
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, Encoding::BYTE_STREAM_SPLIT);
    }
    for field in schema.fields() {
        // Ids, vectors and encoded images never repeat, and their minima tell nothing. An encoded image is packed already.
        let column = match field.data_type() {
            DataType::List(item) if matches!(item.data_type(), DataType::FixedSizeBinary(_)) => {
                ColumnPath::new(vec![field.name().clone(), "list".to_owned(), item.name().clone()])
            }
            _ => ColumnPath::new(vec![field.name().clone()]),
        };
        match innermost(field.data_type()) {
            DataType::FixedSizeBinary(_) => {
                properties = properties
                    .set_column_dictionary_enabled(column.clone(), false)
                    .set_column_statistics_enabled(column, EnabledStatistics::None);
            }
            DataType::Binary => {
                properties = properties
                    .set_column_dictionary_enabled(column.clone(), false)
                    .set_column_compression(column.clone(), Compression::UNCOMPRESSED)
                    .set_column_statistics_enabled(column, EnabledStatistics::None);
            }
            _ => {}
        }
    }
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties.build())).map_err(Error::parquet(path))?;
    writer.write(batch).map_err(Error::parquet(path))?;
    writer.close().map_err(Error::parquet(path))?;
    Ok(())
}

fn innermost(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::List(item) => innermost(item.data_type()),
        other => other,
    }
}

/// Reads the file back and sums up every byte.
fn describe(path: &Path, file: &mut File, batch: &RecordBatch) -> Result<TableFile> {
    file.seek(SeekFrom::Start(0)).map_err(Error::io("read", path))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    let bytes = bytes::Bytes::from(bytes);
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&bytes).map_err(Error::parquet(path))?;
    let mut chunks = Vec::new();
    for column in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        let (offset, length) = column.byte_range();
        chunks.push(ColumnChunk {
            column: column.column_path().string(),
            offset,
            bytes: length,
            xxh3: hex64(xxh3_64(&bytes[offset as usize..(offset + length) as usize])),
        });
    }
    chunks.sort_by_key(|chunk| chunk.offset);
    let mut description = TableFile {
        rows: batch.num_rows() as u64,
        bytes: bytes.len() as u64,
        ids: ids_digest(batch),
        rest: String::new(),
        chunks,
        nulls: BTreeMap::new(),
        norms: measure::norms(batch),
        vectors: measure::vectors(batch, &metadata),
    };
    let mut rest = Xxh3::new();
    for (from, to) in outside_chunks(&description) {
        rest.update(&bytes[from as usize..to as usize]);
    }
    description.rest = hex64(rest.digest());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if column.null_count() > 0 {
            description.nulls.insert(field.name().clone(), column.null_count() as u64);
        }
    }
    Ok(description)
}

/// The byte ranges of a file that no column chunk covers, in order.
pub(crate) fn outside_chunks(file: &TableFile) -> Vec<(u64, u64)> {
    let mut ranges = Vec::new();
    let mut at = 0;
    for chunk in &file.chunks {
        if chunk.offset > at {
            ranges.push((at, chunk.offset));
        }
        at = chunk.offset + chunk.bytes;
    }
    if file.bytes > at {
        ranges.push((at, file.bytes));
    }
    ranges
}

/// xxh3 over the id column: the first, if it is one.
pub(crate) fn ids_digest(batch: &RecordBatch) -> Option<String> {
    let schema = batch.schema();
    let first = schema.fields().first()?;
    let is_id = *first.data_type() == DataType::FixedSizeBinary(ID_BYTES) && Layout::of(first).is_err();
    is_id.then(|| {
        let mut digest = Xxh3::new();
        for id in batch.column(0).as_fixed_size_binary().iter().flatten() {
            digest.update(id);
        }
        hex64(digest.digest())
    })
}
