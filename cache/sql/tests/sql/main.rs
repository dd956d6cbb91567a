//! Asks a small data set and a small run, and compares with values computed by hand.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, as tests do")]

mod damage;
mod external;
mod filters;
mod fixture;
mod functions;
mod options;
mod refusals;
mod slt;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use retort_sql::{Error, Format, open};
use serde_json::{Value, json};

use fixture::{add_teacher, ask, ask_as, clip_folder, flip, refusal, small_dataset, small_run, text};

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
        table.lines().next(),
        Some(
            "there is no table imags; there are images, rejects, samples, shards, teachers, texts, clip.images, \
             clip.texts, clip.tokens"
        )
    );
    let column = refusal(folder.path(), "SELECT widht FROM images");
    assert!(column.contains("No field named widht") && column.contains("width"), "{column}");
    assert!(!column.starts_with("Schema error"), "{column}");
    assert!(matches!(ask_as(folder.path(), " -- nothing", Format::Csv), Err(Error::NoQuery { .. })));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(open(empty.path()), Err(Error::NothingToAsk { .. })));
    let gone = open(&empty.path().join("gone")).err().unwrap();
    assert!(gone.to_string().starts_with("there is no folder ") && gone.to_string().ends_with("gone"), "{gone}");
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
    assert_eq!(unknown.lines().next(), Some("there is no table selection; there are metrics, predictions"));
}
