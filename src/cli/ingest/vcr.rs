//! `retort ingest vcr`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::IngestOptions;

/// VCR and its rewrites: an annotation file, images with their metadata; both may be the published zip archives
///
/// One call adds one split; run again, it continues. A question gives a sample of Q->A and one of QA->R; without labels,
/// one of QA->R for each answer. What cannot be used becomes a row of `rejects`, with the reason.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  retort ingest vcr --annotations vcr1annots.zip --images vcr1images.zip \\
      --split val --out vcr/")]
pub struct IngestVcr {
    /// Annotation file, a record a line, plain or gzip; or the zip archive that it is in
    #[arg(long, value_name = "FILE")]
    pub annotations: PathBuf,
    /// Which member of that archive: its path or file name; by default SPLIT.jsonl
    #[arg(long, value_name = "NAME")]
    pub member: Option<String>,
    /// Folder vcr1images or the one it is in, or the zip archive of it: images and their metadata
    #[arg(long, value_name = "FOLDER|ZIP")]
    pub images: PathBuf,
    /// Which samples are made
    #[arg(long, value_enum, default_value_t)]
    pub task: VcrTask,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub options: IngestOptions,
}

/// Tasks of VCR.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum VcrTask {
    /// Choose the answer
    Qa,
    /// Choose the rationale of the right answer
    Qar,
    /// Both
    #[default]
    Both,
}
