//! The output of img2dataset: shards of downloaded images with their captions, in any of its three formats.
//!
//! ```text
//! FOLDER/00000.tar      + 00000.parquet     format webdataset: the archive has the images, the table the failures, too
//! FOLDER/00000/         + 00000.parquet     format files: the same, with a folder of files
//! FOLDER/00000.parquet                      format parquet: the table has the images in a binary column
//! FOLDER/00000_stats.json                   written last: a shard without it is unfinished
//! ```

mod metadata;
mod shard;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use retort_cache::Error as CacheError;
use retort_schemas::manifest::AnswerVocabulary;
use serde_json::json;

use self::shard::Shard;
use crate::fingerprint::Fingerprint;
use crate::formats::tar::OpenArchive;
use crate::sidecars::TextRule;
use crate::source::{Item, Items};
use crate::{Error, Result, Source, Vocabulary};

/// The output of img2dataset.
#[derive(Debug, Clone)]
pub struct Img2DatasetFiles {
    /// Its output folder.
    pub folder: PathBuf,
    /// Column of the metadata to take texts from, in any case. By default the caption file beside an image or the
    /// column `txt`, else the column `caption` or `text`.
    pub caption: Option<String>,
    /// Whether images need a text.
    pub texts: TextRule,
    /// Whether the bytes of an image must have the hash that its metadata gives. It is the hash of the download, before
    /// img2dataset resized or encoded it again: only where it did neither are the stored bytes the downloaded ones.
    pub check_hashes: bool,
}

impl Img2DatasetFiles {
    /// This folder, read as usual.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), caption: None, texts: TextRule::default(), check_hashes: false }
    }
}

/// The output of img2dataset, opened.
pub struct Img2Dataset {
    files: Img2DatasetFiles,
    shards: Vec<Shard>,
    fingerprint: serde_json::Value,
    store: OpenArchive,
}

impl Img2Dataset {
    /// Finds the shards.
    ///
    /// # Errors
    /// [`Error::NoShards`] if there are none, or none with images; [`retort_cache::Error`] if the folder or a file in
    /// it cannot be read.
    pub fn open(files: &Img2DatasetFiles) -> Result<Self> {
        let mut files = files.clone();
        files.caption = files.caption.map(|name| name.to_lowercase());
        let found = Found::scan(&files.folder)?;
        let mut fingerprint = Fingerprint::new();
        for (name, path) in &found.files {
            fingerprint.add(name, path)?;
        }
        for (name, path) in &found.folders {
            let mut names = entries(path)?.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
            names.sort();
            fingerprint.add_name(name);
            names.iter().for_each(|name| fingerprint.add_name(name));
        }
        let shards = found.shards();
        let no_shards = |problem: &str| Error::NoShards { path: files.folder.clone(), problem: problem.to_owned() };
        if shards.is_empty() {
            return Err(no_shards("none of its files or folders is named by a number, such as 00000.tar"));
        }
        if shards.iter().all(Shard::is_metadata_alone) {
            return Err(no_shards("its Parquet files have no column jpg, png or webp: they are metadata alone"));
        }
        Ok(Self { shards, fingerprint: fingerprint.value(), files, store: OpenArchive::default() })
    }
}

impl Source for Img2Dataset {
    fn kind(&self) -> &'static str {
        "img2dataset"
    }

    fn reads(&self) -> Vec<PathBuf> {
        vec![self.files.folder.clone()]
    }

    fn options(&self) -> serde_json::Value {
        json!({
            "shards": self.fingerprint,
            "caption": self.files.caption,
            "texts": self.files.texts.name(),
            "check_hashes": self.files.check_hashes,
        })
    }

    fn vocabulary(&self, _: &str, existing: Option<&AnswerVocabulary>) -> Result<Option<Vocabulary>> {
        Ok(existing.cloned().map(Vocabulary::new))
    }

    fn items<'a>(&'a self, _: Option<&'a Vocabulary>) -> Result<Items<'a>> {
        let shards = self.shards.iter().map(|shard| shard.items(&self.files, &self.store));
        let items = shards.flat_map(|items| -> Box<dyn Iterator<Item = Result<Item<'a>>> + Send + 'a> {
            match items {
                Ok(items) => items,
                Err(error) => Box::new(std::iter::once(Err(error))),
            }
        });
        Ok(Items { images: None, records: None, regions: false, items: Box::new(items) })
    }
}

/// What lies in the folder and is named by a number.
#[derive(Default)]
struct Found {
    /// `00000.tar`, `00000.parquet`, `00000_stats.json`.
    files: BTreeMap<String, PathBuf>,
    folders: BTreeMap<String, PathBuf>,
}

impl Found {
    fn scan(folder: &Path) -> Result<Self> {
        let mut found = Self::default();
        for (name, path) in entries(folder)? {
            let stem = name.trim_end_matches("_stats.json").trim_end_matches(".tar").trim_end_matches(".parquet");
            if stem.is_empty() || !stem.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            match (path.is_dir(), stem == name) {
                (true, true) => found.folders.insert(name, path),
                (false, false) => found.files.insert(name, path),
                _ => None,
            };
        }
        Ok(found)
    }

    /// A table beside an archive or a folder of the same number is its metadata.
    fn shards(&self) -> Vec<Shard> {
        let stems = self
            .files
            .keys()
            .filter_map(|name| name.split(['.', '_']).next())
            .chain(self.folders.keys().map(String::as_str));
        let mut names: Vec<&str> = stems.collect::<BTreeSet<_>>().into_iter().collect();
        // A shard number longer than the rest comes behind them.
        names.sort_by_key(|name| (name.trim_start_matches('0').len(), name.trim_start_matches('0').to_owned()));
        let file = |name: &str, ending: &str| self.files.get(&format!("{name}{ending}")).cloned();
        let any_stats = self.files.keys().any(|name| name.ends_with("_stats.json"));
        let shard = |name: &str| {
            let (archive, table) = (file(name, ".tar"), file(name, ".parquet"));
            Shard::of(name, archive, self.folders.get(name).cloned(), table, file(name, "_stats.json"), any_stats)
        };
        names.into_iter().filter_map(shard).collect()
    }
}

/// Names and paths of what lies in a folder; a name that is no UTF-8 is none of img2dataset.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let read = || -> std::io::Result<Vec<_>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                found.push((name, entry.path()));
            }
        }
        Ok(found)
    };
    Ok(read().map_err(CacheError::io("read", folder))?)
}
