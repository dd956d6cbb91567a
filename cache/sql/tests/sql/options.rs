//! What a folder can be opened with: less memory, damage left out, and the world outside.

use std::path::Path;

use retort_sql::{Error, Format, Options, open_with, run_blocking};

use crate::fixture::{dataset_of, text};

fn ask_with(folder: &Path, options: &Options, sql: &str) -> Result<String, Error> {
    let mut out = Vec::new();
    run_blocking(&open_with(folder, options)?, sql, Format::Csv, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

/// 180,000 rows of words and numbers, some 10 MB.
const MANY: &str = "(SELECT i.source, i.row, g.value AS g FROM images i CROSS JOIN generate_series(1, 15000) g)";

#[test]
fn what_does_not_fit_into_memory_goes_to_the_spill_folder() {
    let folder = tempfile::tempdir().unwrap();
    dataset_of(folder.path(), 3, 1);
    let spill = folder.path().join("spill/here");
    let mut options = Options::default();
    options.memory_limit = Some(4 << 20);
    options.spill_folder = Some(spill.clone());
    for (what, sql) in [
        (
            "sort",
            format!(
                "SELECT count(*), sum(n * g % 1009), max(source) FROM \
                 (SELECT source, g, row_number() OVER (ORDER BY g % 1000, source DESC, g) AS n FROM {MANY})"
            ),
        ),
        (
            "aggregate",
            format!(
                "SELECT count(*), sum(n), max(m) FROM (SELECT concat(source, '/', g) AS k, count(*) AS n, max(row) AS m FROM {MANY} GROUP BY k)"
            ),
        ),
    ] {
        let expected = text(folder.path(), &sql, Format::Csv);
        assert_eq!(ask_with(folder.path(), &options, &sql).unwrap(), expected, "{what}");
        let plan = ask_with(folder.path(), &options, &format!("EXPLAIN ANALYZE {sql}")).unwrap();
        let spills = |plan: &str| plan.split("spill_count=").skip(1).any(|rest| !rest.starts_with('0'));
        assert!(spills(&plan), "{what}: {plan}");

        let mut none = options.clone();
        none.spill_folder = None;
        let error = ask_with(folder.path(), &none, &sql).unwrap_err();
        let (words, hint) = (error.to_string(), error.hint().unwrap_or_default());
        assert!(words.starts_with("the query needs more than the memory limit of 4 MiB: "), "{what}: {words}");
        assert!(hint.contains("--spill-dir DIR") && hint.contains("--memory-limit"), "{what}: {hint}");
    }
    assert_eq!(std::fs::read_dir(&spill).unwrap().count(), 0, "nothing is left behind");

    options.memory_limit = Some(64 << 10);
    let error = ask_with(folder.path(), &options, &format!("SELECT * FROM {MANY} ORDER BY g, source")).unwrap_err();
    let (words, hint) = (error.to_string(), error.hint().unwrap_or_default());
    assert!(words.contains("memory limit of 64 KiB, and what it would put into"), "{words}");
    assert!(hint.starts_with("give more with --memory-limit"), "{hint}");
}

#[test]
fn a_scan_holds_a_shard_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    dataset_of(folder.path(), 30, 1);
    let mut options = Options::default();
    // Of 31 shards of 12 kB each: nothing would be left for the sort if all were held.
    options.memory_limit = Some(128 << 10);
    let sql = "SELECT sum(n) AS n FROM (SELECT row_number() OVER (ORDER BY low, shard) AS n \
               FROM (SELECT bytes < arrow_cast('a', 'Binary') AS low, shard FROM images))";
    assert_eq!(ask_with(folder.path(), &options, sql).unwrap(), "n\n4371\n");
}
