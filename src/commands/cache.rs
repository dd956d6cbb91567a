//! `retort cache`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use retort_cache::{
    Comparison, Dataset, Listing, TeacherCache, compare_teachers, copy_teacher, list_teachers, remove_teacher,
};

use super::{print, print_json};
use crate::cli::{Cache, CacheCopy, CacheDiff, CacheLs, CacheRm, SummaryFormat};
use crate::failure;
use crate::progress::Terminal;
use crate::tabulate::{bytes, table};

pub fn run(command: &Cache, terminal: &Terminal) -> Result<ExitCode> {
    match command {
        Cache::Ls(options) => ls(options),
        Cache::Rm(options) => rm(options),
        Cache::Copy(options) => copy(options, terminal),
        Cache::Diff(options) => diff(options, terminal),
    }
}

fn ls(options: &CacheLs) -> Result<ExitCode> {
    let list = list_teachers(&Dataset::open(&options.dataset)?)?;
    match options.format {
        SummaryFormat::Json => print_json(&serde_json::to_value(&list).context("cannot print the list")?)?,
        SummaryFormat::Table if list.is_empty() => print("no teachers\n")?,
        SummaryFormat::Table => print(&listing(&list))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn listing(list: &[Listing]) -> String {
    let row = |teacher: &Listing| {
        let tables: Vec<&str> = teacher.tables.iter().map(|table| table.table.as_str()).collect();
        vec![
            teacher.name.clone(),
            teacher.architecture.clone(),
            teacher.store.clone(),
            if teacher.joint { "yes" } else { "no" }.to_owned(),
            teacher.problem.as_ref().map_or_else(|| tables.join(" "), |_| "unreadable: run `retort verify`".to_owned()),
            format!("{} of {}", teacher.shards, teacher.shards_expected),
            teacher.rows.to_string(),
            bytes(teacher.bytes),
        ]
    };
    let rows: Vec<Vec<String>> = list.iter().map(row).collect();
    table(&["teacher", "architecture", "store", "joint", "tables", "shards", "rows", "size"], &rows, &[5, 6, 7])
}

fn rm(options: &CacheRm) -> Result<ExitCode> {
    let removed = remove_teacher(&options.dataset, &options.teacher)?;
    print(&format!("{} removed: {} files, {}\n", removed.name, removed.files, bytes(removed.bytes)))?;
    Ok(ExitCode::SUCCESS)
}

fn copy(options: &CacheCopy, terminal: &Terminal) -> Result<ExitCode> {
    let (from, to) = (Dataset::open(&options.dataset)?, Dataset::open(&options.other)?);
    let done = copy_teacher(&from, &options.teacher, &to, terminal, terminal.interrupt())?;
    let size = bytes(done.bytes);
    print(&format!("{} copied: {} shards, {size}; {} were there\n", done.name, done.copied, done.kept))?;
    Ok(ExitCode::SUCCESS)
}

fn diff(options: &CacheDiff, terminal: &Terminal) -> Result<ExitCode> {
    let first = Dataset::open(&options.dataset)?;
    let second = options.other.as_ref().map_or_else(|| Ok(first.clone()), |other| Dataset::open(other))?;
    let (a, b) = (TeacherCache::open(&first, &options.first)?, TeacherCache::open(&second, &options.second)?);
    let found = compare_teachers((&first, &a), (&second, &b), terminal, terminal.interrupt())?;
    let same = found.same(options.cosine);
    match options.format {
        SummaryFormat::Json => {
            let mut value = serde_json::to_value(&found).context("cannot print what was found")?;
            value["same"] = same.into();
            print_json(&value)?;
        }
        SummaryFormat::Table => {
            let verdict = if same { "the same" } else { "different" };
            print(&format!("{}{}{verdict} at cosine {}\n", columns(&found), rows(&found), options.cosine))?;
        }
    }
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::from(failure::NO) })
}

fn columns(found: &Comparison) -> String {
    let cells = found.columns.iter().map(|column| {
        vec![
            format!("{}.{}", column.table, column.column),
            column.rows.to_string(),
            column.vectors.to_string(),
            column.unlike.to_string(),
            format!("{:.7}", column.lowest_cosine),
            format!("{:.7}", column.mean_cosine),
            format!("{:.3e}", column.largest_difference),
            column.worst.clone(),
        ]
    });
    let header =
        ["column", "rows", "vectors", "unlike", "lowest cosine", "mean cosine", "largest difference", "worst row"];
    table(&header, &cells.collect::<Vec<_>>(), &[1, 2, 3, 4, 5, 6])
}

/// Tables of shards that could not be compared.
fn rows(found: &Comparison) -> String {
    let only = |name: &str| format!("only in {name}");
    let kinds = [
        (only(&found.a), &found.only_a),
        (only(&found.b), &found.only_b),
        ("of other rows".to_owned(), &found.other_rows),
    ];
    kinds.iter().flat_map(|(what, files)| files.iter().map(move |file| format!("{file}: {what}\n"))).collect()
}
