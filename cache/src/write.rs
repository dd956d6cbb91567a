//! Writes a table to a Parquet file whose footer holds a checksum of every page, and describes it for the manifest.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataWriter};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::TrackedWrite;
use parquet::schema::types::ColumnPath;
use retort_schemas::manifest::{MAGIC_BYTES, TableFile};
use retort_schemas::{ID_BYTES, Layout};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::checksums::{Leaf, leaves_of, with_checksums};
use crate::files::NewFile;
use crate::seal::hex64;
use crate::{Error, Result, measure};

/// Rows of a row group: a shard of the default size is one. Smaller ones help nobody, as pages are found by row.
pub(crate) const ROW_GROUP_ROWS: usize = 64 * 1024;
/// Bytes of a page before compression, unless one row is larger. A stream reads pages of this size as fast as those of
/// 1 MiB, and they add 0.2 % to a file of token features; a random row costs a sixth (`docs/benchmarks.md`).
pub(crate) const PAGE_BYTES: usize = 64 * 1024;
/// The same for columns of one vector a row, of which a page of the above size would hold many.
pub(crate) const VECTOR_PAGE_BYTES: usize = 16 * 1024;

/// Writes one table of a shard and returns its description for the manifest.
///
/// # Errors
/// [`Error::Parquet`] and [`Error::Io`]; the file is then not there.
pub fn write_table(path: &Path, batch: &RecordBatch) -> Result<TableFile> {
    let (new, file) = NewFile::create(path)?;
    let mut description = encode(path, &file, batch)?;
    describe(&mut description, batch);
    new.commit(&file)?;
    Ok(description)
}

/// Encodes pages and footer in memory, adds the checksums of the pages to the footer, writes both.
fn encode(path: &Path, file: &File, batch: &RecordBatch) -> Result<TableFile> {
    let Pages { bytes, metadata, leaves } = pages_of(path, batch)?;
    let vectors = measure::vectors(batch, &metadata);
    let (norms, norm_counts) = measure::norms(batch);
    let mut description = TableFile {
        rows: batch.num_rows() as u64,
        bytes: 0,
        ids: ids_digest(batch),
        rest: String::new(),
        column_bytes: BTreeMap::new(),
        nulls: BTreeMap::new(),
        norms,
        vectors,
        norm_counts,
        values: measure::values(batch),
        repeats: measure::repeats(batch),
    };
    for leaf in &leaves {
        let compressed = description.column_bytes.entry(leaf.column().to_owned()).or_default();
        *compressed += leaf.pages.iter().map(|page| page.bytes as u64).sum::<u64>();
    }
    let (rest, written) = write_whole(path, file, &bytes, metadata, &leaves)?;
    description.rest = hex64(rest);
    description.bytes = written;
    Ok(description)
}

/// The pages of a table, and what its footer is to say.
pub(crate) struct Pages {
    /// The file up to its last page.
    pub(crate) bytes: Vec<u8>,
    pub(crate) metadata: ParquetMetaData,
    /// With the checksums of the pages.
    pub(crate) leaves: Vec<Leaf>,
}

/// Encodes the pages of a table in memory, and sums them up.
pub(crate) fn pages_of(path: &Path, batch: &RecordBatch) -> Result<Pages> {
    let mut bytes = Vec::new();
    let properties = Some(properties(path, batch)?);
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), properties).map_err(Error::parquet(path))?;
    writer.write(batch).map_err(Error::parquet(path))?;
    let metadata = writer.close().map_err(Error::parquet(path))?;
    let mut leaves = leaves_of(&metadata).map_err(|problem| Error::Broken { path: path.to_owned(), problem })?;
    let mut end = MAGIC_BYTES;
    for page in leaves.iter_mut().flat_map(|leaf| &mut leaf.pages) {
        page.xxh3 = xxh3_64(&bytes[page.offset as usize..page.end() as usize]);
        end = end.max(page.end());
    }
    // Behind the pages lie the footer without checksums and what leads to it: both are written anew.
    bytes.truncate(end as usize);
    Ok(Pages { bytes, metadata, leaves })
}

/// Writes pages and footer: the checksum of the footer, and the bytes of the file.
fn write_whole(
    path: &Path,
    file: &File,
    pages: &[u8],
    metadata: ParquetMetaData,
    leaves: &[Leaf],
) -> Result<(u64, u64)> {
    let metadata = with_checksums(metadata, leaves, None);
    let mut summed = Summed { file, skip: pages.len(), digest: Xxh3::new(), bytes: 0, failed: None };
    let written = write_parts(path, TrackedWrite::new(&mut summed), pages, &metadata);
    // Before what it led to.
    summed.failed.map_or(written, |error| Err(Error::io("write", path)(error)))?;
    Ok((summed.digest.digest(), summed.bytes))
}

fn write_parts(
    path: &Path,
    mut tracked: TrackedWrite<&mut Summed<'_>>,
    pages: &[u8],
    metadata: &ParquetMetaData,
) -> Result<()> {
    tracked.write_all(pages).map_err(Error::io("write", path))?;
    ParquetMetaDataWriter::new_with_tracked(tracked, metadata).finish().map_err(Error::parquet(path))
}

/// A file that sums up what is written behind its first `skip` bytes.
struct Summed<'a> {
    file: &'a File,
    skip: usize,
    digest: Xxh3,
    bytes: u64,
    /// Why a write failed. The writer of Parquet keeps some bytes back until it is dropped, and a drop tells of no error: a
    /// disk without room would leave a file without its end, and nobody would know.
    failed: Option<std::io::Error>,
}

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Err(error) = self.file.write_all(bytes) {
            let kind = error.kind();
            self.failed.get_or_insert(error);
            return Err(kind.into());
        }
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.digest.update(&bytes[skipped..]);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

fn properties(path: &Path, batch: &RecordBatch) -> Result<WriterProperties> {
    // Level 1: vectors hardly shrink further at higher levels, and reading costs the same.
    let level = ZstdLevel::try_new(1).map_err(Error::parquet(path))?;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_data_page_size_limit(PAGE_BYTES)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
    for field in batch.schema().fields() {
        // Ids, vectors and encoded images never repeat, and their minima tell nothing. An encoded image is packed already,
        // and floats shrink by 8 % only, for which a stream would be three times as slow (`docs/benchmarks.md`). Codes are
        // made to be packed.
        let column = match field.data_type() {
            DataType::List(item) if !item.data_type().is_nested() => {
                ColumnPath::new(vec![field.name().clone(), "list".to_owned(), item.name().clone()])
            }
            _ => ColumnPath::new(vec![field.name().clone()]),
        };
        if let DataType::FixedSizeBinary(_) = field.data_type() {
            properties = properties.set_column_data_page_size_limit(column.clone(), VECTOR_PAGE_BYTES);
        }
        match innermost(field.data_type()) {
            DataType::FixedSizeBinary(_) if matches!(Layout::of_column(field), Some((Layout::Codes { .. }, _))) => {
                properties = properties
                    .set_column_dictionary_enabled(column.clone(), false)
                    .set_column_statistics_enabled(column, EnabledStatistics::None);
            }
            DataType::FixedSizeBinary(_) | DataType::Binary => {
                properties = properties
                    .set_column_dictionary_enabled(column.clone(), false)
                    .set_column_compression(column.clone(), Compression::UNCOMPRESSED)
                    .set_column_statistics_enabled(column, EnabledStatistics::None);
            }
            // Floats hardly repeat either, and rows of a plain column are read without the decoder of Parquet.
            DataType::Float32 => properties = properties.set_column_dictionary_enabled(column, false),
            _ => {}
        }
    }
    Ok(properties.build())
}

fn innermost(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::List(item) => innermost(item.data_type()),
        other => other,
    }
}

/// Counts nulls and measures vectors.
fn describe(description: &mut TableFile, batch: &RecordBatch) {
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if column.null_count() > 0 {
            description.nulls.insert(field.name().clone(), column.null_count() as u64);
        }
    }
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
