//! What the text teacher's vectors tell of a split without the image: cross-fitted, so that a sample is judged by a probe
//! that saw neither it nor another of its image.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::StringArray;
use retort_cache::{Columns, Dataset, Interrupt, Progress, TeacherCache, column, write_plain_table};
use retort_schemas::{features, tables};

use super::summary::Scores;
use super::{Row, kind_of, objective_of, predictions};
use crate::probe::{Choices, Observation, cross_fitted};
use crate::scoring;
use crate::tasks::{Objective, outputs_of};
use crate::zipped::{SampleRow, pooled, samples};
use crate::{Error, Result};

/// How the text alone is asked.
#[derive(Debug, Clone)]
pub struct TextProbe {
    /// The teacher whose vectors of texts are read, by name or by name and fingerprint.
    pub teacher: String,
    /// Parts of the images, each judged by a probe of the others.
    pub folds: usize,
    /// Decides which image is in which part.
    pub seed: u64,
}

/// How good the text alone is.
#[derive(Debug, Clone, PartialEq)]
pub struct TextOnlyFound {
    /// Samples with a label, each of which has a prediction.
    pub samples: u64,
    /// Samples without a label, which are left out.
    pub unlabelled: u64,
    /// Share that is predicted right.
    pub accuracy: f64,
    /// Share of the commonest class, or place among the texts.
    pub majority: f64,
}

impl TextProbe {
    /// Predicts the labelled samples of a split of a data set and writes them to `path` as `retort eval --predictions`
    /// does to `.parquet`. Of texts to choose from, each is scored by one weight vector (conditional logit).
    ///
    /// # Errors
    /// [`Error::Setting`] if `folds` is less than 2; [`Error::Data`] if the split asks for answers of a vocabulary, or no
    /// sample has a label; those of the data set, of the teacher's cache, of libtorch, and of writing.
    pub fn write(
        &self,
        folder: &Path,
        split: &str,
        path: &Path,
        progress: &dyn Progress,
        interrupt: &Interrupt,
    ) -> Result<TextOnlyFound> {
        if self.folds < 2 {
            let problem = format!("expected 2 parts or more, found {}", self.folds);
            return Err(Error::Setting { key: "folds", problem });
        }
        let dataset = Dataset::open(folder)?;
        let total = dataset.split(split)?.runs.total(tables::samples::NAME).rows;
        let unusable = |problem: String| Error::Data { path: folder.to_owned(), problem };
        let objective = objective_of(&dataset, split)?;
        let names: Vec<String> = match objective {
            Objective::Choice(texts) => (0..texts).map(|text| text.to_string()).collect(),
            Objective::Class => outputs_of(objective, &dataset)?,
            Objective::Answers => {
                let problem =
                    format!("split {split} asks for {objective}: the probe tells classes or one of several texts");
                return Err(unusable(problem));
            }
        };
        progress.begin(&format!("probe {split}"), total, "samples");
        let (mut asked, observations) = self.observe(&dataset, split, objective, progress, interrupt)?;
        if asked.is_empty() {
            return Err(unusable(format!("split {split} has no labels: there is nothing to fit a probe on")));
        }
        if let Some(bad) = observations.iter().position(|seen| seen.label as usize >= names.len()) {
            let (label, choices) = (observations[bad].label, names.len());
            return Err(unusable(format!(
                "sample {} has the label {label}, expected one below {choices}",
                asked[bad].row.id
            )));
        }
        let choices = match objective {
            Objective::Choice(texts) => Choices::Texts(texts),
            Objective::Answers | Objective::Class => Choices::Classes(names.len()),
        };
        interrupt.check()?;
        let judged = cross_fitted(&observations, choices, self.folds, self.seed)?;
        progress.end();
        let mut labels: BTreeMap<u32, u64> = BTreeMap::new();
        observations.iter().for_each(|seen| *labels.entry(seen.label).or_default() += 1);
        for (asked, judged) in asked.iter_mut().zip(&judged) {
            let Some(judged) = judged else {
                return Err(unusable(format!("split {split} has one image: no part is left to fit a probe on")));
            };
            asked.predict(objective, &names, &judged.probabilities);
        }
        let rows: Vec<Row> = asked.into_iter().map(|asked| asked.row).collect();
        write_plain_table(path, &predictions::table(path, &rows, &names)?)?;
        let known = rows.len() as u64;
        let share = |part: f64| part / known as f64;
        Ok(TextOnlyFound {
            samples: known,
            unlabelled: total - known,
            accuracy: share(rows.iter().filter_map(|row| row.scores).map(|scores| scores.own).sum()),
            majority: share(labels.into_values().max().unwrap_or(0) as f64),
        })
    }

    /// The labelled samples of a split, and what the teacher says of their texts.
    fn observe(
        &self,
        dataset: &Dataset,
        split: &str,
        objective: Objective,
        progress: &dyn Progress,
        interrupt: &Interrupt,
    ) -> Result<(Vec<Asked>, Vec<Observation>)> {
        let teacher = TeacherCache::open(dataset, &self.teacher)?;
        let (mut asked, mut observations) = (Vec::new(), Vec::new());
        for shard in dataset.split_shards(split)? {
            interrupt.check()?;
            let shard = shard?;
            let z_t = pooled(&teacher.read(dataset, &shard, features::texts::NAME)?, features::EMBEDDING)?;
            let texts = dataset.read(&shard, tables::texts::NAME, Columns::Named(&[tables::texts::TEXT]))?;
            let texts = column::<StringArray>(&texts, tables::texts::TEXT)?;
            let all = samples(dataset, &shard)?;
            progress.advance(all.len() as u64);
            for (at, sample) in all.into_iter().enumerate() {
                let (Some(label), Some(first)) = (sample.label, sample.texts.first()) else { continue };
                let read = &sample.texts[..objective.texts().min(sample.texts.len())];
                let features = read.iter().flat_map(|text| z_t.row(*text).iter().copied()).collect();
                observations.push(Observation { features, label, group: sample.group });
                let candidates: Vec<String> = read.iter().map(|text| texts.value(*text).to_owned()).collect();
                let row = Row {
                    id: sample.id.clone(),
                    shard: shard.name.clone(),
                    row: at as u32,
                    task: sample.task.clone(),
                    text: texts.value(*first).to_owned(),
                    question_type: kind_of(objective, &sample),
                    answer_type: sample.answer_type.clone(),
                    prediction: String::new(),
                    truth: match objective {
                        Objective::Choice(_) => candidates.get(label as usize).cloned(),
                        Objective::Answers | Objective::Class => sample.label_text.clone(),
                    },
                    confidence: 0.0,
                    said: Vec::new(),
                    scores: None,
                };
                asked.push(Asked { row, sample, candidates });
            }
        }
        Ok((asked, observations))
    }
}

/// A sample and what becomes of it.
struct Asked {
    row: Row,
    sample: SampleRow,
    candidates: Vec<String>,
}

impl Asked {
    /// Fills in what a probe says, one probability a choice.
    fn predict(&mut self, objective: Objective, names: &[String], probabilities: &[f32]) {
        let better = |best: usize, at: usize| if probabilities[at] > probabilities[best] { at } else { best };
        let best = (0..probabilities.len()).fold(0, better);
        let name = names.get(best).cloned().unwrap_or_default();
        let own = scoring::score(objective, &self.sample, &name);
        self.row.scores = own.map(|own| Scores { own, majority: 0.0, question_only: 0.0, text_only: None });
        self.row.confidence = probabilities.get(best).copied().unwrap_or(0.0);
        self.row.said = (0..).zip(probabilities.iter().copied()).collect();
        self.row.prediction = match objective {
            Objective::Choice(_) => self.candidates.get(best).cloned().unwrap_or_default(),
            Objective::Answers | Objective::Class => name,
        };
    }
}
