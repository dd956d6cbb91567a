//! The files of a protocol: arms x conditions x seeds, scored.

use arrow::datatypes::{DataType, Field, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::SchemaVersion;
use crate::tables::versioned;

/// File of [`runs`].
pub const RESULTS_FILE: &str = "results.parquet";
/// File of [`predictions`].
pub const PREDICTIONS_FILE: &str = "predictions.parquet";
/// File of [`gains`].
pub const GAINS_FILE: &str = "gains.parquet";
/// File of the table for people.
pub const TABLE_FILE: &str = "results.md";
/// File of the pictures.
pub const REPORT_FILE: &str = "report.html";
/// File of [`Failure`]s, a JSON list; absent where nothing failed.
pub const FAILED_FILE: &str = "failed.json";
/// Folder of the runs.
pub const RUNS_FOLDER: &str = "runs";

/// One row per run, condition and split that it was tested on. A run that serves two conditions has rows in both.
pub mod runs {
    use super::*;

    /// Table name; the file is `results.parquet`.
    pub const NAME: &str = "runs";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new("protocol_runs", 1, 1);
    /// Key of the file's metadata that tells, for people, which part of the protocol it is of; absent where it is of all.
    pub const PART_KEY: &str = "retort.part";
    /// Folder of the run, below `runs/`.
    pub const RUN: &str = "run";
    /// The condition.
    pub const CONDITION: &str = "condition";
    /// The arm.
    pub const ARM: &str = "arm";
    /// Seed of initialisation, sampling and order.
    pub const SEED: &str = "seed";
    /// The split tested on.
    pub const SPLIT: &str = "split";
    /// Whether that split is the shifted one.
    pub const SHIFTED: &str = "shifted";
    /// Name of the metric.
    pub const METRIC: &str = "metric";
    /// The student's score, 0 to 1.
    pub const ACCURACY: &str = "accuracy";
    /// Floor: always the commonest training answer.
    pub const MAJORITY: &str = "majority";
    /// Floor: the commonest training answer to the same question.
    pub const QUESTION_ONLY: &str = "question_only";
    /// Floor: classes by the text teacher's vectors alone; null where there is none. Since 1.1.
    pub const TEXT_ONLY: &str = "text_only";
    /// VCR by question, over those of which both halves are judged: share of right answers; null elsewhere. Since 1.1.
    pub const QA: &str = "qa";
    /// Share of right rationales, given the right answer. Since 1.1.
    pub const QAR: &str = "qar";
    /// Share of questions of which both are right. Since 1.1.
    pub const Q_AR: &str = "q_ar";
    /// Samples scored.
    pub const TEST_SAMPLES: &str = "test_samples";
    /// Images trained on.
    pub const IMAGES: &str = "images";
    /// Samples trained on.
    pub const SAMPLES: &str = "samples";
    /// Optimiser steps of task finetuning.
    pub const STEPS: &str = "steps";
    /// Optimiser steps of the stage before it.
    pub const ADAPT_STEPS: &str = "adapt_steps";
    /// Samples a step.
    pub const BATCH: &str = "batch";
    /// Samples that went through the student: (steps + adapt_steps) x batch.
    pub const SAMPLES_SEEN: &str = "samples_seen";
    /// Wall time of training in seconds; null where it was not written down.
    pub const WALL_SECS: &str = "wall_secs";
    /// Trained parameters of the student.
    pub const PARAMETERS: &str = "parameters";
    /// Best score on the held-out part, 0 to 1; null where nothing was held out.
    pub const HELD_OUT_SCORE: &str = "held_out_score";
    /// Step of that score.
    pub const HELD_OUT_STEP: &str = "held_out_step";

    /// Columns and types.
    pub fn schema() -> SchemaRef {
        let text = |name: &str| Field::new(name, DataType::Utf8, false);
        let count = |name: &str| Field::new(name, DataType::UInt64, false);
        let share = |name: &str| Field::new(name, DataType::Float64, false);
        let known = |name: &str| Field::new(name, DataType::Float64, true);
        versioned(
            VERSION,
            vec![
                text(RUN),
                text(CONDITION),
                text(ARM),
                count(SEED),
                text(SPLIT),
                Field::new(SHIFTED, DataType::Boolean, false),
                text(METRIC),
                share(ACCURACY),
                share(MAJORITY),
                share(QUESTION_ONLY),
                known(TEXT_ONLY),
                known(QA),
                known(QAR),
                known(Q_AR),
                count(TEST_SAMPLES),
                count(IMAGES),
                count(SAMPLES),
                count(STEPS),
                count(ADAPT_STEPS),
                count(BATCH),
                count(SAMPLES_SEEN),
                known(WALL_SECS),
                count(PARAMETERS),
                known(HELD_OUT_SCORE),
                Field::new(HELD_OUT_STEP, DataType::UInt64, true),
            ],
        )
    }
}

/// One row per prediction: of each run, on each split, each sample once. Joins [`runs`] on run and split.
pub mod predictions {
    use super::*;

    /// Table name.
    pub const NAME: &str = "predictions";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new("protocol_predictions", 1, 0);
    /// Folder of the run, below `runs/`.
    pub const RUN: &str = "run";
    /// The split.
    pub const SPLIT: &str = "split";
    /// The sample.
    pub const SAMPLE_ID: &str = "sample_id";
    /// The predicted answer.
    pub const PREDICTION: &str = "prediction";
    /// The truth as the source words it.
    pub const TRUTH: &str = "truth";
    /// Score of the prediction, 0 to 1; null without truth.
    pub const SCORE: &str = "score";

    /// Columns and types.
    pub fn schema() -> SchemaRef {
        versioned(
            VERSION,
            vec![
                Field::new(RUN, DataType::Utf8, false),
                Field::new(SPLIT, DataType::Utf8, false),
                Field::new(SAMPLE_ID, DataType::Utf8, false),
                Field::new(PREDICTION, DataType::Utf8, false),
                Field::new(TRUTH, DataType::Utf8, true),
                Field::new(SCORE, DataType::Float32, true),
            ],
        )
    }
}

/// One row per condition, split and arm: the table for people, for programs. Scores and gains are from 0 to 1.
pub mod gains {
    use super::*;

    /// Table name.
    pub const NAME: &str = "gains";
    /// Version written by this build.
    pub const VERSION: SchemaVersion = SchemaVersion::new("protocol_gains", 1, 0);
    /// The condition.
    pub const CONDITION: &str = "condition";
    /// The split tested on.
    pub const SPLIT: &str = "split";
    /// Whether that split is the shifted one.
    pub const SHIFTED: &str = "shifted";
    /// Name of the metric; empty where nothing is scored yet.
    pub const METRIC: &str = "metric";
    /// The arm.
    pub const ARM: &str = "arm";
    /// Seeds whose runs are done.
    pub const SEEDS: &str = "seeds";
    /// Mean score over these; null where there is none.
    pub const SCORE: &str = "score";
    /// Sample standard deviation of the scores; null of fewer than two.
    pub const DEVIATION: &str = "deviation";
    /// Gain of the mean score over base; null of the base itself, or where no seed of both is done.
    pub const GAIN: &str = "gain";
    /// Lower end of its paired bootstrap interval of 95 %.
    pub const GAIN_LOW: &str = "gain_low";
    /// Upper end of that.
    pub const GAIN_HIGH: &str = "gain_high";
    /// Gain over the compute-matched baseline, of arms with adaptive finetuning.
    pub const MATCHED: &str = "matched";
    /// Lower end of its interval.
    pub const MATCHED_LOW: &str = "matched_low";
    /// Upper end of that.
    pub const MATCHED_HIGH: &str = "matched_high";

    /// Columns and types, in the order of the protocol.
    pub fn schema() -> SchemaRef {
        let text = |name: &str| Field::new(name, DataType::Utf8, false);
        let known = |name: &str| Field::new(name, DataType::Float64, true);
        versioned(
            VERSION,
            vec![
                text(CONDITION),
                text(SPLIT),
                Field::new(SHIFTED, DataType::Boolean, false),
                text(METRIC),
                text(ARM),
                Field::new(SEEDS, DataType::UInt64, false),
                known(SCORE),
                known(DEVIATION),
                known(GAIN),
                known(GAIN_LOW),
                known(GAIN_HIGH),
                known(MATCHED),
                known(MATCHED_LOW),
                known(MATCHED_HIGH),
            ],
        )
    }
}

/// A run of a protocol that did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Folder of the run, below `runs/`.
    pub run: String,
    /// The arm.
    pub arm: String,
    /// The conditions that it serves.
    pub conditions: Vec<String>,
    /// Its seed.
    pub seed: u64,
    /// What failed: `train`, or `eval` with the split.
    pub doing: String,
    /// How it ended: an exit code or a signal.
    pub how: String,
    /// The last lines that it wrote to stderr.
    pub stderr: Vec<String>,
}
