//! `retort ingest captions`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use retort_ingest::CaptionLayout;

use super::IngestOptions;

/// Captions: Flickr8k, Flickr30k, COCO, Karpathy's splits, tables of images and captions
///
/// One sample a caption, without a label. What cannot be used becomes a row of `rejects`, with the reason.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  retort ingest captions --file Flickr8k.token.txt --images Flicker8k_Dataset/ \\
      --ids Flickr_8k.trainImages.txt --split train --out flickr8k/\n  retort ingest captions \\
      --file dataset_coco.json --part train --part restval --images coco/ --split train --out coco_captions/")]
pub struct IngestCaptions {
    /// File of captions, plain or gzip: CSV or TSV with a header, .token, Karpathy's JSON, COCO's JSON, or jsonl
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
    /// Folder of the images
    #[arg(long, value_name = "FOLDER")]
    pub images: PathBuf,
    /// How the file is laid out; by default its content tells
    #[arg(long, value_enum)]
    pub layout: Option<Layout>,
    /// Part of a Karpathy file, such as train, restval, val or test; may be given several times
    #[arg(long = "part", value_name = "PART")]
    pub parts: Vec<String>,
    /// List of the images of the split, such as Flickr_8k.trainImages.txt: captions of others are left out
    #[arg(long, value_name = "FILE")]
    pub ids: Option<PathBuf>,
    /// COCO's instances JSON: its boxes become regions of the images
    #[arg(long, value_name = "FILE")]
    pub instances: Option<PathBuf>,
    /// Column or field of the image, where it is not named as usual (image, filename, file_name, filepath, ...)
    #[arg(long, value_name = "NAME")]
    pub image_column: Option<String>,
    /// Column or field of the caption, where it is not named as usual (caption, text, title, ...)
    #[arg(long, value_name = "NAME")]
    pub caption_column: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub options: IngestOptions,
}

/// How a file of captions is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// Table with a header, divided by commas
    Csv,
    /// Table with a header, divided by tabs
    Tsv,
    /// name.jpg#0, a tab, the caption
    Token,
    /// dataset_coco.json, dataset_flickr8k.json, dataset_flickr30k.json
    Karpathy,
    /// captions_train2017.json and the like
    Coco,
    /// One JSON object a line, or a JSON list
    Jsonl,
}

impl From<Layout> for CaptionLayout {
    fn from(layout: Layout) -> Self {
        match layout {
            Layout::Csv => Self::Csv,
            Layout::Tsv => Self::Tsv,
            Layout::Token => Self::Token,
            Layout::Karpathy => Self::Karpathy,
            Layout::Coco => Self::Coco,
            Layout::Jsonl => Self::Jsonl,
        }
    }
}
