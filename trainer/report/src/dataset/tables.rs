//! What the manifests tell: splits, sizes; and what was rejected.

use std::collections::BTreeMap;

use arrow::array::StringArray;
use retort_cache::{Columns, Dataset, Result, SplitSummary, Summary, TableSummary, column};
use retort_schemas::tables::{images, rejects, samples, texts};

use super::sampled::Sampled;
use super::shared::{Distinct, Shared};
use crate::page::Writer;
use crate::plot::{Bar, bars};
use crate::text::{bytes, count, counted, cut, escape, percent};

/// Rejects shown of each reason.
const EXAMPLES: usize = 3;
/// Tables of rejects read at most for them.
const REJECT_TABLES: usize = 64;
/// Characters shown of a reject's source and message.
const LONGEST: usize = 240;

/// Writes the name, the numbers and the splits.
pub(crate) fn head(
    page: &mut Writer,
    name: &str,
    dataset: &Dataset,
    summary: &Summary,
    (sampled, shared): (&Sampled, &Shared),
) {
    let rows = |table: &str| summary.tables.iter().find(|known| known.table == table).map_or(0, |known| known.rows);
    let distinct = |table: &str, of: &Distinct| if shared.is_all() { of.all } else { rows(table) };
    let own: u64 = summary.tables.iter().map(|table| table.bytes).sum();
    let taught: u64 = summary.teachers.iter().flat_map(|teacher| &teacher.tables).map(|table| table.bytes).sum();
    let mut lead = format!(
        "{} over {} and {}, in {}",
        counted(rows(samples::NAME), "sample", "samples"),
        counted(distinct(images::NAME, &shared.images), "image", "images"),
        counted(distinct(texts::NAME, &shared.texts), "text", "texts"),
        counted(dataset.shard_count() as u64, "shard", "shards"),
    );
    lead += &format!("; {}", bytes(own));
    if taught > 0 {
        let teachers = counted(summary.teachers.len() as u64, "teacher", "teachers");
        lead += &format!(", and {} of features of {teachers}", bytes(taught));
    }
    if let Some(answers) = summary.answers {
        lead += &format!(". {} answers are in the vocabulary", count(answers as u64));
    }
    if let Some(leak) = shared.leak() {
        lead += &format!(". {leak}");
    }
    page.html += &format!("<h1>{}</h1><p class=\"lead\">{}.</p>", escape(name), escape(&lead));
    if summary.splits.is_empty() {
        page.miss("The data set has no split yet: `retort ingest` adds one.".to_owned());
        return;
    }
    let body: String = summary.splits.iter().map(split_row).collect();
    page.html += &format!(
        "<div class=\"card scroll\"><table><tr><th>split</th><th class=\"left\">source</th><th>shards</th><th>images</th>\
         <th>texts</th><th>samples</th><th>rejects</th><th class=\"left\">state</th></tr>{body}</table></div>\
         <p class=\"soft\">In this table, images and texts are distinct in a shard, and added up over shards.{}</p>",
        if summary.splits.iter().all(|split| split.rejected == 0) { " Nothing was rejected." } else { "" },
    );
    if !sampled.is_all() {
        page.html += &format!(
            "<p class=\"soft\">These numbers, sizes and the tables of teachers are of all of it; samples, labels, lengths, plots \
             and duplicates of {}, evenly spread over the splits.</p>",
            sampled.words()
        );
    }
    for split in summary.splits.iter().filter(|split| !split.complete) {
        page.miss(format!("The split {} is not finished: run its ingest command again.", split.name));
    }
}

fn rejects_of(split: &SplitSummary) -> u64 {
    split.rejected
}

fn split_row(split: &SplitSummary) -> String {
    let state = if split.complete { "complete" } else { "not finished" };
    let numbers = [split.shards, split.images, split.texts, split.samples, rejects_of(split)];
    let numbers: String = numbers.iter().map(|number| format!("<td>{}</td>", count(*number))).collect();
    let (name, source) = (escape(&split.name), escape(&split.source));
    format!("<tr><td>{name}</td><td class=\"left\">{source}</td>{numbers}<td class=\"left\">{state}</td></tr>")
}

/// Writes what each table takes on disk.
pub(crate) fn sizes(page: &mut Writer, summary: &Summary) {
    page.folded("Size by table", "Bytes on disk, the data set's own tables and those that each teacher has added.");
    let owners = std::iter::once(("the data set", &summary.tables));
    let owners: Vec<(&str, &Vec<TableSummary>)> =
        owners.chain(summary.teachers.iter().map(|teacher| (teacher.name.as_str(), &teacher.tables))).collect();
    let all = owners.iter().flat_map(|(_, tables)| *tables).map(|table| table.bytes);
    let most = all.max().unwrap_or(0) as f64;
    let total: u64 = owners.iter().flat_map(|(_, tables)| *tables).map(|table| table.bytes).sum();
    let panel = |(at, (owner, tables)): (usize, &(&str, &Vec<TableSummary>))| {
        let bar = |table: &TableSummary| Bar {
            colour: at,
            name: table.table.clone(),
            note: format!("{} \u{b7} {}", bytes(table.bytes), percent(table.bytes as f64 / total.max(1) as f64)),
            value: table.bytes as f64,
        };
        let rows: Vec<Bar> = tables.iter().map(bar).collect();
        let sum = bytes(tables.iter().map(|table| table.bytes).sum());
        let plot = bars(&format!("Bytes of each table of {owner}"), &rows, most);
        format!("<div class=\"card\"><h3>{}</h3><p class=\"soft\">{sum}</p>{plot}</div>", escape(owner))
    };
    page.html += &format!("<div class=\"panels\">{}</div>", owners.iter().enumerate().map(panel).collect::<String>());
}

/// Writes what was rejected, if anything was, by reason, with a few examples.
///
/// # Errors
/// As [`Dataset::read`].
pub(crate) fn rejected(page: &mut Writer, dataset: &Dataset, summary: &Summary) -> Result<()> {
    let mut codes: BTreeMap<&str, u64> = BTreeMap::new();
    for reject in summary.splits.iter().flat_map(|split| &split.rejects) {
        *codes.entry(&reject.code).or_default() += reject.count;
    }
    let unknown: u64 = summary.splits.iter().map(SplitSummary::rejects_unknown).sum();
    if unknown > 0 {
        codes.insert("unknown", unknown);
    }
    if codes.is_empty() {
        return Ok(());
    }
    page.section("Rejects", "Records that could not be used, by reason.");
    let mut codes: Vec<(&str, u64)> = codes.into_iter().collect();
    codes.sort_by_key(|(code, records)| (std::cmp::Reverse(*records), *code));
    let examples = examples(dataset, &codes)?;
    let most = codes.first().map_or(0, |code| code.1) as f64;
    let bar = |(code, records): &(&str, u64)| Bar {
        colour: 1,
        name: (*code).to_owned(),
        note: count(*records),
        value: *records as f64,
    };
    let rows: Vec<Bar> = codes.iter().map(bar).collect();
    let table: String = codes.iter().map(|(code, _)| examples.get(*code).cloned().unwrap_or_default()).collect();
    page.html += &format!(
        "<div class=\"panels\"><div class=\"card\">{}</div></div><div class=\"card scroll\"><table class=\"stack\"><tr><th>reason</th>\
         <th class=\"left\">stage</th><th class=\"left\">record</th><th class=\"left\">message</th></tr>{table}</table></div>",
        bars("Rejects by reason", &rows, most)
    );
    Ok(())
}

/// Table rows of the first rejects of each reason.
fn examples(dataset: &Dataset, codes: &[(&str, u64)]) -> Result<BTreeMap<String, String>> {
    let mut found: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let wanted = |found: &BTreeMap<String, (usize, String)>| {
        codes.iter().any(|(code, all)| found.get(*code).map_or(0, |known| known.0) < EXAMPLES.min(*all as usize))
    };
    let mut read = 0;
    for shard in dataset.shards() {
        let shard = shard?;
        if read == REJECT_TABLES || !wanted(&found) {
            break;
        }
        if shard.rows(rejects::NAME) == 0 {
            continue;
        }
        read += 1;
        let batch = dataset.read(&shard, rejects::NAME, Columns::All)?;
        let column = |name| column::<StringArray>(&batch, name);
        let (codes, stages) = (column(rejects::CODE)?, column(rejects::STAGE)?);
        let (sources, messages) = (column(rejects::SOURCE)?, column(rejects::MESSAGE)?);
        for row in 0..batch.num_rows() {
            let (known, html) = found.entry(codes.value(row).to_owned()).or_default();
            if *known < EXAMPLES {
                *known += 1;
                let cells = [
                    ("left", stages.value(row)),
                    ("left long", sources.value(row)),
                    ("left long", messages.value(row)),
                ];
                let cell = |(class, words): (&str, &str)| {
                    format!("<td class=\"{class}\" dir=\"auto\">{}</td>", escape(&cut(words, LONGEST)))
                };
                // Where the rows do not stand below one another, each needs its reason.
                let again = if *known == 1 { "" } else { " class=\"again\"" };
                let code = escape(codes.value(row));
                *html += &format!("<tr><td{again}>{code}</td>{}</tr>", cells.map(cell).concat());
            }
        }
    }
    Ok(found.into_iter().map(|(code, (_, html))| (code, html)).collect())
}
