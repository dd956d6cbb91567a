//! What reads or writes outside of the folder that was opened: refused, and done where that is allowed.

use std::path::Path;

use retort_sql::{Error, Format, Options, open_with, run_blocking};

use crate::fixture::{refusal, small_dataset, text};

fn allowed(folder: &Path, sql: &str) -> Result<String, Error> {
    let mut options = Options::default();
    options.allow_external = true;
    let mut out = Vec::new();
    run_blocking(&open_with(folder, &options)?, sql, Format::Csv, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

/// Statements that are answered under no option.
const NEVER: [&str; 16] = [
    "INSERT INTO images SELECT * FROM images",
    "UPDATE images SET width = 1",
    "DELETE FROM images",
    "CREATE TABLE x AS SELECT 1",
    "CREATE VIEW x AS SELECT 1",
    "CREATE SCHEMA x",
    "DROP TABLE images",
    "TRUNCATE TABLE images",
    "ALTER TABLE images ADD COLUMN x INT",
    "SET datafusion.runtime.memory_limit = '1G'",
    "RESET datafusion.execution.batch_size",
    "PREPARE p AS SELECT 1",
    "BEGIN",
    "EXPLAIN INSERT INTO images SELECT * FROM images",
    "EXPLAIN ANALYZE COPY images TO 'x.csv'",
    "SELECT 1; DELETE FROM images",
];

#[test]
fn statements_that_do_more_than_ask_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (dataset, outside) = (folder.path().join("set"), folder.path().join("x.csv"));
    small_dataset(&dataset);
    for sql in NEVER {
        for refused in [refusal(&dataset, sql), allowed(&dataset, sql).unwrap_err().to_string()] {
            assert!(refused.contains("is refused: only queries are answered"), "{sql}: {refused}");
        }
    }
    let into = allowed(&dataset, "SELECT 1 AS one INTO x").unwrap_err().to_string();
    assert!(into.starts_with("SELECT INTO is refused: only queries are answered"), "{into}");
    std::fs::write(&outside, "a\n1\n").unwrap();
    let path = outside.display();
    for (sql, words) in [
        (
            format!("COPY images TO '{path}.2'"),
            "COPY images TO is refused: it writes outside of what was opened, which takes --allow-external",
        ),
        (format!("COPY (SELECT 1) TO '{path}.2'"), "COPY (SELECT 1) is refused: it writes outside"),
        (
            format!("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '{path}'"),
            "CREATE EXTERNAL TABLE is refused: it reads outside",
        ),
        (format!("SELECT 1 FROM '{path}'"), &format!("FROM '{path}' is refused: it reads outside")),
        (format!("DESCRIBE '{path}'"), &format!("FROM '{path}' is refused: it reads outside")),
        (
            format!("SELECT 1 FROM images WHERE EXISTS (SELECT 1 FROM '{path}')"),
            &format!("FROM '{path}' is refused: it reads outside"),
        ),
        (
            "SELECT 1 FROM 'http://host/x.parquet'".to_owned(),
            "FROM 'http://host/x.parquet' is refused: it reads outside",
        ),
    ] {
        let refused = refusal(&dataset, &sql);
        assert!(refused.starts_with(words), "{sql}: {refused}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    let pointed = refusal(&dataset, "SELECT *\nFROM '/etc/hosts.csv'");
    assert!(pointed.ends_with("  2 | FROM '/etc/hosts.csv'\n    |      ^^^^^^^^^^^^^^^^"), "{pointed}");
}

#[test]
fn answers_are_copied_to_files_and_files_are_tables() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = folder.path().join("set");
    small_dataset(&dataset);
    let query =
        "SELECT i.image_id, i.row, c.embedding FROM images i JOIN clip.images c ON c.shard = i.shard AND c.row = i.row";
    let expected = text(&dataset, &format!("{query} ORDER BY image_id"), Format::Csv);
    for ending in ["parquet", "json", "csv"] {
        let path = folder.path().join(format!("answer.{ending}"));
        let path = path.display();
        assert_eq!(allowed(&dataset, &format!("COPY ({query}) TO '{path}'")).unwrap(), "count\n6\n");
        let lists = if ending == "csv" { "image_id, row" } else { "image_id, row, embedding" };
        let back = allowed(&dataset, &format!("SELECT {lists} FROM '{path}' ORDER BY image_id")).unwrap();
        let expected = match ending {
            "csv" => text(
                &dataset,
                "SELECT image_id, row FROM images WHERE shard <> 'train-00001' ORDER BY image_id",
                Format::Csv,
            ),
            _ => expected.clone(),
        };
        assert_eq!(back, expected, "{ending}");
        let external = format!("CREATE EXTERNAL TABLE mine STORED AS {ending} LOCATION '{path}'");
        let sql = format!(
            "{external}; SELECT row, count(*) AS n, max(image_id) AS i FROM mine GROUP BY row ORDER BY row LIMIT 1"
        );
        assert_eq!(allowed(&dataset, &sql).unwrap(), "row,n,i\n0,2,010200000000000000000000000000ff\n", "{ending}");
        let sql = format!("SELECT count(*) AS n FROM '{path}'; SELECT max(row) AS r FROM '{path}' LIMIT 1");
        assert_eq!(allowed(&dataset, &sql).unwrap(), "n\n6\n\nr\n2\n", "{ending}");
        // Files join with tables.
        let sql = format!(
            "SELECT f.row, f.image_id = i.image_id AS same FROM '{path}' f JOIN images i USING (image_id) LIMIT 1"
        );
        assert!(allowed(&dataset, &sql).unwrap().ends_with(",true\n"), "{ending}");
    }
    let stored = folder.path().join("words");
    allowed(&dataset, &format!("COPY texts TO '{}' STORED AS NDJSON", stored.display())).unwrap();
    assert_eq!(std::fs::read_to_string(stored).unwrap().lines().count(), 6);
}

#[test]
fn what_cannot_be_copied_or_read_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = folder.path().join("set");
    small_dataset(&dataset);
    let before = std::fs::read(dataset.join("images/train-00000.parquet")).unwrap();
    let (set, path) = (dataset.display(), folder.path().display());
    std::fs::write(folder.path().join("bad.parquet"), "PAR1").unwrap();
    std::fs::write(folder.path().join("good.csv"), "a\n1\n").unwrap();
    std::fs::write(folder.path().join("odd.csv"), "a,b\n1,2\n1,2,3\n").unwrap();
    std::fs::write(folder.path().join("odd.json"), "{\"a\": 1}\n{\"a\": oops}\n").unwrap();
    // What cannot be written over.
    std::fs::create_dir(folder.path().join("full.csv")).unwrap();
    for (sql, words) in [
        (format!("COPY images TO '{set}/images/train-00000.parquet'"), "it lies in the folder that is asked"),
        (format!("COPY images TO '{path}/set/../set/x.csv'"), "it lies in the folder that is asked"),
        (format!("COPY images TO '{path}/x.txt'"), "its ending says no format: expected .parquet"),
        (format!("COPY images TO '{path}/x.csv' STORED AS AVRO"), "its ending says no format"),
        (
            format!("COPY images TO '{path}/x.csv' OPTIONS ('format.delimiter' ';')"),
            "options and PARTITIONED BY are not understood",
        ),
        (format!("COPY imags TO '{path}/x.csv'"), "there is no table imags"),
        (
            format!("COPY images TO '{path}/none/x.csv'"),
            &format!("cannot copy to {path}/none/x.csv: there is no folder {path}/none"),
        ),
        (
            "COPY images TO 's3://bucket/x.csv'".to_owned(),
            "cannot copy to s3://bucket/x.csv: there is no folder s3://bucket",
        ),
        (format!("COPY images TO '{path}/full.csv'"), &format!("cannot copy to {path}/full.csv: ")),
        (format!("SELECT * FROM '{path}/'"), &format!("{path}/ is a folder: expected a file .parquet, .csv or .json")),
        (format!("SELECT * FROM '{path}/odd.csv'"), &format!("{path}/odd.csv cannot be read: ")),
        (
            format!("SELECT * FROM '{path}/good.csv', '{path}/odd.json'"),
            &format!("{path}/good.csv or {path}/odd.json cannot be read: "),
        ),
        (format!("SELECT * FROM '{path}/none.parquet'"), "there is no file "),
        (format!("SELECT * FROM '{path}/bad.parquet'"), "parquet failed on "),
        (format!("SELECT b FROM '{path}/good.csv'"), "No field named b."),
        (format!("CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION '{path}/none.parquet'"), "there is no file "),
        (format!("CREATE EXTERNAL TABLE images STORED AS CSV LOCATION '{path}/good.csv'"), "already exists"),
    ] {
        let refused = allowed(&dataset, &sql).unwrap_err().to_string();
        assert!(refused.contains(words), "{sql}: {refused}");
    }
    let pointed = allowed(&dataset, &format!("COPY imags\nTO '{path}/x.csv'")).unwrap_err().to_string();
    assert!(pointed.ends_with("  1 | COPY imags\n    |      ^^^^^"), "{pointed}");
    // A copy that fails leaves what was there, and nothing beside it.
    let sql = format!("COPY (SELECT a, 1 / (a - 1) FROM '{path}/good.csv') TO '{path}/good.csv'");
    let failed = allowed(&dataset, &sql).unwrap_err().to_string();
    assert!(failed.contains("Divide by zero"), "{failed}");
    assert_eq!(std::fs::read_to_string(folder.path().join("good.csv")).unwrap(), "a\n1\n");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 6);
    assert_eq!(std::fs::read(dataset.join("images/train-00000.parquet")).unwrap(), before);
}
