//! Students distilled from the cache: Multimodal Adaptive Distillation, no teacher in the loop.
//!
//! ```text
//! DATASET shards  --\                                      /--> student --> views, logits
//!                    zip --> shuffle --> prepare --> Batch                     |
//! cache/<teacher> --/   (stream, a background thread)      \--> z_v, z_t, words |
//!                                                                    |          v
//!                        L = L_task + w(x) [ l_v L_v + l_t (L_t + L_TS) ]   (losses, selection, confidence)
//!                                                                    |
//!                        AdamW --> checkpoint (weights, moments, step) --> RUN/
//! ```
//!
//! Before it there may be a stage without labels (`adapt.rs`): adaptive finetuning, or masked-language modelling.
//!
//! Read [`losses`], [`selection`] and [`confidence`] beside the paper: each formula is one function. [`train`] is the
//! loop, [`evaluate()`] the scoring; [`students`] holds one module a student.
//! [`protocol`] compares many runs.
//!
//! Everything random is a pure function of the seed and of where training is (step, epoch, sample), so a run that is
//! stopped and started again ends, on the CPU, with the same bits as one that was not.

mod adamw;
mod adapt;
pub mod adversarial;
mod balance;
mod checkpoint;
pub mod confidence;
mod controls;
mod descent;
mod environment;
mod error;
mod evaluate;
mod events;
mod exact;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod formulas;
pub mod losses;
mod masking;
mod metrics;
mod patches;
mod prepare;
mod probe;
pub mod protocol;
mod recipe;
mod record;
mod regions;
mod run;
mod sampling;
mod scoring;
mod seeds;
pub mod selection;
mod step;
mod stream;
pub mod students;
mod tasks;
mod vocabulary;
mod watch;
mod word_scores;
mod zipped;

pub use error::{Error, Result};
pub use evaluate::{Evaluated, PredictionsFormat, TextOnlyFound, TextProbe, evaluate, evaluate_on, join_by_question};
pub use recipe::{
    AdaptMode, Arm, ChoiceLoss, ConfidenceForm, ConfidenceSource, Control, Decay, Distance, Export, Fit, Positions,
    Recipe, SelectMode, Shots, Side, StudentKind, Target,
};
pub use run::{Outcome, train};
pub use sampling::{Candidate, draw};
pub use word_scores::{WordScorer, WordsScored};
