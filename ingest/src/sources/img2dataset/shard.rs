//! One shard: where its images lie, its samples in the order of their keys, and its failures among them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Img2DatasetFiles;
use super::metadata::{self, Digest, Row, Status};
use super::table::{self, Table};
use crate::folder;
use crate::formats::tar::{Archive, Fault, Kind, OpenArchive, Packing};
use crate::rejects::{Code, Reject, Stage};
use crate::sidecars::{self, LONGEST_JSON_BYTES, LONGEST_TEXT_BYTES, Problem, TextRule};
use crate::source::{ImageBytes, Item, LostImage, Record, SourceImage};
use crate::{IMAGE_SUFFIXES, Result};

/// Items of one shard.
pub(super) type ShardItems<'a> = Box<dyn Iterator<Item = Result<Item<'a>>> + Send + 'a>;

/// A shard of img2dataset.
pub(super) struct Shard {
    pub name: String,
    images: Images,
    /// `00000.parquet` beside the images.
    metadata: Option<PathBuf>,
    stats: Option<PathBuf>,
    /// Whether any shard has stats: if none has, they were taken away.
    expects_stats: bool,
}

/// Where the images of a shard lie.
enum Images {
    Archive(PathBuf),
    Folder(PathBuf),
    Table(PathBuf),
    Nowhere,
}

/// The files of one key.
#[derive(Default)]
struct Files {
    image: Option<(String, Part)>,
    text: Option<Part>,
    json: Option<Part>,
}

/// A file of a shard.
#[derive(Clone)]
enum Part {
    InArchive { path: Arc<Path>, start: u64, bytes: u64 },
    Alone(PathBuf),
}

impl Shard {
    pub(super) fn of(
        name: &str,
        archive: Option<PathBuf>,
        folder: Option<PathBuf>,
        table: Option<PathBuf>,
        stats: Option<PathBuf>,
        expects_stats: bool,
    ) -> Option<Self> {
        let (images, metadata) = match (archive, folder, table) {
            (Some(archive), _, table) => (Images::Archive(archive), table),
            (None, Some(folder), table) => (Images::Folder(folder), table),
            // One that cannot be opened says so when it is read.
            (None, None, Some(table)) if table::has_images(&table) => (Images::Table(table), None),
            (None, None, Some(table)) => (Images::Nowhere, Some(table)),
            (None, None, None) => return None,
        };
        Some(Self { name: name.to_owned(), images, metadata, stats, expects_stats })
    }

    pub(super) fn is_metadata_alone(&self) -> bool {
        matches!(self.images, Images::Nowhere)
    }

    /// Its samples and failures in the order of their keys; those of a table in its order.
    pub(super) fn items<'a>(&'a self, files: &'a Img2DatasetFiles, store: &'a OpenArchive) -> Result<ShardItems<'a>> {
        let mut before = Vec::new();
        if self.expects_stats && self.stats.is_none() {
            let message = format!(
                "expected {}_stats.json, which is written when a shard is finished: what there is, is read; run \
                 img2dataset again to finish it",
                self.name
            );
            before.push(self.reject(Code::ShardIncomplete, message));
        }
        let reader = Reader { shard: self, files, store };
        let samples: ShardItems<'a> = match &self.images {
            Images::Archive(path) => reader.samples(reader.index_archive(path, &mut before)?, &mut before),
            Images::Folder(path) => reader.samples(reader.index_folder(path)?, &mut before),
            Images::Table(path) => match Table::open(path, metadata::caption_columns(files.caption.as_deref())) {
                Ok(table) => Box::new(table.flat_map(move |row| reader.row(row)).map(Ok)),
                Err(message) => {
                    before.push(self.reject(Code::ArchiveBroken, message));
                    Box::new(std::iter::empty())
                }
            },
            Images::Nowhere => {
                let message = "it has metadata alone: expected an archive, a folder, or a column jpg, png or webp";
                before.push(self.reject(Code::ShardIncomplete, message.to_owned()));
                Box::new(std::iter::empty())
            }
        };
        Ok(Box::new(before.into_iter().map(Item::Reject).map(Ok).chain(samples)))
    }

    /// How many images it should have, as its stats tell.
    fn successes(&self) -> Option<u64> {
        let path = self.stats.as_deref()?;
        let bytes = sidecars::read_beside(path, LONGEST_JSON_BYTES).ok()??;
        sidecars::object("stats", &bytes).ok()?.get("successes")?.as_u64()
    }

    fn reject(&self, code: Code, message: String) -> Reject {
        Reject { source: format!("shard {}", self.name), stage: Stage::Read, code, message }
    }
}

/// A shard with what reading it takes.
#[derive(Clone, Copy)]
struct Reader<'a> {
    shard: &'a Shard,
    files: &'a Img2DatasetFiles,
    store: &'a OpenArchive,
}

impl<'a> Reader<'a> {
    /// Where the files of each key lie in the archive, whose order is that of the downloads.
    fn index_archive(&self, path: &Path, rejects: &mut Vec<Reject>) -> Result<BTreeMap<String, Files>> {
        let archive = Archive::open(path)?;
        let mut index = BTreeMap::new();
        if archive.packing != Packing::Plain {
            let message = "expected a plain tar, as img2dataset writes, found a packed one".to_owned();
            rejects.push(self.shard.reject(Code::ArchiveBroken, message));
            return Ok(index);
        }
        let path: Arc<Path> = path.into();
        let mut members = archive.members()?;
        loop {
            match members.next() {
                Ok(Some(member)) if member.kind == Kind::Folder => {}
                Ok(Some(member)) => {
                    let name = String::from_utf8_lossy(&member.name).into_owned();
                    let part = Part::InArchive { path: path.clone(), start: member.start, bytes: member.bytes };
                    let added = match member.kind {
                        Kind::File => add(&mut index, &name, part),
                        Kind::Sparse => Err((Code::MemberSparse, "it is sparse, expected a file".to_owned())),
                        Kind::Other(kind) => Err((Code::MemberNotAFile, format!("it is {kind}, expected a file"))),
                        Kind::Folder => Ok(()),
                    };
                    if let Err((code, message)) = added {
                        let source = format!("{}/{name}", self.shard.name);
                        rejects.push(Reject::annotation(source, code, message));
                    }
                }
                Ok(None) => return Ok(index),
                Err(Fault { code, offset, message }) => {
                    rejects.push(self.shard.reject(code, format!("at offset {offset}: {message}")));
                    return Ok(index);
                }
            }
        }
    }

    fn index_folder(&self, path: &Path) -> Result<BTreeMap<String, Files>> {
        let mut index = BTreeMap::new();
        for (name, path) in super::entries(path)? {
            if path.is_file() {
                // Names of one folder differ: nothing is there twice but an image in two formats.
                let _ = add(&mut index, &name, Part::Alone(path));
            }
        }
        Ok(index)
    }

    /// Merges the files of each key with what the metadata say of it.
    fn samples(self, index: BTreeMap<String, Files>, rejects: &mut Vec<Reject>) -> ShardItems<'a> {
        let images = index.values().filter(|files| files.image.is_some()).count() as u64;
        if let Some(expected) = self.shard.successes().filter(|expected| *expected != images) {
            let message = format!("its stats tell of {expected} images, found {images}");
            rejects.push(self.shard.reject(Code::ShardIncomplete, message));
        }
        let mut rows = BTreeMap::new();
        if let Some(path) = &self.shard.metadata {
            match metadata::rows(path) {
                Ok(found) => rows = found,
                Err(message) => {
                    let message = format!("its failures are not known: {}.parquet: {message}", self.shard.name);
                    rejects.push(self.shard.reject(Code::ShardIncomplete, message));
                }
            }
        }
        let mut keys: BTreeMap<String, (Option<Files>, Option<Row>)> = BTreeMap::new();
        for (key, files) in index {
            keys.entry(key).or_default().0 = Some(files);
        }
        for (key, row) in rows {
            keys.entry(key).or_default().1 = Some(row);
        }
        Box::new(keys.into_iter().filter_map(move |(key, (files, row))| match (files, row) {
            (Some(files), _) => Some(Ok(self.sample(&key, &files))),
            (None, Some(row)) => Some(Ok(Item::Reject(self.failure(&key, row)))),
            (None, None) => None,
        }))
    }

    fn sample(&self, key: &str, files: &Files) -> Item<'a> {
        match self.read(key, files) {
            Ok(image) => Item::Image(image),
            Err(problem) => Item::Reject(problem.into_reject(format!("sample {}", self.id(key)))),
        }
    }

    fn id(&self, key: &str) -> String {
        format!("{}/{key}", self.shard.name)
    }

    fn read(&self, key: &str, files: &Files) -> Result<SourceImage<'a>, Problem> {
        let Some((suffix, part)) = &files.image else {
            let message = format!("expected an image with the suffix {}, found none", IMAGE_SUFFIXES.join(", "));
            return Err(Problem::new(Code::ImageMissing, message));
        };
        let from_file = self.files.caption.is_none() && files.text.is_some();
        let needs_text = self.files.texts != TextRule::Ignored;
        let json = match &files.json {
            Some(part) if self.files.check_hashes || (needs_text && !from_file) => {
                let name = format!("{key}.json");
                Some(sidecars::object(&name, &part.read(self.store, &name, LONGEST_JSON_BYTES, Code::BadRecord)?)?)
            }
            _ => None,
        };
        let texts = match (&files.text, &json) {
            _ if !needs_text => Vec::new(),
            (Some(part), _) if from_file => {
                let name = format!("{key}.txt");
                sidecars::of_file(&name, &part.read(self.store, &name, LONGEST_TEXT_BYTES, Code::TextInvalid)?, false)?
            }
            (_, Some(object)) => {
                let columns = metadata::caption_columns(self.files.caption.as_deref());
                sidecars::field_of_any_case(object, &columns)
                    .and_then(|value| value.as_str())
                    .map(|text| text.trim().to_owned())
                    .filter(|text| !text.is_empty())
                    .into_iter()
                    .collect()
            }
            _ => Vec::new(),
        };
        let records = self.records(key, texts)?;
        let digest = json.as_ref().filter(|_| self.files.check_hashes).and_then(|object| {
            Digest::of(|name| sidecars::field_of_any_case(object, &[name])?.as_str().map(str::to_owned))
        });
        let (store, part) = (self.store, part.clone());
        let read = move || {
            let bytes = match &part {
                Part::InArchive { path, start, bytes } => store.read(path, *start, *bytes)?,
                Part::Alone(path) => folder::read(path).map_err(|error| LostImage {
                    stage: Stage::Read,
                    code: Code::ImageUnreadable,
                    message: error.to_string(),
                })?,
            };
            check(digest.as_ref(), &bytes)?;
            Ok(bytes)
        };
        let name = format!("{}.{suffix}", self.id(key));
        Ok(SourceImage { name, bytes: ImageBytes::Later(Box::new(read)), regions: None, records })
    }

    fn records(&self, key: &str, texts: Vec<String>) -> Result<Vec<Record<'a>>, Problem> {
        if !texts.is_empty() {
            return Ok(sidecars::samples(&self.id(key), texts));
        }
        if self.files.texts == TextRule::Required {
            let columns = metadata::caption_columns(self.files.caption.as_deref()).join(" or ");
            let message = format!("expected a text under {columns}, found none or an empty one");
            return Err(Problem::new(Code::TextMissing, message));
        }
        Ok(vec![sidecars::without_text(self.id(key))])
    }

    /// A key that has no image.
    fn failure(&self, key: &str, row: Row) -> Reject {
        let message = if row.message.is_empty() { "no reason is given".to_owned() } else { row.message };
        let (code, message) = match row.status {
            Status::FailedToDownload => (Code::DownloadFailed, message),
            Status::FailedToResize => (Code::ResizeFailed, message),
            Status::Success => {
                (Code::ImageMissing, "the metadata say success, but the shard has no such image".to_owned())
            }
            Status::Other(status) => (Code::ImageMissing, format!("status {status:?}: {message}")),
        };
        Reject { source: format!("sample {}", self.id(key)), stage: Stage::Read, code, message }
    }

    /// A row of a table that has the images.
    fn row(&self, row: Result<table::ImageRow, String>) -> Option<Item<'a>> {
        let row = match row {
            Ok(row) => row,
            Err(message) => return Some(Item::Reject(self.shard.reject(Code::ArchiveBroken, message))),
        };
        let key = row.key;
        let Some(image) = row.image else {
            return Some(Item::Reject(self.failure(&key, row.outcome)));
        };
        let text = row.text.filter(|_| self.files.texts != TextRule::Ignored).map(|text| text.trim().to_owned());
        let texts = text.into_iter().filter(|text| !text.is_empty()).collect();
        let item = self.records(&key, texts).map(|records| {
            let digest = if self.files.check_hashes { row.digest } else { None };
            let bytes = match digest {
                Some(digest) => ImageBytes::Later(Box::new(move || check(Some(&digest), &image).map(|()| image))),
                None => ImageBytes::Here(image),
            };
            SourceImage { name: format!("{}.{}", self.id(&key), row.suffix), bytes, regions: None, records }
        });
        Some(match item {
            Ok(image) => Item::Image(image),
            Err(problem) => Item::Reject(problem.into_reject(format!("sample {}", self.id(&key)))),
        })
    }
}

/// Adds a file to those of its key; what is no part of a sample is passed over.
fn add(index: &mut BTreeMap<String, Files>, name: &str, part: Part) -> Result<(), (Code, String)> {
    let base = name.rsplit('/').next().unwrap_or(name);
    let Some((key, suffix)) = base.split_once('.') else { return Ok(()) };
    let suffix = suffix.to_ascii_lowercase();
    if key.is_empty() || key.chars().any(char::is_control) {
        return Ok(());
    }
    let is_image = IMAGE_SUFFIXES.contains(&suffix.as_str());
    if !is_image && suffix != "txt" && suffix != "json" {
        return Ok(());
    }
    let files = index.entry(key.to_owned()).or_default();
    let taken = match suffix.as_str() {
        "txt" => files.text.replace(part.clone()).map(|first| files.text = Some(first)).is_some(),
        "json" => files.json.replace(part.clone()).map(|first| files.json = Some(first)).is_some(),
        _ if files.image.is_some() => true,
        _ => {
            files.image = Some((suffix.clone(), part));
            false
        }
    };
    if taken {
        let message = format!("its sample has a member with the suffix {suffix:?} before it, which is kept");
        return Err((Code::DuplicateMember, message));
    }
    Ok(())
}

impl Part {
    /// Reads a file that is small if it is what its suffix says.
    fn read(&self, store: &OpenArchive, name: &str, longest: u64, code: Code) -> Result<Vec<u8>, Problem> {
        match self {
            Self::Alone(path) => {
                let gone = || Problem::new(code, format!("{name} is gone"));
                sidecars::read_beside(path, longest)?.ok_or_else(gone)
            }
            Self::InArchive { path, start, bytes } => {
                sidecars::check_length(name, *bytes, longest, code)?;
                let read = store.read(path, *start, *bytes);
                read.map_err(|lost| Problem::new(code, format!("{name} cannot be read: {}", lost.message)))
            }
        }
    }
}

fn check(digest: Option<&Digest>, bytes: &[u8]) -> Result<(), LostImage> {
    match digest.map(|digest| digest.check(bytes)) {
        Some(Err(message)) => Err(LostImage { stage: Stage::Read, code: Code::ImageHashMismatch, message }),
        _ => Ok(()),
    }
}
