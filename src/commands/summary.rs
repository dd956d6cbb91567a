//! `retort summary`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use retort_cache::{
    Dataset, Duplicates, Gone, Missing, MissingTable, NormQuantiles, Summary, TableSummary, TeacherSummary,
    VectorSummary,
};
use retort_schemas::manifest::Norms;

use super::{print, print_json};
use crate::cli::{Summary as Options, SummaryFormat};
use crate::tabulate::{bytes, counted, table};

/// Said where shards were written before a number was noted.
const UNKNOWN: &str = "unknown";

pub fn run(options: &Options) -> Result<ExitCode> {
    let summary = Summary::of(&Dataset::open(&options.dataset)?)?;
    match options.format {
        SummaryFormat::Json => print_json(&serde_json::to_value(&summary).context("cannot print the summary")?)?,
        SummaryFormat::Table => print(&text(&summary))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(summary: &Summary) -> String {
    let mut sections = vec![splits(summary), rejects(summary), tables(summary)];
    sections.extend(summary.teachers.iter().map(teacher));
    sections.push(notes(summary));
    sections.retain(|section| !section.is_empty());
    sections.join("\n")
}

fn splits(summary: &Summary) -> String {
    let rows: Vec<Vec<String>> = summary
        .splits
        .iter()
        .map(|split| {
            let Duplicates { images, texts } = split.duplicates;
            vec![
                split.name.clone(),
                split.source.clone(),
                split.shards.to_string(),
                split.images.to_string(),
                or_unknown(images),
                split.texts.to_string(),
                or_unknown(texts),
                split.samples.to_string(),
                split.rejected.to_string(),
                if split.complete { "complete" } else { "unfinished" }.to_owned(),
            ]
        })
        .collect();
    let header = ["split", "source", "shards", "images", "alike", "texts", "repeated", "samples", "rejects", "state"];
    table(&header, &rows, &[2, 3, 4, 5, 6, 7, 8])
}

fn or_unknown(count: Option<u64>) -> String {
    count.map_or(UNKNOWN.to_owned(), |count| count.to_string())
}

/// By split and reason; nothing where nothing was rejected.
fn rejects(summary: &Summary) -> String {
    let mut rows = Vec::new();
    for split in &summary.splits {
        let known = split.rejects.iter().map(|reject| (reject.code.as_str(), reject.count));
        let unknown = Some((UNKNOWN, split.rejects_unknown())).filter(|(_, count)| *count > 0);
        rows.extend(
            known.chain(unknown).map(|(code, count)| vec![split.name.clone(), code.to_owned(), count.to_string()]),
        );
    }
    if rows.is_empty() { String::new() } else { table(&["split", "reject", "count"], &rows, &[2]) }
}

fn tables(summary: &Summary) -> String {
    let rows: Vec<Vec<String>> = summary
        .tables
        .iter()
        .map(|table| {
            let nulls = table.nulls.iter().filter(|(_, count)| **count > 0);
            let nulls: Vec<String> = nulls.map(|(column, count)| format!("{column} {count}")).collect();
            let nulls = if nulls.is_empty() { "none".to_owned() } else { nulls.join(", ") };
            vec![table.table.clone(), table.rows.to_string(), bytes(table.bytes), per_row(table), nulls]
        })
        .collect();
    table(&["table", "rows", "size", "bytes/row", "nulls"], &rows, &[1, 2, 3])
}

/// What a teacher is, its tables, the norms of its vectors, and what it lacks.
fn teacher(summary: &TeacherSummary) -> String {
    let spaces = if summary.joint { ", images and texts in one space" } else { "" };
    let mut text = format!(
        "teacher {}: store {}{spaces}, {} of {} shards whole\n",
        summary.name, summary.store, summary.shards, summary.shards_expected
    );
    let rows: Vec<_> = summary.tables.iter().map(|table| table_row(summary, table)).collect();
    let header =
        ["table", "shards", "rows", "size", "bytes/row", "width", "bits/dim", "worst cosine", "read/used", "rows/page"];
    text.push_str(&table(&header, &rows, &[1, 2, 3, 4, 5, 6, 7, 8, 9]));
    let rows: Vec<_> = summary.tables.iter().flat_map(norm_rows).collect();
    if !rows.is_empty() {
        let header =
            ["norms of", "vectors", "zero", "NaN", "inf", "mean", "least", "1 %", "median", "99 %", "greatest"];
        text.push('\n');
        text.push_str(&table(&header, &rows, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
    }
    summary.tables.iter().for_each(|table| text.push_str(&gone(table)));
    summary.missing.iter().for_each(|missing| text.push_str(&lacks(missing)));
    // Of one teacher all say the same.
    if let Some(note) = summary.missing.iter().find_map(|missing| missing.note.as_ref()) {
        text.push_str(&format!("{note}\n"));
    }
    text
}

fn table_row(summary: &TeacherSummary, table: &TableSummary) -> Vec<String> {
    let read = |tell: fn(&retort_cache::ReadSummary) -> String| table.read.as_ref().map_or("-".to_owned(), tell);
    vec![
        table.table.clone(),
        format!("{}/{}", table.shards, summary.shards_expected),
        table.rows.to_string(),
        bytes(table.bytes),
        per_row(table),
        of_vectors(table, |taken| Some(taken.column.width.to_string())),
        of_vectors(table, |taken| Some(format!("{:.2}", taken.bits_per_dimension))),
        of_vectors(table, |taken| taken.column.worst_cosine.map(|worst| format!("{worst:.6}"))),
        read(|read| format!("{:.2}", read.whole_shards)),
        read(|read| format!("{:.0}", read.random_rows)),
    ]
}

/// A row a vector column.
fn norm_rows(table: &TableSummary) -> Vec<Vec<String>> {
    let row = |(column, norms): (&String, &Norms)| {
        let quantiles = table.norm_quantiles.get(column).copied().flatten();
        let quantile = |tell: fn(NormQuantiles) -> f64| match quantiles {
            _ if norms.finite() == 0 => "-".to_owned(),
            Some(known) => digits(tell(known)),
            None => UNKNOWN.to_owned(),
        };
        let finite = |value: f64| if norms.finite() == 0 { "-".to_owned() } else { number(value) };
        vec![
            format!("{}.{column}", table.table),
            norms.vectors.to_string(),
            norms.zero.to_string(),
            norms.nan.to_string(),
            norms.infinite.to_string(),
            finite(norms.mean),
            finite(norms.min),
            quantile(|known| known.p1),
            quantile(|known| known.p50),
            quantile(|known| known.p99),
            finite(norms.max),
        ]
    };
    table.norms.iter().map(row).collect()
}

/// Three digits: quantiles are not known to more.
fn digits(value: f64) -> String {
    if value == 0.0 || !(0.01..100_000.0).contains(&value) {
        return number(value);
    }
    // Of the rounded number: 0.9999 is 1.00.
    let exponent = format!("{value:.2e}").rsplit_once('e').and_then(|(_, exponent)| exponent.parse().ok());
    let decimals = usize::try_from(2 - exponent.unwrap_or(0_i32)).unwrap_or(0);
    format!("{value:.decimals$}")
}

/// Three decimals where they say something.
fn number(value: f64) -> String {
    let is_plain = value == 0.0 || (0.01..100_000.0).contains(&value);
    if is_plain { format!("{value:.3}") } else { format!("{value:.2e}") }
}

/// What the manifest names and is not there; nothing where all is.
fn gone(table: &TableSummary) -> String {
    let (Gone { files, first: Some(first) }, name) = (&table.gone, &table.table) else { return String::new() };
    let where_ = if *files == 1 { first.clone() } else { format!("the first {first}") };
    format!("gone: {} of {name} that the manifest names, {where_}\n", counted(*files, "file", "files"))
}

/// What is missing, and the command on a line of its own.
fn lacks(missing: &Missing) -> String {
    let tables: Vec<String> = if missing.begun {
        let told = |lack: &MissingTable| format!("{} of {}", lack.table, counted(lack.shards, "shard", "shards"));
        missing.tables.iter().map(told).collect()
    } else {
        missing.tables.iter().map(|lack| lack.table.to_owned()).collect()
    };
    let what = if missing.begun { "missing" } else { "not computed" };
    format!("{what}: {}; this would:\n  {}\n", tables.join(", "), missing.command)
}

/// Something of each vector column of a table; once where all say the same.
fn of_vectors(table: &TableSummary, tell: impl Fn(&VectorSummary) -> Option<String>) -> String {
    let mut all: Vec<String> = table.vectors.values().filter_map(tell).collect();
    all.dedup();
    if all.is_empty() { "-".to_owned() } else { all.join(", ") }
}

fn per_row(table: &TableSummary) -> String {
    format!("{:.1}", table.bytes as f64 / table.rows.max(1) as f64)
}

fn notes(summary: &Summary) -> String {
    let mut notes: String = summary.tables.iter().map(gone).collect();
    if !notes.is_empty() {
        notes.push_str(
            "what is gone of the data set itself cannot be computed: restore a copy of it, or run its `retort ingest` command again \
             with --force, then `retort teach`\n",
        );
    }
    if let Some(answers) = summary.answers {
        notes.push_str(&format!("answer vocabulary: {answers} classes\n"));
    }
    for split in summary.splits.iter().filter(|split| !split.complete) {
        notes.push_str(&format!("split {} is unfinished: run its ingest command again\n", split.name));
    }
    let is_unknown = summary.splits.iter().any(|split| {
        split.rejects_unknown() > 0 || split.duplicates.images.is_none() || split.duplicates.texts.is_none()
    }) || summary.teachers.iter().flat_map(|teacher| &teacher.tables).any(|table| {
        table
            .norms
            .iter()
            .any(|(column, norms)| norms.finite() > 0 && table.norm_quantiles.get(column).is_none_or(Option::is_none))
    });
    if is_unknown {
        notes.push_str("unknown: some shards were written before this was noted\n");
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_have_three_digits() {
        let told = [9.8125, 9.996, 0.9999, 0.0123, 0.0, 123.4, 1234.5, 0.001_234, 1e6].map(digits);
        assert_eq!(told, ["9.81", "10.0", "1.00", "0.0123", "0.000", "123", "1234", "1.23e-3", "1.00e6"]);
    }
}
