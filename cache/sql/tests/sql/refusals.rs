//! What is wrong with a call, in words that help.

use retort_sql::{Format, open, run_blocking};

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
    assert_eq!(error.to_string().lines().next(), Some(expected));
    assert!(error.hint().is_some_and(|hint| hint.starts_with("SHOW TABLES")), "{:?}", error.hint());
    let function = refusal(folder.path(), "SELECT * FROM nearst('clip.images', [1, 0], 1)");
    let known = "there is no table function nearst; there are ";
    assert!(
        function.starts_with(known) && function.contains("near_duplicates, nearest, nearest_join, outliers"),
        "{function}"
    );
}

#[test]
fn errors_point_into_the_query() {
    let folder = tempfile::tempdir().unwrap();
    small_dataset(folder.path());
    for (sql, words, line, marks) in [
        // What cannot be read.
        ("SELECT 1 +", "Expected: an expression, found: EOF", "1 | SELECT 1 +", "          ^"),
        ("SELECT row\nFORM texts", "Expected: end of statement, found: texts", "2 | FORM texts", "     ^^^^^"),
        ("SELECT 'it", "Unterminated string literal", "1 | SELECT 'it", "       ^^^"),
        ("SELECT (1 FROM texts", "Expected: ), found: FROM", "1 | SELECT (1 FROM texts", "          ^^^^"),
        // Tables, columns and functions that there are none.
        (
            "SELECT row FROM imags i",
            "there is no table imags; ",
            "1 | SELECT row FROM imags i",
            "                ^^^^^",
        ),
        ("SELECT row\n FROM clip.imags", "there is no table clip.imags; ", "2 |  FROM clip.imags", "      ^^^^^^^^^^"),
        ("SELECT t.txt FROM texts t", "No field named t.txt. ", "1 | SELECT t.txt FROM texts t", "       ^^^^^"),
        ("SELECT row FROM texts\nWHERE txt > ''", "No field named txt. ", "2 | WHERE txt > ''", "      ^^^"),
        (
            "SELECT row FROM texts; SELECT row\nFROM texts ORDER BY txt",
            "No field",
            "2 | FROM texts ORDER BY txt",
            "                    ^^^",
        ),
        (
            "SELECT nrm(row) FROM texts",
            "Invalid function 'nrm'.\nDid you mean 'norm'?",
            "1 | SELECT nrm(row) FROM texts",
            "       ^^^",
        ),
        (
            "FROM nearst('clip.images', 1, 1)",
            "there is no table function nearst; ",
            "1 | FROM nearst('clip.images', 1, 1)",
            "     ^^^^^^",
        ),
        (
            "FROM outliers('clip.imgs', 1)",
            "there is no table clip.imgs; ",
            "1 | FROM outliers('clip.imgs', 1)",
            "              ^^^^^^^^^^^",
        ),
        // Of a filter, the filter's own text is shown.
        (
            "FROM nearest('clip.images', [1, 0], 1, 'row > 1 AND splt = 3')",
            "No field named splt. ",
            "1 | row > 1 AND splt = 3",
            "            ^^^^",
        ),
        // The arguments of a call, once while it is planned and once while it runs.
        (
            "SELECT dot(c.embedding, w.embedding) FROM clip.images c, (SELECT normalize(arrow_cast([1, 2, 3], 'FixedSizeList(3, Float32)')) AS embedding) w",
            "dot takes vectors of equal width, it is given widths 2 and 3: embedding (the first) and embedding (the second)",
            "1 | SELECT dot(c.embedding, w.embedding) FROM",
            "       ^^^",
        ),
        (
            "SELECT dot(embedding, [1, 2, 3])\nFROM clip.images",
            "dot takes vectors of equal width, it is given widths 2 and 3: embedding and a literal",
            "1 | SELECT dot(embedding, [1, 2, 3])",
            "       ^^^",
        ),
        (
            "SELECT row, norm(source) FROM images",
            "norm takes vectors of numbers, it is given Utf8",
            "1 | SELECT row, norm(source) FROM images",
            "            ^^^^",
        ),
        (
            "SELECT * FROM 'some.json' s JOIN samples USING (sample_id)",
            "FROM 'some.json' is refused: it reads outside",
            "1 | SELECT * FROM 'some.json' s JOIN",
            "              ^^^^^^^^^^^",
        ),
        (
            "SELECT dot(array_slice(embedding, 1, 1), embedding)\nFROM clip.images",
            "dot takes vectors of equal width, it is given widths 1 and 2: array_slice and embedding",
            "1 | SELECT dot(array_slice(embedding, 1, 1), embedding)",
            "       ^^^",
        ),
    ] {
        let refused = refusal(folder.path(), sql);
        let lines: Vec<&str> = refused.lines().collect();
        assert!(refused.starts_with(words), "{sql}: {refused}");
        assert!(lines[lines.len() - 2].starts_with(&format!("  {line}")), "{sql}: {refused}");
        assert_eq!(lines[lines.len() - 1], format!("    | {marks}"), "{sql}: {refused}");
    }
}

#[test]
fn words_are_those_of_the_function_and_hints_fit() {
    let folder = tempfile::tempdir().unwrap();
    small_dataset(folder.path());
    let refused = |sql: &str| {
        let mut out = Vec::new();
        let error = run_blocking(&open(folder.path()).unwrap(), sql, Format::Csv, &mut out).unwrap_err();
        (error.to_string(), error.hint())
    };
    for (call, words) in [
        ("norm(source)", "norm takes vectors of numbers, it is given Utf8"),
        ("hamming('a', 1)", "hamming takes hashes, which are whole numbers as phash, it is given Utf8"),
        ("hamming(1)", "hamming takes 2 hashes, it is given 1 arguments"),
    ] {
        let (said, _) = refused(&format!("SELECT {call} FROM images"));
        assert_eq!(said.lines().next(), Some(words));
        assert!(!said.contains("Candidate"), "{said}");
    }
    // Only a sign can have been meant as part of a name.
    for (sql, hinted) in [
        ("SELECT * FROM images/train", true),
        ("SELECT * FROM my-clip.images", true),
        ("SELEC 1", false),
        ("SELECT 1 +", false),
        ("SELECT (1, 2", false),
    ] {
        let (words, hint) = refused(sql);
        assert_eq!(hint.is_some_and(|hint| hint.contains("double quotes")), hinted, "{sql}: {words}");
    }
}
