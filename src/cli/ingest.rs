//! `retort ingest`: one subcommand a source, with the options that all of them share.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use retort_ingest::{COCO_PATTERN, DEFAULT_MIN_COUNT, DEFAULT_REGION_WIDTH, DEFAULT_SHARD_IMAGES, RejectLimit};

use super::SummaryFormat;

/// The sources that can be ingested.
#[derive(Debug, Subcommand)]
pub enum Ingest {
    #[command(visible_alias = "vqa-cp")]
    Vqa(IngestVqa),
}

/// What every source takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every source")]
pub struct IngestOptions {
    /// Name of the split
    #[arg(long, value_name = "NAME")]
    pub split: String,
    /// The data set to make or add to
    #[arg(long, value_name = "DATASET")]
    pub out: PathBuf,
    /// Source images a shard
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SHARD_IMAGES)]
    pub shard_images: usize,
    /// The first N images only, with everything said about them
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// A share of the images, such as 0.1 or 10%, drawn by --seed; a smaller share is part of a larger one
    #[arg(long, value_name = "P", value_parser = share)]
    pub sample: Option<f64>,
    /// Seed of --sample
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Detector's boxes and features: a folder with one .npz or .npy file an image, or a .tsv file of bottom-up
    /// attention; may be given several times
    #[arg(long, value_name = "PATH")]
    pub regions: Vec<PathBuf>,
    /// Names of the detector's classes, one a line, without the background
    #[arg(long, value_name = "FILE", requires = "regions")]
    pub region_classes: Option<PathBuf>,
    /// Elements of a detector's feature vector
    #[arg(long, value_name = "N", default_value_t = DEFAULT_REGION_WIDTH)]
    pub region_width: usize,
    /// Stop when more records than this are lost: a number or a percentage such as 5%
    #[arg(long, value_name = "N|P%")]
    pub max_rejects: Option<RejectLimit>,
    /// Replace the split if it is there already; the features that teachers made of it go with it
    #[arg(long)]
    pub force: bool,
    /// Print the counts as JSON
    #[arg(long, value_enum, default_value_t)]
    pub format: SummaryFormat,
}

/// Reads `0.1` or `10%`.
fn share(word: &str) -> Result<f64, String> {
    let number = match word.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|percent| percent / 100.0),
        None => word.parse(),
    };
    number.map_err(|_| format!("expected a share such as 0.1 or 10%, found {word:?}"))
}

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
