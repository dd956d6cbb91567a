//! `retort ingest img2dataset`.

use std::path::PathBuf;

use clap::Args;

use super::{IngestOptions, Texts};

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
