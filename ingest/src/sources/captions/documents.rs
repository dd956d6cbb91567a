//! Captions in one JSON document: Karpathy's splits, and COCO's own files.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde_json::value::RawValue;

use super::{Caption, CaptionRows};
use crate::formats::json::{RawRecord, Record, SourceFile, Text};
use crate::rejects::{Code, Reject};
use crate::{Error, Result};

const IMAGES: &str = "images";
const TEXT: &str = "a text";

/// `dataset_coco.json` and the like: images with their captions and their part.
pub(super) struct KarpathyFile {
    pub file: SourceFile,
    /// The parts that are read.
    pub parts: BTreeSet<String>,
}

/// Whether the first image of a document that can be read has its captions with it.
pub(super) fn is_karpathy(file: &SourceFile) -> bool {
    let Ok(images) = file.listing(IMAGES) else { return false };
    let first = images.records.iter().find_map(|raw| Record::of(*raw).ok());
    first.is_some_and(|image| image.field::<&RawValue>("sentences", "a list").is_ok())
}

impl KarpathyFile {
    pub(super) fn open(path: &Path, parts: &[String]) -> Result<Self> {
        Self::of(SourceFile::read(path)?, parts)
    }

    /// The file holds all splits: without parts, or with one that is not there, nothing is guessed.
    pub(super) fn of(file: SourceFile, parts: &[String]) -> Result<Self> {
        let mut found = BTreeSet::new();
        for raw in file.listing(IMAGES)?.records {
            if let Some(part) = Record::of(raw).ok().and_then(|image| text(&image, "split").ok()) {
                found.insert(part.into_owned());
            }
        }
        let found = found.into_iter().collect::<Vec<_>>().join(", ");
        let refuse = |value: &str, problem: String| {
            Err(Error::InvalidOption { option: "part", value: value.to_owned(), problem })
        };
        if parts.is_empty() {
            return refuse("", format!("{} holds several parts, say which: {found}", file.path.display()));
        }
        match parts.iter().find(|part| !found.split(", ").any(|known| known == part.as_str())) {
            Some(unknown) => refuse(unknown, format!("{} holds {found}", file.path.display())),
            None => Ok(Self { file, parts: parts.iter().cloned().collect() }),
        }
    }

    pub(super) fn rows(&self) -> Result<KarpathyRows<'_>> {
        Ok(KarpathyRows { images: self.file.listing(IMAGES)?.records, file: self })
    }
}

/// One row an image.
pub(super) struct KarpathyRows<'a> {
    images: Vec<RawRecord<'a>>,
    file: &'a KarpathyFile,
}

impl CaptionRows for KarpathyRows<'_> {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn read(&self, row: usize) -> Result<Result<Vec<Caption>, Reject>> {
        let lost = |message| {
            Reject::annotation(format!("record {row} of {}", self.file.file.name()), Code::BadRecord, message)
        };
        let image = || {
            let raw = self.images.get(row).ok_or_else(|| "there is no such record".to_owned())?;
            let image = Record::of(*raw)?;
            if !self.file.parts.contains(text(&image, "split")?.as_ref()) {
                return Ok(None);
            }
            let name = text(&image, "filename")?;
            let folder = match image.optional::<Option<Text<'_>>>("filepath", "a text or null")? {
                Some(Some(folder)) if !folder.0.is_empty() => format!("{}/", folder.0.trim_end_matches('/')),
                _ => String::new(),
            };
            let sentences: Vec<&RawValue> = image.field("sentences", "a list of objects with the text `raw`")?;
            Ok(Some((format!("{folder}{name}"), sentences)))
        };
        Ok(match image() {
            Err(message) => Err(lost(message)),
            Ok(None) => Ok(Vec::new()),
            Ok(Some((image, sentences))) => {
                let caption = |(at, raw): (usize, &RawValue)| {
                    let sentence = Record::parse(raw);
                    let id = sentence.as_ref().ok().and_then(|sentence| sentence.id("sentid").ok());
                    let raw_text = sentence.and_then(|sentence| caption_text(&sentence, "raw"));
                    Caption {
                        image: image.clone(),
                        id: id.map(Cow::into_owned),
                        text: raw_text.map_err(|message| lost(format!("sentence {at}: {message}"))),
                    }
                };
                Ok((0..).zip(sentences).map(caption).collect())
            }
        })
    }
}

/// `captions_train2017.json` and the like: a list of images beside a list of captions.
pub(super) struct CocoFile {
    pub file: SourceFile,
}

impl CocoFile {
    pub(super) fn rows(&self) -> Result<CocoRows<'_>> {
        let (names, rejects) = image_names(&self.file)?;
        Ok(CocoRows { captions: self.file.listing("annotations")?.records, names, rejects, file: &self.file })
    }
}

/// File names of the images of a COCO file by their id, and the images that cannot be used.
pub(super) fn image_names(file: &SourceFile) -> Result<(HashMap<String, String>, Vec<Reject>)> {
    let (mut names, mut rejects) = (HashMap::new(), Vec::new());
    for (row, raw) in file.listing(IMAGES)?.records.into_iter().enumerate() {
        let image = Record::of(raw).and_then(|image| Ok((image.id("id")?, text(&image, "file_name")?)));
        match image {
            Ok((id, name)) => {
                names.insert(id.into_owned(), name.into_owned());
            }
            Err(message) => {
                let source = format!("record {row} of {IMAGES} in {}", file.name());
                rejects.push(Reject::annotation(source, Code::BadRecord, message));
            }
        }
    }
    Ok((names, rejects))
}

/// One row a caption.
pub(super) struct CocoRows<'a> {
    captions: Vec<RawRecord<'a>>,
    names: HashMap<String, String>,
    rejects: Vec<Reject>,
    file: &'a SourceFile,
}

impl CaptionRows for CocoRows<'_> {
    fn len(&self) -> usize {
        self.captions.len()
    }

    fn take_rejects(&mut self) -> Vec<Reject> {
        std::mem::take(&mut self.rejects)
    }

    fn read(&self, row: usize) -> Result<Result<Vec<Caption>, Reject>> {
        let unnamed = || format!("record {row} of annotations in {}", self.file.name());
        let Some(raw) = self.captions.get(row) else { return Ok(Ok(Vec::new())) };
        let record = match Record::of(*raw) {
            Ok(record) => record,
            Err(message) => return Ok(Err(Reject::annotation(unnamed(), Code::BadRecord, message))),
        };
        let id = record.id("id").ok().map(Cow::into_owned);
        let source = id.as_ref().map_or_else(unnamed, |id| format!("caption {id}"));
        let image = match record.id("image_id") {
            Ok(image) => image,
            Err(message) => return Ok(Err(Reject::annotation(source, Code::BadRecord, message))),
        };
        let Some(name) = self.names.get(image.as_ref()) else {
            let message = format!("image_id is {image}, which the list {IMAGES} does not have");
            return Ok(Err(Reject::annotation(source, Code::UnlistedImage, message)));
        };
        let text =
            caption_text(&record, "caption").map_err(|message| Reject::annotation(source, Code::BadRecord, message));
        Ok(Ok(vec![Caption { image: name.clone(), id, text }]))
    }
}

fn text<'a>(record: &Record<'a>, name: &str) -> Result<Cow<'a, str>, String> {
    Ok(record.field::<Text<'a>>(name, TEXT)?.0)
}

fn caption_text(record: &Record<'_>, name: &str) -> Result<String, String> {
    match text(record, name)?.trim() {
        "" => Err(format!("field {name} is empty, expected {TEXT}")),
        text => Ok(text.to_owned()),
    }
}
