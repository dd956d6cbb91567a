//! Image-text data sets into Parquet shards.
//!
//! A source is ingested once: its annotations are matched, its images read, checked and hashed, and everything is
//! written as the first columns of a data set (`images`, `texts`, `samples`, `rejects`). Nothing above this crate
//! opens an annotation file or an image again.
//!
//! ```text
//!  annotation files, archives                       image folders, archives
//!         |                                                   |
//!         v   sources/<format>: records by image, rejects     |
//!  Source::items                                              |
//!         |                                                   v
//!         v   ingest: runs of source images         read, hash, decode in parallel
//!  a shard at a time                                          |
//!         |                                                   |
//!         v                                                   |
//!  images, regions, texts, samples, rejects  <----------------+
//!         |
//!         v
//!  retort_cache::DatasetWriter      commits the shard: killed after it, the next run goes on behind it
//! ```
//!
//! * [`ingest()`] takes any [`Source`]: [`Vcr`], [`SnliVe`], [`Vqa`], [`Captions`], [`WebDataset`], [`Img2Dataset`],
//!   [`Folder`], and with a mapping any other records: [`Jsonl`]; [`dry_run`] only says what it would do.
//! * [`DetectedRegions`] puts a detector's boxes and features beside the images of any source.
//! * [`AnswerPlan`] says where the answer vocabulary comes from.
//! * [`ImageOptions`] say how images are stored: as found, or smaller, or encoded again.
//! * [`shift()`] makes shifted splits of those that are there.
//! * [`RejectLimit`] says how many lost records are too many. One bad record never stops a run.
//!
//! What is written depends on the content of the input files and on the options alone: not on where the files lie, on
//! the number of threads, or on how often the run was killed.

mod columns;
mod error;
mod fingerprint;
mod folder;
mod formats;
#[doc(hidden)]
pub mod fuzzing;
mod grouped;
mod image_options;
mod images;
mod ingest;
mod plain;
mod plan;
mod regions;
mod rejects;
mod report;
mod selection;
mod shard;
mod shift;
mod sidecars;
mod source;
mod sources;
mod vocabulary;

pub use error::{Error, Result};
pub use image_options::{ImageFormatOption, ImageMode, ImageOptions};
pub use ingest::{DEFAULT_SHARD_IMAGES, Options, ingest};
pub use plan::{DryRun, dry_run};
pub use regions::{DEFAULT_REGION_WIDTH, DetectedRegions, RegionFiles};
pub use rejects::{Code, Reject, RejectLimit, Stage};
pub use report::IngestReport;
pub use selection::Selection;
pub use shift::{Divergence, Kind as ShiftKind, ShiftReport, shift, shifted_names};
pub use sidecars::TextRule;
pub use source::{
    ImageBytes, ImageStore, Item, Items, LostImage, ObjectReference, Record, Region, RegionFeatures, Regions, Source,
    SourceImage, Text,
};
pub use sources::{
    COCO_PATTERN, CaptionFiles, CaptionLayout, Captions, Folder, FolderFiles, IMAGE_SUFFIXES, Img2Dataset,
    Img2DatasetFiles, JSON_SUFFIX, Jsonl, JsonlFiles, LABEL_SUFFIX, SnliVe, SnliVeFiles, SnliVePart, TEXT_SUFFIXES,
    Vcr, VcrFiles, VcrTasks, Vqa, VqaFiles, WebDataset, WebDatasetFiles,
};
pub use vocabulary::{AnswerPlan, DEFAULT_MIN_COUNT, Vocabulary};
