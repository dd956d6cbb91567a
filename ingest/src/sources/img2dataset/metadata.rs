//! The metadata of a shard: what became of each key, and the hashes of the downloads.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use arrow::array::{Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use md5::Md5;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest as _, Sha256, Sha512};

/// Rows that are decoded at a time.
const BATCH_ROWS: usize = 1024;

/// The columns of a [`Row`].
pub(super) const ROW_COLUMNS: [&str; 4] = ["key", "status", "error_message", "url"];

/// Columns of texts, in any case: the caption as img2dataset writes it, as its input had it, and as LAION has it.
pub(super) fn caption_columns(named: Option<&str>) -> Vec<&str> {
    named.map_or_else(|| vec!["txt", "caption", "text"], |name| vec![name])
}

/// What became of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Status {
    Success,
    FailedToDownload,
    FailedToResize,
    Other(String),
}

impl Status {
    fn of(word: &str) -> Self {
        match word {
            "success" => Self::Success,
            "failed_to_download" => Self::FailedToDownload,
            "failed_to_resize" => Self::FailedToResize,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// What the metadata say of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub status: Status,
    /// Why it failed, with the address that it was asked from.
    pub message: String,
}

impl Row {
    /// Reads a row of columns found by [`Texts`].
    pub(super) fn of(texts: &Texts, row: usize) -> Self {
        let message = [texts.get("error_message", row), texts.get("url", row)].into_iter().flatten();
        let message: Vec<&str> = message.filter(|text| !text.is_empty()).collect();
        // Without the column every row that has an image is a success; those that have none, nobody knows.
        Self { status: Status::of(texts.get("status", row).unwrap_or("unknown")), message: message.join(": ") }
    }
}

/// What the metadata of a shard say, by key.
pub(super) fn rows(path: &Path) -> Result<BTreeMap<String, Row>, String> {
    let mut rows = BTreeMap::new();
    let wanted = |name: &str| ROW_COLUMNS.iter().any(|column| name.eq_ignore_ascii_case(column));
    for batch in read(path, wanted, BATCH_ROWS)? {
        let batch = batch.map_err(|error| error.to_string())?;
        let texts = Texts::of(&batch)?;
        for row in 0..batch.num_rows() {
            let key = texts.get("key", row).ok_or("expected a column key with a value in each row")?;
            rows.insert(key.to_owned(), Row::of(&texts, row));
        }
    }
    Ok(rows)
}

/// Opens a Parquet file with some of its columns, to be decoded a few rows at a time.
pub(super) fn read(
    path: &Path,
    wanted: impl Fn(&str) -> bool,
    batch_rows: usize,
) -> Result<parquet::arrow::arrow_reader::ParquetRecordBatchReader, String> {
    let open = || -> Result<_, parquet::errors::ParquetError> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
        let fields = builder.schema().fields();
        let columns: Vec<usize> = (0..fields.len()).filter(|at| wanted(fields[*at].name())).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), columns);
        builder.with_projection(mask).with_batch_size(batch_rows).build()
    };
    open().map_err(|error| error.to_string())
}

/// Columns that can be read as texts, by their names in lower case.
pub(super) struct Texts(BTreeMap<String, StringArray>);

impl Texts {
    pub(super) fn of(batch: &RecordBatch) -> Result<Self, String> {
        let mut columns = BTreeMap::new();
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            // Old releases write keys as numbers, and pandas texts in several ways.
            let is_text = matches!(
                field.data_type(),
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..)
            );
            if !is_text && !field.data_type().is_integer() {
                continue;
            }
            let cast = cast(column, &DataType::Utf8).map_err(|error| format!("column {}: {error}", field.name()))?;
            if let Some(texts) = cast.as_any().downcast_ref::<StringArray>() {
                columns.entry(field.name().to_ascii_lowercase()).or_insert_with(|| texts.clone());
            }
        }
        Ok(Self(columns))
    }

    /// The value of a column in a row, unless it is null.
    pub(super) fn get(&self, column: &str, row: usize) -> Option<&str> {
        let texts = self.0.get(column)?;
        texts.is_valid(row).then(|| texts.value(row))
    }
}

/// The hash of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Digest {
    algorithm: Algorithm,
    hex: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Sha256,
    Sha512,
    Md5,
}

/// Columns of hashes that img2dataset can write.
pub(super) const HASH_COLUMNS: [&str; 3] = ["sha256", "sha512", "md5"];

impl Digest {
    /// The first hash that there is.
    pub(super) fn of(column: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let algorithms = [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Md5];
        HASH_COLUMNS.into_iter().zip(algorithms).find_map(|(name, algorithm)| {
            let hex = column(name).filter(|hex| !hex.is_empty())?.to_ascii_lowercase();
            Some(Self { algorithm, hex })
        })
    }

    pub(super) fn check(&self, bytes: &[u8]) -> Result<(), String> {
        let (name, found) = match self.algorithm {
            Algorithm::Sha256 => ("sha256", hex(&Sha256::digest(bytes))),
            Algorithm::Sha512 => ("sha512", hex(&Sha512::digest(bytes))),
            Algorithm::Md5 => ("md5", hex(&Md5::digest(bytes))),
        };
        if found == self.hex {
            return Ok(());
        }
        let expected: String = self.hex.chars().take(128).collect();
        Err(format!("expected bytes with the {name} {expected} of the download, found {found}"))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hash_of_img2dataset_is_checked() {
        for (name, hex) in [
            ("md5", "900150983cd24fb0d6963f7d28e17f72"),
            ("sha256", "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"),
            (
                "sha512",
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ] {
            let digest = Digest::of(|column| (column == name).then(|| hex.to_owned())).unwrap();
            assert_eq!(digest.check(b"abc"), Ok(()));
            let message = digest.check(b"abd").unwrap_err();
            assert!(message.contains(&format!("expected bytes with the {name}")), "{message}");
        }
        assert_eq!(Digest::of(|_| None), None);
    }
}
