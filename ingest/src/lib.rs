//! Image-text data sets into Parquet shards.
//!
//! A source is ingested once: its annotations are matched, its images read, checked and hashed, and everything is
//! written as the first columns of a data set (`images`, `texts`, `samples`, `rejects`). Nothing above this crate
//! opens an annotation file or an image again.
//!
//! ```text
//!  questions.json(.gz)   annotations.json(.gz)   answers.json      images/
//!         |                      |                    |               |
//!         +--- records ----------+---- vocabulary ----+               |
//!                 |    match by question id                           |
//!                 v                                                   |
//!     runs of source images, in order of first appearance             |
//!                 |                                                   v
//!                 |  a shard at a time         read, hash, decode in parallel
//!                 v                                                   |
//!        images, texts, samples, rejects  <---------------------------+
//!                 |
//!                 v
//!        retort_cache::DatasetWriter      commits the shard: killed after it, the next run goes on behind it
//! ```
//!
//! * [`ingest_vqa`] reads VQA v1 and v2, and VQA-CP.
//! * [`AnswerPlan`] says where the answer vocabulary comes from.
//! * [`RejectLimit`] says how many lost records are too many. One bad record never stops a run.
//!
//! What is written depends on the content of the input files and on the options alone: not on where the files lie, on
//! the number of threads, or on how often the run was killed.

mod error;
mod images;
mod json;
mod pattern;
mod rejects;
mod report;
mod shard;
mod vocabulary;
mod vqa;

pub use error::{Error, Result};
pub use pattern::COCO_PATTERN;
pub use rejects::RejectLimit;
pub use report::IngestReport;
pub use vocabulary::{AnswerPlan, DEFAULT_MIN_COUNT};
pub use vqa::{DEFAULT_SHARD_IMAGES, VqaSource, ingest_vqa};
