//! Records of any data set, told by a mapping: which field is what.
//!
//! The file holds one JSON object a line, or a JSON list of objects, or it is a CSV or TSV with a header. The mapping is
//! a short TOML file. For the development part of NLVR, whose images are named by two fields:
//!
//! ```toml
//! task = "classification"
//! id = "identifier"
//! image = "images/{directory}/dev-{identifier}-0.png"
//! text = "sentence"
//! label = "label"
//! classes = ["false", "true"]
//! ```
//!
//! | key | what it says |
//! |---|---|
//! | `task` | `classification` (one text, a class), `matching` (several texts, the index of the right one), `caption`, `vqa` |
//! | `image` | field of the image's path, or a path with fields in braces: `{id}`, `{meta.id:012}` filled up with zeros |
//! | `id` | field of the sample's id, or a text with fields in braces; the number of the record where nothing is said |
//! | `text` | field of the text; for captions it may hold a list |
//! | `texts` | matching: field of a list of texts, or a list of fields |
//! | `label` | field of the class, of the index or wording of the right text, or of the true answer |
//! | `answers` | vqa: field of the human answers: a text, a list of texts, or a list of objects with `answer` |
//! | `classes` | the classes in order; else those of the data set, else those of this split's labels, the commonest first |
//! | `min_count` | vqa: questions that an answer needs to be a class of a vocabulary that is built |
//! | `question_type`, `answer_type` | vqa: fields of these |
//! | `split`, `split_value` | field of the part, and the value or values that belong to the split |
//!
//! Fields inside others are named by dotted paths; a number is a place in a list.

mod fields;
mod mapping;
mod samples;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use retort_schemas::answers::vocabulary_entry;
use retort_schemas::manifest::AnswerVocabulary;
use serde_json::{Value, json};

use self::mapping::{Mapping, Task};
use crate::folder::ImageFolder;
use crate::formats::delimited::Header;
use crate::formats::rows::{RowFile, Rows};
use crate::grouped::RowsByImage;
use crate::images::content_id;
use crate::rejects::{Code, Reject};
use crate::source::{ImageBytes, Item, Items, Record, SourceImage};
use crate::{Error, Result, Source, Vocabulary};

const KIND: &str = "jsonl";

/// One split of records with a mapping.
#[derive(Debug, Clone, Default)]
pub struct JsonlFiles {
    /// The records: jsonl, a JSON list, CSV or TSV; plain or gzip.
    pub file: PathBuf,
    /// The mapping, in TOML.
    pub mapping: PathBuf,
    /// Folder of the images.
    pub images: PathBuf,
    /// Values of the mapping's field `split` that belong to the split; else those that the mapping names.
    pub parts: Vec<String>,
}

/// Records with a mapping, opened.
pub struct Jsonl {
    file: [RowFile; 1],
    mapping: Mapping,
    images: ImageFolder,
    reads: Vec<PathBuf>,
}

impl Jsonl {
    /// Reads the mapping and opens the records.
    ///
    /// # Errors
    /// [`Error::InvalidMapping`], [`Error::UnknownMappingKey`], [`Error::UnknownLayout`], [`Error::NoColumns`],
    /// [`Error::NoImageFolder`], [`retort_cache::Error`] if a file cannot be read.
    pub fn open(files: &JsonlFiles) -> Result<Self> {
        let mapping = Mapping::read(&files.mapping, &files.parts)?;
        let images = ImageFolder::open(&files.images)?;
        // What is neither JSON nor such a table is read as a table of one strange column.
        let header = |columns: Vec<String>, _| {
            if mapping.needed_fields().all(|field| columns.iter().any(|column| column == field)) {
                return Ok(Header { columns, is_first_row: true });
            }
            let expected = mapping.needed_fields().collect::<Vec<_>>().join(", ");
            let expected = format!("JSON, or a table with the columns of the mapping: {expected}");
            Err(Error::NoColumns { path: files.file.clone(), expected, found: columns.join(", ") })
        };
        Ok(Self {
            file: [RowFile::open(&files.file, header)?],
            mapping,
            images,
            reads: vec![files.file.clone(), files.mapping.clone(), files.images.clone()],
        })
    }

    /// The classes that the labels of this split make.
    fn build_vocabulary(&self, split: &str) -> Result<Option<Vocabulary>> {
        let rows = Rows::of(&self.file)?;
        let mut counts: HashMap<String, usize> = HashMap::new();
        for row in 0..rows.len() {
            let Ok(fields) = rows.read(row)? else { continue };
            if !self.mapping.is_in_part(&fields).unwrap_or(false) {
                continue;
            }
            let Ok(Some(label)) = self.mapping.label_text(&fields) else { continue };
            let class = if self.mapping.task == Task::Vqa { vocabulary_entry(&label) } else { label };
            *counts.entry(class).or_default() += 1;
        }
        if counts.is_empty() {
            return Ok(None);
        }
        let min_count = self.mapping.min_count;
        let origin = format!("built from {split}, at least {min_count} records");
        let path = self.file[0].path();
        let empty = || Error::EmptyVocabulary { path: path.clone(), min_count };
        Vocabulary::commonest(origin, counts, min_count).ok_or_else(empty).map(Some)
    }

    /// Reads every record once: which are good, and the images they are about.
    fn scan(&self, rows: &Rows<'_>, vocabulary: Option<&Vocabulary>) -> Result<(RowsByImage, Vec<Reject>)> {
        let (mut by_image, mut rejects, mut seen) = (RowsByImage::default(), Vec::new(), HashSet::new());
        for row in 0..rows.len() {
            let fields = match rows.read(row)? {
                Ok(fields) => fields,
                Err(bad) => {
                    rejects.push(Reject::annotation(rows.place(row), bad.code, bad.message));
                    continue;
                }
            };
            let mut lose = |source: Option<&str>, code, message: String| {
                let source = source.map_or_else(|| rows.place(row), |id| format!("sample {id}"));
                rejects.push(Reject::annotation(source, code, message));
            };
            match self.mapping.is_in_part(&fields) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(bad) => {
                    lose(None, bad.code, bad.message);
                    continue;
                }
            }
            let id = match self.mapping.sample_id(&fields, row) {
                Ok(id) => id,
                Err(bad) => {
                    lose(None, bad.code, bad.message);
                    continue;
                }
            };
            let named = self.mapping.id.is_some().then_some(id.as_str());
            let image = self.mapping.samples(&fields, &id, vocabulary).and_then(|_| self.mapping.image_path(&fields));
            match image {
                Err(bad) => lose(named, bad.code, bad.message),
                Ok(_) if !seen.insert(content_id(id.as_bytes())) => {
                    lose(named, Code::DuplicateSampleId, "an earlier record has the same id".to_owned());
                }
                Ok(image) => by_image.add(image, row),
            }
        }
        Ok((by_image, rejects))
    }
}

impl Source for Jsonl {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn reads(&self) -> Vec<PathBuf> {
        self.reads.clone()
    }

    fn options(&self) -> Value {
        json!({ "file": self.file[0].fingerprint(), "mapping": self.mapping.options })
    }

    fn vocabulary(&self, split: &str, existing: Option<&AnswerVocabulary>) -> Result<Option<Vocabulary>> {
        if !self.mapping.task.has_classes() {
            return Ok(None);
        }
        if let Some(classes) = &self.mapping.classes {
            let classes = Vocabulary::from_answers("classes of the mapping".to_owned(), classes.clone());
            return Ok(Some(classes.or_same(existing)));
        }
        match existing {
            Some(existing) => Ok(Some(Vocabulary::new(existing.clone()))),
            None => self.build_vocabulary(split),
        }
    }

    fn items<'a>(&'a self, vocabulary: Option<&'a Vocabulary>) -> Result<Items<'a>> {
        let rows = Rows::of(&self.file)?;
        let (by_image, rejects) = self.scan(&rows, vocabulary)?;
        if by_image.images() == 0 && rejects.is_empty() && rows.len() > 0 {
            let (path, records) = (self.file[0].path().clone(), rows.len() as u64);
            return Err(Error::EmptyPart { path, records, part: self.mapping.part_in_words() });
        }
        let images = by_image.images();
        let records = images + by_image.rows() + rejects.len() as u64;
        let samples = move |row: usize| -> Result<Vec<Record<'a>>> {
            let fields = rows.read_again(row)?;
            let id = self.mapping.sample_id(&fields, row).map_err(|_| rows.changed(row))?;
            self.mapping.samples(&fields, &id, vocabulary).map_err(|_| rows.changed(row))
        };
        let rejects = rejects.into_iter().map(|reject| Ok(Item::Reject(reject)));
        let images_of = by_image.into_iter().map(move |(name, rows)| {
            let mut records = Vec::new();
            for row in rows {
                records.extend(samples(row)?);
            }
            Ok(Item::Image(SourceImage { name, bytes: ImageBytes::Stored(&self.images), regions: None, records }))
        });
        Ok(Items {
            images: Some(images),
            records: Some(records),
            regions: false,
            items: Box::new(rejects.chain(images_of)),
        })
    }
}
