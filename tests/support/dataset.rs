//! Small data sets of any rows, written without ingesting anything.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, FixedSizeBinaryArray, ListArray, RecordBatch, StringArray, UInt32Array, UInt64Array,
    new_empty_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use image::{ImageFormat, Rgb, RgbImage};
use retort_cache::{Dataset, DatasetWriter, SplitPlan};
use retort_schemas::{ID_BYTES, tables};

use super::Result;

/// A PNG with stripes, another for each seed.
pub fn stripes(seed: u8) -> Result<Vec<u8>> {
    let colour =
        |x: u32, y: u32| if (x / 4 + y / 9).is_multiple_of(2) { [seed, 255 - seed, 40] } else { [230, 7, seed] };
    let image = RgbImage::from_fn(40, 36, |x, y| Rgb(colour(x, y + u32::from(seed))));
    let mut png = Cursor::new(Vec::new());
    image.write_to(&mut png, ImageFormat::Png)?;
    Ok(png.into_inner())
}

/// The rows of one shard. An id is 16 times its byte.
#[derive(Clone)]
pub struct Rows {
    /// Id and encoded image.
    pub images: Vec<(u8, Vec<u8>)>,
    /// Id and text.
    pub texts: Vec<(u8, &'static str)>,
}

/// An id as error messages show it.
pub fn hex_id(byte: u8) -> String {
    format!("{byte:02x}").repeat(ID_BYTES as usize)
}

/// Writes images and texts as split `train` of a data set, one shard for each item, and opens it.
pub fn write_dataset(folder: &Path, shards: &[Rows]) -> Result<Dataset> {
    let plan = SplitPlan {
        name: "train".to_owned(),
        source: "test".to_owned(),
        options: serde_json::Value::Null,
        answers: None,
    };
    let mut writer = DatasetWriter::begin(folder, plan)?;
    for rows in shards {
        writer.commit(&[(tables::images::NAME, images(rows)?), (tables::texts::NAME, texts(rows)?)])?;
    }
    writer.finish()?;
    Ok(Dataset::open(folder)?)
}

fn ids(bytes: impl Iterator<Item = u8>) -> Result<ArrayRef> {
    let rows: Vec<[u8; ID_BYTES as usize]> = bytes.map(|byte| [byte; ID_BYTES as usize]).collect();
    Ok(Arc::new(FixedSizeBinaryArray::try_from_iter(rows.into_iter())?))
}

fn images(rows: &Rows) -> Result<RecordBatch> {
    let count = rows.images.len();
    let sources = rows.images.iter().map(|(id, _)| format!("{id}.png"));
    let side = |pixels: u32| -> ArrayRef { Arc::new(UInt32Array::from(vec![pixels; count])) };
    let columns = vec![
        ids(rows.images.iter().map(|(id, _)| *id))?,
        Arc::new(StringArray::from_iter_values(sources)),
        Arc::new(BinaryArray::from_iter_values(rows.images.iter().map(|(_, bytes)| bytes))),
        Arc::new(StringArray::from(vec!["png"; count])),
        side(40),
        side(36),
        side(40),
        side(36),
        Arc::new(UInt64Array::from(vec![0; count])),
    ];
    Ok(RecordBatch::try_new(tables::images::schema(), columns)?)
}

fn texts(rows: &Rows) -> Result<RecordBatch> {
    let object = DataType::Struct(tables::texts::object_fields());
    let no_lists_of = |of: DataType| -> Result<ArrayRef> {
        let none = OffsetBuffer::from_lengths(vec![0; rows.texts.len()]);
        let values = new_empty_array(&of);
        Ok(Arc::new(ListArray::try_new(Arc::new(Field::new_list_field(of, false)), none, values, None)?))
    };
    let columns = vec![
        ids(rows.texts.iter().map(|(id, _)| *id))?,
        Arc::new(StringArray::from_iter_values(rows.texts.iter().map(|(_, text)| text))),
        no_lists_of(object)?,
        no_lists_of(DataType::UInt32)?,
    ];
    Ok(RecordBatch::try_new(tables::texts::schema(), columns)?)
}
