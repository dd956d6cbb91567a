//! Scores of a run on a split.

use serde::{Deserialize, Serialize};

use crate::SchemaVersion;

/// `evaluation-<split>.json`: scores of a run on a split, beside the floors. Accuracies are from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Version, `evaluation/<major>.<minor>`.
    #[serde(rename = "retort:schema")]
    pub schema: String,
    /// The split.
    pub split: String,
    /// Name of the metric.
    pub metric: String,
    /// The run's score over all samples.
    pub overall: Score,
    /// The run's score by question type.
    pub by_question_type: Vec<Score>,
    /// The run's score by answer type, where the source has any. Since 1.1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_answer_type: Vec<Score>,
    /// Q->AR, where the run was asked for the answers and for the rationales of VCR. Since 1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joint: Option<Joint>,
}

/// Version of [`Evaluation`] written by this build.
pub const EVALUATION_VERSION: SchemaVersion = SchemaVersion::new("evaluation", 1, 1);

/// VCR over the questions of which both the answer and the rationale were judged. Shares are from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Joint {
    /// How many questions.
    pub questions: u64,
    /// Judged samples without their other half, which are not in it.
    pub alone: u64,
    /// Q->A: how many answers are right.
    pub answer: f64,
    /// QA->R: how many rationales are right, chosen with the right answer given.
    pub rationale: f64,
    /// Q->AR: of how many questions both are right.
    pub both: f64,
}

/// A score over some samples, beside what a blind guesser gets on the same samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Which samples: a question type, or `all`.
    pub name: String,
    /// How many.
    pub samples: u64,
    /// The student's accuracy.
    pub accuracy: f64,
    /// Floor: always the commonest answer of the data set's training split.
    pub majority: f64,
    /// Floor: the commonest training answer to the same question, image unseen.
    pub question_only: f64,
    /// Floor of tasks with classes: logistic regression on the text teacher's vectors alone, image unseen; none where the
    /// cache has no such vectors. Since 1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_only: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evaluation_before_1_1_is_read() {
        let old = r#"{"retort:schema": "evaluation/1.0", "split": "test", "metric": "VQA accuracy",
            "overall": {"name": "all", "samples": 2, "accuracy": 0.5, "majority": 0.25, "question_only": 0.3},
            "by_question_type": []}"#;
        let read: Evaluation = serde_json::from_str(old).unwrap();
        assert!(EVALUATION_VERSION.accept(&read.schema).is_ok());
        assert_eq!((read.overall.text_only, read.by_answer_type.len(), read.joint), (None, 0, None));
        // What is not there is not written either: readers of 1.0 find what they know.
        let written = serde_json::to_value(&read).unwrap();
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(old).unwrap());
    }
}
