//! What came of an ingest.

use std::collections::BTreeMap;

use arrow::array::{ListArray, RecordBatch, StringArray};
use retort_cache::{Columns, Dataset, column};
use retort_schemas::manifest::Shard;
use retort_schemas::tables::{images, rejects, samples, texts};
use serde::Serialize;

use crate::Result;

/// What a split holds after an ingest, whichever run wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct IngestReport {
    /// Samples.
    pub samples: u64,
    /// Rows of `images`: distinct images a shard, added up.
    pub images: u64,
    /// Rows of `texts`: distinct texts a shard, added up.
    pub texts: u64,
    /// Shards.
    pub shards: u64,
    /// Lost records by reason code.
    pub rejects: BTreeMap<String, u64>,
    /// Whether the split was complete before: nothing was done.
    pub skipped_already: bool,
    /// Questions with human answers none of which is in the vocabulary: their targets are empty, they are kept.
    pub unanswerable: u64,
}

impl IngestReport {
    /// All rows of `rejects`.
    pub(crate) fn rejected(&self) -> u64 {
        self.rejects.values().sum()
    }

    /// The reason codes with their counts, the commonest first.
    pub(crate) fn reasons(&self) -> String {
        let mut counts: Vec<_> = self.rejects.iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let counts: Vec<String> = counts.iter().map(|(code, count)| format!("{count} {code}")).collect();
        counts.join(", ")
    }

    /// Adds a shard that an earlier run committed.
    pub(crate) fn add_committed(&mut self, dataset: &Dataset, shard: &Shard) -> Result<()> {
        let labels = Columns::Named(&[samples::ANSWERS, samples::TARGETS]);
        let samples = dataset.read(shard, samples::NAME, labels)?;
        let rejects = dataset.read(shard, rejects::NAME, Columns::Named(&[rejects::CODE]))?;
        self.add(shard.rows(images::NAME), shard.rows(texts::NAME), &samples, &rejects)
    }

    /// Adds a shard.
    pub(crate) fn add(&mut self, images: u64, texts: u64, samples: &RecordBatch, rejects: &RecordBatch) -> Result<()> {
        self.shards += 1;
        self.images += images;
        self.texts += texts;
        self.samples += samples.num_rows() as u64;
        let answers = column::<ListArray>(samples, samples::ANSWERS)?;
        let targets = column::<ListArray>(samples, samples::TARGETS)?;
        let without_target = |row: &usize| answers.value_length(*row) > 0 && targets.value_length(*row) == 0;
        self.unanswerable += (0..samples.num_rows()).filter(without_target).count() as u64;
        for code in column::<StringArray>(rejects, rejects::CODE)?.iter().flatten() {
            *self.rejects.entry(code.to_owned()).or_default() += 1;
        }
        Ok(())
    }
}
