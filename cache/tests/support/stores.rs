//! Teachers of every table in any store.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, RecordBatch, StringArray, StructArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use retort_cache::{Columns, Dataset, TeacherWriter, take_ids, vectors};
use retort_schemas::features::{EMBEDDING, images, patches, texts, tokens, words};
use retort_schemas::manifest::BatchPlan;
use retort_schemas::{Store, tables};

use crate::support::{Result, WIDTH, values};

/// Vectors of an image's grid.
pub const PATCHES: usize = 2;

/// The words of `text number 7` as byte offsets: row i of a shard has the first i of them as its tokens.
pub fn spans(id: u8, row: usize) -> Vec<(u32, u32)> {
    let end = 12 + id.to_string().len() as u32;
    [(0, 4), (5, 11), (12, end)].into_iter().take(row).collect()
}

/// The teachers of the data set that `docs/python.md` reads: `clip-f32` and so on.
pub const STORES: [(&str, &str); 4] =
    [("clip-f32", "f32"), ("clip-f16", "f16"), ("clip-bf16", "bf16"), ("clip-cos", "cos:0.999")];

/// Adds a teacher of every store and table. Vectors are [`values`] of the id's first byte; those of patch or token k of it
/// plus k; those of words are made of 3 and 5.
pub fn write_every_store(dataset: &Dataset) -> Result {
    for (name, store) in STORES {
        write_stored(dataset, name, store.parse()?)?;
    }
    Ok(())
}

/// Adds one teacher of every table.
pub fn write_stored(dataset: &Dataset, name: &str, store: Store) -> Result {
    let identity = serde_json::json!({ "architecture": "clip", "name": name });
    let plan = BatchPlan::of_rows(8, 8);
    let mut writer = TeacherWriter::open(dataset, name, true, store, identity, plan)?;
    for shard in dataset.shards().collect::<retort_cache::Result<Vec<_>>>()? {
        let ids = |table, id| -> Result<(ArrayRef, Vec<u8>)> {
            let batch = dataset.read(&shard, table, Columns::Named(&[id]))?;
            let ids = take_ids(&batch)?.clone();
            let bytes = ids.iter().flatten().map(|id| id[0]).collect();
            Ok((Arc::new(ids), bytes))
        };
        let image_ids = ids(tables::images::NAME, tables::images::IMAGE_ID)?;
        let text_ids = ids(tables::texts::NAME, tables::texts::TEXT_ID)?;
        let pooled = |ids: &[u8], scale: f32| {
            let floats: Vec<f32> = ids.iter().flat_map(|id| values(*id, scale)).collect();
            vectors::store(store, EMBEDDING, WIDTH, &floats)
        };
        let (of_images, of_texts) = (pooled(&image_ids.1, 1.0)?, pooled(&text_ids.1, -1.0)?);
        writer.commit(
            &shard.name,
            &[
                (images::NAME, batch(images::with(of_images.fields), &image_ids.0, of_images.columns)?),
                (texts::NAME, batch(texts::with(of_texts.fields), &text_ids.0, of_texts.columns)?),
                (patches::NAME, grids(store, &image_ids)?),
                (tokens::NAME, token_lists(store, &text_ids)?),
                (words::NAME, word_vectors(store, &shard.name)?),
            ],
        )?;
    }
    Ok(())
}

fn batch(schema: arrow::datatypes::SchemaRef, ids: &ArrayRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    Ok(RecordBatch::try_new(schema, [vec![ids.clone()], columns].concat())?)
}

/// Lists of vectors: `lengths[i]` of row i.
fn lists(store: Store, name: &str, ids: &[u8], lengths: &[usize]) -> Result<vectors::Stored> {
    let of_row = |(id, length): (&u8, &usize)| {
        let id = *id;
        (0..*length).flat_map(move |at| values(id + at as u8, 1.0)).collect::<Vec<f32>>()
    };
    let floats: Vec<f32> = ids.iter().zip(lengths).flat_map(of_row).collect();
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    Ok(vectors::store_lists(store, name, WIDTH, &floats, &offsets)?)
}

fn grids(store: Store, (column, ids): &(ArrayRef, Vec<u8>)) -> Result<RecordBatch> {
    let stored = lists(store, patches::GRID, ids, &vec![PATCHES; ids.len()])?;
    batch(patches::with(stored.fields), column, stored.columns)
}

fn token_lists(store: Store, (column, ids): &(ArrayRef, Vec<u8>)) -> Result<RecordBatch> {
    let spans: Vec<Vec<(u32, u32)>> = ids.iter().enumerate().map(|(row, id)| spans(*id, row)).collect();
    let lengths: Vec<usize> = spans.iter().map(Vec::len).collect();
    let stored = lists(store, tokens::TOKENS, ids, &lengths)?;
    let all = || spans.iter().flatten();
    let (starts, ends) = (all().map(|span| span.0), all().map(|span| span.1));
    let bounds: Vec<ArrayRef> =
        vec![Arc::new(UInt32Array::from_iter_values(starts)), Arc::new(UInt32Array::from_iter_values(ends))];
    let bounds = StructArray::try_new(tokens::span_fields(), bounds, None)?;
    let item = Field::new_list_field(DataType::Struct(tokens::span_fields()), false);
    let offsets = OffsetBuffer::from_lengths(lengths);
    let spans: ArrayRef = Arc::new(ListArray::try_new(Arc::new(item), offsets, Arc::new(bounds), None)?);
    batch(tokens::with(stored.fields), column, [stored.columns, vec![spans]].concat())
}

/// Two words a shard.
fn word_vectors(store: Store, shard: &str) -> Result<RecordBatch> {
    let words: ArrayRef = Arc::new(StringArray::from(vec![format!("red-{shard}"), format!("shape-{shard}")]));
    let two = |name, id| vectors::store(store, name, WIDTH, &[values(id, 1.0), values(id + 1, 1.0)].concat());
    let (isolated, prompt) = (two(words::ISOLATED, 3)?, two(words::PROMPT, 5)?);
    let schema = words::with(isolated.fields, prompt.fields);
    batch(schema, &words, [isolated.columns, prompt.columns].concat())
}
