//! `retort ingest folder`.

use std::path::PathBuf;

use clap::Args;

use super::{IngestOptions, Texts};

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
