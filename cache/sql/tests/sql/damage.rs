//! Damage costs what is read of it, is named, and is told where it is left out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use retort_cache::{Dataset, TeacherWriter, teachers_of, vectors};
use retort_schemas::features;
use retort_schemas::manifest::BatchPlan;
use retort_sql::{Error, Format, Options, open_with, run_blocking, take_skipped};
use serde_json::json;

use crate::fixture::{VECTOR, ask, dataset_of, dataset_with_regions, flip, ids, lists, small_dataset, small_run};

/// The answer in CSV, with what was left out if that is allowed: table, shard and rows.
type Told = (Result<String, Error>, Vec<(String, String, Option<usize>)>);

fn ask_skipping(folder: &Path, skip: bool, sql: &str) -> Told {
    let mut options = Options::default();
    options.skip_damaged = skip;
    let context = open_with(folder, &options).unwrap();
    let mut out = Vec::new();
    let answered = run_blocking(&context, sql, Format::Csv, &mut out).map(|()| String::from_utf8(out).unwrap());
    let skipped = take_skipped(&context).into_iter().map(|skipped| (skipped.table, skipped.shard, skipped.rows));
    (answered, skipped.collect())
}

fn answer(folder: &Path, skip: bool, sql: &str) -> String {
    ask_skipping(folder, skip, sql).0.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn refused(folder: &Path, skip: bool, sql: &str) -> String {
    ask_skipping(folder, skip, sql).0.unwrap_err().to_string()
}

fn flip_byte(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_bit_of_a_run_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let run = small_run(folder.path());
    let path = run.join("predictions-test.parquet");
    let sound = std::fs::read(&path).unwrap();
    let sql = "SELECT split, score FROM predictions ORDER BY split";
    let (mut found, mut flipped) = (0, 0);
    for at in (4..sound.len()).step_by(7) {
        flip_byte(&path, at);
        flipped += 1;
        match ask_skipping(&run, false, sql).0 {
            Err(error) => {
                assert!(error.to_string().contains("predictions-test.parquet is damaged: "), "byte {at}: {error}");
                found += 1;
            }
            // In the words that the file's checksum is found by: those of its pages hold.
            Ok(answer) => assert_eq!(answer, "split,score\ntest,0.0\nval,0.0\n", "byte {at}"),
        }
        std::fs::write(&path, &sound).unwrap();
    }
    assert!(found + 5 > flipped && flipped > 100, "{found} of {flipped}");
    flip_byte(&path, sound.len() / 2);
    let (answered, skipped) = ask_skipping(&run, true, sql);
    assert_eq!(answered.unwrap(), "split,score\nval,0.0\n");
    assert_eq!(skipped, [("predictions".to_owned(), "test".to_owned(), None)]);
    assert_eq!(answer(&run, false, "SELECT max(value) AS v FROM metrics"), "v\n2.5\n", "another file");
}

/// The teacher's own folder of a table.
fn folder_of(dataset: &Dataset, table: &str) -> PathBuf {
    teachers_of(dataset).unwrap()[0].folder().join(table)
}

#[test]
fn a_table_without_any_footer_leaves_the_others_to_be_asked() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = small_dataset(folder.path());
    for entry in std::fs::read_dir(folder_of(&dataset, "texts")).unwrap() {
        std::fs::write(entry.unwrap().path(), "PAR1").unwrap();
    }
    let lost = ["train-00000", "val-00000"].map(|shard| ("clip.texts".to_owned(), shard.to_owned(), Some(2)));
    for skip in [false, true] {
        let told = if skip { &lost[..] } else { &[] };
        for (sql, expected) in [
            ("SELECT count(*) AS n FROM images", "n\n9\n"),
            ("SELECT count(embedding) AS n FROM clip.images", "n\n6\n"),
            ("SELECT kind, width, rows FROM teachers WHERE kind = 'texts'", "kind,width,rows\ntexts,,4\n"),
        ] {
            let (answered, skipped) = ask_skipping(folder.path(), skip, sql);
            assert_eq!((answered.unwrap().as_str(), skipped.as_slice()), (expected, told), "{sql}");
        }
        let shown = answer(folder.path(), skip, "SHOW TABLES");
        assert!(shown.contains("clip,tokens") && !shown.contains("clip,texts"), "{shown}");
        for sql in [
            "SELECT count(*) FROM clip.texts",
            "SELECT * FROM nearest('clip.texts', [1, 0], 1)",
            "SELECT * FROM nearest('clip.texts.embedding', [1, 0], 1)",
        ] {
            let (answered, skipped) = ask_skipping(folder.path(), skip, sql);
            let error = answered.unwrap_err();
            let words = error.to_string();
            assert!(words.contains("texts/train-00000.parquet is damaged: "), "{sql}: {words}");
            assert!(error.hint().is_some_and(|hint| hint.contains("retort verify")), "{sql}: {:?}", error.hint());
            assert_eq!(skipped, told, "{sql}");
        }
    }
}

#[test]
fn a_first_file_of_regions_that_is_gone_fails_queries_of_regions_alone() {
    let folder = tempfile::tempdir().unwrap();
    dataset_with_regions(folder.path());
    std::fs::remove_file(folder.path().join("regions/train-00000.parquet")).unwrap();
    assert_eq!(answer(folder.path(), false, "SELECT count(*) AS n FROM images"), "n\n6\n");
    let last = "SELECT count(boxes) AS n FROM regions WHERE shard = 'train-00001'";
    assert_eq!(answer(folder.path(), false, last), "n\n3\n");
    let error = refused(folder.path(), false, "SELECT count(boxes) FROM regions");
    assert!(error.contains("regions/train-00000.parquet is damaged: it cannot be opened"), "{error}");
    std::fs::remove_file(folder.path().join("regions/train-00001.parquet")).unwrap();
    assert_eq!(answer(folder.path(), false, "SELECT count(*) AS n FROM images"), "n\n6\n");
    let error = refused(folder.path(), false, "SELECT count(boxes) FROM regions");
    assert!(error.contains("regions/train-00000.parquet is damaged: it cannot be opened"), "{error}");
}

#[test]
fn damaged_ids_cost_the_queries_that_read_ids() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = small_dataset(folder.path());
    let teacher = &teachers_of(&dataset).unwrap()[0];
    let theirs = teacher.shard("train-00000").unwrap().unwrap();
    flip(&teacher.folder().join("images/train-00000.parquet"), &theirs.tables["images"], "image_id");
    let own = dataset.shard("val-00000").unwrap().unwrap();
    flip(&folder.path().join("images/val-00000.parquet"), &own.tables["images"], "image_id");
    for skip in [false, true] {
        for sql in [
            "SELECT count(norm(embedding)) AS n FROM clip.images",
            "SELECT count(embedding[1]) AS n FROM clip.images",
            "SELECT count(normalize(embedding)) AS n FROM clip.images",
            "SELECT count(dot(embedding, embedding)) AS n FROM clip.images",
            "SELECT 3 * count(embedding[1]) AS n FROM clip.images WHERE row = 1",
        ] {
            let (answered, skipped) = ask_skipping(folder.path(), skip, sql);
            let answered = answered.unwrap_or_else(|error| panic!("{sql}: {error}"));
            assert_eq!((answered.as_str(), skipped), ("n\n6\n", vec![]), "{sql}");
        }
    }
    let lost = |table: &str, shard: &str| vec![(table.to_owned(), shard.to_owned(), Some(3))];
    for (sql, answer, skipped, file) in [
        (
            "SELECT count(image_id) AS n FROM clip.images",
            "n\n3\n",
            lost("clip.images", "train-00000"),
            "images/train-00000.parquet is damaged: column image_id",
        ),
        (
            "SELECT count(image_id) AS n FROM images",
            "n\n6\n",
            lost("images", "val-00000"),
            "images/val-00000.parquet is damaged: column image_id",
        ),
        // What is found is named.
        (
            "SELECT count(*) AS n FROM nearest('clip.images', [1, 0], 9)",
            "n\n3\n",
            lost("clip.images", "train-00000"),
            "images/train-00000.parquet is damaged: column image_id",
        ),
    ] {
        let (answered, told) = ask_skipping(folder.path(), true, sql);
        assert_eq!((answered.unwrap().as_str(), told), (answer, skipped), "{sql}");
        let error = refused(folder.path(), false, sql);
        assert!(error.contains(file), "{sql}: {error}");
    }
}

#[test]
fn patches_are_expected_of_every_image() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset_of(folder.path(), 1, 1);
    let plan = BatchPlan::of_rows(1, 1);
    let mut teacher = TeacherWriter::open(&dataset, "clip", true, VECTOR.dtype, json!({}), plan).unwrap();
    let schema = features::patches::schema(VECTOR);
    let grid: ArrayRef = Arc::new(vectors::encode(VECTOR, &[1.0; 12]).unwrap());
    let columns = vec![ids(1, 0, 3), lists(&schema, features::patches::GRID, &[2; 3], grid)];
    teacher
        .commit("train-00000", &[(features::patches::NAME, RecordBatch::try_new(schema, columns).unwrap())])
        .unwrap();
    let sql = "SELECT kind, rows, expected_rows, coverage FROM teachers";
    let expected = json!([{"kind": "patches", "rows": 3, "expected_rows": 6, "coverage": 0.5}]);
    assert_eq!(ask(folder.path(), sql), expected);
}
