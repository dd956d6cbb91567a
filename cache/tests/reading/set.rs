//! A small data set with one teacher: binary, text, vector and list columns, several pages a column.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, FixedSizeBinaryArray, ListArray, RecordBatch, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use retort_cache::{Dataset, DatasetWriter, Reader, Source, SplitPlan, TeacherCache, TeacherWriter, vectors};
use retort_schemas::manifest::BatchPlan;
use retort_schemas::{Dtype, SCHEMA_KEY, SchemaVersion, VectorType, features, tables};

pub(crate) const WIDE: VectorType = VectorType { dtype: Dtype::F16, width: 64 };

/// Numbers that do not repeat, a pure function of where they are.
pub(crate) fn number(seed: u64) -> u64 {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x5851_f42d_4c95_7f2d);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 27)
}

fn id(shard: usize, row: usize) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(shard as u64).to_le_bytes());
    id[8..].copy_from_slice(&number(row as u64).to_le_bytes());
    id
}

fn ids(shard: usize, rows: usize) -> ArrayRef {
    let bytes: Vec<u8> = (0..rows).flat_map(|row| id(shard, row)).collect();
    Arc::new(FixedSizeBinaryArray::try_new(16, bytes.into(), None).unwrap())
}

fn floats(seed: usize, count: usize) -> Vec<f32> {
    (0..count).map(|at| (number((seed * 1_000_003 + at) as u64) % 2001) as f32 / 1000.0 - 1.0).collect()
}

/// Tokens of a row: also none.
pub(crate) fn tokens_of(row: usize) -> usize {
    row % 5
}

fn batch(version: SchemaVersion, columns: Vec<(Field, ArrayRef)>) -> RecordBatch {
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let metadata = [(SCHEMA_KEY.to_owned(), version.to_string())].into();
    RecordBatch::try_new(Arc::new(Schema::new(fields).with_metadata(metadata)), columns).unwrap()
}

fn plain(name: &str, column: ArrayRef) -> (Field, ArrayRef) {
    (Field::new(name, column.data_type().clone(), false), column)
}

fn tables_of(shard: usize, rows: usize) -> Vec<(&'static str, RecordBatch)> {
    let bytes = (0..rows).map(|row| vec![row as u8; 40 + number(row as u64) as usize % 60]);
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values(bytes));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("text {}", row / 2))));
    let images = vec![plain(tables::images::IMAGE_ID, ids(shard, rows)), plain(tables::images::BYTES, bytes)];
    let texts = vec![plain(tables::texts::TEXT_ID, ids(shard, rows)), plain(tables::texts::TEXT, texts)];
    vec![
        (tables::images::NAME, batch(tables::images::VERSION, images)),
        (tables::texts::NAME, batch(tables::texts::VERSION, texts)),
    ]
}

fn features_of(shard: usize, rows: usize) -> Vec<(&'static str, RecordBatch)> {
    let embedding: ArrayRef = Arc::new(vectors::encode(WIDE, &floats(shard, rows * WIDE.width)).unwrap());
    let lengths: Vec<usize> = (0..rows).map(tokens_of).collect();
    let count: usize = lengths.iter().sum();
    let values = Arc::new(vectors::encode(WIDE, &floats(shard + 1000, count * WIDE.width)).unwrap());
    let item = Arc::new(WIDE.field("item"));
    let tokens: ArrayRef = Arc::new(ListArray::new(item.clone(), OffsetBuffer::from_lengths(lengths), values, None));
    let images = vec![plain(tables::images::IMAGE_ID, ids(shard, rows)), (WIDE.field(features::EMBEDDING), embedding)];
    let tokens = vec![
        plain(tables::texts::TEXT_ID, ids(shard, rows)),
        (Field::new(features::tokens::TOKENS, DataType::List(item), false), tokens),
    ];
    vec![
        (features::images::NAME, batch(features::images::VERSION, images)),
        (features::tokens::NAME, batch(features::tokens::VERSION, tokens)),
    ]
}

/// Writes shards of so many rows.
pub(crate) fn write(folder: &Path, shards: &[usize]) -> Dataset {
    let plan = SplitPlan {
        name: "train".to_owned(),
        source: "test".to_owned(),
        options: serde_json::json!({}),
        answers: None,
    };
    let mut writer = DatasetWriter::begin(folder, plan).unwrap();
    for (shard, rows) in shards.iter().enumerate() {
        writer.commit(&tables_of(shard, *rows)).unwrap();
    }
    writer.finish().unwrap();
    let dataset = Dataset::open(folder).unwrap();
    let plan = BatchPlan::of_rows(1, 1);
    let identity = serde_json::json!({"test": 1});
    let mut writer = TeacherWriter::open(&dataset, "clip", true, Dtype::F16, identity, plan).unwrap();
    for (shard, rows) in shards.iter().enumerate() {
        writer.commit(&format!("train-{shard:05}"), &features_of(shard, *rows)).unwrap();
    }
    dataset
}

/// Every column that is read row by row.
pub(crate) fn source(dataset: &Dataset) -> retort_cache::Result<Source> {
    let teacher = TeacherCache::open(dataset, "clip")?;
    let own = Source::of_dataset(dataset, "train", &[(tables::images::NAME, tables::images::BYTES)])?;
    let columns = [
        (features::images::NAME, features::EMBEDDING),
        (features::tokens::NAME, features::tokens::TOKENS),
        (features::tokens::NAME, tables::texts::TEXT_ID),
    ];
    own.beside(Source::of_teacher(dataset, &teacher, "train", &columns)?)
}

pub(crate) fn reader(dataset: &Dataset) -> Arc<Reader> {
    Arc::new(Reader::new(source(dataset).unwrap()))
}

/// Every file of a folder, relative to it, in order.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "parquet" || ending == "json") {
                found.push(path.strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}
