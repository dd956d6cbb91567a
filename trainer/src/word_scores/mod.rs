//! What a run loses where a word of a choice is masked: the scores that the shifts by masks are made from.
//!
//! ```text
//! a sample's choices --> each as it is, and with each of its words masked --> student --> logits --> losses --> FILE
//!                        (one text a row, with the sample's image)
//! ```
//!
//! The loss of a word is the cross-entropy of its choice with this word masked and all else as it is, after Ye and
//! Kovashka (AAAI 2021): of the right choice -ln p, of a wrong one -ln (1 - p). Where the run was trained with a softmax
//! over the choices, p is its share there; where with two-way losses, the logistic of its own score. Within a choice, which
//! is all that the shifts compare, both give the same order, as the other choices stay as they are.

mod asked;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, RecordBatch, StringArray, UInt32Array};
use retort_cache::{Dataset, Interrupt, Progress, write_plain_table};
use retort_schemas::runs::{files, word_scores as names};
use retort_schemas::tables;
use tch::Tensor;

use self::asked::{Choice, Shell, choices_of};
use crate::evaluate::{grid_teacher, objective_of, open_student};
use crate::recipe::{ChoiceLoss, Recipe};
use crate::scoring::{Asking, BATCH};
use crate::students::Student;
use crate::tasks::Objective;
use crate::zipped::Sources;
use crate::{Error, Result};

/// A run that is ready to tell what it loses by each word of a split.
pub struct WordScorer {
    split: String,
    dataset: Dataset,
    sources: Sources,
    asking: Asking,
    student: Box<dyn Student>,
    objective: Objective,
    loss: ChoiceLoss,
}

/// How much was scored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WordsScored {
    /// Samples.
    pub samples: u64,
    /// Samples without a label, which have no loss.
    pub unlabelled: u64,
    /// Words, and so rows.
    pub words: u64,
}

/// The words that were scored so far, as columns.
#[derive(Default)]
struct Rows {
    samples: Vec<String>,
    candidates: Vec<u32>,
    starts: Vec<u32>,
    ends: Vec<u32>,
    losses: Vec<f32>,
}

impl WordScorer {
    /// Opens a finished run for a split of its data set, on the device of its recipe or on that which `device` names.
    ///
    /// # Errors
    /// [`Error::Data`] if the split asks for answers of a vocabulary, of which no text is chosen; those of
    /// [`crate::evaluate_on`].
    pub fn open(run: &Path, split: &str, device: Option<&str>) -> Result<Self> {
        let recipe = Recipe::read(&run.join(files::RECIPE), &[])?;
        let device = retort_nn::device(device.unwrap_or(&recipe.device))?;
        let dataset = Dataset::open(&recipe.data.dataset)?;
        dataset.split(split)?;
        let objective = objective_of(&dataset, split)?;
        if objective == Objective::Answers {
            let problem = format!(
                "split {split} asks for {objective}: words are scored where one of several texts is right (VCR, matching), \
                 or one class (SNLI-VE)"
            );
            return Err(Error::Data { path: dataset.folder().to_owned(), problem });
        }
        let (student, tokenizer, answers) = open_student(run, &recipe, objective, &dataset, device)?;
        let sources = Sources {
            image_teacher: None,
            text_teacher: None,
            with_tokens: false,
            with_pixels: recipe.student.kind.reads_pixels(),
            with_regions: recipe.student.kind.reads_regions(),
            random: None,
            grid_teacher: grid_teacher(run, &recipe, &dataset, split)?,
            dataset: dataset.clone(),
        };
        // Each text is a row of its own, as all but one of a sample's choices stay what they are.
        let of_rows = if objective == Objective::Class { Objective::Class } else { Objective::Choice(1) };
        let asking = Asking::new(&recipe, tokenizer, of_rows, answers, device);
        let split = split.to_owned();
        Ok(Self { split, dataset, sources, asking, student, objective, loss: recipe.task.choice_loss })
    }

    /// Scores all words of the split's choices and writes them as a table [`names`], whole or not at all.
    ///
    /// # Errors
    /// [`Error::Data`] if no sample has a label; those of reading, of libtorch, and of writing; an interrupt.
    pub fn write(&self, path: &Path, progress: &dyn Progress, interrupt: &Interrupt) -> Result<WordsScored> {
        let total = self.dataset.split(&self.split)?.runs.total(tables::samples::NAME).rows;
        progress.begin(&format!("words {}", self.split), total, "samples");
        let (mut rows, mut scored) = (Rows::default(), WordsScored::default());
        for shard in self.dataset.split_shards(&self.split)? {
            let mut shell = Shell::new(self.sources.load(&shard?)?);
            let mut waiting: Vec<Choice> = Vec::new();
            for sample in 0..shell.samples.len() {
                match shell.samples[sample].label {
                    Some(_) => scored.samples += 1,
                    None => scored.unlabelled += 1,
                }
                waiting.extend(choices_of(&shell, sample));
                let is_last = sample + 1 == shell.samples.len();
                if is_last || waiting.iter().map(Choice::rows).sum::<usize>() >= BATCH {
                    interrupt.check()?;
                    self.score(&mut shell, &waiting, &mut rows)?;
                    waiting.clear();
                }
                progress.advance(1);
            }
        }
        progress.end();
        if scored.samples == 0 {
            let problem = format!("split {} has no labels: what is right is not known, nor what it loses", self.split);
            return Err(Error::Data { path: self.dataset.folder().to_owned(), problem });
        }
        scored.words = rows.losses.len() as u64;
        write_plain_table(path, &rows.table(path)?)?;
        Ok(scored)
    }

    /// Asks for the choices of some samples, all choices of each, and adds a row a word.
    fn score(&self, shell: &mut Shell, choices: &[Choice], rows: &mut Rows) -> Result<()> {
        let said = self.ask(shell, choices)?;
        let ends = choices.iter().scan(0, |end, choice| {
            *end += choice.rows();
            Some(*end)
        });
        // What is said of each choice: as it is, then with each of its words masked.
        let said: Vec<&[Vec<f64>]> = ends.zip(choices).map(|(end, choice)| &said[end - choice.rows()..end]).collect();
        for (place, (choice, said_of)) in choices.iter().zip(&said).enumerate() {
            let siblings: Vec<f64> = match self.objective {
                Objective::Choice(texts) => {
                    let first = place - choice.candidate;
                    said[first..first + texts].iter().map(|said| said[0][0]).collect()
                }
                Objective::Answers | Objective::Class => Vec::new(),
            };
            for (span, own) in choice.words.iter().zip(&said_of[1..]) {
                let id = &shell.samples[choice.sample].id;
                let loss = self.loss_of(choice, own, &siblings).ok_or_else(|| self.no_choice(id, choice.label))?;
                rows.samples.push(id.clone());
                rows.candidates.push(choice.candidate as u32);
                rows.starts.push(span.start as u32);
                rows.ends.push(span.end as u32);
                rows.losses.push(loss as f32);
            }
        }
        Ok(())
    }

    /// The loss of a choice of which a row of scores is said, where the student says `siblings` of all choices as they
    /// are; none if the label is none of the classes.
    fn loss_of(&self, choice: &Choice, own: &[f64], siblings: &[f64]) -> Option<f64> {
        let label = choice.label as usize;
        match (self.objective, self.loss) {
            (Objective::Choice(_), ChoiceLoss::Softmax) => {
                let mut all = siblings.to_vec();
                *all.get_mut(choice.candidate)? = *own.first()?;
                Some(missed(log_odds(&all, choice.candidate)?, label == choice.candidate))
            }
            (Objective::Choice(_), ChoiceLoss::Binary) => Some(missed(*own.first()?, label == choice.candidate)),
            (Objective::Answers | Objective::Class, _) => Some(missed(log_odds(own, label)?, true)),
        }
    }

    fn no_choice(&self, id: &str, label: u32) -> Error {
        let problem = format!("sample {id} has the label {label}, expected one of the student's classes");
        Error::Data { path: self.dataset.folder().to_owned(), problem }
    }

    /// What the student says of each row of these choices: one score, or one a class.
    fn ask(&self, shell: &mut Shell, choices: &[Choice]) -> Result<Vec<Vec<f64>>> {
        let count = shell.fill(choices);
        let mut said = Vec::with_capacity(count);
        let all: Vec<usize> = (0..count).collect();
        for chunk in all.chunks(BATCH) {
            let batch: Vec<_> = chunk.iter().map(|row| (&shell.zipped, *row)).collect();
            let (_, logits) = self.asking.ask(self.student.as_ref(), &batch)?;
            said.extend(rows_of(&logits)?);
        }
        Ok(said)
    }
}

fn rows_of(logits: &Tensor) -> Result<Vec<Vec<f64>>> {
    let width = logits.size2()?.1 as usize;
    let all = Vec::<f64>::try_from(logits.f_to_kind(tch::Kind::Double)?.f_contiguous()?.f_view([-1])?)?;
    Ok(all.chunks_exact(width.max(1)).map(<[f64]>::to_vec).collect())
}

/// ln p / (1 - p) of the share p of a score in a softmax over all of them: what it is above the logarithm of the sum of the
/// exponentials of the others.
fn log_odds(scores: &[f64], place: usize) -> Option<f64> {
    let own = scores.get(place)?;
    let others = || scores.iter().enumerate().filter(|(at, _)| *at != place).map(|(_, score)| *score);
    let most = others().reduce(f64::max)?;
    Some(own - most - others().map(|score| (score - most).exp()).sum::<f64>().ln())
}

/// -ln p of log-odds where they should be high, -ln (1 - p) where low.
fn missed(log_odds: f64, is_right: bool) -> f64 {
    let wrong = if is_right { -log_odds } else { log_odds };
    wrong.max(0.0) + (-wrong.abs()).exp().ln_1p()
}

impl Rows {
    fn table(self, path: &Path) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(self.samples)),
            Arc::new(UInt32Array::from(self.candidates)),
            Arc::new(UInt32Array::from(self.starts)),
            Arc::new(UInt32Array::from(self.ends)),
            Arc::new(Float32Array::from(self.losses)),
        ];
        Ok(RecordBatch::try_new(names::schema(), columns).map_err(retort_cache::Error::arrow(path))?)
    }
}
