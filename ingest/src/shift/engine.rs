//! From the fate of every sample to a new split: shards of its own, beside those it was made from.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use retort_cache::{Columns, Dataset, DatasetWriter, Interrupt, Progress, SplitPlan};
use retort_schemas::manifest::Shard;
use retort_schemas::{SCHEMA_KEY, tables};
use serde_json::{Value, json};

use super::original::{Original, ShardRows};
use super::{Kind, Outcome, ShiftReport};
use crate::columns;
use crate::shard::{Sample, ShardBuilder, in_table};
use crate::source::{Record, Text};
use crate::{Error, Result};

/// The kind of source that a shifted split has in the manifest.
const SOURCE: &str = "shift";

/// What becomes of a sample.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fate {
    /// It is not in the new split.
    Drop,
    /// It is there as it was.
    Keep,
    /// It is there with something else about it.
    Change(Box<Change>),
}

/// What is other about a sample.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Change {
    /// New texts by their place among the candidates.
    pub texts: Vec<(usize, Text<'static>)>,
    /// The new truth: its class and its words.
    pub label: Option<(Option<u32>, String)>,
}

impl Change {
    /// The sample with some other texts, or as it was where there are none.
    pub(super) fn of_texts(sample: &Original<'_>, texts: Vec<(usize, Text<'static>)>) -> Fate {
        let differs = |(place, text): &(usize, Text<'static>)| sample.record.texts.get(*place) != Some(text);
        let texts: Vec<_> = texts.into_iter().filter(differs).collect();
        if texts.is_empty() { Fate::Keep } else { Fate::Change(Box::new(Self { texts, label: None })) }
    }

    /// The record so changed, and what the column `change` says.
    fn apply(&self, record: &mut Record<'static>) -> String {
        let mut said = Vec::new();
        if !self.texts.is_empty() {
            let places: Vec<String> = self.texts.iter().map(|(place, _)| place.to_string()).collect();
            said.push(format!("texts {}", places.join(" ")));
        }
        for (place, text) in &self.texts {
            if record.label == Some(*place as u32) && record.texts.len() > 1 && record.label_text.is_some() {
                // The truth is worded as the right candidate is.
                let choice = text.text.get(super::tokens::choice_start(text)..).unwrap_or_default();
                record.label_text = Some(choice.to_owned().into());
            }
            if let Some(old) = record.texts.get_mut(*place) {
                *old = text.clone();
            }
        }
        if let Some((class, words)) = &self.label {
            let old = record.label_text.as_deref().unwrap_or("none");
            said.push(format!("label {old} -> {words}"));
            record.label = *class;
            record.label_text = Some(words.clone().into());
        }
        said.join("; ")
    }
}

/// Whatever a rule counts, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts(pub BTreeMap<String, u64>);

impl Counts {
    /// Counts so many more.
    pub(super) fn add(&mut self, name: &str, more: u64) {
        *self.0.entry(name.to_owned()).or_default() += more;
    }

    /// Counts a sample that is not taken over.
    pub(super) fn drop(&mut self, why: &str) -> Fate {
        self.add(&format!("dropped: {why}"), 1);
        Fate::Drop
    }

    /// Counts a sample that is taken over.
    pub(super) fn keep(&mut self) {
        self.add("samples", 1);
    }
}

/// Decides about every sample of some shards, one by one.
pub(super) fn each(rows: &[ShardRows], mut decide: impl FnMut(&Original<'_>) -> Fate) -> Vec<Vec<Fate>> {
    rows.iter().map(|shard| shard.samples().map(|sample| decide(&sample)).collect()).collect()
}

/// Where a new split goes, and what is said about it.
pub(super) struct Target<'a> {
    pub dataset: &'a Dataset,
    pub kind: &'a Kind,
    pub rows: &'a [ShardRows],
    pub force: bool,
    pub progress: &'a dyn Progress,
    pub interrupt: &'a Interrupt,
}

impl Target<'_> {
    /// Writes one split; where an earlier run was stopped it goes on, and where that was done there is nothing to do.
    pub(super) fn write(&self, name: &str, outcome: &Outcome, fates: &[Vec<Fate>]) -> Result<ShiftReport> {
        let plan = SplitPlan {
            name: name.to_owned(),
            source: SOURCE.to_owned(),
            options: self.options(outcome),
            answers: self.dataset.manifest().answers.clone(),
        };
        let folder = self.dataset.folder();
        let mut writer =
            if self.force { DatasetWriter::replace(folder, plan)? } else { DatasetWriter::begin(folder, plan)? };
        let mut report = ShiftReport {
            split: name.to_owned(),
            kind: self.kind.name(),
            counts: outcome.counts.0.clone(),
            shares: outcome.shares.clone(),
            question_types: outcome.question_types.clone(),
            skipped_already: writer.is_complete(),
            ..ShiftReport::default()
        };
        let committed = writer.committed();
        self.progress.begin(&format!("shift {name}"), self.rows.iter().map(|rows| rows.len() as u64).sum(), "samples");
        let mut written = || {
            for (rows, fates) in self.rows.iter().zip(fates) {
                self.interrupt.check()?;
                self.progress.advance(rows.len() as u64);
                if fates.iter().all(|fate| *fate == Fate::Drop) {
                    continue;
                }
                let shard = Shard::name_of(name, report.shards as usize);
                let built = self.shard(&shard, name, rows, fates)?;
                report.shards += 1;
                report.samples += built.samples;
                report.texts += built.texts;
                report.images += built.images;
                if report.shards as usize > committed {
                    writer.commit(&built.tables(self.dataset, rows)?)?;
                }
            }
            Ok(())
        };
        let result: Result<()> = written();
        self.progress.end();
        result?;
        if !report.skipped_already {
            writer.finish()?;
        }
        Ok(report)
    }

    /// Everything that decides what is written, and what came of it.
    fn options(&self, outcome: &Outcome) -> Value {
        let mut from: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for rows in self.rows {
            let files = [tables::samples::NAME, tables::texts::NAME, tables::images::NAME];
            let sums = files.iter().filter_map(|table| Some(rows.shard.tables.get(*table)?.rest.as_str()));
            from.entry(&rows.split).or_default().extend(sums);
        }
        let from: BTreeMap<&str, String> = from
            .into_iter()
            .map(|(split, sums)| (split, crate::images::hash_text(sums.join("\n").as_bytes())))
            .collect();
        json!({
            "kind": self.kind.name(), "from": from, "rule": outcome.options,
            "counts": outcome.counts.0, "shares": outcome.shares,
        })
    }

    /// The rows of one new shard, all but the images.
    fn shard(&self, shard: &str, split: &str, rows: &ShardRows, fates: &[Fate]) -> Result<Built> {
        let mut builder = ShardBuilder::default();
        let (mut kept, mut images, mut changes) = (Vec::new(), BTreeMap::new(), Vec::new());
        for (row, fate) in fates.iter().enumerate().filter(|(_, fate)| **fate != Fate::Drop) {
            if let (Some((record, group)), Some(image)) = (rows.record(row), rows.images.get(row)) {
                let mut record = record.clone();
                changes.push(match fate {
                    Fate::Change(change) => Some(change.apply(&mut record)),
                    Fate::Keep | Fate::Drop => None,
                });
                images.insert(*image, 0);
                kept.push((*image, group, record));
            }
        }
        for (place, image) in (0..).zip(images.values_mut()) {
            *image = place;
        }
        for (image, group, mut record) in kept {
            let texts = std::mem::take(&mut record.texts).into_iter().map(|text| builder.add_text(text)).collect();
            let image = images.get(&image).copied().unwrap_or_default();
            builder.samples.push(Sample { image, group, texts, record });
        }
        let texts = builder.texts.iter().map(|(_, text)| text.text.len()).sum::<usize>();
        if i32::try_from(texts).is_err() {
            return Err(Error::ShardTooLarge { shard: shard.to_owned(), bytes: texts, table: tables::texts::NAME });
        }
        let samples = columns::samples(&builder.samples, split).and_then(|rows_of| {
            let mut all = rows_of.columns().to_vec();
            let origins = std::iter::repeat_n(rows.split.as_str(), changes.len());
            all.push(Arc::new(StringArray::from_iter_values(origins)) as ArrayRef);
            all.push(Arc::new(changes.into_iter().collect::<StringArray>()));
            RecordBatch::try_new(tables::samples::shifted_schema(), all)
        });
        let samples_table = samples.map_err(in_table(tables::samples::NAME))?;
        let texts_table = columns::texts(&builder.texts).map_err(in_table(tables::texts::NAME))?;
        Ok(Built {
            samples: samples_table.num_rows() as u64,
            texts: texts_table.num_rows() as u64,
            images: images.len() as u64,
            image_rows: UInt32Array::from_iter_values(images.into_keys()),
            samples_table,
            texts_table,
        })
    }
}

/// A new shard whose images are still to be read.
struct Built {
    samples: u64,
    texts: u64,
    images: u64,
    /// Rows of the original shard.
    image_rows: UInt32Array,
    samples_table: RecordBatch,
    texts_table: RecordBatch,
}

impl Built {
    /// All tables; images and regions are rows of the original's.
    fn tables(self, dataset: &Dataset, rows: &ShardRows) -> Result<Vec<(&'static str, RecordBatch)>> {
        let taken = |table: &'static str, schema: &dyn Fn(&SchemaRef) -> SchemaRef| -> Result<RecordBatch> {
            let all = dataset.read(&rows.shard, table, Columns::All)?;
            let take = || -> Result<RecordBatch, ArrowError> {
                let some = take_record_batch(&all, &self.image_rows)?;
                RecordBatch::try_new(schema(&some.schema()), some.columns().to_vec())
            };
            take().map_err(in_table(table))
        };
        let mut tables = vec![(tables::images::NAME, taken(tables::images::NAME, &|_| tables::images::schema())?)];
        if rows.shard.tables.contains_key(tables::regions::NAME) {
            // With features or without: the fields tell.
            let schema = |found: &SchemaRef| -> SchemaRef {
                let version = (SCHEMA_KEY.to_owned(), tables::regions::VERSION.to_string());
                Arc::new(Schema::new_with_metadata(found.fields().clone(), [version].into()))
            };
            tables.push((tables::regions::NAME, taken(tables::regions::NAME, &schema)?));
        }
        tables.push((tables::texts::NAME, self.texts_table));
        tables.push((tables::samples::NAME, self.samples_table));
        tables.push((tables::rejects::NAME, columns::rejects(&[]).map_err(in_table(tables::rejects::NAME))?));
        Ok(tables)
    }
}
