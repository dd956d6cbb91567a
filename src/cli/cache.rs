//! `retort cache` and `retort export`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::SummaryFormat;

/// What is done with whole caches.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "clap would take it for the help, which is at the options")]
pub enum Cache {
    Ls(CacheLs),
    Rm(CacheRm),
    Copy(CacheCopy),
    Diff(CacheDiff),
}

/// List the teachers of a data set: what they are, how much there is of them
///
/// From the manifests, at once.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  retort cache ls vqa/")]
pub struct CacheLs {
    /// The data set
    pub dataset: PathBuf,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: SummaryFormat,
}

/// Remove a teacher's features, without asking
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  retort cache rm vqa/ clip@1a2b3c4d")]
pub struct CacheRm {
    /// The data set
    pub dataset: PathBuf,
    /// NAME, or NAME@FINGERPRINT where there are several
    pub teacher: String,
}

/// Copy a teacher's features beside another data set of the same rows, every byte checked; run again, it continues
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  retort cache copy vqa/ clip /mnt/vqa/")]
pub struct CacheCopy {
    /// The data set
    pub dataset: PathBuf,
    /// NAME, or NAME@FINGERPRINT where there are several
    pub teacher: String,
    /// The data set to copy into
    #[arg(value_name = "OTHER_DATASET")]
    pub other: PathBuf,
}

/// Compare the features of two teachers row by row; exit 1 when they differ
///
/// A cosine does not see a change of scale: the largest absolute difference of two elements, printed beside it, does.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  retort cache diff vqa/ clip@1a2b3c4d clip@5e6f7a8b --cosine 0.999")]
pub struct CacheDiff {
    /// The data set
    pub dataset: PathBuf,
    /// A teacher of it: NAME, or NAME@FINGERPRINT where there are several
    #[arg(value_name = "A")]
    pub first: String,
    /// Another, or one of the other data set
    #[arg(value_name = "B")]
    pub second: String,
    /// The data set of the second teacher, if it is another
    #[arg(long, value_name = "OTHER_DATASET")]
    pub other: Option<PathBuf>,
    /// Least cosine of two vectors that count as the same
    #[arg(long, default_value_t = 0.9999)]
    pub cosine: f64,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t)]
    pub format: SummaryFormat,
}

/// Write a teacher's features in the layout of another tool
///
/// clip-retrieval: img_emb/, text_emb/ and metadata/, row i of all one pair, vectors of norm 1; images and texts only.
/// webdataset: tar shards of KEY.image.npy, KEY.text.npy, KEY.patches.npy, KEY.tokens.npy with KEY.spans.npy, and KEY.json;
/// all but words. safetensors: one file a table, vectors and ids; of tokens, offsets and spans too; of words, the words.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  retort export vqa/ --teacher clip --format clip-retrieval --out clip-vqa/")]
pub struct Export {
    /// The data set
    pub dataset: PathBuf,
    /// NAME, or NAME@FINGERPRINT where there are several
    #[arg(long, value_name = "NAME")]
    pub teacher: String,
    /// The layout
    #[arg(long, value_enum)]
    pub format: ExportLayout,
    /// These tables only, of images, patches, texts, tokens, words; otherwise all that the layout has a place for
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',')]
    pub tables: Vec<String>,
    /// The folder to write into
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// This split only
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
    /// Write into a folder that is not empty; the files of an earlier export go, others stay
    #[arg(long)]
    pub force: bool,
}

/// Layout of an export.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ExportLayout {
    ClipRetrieval,
    Webdataset,
    Safetensors,
}
