//! A teacher's features in the layouts of other tools.
//!
//! ```text
//! clip-retrieval   img_emb/img_emb_0.npy, text_emb/text_emb_0.npy   [rows, width], of norm 1
//!                  metadata/metadata_0.parquet                      row i of all three is one pair
//! webdataset       SHARD.tar: KEY.image.npy, KEY.text.npy [width], KEY.patches.npy [patches, width],
//!                  KEY.tokens.npy [tokens, width], KEY.spans.npy u32 [tokens, 2], KEY.json, one key a pair
//! safetensors      images.safetensors, texts.safetensors: embedding [rows, width], ids u8 [rows, 16]
//!                  patches.safetensors: grid [rows, patches, width], ids u8 [rows, 16]
//!                  tokens.safetensors: tokens [tokens, width], spans u32 [tokens, 2], ids u8 [rows, 16],
//!                  words.safetensors: isolated, prompt [words, width], words u8 [bytes], of both
//!                  offsets i64 [rows + 1]: row i has the tokens, or the bytes, from offsets[i] to offsets[i + 1]
//! ```
//!
//! A table for which a layout has no place is refused where it was asked for by name, and else left out ([`place`]).
//!
//! A *pair* is a sample's image with one of its texts. Where a teacher has features of images alone, or of texts alone,
//! or the data set has no rows of one of them, each image or text is a row.

mod clip_retrieval;
mod npy;
mod place;
mod rows;
mod safetensors;
mod target;
mod webdataset;

use std::path::Path;

use retort_schemas::manifest::Shard;
use serde::Serialize;

use crate::{Dataset, Error, Interrupt, Progress, Result, TeacherCache};
use target::Target;

/// Layout of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExportFormat {
    /// Folders of `.npy` and metadata, as clip-retrieval writes and autofaiss reads.
    ClipRetrieval,
    /// Tar shards, as WebDataset reads.
    Webdataset,
    /// One file a table.
    Safetensors,
}

/// What to export and where to.
#[derive(Debug, Clone, Copy)]
pub struct Export<'a> {
    /// The data set.
    pub dataset: &'a Dataset,
    /// One of its teachers.
    pub teacher: &'a TeacherCache,
    /// The split; all of them if none.
    pub split: Option<&'a str>,
    /// The tables of the teacher; all that it has and the layout has a place for if none.
    pub tables: &'a [String],
    /// The layout.
    pub format: ExportFormat,
    /// The folder; made if need be.
    pub out: &'a Path,
    /// Whether to write into a folder that holds something. Files of an earlier export go, others stay.
    pub force: bool,
}

/// What was exported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Files, relative to the folder.
    pub files: Vec<String>,
    /// Rows: pairs, images or texts; of safetensors, those of all tables together.
    pub rows: u64,
    /// Tables of the teacher that the layout has no place for.
    pub left_out: Vec<&'static str>,
    /// Samples that have no text, and are in no pair.
    pub skipped: u64,
}

/// An export under way.
struct Job<'a> {
    export: &'a Export<'a>,
    shards: Vec<Shard>,
    /// The tables that are exported.
    tables: Vec<&'static str>,
    progress: &'a dyn Progress,
    interrupt: &'a Interrupt,
}

/// Exports a teacher's features. Each file appears whole or not at all, and `export.json` in the folder, which names them,
/// says `"complete": true` once all are there.
///
/// # Errors
/// [`Error::NotEmpty`] if the folder holds something and `force` is not set; [`Error::NotExportable`] if the teacher lacks
/// features of a shard, or has none that the layout holds, or if a table was asked for that the layout has no place for; [`Error::Locked`] if another export writes there;
/// [`Error::Interrupted`]; else as reading the tables.
pub fn export(export: &Export<'_>, progress: &dyn Progress, interrupt: &Interrupt) -> Result<Exported> {
    let shards: Vec<Shard> = match export.split {
        Some(split) => export.dataset.split_shards(split)?.collect::<Result<_>>()?,
        None => export.dataset.shards().collect::<Result<_>>()?,
    };
    let (tables, left_out) = place::choose(export, &shards)?;
    let job = Job { export, shards, tables, progress, interrupt };
    let files = match export.format {
        ExportFormat::ClipRetrieval => clip_retrieval::files(&job),
        ExportFormat::Webdataset => webdataset::files(&job),
        ExportFormat::Safetensors => safetensors::files(&job),
    };
    let target = Target::prepare(export, files)?;
    let mut exported = match export.format {
        ExportFormat::ClipRetrieval => clip_retrieval::write(&job),
        ExportFormat::Webdataset => webdataset::write(&job),
        ExportFormat::Safetensors => safetensors::write(&job),
    }?;
    exported.files = target.finish(export)?;
    exported.left_out = left_out;
    progress.end();
    Ok(exported)
}

impl Job<'_> {
    /// Whether a table of the teacher is exported.
    fn has(&self, table: &str) -> bool {
        self.tables.contains(&table)
    }

    /// Rows of a table of the data set, over the shards.
    fn rows(&self, table: &str) -> u64 {
        self.shards.iter().map(|shard| shard.rows(table)).sum()
    }

    fn refuse(&self, problem: &str) -> Error {
        Error::NotExportable { path: self.export.teacher.folder().to_owned(), problem: problem.to_owned() }
    }
}
