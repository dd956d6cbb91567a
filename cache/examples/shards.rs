//! What a manifest of many shards costs: `cargo run --release -p retort-cache --example shards [-- SHARDS]`.
//!
//! Writes the manifests of a data set and of a teacher that has seen all of it, 100,000 shards unless told otherwise, and the files
//! of their tables by name, with nothing in them. Then, in processes of their own: opens the data set; finds a shard in the middle; opens the teacher,
//! which compares it with the data set; goes through all shards; sums all up. Each prints its time and its peak of memory
//! (VmHWM). `-- write SHARDS FOLDER` writes all that and stops: `tests/peers/summary.py` asks `retort summary` of them.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use retort_cache::{Dataset, Summary, TeacherCache, fuzzing};
use retort_schemas::histogram::Histogram;
use retort_schemas::manifest::{Norms, Shard, TableFile, VectorColumn};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const SHARDS: usize = 100_000;

/// What is measured, each in a process of its own.
const WORK: [&str; 5] = ["open", "find", "teacher", "all", "summary"];

fn main() -> Result {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [write, shards, folder] = &words[..]
        && write == "write"
    {
        return write_all(Path::new(folder), shards.parse()?);
    }
    if let [work, folder] = &words[..] {
        return measure(work, Path::new(folder));
    }
    let shards = words.first().map_or(Ok(SHARDS), |count| count.parse())?;
    let folder = tempfile::tempdir()?;
    let began = Instant::now();
    write_all(folder.path(), shards)?;
    println!("{shards} shards: written in {:.1} s", began.elapsed().as_secs_f64());
    for work in WORK {
        Command::new(std::env::current_exe()?).arg(work).arg(folder.path()).status()?;
    }
    Ok(())
}

/// The manifests, and an empty file for every table that they name: a summary lists them and opens none.
fn write_all(folder: &Path, shards: usize) -> Result {
    fuzzing::manifests(folder, shards, own, features)?;
    for (folder, tables) in [(folder.to_owned(), own(0)), (folder.join("cache/clip@00000000"), features(0))] {
        for table in tables.keys() {
            let folder = folder.join(table);
            std::fs::create_dir_all(&folder)?;
            for number in 0..shards {
                std::fs::File::create(folder.join(format!("{}.parquet", Shard::name_of("train", number))))?;
            }
        }
    }
    Ok(())
}

fn measure(work: &str, folder: &Path) -> Result {
    let began = Instant::now();
    let dataset = Dataset::open(folder)?;
    let count = dataset.shard_count();
    let what = match work {
        "open" => "open the data set".to_owned(),
        "find" => {
            let name = Shard::name_of("train", count / 2);
            dataset.shard(&name)?.ok_or("it is not there")?;
            format!("open the data set and find {name}")
        }
        "teacher" => {
            TeacherCache::open(&dataset, "clip")?;
            "open the data set and its teacher".to_owned()
        }
        "summary" => {
            let summary = Summary::of(&dataset)?;
            let vectors: u64 =
                summary.teachers.iter().flat_map(|teacher| &teacher.tables).map(|table| table.rows).sum();
            format!("open the data set and sum all up, of {vectors} vectors")
        }
        _ => {
            let mut rows = 0;
            for shard in dataset.shards() {
                rows += shard?.rows("images");
            }
            format!("open the data set and go through all shards, of {rows} images")
        }
    };
    let seconds = began.elapsed().as_secs_f64();
    println!("{what}: {:.1} ms, {} MB at most", 1e3 * seconds, peak_bytes()? / 1_000_000);
    Ok(())
}

/// Most memory that this process has held.
fn peak_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(1024 * line.trim().trim_end_matches(" kB").parse::<u64>()?)
}

/// The data set's tables of a shard, as ingest describes them.
fn own(number: usize) -> BTreeMap<String, TableFile> {
    let columns = [
        ("images", &["image_id", "bytes", "format", "width", "height", "source", "phash"][..]),
        ("texts", &["text_id", "text", "objects.start", "objects.end", "objects.object", "parts"]),
        (
            "samples",
            &["sample_id", "image", "texts", "task", "label", "label_text", "answers", "question_type", "group"],
        ),
        ("rejects", &["source", "stage", "code", "message"]),
    ];
    let mut tables: BTreeMap<_, _> =
        columns.into_iter().map(|(table, columns)| (table.to_owned(), file(table, number, columns))).collect();
    for (table, column) in [("images", "phash"), ("samples", "texts")] {
        if let Some(file) = tables.get_mut(table) {
            file.repeats.insert(column.to_owned(), number as u64 % 5);
        }
    }
    if let Some(rejects) = tables.get_mut("rejects") {
        let codes = BTreeMap::from([("image_missing".to_owned(), 1000), ("image_unreadable".to_owned(), 24)]);
        rejects.values.insert("code".to_owned(), codes);
    }
    tables
}

/// A teacher's.
fn features(number: usize) -> BTreeMap<String, TableFile> {
    let vector = |(table, ids)| {
        let mut file = file(table, number, &[ids, "embedding"]);
        let norms = Norms { vectors: file.rows, min: 8.5, mean: 28.0 / 3.0, max: 11.1, ..Norms::default() };
        file.norms.insert("embedding".to_owned(), norms);
        // As wide as CLIP's, in the middle of each a little elsewhere.
        let mut spread = Histogram::default();
        for row in 0..file.rows {
            spread.add(8.5 + 0.3 * (number % 7) as f64 / 7.0 + 2.3 * row as f64 / file.rows as f64);
        }
        file.norm_counts.insert("embedding".to_owned(), spread);
        let column = VectorColumn { width: 512, bytes: file.bytes, worst_cosine: None };
        file.vectors.insert("embedding".to_owned(), column);
        (table.to_owned(), file)
    };
    [("images", "image_id"), ("texts", "text_id")].map(vector).into()
}

fn file(table: &str, number: usize, columns: &[&str]) -> TableFile {
    let column_bytes = columns.iter().enumerate().map(|(at, name)| ((*name).to_owned(), (1000 + at * 77_777) as u64));
    TableFile {
        rows: 1024,
        bytes: 123_456_789,
        // Features have the ids of their owner's table.
        ids: matches!(table, "images" | "texts").then(|| format!("{:08x}{number:08x}", table.len())),
        rest: format!("{number:016x}"),
        column_bytes: column_bytes.collect(),
        ..TableFile::default()
    }
}
