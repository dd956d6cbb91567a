//! A small data set with a teacher, written without ingesting or computing anything.

#![allow(dead_code, reason = "each user needs a part")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, FixedSizeBinaryArray, ListArray, RecordBatch, StringArray, StructArray, UInt32Array,
    UInt64Array, new_empty_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use retort_cache::{Dataset, DatasetWriter, SplitPlan, TeacherWriter, vectors};
use retort_schemas::features::tokens;
use retort_schemas::manifest::BatchPlan;
use retort_schemas::parts::PART_SHARDS;
use retort_schemas::{Dtype, ID_BYTES, VectorType, features, tables};

pub mod stores;

/// Result of tests and examples.
pub type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Elements of a vector.
pub const WIDTH: usize = 4;
/// Images and texts of a shard.
pub const IMAGES: u8 = 3;
/// Texts of a shard.
pub const TEXTS: u8 = 4;
/// Image and texts of each sample of a shard: one has two texts, one has none.
pub const SAMPLES: [(u32, &[u32]); 5] = [(2, &[0]), (0, &[3]), (1, &[1, 2]), (2, &[3]), (0, &[])];

/// The tables of a teacher that has seen everything.
pub const ALL: [&str; 4] = [features::images::NAME, features::texts::NAME, tokens::NAME, features::words::NAME];

/// A PNG of one red pixel.
const PNG: &[u8] = b"\x89PNG\x0d\x0a\x1a\x0a\x00\x00\x00\x0dIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde\x00\x00\x00\x0c\
    IDATx\x9cc8\xa1\xa1\x01\x00\x02\xd4\x01\x19\x05P\x8f\xa4\x00\x00\x00\x00IEND\xaeB`\x82";

/// Writes split `train` of so many shards; shard i's ids begin at `16 * i + first`.
pub fn write_dataset(folder: &Path, shards: u8, first: u8) -> Result<Dataset> {
    write_split(folder, "train", shards, first)
}

/// As [`write_dataset`], a split of this name.
pub fn write_split(folder: &Path, split: &str, shards: u8, first: u8) -> Result<Dataset> {
    write_split_in_runs(folder, split, shards, first, PART_SHARDS)
}

/// As [`write_split`], its manifest with parts of so many shards.
pub fn write_split_in_runs(folder: &Path, split: &str, shards: u8, first: u8, run: usize) -> Result<Dataset> {
    let plan = SplitPlan {
        name: split.to_owned(),
        source: "test".to_owned(),
        options: serde_json::Value::Null,
        answers: None,
    };
    let mut writer = DatasetWriter::begin(folder, plan)?.in_runs_of(run);
    for shard in 0..shards {
        let first = 16 * shard + first;
        writer.commit(&[
            (tables::images::NAME, images(first)?),
            (tables::texts::NAME, texts(first)?),
            (tables::samples::NAME, samples(first)?),
        ])?;
    }
    writer.finish()?;
    Ok(Dataset::open(folder)?)
}

/// Adds a teacher of every table: element `i` of everything is its own function of id and column, times `scale`.
pub fn write_teacher(dataset: &Dataset, name: &str, scale: f32) -> Result {
    write_features(dataset, name, scale, &ALL)
}

/// As [`write_teacher`], tables of these names only.
pub fn write_features(dataset: &Dataset, name: &str, scale: f32, wanted: &[&str]) -> Result {
    write_features_in_runs(dataset, name, scale, wanted, PART_SHARDS)
}

/// As [`write_features`], the teacher's manifest with parts of so many shards.
pub fn write_features_in_runs(dataset: &Dataset, name: &str, scale: f32, wanted: &[&str], run: usize) -> Result {
    let mut writer = open_writer(dataset, name)?.in_runs_of(run);
    let shards: Vec<_> = dataset.shards().collect::<retort_cache::Result<_>>()?;
    for shard in shards {
        let images = dataset.read(&shard, tables::images::NAME, retort_cache::Columns::Named(&["image_id"]))?;
        let texts = dataset.read(&shard, tables::texts::NAME, retort_cache::Columns::Named(&["text_id"]))?;
        let all = [
            (features::images::NAME, pooled(&images, features::images::schema(vector()), scale)?),
            (features::texts::NAME, pooled(&texts, features::texts::schema(vector()), -scale)?),
            (tokens::NAME, token_features(&texts, scale)?),
            (features::words::NAME, word_features(&shard.name, scale)?),
        ];
        let chosen: Vec<_> = all.into_iter().filter(|(table, _)| wanted.contains(table)).collect();
        // What `teach` does where tables are missing: those alone.
        let there = writer.cache().shard(&shard.name)?.map(|shard| shard.tables).unwrap_or_default();
        let missing: Vec<_> = chosen.into_iter().filter(|(table, _)| !there.contains_key(*table)).collect();
        if !missing.is_empty() {
            writer.commit(&shard.name, &missing)?;
        }
    }
    Ok(writer.finish()?)
}

/// Opens the cache of a teacher for writing: the lock is held until it is dropped.
pub fn open_writer(dataset: &Dataset, name: &str) -> Result<TeacherWriter> {
    let identity = serde_json::json!({ "architecture": "clip", "name": name });
    let plan = BatchPlan::of_rows(8, 8);
    Ok(TeacherWriter::open(dataset, name, true, Dtype::F16, identity, plan)?)
}

fn vector() -> VectorType {
    VectorType { dtype: Dtype::F16, width: WIDTH }
}

/// The stored vector of an id: no two are parallel.
pub fn values(id: u8, scale: f32) -> Vec<f32> {
    (0..WIDTH).map(|at| scale * (1.0 + f32::from(id) * (at as f32 + 1.0) / 16.0 - at as f32)).collect()
}

fn pooled(rows: &RecordBatch, schema: SchemaRef, scale: f32) -> Result<RecordBatch> {
    let ids = retort_cache::take_ids(rows)?;
    let floats: Vec<f32> = ids.iter().flatten().flat_map(|id| values(id[0], scale)).collect();
    Ok(RecordBatch::try_new(schema, vec![Arc::new(ids.clone()), Arc::new(vectors::encode(vector(), &floats)?)])?)
}

/// Row i has i tokens.
fn token_features(rows: &RecordBatch, scale: f32) -> Result<RecordBatch> {
    let ids = retort_cache::take_ids(rows)?;
    let schema = tokens::schema(vector());
    let lengths: Vec<usize> = (0..ids.len()).collect();
    let owners =
        ids.iter().flatten().zip(&lengths).flat_map(|(id, length)| (0..*length).map(move |at| id[0] + at as u8));
    let floats: Vec<f32> = owners.flat_map(|id| values(id, scale)).collect();
    let count = lengths.iter().sum::<usize>();
    let column = |at: usize, items: ArrayRef| -> Result<ArrayRef> {
        let DataType::List(item) = schema.field(at).data_type() else { return Err("no list".into()) };
        let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
        Ok(Arc::new(ListArray::try_new(item.clone(), offsets, items, None)?))
    };
    let numbers = || Arc::new(UInt32Array::from_iter_values(0..count as u32)) as ArrayRef;
    let spans = StructArray::try_new(tokens::span_fields(), vec![numbers(), numbers()], None)?;
    let vectors = column(1, Arc::new(vectors::encode(vector(), &floats)?))?;
    let spans = column(2, Arc::new(spans))?;
    Ok(RecordBatch::try_new(schema, vec![Arc::new(ids.clone()), vectors, spans])?)
}

fn word_features(shard: &str, scale: f32) -> Result<RecordBatch> {
    let words = StringArray::from(vec![format!("red-{shard}"), format!("shape-{shard}")]);
    let column = |id: u8| -> Result<ArrayRef> {
        let floats: Vec<f32> = [id, id + 1].into_iter().flat_map(|id| values(id, scale)).collect();
        Ok(Arc::new(vectors::encode(vector(), &floats)?))
    };
    Ok(RecordBatch::try_new(features::words::schema(vector()), vec![Arc::new(words), column(3)?, column(5)?])?)
}

/// An id is 16 times its byte.
fn ids(first: u8, rows: u8) -> Result<ArrayRef> {
    let rows = (first..first + rows).map(|byte| [byte; ID_BYTES as usize]);
    Ok(Arc::new(FixedSizeBinaryArray::try_from_iter(rows)?))
}

/// An id in hex.
pub fn hex_id(byte: u8) -> String {
    format!("{byte:02x}").repeat(ID_BYTES as usize)
}

pub fn images(first: u8) -> Result<RecordBatch> {
    let names: Vec<String> = (first..first + IMAGES).map(|id| format!("photos/{id}.png")).collect();
    let bytes: Vec<&[u8]> = vec![PNG; usize::from(IMAGES)];
    let sizes = || Arc::new(UInt32Array::from(vec![1; usize::from(IMAGES)])) as ArrayRef;
    let columns: Vec<ArrayRef> = vec![
        ids(first, IMAGES)?,
        Arc::new(StringArray::from(names)),
        Arc::new(BinaryArray::from(bytes)),
        Arc::new(StringArray::from(vec!["png"; usize::from(IMAGES)])),
        sizes(),
        sizes(),
        sizes(),
        sizes(),
        Arc::new(UInt64Array::from(vec![0; usize::from(IMAGES)])),
    ];
    Ok(RecordBatch::try_new(tables::images::schema(), columns)?)
}

pub fn texts(first: u8) -> Result<RecordBatch> {
    let texts: Vec<String> = (first..first + TEXTS).map(|id| format!("text number {id}")).collect();
    let schema = tables::texts::schema();
    let rows = usize::from(TEXTS);
    let columns: Vec<ArrayRef> = vec![
        ids(first, TEXTS)?,
        Arc::new(StringArray::from(texts)),
        empty(&schema, 2, rows)?,
        empty(&schema, 3, rows)?,
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}

pub fn samples(first: u8) -> Result<RecordBatch> {
    let schema = tables::samples::schema();
    let rows = SAMPLES.len();
    let words = |word: &str| Arc::new(StringArray::from(vec![word; rows])) as ArrayRef;
    let nothing = || Arc::new(StringArray::from(vec![None::<&str>; rows])) as ArrayRef;
    let names: Vec<String> = (0..rows).map(|at| format!("sample.{first}/{at}")).collect();
    let DataType::List(item) = schema.field(4).data_type() else { return Err("no list".into()) };
    let texts: Vec<u32> = SAMPLES.iter().flat_map(|(_, texts)| texts.iter().copied()).collect();
    let offsets = OffsetBuffer::from_lengths(SAMPLES.iter().map(|(_, texts)| texts.len()));
    let groups = SAMPLES.iter().map(|(image, _)| [first + *image as u8; ID_BYTES as usize]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(names)),
        words("vqa"),
        words("train"),
        Arc::new(UInt32Array::from_iter_values(SAMPLES.iter().map(|(image, _)| *image))),
        Arc::new(ListArray::try_new(item.clone(), offsets, Arc::new(UInt32Array::from(texts)), None)?),
        Arc::new(UInt32Array::from(vec![None; rows])),
        nothing(),
        empty(&schema, 7, rows)?,
        empty(&schema, 8, rows)?,
        nothing(),
        nothing(),
        Arc::new(FixedSizeBinaryArray::try_from_iter(groups)?),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// A list column of empty lists.
fn empty(schema: &Schema, at: usize, rows: usize) -> Result<ArrayRef> {
    let DataType::List(item) = schema.field(at).data_type() else { return Err("no list".into()) };
    let offsets = OffsetBuffer::from_lengths(vec![0; rows]);
    Ok(Arc::new(ListArray::try_new(item.clone(), offsets, new_empty_array(item.data_type()), None)?))
}
