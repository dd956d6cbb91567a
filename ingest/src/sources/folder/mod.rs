//! A folder of images, with their texts in files beside them: `a.jpg`, and `a.txt`, `a.caption` or `a.json`.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use retort_schemas::manifest::AnswerVocabulary;
use serde_json::json;
use walkdir::{DirEntry, WalkDir};

use crate::fingerprint::Fingerprint;
use crate::rejects::{Code, Reject, Stage};
use crate::sidecars::{self, LONGEST_JSON_BYTES, LONGEST_TEXT_BYTES, Problem, TextRule};
use crate::source::{ImageBytes, Item, Items, LostImage, SourceImage};
use crate::{Error, IMAGE_SUFFIXES, Result, Source, TEXT_SUFFIXES, Vocabulary, folder};

/// Fields of a JSON file beside an image, unless told otherwise; the first that is there.
const TEXT_FIELDS: [&str; 2] = ["caption", "text"];

/// A folder of images.
#[derive(Debug, Clone)]
pub struct FolderFiles {
    /// The folder; images are found in folders below it, too.
    pub folder: PathBuf,
    /// Whether images need a text.
    pub texts: TextRule,
    /// Whether each line of a text file is a text of its own.
    pub text_lines: bool,
    /// Fields of a JSON file that hold texts or lists of texts; where there are any, texts come from them alone.
    pub json_texts: Vec<String>,
    /// Whether links to folders are followed.
    pub follow_links: bool,
}

impl FolderFiles {
    /// This folder, read as usual.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let texts = TextRule::default();
        Self { folder: folder.into(), texts, text_lines: false, json_texts: Vec::new(), follow_links: false }
    }
}

/// A folder of images, looked through once.
pub struct Folder {
    files: FolderFiles,
    images: u64,
    fingerprint: serde_json::Value,
}

/// What is found on the way through a folder.
enum Found {
    /// An image, by its path and its name relative to the folder.
    Image(PathBuf, String),
    /// What may be the text of an image.
    Text(String),
    Lost(Reject),
}

impl Folder {
    /// Counts the images. Whether a split is the same is decided by the names of its files: they are not read for it.
    ///
    /// # Errors
    /// [`Error::NoImageFolder`] if it is no folder.
    pub fn open(files: &FolderFiles) -> Result<Self> {
        if !files.folder.is_dir() {
            return Err(Error::NoImageFolder { path: files.folder.clone() });
        }
        let (mut images, mut fingerprint) = (0, Fingerprint::new());
        for found in walk(files) {
            match found {
                Found::Image(_, name) => {
                    images += 1;
                    fingerprint.add_name(&name);
                }
                Found::Text(name) if files.texts != TextRule::Ignored => fingerprint.add_name(&name),
                Found::Text(_) | Found::Lost(_) => {}
            }
        }
        Ok(Self { files: files.clone(), images, fingerprint: fingerprint.value() })
    }
}

impl Source for Folder {
    fn kind(&self) -> &'static str {
        "folder"
    }

    fn reads(&self) -> Vec<PathBuf> {
        vec![self.files.folder.clone()]
    }

    fn options(&self) -> serde_json::Value {
        json!({
            "images": self.fingerprint,
            "texts": self.files.texts.name(),
            "text_lines": self.files.text_lines,
            "json_texts": self.files.json_texts,
            "follow_links": self.files.follow_links,
        })
    }

    fn vocabulary(&self, _: &str, existing: Option<&AnswerVocabulary>) -> Result<Option<Vocabulary>> {
        Ok(existing.cloned().map(Vocabulary::new))
    }

    fn items<'a>(&'a self, _: Option<&'a Vocabulary>) -> Result<Items<'a>> {
        let item = |found| match found {
            Found::Image(path, name) => Some(match sample(&self.files, path, name.clone()) {
                Ok(image) => Item::Image(image),
                Err(problem) => Item::Reject(problem.into_reject(name)),
            }),
            Found::Text(_) => None,
            Found::Lost(reject) => Some(Item::Reject(reject)),
        };
        let items = walk(&self.files).filter_map(item).map(Ok);
        Ok(Items { images: Some(self.images), records: None, regions: false, items: Box::new(items) })
    }
}

/// The images below a folder, by name, the content of a folder in its place. Hidden files and folders are passed over.
fn walk(files: &FolderFiles) -> impl Iterator<Item = Found> + Send + use<'_> {
    let root = files.folder.as_path();
    let is_hidden = |entry: &DirEntry| entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".");
    WalkDir::new(root)
        .follow_links(files.follow_links)
        // The folder itself may be a link.
        .follow_root_links(true)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(move |entry| !is_hidden(entry))
        .filter_map(move |entry| match entry {
            Ok(entry) => found(root, &entry),
            Err(error) => Some(Found::Lost(lost(root, &error))),
        })
}

fn found(root: &Path, entry: &DirEntry) -> Option<Found> {
    let path = entry.path();
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    let is_file = entry.file_type().is_file() || (entry.file_type().is_symlink() && !path.is_dir());
    let relative = path.strip_prefix(root).unwrap_or(path);
    if !is_file || !IMAGE_SUFFIXES.contains(&ending.as_str()) {
        let is_text = is_file && (ending == "json" || TEXT_SUFFIXES.contains(&ending.as_str()));
        return is_text.then(|| Found::Text(relative.to_string_lossy().into_owned()));
    }
    let problem = match relative.to_str() {
        None => "its name is no UTF-8",
        Some(name) if name.chars().any(char::is_control) => "its name has control characters",
        Some(name) => return Some(Found::Image(path.to_owned(), name.to_owned())),
    };
    let source = relative.to_string_lossy().into_owned();
    Some(Found::Lost(Reject { source, stage: Stage::Read, code: Code::BadName, message: problem.to_owned() }))
}

/// A folder that cannot be read.
fn lost(root: &Path, error: &walkdir::Error) -> Reject {
    let named = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
    let source = error.path().map_or_else(|| ".".to_owned(), named);
    let (code, message) = match (error.loop_ancestor(), error.io_error()) {
        (Some(ancestor), _) => {
            let ancestor = named(ancestor);
            let ancestor = if ancestor.is_empty() { "the folder itself" } else { &ancestor };
            (Code::LinkLoop, format!("it is a link that leads back to {ancestor}"))
        }
        (None, Some(error)) => (Code::ImageUnreadable, error.to_string()),
        (None, None) => (Code::ImageUnreadable, "it cannot be read".to_owned()),
    };
    Reject { source, stage: Stage::Read, code, message }
}

fn sample(files: &FolderFiles, path: PathBuf, name: String) -> Result<SourceImage<'_>, Problem> {
    let texts = match files.texts {
        TextRule::Ignored => Vec::new(),
        _ => texts(files, &path)?,
    };
    if texts.is_empty() && files.texts == TextRule::Required {
        let expected = if files.json_texts.is_empty() {
            "a file of the same name with the ending txt, caption or json".to_owned()
        } else {
            format!("a file of the same name with the ending json and the field {}", files.json_texts.join(" or "))
        };
        let message = format!("expected a text in {expected}, found none or an empty one");
        return Err(Problem::new(Code::TextMissing, message));
    }
    let mut records = sidecars::samples(&name, texts);
    if records.is_empty() {
        records.push(sidecars::without_text(name.clone()));
    }
    let read = move || {
        let lost = |error: std::io::Error| {
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            let code = if missing { Code::ImageMissing } else { Code::ImageUnreadable };
            LostImage { stage: Stage::Read, code, message: error.to_string() }
        };
        // A link may lead to anything: a pipe would never end.
        if !std::fs::metadata(&path).map_err(lost)?.is_file() {
            return Err(lost(std::io::Error::other("it is a link to what is no file")));
        }
        folder::read(&path).map_err(lost)
    };
    Ok(SourceImage { name, bytes: ImageBytes::Later(Box::new(read)), regions: None, records })
}

/// The texts beside an image: those of the first file that is there.
fn texts(files: &FolderFiles, image: &Path) -> Result<Vec<String>, Problem> {
    let beside = |ending: &str, longest| -> Result<Option<(String, Vec<u8>)>, Problem> {
        let path = image.with_extension(ending);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(sidecars::read_beside(&path, longest)?.map(|bytes| (name, bytes)))
    };
    if files.json_texts.is_empty() {
        for ending in TEXT_SUFFIXES {
            if let Some((name, bytes)) = beside(ending, LONGEST_TEXT_BYTES)? {
                return sidecars::of_file(&name, &bytes, files.text_lines);
            }
        }
    }
    let Some((name, bytes)) = beside("json", LONGEST_JSON_BYTES)? else { return Ok(Vec::new()) };
    let object = sidecars::object(&name, &bytes)?;
    if !files.json_texts.is_empty() {
        return sidecars::of_fields(&name, &object, &files.json_texts);
    }
    let field = TEXT_FIELDS.into_iter().find(|field| object.get(*field).is_some_and(|value| !value.is_null()));
    field.map_or_else(|| Ok(Vec::new()), |field| sidecars::of_fields(&name, &object, &[field.to_owned()]))
}
