//! `retort ingest snli-ve`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::IngestOptions;

/// SNLI-VE and its corrected versions e-SNLI-VE and e-SNLI-VE-2.0
///
/// The premise is the image: the caption that SNLI has in its place is never used. The classes are entailment, neutral
/// and contradiction. What cannot be used becomes a row of `rejects`, with the reason.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  retort ingest snli-ve --pairs snli_ve_dev.jsonl --images flickr30k_images/ \\
      --train-val-list flickr30k_train_val.lst --part dev --split dev --out snli_ve/")]
pub struct IngestSnliVe {
    /// File of pairs: jsonl, the JSON of LAVIS, the CSV of e-SNLI-VE or the TSV of e-SNLI-VE-2.0, plain or gzip; given
    /// several times, the files are read end to end
    #[arg(long, value_name = "FILE", required = true)]
    pub pairs: Vec<PathBuf>,
    /// Folder of the Flickr30k images, each named ID.jpg
    #[arg(long, value_name = "FOLDER")]
    pub images: PathBuf,
    /// List of the images of the split, such as flickr30k_test.lst: pairs about others are left out
    #[arg(long, value_name = "FILE", conflicts_with = "train_val_list")]
    pub ids: Option<PathBuf>,
    /// flickr30k_train_val.lst, of which the last 1,000 are the development part
    #[arg(long, value_name = "FILE", requires = "part")]
    pub train_val_list: Option<PathBuf>,
    /// Part of --train-val-list
    #[arg(long, value_enum, requires = "train_val_list")]
    pub part: Option<TrainOrDev>,
    /// CSV of two columns, from Flickr30k ids to the file names of images that are named otherwise
    #[arg(long, value_name = "FILE")]
    pub id_map: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub options: IngestOptions,
}

/// A part of the images that are not for testing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TrainOrDev {
    /// All but the last 1,000
    Train,
    /// The last 1,000
    Dev,
}
