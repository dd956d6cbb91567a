//! Which shards the page is made of, and what their samples say.

use std::collections::HashMap;

use arrow::array::{AsArray, ListArray, StringArray, UInt32Array};
use arrow::datatypes::UInt32Type;
use retort_cache::{Columns, Dataset, Result, column};
use retort_schemas::manifest::{AnswerVocabulary, Shard, Split};
use retort_schemas::tables::samples;

use crate::examples::spread;
use crate::text::{count, counted, ordinal};

/// Shards that are read, about: a page over more would say little more, and take longer.
const SHARDS: usize = 32;

/// A row of a table of one of the shards that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Spot {
    /// Place in [`Sampled::shards`].
    pub(crate) shard: usize,
    pub(crate) row: usize,
}

/// The shards that are read: evenly spread over every split.
#[derive(Debug, Default)]
pub(crate) struct Sampled {
    pub(crate) shards: Vec<SampledShard>,
    /// Shards that are read, those without samples among them.
    read: usize,
    /// Shards of the data set.
    all: usize,
    /// The labels that samples have, by number.
    pub(crate) labels: Vec<String>,
}

/// One shard, and what its samples point at. All lists have one entry a sample.
#[derive(Debug)]
pub(crate) struct SampledShard {
    pub(crate) shard: Shard,
    pub(crate) split: String,
    /// Row of the shard's images.
    pub(crate) images: Vec<usize>,
    /// Rows of the shard's texts.
    pub(crate) texts: Vec<Vec<usize>>,
    /// The class of the truth: of a choice among texts, the right one.
    pub(crate) classes: Vec<Option<u32>>,
    /// Number of the label's words in [`Sampled::labels`]: of a choice among texts, the place of the right one.
    pub(crate) labels: Vec<Option<usize>>,
}

impl Sampled {
    /// Reads the samples of the shards that were chosen.
    ///
    /// # Errors
    /// As [`Dataset::read`].
    pub(crate) fn read(dataset: &Dataset) -> Result<Self> {
        let mut sampled = Self { all: dataset.shard_count(), ..Self::default() };
        let mut known = HashMap::new();
        for split in &dataset.manifest().splits {
            for number in numbers(split, sampled.all) {
                // A split that is being written may lack some.
                if let Some(shard) = dataset.shard(&Shard::name_of(&split.name, number))? {
                    sampled.add(dataset, &split.name, shard, &mut known)?;
                }
            }
        }
        Ok(sampled)
    }

    fn add(&mut self, dataset: &Dataset, split: &str, shard: Shard, known: &mut HashMap<String, usize>) -> Result<()> {
        self.read += 1;
        if shard.rows(samples::NAME) == 0 {
            return Ok(());
        }
        let wanted = [samples::IMAGE, samples::TEXTS, samples::LABEL, samples::LABEL_TEXT];
        let batch = dataset.read(&shard, samples::NAME, Columns::Named(&wanted))?;
        let classes: Vec<Option<u32>> = column::<UInt32Array>(&batch, samples::LABEL)?.iter().collect();
        let told: &StringArray = column(&batch, samples::LABEL_TEXT)?;
        let answers = dataset.manifest().answers.as_ref();
        let texts = rows_of_lists(column(&batch, samples::TEXTS)?);
        let mut number = |((told, class), texts): ((Option<&str>, &Option<u32>), &Vec<usize>)| {
            // Each right choice has words of its own, which count nothing.
            let place = class.filter(|class| texts.len() > 1 && (*class as usize) < texts.len());
            let place = place.map(|class| ordinal(u64::from(class) + 1));
            let told = place.or_else(|| told.map(str::to_owned));
            let name = told.or_else(|| class.map(|class| class_name(answers, class)))?;
            Some(*known.entry(name).or_insert_with_key(|name| {
                self.labels.push(name.clone());
                self.labels.len() - 1
            }))
        };
        let labels = told.iter().zip(&classes).zip(&texts).map(&mut number).collect();
        let images = column::<UInt32Array>(&batch, samples::IMAGE)?.values().iter().map(|row| *row as usize).collect();
        self.shards.push(SampledShard { shard, split: split.to_owned(), images, texts, classes, labels });
        Ok(())
    }

    /// All shards of a data set.
    #[cfg(test)]
    pub(crate) fn of(labels: Vec<String>, shards: Vec<SampledShard>) -> Self {
        Self { read: shards.len(), all: shards.len(), shards, labels }
    }

    /// Which shards these are, in words.
    pub(crate) fn words(&self) -> String {
        if self.is_all() {
            return counted(self.all as u64, "shard", "shards");
        }
        format!("{} of {} shards", count(self.read as u64), count(self.all as u64))
    }

    /// The splits that have samples, in order.
    pub(crate) fn splits(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self.shards.iter().map(|shard| shard.split.as_str()).collect();
        all.dedup();
        all
    }

    /// The place of each shard's split in [`Sampled::splits`].
    pub(crate) fn split_of_shards(&self) -> Vec<usize> {
        let splits = self.splits();
        let place = |of: &SampledShard| splits.iter().position(|split| *split == of.split).unwrap_or(0);
        self.shards.iter().map(place).collect()
    }

    /// Whether some sample is a choice among texts.
    pub(crate) fn has_choices(&self) -> bool {
        self.shards.iter().any(|of| (0..of.texts.len()).any(|sample| of.right_of(sample).is_some()))
    }

    /// Whether these are all shards.
    pub(crate) fn is_all(&self) -> bool {
        self.read >= self.all
    }

    /// Every sample of these shards, by its row.
    pub(crate) fn samples(&self) -> impl Iterator<Item = Spot> {
        let all = self.shards.iter().enumerate();
        all.flat_map(|(shard, of)| (0..of.images.len()).map(move |row| Spot { shard, row }))
    }

    /// Rows of a table of these shards, at most so many, evenly spread.
    pub(crate) fn rows(&self, wanted: usize, rows_of: impl Fn(&SampledShard) -> usize) -> Vec<Spot> {
        let counts: Vec<usize> = self.shards.iter().map(rows_of).collect();
        let all: usize = counts.iter().sum();
        let wanted = wanted.min(all);
        let (mut picked, mut shard, mut before) = (Vec::with_capacity(wanted), 0, 0);
        for at in (0..wanted).map(|at| at * all / wanted) {
            while at >= before + counts[shard] {
                before += counts[shard];
                shard += 1;
            }
            picked.push(Spot { shard, row: at - before });
        }
        picked
    }
}

/// Numbers of the shards of a split that are read.
fn numbers(split: &Split, all: usize) -> Vec<usize> {
    let mine = split.runs.shard_count();
    let wanted = (SHARDS * mine).div_ceil(all.max(SHARDS)).max(1);
    spread((0..mine).collect(), wanted)
}

fn class_name(answers: Option<&AnswerVocabulary>, class: u32) -> String {
    let known = answers.and_then(|answers| answers.answers.get(class as usize));
    known.cloned().unwrap_or_else(|| format!("class {class}"))
}

fn rows_of_lists(lists: &ListArray) -> Vec<Vec<usize>> {
    let rows = |list: Option<arrow::array::ArrayRef>| -> Vec<usize> {
        let list = list.as_ref().and_then(|list| list.as_primitive_opt::<UInt32Type>());
        list.map(|list| list.values().iter().map(|row| *row as usize).collect()).unwrap_or_default()
    };
    lists.iter().map(rows).collect()
}

impl SampledShard {
    /// The text of a sample: of a choice, the right one where it is known.
    pub(crate) fn text_of(&self, sample: usize) -> Option<usize> {
        let texts = self.texts.get(sample)?;
        texts.get(self.right_of(sample).unwrap_or(0)).copied()
    }

    /// The place of the right text of a sample that is a choice among several, where it is known.
    pub(crate) fn right_of(&self, sample: usize) -> Option<usize> {
        let (texts, class) = (self.texts.get(sample)?, self.classes.get(sample).copied().flatten()? as usize);
        (texts.len() > 1 && class < texts.len()).then_some(class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(samples: usize) -> SampledShard {
        SampledShard {
            shard: Shard { name: "a-00000".to_owned(), tables: std::collections::BTreeMap::new() },
            split: "a".to_owned(),
            images: vec![0; samples],
            texts: vec![vec![0, 1]; samples],
            classes: vec![Some(1), None],
            labels: vec![None; samples],
        }
    }

    #[test]
    fn rows_are_spread_over_shards_that_differ_in_size() {
        let sampled = Sampled { shards: [3, 0, 5, 2].map(shard).into(), read: 4, all: 9, labels: Vec::new() };
        let rows = |wanted| -> Vec<(usize, usize)> {
            sampled.rows(wanted, |shard| shard.images.len()).iter().map(|spot| (spot.shard, spot.row)).collect()
        };
        assert_eq!(rows(5), [(0, 0), (0, 2), (2, 1), (2, 3), (3, 0)]);
        assert_eq!(rows(100).len(), 10);
        assert!(rows(0).is_empty());
        assert_eq!((sampled.words().as_str(), sampled.is_all()), ("4 of 9 shards", false));
    }

    #[test]
    fn the_text_of_a_choice_is_the_right_one() {
        let shard = shard(2);
        assert_eq!((shard.text_of(0), shard.text_of(1), shard.text_of(2)), (Some(1), Some(0), None));
    }
}
