//! VQA v1 and v2, and VQA-CP.

mod pattern;
mod records;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use retort_schemas::manifest::AnswerVocabulary;
use retort_schemas::tables::samples::tasks::VQA;
use serde_json::json;

pub use self::pattern::COCO_PATTERN;
use self::pattern::ImagePattern;
use self::records::{Annotations, Question, Records};
use crate::folder::ImageFolder;
use crate::formats::json::SourceFile;
use crate::source::{Items, Record};
use crate::{AnswerPlan, Error, ImageBytes, Item, Result, Source, SourceImage, Vocabulary};

const KIND: &str = "vqa";

/// One split of VQA as it was published.
#[derive(Debug, Clone)]
pub struct VqaFiles {
    /// `v2_OpenEnded_mscoco_train2014_questions.json` or the like: an object with the list `questions`, or the bare
    /// list of VQA-CP; plain or gzip.
    pub questions: PathBuf,
    /// `v2_mscoco_train2014_annotations.json` or the like; without it, the split has no labels.
    pub annotations: Option<PathBuf>,
    /// Folder of the images, or of their subtype folders.
    pub images: PathBuf,
    /// Path of an image in that folder, such as [`COCO_PATTERN`]: `{subtype}` is the file's `data_subtype` or the
    /// record's `coco_split`, `{id}` and `{id:012}` its image id. Where there is no such file, its name alone is tried.
    pub image_pattern: String,
    /// Where the answer vocabulary comes from.
    pub answers: AnswerPlan,
}

/// VQA v1 and v2, and VQA-CP, opened.
pub struct Vqa {
    questions: SourceFile,
    annotations: Option<SourceFile>,
    images: ImageFolder,
    pattern: ImagePattern,
    image_pattern: String,
    plan: AnswerPlan,
    answers: Option<SourceFile>,
}

impl Vqa {
    /// Reads the files beside the images.
    ///
    /// # Errors
    /// [`Error::InvalidOption`], [`Error::NoImageFolder`], [`retort_cache::Error`] if a file cannot be read.
    pub fn open(files: &VqaFiles) -> Result<Self> {
        let pattern = ImagePattern::parse(&files.image_pattern)?;
        let images = ImageFolder::open(&files.images)?;
        let answers = match &files.answers {
            AnswerPlan::File(path) => Some(SourceFile::read(path)?),
            AnswerPlan::Existing | AnswerPlan::Build { .. } => None,
        };
        Ok(Self {
            questions: SourceFile::read(&files.questions)?,
            annotations: files.annotations.as_deref().map(SourceFile::read).transpose()?,
            images,
            pattern,
            image_pattern: files.image_pattern.clone(),
            plan: files.answers.clone(),
            answers,
        })
    }

    /// The files of these bytes, about images in no particular folder.
    pub(crate) fn from_bytes(questions: &[u8], annotations: Option<&[u8]>) -> Result<Self> {
        let read = |name: &str, bytes: &[u8]| SourceFile::from_bytes(Path::new(name), bytes.to_vec());
        Ok(Self {
            questions: read("questions.json", questions)?,
            annotations: annotations.map(|bytes| read("annotations.json", bytes)).transpose()?,
            images: ImageFolder::open(Path::new("."))?,
            pattern: ImagePattern::parse("{id}")?,
            image_pattern: "{id}".to_owned(),
            plan: AnswerPlan::Build { min_count: 1 },
            answers: None,
        })
    }

    fn annotations(&self) -> Result<Option<Annotations<'_>>> {
        self.annotations.as_ref().map(Annotations::parse).transpose()
    }
}

impl Source for Vqa {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn reads(&self) -> Vec<PathBuf> {
        let files = [Some(&self.questions), self.annotations.as_ref(), self.answers.as_ref()];
        let files = files.into_iter().flatten().map(|file| file.path.clone());
        files.chain([self.images.path().to_owned()]).collect()
    }

    fn options(&self) -> serde_json::Value {
        json!({
            "questions": self.questions.fingerprint,
            "annotations": self.annotations.as_ref().map(|file| &file.fingerprint),
            "image_pattern": self.image_pattern,
            "answers": match &self.plan {
                AnswerPlan::Existing => json!("existing"),
                AnswerPlan::Build { min_count } => json!({ "build": { "min_count": min_count } }),
                AnswerPlan::File(_) => json!({ "file": self.answers.as_ref().map(|file| &file.fingerprint) }),
            },
        })
    }

    fn vocabulary(&self, split: &str, existing: Option<&AnswerVocabulary>) -> Result<Option<Vocabulary>> {
        let existing = existing.cloned().map(Vocabulary::new);
        if let Some(file) = &self.answers {
            let loaded = Vocabulary::load(file)?;
            // The same classes under another file name are the same vocabulary.
            let same = existing.filter(|existing| existing.stored.hash == loaded.stored.hash);
            return Ok(Some(same.unwrap_or(loaded)));
        }
        match (existing, &self.plan, &self.annotations) {
            (Some(existing), ..) => Ok(Some(existing)),
            (None, AnswerPlan::Build { min_count }, Some(file)) => {
                let truths = Annotations::parse(file)?.truths();
                Vocabulary::build(file, split, truths.iter().map(AsRef::as_ref), *min_count).map(Some)
            }
            (None, _, Some(_)) => Err(Error::NoVocabulary),
            (None, _, None) => Ok(None),
        }
    }

    fn items<'a>(&'a self, vocabulary: Option<&'a Vocabulary>) -> Result<Items<'a>> {
        let mut records = Records::collect(&self.questions, self.annotations()?, &self.pattern)?;
        // What is lost already comes first, so that a limit on it is noticed at once.
        let rejects = std::mem::take(&mut records.rejects).into_iter().map(|reject| Ok(Item::Reject(reject)));
        let (images, listed) = (records.images(), records.listed());
        let of_images = records.into_images().map(move |(name, questions)| {
            let records = questions.into_iter().map(|question| sample(question, vocabulary)).collect();
            Ok(Item::Image(SourceImage { name, bytes: ImageBytes::Stored(&self.images), regions: None, records }))
        });
        Ok(Items {
            images: Some(images),
            records: Some(images + listed),
            regions: false,
            items: Box::new(rejects.chain(of_images)),
        })
    }
}

fn sample<'a>(question: Question<'a>, vocabulary: Option<&Vocabulary>) -> Record<'a> {
    let mut record = Record { id: question.id, task: VQA, texts: vec![question.text.into()], ..Record::default() };
    if let Some(annotation) = question.annotation {
        if let Some(vocabulary) = vocabulary {
            record.label = vocabulary.class_of_truth(&annotation.truth);
            record.targets = vocabulary.targets(annotation.answers.iter().map(AsRef::as_ref));
        }
        record.label_text = Some(annotation.truth);
        record.answers = annotation.answers;
        record.question_type = annotation.question_type;
        record.answer_type = annotation.answer_type;
    }
    record
}
