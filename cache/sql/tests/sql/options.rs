//! What a folder can be opened with: less memory, damage left out, and the world outside.

use std::path::Path;
use std::sync::Arc;

use retort_cache::{Dataset, teachers_of};
use retort_sql::{Error, Format, Options, Thumbnails, open_with, run_blocking, take_skipped};

use crate::fixture::{add_searched, dataset_of, dataset_with_regions, flip, small_dataset, text};

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

/// A row takes 16 KiB: all of them in one batch, as of narrow rows, would be more than the limit.
#[test]
fn wide_rows_are_sorted_in_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let vector = |_: &str, shard: u8, row: usize| vec![f32::from(shard) * 3.0 + row as f32; 1 << 12];
    add_searched(&dataset_of(folder.path(), 60, 1), "t", "f16".parse().unwrap(), 1 << 12, &vector);
    let mut options = Options::default();
    options.memory_limit = Some(2 << 20);
    options.spill_folder = Some(folder.path().join("spill"));
    let sql = "SELECT image_id, embedding FROM t.images ORDER BY image_id DESC";
    assert_eq!(ask_with(folder.path(), &options, sql).unwrap(), text(folder.path(), sql, Format::Csv));
}

#[test]
fn what_a_search_keeps_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let vector = |_: &str, shard: u8, row: usize| vec![f32::from(shard) + 1.0, row as f32];
    add_searched(&dataset_of(folder.path(), 6, 2), "t", "f32".parse().unwrap(), 2, &vector);
    for (few, many) in [
        ("nearest('t.images', [1, 0], 2)", "nearest('t.images', [1, 0], 24)"),
        ("outliers('t.images', 2)", "outliers('t.images', 24)"),
        ("nearest('t.images', [1, 0], 24, 'row = 0')", "nearest_join('t.images', 't.texts', 1)"),
        ("nearest('t.images', [1, 0], 24, 'row = 0')", "near_duplicates('images', 3)"),
    ] {
        let [few, many] = [few, many].map(|table| format!("SELECT * FROM {table}"));
        let mut options = Options::default();
        options.memory_limit = Some(300);
        options.spill_folder = Some(folder.path().join("spill"));
        assert_eq!(ask_with(folder.path(), &options, &few).unwrap(), text(folder.path(), &few, Format::Csv));
        let refused = ask_with(folder.path(), &options, &many).unwrap_err().to_string();
        assert!(refused.contains("memory limit of 300 bytes"), "{many}: {refused}");
        options.memory_limit = Some(1 << 20);
        assert_eq!(ask_with(folder.path(), &options, &many).unwrap(), text(folder.path(), &many, Format::Csv));
    }
}

/// Flips a byte of a column of shard `train-00000`, of a teacher's table or the data set's own.
fn damage(folder: &Path, teacher: Option<&str>, table: &str, column: &str) {
    let dataset = Dataset::open(folder).unwrap();
    let teachers = teachers_of(&dataset).unwrap();
    let teacher = teacher.map(|name| teachers.iter().find(|teacher| teacher.manifest().name == name).unwrap());
    let (folder, shard) = match teacher {
        Some(teacher) => (teacher.folder().to_owned(), teacher.shard("train-00000").unwrap().unwrap()),
        None => (folder.to_owned(), dataset.shard("train-00000").unwrap().unwrap()),
    };
    flip(&folder.join(table).join("train-00000.parquet"), &shard.tables[table], column);
}

#[test]
fn a_damaged_shard_is_left_out_and_told_if_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    small_dataset(folder.path());
    damage(folder.path(), Some("clip"), "images", "embedding");
    damage(folder.path(), None, "texts", "text");
    let mut options = Options::default();
    options.skip_damaged = true;
    let ask = |options: &Options, sql: &str| {
        let (context, mut out) = (open_with(folder.path(), options).unwrap(), Vec::new());
        run_blocking(&context, sql, Format::Csv, &mut out).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let skipped = take_skipped(&context).into_iter();
        let skipped: Vec<_> = skipped.map(|skipped| (skipped.table, skipped.shard, skipped.rows)).collect();
        (String::from_utf8(out).unwrap(), skipped)
    };
    let images = || vec![("clip.images".to_owned(), "train-00000".to_owned(), Some(3))];
    let texts = || vec![("texts".to_owned(), "train-00000".to_owned(), Some(2))];
    for (sql, answer, skipped) in [
        ("SELECT count(embedding) AS n, count(*) AS m FROM clip.images", "n,m\n3,3\n", images()),
        ("SELECT max(norm(embedding)) AS n FROM clip.images", "n\n5.0\n", images()),
        ("SELECT count(image_id) AS n FROM clip.images WHERE norm(embedding) > 1", "n\n2\n", images()),
        // Both tables, one of them twice.
        (
            "SELECT count(DISTINCT t.text) AS n FROM texts t, clip.images a, clip.images b WHERE norm(a.embedding) = norm(b.embedding)",
            "n\n4\n",
            [images(), texts()].concat(),
        ),
        ("SELECT shard, row FROM nearest('clip.images', [1, 0], 1)", "shard,row\nval-00000,0\n", images()),
        ("SELECT count(*) AS n FROM nearest_join('clip.images', 'clip.images', 9)", "n\n6\n", images()),
        ("SELECT max(shard) AS s, count(*) AS n FROM outliers('clip.images', 9)", "s,n\nval-00000,3\n", images()),
        // The teacher's own shard is whole, that of the texts is not.
        ("SELECT shard FROM nearest('clip.texts', [1, 1], 9, 'text > ''''')", "shard\nval-00000\n", texts()),
        ("SELECT vec_mean(embedding) AS m FROM clip.images WHERE split = 'train'", "m\n\"\"\n", images()),
        // What the damage does not touch.
        ("SELECT count(image_id) AS n FROM clip.images", "n\n6\n", vec![]),
        ("SELECT count(embedding) AS n FROM clip.images WHERE split = 'val'", "n\n3\n", vec![]),
    ] {
        assert_eq!(ask(&options, sql), (answer.to_owned(), skipped), "{sql}");
    }
    // One core, which reads a shard after the other: the first has no row.
    let mut one = options.clone();
    one.memory_limit = Some(16 << 20);
    let answer = "shard,embedding\nval-00000,\"[1.0,0.0]\"\n".to_owned();
    assert_eq!(ask(&one, "SELECT shard, embedding FROM clip.images LIMIT 1"), (answer, images()));
    let by_id = "SELECT id FROM nearest('clip.images', '010000000000000000000000000000ff', 1)";
    let error = ask_with(folder.path(), &options, by_id).unwrap_err().to_string();
    assert!(error.contains("the vector of row 0 of clip.images lies in a damaged shard"), "{error}");

    // Keys that cannot be read cost their shard, and a file that is gone does too.
    damage(folder.path(), None, "images", "image_id");
    assert_eq!(ask(&options, "SELECT count(*) AS n FROM near_duplicates('images', 64)").1.len(), 1);
    std::fs::remove_file(folder.path().join("images/val-00000.parquet")).unwrap();
    let (answer, skipped) = ask(&options, "SELECT count(source) AS n FROM images");
    assert_eq!((answer.as_str(), skipped.len()), ("n\n6\n", 1));
    // Without the option it is an error.
    let refused = ask_with(folder.path(), &Options::default(), "SELECT max(text) FROM texts").unwrap_err();
    assert!(refused.to_string().contains("texts/train-00000.parquet is damaged: column text"), "{refused}");
}

/// Draws the length of what is long enough.
#[derive(Debug)]
struct Lengths;

impl Thumbnails for Lengths {
    fn draw(&self, image: &[u8]) -> Option<String> {
        (image.len() > 5).then(|| format!("<{}>\n", image.len()))
    }
}

#[test]
fn thumbnails_of_the_first_rows_are_under_the_table() {
    let folder = tempfile::tempdir().unwrap();
    dataset_of(folder.path(), 8, 1);
    let mut options = Options::default();
    options.thumbnails = Some(Arc::new(Lengths));
    let context = open_with(folder.path(), &options).unwrap();
    let ask = |sql: &str, format| {
        let mut out = Vec::new();
        run_blocking(&context, sql, format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let sql = "SELECT row, source, bytes FROM images ORDER BY source";
    let answer = ask(sql, Format::Table);
    let drawn: Vec<&str> = answer.lines().skip_while(|line| !line.starts_with("row ")).collect();
    // Of three images a shard one is too short.
    assert_eq!(drawn[..4], ["row 2: train/0/image1", "<6>", "", "row 3: train/0/image2"]);
    assert_eq!(drawn.iter().filter(|line| line.starts_with("row ")).count(), 13);
    assert_eq!(drawn.last(), Some(&"thumbnails of the first 20 rows; 7 more images"));
    assert!(!ask(sql, Format::Csv).contains("row 2:"));
    assert!(!ask("SELECT row, source FROM images", Format::Table).contains("row 2:"));
}

#[test]
fn a_shard_without_a_footer_is_left_out_of_the_regions() {
    let folder = tempfile::tempdir().unwrap();
    dataset_with_regions(folder.path());
    std::fs::write(folder.path().join("regions/train-00000.parquet"), "no footer").unwrap();
    let sql = "SELECT count(boxes) AS n FROM regions";
    let error = ask_with(folder.path(), &Options::default(), sql).unwrap_err().to_string();
    assert!(error.contains("train-00000.parquet"), "{error}");
    let mut options = Options::default();
    options.skip_damaged = true;
    let context = open_with(folder.path(), &options).unwrap();
    let mut out = Vec::new();
    run_blocking(&context, sql, Format::Csv, &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "n\n3\n");
    let skipped: Vec<_> = take_skipped(&context).into_iter().map(|skipped| (skipped.table, skipped.shard)).collect();
    assert_eq!(skipped, [("regions".to_owned(), "train-00000".to_owned())]);
}
