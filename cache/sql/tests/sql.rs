//! Asks a small data set and a small run, and compares with values computed by hand.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, as tests do")]

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, Float32Array, Float64Array, ListArray, RecordBatch,
    StringArray, UInt32Array, UInt64Array, new_empty_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Schema};
use retort_cache::{Dataset, DatasetWriter, SplitPlan, TeacherWriter, vectors, write_plain_table};
use retort_schemas::manifest::BatchPlan;
use retort_schemas::{Dtype, VectorType, features, runs, tables};
use retort_sql::{Error, Format, open, run_blocking};
use serde_json::{Value, json};

const VECTOR: VectorType = VectorType { dtype: Dtype::F32, width: 2 };

fn ids(kind: u8, shard: u8, count: usize) -> ArrayRef {
    let ids = (0..count).map(|row| [kind, shard, row as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff]);
    Arc::new(FixedSizeBinaryArray::try_from_iter(ids).unwrap())
}

fn words(words: &[String]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(words))
}

/// A list column of the field's item type with one list of `lengths` each.
fn lists(schema: &Schema, name: &str, lengths: &[usize], values: ArrayRef) -> ArrayRef {
    let DataType::List(item) = schema.field_with_name(name).unwrap().data_type() else { panic!("{name}") };
    Arc::new(ListArray::new(item.clone(), OffsetBuffer::from_lengths(lengths.iter().copied()), values, None))
}

fn item(schema: &Schema, name: &str) -> DataType {
    let DataType::List(item) = schema.field_with_name(name).unwrap().data_type() else { panic!("{name}") };
    item.data_type().clone()
}

/// Three images, two texts and four samples: sample i asks text i % 2 about image i % 3.
fn shard(split: &str, shard: u8) -> Vec<(&'static str, RecordBatch)> {
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
            Arc::new(UInt64Array::from(vec![u64::MAX; 3])),
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

fn add_teacher(dataset: &Dataset, weights: &str, shards: &[(&str, u8)]) {
    let plan = BatchPlan { images: 1, texts: 1 };
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

/// Shards `train-00000`, `train-00001` and `val-00000`; the teacher has seen the first and the last.
fn small_dataset(folder: &Path) -> Dataset {
    for (split, shards) in [("train", vec![0, 1]), ("val", vec![2])] {
        let plan = SplitPlan { name: split.to_owned(), source: "vqa".to_owned(), options: json!({}), answers: None };
        let mut writer = DatasetWriter::begin(folder, plan).unwrap();
        for number in shards {
            writer.commit(&shard(split, number)).unwrap();
        }
        writer.finish().unwrap();
    }
    let dataset = Dataset::open(folder).unwrap();
    add_teacher(&dataset, "one", &[("train-00000", 0), ("val-00000", 2)]);
    dataset
}

fn ask_as(folder: &Path, sql: &str, format: Format) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    run_blocking(&open(folder)?, sql, format, &mut out)?;
    Ok(out)
}

/// Rows as JSON.
fn ask(folder: &Path, sql: &str) -> Value {
    let answer = ask_as(folder, sql, Format::Json).unwrap_or_else(|error| panic!("{sql}: {error}"));
    serde_json::from_slice(&answer).unwrap()
}

fn refusal(folder: &Path, sql: &str) -> String {
    ask_as(folder, sql, Format::Csv).unwrap_err().to_string()
}

fn text(folder: &Path, sql: &str, format: Format) -> String {
    String::from_utf8(ask_as(folder, sql, format).unwrap()).unwrap()
}

#[test]
fn counts_and_prunes_by_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = small_dataset(folder.path());
    let counts = "SELECT split, count(*) AS n, max(row) AS last FROM images GROUP BY split ORDER BY split";
    let expected = json!([{"split": "train", "n": 6, "last": 2}, {"split": "val", "n": 3, "last": 2}]);
    assert_eq!(ask(folder.path(), counts), expected);
    assert_eq!(ask(folder.path(), "SELECT count(*) AS n FROM rejects"), json!([{"n": 0}]));

    // Without the files, only what needs no file can be answered.
    for shard in ["train-00001", "val-00000"] {
        std::fs::remove_file(dataset.folder().join(format!("images/{shard}.parquet"))).unwrap();
    }
    assert_eq!(ask(folder.path(), "SELECT count(*) AS n FROM images"), json!([{"n": 9}]));
    let one = "SELECT count(source) AS n FROM images WHERE split = 'train' AND shard IN ('train-00000', 'x')";
    assert_eq!(ask(folder.path(), one), json!([{"n": 3}]));
    assert_eq!(ask(folder.path(), "SELECT source FROM images LIMIT 3").as_array().unwrap().len(), 3);
    let refusal = refusal(folder.path(), "SELECT count(source) FROM images WHERE split = 'val'");
    assert!(refusal.contains("images/val-00000.parquet is damaged: it cannot be opened"), "{refusal}");
}

#[test]
fn rows_join_by_their_place() {
    let folder = tempfile::tempdir().unwrap();
    small_dataset(folder.path());
    let sql = "SELECT s.sample_id, i.source, t.text FROM samples s \
               JOIN images i ON s.image = i.row AND s.shard = i.shard \
               JOIN texts t ON s.texts[1] = t.row AND s.shard = t.shard ORDER BY s.sample_id";
    let rows = ask(folder.path(), sql);
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 12);
    let row = json!({"sample_id": "train/1/sample2", "source": "train/1/image2", "text": "train/1/text0"});
    assert!(rows.contains(&row), "{rows:?}");
}

#[test]
fn the_nearest_is_found_by_cosine() {
    let folder = tempfile::tempdir().unwrap();
    small_dataset(folder.path());
    let sql = "SELECT i.image_id, cosine_similarity(i.embedding, q.embedding) AS fit, dot(i.embedding, q.embedding) AS d, \
               l2_distance(i.embedding, [0, 0]) AS l, norm(i.embedding) AS n \
               FROM clip.images i, (SELECT embedding FROM clip.texts WHERE split = 'val' AND row = 0) q \
               WHERE i.split = 'val' ORDER BY fit DESC LIMIT 2";
    let rows = ask(folder.path(), sql);
    assert_eq!(rows[0]["image_id"], "010202000000000000000000000000ff");
    assert!((rows[0]["fit"].as_f64().unwrap() - 7.0 / 50.0_f64.sqrt()).abs() < 1e-12, "{rows}");
    assert_eq!((&rows[0]["d"], &rows[0]["l"], &rows[0]["n"]), (&json!(7.0), &json!(5.0), &json!(5.0)));
    assert!((rows[1]["fit"].as_f64().unwrap() - 0.5_f64.sqrt()).abs() < 1e-12, "{rows}");
    let by_subquery = "SELECT row FROM clip.images WHERE split = 'val' ORDER BY cosine_similarity(embedding, \
                       (SELECT embedding FROM clip.texts WHERE split = 'val' AND row = 0)) DESC LIMIT 1";
    assert_eq!(ask(folder.path(), by_subquery), json!([{"row": 2}]));
}

#[test]
fn vectors_of_zeros_nulls_and_other_widths() {
    let folder = tempfile::tempdir().unwrap();
    small_dataset(folder.path());
    let sql = "SELECT cosine_similarity(embedding, [1.0, 0.0]) AS zero, dot(embedding, NULL) AS none, \
               dot([1, 2], [3.5, NULL]) AS hole, norm([3, 4]) AS five FROM clip.texts WHERE row = 1 AND split = 'val'";
    assert_eq!(ask(folder.path(), sql), json!([{"zero": null, "none": null, "hole": null, "five": 5.0}]));
    let widths = refusal(folder.path(), "SELECT dot(embedding, [1.0, 2.0, 3.0]) FROM clip.texts");
    assert!(widths.contains("dot takes vectors of equal width, it is given widths 2 and 3"), "{widths}");
    let number = refusal(folder.path(), "SELECT norm(row) FROM clip.texts");
    assert!(number.contains("norm takes vectors of numbers, it is given UInt32"), "{number}");
    let arguments = refusal(folder.path(), "SELECT dot(embedding) FROM clip.texts");
    assert!(arguments.contains("dot takes 2 vectors, it is given 1 argument"), "{arguments}");
}

#[test]
fn token_vectors_are_lists_of_vectors() {
    let folder = tempfile::tempdir().unwrap();
    small_dataset(folder.path());
    let sql = "SELECT row, tokens FROM clip.tokens WHERE shard = 'val-00000' ORDER BY row";
    let expected = json!([{"row": 0, "tokens": [[1.0, 2.0], [3.0, 4.0]]}, {"row": 1, "tokens": [[5.0, 6.0]]}]);
    assert_eq!(ask(folder.path(), sql), expected);
    let sql = "SELECT count(*) AS n, sum(dot(t, [1.0, 0.0])) AS s FROM (SELECT unnest(tokens) AS t FROM clip.tokens)";
    assert_eq!(ask(folder.path(), sql), json!([{"n": 6, "s": 18.0}]));
}

#[test]
fn coverage_tells_of_missing_shards() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = small_dataset(folder.path());
    let sql = "SELECT name, kind, joint, store, width, rows, expected_rows, round(coverage, 3) AS coverage \
               FROM teachers ORDER BY kind";
    let rows = ask(folder.path(), sql);
    let images = json!({"name": "clip", "kind": "images", "joint": true, "store": "f32", "width": 2, "rows": 6,
                        "expected_rows": 9, "coverage": 0.667});
    assert_eq!(rows[0], images);
    let sql =
        "SELECT teacher, count(*) AS n, sum(rows) AS r FROM shards WHERE kind = 'images' GROUP BY teacher ORDER BY n";
    let rows = ask(folder.path(), sql);
    assert_eq!((&rows[0]["n"], &rows[1]["n"], &rows[1]["r"]), (&json!(2), &json!(3), &json!(9)));
    assert_eq!((&rows[0]["teacher"], &rows[1]["teacher"]), (&json!(clip_folder(&dataset, 0)), &Value::Null));
}

fn clip_folder(dataset: &Dataset, at: usize) -> String {
    retort_cache::teachers_of(dataset).unwrap()[at].folder_name().to_owned()
}

#[test]
fn namesakes_are_told_apart_by_fingerprint() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = small_dataset(folder.path());
    let full = clip_folder(&dataset, 0);
    assert_eq!(ask(folder.path(), &format!("SELECT count(*) AS n FROM \"{full}\".images")), json!([{"n": 6}]));
    add_teacher(&dataset, "two", &[("train-00000", 0)]);
    let second = (0..2).map(|at| clip_folder(&dataset, at)).find(|name| *name != full).unwrap();
    assert_eq!(ask(folder.path(), &format!("SELECT count(*) AS n FROM \"{second}\".images")), json!([{"n": 3}]));
    let unknown = refusal(folder.path(), "SELECT * FROM clip.images");
    assert!(unknown.contains("no table clip.images") && unknown.contains(&format!("\"{second}\".images")), "{unknown}");
}

/// Flips the last byte of a column of a file of one row group.
fn flip(path: &Path, file: &retort_schemas::manifest::TableFile, column: &str) {
    let mut bytes = std::fs::read(path).unwrap();
    let opened = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
    let chunk =
        opened.metadata().row_group(0).columns().iter().find(|chunk| chunk.column_path().string() == column).unwrap();
    let (offset, length) = chunk.byte_range();
    assert!(offset + length <= file.rest_offset());
    bytes[(offset + length - 1) as usize] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_byte_fails_the_query_that_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = small_dataset(folder.path());
    let shard = dataset.shards().next().unwrap().unwrap();
    flip(&folder.path().join("texts/train-00000.parquet"), &shard.tables["texts"], "text");
    let teacher = &retort_cache::teachers_of(&dataset).unwrap()[0];
    let path = teacher.folder().join("images/train-00000.parquet");
    flip(&path, &teacher.shard("train-00000").unwrap().unwrap().tables["images"], "embedding");

    let error = ask_as(folder.path(), "SELECT max(text) FROM texts", Format::Csv).unwrap_err();
    let words = error.to_string();
    assert!(words.contains("texts/train-00000.parquet is damaged: column text does not match"), "{words}");
    assert!(
        error.hint().is_some_and(|hint| hint.starts_with("`retort verify` lists all damage")),
        "{:?}",
        error.hint()
    );
    let words = refusal(folder.path(), "SELECT sum(norm(embedding)) FROM clip.images");
    assert!(words.contains("images/train-00000.parquet is damaged: column embedding"), "{words}");
    // Columns beside the damage are intact.
    assert_eq!(ask(folder.path(), "SELECT count(text_id) AS n FROM texts"), json!([{"n": 6}]));
    assert_eq!(ask(folder.path(), "SELECT count(image_id) AS n FROM clip.images"), json!([{"n": 6}]));
}

#[test]
fn mistakes_are_answered_with_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    small_dataset(folder.path());
    let table = refusal(folder.path(), "SELECT * FROM imags");
    assert_eq!(
        table,
        "there is no table imags; there are images, rejects, samples, shards, teachers, texts, clip.images, \
         clip.texts, clip.tokens"
    );
    let column = refusal(folder.path(), "SELECT widht FROM images");
    assert!(column.contains("No field named widht") && column.contains("width"), "{column}");
    assert!(!column.starts_with("Schema error"), "{column}");
    for sql in [
        "COPY images TO 'x.csv'",
        "EXPLAIN ANALYZE COPY images TO 'x.csv'",
        "INSERT INTO images SELECT * FROM images",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION 'x.csv'",
        "CREATE TABLE x AS SELECT 1",
        "DROP TABLE images",
        "SET datafusion.execution.batch_size = 1",
        "SELECT 1; DELETE FROM images",
    ] {
        let refused = refusal(folder.path(), sql);
        assert!(refused.contains("is refused: only queries are answered"), "{sql}: {refused}");
    }
    let outside = refusal(folder.path(), "SELECT * FROM '/etc/hosts.csv'");
    assert!(outside.contains("there is no table"), "{outside}");
    assert!(matches!(ask_as(folder.path(), " -- nothing", Format::Csv), Err(Error::NoQuery { .. })));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(open(empty.path()), Err(Error::NothingToAsk { .. })));
    assert!("xml".parse::<Format>().unwrap_err().to_string().contains("xml"));
}

#[test]
fn every_format_can_be_read_back() {
    let folder = tempfile::tempdir().unwrap();
    small_dataset(folder.path());
    let sql = "SELECT i.row, i.bytes, s.row, s.label_text, s.texts, v.embedding FROM samples s \
               JOIN images i ON s.image = i.row AND s.shard = i.shard JOIN clip.images v ON v.row = i.row AND v.shard = i.shard \
               WHERE s.shard = 'val-00000' AND s.row IN (1, 2) ORDER BY s.row";
    let csv = text(folder.path(), sql, Format::Csv);
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("row,bytes,row_2,label_text,texts,embedding"));
    assert_eq!(lines.next(), Some("1,080808080808,1,\"no, \"\"never\"\"\",[1],\"[0.0,2.0]\""));

    let ndjson = text(folder.path(), sql, Format::Ndjson);
    let rows: Vec<Value> = ndjson.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let row = json!({"row": 1, "bytes": "080808080808", "row_2": 1, "label_text": "no, \"never\"", "texts": [1],
                     "embedding": [0.0, 2.0]});
    assert_eq!(rows[0], row);
    assert_eq!(ask(folder.path(), sql), Value::Array(rows));

    let path = folder.path().join("answer.parquet");
    std::fs::write(&path, ask_as(folder.path(), sql, Format::Parquet).unwrap()).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    let mut reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let batch = reader.next().unwrap().unwrap();
    assert_eq!((batch.num_rows(), batch.schema().field(5).name().as_str()), (2, "embedding"));

    let table = text(folder.path(), sql, Format::Table);
    assert!(table.contains("| <12345 bytes> |") && table.contains("| [0.0, 2.0] "), "{table}");

    let two = text(folder.path(), "SELECT 1 AS a; SELECT 2 AS b WHERE false;", Format::Csv);
    assert_eq!(two, "a\n1\n\nb\n");
    assert_eq!(text(folder.path(), "SELECT 1 AS a WHERE false", Format::Json), "[]\n");
    let refused = ask_as(folder.path(), "SELECT 1; SELECT 2", Format::Parquet);
    assert!(matches!(refused, Err(Error::OneResultOnly { statements: 2 })));
}

#[test]
fn tables_and_plans_can_be_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    small_dataset(folder.path());
    let tables = text(folder.path(), "SHOW TABLES", Format::Table);
    assert!(tables.contains("dataset") && tables.contains("clip"), "{tables}");
    let columns = text(folder.path(), "DESCRIBE clip.images", Format::Csv);
    assert!(columns.contains("embedding") && columns.contains("shard"), "{columns}");
    let plan = text(folder.path(), "EXPLAIN SELECT source FROM images WHERE split = 'val'", Format::Table);
    assert!(plan.contains("shards=1 of 3"), "{plan}");
}

fn small_run(folder: &Path) -> PathBuf {
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

#[test]
fn a_run_can_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    let run = small_run(folder.path());
    let sql = "SELECT tag, min(value) AS least FROM metrics GROUP BY tag";
    assert_eq!(ask(&run, sql), json!([{"tag": "loss/task", "least": 1.5}]));
    let sql = "SELECT split, sample_id, shard, row FROM predictions ORDER BY split";
    let first = json!({"split": "test", "sample_id": "test/7", "shard": "test-00000", "row": 7});
    assert_eq!(ask(&run, sql)[0], first);
    // `shard` is a column of the file here, and says nothing about which file to read.
    assert_eq!(ask(&run, "SELECT count(*) AS n FROM predictions WHERE shard = 'test-00000'"), json!([{"n": 2}]));
    assert_eq!(ask(&run, "SELECT count(*) AS n FROM predictions WHERE split = 'val'"), json!([{"n": 1}]));
    assert_eq!(ask(&run, "SELECT count(scores) AS n, count(task) AS m FROM predictions"), json!([{"n": 0, "m": 0}]));
    assert_eq!(ask(&run, "SELECT selected, visual FROM selection"), json!([{"selected": true, "visual": null}]));
    std::fs::remove_file(run.join("selection.parquet")).unwrap();
    let unknown = refusal(&run, "SELECT * FROM selection");
    assert_eq!(unknown, "there is no table selection; there are metrics, predictions");
}
