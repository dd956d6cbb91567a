//! Small data sets and a small run to ask, and how they are asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, Float32Array, Float64Array, ListArray, RecordBatch,
    StringArray, UInt32Array, UInt64Array, new_empty_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use retort_cache::{Dataset, DatasetWriter, SplitPlan, TeacherWriter, vectors, write_plain_table};
use retort_schemas::manifest::BatchPlan;
use retort_schemas::{Dtype, Store, VectorType, features, runs, tables};
use retort_sql::{Error, Format, Options, open, open_with, run_blocking};
use serde_json::{Value, json};

pub(crate) const VECTOR: VectorType = VectorType { dtype: Dtype::F32, width: 2 };

pub(crate) fn ids(kind: u8, shard: u8, count: usize) -> ArrayRef {
    let ids = (0..count).map(|row| [kind, shard, row as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff]);
    Arc::new(FixedSizeBinaryArray::try_from_iter(ids).unwrap())
}

pub(crate) fn words(words: &[String]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(words))
}

/// A list column of the field's item type with one list of `lengths` each.
pub(crate) fn lists(schema: &Schema, name: &str, lengths: &[usize], values: ArrayRef) -> ArrayRef {
    let DataType::List(item) = schema.field_with_name(name).unwrap().data_type() else { panic!("{name}") };
    Arc::new(ListArray::new(item.clone(), OffsetBuffer::from_lengths(lengths.iter().copied()), values, None))
}

pub(crate) fn item(schema: &Schema, name: &str) -> DataType {
    let DataType::List(item) = schema.field_with_name(name).unwrap().data_type() else { panic!("{name}") };
    item.data_type().clone()
}

/// Three images, two texts and four samples: sample i asks text i % 2 about image i % 3.
pub(crate) fn shard(split: &str, shard: u8) -> Vec<(&'static str, RecordBatch)> {
    let name = |what: &str, row: usize| format!("{split}/{shard}/{what}{row}");
    let images = RecordBatch::try_new(
        tables::images::schema(),
        vec![
            ids(1, shard, 3),
            words(&[0, 1, 2].map(|row| name("image", row))),
            Arc::new(BinaryArray::from_iter_values([vec![7_u8; 5], vec![8; 6], vec![9; 12345]])),
            words(&["png", "png", "jpeg"].map(str::to_owned)),
            Arc::new(UInt32Array::from(vec![64; 3])),
            Arc::new(UInt32Array::from(vec![48; 3])),
            Arc::new(UInt32Array::from(vec![640; 3])),
            Arc::new(UInt32Array::from(vec![480; 3])),
            Arc::new(UInt64Array::from(hashes(shard).to_vec())),
        ],
    );
    let schema = tables::texts::schema();
    let empty = |column: &str| lists(&schema, column, &[0, 0], new_empty_array(&item(&schema, column)));
    let (objects, parts) = (empty(tables::texts::OBJECTS), empty(tables::texts::PARTS));
    let words_of = words(&[0, 1].map(|row| name("text", row)));
    let texts = RecordBatch::try_new(schema.clone(), vec![ids(2, shard, 2), words_of, objects, parts]);
    let schema = tables::samples::schema();
    let empty = |column: &str| lists(&schema, column, &[0; 4], new_empty_array(&item(&schema, column)));
    let texts_of = Arc::new(UInt32Array::from(vec![0, 1, 0, 1]));
    let samples = RecordBatch::try_new(
        schema.clone(),
        vec![
            words(&[0, 1, 2, 3].map(|row| name("sample", row))),
            words(&["vqa"; 4].map(str::to_owned)),
            words(&[split; 4].map(str::to_owned)),
            Arc::new(UInt32Array::from(vec![0, 1, 2, 0])),
            lists(&schema, tables::samples::TEXTS, &[1; 4], texts_of),
            Arc::new(UInt32Array::from(vec![Some(0), Some(1), None, Some(1)])),
            Arc::new(StringArray::from(vec![Some("yes"), Some("no, \"never\""), None, Some("no")])),
            empty(tables::samples::ANSWERS),
            empty(tables::samples::TARGETS),
            Arc::new(StringArray::from(vec![Some("what"); 4])),
            Arc::new(StringArray::from(vec![None::<&str>; 4])),
            ids(1, shard, 4),
        ],
    );
    let rejects = RecordBatch::new_empty(tables::rejects::schema());
    vec![
        (tables::images::NAME, images.unwrap()),
        (tables::texts::NAME, texts.unwrap()),
        (tables::samples::NAME, samples.unwrap()),
        (tables::rejects::NAME, rejects),
    ]
}

/// Hashes of the images of a shard: those of row 0 differ in the bits of the shard's number, those of row 1 in eight
/// more, those of row 2 in nearly all.
pub(crate) fn hashes(shard: u8) -> [u64; 3] {
    [u64::from(shard), 0xff00 | u64::from(shard), u64::MAX ^ u64::from(shard)]
}

pub(crate) fn add_teacher(dataset: &Dataset, weights: &str, shards: &[(&str, u8)]) {
    let plan = BatchPlan::of_rows(1, 1);
    let identity = json!({ "weights": weights });
    let mut teacher = TeacherWriter::open(dataset, "clip", true, VECTOR.dtype, identity, plan).unwrap();
    for (name, shard) in shards {
        let embed = |floats: &[f32]| -> ArrayRef { Arc::new(vectors::encode(VECTOR, floats).unwrap()) };
        let images = vec![ids(1, *shard, 3), embed(&[1.0, 0.0, 0.0, 2.0, 3.0, 4.0])];
        let texts = vec![ids(2, *shard, 2), embed(&[1.0, 1.0, 0.0, 0.0])];
        let schema = features::tokens::schema(VECTOR);
        let tokens = lists(&schema, "tokens", &[2, 1], embed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        let span = new_empty_array(&item(&schema, "token_spans"));
        let tokens = vec![ids(2, *shard, 2), tokens, lists(&schema, "token_spans", &[0, 0], span)];
        let batch = |schema, columns| RecordBatch::try_new(schema, columns).unwrap();
        let tables = [
            (features::images::NAME, batch(features::images::schema(VECTOR), images)),
            (features::texts::NAME, batch(features::texts::schema(VECTOR), texts)),
            (features::tokens::NAME, batch(schema, tokens)),
        ];
        teacher.commit(name, &tables).unwrap();
    }
}

/// A teacher of this name, store and width that saw all images and texts, and two words a shard. `vector` gives the
/// floats of a row: of what, of which shard, which row.
pub(crate) fn add_searched(
    dataset: &Dataset,
    name: &str,
    store: Store,
    width: usize,
    vector: &dyn Fn(&str, u8, usize) -> Vec<f32>,
) {
    add_worded(dataset, name, store, width, vector, &|shard, row| format!("word{shard}{row}"));
}

/// As [`add_searched`], with these words: of which shard, which row.
pub(crate) fn add_worded(
    dataset: &Dataset,
    name: &str,
    store: Store,
    width: usize,
    vector: &dyn Fn(&str, u8, usize) -> Vec<f32>,
    word: &dyn Fn(u8, usize) -> String,
) {
    let plan = BatchPlan::of_rows(1, 1);
    let mut teacher = TeacherWriter::open(dataset, name, true, store, json!({}), plan).unwrap();
    for (number, shard) in dataset.shards().enumerate() {
        let number = number as u8;
        let stored = |table: &str, column: &str, rows: usize| {
            let floats: Vec<f32> = (0..rows).flat_map(|row| vector(table, number, row)).collect();
            vectors::store(store, column, width, &floats).unwrap()
        };
        let [images, texts] =
            [("images", 3), ("texts", 2)].map(|(table, rows)| stored(table, features::EMBEDDING, rows));
        let [alone, prompt] =
            [features::words::ISOLATED, features::words::PROMPT].map(|column| stored(column, column, 2));
        let of = |schema, first: ArrayRef, more: Vec<Vec<ArrayRef>>| {
            RecordBatch::try_new(schema, std::iter::once(first).chain(more.concat()).collect()).unwrap()
        };
        let new_words = words(&[0, 1].map(|row| word(number, row)));
        let tables = [
            (
                features::images::NAME,
                of(features::images::with(images.fields), ids(1, number, 3), vec![images.columns]),
            ),
            (features::texts::NAME, of(features::texts::with(texts.fields), ids(2, number, 2), vec![texts.columns])),
            (
                features::words::NAME,
                of(features::words::with(alone.fields, prompt.fields), new_words, vec![alone.columns, prompt.columns]),
            ),
        ];
        teacher.commit(&shard.unwrap().name, &tables).unwrap();
    }
}

/// Shards `train-00000`, `train-00001` and `val-00000`; the teacher has seen the first and the last.
pub(crate) fn small_dataset(folder: &Path) -> Dataset {
    let dataset = dataset_of(folder, 2, 1);
    add_teacher(&dataset, "one", &[("train-00000", 0), ("val-00000", 2)]);
    dataset
}

/// So many shards of a split `train`, and behind them of a split `val`.
pub(crate) fn dataset_of(folder: &Path, train: u8, val: u8) -> Dataset {
    for (split, shards) in [("train", 0..train), ("val", train..train + val)] {
        let plan = SplitPlan { name: split.to_owned(), source: "vqa".to_owned(), options: json!({}), answers: None };
        let mut writer = DatasetWriter::begin(folder, plan).unwrap();
        for number in shards {
            writer.commit(&shard(split, number)).unwrap();
        }
        writer.finish().unwrap();
    }
    Dataset::open(folder).unwrap()
}

/// Two shards of a split `train`, with images that have no objects.
pub(crate) fn dataset_with_regions(folder: &Path) {
    let plan = SplitPlan { name: "train".to_owned(), source: "vqa".to_owned(), options: json!({}), answers: None };
    let mut writer = DatasetWriter::begin(folder, plan).unwrap();
    for number in 0..2 {
        let schema = tables::regions::schema(None);
        let boxes = new_empty_array(&item(&schema, tables::regions::BOXES));
        let columns = vec![ids(1, number, 3), lists(&schema, tables::regions::BOXES, &[0; 3], boxes)];
        let regions = RecordBatch::try_new(schema, columns).unwrap();
        writer.commit(&[shard("train", number), vec![(tables::regions::NAME, regions)]].concat()).unwrap();
    }
    writer.finish().unwrap();
}

pub(crate) fn ask_as(folder: &Path, sql: &str, format: Format) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    run_blocking(&open(folder)?, sql, format, &mut out)?;
    Ok(out)
}

/// Rows as JSON.
pub(crate) fn ask(folder: &Path, sql: &str) -> Value {
    let answer = ask_as(folder, sql, Format::Json).unwrap_or_else(|error| panic!("{sql}: {error}"));
    serde_json::from_slice(&answer).unwrap()
}

pub(crate) fn refusal(folder: &Path, sql: &str) -> String {
    ask_as(folder, sql, Format::Csv).unwrap_err().to_string()
}

pub(crate) fn text(folder: &Path, sql: &str, format: Format) -> String {
    String::from_utf8(ask_as(folder, sql, format).unwrap()).unwrap()
}

pub(crate) fn clip_folder(dataset: &Dataset, at: usize) -> String {
    retort_cache::teachers_of(dataset).unwrap()[at].folder_name().to_owned()
}

/// Flips the last byte of a column of a file of one row group.
pub(crate) fn flip(path: &Path, file: &retort_schemas::manifest::TableFile, column: &str) {
    let mut bytes = std::fs::read(path).unwrap();
    let opened = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
    let chunk =
        opened.metadata().row_group(0).columns().iter().find(|chunk| chunk.column_path().string() == column).unwrap();
    let (offset, length) = chunk.byte_range();
    assert!(offset + length <= file.rest_offset());
    bytes[(offset + length - 1) as usize] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

pub(crate) fn small_run(folder: &Path) -> PathBuf {
    let write = |name: String, schema, columns| {
        let batch = RecordBatch::try_new(schema, columns).unwrap();
        write_plain_table(&folder.join(format!("{name}.parquet")), &batch).unwrap();
    };
    let metrics: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from(vec![1, 2])),
        words(&["loss/task", "loss/task"].map(str::to_owned)),
        Arc::new(Float64Array::from(vec![2.5, 1.5])),
        Arc::new(Float64Array::from(vec![1e9, 1e9 + 1.0])),
    ];
    write("metrics".to_owned(), runs::metrics::schema(), metrics);
    for split in ["test", "val"] {
        let predictions: Vec<ArrayRef> = vec![
            words(&[format!("{split}/7")]),
            words(&["test-00000".to_owned()]),
            Arc::new(UInt32Array::from(vec![7])),
            words(&["what?".to_owned()]),
            Arc::new(StringArray::from(vec![None::<&str>])),
            words(&["blue".to_owned()]),
            Arc::new(StringArray::from(vec![Some("red")])),
            Arc::new(Float32Array::from(vec![Some(0.0)])),
            Arc::new(Float32Array::from(vec![0.5])),
        ];
        // As version 1.0 had it, without the columns since.
        let schema = runs::predictions::schema().project(&(0..predictions.len()).collect::<Vec<_>>()).unwrap();
        write(format!("predictions-{split}"), Arc::new(schema), predictions);
    }
    let selection: Vec<ArrayRef> = vec![
        words(&["7".to_owned()]),
        words(&["test-00000".to_owned()]),
        Arc::new(UInt32Array::from(vec![7])),
        words(&["what?".to_owned()]),
        Arc::new(UInt32Array::from(vec![0])),
        Arc::new(UInt32Array::from(vec![4])),
        Arc::new(Float32Array::from(vec![None::<f32>])),
        Arc::new(Float32Array::from(vec![0.25])),
        Arc::new(Float32Array::from(vec![0.5])),
        Arc::new(BooleanArray::from(vec![true])),
    ];
    write("selection".to_owned(), runs::selection::schema(), selection);
    folder.to_owned()
}

/// Answers with so many partitions and rows a batch.
fn ask_in(folder: &Path, partitions: usize, sql: &str) -> Value {
    let context = open_with(folder, &Options::default()).unwrap();
    let options = [("target_partitions", partitions.to_string()), ("batch_size", "5".to_owned())];
    for (option, value) in options {
        let state = context.state_ref();
        state.write().config_mut().options_mut().set(&format!("datafusion.execution.{option}"), &value).unwrap();
    }
    let mut out = Vec::new();
    run_blocking(&context, sql, Format::Json, &mut out).unwrap_or_else(|error| panic!("{sql}: {error}"));
    serde_json::from_slice(&out).unwrap()
}

/// Whether an answer is the same in 1, 3 and 64 partitions; and the answer.
pub(crate) fn ask_in_any_partitions(folder: &Path, sql: &str) -> Value {
    let one = ask_in(folder, 1, sql);
    for partitions in [3, 64] {
        assert_eq!(ask_in(folder, partitions, sql), one, "{sql} in {partitions} partitions");
    }
    one
}
