//! What is in a data set, told by its manifests alone: no table is opened.

use std::collections::BTreeMap;

use retort_schemas::manifest::{Norms, Shard};
use retort_schemas::{Dtype, features, tables};
use serde::Serialize;

use crate::{Columns, Dataset, Result, column, teachers_of};

/// Counts, sizes and coverage of a data set.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Splits in the order they were added.
    pub splits: Vec<SplitSummary>,
    /// The data set's own tables.
    pub tables: Vec<TableSummary>,
    /// Classes of the answer vocabulary, if there is one.
    pub answers: Option<usize>,
    /// Teachers by folder name.
    pub teachers: Vec<TeacherSummary>,
}

/// One split.
#[derive(Debug, Clone, Serialize)]
pub struct SplitSummary {
    /// Its name.
    pub name: String,
    /// The source kind.
    pub source: String,
    /// Whether ingest finished it.
    pub complete: bool,
    /// Shards.
    pub shards: u64,
    /// Distinct images a shard, added up.
    pub images: u64,
    /// Distinct texts a shard, added up.
    pub texts: u64,
    /// Samples.
    pub samples: u64,
    /// Rejects by reason.
    pub rejects: Vec<RejectCount>,
}

/// Rejects of one reason code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RejectCount {
    /// The reason code.
    pub code: String,
    /// How many.
    pub count: u64,
}

/// One table over all shards.
#[derive(Debug, Clone, Serialize)]
pub struct TableSummary {
    /// Its name.
    pub table: String,
    /// Rows.
    pub rows: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Nulls a column, where there are any.
    pub nulls: BTreeMap<String, u64>,
    /// Norms of each vector column.
    pub norms: BTreeMap<String, Norms>,
}

/// One teacher.
#[derive(Debug, Clone, Serialize)]
pub struct TeacherSummary {
    /// `name@fingerprint8`.
    pub name: String,
    /// Whether images and texts share one space.
    pub joint: bool,
    /// Element type as stored.
    pub store: Dtype,
    /// Shards with all tables that this teacher has anywhere.
    pub shards: u64,
    /// Shards of the data set.
    pub shards_expected: u64,
    /// Its tables.
    pub tables: Vec<TableSummary>,
}

impl Summary {
    /// Sums up the manifests. Reject codes are read from the reject tables, where there are any.
    ///
    /// # Errors
    /// As opening the manifests, or reading a reject table.
    pub fn of(dataset: &Dataset) -> Result<Self> {
        let manifest = dataset.manifest();
        let rows = |shards: &[Shard], table: &str| shards.iter().map(|shard| shard.rows(table)).sum();
        let mut splits = Vec::new();
        for split in &manifest.splits {
            splits.push(SplitSummary {
                name: split.name.clone(),
                source: split.source.clone(),
                complete: split.complete,
                shards: split.shards.len() as u64,
                images: rows(&split.shards, tables::images::NAME),
                texts: rows(&split.shards, tables::texts::NAME),
                samples: rows(&split.shards, tables::samples::NAME),
                rejects: rejects_by_code(dataset, &split.shards)?,
            });
        }
        let shards: Vec<&Shard> = manifest.shards().collect();
        let teachers = teachers_of(dataset)?
            .iter()
            .map(|teacher| {
                let manifest = teacher.manifest();
                let mine: Vec<&Shard> = manifest.shards.iter().collect();
                let tables =
                    [features::images::NAME, features::texts::NAME, features::tokens::NAME, features::words::NAME]
                        .iter()
                        .filter_map(|table| table_summary(&mine, table))
                        .collect::<Vec<_>>();
                let whole = |shard: &&&Shard| tables.iter().all(|table| shard.tables.contains_key(&table.table));
                TeacherSummary {
                    name: teacher.folder_name().to_owned(),
                    joint: manifest.joint,
                    store: manifest.store,
                    shards: mine.iter().filter(whole).count() as u64,
                    shards_expected: shards.len() as u64,
                    tables,
                }
            })
            .collect();
        Ok(Self {
            splits,
            tables: tables::all()
                .map(|(table, _)| table)
                .iter()
                .chain([&tables::regions::NAME])
                .filter_map(|table| table_summary(&shards, table))
                .collect(),
            answers: manifest.answers.as_ref().map(|answers| answers.answers.len()),
            teachers,
        })
    }
}

fn rejects_by_code(dataset: &Dataset, shards: &[Shard]) -> Result<Vec<RejectCount>> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for shard in shards.iter().filter(|shard| shard.rows(tables::rejects::NAME) > 0) {
        let batch = dataset.read(shard, tables::rejects::NAME, Columns::Named(&[tables::rejects::CODE]))?;
        for code in column::<arrow::array::StringArray>(&batch, tables::rejects::CODE)?.iter().flatten() {
            *counts.entry(code.to_owned()).or_default() += 1;
        }
    }
    Ok(counts.into_iter().map(|(code, count)| RejectCount { code, count }).collect())
}

fn table_summary(shards: &[&Shard], table: &str) -> Option<TableSummary> {
    let mut sum =
        TableSummary { table: table.to_owned(), rows: 0, bytes: 0, nulls: BTreeMap::new(), norms: BTreeMap::new() };
    let mut any = false;
    for file in shards.iter().filter_map(|shard| shard.tables.get(table)) {
        any = true;
        sum.rows += file.rows;
        sum.bytes += file.bytes;
        for (column, nulls) in &file.nulls {
            *sum.nulls.entry(column.clone()).or_default() += nulls;
        }
        for (column, norms) in &file.norms {
            let merged = sum.norms.get(column).map_or(*norms, |known| known.merge(*norms));
            sum.norms.insert(column.clone(), merged);
        }
    }
    any.then_some(sum)
}
