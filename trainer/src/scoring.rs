//! What a student says of samples and how good that is: the one scorer of evaluation and of validation while training.

use retort_nn::TextTokenizer;
use retort_schemas::answers::accuracy;
use tch::{Device, Kind, Tensor};

use crate::Result;
use crate::prepare::{Batch, Preparer};
use crate::recipe::{Arm, Recipe};
use crate::students::Student;
use crate::tasks::{Objective, in_rows_of_samples};
use crate::zipped::{SampleRow, Zipped};

/// Samples a batch; no gradient is kept, so it may be large.
pub(crate) const BATCH: usize = 256;

/// Asks a student alone: no teacher's features, no augmentation.
pub(crate) struct Asking {
    preparer: Preparer,
    answers: Vec<String>,
}

impl Asking {
    /// Of a recipe's student with these outputs, on this device.
    pub(crate) fn new(
        recipe: &Recipe,
        tokenizer: TextTokenizer,
        objective: Objective,
        answers: Vec<String>,
        device: Device,
    ) -> Self {
        let recipe = Recipe { arm: Arm::Base, ..recipe.clone() };
        let preparer = Preparer::new(recipe, tokenizer, objective, answers.len(), device);
        Self { preparer, answers }
    }

    /// The batch of these rows and what the student says of it: logits `[batch, classes]` or, of a choice, `[batch,
    /// K]`.
    pub(crate) fn ask(&self, student: &dyn Student, rows: &[(&Zipped, usize)]) -> Result<(Batch, Tensor)> {
        let _guard = tch::no_grad_guard();
        let batch = self.preparer.batch(rows, None)?;
        let views = student.forward(&batch.text, &batch.visual)?;
        let logits = in_rows_of_samples(&views.logits, self.preparer.objective)?;
        Ok((batch, logits))
    }

    /// A class by its name, a candidate text by its number.
    pub(crate) fn name_of(&self, chosen: usize) -> String {
        match self.preparer.objective {
            Objective::Choice(_) => chosen.to_string(),
            Objective::Answers | Objective::Class => self.answers.get(chosen).cloned().unwrap_or_default(),
        }
    }
}

/// Class, or candidate, and probability of the best of each row of logits.
pub(crate) fn best(logits: &Tensor) -> Result<Vec<(usize, f32)>> {
    let (best, class) = logits.f_softmax(-1, Kind::Float)?.f_max_dim(1, false)?;
    let (best, class) = (Vec::<f32>::try_from(&best)?, Vec::<i64>::try_from(&class)?);
    Ok(class.into_iter().map(|class| class as usize).zip(best).collect())
}

/// What a student says of each row of logits: choices and their probabilities. All of them in their order or, where `most`
/// says how many, the likeliest, the likeliest first; of equals the first comes first.
pub(crate) fn said(logits: &Tensor, most: Option<usize>) -> Result<Vec<Vec<(u32, f32)>>> {
    let choices = logits.size2()?.1 as usize;
    let all = Vec::<f32>::try_from(logits.f_softmax(-1, Kind::Float)?.f_contiguous()?.f_view([-1])?)?;
    Ok(all.chunks_exact(choices.max(1)).map(|row| likeliest(row, most)).collect())
}

fn likeliest(probabilities: &[f32], most: Option<usize>) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = (0_u32..).zip(probabilities.iter().copied()).collect();
    let Some(most) = most else { return all };
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if most < all.len() {
        all.select_nth_unstable_by(most, order);
        all.truncate(most);
    }
    all.sort_unstable_by(order);
    all
}

/// What is right, named like the predictions.
pub(crate) fn truth_of(objective: Objective, sample: &SampleRow) -> Option<String> {
    match objective {
        Objective::Choice(_) => sample.label.map(|label| label.to_string()),
        Objective::Answers | Objective::Class => sample.label_text.clone(),
    }
}

/// The task's metric of a sample for an answer by its name, 0 to 1; none where the truth is not known.
pub(crate) fn score(objective: Objective, sample: &SampleRow, answer: &str) -> Option<f64> {
    match objective {
        Objective::Answers => (!sample.answers.is_empty()).then(|| accuracy(answer, &sample.answers)),
        Objective::Class | Objective::Choice(_) => {
            truth_of(objective, sample).map(|truth| f64::from(u8::from(truth == answer)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_come_first_and_of_equals_the_first() -> Result<()> {
        let logits = Tensor::from_slice(&[1.0_f32, 3.0, 2.0, 3.0, 0.0, 0.0, 0.0, 5.0]).f_view([2, 4])?;
        let choices = |most| -> Result<Vec<Vec<u32>>> {
            let said = said(&logits, most)?;
            Ok(said.iter().map(|row| row.iter().map(|(choice, _)| *choice).collect()).collect())
        };
        assert_eq!(choices(Some(3))?, [[1, 3, 2], [3, 0, 1]]);
        assert_eq!(choices(Some(9))?, [[1, 3, 2, 0], [3, 0, 1, 2]]);
        assert_eq!(choices(None)?, [[0, 1, 2, 3]; 2]);
        let sums = said(&logits, None)?.iter().map(|row| row.iter().map(|(_, p)| p).sum::<f32>()).collect::<Vec<_>>();
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-6), "{sums:?}");
        Ok(())
    }
}
