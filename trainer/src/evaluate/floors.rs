//! Floors: what can be had without looking at the image.

use std::collections::{BTreeMap, HashMap};

use arrow::array::StringArray;
use retort_cache::Error::{AmbiguousTeacher, NoTeacher};
use retort_cache::{Columns, Dataset, TeacherCache, column};
use retort_schemas::{features, tables};
use tch::Tensor;

use crate::Result;
use crate::probe::{Choices, Observation, Probe};
use crate::recipe::Recipe;
use crate::scoring;
use crate::tasks::Objective;
use crate::zipped::{Zipped, pooled, samples};

/// Training samples that the regression is fitted on at most: more move it little, and it holds them in memory.
const MOST_FITTED: usize = 65_536;

/// Answers without an image: always the commonest answer, and the commonest to the same text.
pub(super) struct Guesser {
    pub(super) majority: String,
    by_text: HashMap<String, String>,
}

impl Guesser {
    /// Counts the answers of a split, all of it.
    pub(super) fn fit(dataset: &Dataset, split: &str) -> Result<Self> {
        let mut all: BTreeMap<String, u64> = BTreeMap::new();
        let mut by_text: HashMap<String, BTreeMap<String, u64>> = HashMap::new();
        for shard in dataset.split_shards(split)? {
            let shard = shard?;
            let texts = dataset.read(&shard, tables::texts::NAME, Columns::Named(&[tables::texts::TEXT]))?;
            let texts = column::<StringArray>(&texts, tables::texts::TEXT)?;
            for sample in samples(dataset, &shard)? {
                let objective = Objective::of(&sample);
                let Some(answer) = objective.and_then(|objective| scoring::truth_of(objective, &sample)) else {
                    continue;
                };
                *all.entry(answer.clone()).or_default() += 1;
                // Which of several texts it is cannot be told from the first of them.
                if let (Some(text), false) = (sample.texts.first(), matches!(objective, Some(Objective::Choice(_)))) {
                    *by_text.entry(texts.value(*text).to_owned()).or_default().entry(answer).or_default() += 1;
                }
            }
        }
        let by_text = by_text.into_iter().map(|(text, counts)| (text, commonest(&counts))).collect();
        Ok(Self { majority: commonest(&all), by_text })
    }

    pub(super) fn answer(&self, text: &str) -> &str {
        self.by_text.get(text).unwrap_or(&self.majority)
    }
}

/// The most frequent; of equals, the first in the alphabet.
fn commonest(counts: &BTreeMap<String, u64>) -> String {
    let best = counts.iter().rev().max_by_key(|(_, count)| **count);
    best.map(|(answer, _)| answer.clone()).unwrap_or_default()
}

/// Classes by the text teacher's vectors alone: for SNLI-VE, the hypothesis without the image.
pub(super) struct TextOnly {
    probe: Probe,
    classes: Vec<String>,
    /// Whose vectors it reads.
    pub(super) teacher: TeacherCache,
}

impl TextOnly {
    /// Fits it on the training split of a recipe; none where the task has no classes, or the recipe's text teacher has not
    /// read the texts of both splits.
    pub(super) fn fit(
        dataset: &Dataset,
        recipe: &Recipe,
        tested: &str,
        objective: Objective,
        classes: &[String],
    ) -> Result<Option<Self>> {
        let Some(name) = recipe.teachers.text.as_ref().filter(|_| objective == Objective::Class) else {
            return Ok(None);
        };
        let teacher = match TeacherCache::open(dataset, name) {
            Err(NoTeacher { .. } | AmbiguousTeacher { .. }) => return Ok(None),
            opened => opened?,
        };
        if !has_read(&teacher, dataset, &recipe.data.split)? || !has_read(&teacher, dataset, tested)? {
            return Ok(None);
        }
        let observations = observe(&teacher, dataset, &recipe.data.split)?;
        if observations.is_empty() {
            return Ok(None);
        }
        let rows: Vec<usize> = (0..observations.len()).collect();
        let probe = Probe::fit(&observations, &rows, Choices::Classes(classes.len()))?;
        Ok(Some(Self { probe, classes: classes.to_vec(), teacher }))
    }

    /// The class of each sample of a shard that was zipped with the teacher's texts.
    pub(super) fn answers(&self, zipped: &Zipped) -> Result<Vec<&str>> {
        let Some(z_t) = &zipped.z_t else { return Ok(Vec::new()) };
        let firsts = zipped.samples.iter().filter_map(|sample| sample.texts.first());
        let all: Vec<f32> = firsts.flat_map(|text| z_t.row(*text).iter().copied()).collect();
        let p = self.probe.probabilities(&Tensor::f_from_slice(&all)?.f_view([-1, z_t.width as i64])?)?;
        let best =
            |row: &[f32]| (0..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best });
        Ok(p.chunks_exact(self.classes.len().max(1)).map(|row| self.classes[best(row)].as_str()).collect())
    }
}

/// Whether a teacher has the texts of every shard of a split.
fn has_read(teacher: &TeacherCache, dataset: &Dataset, split: &str) -> Result<bool> {
    for shard in dataset.split_shards(split)? {
        let shard = teacher.shard(&shard?.name)?;
        if shard.is_none_or(|shard| !shard.tables.contains_key(features::texts::NAME)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// z_t and class of the labelled samples of a split, taken evenly where there are too many.
fn observe(teacher: &TeacherCache, dataset: &Dataset, split: &str) -> Result<Vec<Observation>> {
    let total = dataset.split(split)?.runs.total(tables::samples::NAME).rows as usize;
    let stride = total.div_ceil(MOST_FITTED).max(1);
    let (mut observations, mut at) = (Vec::new(), 0);
    for shard in dataset.split_shards(split)? {
        let shard = shard?;
        let z_t = pooled(&teacher.read(dataset, &shard, features::texts::NAME)?, features::EMBEDDING)?;
        for sample in samples(dataset, &shard)? {
            at += 1;
            if let (Some(label), Some(text), 0) = (sample.label, sample.texts.first(), (at - 1) % stride) {
                let features = z_t.row(*text).to_vec();
                observations.push(Observation { features, label, group: sample.group });
            }
        }
    }
    Ok(observations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commonest_answer_breaks_ties_by_the_alphabet() {
        let counts = |pairs: &[(&str, u64)]| pairs.iter().map(|(a, n)| ((*a).to_owned(), *n)).collect();
        assert_eq!(commonest(&counts(&[("no", 3), ("yes", 3), ("red", 1)])), "no");
        assert_eq!(commonest(&counts(&[("no", 3), ("yes", 4)])), "yes");
        assert_eq!(commonest(&BTreeMap::new()), "");
    }
}
