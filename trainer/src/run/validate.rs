//! Validation while training: the held-out part is scored now and then, and the best weights are kept.

use std::collections::BTreeMap;
use std::path::Path;

use retort_cache::Dataset;
use retort_nn::TextTokenizer;
use retort_schemas::runs::{Validated, files};
use tch::{Device, Tensor};

use super::setup::{RunPlan, sources};
use crate::adamw::AdamW;
use crate::checkpoint::{self, Best};
use crate::recipe::{Arm, Export, Recipe};
use crate::scoring::{self, Asking, BATCH};
use crate::step::task_loss;
use crate::stream::Part;
use crate::students::Student;
use crate::tasks::Objective;
use crate::zipped::{Sources, Zipped};
use crate::{Error, Result, record};

/// What validation needs, and the best so far.
pub(super) struct Validation {
    recipe: Recipe,
    objective: Objective,
    parts: Vec<Part>,
    images: u64,
    asking: Asking,
    sources: Sources,
    best: Option<Best>,
}

/// How the student does on the held-out part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scored {
    /// The task's own metric, mean over the samples whose truth is known.
    pub(super) score: f64,
    /// L_task, likewise.
    pub(super) loss: f64,
}

impl Validation {
    /// Of a recipe that holds something out. The student's tokenizer is in the run folder already.
    pub(super) fn of(
        recipe: &Recipe,
        run: &Path,
        dataset: &Dataset,
        plan: &RunPlan,
        answers: &[String],
        device: Device,
    ) -> Result<Option<Self>> {
        if plan.held_out.is_empty() {
            return Ok(None);
        }
        let alone = Recipe { arm: Arm::Base, ..recipe.clone() };
        let own = run.join(files::STUDENT).join(record::TOKENIZER);
        let tokenizer = TextTokenizer::open(&own, recipe.student.text_tokens)?;
        Ok(Some(Self {
            objective: plan.objective,
            parts: plan.held_out.clone(),
            images: plan.held_out_groups,
            asking: Asking::new(&alone, tokenizer, plan.objective, answers.to_vec(), device),
            sources: sources(&alone, dataset)?,
            best: checkpoint::read_best(run)?.map(|(best, _)| best),
            recipe: alone,
        }))
    }

    /// Whether the student is scored after this step.
    pub(super) fn is_due(&self, step: u64) -> bool {
        let every = self.recipe.validate.every;
        step == self.recipe.optim.steps || (every > 0 && step.is_multiple_of(every))
    }

    /// Scores the student as it would be exported, and keeps its weights if they are better than all before: of equals
    /// the first stays.
    pub(super) fn score(&mut self, run: &Path, step: u64, student: &dyn Student, adamw: &mut AdamW) -> Result<Scored> {
        let scored = adamw.as_trained(|| self.ask(student))?;
        if self.best.is_none_or(|best| scored.score > best.score) {
            let best = Best { step, score: scored.score };
            checkpoint::write_best(run, best, &record::exported(student, adamw.trained()?))?;
            self.best = Some(best);
        }
        Ok(scored)
    }

    fn ask(&self, student: &dyn Student) -> Result<Scored> {
        let _guard = tch::no_grad_guard();
        let (mut scores, mut known) = (0.0, 0_u64);
        let (mut losses, mut weights) = (0.0, 0.0);
        for part in &self.parts {
            // Of a shard with its pictures a tenth may be held out.
            let zipped = self.sources.load_rows(&part.shard, &part.rows)?;
            let all: Vec<usize> = (0..zipped.samples.len()).collect();
            for chunk in all.chunks(BATCH) {
                let rows: Vec<(&Zipped, usize)> = chunk.iter().map(|row| (&zipped, *row)).collect();
                let (batch, logits) = self.asking.ask(student, &rows)?;
                for ((_, row), (chosen, _)) in rows.iter().zip(scoring::best(&logits)?) {
                    let said = self.asking.name_of(chosen);
                    if let Some(score) = scoring::score(self.objective, &zipped.samples[*row], &said) {
                        scores += score;
                        known += 1;
                    }
                }
                // The loss is a mean over the labelled samples or, of soft scores, over all.
                let labelled = |row: &&usize| zipped.samples[**row].label.is_some();
                let weight = match self.objective {
                    Objective::Answers => chunk.len(),
                    Objective::Class | Objective::Choice(_) => chunk.iter().filter(labelled).count(),
                } as f64;
                losses += weight * task_loss(&self.recipe, self.objective, &logits, &batch)?.f_double_value(&[])?;
                weights += weight;
            }
        }
        if known == 0 {
            let problem = "holds out samples none of which has a label: hold out more, or set it to 0".to_owned();
            return Err(Error::Setting { key: "validate.share", problem });
        }
        Ok(Scored { score: scores / known as f64, loss: losses / f64::max(weights, 1.0) })
    }

    /// What `run.json` says of it.
    pub(super) fn info(&self) -> Validated {
        Validated {
            images: self.images,
            samples: self.parts.iter().map(|part| part.rows.len() as u64).sum(),
            metric: self.objective.metric().to_owned(),
            best_step: self.best.map(|best| best.step),
            best_score: self.best.map(|best| best.score),
            exported: self.recipe.validate.export.to_string(),
        }
    }
}

/// The weights to export at the end of a run: the last, or the best where the recipe says so.
pub(super) fn to_export(
    recipe: &Recipe,
    run: &Path,
    student: &dyn Student,
    adamw: &AdamW,
) -> Result<BTreeMap<String, Tensor>> {
    if recipe.validate.export == Export::Last {
        return Ok(record::exported(student, adamw.trained()?));
    }
    let gone =
        || Error::Run { path: run.to_owned(), problem: "its best weights are gone from checkpoints/".to_owned() };
    let (_, checkpoint) = checkpoint::read_best(run)?.ok_or_else(gone)?;
    checkpoint.names().map(|name| Ok((name.to_owned(), checkpoint.tensor(name)?))).collect()
}
