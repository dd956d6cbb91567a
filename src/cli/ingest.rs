//! `retort ingest`: one subcommand a source, with the options that all of them share.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use retort_ingest::{
    COCO_PATTERN, DEFAULT_MIN_COUNT, DEFAULT_SHARD_IMAGES, IMAGE_SUFFIXES, JSON_SUFFIX, LABEL_SUFFIX, RejectLimit,
    TEXT_SUFFIXES, TextRule,
};

use super::SummaryFormat;

/// The sources that can be ingested.
#[derive(Debug, Subcommand)]
pub enum Ingest {
    #[command(visible_alias = "vqa-cp")]
    Vqa(IngestVqa),
    #[command(name = "webdataset", visible_alias = "wds")]
    WebDataset(IngestWebDataset),
    #[command(name = "img2dataset")]
    Img2Dataset(IngestImg2Dataset),
    Folder(IngestFolder),
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

/// What becomes of an image without a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Texts {
    /// It is rejected
    #[default]
    Required,
    /// It becomes a sample without texts
    Optional,
    /// Texts are not read at all
    Ignored,
}

impl From<Texts> for TextRule {
    fn from(texts: Texts) -> Self {
        match texts {
            Texts::Required => Self::Required,
            Texts::Optional => Self::Optional,
            Texts::Ignored => Self::Ignored,
        }
    }
}

/// WebDataset: tar archives, plain, gzip or zstd, whose adjacent members of one key are a sample
///
/// A key ends at the first dot of a member's base name; what follows is its suffix. A sample needs an image, and a text
/// or a label. One call adds one split; run again, it continues. What cannot be used becomes a row of `rejects`, with the
/// reason.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  retort ingest webdataset 'data/{00000..00012}.tar' --split train --out photos/")]
pub struct IngestWebDataset {
    /// Archives in order: paths with ranges {00000..00012}, lists {a,b} and * ? [...]; quote them for the shell
    #[arg(required = true, value_name = "ARCHIVE")]
    pub archives: Vec<String>,
    /// Suffixes of images; the first image of a sample is its image [default: jpg,jpeg,png,webp,gif,bmp,tif,tiff]
    #[arg(long, value_name = "SUFFIX", value_delimiter = ',', default_values = IMAGE_SUFFIXES, hide_default_value = true)]
    pub image_suffix: Vec<String>,
    /// Suffixes of texts; the first that a sample has is its text [default: txt,caption]
    #[arg(long, value_name = "SUFFIX", value_delimiter = ',', default_values = TEXT_SUFFIXES, hide_default_value = true)]
    pub text_suffix: Vec<String>,
    /// Suffix of labels: a whole number, or a name with --classes
    #[arg(long, value_name = "SUFFIX", default_value = LABEL_SUFFIX)]
    pub label_suffix: String,
    /// Suffix of metadata, for --json-text and --json-label
    #[arg(long, value_name = "SUFFIX", default_value = JSON_SUFFIX)]
    pub json_suffix: String,
    /// Fields of the metadata that hold a text or a list of texts, instead of members with a --text-suffix
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    pub json_text: Vec<String>,
    /// Field of the metadata that holds the label, instead of a member with the --label-suffix
    #[arg(long, value_name = "FIELD")]
    pub json_label: Option<String>,
    /// Names of the classes: a JSON list in class order, or an object from name to class
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,
    /// What becomes of an image without text and label
    #[arg(long, value_enum, default_value_t)]
    pub texts: Texts,
    /// Take each line of a text as a text of its own
    #[arg(long)]
    pub text_lines: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub options: IngestOptions,
}

/// The output folder of img2dataset, in any of its formats: webdataset, files, parquet
///
/// Downloads that failed become rows of `rejects`, with the reason that img2dataset gives. One call adds one split; run
/// again, it continues.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  retort ingest img2dataset cc3m/ --split train --out cc3m-retort/")]
pub struct IngestImg2Dataset {
    /// Folder with 00000.tar, 00000.parquet or 00000/
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Column of the metadata to take texts from, in any case [default: the caption file, else txt, caption, text]
    #[arg(long, value_name = "COLUMN")]
    pub caption: Option<String>,
    /// What becomes of an image without text
    #[arg(long, value_enum, default_value_t)]
    pub texts: Texts,
    /// Reject images whose bytes differ from the hash in the metadata. It is the hash of the download: use this only
    /// where img2dataset neither resized nor encoded again
    #[arg(long)]
    pub check_hashes: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub options: IngestOptions,
}

/// A folder of images, each with its text beside it: a.jpg with a.txt, a.caption or a.json
///
/// Folders below it are read, too, in the order of names; hidden ones are not. One call adds one split; run again, it
/// continues. What cannot be used becomes a row of `rejects`, with the reason.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  retort ingest folder photos/ --texts optional --split all --out photos-retort/")]
pub struct IngestFolder {
    /// The folder
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// What becomes of an image without text
    #[arg(long, value_enum, default_value_t)]
    pub texts: Texts,
    /// Take each line of a text file as a text of its own
    #[arg(long)]
    pub text_lines: bool,
    /// Fields of a JSON file that hold a text or a list of texts, instead of text files [default: caption, else text]
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    pub json_text: Vec<String>,
    /// Follow links to folders
    #[arg(long)]
    pub follow_links: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub options: IngestOptions,
}
