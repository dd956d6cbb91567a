//! `retort ingest vqa`.

use std::path::PathBuf;

use clap::Args;
use retort_ingest::{COCO_PATTERN, DEFAULT_MIN_COUNT};

use super::IngestOptions;

/// VQA v1, v2 and VQA-CP: a question file, an annotation file, a folder of images
///
/// One call adds one split; run again, it continues. What cannot be used becomes a row of `rejects`, with the reason.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  retort ingest vqa --questions v2_OpenEnded_mscoco_train2014_questions.json \\
      --annotations v2_mscoco_train2014_annotations.json --images coco/ --split train --out vqa/")]
pub struct IngestVqa {
    /// Question file, plain or gzip
    #[arg(long, value_name = "FILE")]
    pub questions: PathBuf,
    /// Annotation file, plain or gzip; a split without one has no labels
    #[arg(long, value_name = "FILE")]
    pub annotations: Option<PathBuf>,
    /// Folder of the images
    #[arg(long, value_name = "FOLDER")]
    pub images: PathBuf,
    /// Path of an image in that folder: {subtype}, {id} and {id:012} are filled in
    #[arg(long, value_name = "PATTERN", default_value = COCO_PATTERN)]
    pub image_pattern: String,
    /// Answer vocabulary: a JSON list in class order, or an object from answer to class; by default the data set's
    /// own, else one built from this split
    #[arg(long, value_name = "FILE")]
    pub answers: Option<PathBuf>,
    /// Questions that an answer needs to enter a vocabulary that is built
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MIN_COUNT)]
    pub min_answer_count: usize,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub options: IngestOptions,
}
