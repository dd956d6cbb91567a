//! Tables that have the images in a column: the format `parquet`, read a few rows at a time.

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, ArrayRef, BinaryArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::metadata::{self, Digest, HASH_COLUMNS, Row, Texts};
use crate::images::LARGEST_FILE;

/// The columns of images that img2dataset writes, named by the format it encodes to.
const IMAGE_COLUMNS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Rows that are decoded at a time: as many images are in memory.
const BATCH_ROWS: usize = 64;

/// A row of a table.
pub(super) struct ImageRow {
    pub key: String,
    pub outcome: Row,
    /// The encoded image, where there is one.
    pub image: Option<Vec<u8>>,
    /// The name of its column.
    pub suffix: String,
    /// The first of the columns of captions that has a value.
    pub text: Option<String>,
    pub digest: Option<Digest>,
}

/// Whether a table has images; one that cannot be opened might.
pub(super) fn has_images(path: &Path) -> bool {
    let schema = || {
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).ok()?).ok()?;
        Some(image_column(builder.schema()).is_some())
    };
    schema().unwrap_or(true)
}

fn image_column(schema: &Schema) -> Option<usize> {
    let is_binary = |kind: &DataType| matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    schema.fields().iter().position(|field| {
        is_binary(field.data_type()) && IMAGE_COLUMNS.iter().any(|name| field.name().eq_ignore_ascii_case(name))
    })
}

/// A table being read, in its own order.
pub(super) struct Table<'a> {
    /// Columns of captions, in lower case.
    captions: Vec<&'a str>,
    batches: ParquetRecordBatchReader,
    batch: Option<Batch>,
    row: usize,
    ended: bool,
}

struct Batch {
    rows: usize,
    texts: Texts,
    suffix: String,
    images: BinaryArray,
}

impl<'a> Table<'a> {
    pub(super) fn open(path: &Path, captions: Vec<&'a str>) -> Result<Self, String> {
        let columns = [&metadata::ROW_COLUMNS[..], &HASH_COLUMNS, &IMAGE_COLUMNS, &captions].concat();
        let wanted = |name: &str| columns.iter().any(|column| name.eq_ignore_ascii_case(column));
        let batches = metadata::read(path, wanted, BATCH_ROWS)?;
        Ok(Self { captions, batches, batch: None, row: 0, ended: false })
    }

    fn next_row(&mut self) -> Result<Option<ImageRow>, String> {
        while self.batch.as_ref().is_none_or(|batch| self.row == batch.rows) {
            let Some(batch) = self.batches.next() else { return Ok(None) };
            self.batch = Some(Batch::of(&batch.map_err(|error| error.to_string())?)?);
            self.row = 0;
        }
        let Some(batch) = &self.batch else { return Ok(None) };
        let row = batch.row(self.row, &self.captions)?;
        self.row += 1;
        Ok(Some(row))
    }
}

impl Iterator for Table<'_> {
    type Item = Result<ImageRow, String>;

    /// After an error there is nothing: what follows it is lost.
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let row = self.next_row().transpose();
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }
}

impl Batch {
    fn of(batch: &RecordBatch) -> Result<Self, String> {
        let schema = batch.schema();
        let expected = "expected a binary column jpg, png or webp";
        let at = image_column(&schema).ok_or(expected)?;
        let images: ArrayRef = cast(batch.column(at), &DataType::Binary).map_err(|error| error.to_string())?;
        let images = images.as_any().downcast_ref::<BinaryArray>().ok_or(expected)?.clone();
        let suffix = schema.field(at).name().to_ascii_lowercase();
        Ok(Self { rows: batch.num_rows(), texts: Texts::of(batch)?, suffix, images })
    }

    fn row(&self, row: usize, captions: &[&str]) -> Result<ImageRow, String> {
        let key = self.texts.get("key", row).ok_or("expected a column key with a value in each row")?;
        let image = self.images.is_valid(row).then(|| self.images.value(row));
        Ok(ImageRow {
            key: key.to_owned(),
            outcome: Row::of(&self.texts, row),
            image: image.filter(|bytes| bytes.len() as u64 <= LARGEST_FILE).map(<[u8]>::to_vec),
            suffix: self.suffix.clone(),
            text: captions.iter().find_map(|name| self.texts.get(name, row)).map(str::to_owned),
            digest: Digest::of(|name| self.texts.get(name, row).map(str::to_owned)),
        })
    }
}
