//! WebDataset: samples as runs of tar members whose names differ in their suffix alone.

mod patterns;
mod samples;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use retort_schemas::manifest::AnswerVocabulary;
use serde_json::json;

use self::samples::Samples;
use crate::fingerprint::Fingerprint;
use crate::formats::json::SourceFile;
use crate::formats::tar::{Archive, OpenArchive};
use crate::sidecars::TextRule;
use crate::source::Items;
use crate::{Error, Result, Source, Vocabulary};

/// Suffixes of images, unless told otherwise.
pub const IMAGE_SUFFIXES: [&str; 8] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"];
/// Suffixes of texts, unless told otherwise; the first that a sample has is its text.
pub const TEXT_SUFFIXES: [&str; 2] = ["txt", "caption"];
/// Suffix of labels, unless told otherwise.
pub const LABEL_SUFFIX: &str = "cls";
/// Suffix of metadata, unless told otherwise.
pub const JSON_SUFFIX: &str = "json";

/// Archives of one split, and which of their members are what.
#[derive(Debug, Clone)]
pub struct WebDatasetFiles {
    /// Paths with braces (`{00000..00012}`, `{a,b}`) and globs, read in this order. Each archive is a tar, plain, gzip
    /// or zstd, by its content.
    pub archives: Vec<String>,
    /// Suffixes of images, usually [`IMAGE_SUFFIXES`]. A suffix is all behind the first dot of a name: `a.seg.png` is
    /// no `png`. The first image of a sample is its image.
    pub image_suffixes: Vec<String>,
    /// Suffixes of texts, usually [`TEXT_SUFFIXES`].
    pub text_suffixes: Vec<String>,
    /// Suffix of labels, usually [`LABEL_SUFFIX`].
    pub label_suffix: String,
    /// Suffix of metadata, usually [`JSON_SUFFIX`].
    pub json_suffix: String,
    /// Fields of the metadata that hold texts or lists of texts; where there are any, texts come from them alone.
    pub json_texts: Vec<String>,
    /// Field of the metadata that holds the label.
    pub json_label: Option<String>,
    /// Whether samples need a text; one with a label needs none.
    pub texts: TextRule,
    /// Whether each line of a text is a text of its own.
    pub text_lines: bool,
    /// The names of the classes, as a JSON list in class order or an object from name to class.
    pub classes: Option<PathBuf>,
}

impl WebDatasetFiles {
    /// These archives, and the usual suffixes.
    pub fn new(archives: Vec<String>) -> Self {
        Self {
            archives,
            image_suffixes: IMAGE_SUFFIXES.map(str::to_owned).to_vec(),
            text_suffixes: TEXT_SUFFIXES.map(str::to_owned).to_vec(),
            label_suffix: LABEL_SUFFIX.to_owned(),
            json_suffix: JSON_SUFFIX.to_owned(),
            json_texts: Vec::new(),
            json_label: None,
            texts: TextRule::default(),
            text_lines: false,
            classes: None,
        }
    }

    /// Suffixes are compared in lower case, without a dot before them.
    fn normalise(&mut self) {
        let plain = |suffix: &mut String| *suffix = suffix.trim_start_matches('.').to_lowercase();
        self.image_suffixes.iter_mut().chain(&mut self.text_suffixes).for_each(plain);
        plain(&mut self.label_suffix);
        plain(&mut self.json_suffix);
    }
}

/// WebDataset archives, opened.
pub struct WebDataset {
    files: WebDatasetFiles,
    archives: Vec<Named>,
    fingerprint: serde_json::Value,
    classes: Option<SourceFile>,
    store: OpenArchive,
}

/// An archive with the name that its samples bear.
struct Named {
    name: String,
    archive: Archive,
}

impl WebDataset {
    /// Finds the archives and looks at the ends of each.
    ///
    /// # Errors
    /// [`Error::NoArchive`] if one is not there; [`Error::NotATar`] if none of them is a tar;
    /// [`Error::InvalidOption`] if one is given twice; [`retort_cache::Error`] if a file cannot be read.
    pub fn open(files: &WebDatasetFiles) -> Result<Self> {
        let mut files = files.clone();
        files.normalise();
        let paths = patterns::archives(&files.archives)?;
        if paths.is_empty() {
            return Err(Error::NoArchive {
                archive: files.archives.join(" "),
                problem: "it names no archive".to_owned(),
            });
        }
        let names = names(&paths)?;
        let (mut archives, mut fingerprint) = (Vec::new(), Fingerprint::new());
        for (name, path) in names.into_iter().zip(&paths) {
            fingerprint.add(&name, path)?;
            archives.push(Named { name, archive: Archive::open(path)? });
        }
        // One that is broken is lost alone. If all are, something else was meant.
        let mut first = None;
        for named in &archives {
            match named.archive.strangeness()? {
                None => {
                    first = None;
                    break;
                }
                Some(problem) => {
                    first.get_or_insert(problem);
                }
            }
        }
        if let Some(problem) = first {
            return Err(Error::NotATar { path: paths[0].clone(), problem });
        }
        Ok(Self {
            classes: files.classes.as_deref().map(SourceFile::read).transpose()?,
            archives,
            fingerprint: fingerprint.value(),
            files,
            store: OpenArchive::default(),
        })
    }
}

impl Source for WebDataset {
    fn kind(&self) -> &'static str {
        "webdataset"
    }

    fn reads(&self) -> Vec<PathBuf> {
        self.archives.iter().map(|archive| archive.archive.path.clone()).chain(self.files.classes.clone()).collect()
    }

    fn options(&self) -> serde_json::Value {
        json!({
            "archives": self.fingerprint,
            "image_suffixes": self.files.image_suffixes,
            "text_suffixes": self.files.text_suffixes,
            "label_suffix": self.files.label_suffix,
            "json_suffix": self.files.json_suffix,
            "json_texts": self.files.json_texts,
            "json_label": self.files.json_label,
            "texts": self.files.texts.name(),
            "text_lines": self.files.text_lines,
            "classes": self.classes.as_ref().map(|file| &file.fingerprint),
        })
    }

    fn vocabulary(&self, _: &str, existing: Option<&AnswerVocabulary>) -> Result<Option<Vocabulary>> {
        let existing = existing.cloned().map(Vocabulary::new);
        let Some(file) = &self.classes else { return Ok(existing) };
        let loaded = Vocabulary::load(file)?;
        // The same classes under another file name are the same vocabulary.
        let same = existing.filter(|existing| existing.stored.hash == loaded.stored.hash);
        Ok(Some(same.unwrap_or(loaded)))
    }

    fn items<'a>(&'a self, vocabulary: Option<&'a Vocabulary>) -> Result<Items<'a>> {
        let samples = Samples::new(&self.files, &self.archives, &self.store, vocabulary);
        Ok(Items { images: None, records: None, regions: false, items: Box::new(samples) })
    }
}

/// A name for each archive: that of its file without the endings of tar and of packings, and as many of its folders as
/// tell all of them apart. It does not depend on where they lie together, nor on how they are packed.
fn names(paths: &[PathBuf]) -> Result<Vec<String>> {
    let mut folders: Vec<Vec<String>> = Vec::new();
    let mut whole = HashSet::new();
    for path in paths {
        let full = std::fs::canonicalize(path).map_err(retort_cache::Error::io("read", path))?;
        let parts = full.iter().rev().skip(1).map(|part| part.to_string_lossy().into_owned());
        folders.push(parts.collect());
        if !whole.insert(full) {
            let problem = "it is given twice, and its samples would be, too".to_owned();
            return Err(Error::InvalidOption { option: "archive", value: path.display().to_string(), problem });
        }
    }
    let longest = folders.iter().map(Vec::len).max().unwrap_or(0);
    let whole_name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut names = Vec::new();
    // The endings stay where `a.tar` lies beside `a.tar.gz`.
    for file_name in [&stem as &dyn Fn(&Path) -> String, &whole_name] {
        for length in 0..=longest {
            let name = |(folders, path): (&Vec<String>, &PathBuf)| {
                let file = file_name(path);
                let mut parts: Vec<&str> = folders.iter().take(length).rev().map(String::as_str).collect();
                parts.push(&file);
                parts.join("/")
            };
            names = folders.iter().zip(paths).map(name).collect();
            if names.iter().collect::<HashSet<_>>().len() == names.len() {
                return Ok(names);
            }
        }
    }
    Ok(names)
}

fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut stem = name.as_str();
    for endings in [&[".gz", ".gzip", ".zst", ".zstd"][..], &[".tar", ".tgz", ".tzst"]] {
        stem = endings.iter().find_map(|ending| stem.strip_suffix(ending)).unwrap_or(stem);
    }
    if stem.is_empty() { name.clone() } else { stem.to_owned() }
}
