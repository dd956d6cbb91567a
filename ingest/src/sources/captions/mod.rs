//! Caption sets: Flickr8k, Flickr30k, COCO, Karpathy's splits of them, and tables of images and captions.
//!
//! One sample a caption, without a label. With COCO's instances, images have regions.

mod documents;
mod instances;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use retort_schemas::manifest::AnswerVocabulary;
use retort_schemas::tables::samples::tasks::CAPTION;
use serde_json::{Value, json};

use self::documents::{CocoFile, KarpathyFile};
use self::instances::Instances;
use self::tables::{TableFile, TokenFile};
use crate::folder::{ImageFolder, stays_inside};
use crate::formats::json::SourceFile;
use crate::formats::lines::Lines;
use crate::formats::name_list::{NameList, NameSet};
use crate::formats::rows::Shape;
use crate::grouped::RowsByImage;
use crate::images::{ContentId, content_id};
use crate::rejects::{Code, Reject};
use crate::source::{ImageBytes, Item, Items, Record, SourceImage};
use crate::{Error, Result, Source, Text, Vocabulary};

const KIND: &str = "captions";

/// One split of a caption set as it was published.
#[derive(Debug, Clone, Default)]
pub struct CaptionFiles {
    /// The file of captions, plain or gzip.
    pub file: PathBuf,
    /// Folder of the images.
    pub images: PathBuf,
    /// How the file is laid out; by its content where nothing is said.
    pub layout: Option<CaptionLayout>,
    /// Parts of a Karpathy file, such as `train` and `restval`: it holds all splits.
    pub parts: Vec<String>,
    /// A list of the images that belong to the split, such as `Flickr_8k.trainImages.txt`. Captions of other images
    /// are no part of it, and no rejects.
    pub ids: Option<PathBuf>,
    /// COCO's `instances_*.json`: its boxes become regions of the images.
    pub instances: Option<PathBuf>,
    /// Column or field of the image, where it has an unusual name.
    pub image_column: Option<String>,
    /// Column or field of the caption, where it has an unusual name.
    pub caption_column: Option<String>,
}

/// How a file of captions is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptionLayout {
    /// A table with a header, divided by commas.
    Csv,
    /// A table with a header, divided by tabs.
    Tsv,
    /// `name.jpg#0<TAB>caption`, without a header: Flickr8k and Flickr30k.
    Token,
    /// `dataset_{coco,flickr8k,flickr30k}.json`.
    Karpathy,
    /// `captions_{train,val}{2014,2017}.json`.
    Coco,
    /// One JSON object a line.
    Jsonl,
}

/// A caption set, opened.
pub struct Captions {
    file: CaptionFile,
    images: ImageFolder,
    ids: Option<NameSet>,
    instances: Option<Instances>,
    reads: Vec<PathBuf>,
}

enum CaptionFile {
    Table(TableFile),
    Token(TokenFile),
    Karpathy(KarpathyFile),
    Coco(CocoFile),
}

/// A file taken apart: rows that hold captions.
trait CaptionRows {
    /// How many rows there are.
    fn len(&self) -> usize;

    /// The captions of a row. The reason may lose the whole row.
    fn read(&self, row: usize) -> Result<Result<Vec<Caption>, Reject>>;

    /// What is lost before any row is read.
    fn take_rejects(&mut self) -> Vec<Reject> {
        Vec::new()
    }
}

/// A caption, or why it is lost; both belong to an image.
struct Caption {
    /// Path of the image, relative to the image folder.
    image: String,
    /// Its own id, where it has one.
    id: Option<String>,
    text: Result<String, Reject>,
}

impl Captions {
    /// Opens the file of captions and reads the files beside it.
    ///
    /// # Errors
    /// [`Error::UnknownLayout`] or [`Error::NoColumns`] for a file of other content, [`Error::InvalidOption`],
    /// [`Error::NoImageFolder`], [`retort_cache::Error`] if a file cannot be read.
    pub fn open(files: &CaptionFiles) -> Result<Self> {
        let images = ImageFolder::open(&files.images)?;
        let file = CaptionFile::open(files)?;
        if !files.parts.is_empty() && !matches!(file, CaptionFile::Karpathy(_)) {
            return Err(Error::InvalidOption {
                option: "part",
                value: files.parts.join(", "),
                problem: format!("{} does not say the part of an image: give a list of ids", files.file.display()),
            });
        }
        let lists = [&files.ids, &files.instances].into_iter().flatten();
        let reads = [&files.file].into_iter().chain(lists).chain([&files.images]).cloned().collect();
        Ok(Self {
            file,
            images,
            reads,
            ids: files.ids.as_deref().map(|path| NameList::read(path).map(NameList::into_set)).transpose()?,
            instances: files.instances.as_deref().map(Instances::read).transpose()?,
        })
    }

    /// Reads every caption once: which are good, and the images they are of.
    fn scan(&self, rows: &dyn CaptionRows) -> Result<(RowsByImage, Vec<Reject>, u64)> {
        let (mut by_image, mut rejects, mut captions) = (RowsByImage::default(), Vec::new(), 0);
        let mut seen: HashSet<ContentId> = HashSet::new();
        for row in 0..rows.len() {
            let mut last = None;
            let found = match rows.read(row)? {
                Ok(found) => found,
                Err(reject) => {
                    rejects.push(reject);
                    continue;
                }
            };
            for Caption { image, id, text } in found {
                if self.ids.as_ref().is_some_and(|ids| !ids.contains(&image)) {
                    continue;
                }
                captions += 1;
                let mut again = |id: &String| !seen.insert(content_id(id.as_bytes()));
                let lost = match text {
                    Err(reject) => Some(reject),
                    Ok(_) if !stays_inside(&image) => {
                        let message = format!("the image is {image:?}, which leads out of the image folder");
                        Some(Reject::annotation(format!("caption of {image}"), Code::BadRecord, message))
                    }
                    Ok(_) => id.as_ref().filter(|id| again(id)).map(|id| {
                        let message = "an earlier caption has the same id";
                        Reject::annotation(format!("caption {id}"), Code::DuplicateCaptionId, message)
                    }),
                };
                match lost {
                    Some(reject) => rejects.push(reject),
                    // All captions of a row are of one image.
                    None if last.as_ref() != Some(&image) => {
                        by_image.add(image.clone(), row);
                        last = Some(image);
                    }
                    None => {}
                }
            }
        }
        Ok((by_image, rejects, captions))
    }
}

impl CaptionFile {
    fn open(files: &CaptionFiles) -> Result<Self> {
        let path = files.file.as_path();
        let table = |delimiter| TableFile::open(files, delimiter).map(Self::Table);
        let layout = match files.layout {
            Some(layout) => layout,
            None => match Shape::of(path)? {
                Shape::Lines | Shape::List => CaptionLayout::Jsonl,
                Shape::Document(keys) => return Self::document(path, files, &keys),
                Shape::Text(line) if TokenFile::is_key(line.split('\t').next().unwrap_or_default()) => {
                    CaptionLayout::Token
                }
                Shape::Text(_) => return table(None),
            },
        };
        match layout {
            CaptionLayout::Csv => table(Some(b',')),
            CaptionLayout::Tsv => table(Some(b'\t')),
            CaptionLayout::Jsonl => table(None),
            CaptionLayout::Token => Ok(Self::Token(TokenFile { lines: Lines::open(path)? })),
            CaptionLayout::Coco => SourceFile::read(path).map(|file| Self::Coco(CocoFile { file })),
            CaptionLayout::Karpathy => KarpathyFile::open(path, &files.parts).map(Self::Karpathy),
        }
    }

    fn document(path: &Path, files: &CaptionFiles, keys: &[String]) -> Result<Self> {
        let file = SourceFile::read(path)?;
        if documents::is_karpathy(&file) {
            return KarpathyFile::of(file, &files.parts).map(Self::Karpathy);
        }
        if keys.iter().any(|key| key == "images" || key == "annotations") {
            return Ok(Self::Coco(CocoFile { file }));
        }
        Err(Error::UnknownLayout {
            path: path.to_owned(),
            expected: "a table, jsonl, a .token file, or an object with the list \"images\"".to_owned(),
            found: format!("an object with the keys [{}]", keys.join(", ")),
        })
    }

    fn rows(&self) -> Result<Box<dyn CaptionRows + Send + '_>> {
        Ok(match self {
            Self::Table(file) => Box::new(file.rows()?),
            Self::Token(file) => Box::new(file),
            Self::Karpathy(file) => Box::new(file.rows()?),
            Self::Coco(file) => Box::new(file.rows()?),
        })
    }

    fn path(&self) -> &Path {
        match self {
            Self::Table(file) => file.path(),
            Self::Token(file) => &file.lines.path,
            Self::Karpathy(file) => &file.file.path,
            Self::Coco(file) => &file.file.path,
        }
    }

    fn options(&self) -> Value {
        match self {
            Self::Table(file) => file.options(),
            Self::Token(file) => json!({ "layout": "token", "file": file.lines.fingerprint }),
            Self::Karpathy(file) => {
                json!({ "layout": "karpathy", "file": file.file.fingerprint, "parts": file.parts })
            }
            Self::Coco(file) => json!({ "layout": "coco", "file": file.file.fingerprint }),
        }
    }
}

impl Source for Captions {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn reads(&self) -> Vec<PathBuf> {
        self.reads.clone()
    }

    fn options(&self) -> Value {
        json!({
            "captions": self.file.options(),
            "ids": self.ids.as_ref().map(|ids| &ids.fingerprint),
            "instances": self.instances.as_ref().map(|instances| &instances.fingerprint),
        })
    }

    fn vocabulary(&self, _: &str, _: Option<&AnswerVocabulary>) -> Result<Option<Vocabulary>> {
        Ok(None)
    }

    fn items<'a>(&'a self, _: Option<&'a Vocabulary>) -> Result<Items<'a>> {
        let mut rows = self.file.rows()?;
        let mut rejects = rows.take_rejects();
        let (by_image, lost, captions) = self.scan(rows.as_ref())?;
        rejects.extend(lost);
        if let Some(ids) = &self.ids
            && by_image.images() == 0
            && rejects.is_empty()
            && rows.len() > 0
        {
            let (path, records) = (self.file.path().to_owned(), rows.len() as u64);
            return Err(Error::EmptyPart { path, records, part: format!("of an image in {}", ids.path.display()) });
        }
        let instances = self.instances.as_ref();
        rejects.extend(instances.iter().flat_map(|instances| &instances.rejects).cloned());
        let images = by_image.images();
        let records = images + captions.max(rejects.len() as u64);
        let rejects = rejects.into_iter().map(|reject| Ok(Item::Reject(reject)));
        let mut seen = HashSet::new();
        let images_of = by_image.into_iter().map(move |(name, of_image)| {
            let mut records: Vec<Record<'a>> = Vec::new();
            for row in of_image {
                let found = rows.read(row)?.unwrap_or_default();
                for Caption { image, id, text } in found {
                    let Ok(text) = text else { continue };
                    // What was lost at the first reading is lost again.
                    let again = id.as_ref().is_some_and(|id| !seen.insert(content_id(id.as_bytes())));
                    if image != name || again {
                        continue;
                    }
                    let id = id.unwrap_or_else(|| format!("{name}#{}", records.len()));
                    let texts = vec![Text { text: text.into(), ..Text::default() }];
                    records.push(Record { id: id.into(), task: CAPTION, texts, ..Record::default() });
                }
            }
            let regions = instances.map(|instances| instances.of(&name));
            Ok(Item::Image(SourceImage { name, bytes: ImageBytes::Stored(&self.images), regions, records }))
        });
        Ok(Items {
            images: Some(images),
            records: Some(records),
            regions: instances.is_some(),
            items: Box::new(rejects.chain(images_of)),
        })
    }
}
