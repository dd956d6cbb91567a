//! Questions matched with their annotations, and the source images they are about. Files are read twice: once to know
//! which records are good, and record by record when their image comes, so that memory holds a few numbers a record.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use rayon::prelude::*;
use serde::Deserialize;

use super::pattern::ImagePattern;
use crate::formats::json::{RawRecord, Record, SourceFile, Text};
use crate::grouped::RowsByImage;
use crate::images::{ContentId, content_id};
use crate::rejects::{Code, Reject};
use crate::{Error, Result};

/// Records that are parsed at once.
const CHUNK: usize = 4096;

/// The truth about a question.
#[derive(Debug)]
pub(crate) struct Annotation<'a> {
    question: Cow<'a, str>,
    /// `multiple_choice_answer`: the commonest answer.
    pub truth: Cow<'a, str>,
    /// The ten annotators' answers.
    pub answers: Vec<Cow<'a, str>>,
    pub question_type: Option<Cow<'a, str>>,
    pub answer_type: Option<Cow<'a, str>>,
}

/// The annotations file: which of its records are good.
#[derive(Debug)]
pub(crate) struct Annotations<'a> {
    records: Vec<RawRecord<'a>>,
    /// Row of the annotation of each question id.
    rows: HashMap<ContentId, u32>,
    rejects: Vec<Reject>,
}

impl<'a> Annotations<'a> {
    pub(crate) fn parse(file: &'a SourceFile) -> Result<Self> {
        let mut annotations =
            Self { records: file.listing("annotations")?.records, rows: HashMap::new(), rejects: Vec::new() };
        for (row, parsed) in parse_all(&annotations.records, annotation).enumerate() {
            match parsed.map(|annotation| annotation.question) {
                Ok(question) => {
                    let first = *annotations.rows.entry(id_of(&question)).or_insert(row as u32);
                    if first != row as u32 {
                        annotations.rejects.push(Reject::annotation(
                            format!("annotation {question}"),
                            Code::DuplicateQuestionId,
                            "an earlier annotation has the same question_id",
                        ));
                    }
                }
                Err(bad) => annotations.rejects.push(bad.into_reject("annotation", file, row)),
            }
        }
        Ok(annotations)
    }

    /// The truth of each question, one a question, in file order.
    pub(crate) fn truths(&self) -> Vec<Cow<'a, str>> {
        let mut rows: Vec<_> = self.rows.values().copied().collect();
        rows.par_sort_unstable();
        rows.par_iter().filter_map(|row| self.read(*row)).map(|annotation| annotation.truth).collect()
    }

    /// A record that was good before.
    fn read(&self, row: u32) -> Option<Annotation<'a>> {
        annotation(&Record::of(*self.records.get(row as usize)?).ok()?).ok()
    }

    /// Records about questions that are not there, in file order.
    fn left(&self, taken: &HashSet<ContentId>) -> Vec<Reject> {
        let mut rows: Vec<_> = self.rows.iter().filter(|(id, _)| !taken.contains(*id)).map(|(_, row)| *row).collect();
        rows.sort_unstable();
        let lost = |annotation: Annotation<'_>| {
            Reject::annotation(
                format!("annotation {}", annotation.question),
                Code::AnnotationWithoutQuestion,
                "the questions file has no usable record of this question_id",
            )
        };
        rows.into_iter().filter_map(|row| self.read(row)).map(lost).collect()
    }
}

fn id_of(question: &str) -> ContentId {
    content_id(question.as_bytes())
}

/// A question with the truth about it, where that is known.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub id: Cow<'a, str>,
    pub text: Cow<'a, str>,
    pub annotation: Option<Annotation<'a>>,
}

/// Everything that the annotation files say.
#[derive(Debug)]
pub(crate) struct Records<'a> {
    questions: Vec<RawRecord<'a>>,
    annotations: Option<Annotations<'a>>,
    /// Rows of good questions; images by their paths relative to the image folder.
    by_image: RowsByImage,
    /// Records lost so far: questions, then annotations, each in file order.
    pub rejects: Vec<Reject>,
}

impl<'a> Records<'a> {
    /// Reads the questions, finds their images' paths, and matches annotations by question id.
    pub(crate) fn collect(
        file: &'a SourceFile,
        annotations: Option<Annotations<'a>>,
        pattern: &ImagePattern,
    ) -> Result<Self> {
        let listing = file.listing("questions")?;
        let unnamed = pattern.needs_subtype() && listing.subtype.is_none();
        let (mut by_image, mut rejects) = (RowsByImage::default(), Vec::new());
        let (mut seen, mut taken, mut named) = (HashSet::new(), HashSet::new(), false);
        for (row, parsed) in parse_all(&listing.records, question).enumerate() {
            let parsed = parsed.and_then(|row| {
                named |= row.subtype.is_some();
                let path = row.image_path(listing.subtype.as_deref(), pattern)?;
                Ok((row.id, path))
            });
            let (id, path) = match parsed {
                Ok(found) => found,
                Err(bad) => {
                    rejects.push(bad.into_reject("question", file, row));
                    continue;
                }
            };
            let mut reject = |code, message| rejects.push(Reject::annotation(format!("question {id}"), code, message));
            let key = id_of(&id);
            if !seen.insert(key) {
                reject(Code::DuplicateQuestionId, "an earlier question has the same question_id");
            } else if annotations.as_ref().is_some_and(|annotations| !annotations.rows.contains_key(&key)) {
                reject(Code::NoAnnotation, "the annotations file has no usable record of this question_id");
            } else {
                taken.insert(key);
                by_image.add(path, row);
            }
        }
        if unnamed && !named && !listing.records.is_empty() {
            return Err(Error::NoSubtype { path: file.path.clone() });
        }
        let mut records = Self { questions: listing.records, annotations, by_image, rejects };
        if let Some(annotations) = &mut records.annotations {
            records.rejects.append(&mut annotations.rejects);
            records.rejects.append(&mut annotations.left(&taken));
        }
        Ok(records)
    }

    /// Records of the questions file, good or bad.
    pub(crate) fn listed(&self) -> u64 {
        self.questions.len() as u64
    }

    /// Images that good questions are about.
    pub(crate) fn images(&self) -> u64 {
        self.by_image.images()
    }

    /// Each image with its questions, both in order of first appearance.
    pub(crate) fn into_images(self) -> impl Iterator<Item = (String, Vec<Question<'a>>)> {
        let Self { questions, annotations, by_image, .. } = self;
        let read = move |row: usize| {
            let QuestionRow { id, text, .. } = question(&Record::of(*questions.get(row)?).ok()?).ok()?;
            let of = |annotations: &Annotations<'a>| annotations.read(*annotations.rows.get(&id_of(&id))?);
            let annotation = annotations.as_ref().and_then(of);
            Some(Question { id, text, annotation })
        };
        by_image.into_iter().map(move |(image, rows)| (image, rows.into_iter().filter_map(&read).collect()))
    }
}

/// A record with a field that is missing or of another type.
struct BadRecord {
    /// The question id, if that could be read.
    id: Option<String>,
    message: String,
}

impl BadRecord {
    fn into_reject(self, kind: &str, file: &SourceFile, row: usize) -> Reject {
        let source = match self.id {
            Some(id) => format!("{kind} {id}"),
            None => format!("record {row} of {}", file.name()),
        };
        Reject::annotation(source, Code::BadRecord, self.message)
    }
}

/// Parses the records in order, some thousands in parallel at a time.
fn parse_all<'a, T: Send>(
    records: &[RawRecord<'a>],
    parse: fn(&Record<'a>) -> Result<T, String>,
) -> impl Iterator<Item = Result<T, BadRecord>> {
    let parse = move |raw: &RawRecord<'a>| {
        let record = Record::of(*raw).map_err(|message| BadRecord { id: None, message })?;
        parse(&record).map_err(|message| BadRecord { id: record.id("question_id").ok().map(Cow::into_owned), message })
    };
    records.chunks(CHUNK).flat_map(move |chunk| chunk.par_iter().map(parse).collect::<Vec<_>>())
}

struct QuestionRow<'a> {
    id: Cow<'a, str>,
    image: Cow<'a, str>,
    text: Cow<'a, str>,
    /// `coco_split` of VQA-CP, whose parts mix the images of both COCO splits.
    subtype: Option<Cow<'a, str>>,
}

impl QuestionRow<'_> {
    fn image_path(&self, file_subtype: Option<&str>, pattern: &ImagePattern) -> Result<String, BadRecord> {
        let bad = |message: String| BadRecord { id: Some(self.id.clone().into_owned()), message };
        let subtype = match self.subtype.as_deref().or(file_subtype) {
            // The questions of test-dev are about images of test.
            Some("test-dev2015") => "test2015",
            Some(subtype) => subtype,
            None if pattern.needs_subtype() => {
                return Err(bad(
                    "field coco_split is missing, expected a text: the file has no data_subtype".to_owned()
                ));
            }
            None => "",
        };
        let outside = || bad(format!("field image_id is {:?}, which leads out of the image folder", self.image));
        pattern.path(subtype, &self.image).ok_or_else(outside)
    }
}

const TEXT: &str = "a text";

fn question<'a>(record: &Record<'a>) -> Result<QuestionRow<'a>, String> {
    Ok(QuestionRow {
        id: record.id("question_id")?,
        image: record.id("image_id")?,
        text: record.field::<Text<'a>>("question", TEXT)?.0,
        subtype: optional_text(record, "coco_split")?,
    })
}

fn annotation<'a>(record: &Record<'a>) -> Result<Annotation<'a>, String> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        answer: Cow<'a, str>,
    }
    let answers: Vec<Answer<'a>> = record.field("answers", "a list of objects with the text `answer`")?;
    Ok(Annotation {
        question: record.id("question_id")?,
        truth: record.field::<Text<'a>>("multiple_choice_answer", TEXT)?.0,
        answers: answers.into_iter().map(|answer| answer.answer).collect(),
        question_type: optional_text(record, "question_type")?,
        answer_type: optional_text(record, "answer_type")?,
    })
}

fn optional_text<'a>(record: &Record<'a>, name: &str) -> Result<Option<Cow<'a, str>>, String> {
    let text: Option<Option<Text<'a>>> = record.optional(name, "a text or null")?;
    Ok(text.flatten().map(|text| text.0))
}
