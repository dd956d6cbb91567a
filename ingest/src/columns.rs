//! Rows as Arrow columns, as `schemas` lays the tables down.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, FixedSizeBinaryArray, Float32Array, ListArray, RecordBatch, StringArray, StructArray,
    UInt32Array, UInt64Array,
};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use retort_schemas::{ID_BYTES, tables};

use crate::images::{CheckedImage, ContentId};
use crate::rejects::Reject;
use crate::shard::{RegionColumns, Sample};
use crate::source::{Regions, Text};

pub(crate) fn images(rows: &[CheckedImage]) -> Result<RecordBatch, ArrowError> {
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
            numbers(|image| image.source_width),
            numbers(|image| image.source_height),
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|image| image.phash))),
        ],
    )
}

/// Row i holds the objects of image i.
pub(crate) fn regions(
    columns: RegionColumns,
    images: &[CheckedImage],
    rows: &[Regions],
) -> Option<Result<RecordBatch, ArrowError>> {
    let vector = match columns {
        RegionColumns::None => return None,
        RegionColumns::Boxes => None,
        RegionColumns::Features(vector) => Some(vector),
    };
    let build = || {
        let schema = tables::regions::schema(vector);
        let boxes = || rows.iter().flat_map(|regions| &regions.boxes);
        let corner = |at: usize| Arc::new(Float32Array::from_iter_values(boxes().map(|region| region.corners[at])));
        let objects: Vec<ArrayRef> = vec![
            corner(0),
            corner(1),
            corner(2),
            corner(3),
            Arc::new(boxes().map(|region| region.class.as_deref()).collect::<StringArray>()),
            Arc::new(boxes().map(|region| region.score).collect::<Float32Array>()),
        ];
        let objects = StructArray::try_new(tables::regions::box_fields(), objects, None)?;
        let lengths = rows.iter().map(|regions| regions.boxes.len());
        let mut columns: Vec<ArrayRef> = vec![
            ids(images.iter().map(|image| image.id))?,
            list(&schema, tables::regions::BOXES, lengths, Arc::new(objects))?,
        ];
        if let Some(vector) = vector {
            let features = || rows.iter().map(|regions| regions.features.as_ref());
            let mut encoded = Vec::with_capacity(features().flatten().map(|found| 2 * found.halves.len()).sum());
            features().flatten().flat_map(|found| &found.halves).for_each(|half| encoded.extend(half.to_le_bytes()));
            let bytes = i32::try_from(vector.bytes()).unwrap_or(i32::MAX);
            let encoded = FixedSizeBinaryArray::try_new(bytes, Buffer::from_vec(encoded), None)?;
            let lengths =
                features().map(|features| features.map_or(0, |found| found.halves.len() / vector.width.max(1)));
            columns.push(list(&schema, tables::regions::FEATURES, lengths, Arc::new(encoded))?);
        }
        RecordBatch::try_new(schema, columns)
    };
    Some(build())
}

pub(crate) fn texts(rows: &[(ContentId, Text<'_>)]) -> Result<RecordBatch, ArrowError> {
    use tables::texts::{OBJECTS, PARTS, object_fields, schema};

    let schema = schema();
    let references = || rows.iter().flat_map(|(_, text)| &text.objects);
    let objects: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from_iter_values(references().map(|reference| reference.start))),
        Arc::new(UInt32Array::from_iter_values(references().map(|reference| reference.end))),
        Arc::new(UInt32Array::from_iter_values(references().map(|reference| reference.object))),
    ];
    let objects = StructArray::try_new(object_fields(), objects, None)?;
    let parts = UInt32Array::from_iter_values(rows.iter().flat_map(|(_, text)| text.parts.iter().copied()));
    let columns = vec![
        ids(rows.iter().map(|(id, _)| *id))?,
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, text)| &text.text))),
        list(&schema, OBJECTS, rows.iter().map(|(_, text)| text.objects.len()), Arc::new(objects))?,
        list(&schema, PARTS, rows.iter().map(|(_, text)| text.parts.len()), Arc::new(parts))?,
    ];
    RecordBatch::try_new(schema, columns)
}

pub(crate) fn samples(rows: &[Sample<'_>], split: &str) -> Result<RecordBatch, ArrowError> {
    use tables::samples::{ANSWERS, TARGETS, TEXTS, schema, target_fields};

    let schema = schema();
    let records = || rows.iter().map(|sample| &sample.record);
    let texts = UInt32Array::from_iter_values(rows.iter().flat_map(|sample| sample.texts.iter().copied()));
    let answers: StringArray = records().flat_map(|record| &record.answers).map(Some).collect();
    let targets = || records().flat_map(|record| &record.targets);
    let classes = UInt32Array::from_iter_values(targets().map(|(class, _)| *class));
    let scores = Float32Array::from_iter_values(targets().map(|(_, score)| *score));
    let targets = StructArray::try_new(target_fields(), vec![Arc::new(classes), Arc::new(scores)], None)?;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(records().map(|record| &record.id))),
        Arc::new(StringArray::from_iter_values(records().map(|record| record.task))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|_| split))),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|sample| sample.image))),
        list(&schema, TEXTS, rows.iter().map(|sample| sample.texts.len()), Arc::new(texts))?,
        Arc::new(records().map(|record| record.label).collect::<UInt32Array>()),
        Arc::new(records().map(|record| record.label_text.as_deref()).collect::<StringArray>()),
        list(&schema, ANSWERS, records().map(|record| record.answers.len()), Arc::new(answers))?,
        list(&schema, TARGETS, records().map(|record| record.targets.len()), Arc::new(targets))?,
        Arc::new(records().map(|record| record.question_type.as_deref()).collect::<StringArray>()),
        Arc::new(records().map(|record| record.answer_type.as_deref()).collect::<StringArray>()),
        ids(rows.iter().map(|sample| sample.group))?,
    ];
    RecordBatch::try_new(schema, columns)
}

pub(crate) fn rejects(rows: &[Reject]) -> Result<RecordBatch, ArrowError> {
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
