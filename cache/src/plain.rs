//! Tables that no manifest describes, such as a run's metrics: each carries the checksum of its own whole.
//!
//! ```text
//! PAR1 | pages | page indexes | footer: ..., retort:checksums, retort:whole = retort:whole=xxh3:0123456789abcdef | PAR1
//!                                                              of the whole file, with zeros for these 16 digits
//! ```
//!
//! The digits are found by the words before them, so that nothing is interpreted before they fit. Files that were written
//! before there was such a seal have the checksums of their pages, which are compared once the footer has told where they are.

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use arrow::array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::{KeyValue, PageIndexPolicy, ParquetMetaData, ParquetMetaDataWriter};
use parquet::file::writer::TrackedWrite;
use retort_schemas::SchemaVersion;
use retort_schemas::manifest::{CHECKSUMS_KEY, WHOLE_KEY};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::checksums::{self, Leaf, with_checksums};
use crate::files::write_atomic;
use crate::read::{Columns, decode};
use crate::seal::hex64;
use crate::table::{accept, guarded};
use crate::write::pages_of;
use crate::{Error, Result};

/// Hex digits of a checksum.
const DIGITS: usize = 16;

/// What stands before the digits, here and nowhere else in a file.
fn marker() -> String {
    format!("{WHOLE_KEY}=xxh3:")
}

/// Writes a table that no manifest describes, such as a run's metrics.
///
/// # Errors
/// As [`crate::write_table`].
pub fn write_plain_table(path: &Path, batch: &RecordBatch) -> Result<()> {
    let pages = pages_of(path, batch)?;
    let zeros = KeyValue::new(WHOLE_KEY.to_owned(), format!("{}{}", marker(), "0".repeat(DIGITS)));
    let metadata = with_checksums(pages.metadata, &pages.leaves, Some(zeros));
    let mut bytes = Vec::new();
    let mut tracked = TrackedWrite::new(&mut bytes);
    tracked.write_all(&pages.bytes).map_err(Error::io("write", path))?;
    ParquetMetaDataWriter::new_with_tracked(tracked, &metadata).finish().map_err(Error::parquet(path))?;
    let lost = || Error::Broken { path: path.to_owned(), problem: "its footer has no room for a checksum".to_owned() };
    let digits = digits_of(&bytes).ok_or_else(lost)?;
    let whole = hex64(sum(&bytes, &digits));
    bytes[digits].copy_from_slice(whole.as_bytes());
    write_atomic(path, &bytes)
}

/// Reads a file that no manifest describes, such as a run's metrics, as one batch. Nothing of it is used before its checksum
/// fits: that of the whole file, or of each page where it was written before there was one.
///
/// # Errors
/// [`Error::Io`], [`Error::Damaged`], [`Error::Broken`] if it cannot be decoded, [`Error::Schema`] if it is of another version.
pub fn read_plain_table(path: &Path, version: SchemaVersion) -> Result<RecordBatch> {
    let bytes = Bytes::from(std::fs::read(path).map_err(Error::io("read", path))?);
    let sealed = check_whole(path, &bytes)?;
    guarded(path, || read_checked(path, bytes, sealed, version)).map_err(|error| match error {
        Error::Parquet { source, .. } => undecodable(path, &source),
        Error::Arrow { source, .. } => undecodable(path, &source),
        error => error,
    })
}

fn undecodable(path: &Path, error: &dyn std::error::Error) -> Error {
    Error::Broken { path: path.to_owned(), problem: format!("it cannot be decoded: {error}") }
}

fn read_checked(path: &Path, bytes: Bytes, sealed: bool, version: SchemaVersion) -> Result<RecordBatch> {
    let options = ArrowReaderOptions::new().with_offset_index_policy(PageIndexPolicy::Optional);
    let metadata = ArrowReaderMetadata::load(&bytes, options).map_err(Error::parquet(path))?;
    if !sealed {
        check_pages(path, &bytes, metadata.metadata())?;
    }
    accept(path, version, &metadata)?;
    let schema = metadata.schema().clone();
    let batch = decode(path, ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, metadata), Columns::All)?;
    // The reader leaves out what the file says of the table as a whole. What it says of its bytes is no part of the table.
    let mut said = schema.metadata().clone();
    said.retain(|key, _| key != CHECKSUMS_KEY && key != WHOLE_KEY);
    batch.with_schema(schema.as_ref().clone().with_metadata(said).into()).map_err(Error::arrow(path))
}

/// Compares a file with the checksum that it carries: whether it has one.
fn check_whole(path: &Path, bytes: &[u8]) -> Result<bool> {
    let Some(digits) = digits_of(bytes) else { return Ok(false) };
    let expected = String::from_utf8_lossy(&bytes[digits.clone()]).into_owned();
    let found = hex64(sum(bytes, &digits));
    if found == expected {
        return Ok(true);
    }
    Err(Error::Damaged { path: path.to_owned(), what: "the file".to_owned(), expected, found })
}

/// Compares the pages with their checksums, if the footer has any.
fn check_pages(path: &Path, bytes: &[u8], metadata: &ParquetMetaData) -> Result<()> {
    let keys = metadata.file_metadata().key_value_metadata();
    if !keys.is_some_and(|keys| keys.iter().any(|entry| entry.key == CHECKSUMS_KEY)) {
        return Ok(());
    }
    let leaves = checksums::read(metadata).map_err(|problem| Error::Broken { path: path.to_owned(), problem })?;
    leaves.iter().try_for_each(|leaf| check_leaf(path, bytes, leaf))
}

fn check_leaf(path: &Path, bytes: &[u8], leaf: &Leaf) -> Result<()> {
    for page in &leaf.pages {
        let stored = bytes.get(page.offset as usize..page.end() as usize).unwrap_or_default();
        let found = xxh3_64(stored);
        if found != page.xxh3 {
            let (what, expected) = (format!("column {}", leaf.path), hex64(page.xxh3));
            return Err(Error::Damaged { path: path.to_owned(), what, expected, found: hex64(found) });
        }
    }
    Ok(())
}

/// Where the digits of a file's checksum are. Keys are near its end: a text in its pages that has the same words comes before.
fn digits_of(bytes: &[u8]) -> Option<Range<usize>> {
    let marker = marker();
    let at = bytes.windows(marker.len()).rposition(|found| found == marker.as_bytes())?;
    let from = at + marker.len();
    (from + DIGITS <= bytes.len()).then_some(from..from + DIGITS)
}

/// The xxh3 of a file with zeros for these digits.
fn sum(bytes: &[u8], digits: &Range<usize>) -> u64 {
    let mut sum = Xxh3::new();
    sum.update(&bytes[..digits.start]);
    sum.update(&[b'0'; DIGITS]);
    sum.update(&bytes[digits.end..]);
    sum.digest()
}

#[cfg(test)]
mod tests;
