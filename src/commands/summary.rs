//! `retort summary`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use retort_cache::{Dataset, Summary, TableSummary, VectorSummary};

use super::{print, print_json};
use crate::cli::{Summary as Options, SummaryFormat};
use crate::tabulate::{bytes, percent, table};

pub fn run(options: &Options) -> Result<ExitCode> {
    let summary = Summary::of(&Dataset::open(&options.dataset)?)?;
    match options.format {
        SummaryFormat::Json => print_json(&serde_json::to_value(&summary).context("cannot print the summary")?)?,
        SummaryFormat::Table => print(&text(&summary))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(summary: &Summary) -> String {
    let mut sections = vec![splits(summary), tables(summary)];
    if !summary.teachers.is_empty() {
        sections.push(teachers(summary));
    }
    let notes = notes(summary);
    if !notes.is_empty() {
        sections.push(notes);
    }
    sections.join("\n")
}

fn splits(summary: &Summary) -> String {
    let rows: Vec<Vec<String>> = summary
        .splits
        .iter()
        .map(|split| {
            let rejects: u64 = split.rejects.iter().map(|reject| reject.count).sum();
            let counts = [split.shards, split.images, split.texts, split.samples, rejects];
            let mut row = vec![split.name.clone(), split.source.clone()];
            row.extend(counts.map(|count| count.to_string()));
            row.push(if split.complete { "complete" } else { "unfinished" }.to_owned());
            row
        })
        .collect();
    let header = ["split", "source", "shards", "images", "texts", "samples", "rejects", "state"];
    table(&header, &rows, &[2, 3, 4, 5, 6])
}

fn tables(summary: &Summary) -> String {
    let rows: Vec<Vec<String>> = summary
        .tables
        .iter()
        .map(|table| {
            let nulls: Vec<String> = table.nulls.iter().map(|(column, count)| format!("{column} {count}")).collect();
            let nulls = if nulls.is_empty() { "none".to_owned() } else { nulls.join(", ") };
            vec![table.table.clone(), table.rows.to_string(), bytes(table.bytes), per_row(table), nulls]
        })
        .collect();
    table(&["table", "rows", "size", "bytes/row", "nulls"], &rows, &[1, 2, 3])
}

fn teachers(summary: &Summary) -> String {
    let mut rows = Vec::new();
    for teacher in &summary.teachers {
        let coverage = percent(teacher.shards as f64 / teacher.shards_expected.max(1) as f64);
        for table in &teacher.tables {
            let norms: Vec<String> = table
                .norms
                .iter()
                .map(|(column, norms)| {
                    let odd = [(norms.zero, "zero"), (norms.nan, "NaN"), (norms.infinite, "infinite")];
                    let odd = odd.iter().filter(|(count, _)| *count > 0);
                    let odd: String = odd.map(|(count, what)| format!(", {count} {what}")).collect();
                    format!("{column} {:.3} ({:.3} to {:.3}){odd}", norms.mean, norms.min, norms.max)
                })
                .collect();
            rows.push(vec![
                teacher.name.clone(),
                table.table.clone(),
                table.rows.to_string(),
                coverage.clone(),
                teacher.store.to_string(),
                bytes(table.bytes),
                per_row(table),
                table.read.map_or("-".to_owned(), |read| format!("{:.2} / {:.0}", read.whole_shards, read.random_rows)),
                of_vectors(table, |taken| Some(format!("{:.2}", taken.bits_per_dimension))),
                of_vectors(table, |taken| taken.column.worst_cosine.map(|worst| format!("{worst:.6}"))),
                norms.join(", "),
            ]);
        }
    }
    let header = [
        "teacher",
        "table",
        "rows",
        "shards",
        "store",
        "size",
        "bytes/row",
        "read/used: shards / a row",
        "bits/dim",
        "worst cosine",
        "norm: mean (least to greatest)",
    ];
    table(&header, &rows, &[2, 3, 5, 6, 7, 8, 9])
}

/// Something of each vector column of a table.
fn of_vectors(table: &TableSummary, tell: impl Fn(&VectorSummary) -> Option<String>) -> String {
    let all: Vec<String> = table.vectors.values().filter_map(tell).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(", ") }
}

fn per_row(table: &TableSummary) -> String {
    format!("{:.1}", table.bytes as f64 / table.rows.max(1) as f64)
}

fn notes(summary: &Summary) -> String {
    let mut notes = String::new();
    if let Some(answers) = summary.answers {
        notes.push_str(&format!("answer vocabulary: {answers} classes\n"));
    }
    for split in &summary.splits {
        for reject in &split.rejects {
            notes.push_str(&format!("rejects of {}: {} {}\n", split.name, reject.count, reject.code));
        }
        if !split.complete {
            notes.push_str(&format!("split {} is unfinished: run its ingest command again\n", split.name));
        }
    }
    for teacher in summary.teachers.iter().filter(|teacher| teacher.shards < teacher.shards_expected) {
        let missing = teacher.shards_expected - teacher.shards;
        let name = &teacher.name;
        notes.push_str(&format!("teacher {name} lacks {missing} shards: run its teach command again\n"));
    }
    notes
}
