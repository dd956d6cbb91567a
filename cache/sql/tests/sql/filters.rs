//! Conditions that a scan decides before it reads what is wanted.

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use retort_cache::{Dataset, DatasetWriter, SplitPlan, TeacherWriter, teachers_of, vectors};
use retort_schemas::Store;
use retort_schemas::features::{self, EMBEDDING};
use retort_schemas::manifest::BatchPlan;
use serde_json::json;

use crate::fixture::{add_searched, ask, ask_in_any_partitions, dataset_of, flip, refusal, shard, small_run};

/// Eight shards of three rows, of which the last two are of a split `val`, seen by the teacher `t`.
fn dataset(folder: &Path, store: &str) -> Dataset {
    let vector = |what: &str, shard: u8, row: usize| vec![f32::from(shard) - 2.5, row as f32 + 0.25, what.len() as f32];
    let dataset = dataset_of(folder, 6, 2);
    add_searched(&dataset, "t", store.parse().unwrap(), 3, &vector);
    dataset
}

fn plan(folder: &Path, sql: &str) -> String {
    ask(folder, &format!("EXPLAIN {sql}"))[1]["plan"].as_str().unwrap().to_owned()
}

#[test]
fn rows_are_those_that_a_filter_behind_the_scan_lets_pass() {
    for store in ["f16", "cos:0.99"] {
        let folder = tempfile::tempdir().unwrap();
        dataset(folder.path(), store);
        for (columns, from, condition) in [
            ("shard, row, source", "images", "row = 1"),
            ("shard, row, source, bytes", "images", "source LIKE '%image2' AND split = 'train'"),
            ("count(*) AS n", "images", "row >= 1"),
            ("count(*) AS n", "images", "source <> 'train/1/image2'"),
            ("shard, row", "images", "row % 2 = 0 OR shard = 'val-00001'"),
            ("shard, row, embedding", "t.images", "row = 2 AND shard > 'train-00002'"),
            ("shard, row, norm(embedding) AS n, embedding[1] AS x", "t.images", "row <> 1"),
            ("shard, row, norm(embedding) AS n", "t.images", "row <> 1"),
            ("round(vec_spread(embedding), 9) AS s, count(*) AS n", "t.images", "row < 1 OR row > 1"),
            ("shard, row, dot(embedding, embedding) AS d, row + 1 AS next", "t.texts", "row = 1"),
            ("shard, row, sample_id, texts", "samples", "row IN (0, 2)"),
            // Null is no; and no row at all.
            ("shard, row, source", "images", "nullif(row, 1) = 0"),
            ("shard, row, norm(embedding) AS n", "t.images", "row = 7"),
            ("max(embedding[1]) AS x", "t.images", "row = 7"),
        ] {
            let order = if columns.starts_with("shard, row") { "ORDER BY 1, 2" } else { "" };
            let sql = format!("SELECT {columns} FROM {from} WHERE {condition} {order}");
            let decided = plan(folder.path(), &sql);
            assert!(decided.contains(", filter=") && !decided.contains("FilterExec"), "{decided}");
            // Of what differs from row to row for no reason nothing is decided beforehand.
            let plain = format!("SELECT {columns} FROM {from} WHERE ({condition}) OR random() < 0 {order}");
            let behind = plan(folder.path(), &plain);
            assert!(!behind.contains(", filter=") && behind.contains("FilterExec"), "{behind}");
            assert_eq!(ask_in_any_partitions(folder.path(), &sql), ask(folder.path(), &plain), "{store}: {sql}");
        }
    }
}

#[test]
fn of_a_shard_where_no_row_passes_nothing_else_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path(), "f16");
    let teacher = teachers_of(&dataset).unwrap().remove(0);
    let shard = teacher.shard("train-00001").unwrap().unwrap();
    flip(&teacher.folder().join("images/train-00001.parquet"), &shard.tables["images"], "embedding");
    let id = |shard: u8| {
        let sql = format!("SELECT image_id FROM images WHERE shard = 'train-{shard:05}' AND row = 1");
        ask(folder.path(), &sql)[0]["image_id"].as_str().unwrap().to_owned()
    };
    for columns in ["embedding[1] AS x", "norm(embedding) AS x", "vec_mean(embedding)[1] AS x"] {
        let sql = |id: &str| format!("SELECT {columns} FROM t.images WHERE image_id = '{id}'");
        assert_eq!(ask(folder.path(), &sql(&id(0))).as_array().unwrap().len(), 1);
        let refused = refusal(folder.path(), &sql(&id(1)));
        assert!(refused.contains("images/train-00001.parquet is damaged"), "{refused}");
    }
}

/// One shard of 90 images, seen by the teacher `t` in vectors of which a page holds a few.
fn long_shard(folder: &Path) -> Dataset {
    const WIDTH: usize = 2048;
    let plan = SplitPlan { name: "train".to_owned(), source: "vqa".to_owned(), options: json!({}), answers: None };
    let mut writer = DatasetWriter::begin(folder, plan).unwrap();
    let thirty: Vec<_> = (0..30).map(|number| shard("train", number)).collect();
    let long = (0..thirty[0].len()).map(|table| {
        let (name, first) = &thirty[0][table];
        let batches: Vec<_> = thirty.iter().map(|tables| &tables[table].1).collect();
        (*name, concat_batches(&first.schema(), batches).unwrap())
    });
    let long: Vec<_> = long.collect();
    writer.commit(&long).unwrap();
    writer.finish().unwrap();
    let dataset = Dataset::open(folder).unwrap();
    let store: Store = "f16".parse().unwrap();
    let mut teacher = TeacherWriter::open(&dataset, "t", true, store, json!({}), BatchPlan::of_rows(1, 1)).unwrap();
    let features = |of: usize, rows: usize| {
        let floats: Vec<f32> = (0..rows * WIDTH).map(|at| (at / WIDTH) as f32 - 20.0).collect();
        let stored = vectors::store(store, EMBEDDING, WIDTH, &floats).unwrap();
        let ids = std::iter::once(long[of].1.column(0).clone());
        (stored.fields, ids.chain(stored.columns).collect::<Vec<_>>())
    };
    let ((images, of_images), (texts, of_texts)) = (features(0, 90), features(1, 60));
    let images = RecordBatch::try_new(features::images::with(images), of_images).unwrap();
    let texts = RecordBatch::try_new(features::texts::with(texts), of_texts).unwrap();
    teacher.commit("train-00000", &[(features::images::NAME, images), (features::texts::NAME, texts)]).unwrap();
    dataset
}

#[test]
fn of_few_rows_only_their_pages_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = long_shard(folder.path());
    let teacher = teachers_of(&dataset).unwrap().remove(0);
    let file = &teacher.shard("train-00000").unwrap().unwrap().tables["images"];
    for columns in [
        "row, embedding[1] AS x",
        "row, norm(embedding) AS x",
        "sum(dot(embedding, embedding)) AS x",
        "row, source, bytes",
    ] {
        let from = if columns.contains("source") { "images" } else { "t.images" };
        for condition in ["row IN (41, 3, 88)", "row % 20 = 7", "row = 90", "row > 2"] {
            let sql = |condition: &str| format!("SELECT {columns} FROM {from} WHERE {condition} ORDER BY 1");
            let plain = sql(&format!("({condition}) OR random() < 0"));
            assert_eq!(ask_in_any_partitions(folder.path(), &sql(condition)), ask(folder.path(), &plain), "{columns}");
        }
    }
    // The last page of them.
    flip(&teacher.folder().join("images/train-00000.parquet"), file, EMBEDDING);
    for columns in ["embedding[1]", "norm(embedding)", "vec_mean(embedding)[1]"] {
        let sql = |row: usize| format!("SELECT {columns} AS x FROM t.images WHERE row = {row}");
        assert_eq!(ask(folder.path(), &sql(41)).as_array().unwrap().len(), 1);
        assert!(refusal(folder.path(), &sql(89)).contains("images/train-00000.parquet is damaged"), "{columns}");
    }
}

#[test]
fn shards_are_ruled_out_by_any_condition_on_them() {
    let folder = tempfile::tempdir().unwrap();
    dataset(folder.path(), "f16");
    for (condition, shards, rows) in [
        ("split <> 'val'", 6, 18),
        ("split NOT IN ('train', 'x')", 2, 6),
        ("shard LIKE 'train%3'", 1, 3),
        ("shard > 'train-00004'", 3, 9),
        ("concat(split, '/', shard) = 'val/val-00000'", 1, 3),
        ("split = 'none'", 0, 0),
        ("split = 'val' AND row = 0", 2, 2),
        ("(split = 'val' OR row = 0) AND shard <> 'val-00000'", 7, 9),
        ("split = 'val' AND norm(embedding) > 0", 2, 6),
    ] {
        let sql = format!("SELECT count(*) AS n, count(norm(embedding)) AS m FROM t.images WHERE {condition}");
        let plan = plan(folder.path(), &sql);
        assert!(plan.contains(&format!("shards={shards} of 8")), "{condition}: {plan}");
        assert_eq!(ask(folder.path(), &sql), json!([{"n": rows, "m": rows}]), "{condition}");
        if !condition.contains("row") && !condition.contains("norm") {
            assert!(!plan.contains("filter=") && !plan.contains("FilterExec"), "{plan}");
        }
    }
}

#[test]
fn tables_of_runs_are_filtered_too() {
    let folder = tempfile::tempdir().unwrap();
    let folder = small_run(folder.path());
    let sql = "SELECT count(*) AS n FROM metrics WHERE step > 0";
    assert!(plan(&folder, sql).contains("filter="));
    let plain = "SELECT count(*) AS n FROM metrics WHERE step > 0 OR random() < 0";
    assert_eq!(ask(&folder, sql), ask(&folder, plain));
}
