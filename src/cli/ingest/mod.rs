//! `retort ingest`: one subcommand a source, with the options that all of them share.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use retort_ingest::{DEFAULT_REGION_WIDTH, DEFAULT_SHARD_IMAGES, ImageFormatOption, ImageMode, RejectLimit, TextRule};

use super::SummaryFormat;

mod captions;
mod folder;
mod img2dataset;
mod jsonl;
mod snli_ve;
mod vcr;
mod vqa;
mod webdataset;

pub use captions::*;
pub use folder::*;
pub use img2dataset::*;
pub use jsonl::*;
pub use snli_ve::*;
pub use vcr::*;
pub use vqa::*;
pub use webdataset::*;

/// The sources that can be ingested.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "clap would take it for the help, which is at the options")]
pub enum Ingest {
    Vcr(IngestVcr),
    SnliVe(IngestSnliVe),
    #[command(visible_alias = "vqa-cp")]
    Vqa(IngestVqa),
    #[command(visible_alias = "coco")]
    Captions(IngestCaptions),
    #[command(name = "webdataset")]
    WebDataset(IngestWebDataset),
    #[command(name = "img2dataset")]
    Img2Dataset(IngestImg2Dataset),
    Folder(IngestFolder),
    Jsonl(IngestJsonl),
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
    /// Bring the shorter side of larger images down to N pixels; smaller ones are not enlarged
    #[arg(long, value_name = "original|N", default_value = "original")]
    pub image_size: ImageSize,
    /// Store images as original, jpeg:Q, webp:Q or png; those that need no change keep their bytes
    #[arg(long, value_name = "FORMAT", default_value_t)]
    pub image_format: ImageFormatOption,
    /// How images are made smaller: exact as Pillow, or fast, which decodes large JPEG files at a fraction of their size
    #[arg(long, value_name = "exact|fast", default_value_t)]
    pub image_mode: ImageMode,
    /// Keep images that are cut short, as far as they go; `rejects` names them
    #[arg(long)]
    pub keep_truncated: bool,
    /// Keep images that are not there as rows without bytes, so that their samples stay
    #[arg(long)]
    pub allow_missing_images: bool,
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
    /// Say what would be read and written, without opening an image, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How to print the counts
    #[arg(long, value_enum, default_value_t)]
    pub format: SummaryFormat,
}

/// Reads `original` or a number of pixels.
#[derive(Debug, Clone, Copy)]
pub struct ImageSize(pub Option<u32>);

impl FromStr for ImageSize {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        if word == "original" {
            return Ok(Self(None));
        }
        let pixels = word.parse().ok().filter(|pixels| *pixels > 0);
        let pixels = pixels.ok_or_else(|| format!("expected original or a number of pixels, found {word:?}"))?;
        Ok(Self(Some(pixels)))
    }
}

/// Reads `0.1` or `10%`.
fn share(word: &str) -> Result<f64, String> {
    let number = match word.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|percent| percent / 100.0),
        None => word.parse(),
    };
    number.map_err(|_| format!("expected a share such as 0.1 or 10%, found {word:?}"))
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
