//! The tables of one shard in the making.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, FixedSizeBinaryArray, Float32Array, ListArray, RecordBatch, StringArray, StructArray,
    UInt32Array, UInt64Array,
};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use retort_schemas::{ID_BYTES, tables};

use crate::images::{CheckedImage, ContentId, content_id};
use crate::rejects::Reject;
use crate::{Error, Result};

/// A row of `samples`; what a source does not have stays at its default.
#[derive(Debug, Default)]
pub(crate) struct Sample<'a> {
    pub id: Cow<'a, str>,
    pub task: &'static str,
    /// Row of the shard's images, from [`ShardBuilder::add_image`].
    pub image: u32,
    /// Rows of the shard's texts, from [`ShardBuilder::add_text`].
    pub texts: Vec<u32>,
    pub label: Option<u32>,
    pub label_text: Option<Cow<'a, str>>,
    pub answers: Vec<Cow<'a, str>>,
    /// Class and score.
    pub targets: Vec<(u32, f32)>,
    pub question_type: Option<Cow<'a, str>>,
    pub answer_type: Option<Cow<'a, str>>,
}

/// Collects rows in source order; equal images and equal texts become one row.
#[derive(Debug, Default)]
pub(crate) struct ShardBuilder<'a> {
    images: Vec<CheckedImage>,
    image_rows: HashMap<ContentId, u32>,
    texts: Vec<(ContentId, Cow<'a, str>)>,
    text_rows: HashMap<ContentId, u32>,
    samples: Vec<Sample<'a>>,
    rejects: Vec<Reject>,
}

/// The finished tables.
#[derive(Debug)]
pub(crate) struct ShardTables {
    pub images: RecordBatch,
    pub texts: RecordBatch,
    pub samples: RecordBatch,
    pub rejects: RecordBatch,
}

impl<'a> ShardBuilder<'a> {
    /// The row of an image; the first of several with the same bytes stays.
    pub(crate) fn add_image(&mut self, image: CheckedImage) -> u32 {
        *self.image_rows.entry(image.id).or_insert_with(|| {
            self.images.push(image);
            self.images.len() as u32 - 1
        })
    }

    /// The row of a text without object references.
    pub(crate) fn add_text(&mut self, text: Cow<'a, str>) -> u32 {
        let id = content_id(text.as_bytes());
        *self.text_rows.entry(id).or_insert_with(|| {
            self.texts.push((id, text));
            self.texts.len() as u32 - 1
        })
    }

    pub(crate) fn add_sample(&mut self, sample: Sample<'a>) {
        self.samples.push(sample);
    }

    pub(crate) fn add_reject(&mut self, reject: Reject) {
        self.rejects.push(reject);
    }

    /// Builds the tables of the shard of this name.
    ///
    /// # Errors
    /// [`Error::ShardTooLarge`] if a column would not fit into one batch.
    pub(crate) fn finish(self, shard: &str, split: &str) -> Result<ShardTables> {
        // A column's offsets are i32. Images are by far the largest, then texts; the rest follows the texts.
        let sizes = [
            (tables::images::NAME, self.images.iter().map(|image| image.bytes.len()).sum::<usize>()),
            (tables::texts::NAME, self.texts.iter().map(|(_, text)| text.len()).sum()),
            (tables::samples::NAME, self.samples.iter().flat_map(|sample| &sample.answers).map(|a| a.len() + 1).sum()),
        ];
        for (table, bytes) in sizes {
            if i32::try_from(bytes).is_err() {
                return Err(Error::ShardTooLarge { shard: shard.to_owned(), bytes, table });
            }
        }
        let group: Vec<ContentId> =
            self.samples.iter().filter_map(|sample| Some(self.images.get(sample.image as usize)?.id)).collect();
        Ok(ShardTables {
            images: images(&self.images).map_err(in_table(tables::images::NAME))?,
            texts: texts(&self.texts).map_err(in_table(tables::texts::NAME))?,
            samples: samples(&self.samples, split, &group).map_err(in_table(tables::samples::NAME))?,
            rejects: rejects(&self.rejects).map_err(in_table(tables::rejects::NAME))?,
        })
    }
}

impl ShardTables {
    /// The tables by name, in the order they are written.
    pub(crate) fn named(&self) -> [(&'static str, RecordBatch); 4] {
        [
            (tables::images::NAME, self.images.clone()),
            (tables::texts::NAME, self.texts.clone()),
            (tables::samples::NAME, self.samples.clone()),
            (tables::rejects::NAME, self.rejects.clone()),
        ]
    }
}

fn in_table(table: &'static str) -> impl FnOnce(ArrowError) -> Error {
    move |source| Error::Table { table, source }
}

fn images(rows: &[CheckedImage]) -> Result<RecordBatch, ArrowError> {
    let numbers = |of: fn(&CheckedImage) -> u32| Arc::new(UInt32Array::from_iter_values(rows.iter().map(of)));
    RecordBatch::try_new(
        tables::images::schema(),
        vec![
            ids(rows.iter().map(|image| image.id))?,
            Arc::new(StringArray::from_iter_values(rows.iter().map(|image| &image.source))),
            Arc::new(BinaryArray::from_iter_values(rows.iter().map(|image| &image.bytes))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|image| image.format))),
            numbers(|image| image.width),
            numbers(|image| image.height),
            // Stored as found, so the source has the same size.
            numbers(|image| image.width),
            numbers(|image| image.height),
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|image| image.phash))),
        ],
    )
}

fn texts(rows: &[(ContentId, Cow<'_, str>)]) -> Result<RecordBatch, ArrowError> {
    let schema = tables::texts::schema();
    let no_objects = StructArray::new_null(tables::texts::object_fields(), 0);
    let objects = list(&schema, tables::texts::OBJECTS, rows.iter().map(|_| 0), Arc::new(no_objects))?;
    let columns = vec![
        ids(rows.iter().map(|(id, _)| *id))?,
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, text)| text))),
        objects,
    ];
    RecordBatch::try_new(schema, columns)
}

fn samples(rows: &[Sample<'_>], split: &str, group: &[ContentId]) -> Result<RecordBatch, ArrowError> {
    use tables::samples::{ANSWERS, TARGETS, TEXTS, schema, target_fields};

    let schema = schema();
    let texts = UInt32Array::from_iter_values(rows.iter().flat_map(|sample| sample.texts.iter().copied()));
    let answers: StringArray = rows.iter().flat_map(|sample| &sample.answers).map(Some).collect();
    let targets = || rows.iter().flat_map(|sample| &sample.targets);
    let classes = UInt32Array::from_iter_values(targets().map(|(class, _)| *class));
    let scores = Float32Array::from_iter_values(targets().map(|(_, score)| *score));
    let targets = StructArray::try_new(target_fields(), vec![Arc::new(classes), Arc::new(scores)], None)?;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|sample| &sample.id))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|sample| sample.task))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|_| split))),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|sample| sample.image))),
        list(&schema, TEXTS, rows.iter().map(|sample| sample.texts.len()), Arc::new(texts))?,
        Arc::new(rows.iter().map(|sample| sample.label).collect::<UInt32Array>()),
        Arc::new(rows.iter().map(|sample| sample.label_text.as_deref()).collect::<StringArray>()),
        list(&schema, ANSWERS, rows.iter().map(|sample| sample.answers.len()), Arc::new(answers))?,
        list(&schema, TARGETS, rows.iter().map(|sample| sample.targets.len()), Arc::new(targets))?,
        Arc::new(rows.iter().map(|sample| sample.question_type.as_deref()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|sample| sample.answer_type.as_deref()).collect::<StringArray>()),
        ids(group.iter().copied())?,
    ];
    RecordBatch::try_new(schema, columns)
}

fn rejects(rows: &[Reject]) -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_new(
        tables::rejects::schema(),
        vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|reject| &reject.source))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|reject| reject.stage.name()))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|reject| reject.code.name()))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|reject| &reject.message))),
        ],
    )
}

/// A column of ids, also where there are none.
fn ids(ids: impl Iterator<Item = ContentId>) -> Result<ArrayRef, ArrowError> {
    let bytes: Vec<u8> = ids.flatten().collect();
    Ok(Arc::new(FixedSizeBinaryArray::try_new(ID_BYTES, Buffer::from_vec(bytes), None)?))
}

/// A list column of the schema, from the length of each list and the values of all of them.
fn list(
    schema: &SchemaRef,
    name: &str,
    lengths: impl Iterator<Item = usize>,
    values: ArrayRef,
) -> Result<ArrayRef, ArrowError> {
    match schema.field_with_name(name)?.data_type() {
        DataType::List(item) => {
            Ok(Arc::new(ListArray::try_new(item.clone(), OffsetBuffer::from_lengths(lengths), values, None)?))
        }
        other => Err(ArrowError::SchemaError(format!("column {name} is {other}, expected a list"))),
    }
}
