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
