//! What is wrong with a call, in words that help.

use retort_sql::Format;

use crate::fixture::{ask, ask_as, flip, refusal, small_dataset};
use serde_json::json;

#[test]
fn a_damaged_shard_fails_the_search_that_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = small_dataset(folder.path());
    let teacher = &retort_cache::teachers_of(&dataset).unwrap()[0];
    let path = teacher.folder().join("images/val-00000.parquet");
    flip(&path, &teacher.shard("val-00000").unwrap().unwrap().tables["images"], "embedding");
    let shard = dataset.shards().last().unwrap().unwrap();
    flip(&folder.path().join("images/val-00000.parquet"), &shard.tables["images"], "phash");
    for (sql, column) in [
        ("SELECT * FROM nearest('clip.images', [1, 0], 1)", "embedding"),
        ("SELECT * FROM outliers('clip.images', 1)", "embedding"),
        ("SELECT * FROM nearest_join('clip.texts', 'clip.images', 1)", "embedding"),
        ("SELECT * FROM near_duplicates('images', 1)", "phash"),
        ("SELECT vec_mean(embedding) FROM clip.images", "embedding"),
    ] {
        let error = ask_as(folder.path(), sql, Format::Csv).unwrap_err();
        let words = error.to_string();
        assert!(words.contains(&format!("images/val-00000.parquet is damaged: column {column}")), "{sql}: {words}");
        assert!(error.hint().is_some_and(|hint| hint.contains("retort verify")), "{sql}: {:?}", error.hint());
    }
    // A filter that rules the shard out leaves it alone, and so does an id before it.
    let sql = "SELECT id FROM nearest('clip.images', '010000000000000000000000000000ff', 1, 'split = ''train''')";
    assert_eq!(ask(folder.path(), sql), json!([{"id": "010000000000000000000000000000ff"}]));
}

#[test]
fn an_unknown_table_or_function_lists_those_there_are() {
    let folder = tempfile::tempdir().unwrap();
    small_dataset(folder.path());
    let error = ask_as(folder.path(), "SELECT * FROM nearest('clip.imags', [1, 0], 1)", Format::Csv).unwrap_err();
    let expected = "there is no table clip.imags; there are images, rejects, samples, shards, teachers, texts, \
                    clip.images, clip.texts, clip.tokens";
    assert_eq!(error.to_string(), expected);
    assert!(error.hint().is_some_and(|hint| hint.starts_with("SHOW TABLES")), "{:?}", error.hint());
    let function = refusal(folder.path(), "SELECT * FROM nearst('clip.images', [1, 0], 1)");
    let known = "there is no table function nearst; there are ";
    assert!(
        function.starts_with(known) && function.contains("near_duplicates, nearest, nearest_join, outliers"),
        "{function}"
    );
}
