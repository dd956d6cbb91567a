//! A teacher converted is the teacher taught with the other store.

use std::path::Path;
use std::sync::Arc;

use arrow::array::ListArray;
use arrow::array::{FixedSizeBinaryArray, StringArray, StructArray, UInt32Array};
use arrow::buffer::Buffer;
use arrow::datatypes::DataType;
use retort_schemas::manifest::BatchPlan;
use retort_schemas::tables;
use serde_json::json;

use super::*;
use crate::{Columns, DatasetWriter, Quiet, SplitPlan, Summary, verify};

const WIDTH: usize = 8;

fn ids(kind: u8, shard: u8, rows: u8) -> ArrayRef {
    let bytes = (0..rows).flat_map(|row| [[kind, shard, row, 0]; 4].concat()).collect();
    Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(bytes), None).unwrap())
}

fn floats(seed: usize, rows: usize) -> Vec<f32> {
    (0..rows * WIDTH).map(|at| (((at + 7 * seed) * 2_654_435_761) % 1009) as f32 / 504.5 - 1.0).collect()
}

/// Two shards of three images and two texts, of which only the ids are there: a teacher needs no more.
fn dataset(folder: &Path) -> Dataset {
    let plan = SplitPlan { name: "all".to_owned(), source: "test".to_owned(), options: json!({}), answers: None };
    let mut writer = DatasetWriter::begin(folder, plan).unwrap();
    let only_ids = |schema: SchemaRef, ids| RecordBatch::try_new(Arc::new(schema.project(&[0]).unwrap()), vec![ids]);
    for shard in 0..2 {
        let images = only_ids(tables::images::schema(), ids(1, shard, 3)).unwrap();
        let texts = only_ids(tables::texts::schema(), ids(2, shard, 2)).unwrap();
        writer.commit(&[(tables::images::NAME, images), (tables::texts::NAME, texts)]).unwrap();
    }
    writer.finish().unwrap();
    Dataset::open(folder).unwrap()
}

/// The five tables of a shard, as a teacher would write them.
fn features_of(shard: u8, store: Store, spoil: Option<f32>) -> Vec<(&'static str, RecordBatch)> {
    let seed = 10 * usize::from(shard);
    let embed = |name, seed, rows| vectors::store(store, name, WIDTH, &floats(seed, rows)).unwrap();
    let mut image_floats = floats(seed, 3);
    image_floats[WIDTH] = spoil.unwrap_or(image_floats[WIDTH]);
    let images = vectors::store(store, features::EMBEDDING, WIDTH, &image_floats).unwrap();
    let (texts, isolated, prompt) =
        (embed("embedding", seed + 1, 2), embed("isolated", seed + 2, 1), embed("prompt", seed + 3, 1));
    let offsets = OffsetBuffer::from_lengths([0, 3]);
    let tokens = vectors::store_lists(store, "tokens", WIDTH, &floats(seed + 4, 3), &offsets).unwrap();
    let squares = OffsetBuffer::from_lengths([2, 2, 2]);
    let grid = vectors::store_lists(store, features::patches::GRID, WIDTH, &floats(seed + 5, 6), &squares).unwrap();
    let table = |schema, columns: &[&[ArrayRef]]| RecordBatch::try_new(schema, columns.concat()).unwrap();
    let images_schema = features::images::with(images.fields);
    let texts_schema = features::texts::with(texts.fields);
    let tokens_schema = features::tokens::with(tokens.fields);
    let patches_schema = features::patches::with(grid.fields);
    let words_schema = features::words::with(isolated.fields, prompt.fields);
    let word: ArrayRef = Arc::new(StringArray::from(vec![format!("word{shard}")]));
    vec![
        (features::images::NAME, table(images_schema, &[&[ids(1, shard, 3)], &images.columns])),
        (features::texts::NAME, table(texts_schema, &[&[ids(2, shard, 2)], &texts.columns])),
        (features::tokens::NAME, table(tokens_schema, &[&[ids(2, shard, 2)], &tokens.columns, &[spans()]])),
        (features::patches::NAME, table(patches_schema, &[&[ids(1, shard, 3)], &grid.columns])),
        (features::words::NAME, table(words_schema, &[&[word], &isolated.columns, &prompt.columns])),
    ]
}

/// Spans of no token and of three.
fn spans() -> ArrayRef {
    let numbers = |from: u32| Arc::new(UInt32Array::from_iter_values(from..from + 3)) as ArrayRef;
    let all = StructArray::new(features::tokens::span_fields(), vec![numbers(0), numbers(1)], None);
    let schema = features::tokens::schema(retort_schemas::VectorType { dtype: retort_schemas::Dtype::F32, width: 1 });
    let DataType::List(item) = schema.field(2).data_type() else { panic!("no list") };
    Arc::new(ListArray::new(item.clone(), OffsetBuffer::from_lengths([0, 3]), Arc::new(all), None))
}

fn taught(dataset: &Dataset, name: &str, store: Store, spoil: Option<f32>) -> TeacherCache {
    let plan = BatchPlan::of_rows(2, 5);
    let mut writer = TeacherWriter::open(dataset, name, true, store, json!({ "weights": 1 }), plan).unwrap();
    for (number, shard) in dataset.shards().enumerate() {
        let shard = shard.unwrap();
        let spoil = spoil.filter(|_| number == 1);
        writer.commit(&shard.name, &features_of(number as u8, store, spoil)).unwrap();
    }
    writer.cache().clone()
}

fn run(dataset: &Dataset, name: &str, store: &str) -> Result<Conversion> {
    convert(dataset, name, store.parse().unwrap(), false, &Quiet, &Interrupt::default())
}

/// Every file below a folder, by path relative to it.
fn files(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    for table in features::ALL {
        for entry in std::fs::read_dir(folder.join(table)).unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{table}/{}", path.file_name().unwrap().to_string_lossy());
            found.insert(name, std::fs::read(&path).unwrap());
        }
    }
    found.insert("teacher.json".to_owned(), std::fs::read(folder.join("teacher.json")).unwrap());
    found
}

#[test]
fn a_converted_teacher_is_byte_for_byte_the_taught_one() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for store in ["f16", "bf16", "cos:0.999", "cos:0.9"] {
        let (converted, direct) = (dataset_once(one.path()), dataset_once(two.path()));
        let direct = taught(&direct, "clip", store.parse().unwrap(), None);
        let from = taught(&converted, "clip", Store::F32, None);
        let done = run(&converted, from.folder_name(), store).unwrap();
        assert_eq!((done.to.as_str(), done.converted, done.kept), (direct.folder_name(), 2, 0));
        let folder = one.path().join("cache").join(&done.to);
        assert_eq!(files(&folder), files(direct.folder()), "{store}");
    }
    let found = verify(one.path(), &Quiet, &Interrupt::default()).unwrap();
    assert_eq!((found.damages, found.files), (Vec::new(), 1 + 4 + 5 * (1 + 10)));
}

fn dataset_once(folder: &Path) -> Dataset {
    Dataset::open(folder).unwrap_or_else(|_| dataset(folder))
}

/// Stopped after the first shard, it is the same in the end; asked by the plain name, as at first.
#[test]
fn a_conversion_that_was_stopped_continues() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path());
    taught(&dataset, "clip", Store::F16, None);
    /// Stops at the first shard that is done.
    struct Stop(Interrupt);
    impl Progress for Stop {
        fn begin(&self, _: &str, total: u64, _: &'static str) {
            assert_eq!(total, 2);
        }
        fn advance(&self, _: u64) {
            self.0.request();
        }
        fn note(&self, _: &str) {}
        fn end(&self) {}
    }
    let interrupt = Interrupt::default();
    let store = Store::cos(0.99).unwrap();
    let stopped = convert(&dataset, "clip", store, false, &Stop(interrupt.clone()), &interrupt).unwrap_err();
    assert!(matches!(stopped, Error::Interrupted), "{stopped}");
    let done = run(&dataset, "clip", "cos:0.99").unwrap();
    assert_eq!((done.converted, done.kept), (1, 1));
    let again = run(&dataset, "clip", "cos:0.99").unwrap();
    assert_eq!((again.converted, again.kept), (0, 2));
}

#[test]
fn what_is_lost_does_not_come_back_unless_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path());
    taught(&dataset, "clip", Store::cos(0.99).unwrap(), None);
    let refusal = run(&dataset, "clip", "f16").unwrap_err();
    assert!(matches!(refusal, Error::Coarser { .. }), "{refusal}");
    assert!(refusal.to_string().contains("cos:0.99") && refusal.hint().is_some(), "{refusal}");
    let done = convert(&dataset, "clip", Store::F32, true, &Quiet, &Interrupt::default()).unwrap();
    assert_eq!(done.converted, 2);
    // Asked for the codes alone, their scales come with them.
    let read = |name: &str| {
        let teacher = TeacherCache::open(&dataset, name).unwrap();
        let shard = &dataset.shards().next().unwrap().unwrap();
        let wanted = Columns::Named(&[features::EMBEDDING]);
        let batch = teacher.read_columns(&dataset, shard, features::images::NAME, wanted).unwrap();
        Rows::of(&batch, features::EMBEDDING).unwrap().floats()
    };
    assert_eq!(read(&done.from), read(&done.to));
}

#[test]
fn a_row_with_no_cosine_is_counted_and_refused_by_shard_and_row() {
    for (bad, counted) in [(f32::NAN, (1, 0)), (f32::INFINITY, (0, 1))] {
        let folder = tempfile::tempdir().unwrap();
        let dataset = dataset(folder.path());
        taught(&dataset, "clip", Store::F16, Some(bad));
        let norms = Summary::of(&dataset).unwrap().teachers[0].tables[0].norms[features::EMBEDDING];
        assert_eq!((norms.nan, norms.infinite, norms.vectors), (counted.0, counted.1, 6));
        assert!(norms.min > 0.0 && norms.max.is_finite() && norms.mean.is_finite(), "{norms:?}");
        let refusal = run(&dataset, "clip", "cos:0.99").unwrap_err().to_string();
        assert!(refusal.contains("row 1 ") && refusal.contains("images of shard all-00001"), "{refusal}");
    }
}

#[test]
fn the_summary_tells_what_a_store_takes_and_loses() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path());
    taught(&dataset, "clip", Store::F32, None);
    let done = run(&dataset, "clip", "cos:0.9").unwrap();
    let summary = Summary::of(&dataset).unwrap();
    let teacher = summary.teachers.iter().find(|teacher| teacher.name == done.to).unwrap();
    for (table, column, vectors) in
        [("images", "embedding", 6), ("texts", "embedding", 4), ("tokens", "tokens", 6), ("words", "prompt", 2)]
    {
        let table = teacher.tables.iter().find(|summary| summary.table == table).unwrap();
        let taken = table.vectors[column];
        assert_eq!((taken.column.width, table.norms[column].vectors), (WIDTH as u64, vectors));
        let worst = taken.column.worst_cosine.unwrap();
        assert!((0.9..1.0).contains(&worst), "{column}: {worst}");
        assert!(taken.column.bytes > 0 && taken.column.bytes < table.bytes);
        assert!((taken.bytes_per_vector - taken.column.bytes as f64 / vectors as f64).abs() < 1e-9);
        assert!((taken.bits_per_dimension - taken.bytes_per_vector).abs() < 1e-9, "8 dimensions, 8 bits a byte");
    }
    let floats = summary.teachers.iter().find(|teacher| teacher.name == done.from).unwrap();
    assert_eq!(floats.tables[0].vectors["embedding"].column.worst_cosine, None);
}
