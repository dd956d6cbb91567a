//! `retort ingest webdataset`.

use std::path::PathBuf;

use clap::Args;
use retort_ingest::{IMAGE_SUFFIXES, JSON_SUFFIX, LABEL_SUFFIX, TEXT_SUFFIXES};

use super::{IngestOptions, Texts};

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
