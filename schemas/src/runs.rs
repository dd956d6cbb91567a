//! The tables of a training run.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::SchemaVersion;
use crate::tables::versioned;

mod evaluation;

pub use evaluation::{EVALUATION_VERSION, Evaluation, Joint, Score};

/// One row per logged value.
pub mod metrics {
    use super::*;

    /// File name without its ending, and table name.
    pub const NAME: &str = "metrics";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new(NAME, 1, 0);
    /// Optimiser steps done.
    pub const STEP: &str = "step";
    /// What was measured, such as `loss/task`.
    pub const TAG: &str = "tag";
    /// The value.
    pub const VALUE: &str = "value";
    /// When it was measured, in seconds since 1970.
    pub const UNIX_SECS: &str = "unix_secs";

    /// Columns and types.
    pub fn schema() -> SchemaRef {
        versioned(
            VERSION,
            vec![
                Field::new(STEP, DataType::UInt64, false),
                Field::new(TAG, DataType::Utf8, false),
                Field::new(VALUE, DataType::Float64, false),
                Field::new(UNIX_SECS, DataType::Float64, false),
            ],
        )
    }
}

/// One row per sample that a run was evaluated on.
pub mod predictions {
    use super::*;

    /// Table name; the file is `predictions-<split>.parquet`.
    pub const NAME: &str = "predictions";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new(NAME, 1, 1);
    /// The sample.
    pub const SAMPLE_ID: &str = "sample_id";
    /// The shard it is in.
    pub const SHARD: &str = "shard";
    /// Row of the shard's samples.
    pub const ROW: &str = "row";
    /// The text that was asked.
    pub const TEXT: &str = "text";
    /// The source's question type.
    pub const QUESTION_TYPE: &str = "question_type";
    /// The predicted answer.
    pub const PREDICTION: &str = "prediction";
    /// The truth as the source words it.
    pub const TRUTH: &str = "truth";
    /// Score of the prediction, 0 to 1.
    pub const SCORE: &str = "score";
    /// The student's probability of its prediction.
    pub const CONFIDENCE: &str = "confidence";
    /// The sample's task, one of [`crate::tables::samples::tasks`]. Since 1.1.
    pub const TASK: &str = "task";
    /// The source's answer type. Since 1.1.
    pub const ANSWER_TYPE: &str = "answer_type";
    /// What the student says of each choice: its probability among all of them. Of a class or a candidate text, all, in the order
    /// of the classes or texts; of a vocabulary of answers the [`MOST_ANSWERS`] likeliest, the likeliest first. Since 1.1.
    pub const SCORES: &str = "scores";
    /// Answers of a vocabulary that [`SCORES`] holds.
    pub const MOST_ANSWERS: usize = 10;

    /// Fields of one of [`SCORES`]: the class, the answer, or the number of the candidate text from 0; and its probability.
    pub fn score_fields() -> Fields {
        vec![Field::new("choice", DataType::Utf8, false), Field::new("probability", DataType::Float32, false)].into()
    }

    /// Columns and types.
    pub fn schema() -> SchemaRef {
        let scores = Field::new_list_field(DataType::Struct(score_fields()), false);
        versioned(
            VERSION,
            vec![
                Field::new(SAMPLE_ID, DataType::Utf8, false),
                Field::new(SHARD, DataType::Utf8, false),
                Field::new(ROW, DataType::UInt32, false),
                Field::new(TEXT, DataType::Utf8, false),
                Field::new(QUESTION_TYPE, DataType::Utf8, true),
                Field::new(PREDICTION, DataType::Utf8, false),
                Field::new(TRUTH, DataType::Utf8, true),
                Field::new(SCORE, DataType::Float32, true),
                Field::new(CONFIDENCE, DataType::Float32, false),
                Field::new(TASK, DataType::Utf8, true),
                Field::new(ANSWER_TYPE, DataType::Utf8, true),
                Field::new(SCORES, DataType::List(Arc::new(scores)), true),
            ],
        )
    }
}

/// One row per word or reference of a candidate text: what the loss of a run is once that is masked.
pub mod word_scores {
    use super::*;

    /// Table name.
    pub const NAME: &str = "word_scores";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new(NAME, 1, 0);
    /// The sample.
    pub const SAMPLE_ID: &str = "sample_id";
    /// Place of the text among the sample's candidates, from 0.
    pub const CANDIDATE: &str = "candidate";
    /// Byte offset, in that text, of the word or of one reference to an object.
    pub const START: &str = "start";
    /// Byte offset of its end, exclusive.
    pub const END: &str = "end";
    /// Cross-entropy of the candidate with the word masked: the greater, the more the run leant on the word.
    pub const LOSS: &str = "loss";

    /// Columns and types.
    pub fn schema() -> SchemaRef {
        versioned(
            VERSION,
            vec![
                Field::new(SAMPLE_ID, DataType::Utf8, false),
                Field::new(CANDIDATE, DataType::UInt32, false),
                Field::new(START, DataType::UInt32, false),
                Field::new(END, DataType::UInt32, false),
                Field::new(LOSS, DataType::Float32, false),
            ],
        )
    }
}

/// One row per candidate word of a few training samples: what token selection saw and chose.
pub mod selection {
    use super::*;

    /// File name without its ending, and table name.
    pub const NAME: &str = "selection";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new(NAME, 1, 0);
    /// The sample.
    pub const SAMPLE_ID: &str = "sample_id";
    /// The shard it is in.
    pub const SHARD: &str = "shard";
    /// Row of the shard's samples.
    pub const ROW: &str = "row";
    /// The sample's text.
    pub const TEXT: &str = "text";
    /// Byte offset of the word in the text.
    pub const START: &str = "start";
    /// Byte offset of its end, exclusive.
    pub const END: &str = "end";
    /// Visual relevance a_w; null without a joint teacher.
    pub const VISUAL: &str = "visual";
    /// Semantic relevance b_w.
    pub const SEMANTIC: &str = "semantic";
    /// Selection probability p_w.
    pub const PROBABILITY: &str = "probability";
    /// Whether the word was selected.
    pub const SELECTED: &str = "selected";

    /// Columns and types.
    pub fn schema() -> SchemaRef {
        versioned(
            VERSION,
            vec![
                Field::new(SAMPLE_ID, DataType::Utf8, false),
                Field::new(SHARD, DataType::Utf8, false),
                Field::new(ROW, DataType::UInt32, false),
                Field::new(TEXT, DataType::Utf8, false),
                Field::new(START, DataType::UInt32, false),
                Field::new(END, DataType::UInt32, false),
                Field::new(VISUAL, DataType::Float32, true),
                Field::new(SEMANTIC, DataType::Float32, false),
                Field::new(PROBABILITY, DataType::Float32, false),
                Field::new(SELECTED, DataType::Boolean, false),
            ],
        )
    }
}

/// One row per training sample: how sure the cross-fitted probe on the teachers' features is of the truth.
pub mod confidence {
    use super::*;

    /// File name without its ending, and table name.
    pub const NAME: &str = "confidence";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new(NAME, 1, 0);
    /// The sample.
    pub const SAMPLE_ID: &str = "sample_id";
    /// The fold it is in: its probe was fitted on the others.
    pub const FOLD: &str = "fold";
    /// c_T: the probe's probability of the truth.
    pub const CONFIDENCE: &str = "confidence";
    /// Whether the probe's own prediction is the truth.
    pub const CORRECT: &str = "correct";

    /// Columns and types.
    pub fn schema() -> SchemaRef {
        versioned(
            VERSION,
            vec![
                Field::new(SAMPLE_ID, DataType::Utf8, false),
                Field::new(FOLD, DataType::UInt32, false),
                Field::new(CONFIDENCE, DataType::Float32, false),
                Field::new(CORRECT, DataType::Boolean, false),
            ],
        )
    }
}

/// One row per sample of the drawn part of the split: what a run was trained on, and what it held out of that.
pub mod drawn {
    use super::*;

    /// File name without its ending, and table name.
    pub const NAME: &str = "drawn";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new(NAME, 1, 0);
    /// The sample.
    pub const SAMPLE_ID: &str = "sample_id";
    /// Its shard.
    pub const SHARD: &str = "shard";
    /// Row of the shard's samples.
    pub const ROW: &str = "row";
    /// Whether it is held out for validation: never trained on.
    pub const HELD_OUT: &str = "held_out";

    /// Columns and types.
    pub fn schema() -> SchemaRef {
        versioned(
            VERSION,
            vec![
                Field::new(SAMPLE_ID, DataType::Utf8, false),
                Field::new(SHARD, DataType::Utf8, false),
                Field::new(ROW, DataType::UInt32, false),
                Field::new(HELD_OUT, DataType::Boolean, false),
            ],
        )
    }
}

/// Files of a run folder.
pub mod files {
    /// The resolved recipe.
    pub const RECIPE: &str = "recipe.toml";
    /// [`super::RunInfo`].
    pub const RUN: &str = "run.json";
    /// [`super::Environment`].
    pub const ENVIRONMENT: &str = "environment.json";
    /// Folder of checkpoints.
    pub const CHECKPOINTS: &str = "checkpoints";
    /// Folder of the exported student, in Hugging Face layout.
    pub const STUDENT: &str = "student";

    /// File name of the predictions on a split: [`super::predictions`].
    pub fn predictions(split: &str) -> String {
        format!("predictions-{split}.parquet")
    }

    /// File name of the scores on a split: [`super::Evaluation`].
    pub fn evaluation(split: &str) -> String {
        format!("evaluation-{split}.json")
    }
}

/// `run.json`: what a run is, for tables and reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Version, `run/<major>.<minor>`.
    #[serde(rename = "retort:schema")]
    pub schema: String,
    /// Arm of the method, such as `kd+ts+cw`, with what is unusual about it, such as `base+mlm`.
    pub arm: String,
    /// Student and size, such as `vilt tiny`.
    pub student: String,
    /// Seed of initialisation, sampling and order.
    pub seed: u64,
    /// Folder of the data set, as the recipe gives it.
    pub dataset: String,
    /// Split trained on.
    pub split: String,
    /// Images (groups) trained on.
    pub images: u64,
    /// Samples trained on.
    pub samples: u64,
    /// Optimiser steps of task finetuning.
    pub steps: u64,
    /// What came before it: `aft`, `mlm` or `none`. Since 1.1.
    #[serde(default = "none")]
    pub adapt: String,
    /// Optimiser steps of that. Since 1.1.
    #[serde(default)]
    pub adapt_steps: u64,
    /// Which part of the method was replaced by chance, or `none`. Since 1.1.
    #[serde(default = "none")]
    pub control: String,
    /// Samples a step.
    pub batch: u64,
    /// Trained parameters of the student.
    pub parameters: u64,
    /// Whether the last step was reached.
    pub complete: bool,
    /// Validation on a held-out part, where there is one. Since 1.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validated>,
}

/// What a run held out of its training images, and how its student did there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Validated {
    /// Images (groups) held out.
    pub images: u64,
    /// Samples held out.
    pub samples: u64,
    /// Name of the metric.
    pub metric: String,
    /// After which step the score was best, of equals the first; none before the first score.
    pub best_step: Option<u64>,
    /// That score, from 0 to 1.
    pub best_score: Option<f64>,
    /// Which weights become the student: `last` or `best`.
    pub exported: String,
}

fn none() -> String {
    "none".to_owned()
}

/// Version of [`RunInfo`] written by this build.
pub const RUN_VERSION: SchemaVersion = SchemaVersion::new("run", 1, 2);

/// `environment.json`: where and when a run was computed. Nothing that computes reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Version, `environment/<major>.<minor>`.
    #[serde(rename = "retort:schema")]
    pub schema: String,
    /// Every time that the run was begun or gone on with, in order.
    pub starts: Vec<Start>,
}

/// One start of a run. What is not known is absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// When, in seconds since 1970.
    pub began_unix_secs: f64,
    /// Version of retort.
    pub retort: String,
    /// The git commit it was built from, where `RETORT_COMMIT` named it at build time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Version of libtorch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libtorch: Option<String>,
    /// The device trained on: `cpu` or `cuda:N`.
    pub device: String,
    /// CUDA devices of the machine.
    pub cuda_devices: u64,
    /// Threads of libtorch, which decide the order of its sums.
    pub torch_threads: u64,
    /// Threads that prepare batches.
    pub rayon_threads: u64,
    /// Model of the processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Operating system.
    pub os: String,
    /// Version of its kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Architecture of the processor, such as `x86_64`.
    pub architecture: String,
}

/// Version of [`Environment`] written by this build.
pub const ENVIRONMENT_VERSION: SchemaVersion = SchemaVersion::new("environment", 1, 0);

/// Version of a run's checkpoints written by this build.
pub const CHECKPOINT_VERSION: SchemaVersion = SchemaVersion::new("checkpoint", 1, 2);

#[cfg(test)]
mod tests {
    use super::*;

    /// Written files hold these words for ever. A change here is a new major version, not an edit of this test.
    #[test]
    fn never_change_these_constants() {
        let schema = predictions::schema();
        let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(
            format!("{} {}", schema.metadata()[crate::SCHEMA_KEY], columns.join(" ")),
            "predictions/1.1 sample_id shard row text question_type prediction truth score confidence task answer_type scores"
        );
        assert_eq!(
            predictions::score_fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
            ["choice", "probability"]
        );
    }
}
