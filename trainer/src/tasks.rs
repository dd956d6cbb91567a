//! The tasks, by what the student's head says.
//!
//! | task of a sample | the head gives | L_task |
//! |---|---|---|
//! | `vqa` | a score an answer of the vocabulary | binary cross-entropy with soft scores |
//! | `snli_ve`, `classification` | a score a class | softmax cross-entropy |
//! | `vcr_qa`, `vcr_qar`, `matching` | a score a candidate text | softmax cross-entropy over the candidates |

use retort_cache::Dataset;
use retort_schemas::tables::samples::tasks;
use tch::Tensor;

use crate::Result;
use crate::zipped::SampleRow;

/// What a student is trained to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Objective {
    /// Which answers of a vocabulary are good, and how good.
    Answers,
    /// Which class.
    Class,
    /// Which of so many candidate texts.
    Choice(usize),
}

impl Objective {
    /// Of a sample; none where there is nothing to say about it.
    pub(crate) fn of(sample: &SampleRow) -> Option<Self> {
        Some(match sample.task.as_str() {
            tasks::VQA => Self::Answers,
            tasks::SNLI_VE | tasks::CLASSIFICATION => Self::Class,
            tasks::VCR_QA | tasks::VCR_QAR | tasks::MATCHING => Self::Choice(sample.texts.len()),
            _ => return None,
        })
    }

    /// Of all these samples, or what is wrong with the first that differs.
    pub(crate) fn of_all<'a>(samples: impl Iterator<Item = &'a SampleRow>) -> Result<Option<Self>, String> {
        let mut found = None;
        for sample in samples {
            let SampleRow { id, task, texts, .. } = sample;
            let Some(own) = Self::of(sample) else {
                return Err(format!("sample {id} has the task {task}, of which a student can learn no answer"));
            };
            match found {
                None => found = Some(own),
                Some(first) if first == own => {}
                Some(first) => {
                    let texts = texts.len();
                    return Err(format!("sample {id} has the task {task} and {texts} texts; those before it: {first}"));
                }
            }
        }
        Ok(found)
    }

    /// Texts of a sample, each of which the student reads with the image.
    pub(crate) fn texts(self) -> usize {
        match self {
            Self::Choice(texts) => texts,
            Self::Answers | Self::Class => 1,
        }
    }

    /// Name of the metric.
    pub(crate) fn metric(self) -> &'static str {
        match self {
            Self::Answers => "VQA accuracy",
            Self::Class | Self::Choice(_) => "accuracy",
        }
    }
}

impl std::fmt::Display for Objective {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answers => f.write_str("answers with soft scores"),
            Self::Class => f.write_str("one class of several"),
            Self::Choice(texts) => write!(f, "one text of {texts}"),
        }
    }
}

/// What the outputs of the student's head are called: the classes of the vocabulary, or one score a text.
pub(crate) fn outputs_of(objective: Objective, dataset: &Dataset) -> Result<Vec<String>> {
    match objective {
        Objective::Choice(_) => Ok(vec!["score".to_owned()]),
        Objective::Answers | Objective::Class => Ok(dataset.answers()?.answers.clone()),
    }
}

/// Scores of what a sample chooses from: `[batch, classes]` as they are, one a text as `[batch, K]`.
pub(crate) fn in_rows_of_samples(logits: &Tensor, objective: Objective) -> Result<Tensor> {
    match objective {
        Objective::Choice(texts) => Ok(logits.f_view([-1, texts as i64])?),
        Objective::Answers | Objective::Class => Ok(logits.shallow_clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(task: &str, texts: usize) -> SampleRow {
        SampleRow { id: "7".to_owned(), task: task.to_owned(), texts: vec![0; texts], ..SampleRow::default() }
    }

    #[test]
    fn samples_that_are_learnt_alike_go_together() {
        let of = |samples: &[SampleRow]| Objective::of_all(samples.iter());
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[sample("vqa", 1)]), Ok(Some(Objective::Answers)));
        assert_eq!(of(&[sample("vcr_qa", 4), sample("vcr_qar", 4)]), Ok(Some(Objective::Choice(4))));
        let refusal = of(&[sample("matching", 4), sample("matching", 3)]).unwrap_err();
        assert!(
            refusal.contains("sample 7 has the task matching and 3 texts; those before it: one text of 4"),
            "{refusal}"
        );
        assert!(of(&[sample("caption", 1)]).unwrap_err().contains("task caption"));
        assert!(of(&[sample("snli_ve", 1), sample("vqa", 1)]).is_err());
    }
}
