//! Questions matched with their annotations, and the source images they are about.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use rayon::prelude::*;
use serde::Deserialize;

use super::pattern::ImagePattern;
use crate::formats::json::{Listing, RawRecord, Record, SourceFile, Text};
use crate::rejects::{Code, Reject};
use crate::{Error, Result};

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

/// The annotations file.
#[derive(Debug)]
pub(crate) struct Annotations<'a> {
    rows: Vec<Annotation<'a>>,
    rejects: Vec<Reject>,
}

impl<'a> Annotations<'a> {
    pub(crate) fn parse(file: &'a SourceFile) -> Result<Self> {
        let mut annotations = Self { rows: Vec::new(), rejects: Vec::new() };
        let mut seen = HashSet::new();
        for (row, parsed) in parse_all(&file.listing("annotations")?, annotation).into_iter().enumerate() {
            match parsed {
                Ok(annotation) if seen.insert(annotation.question.clone()) => annotations.rows.push(annotation),
                Ok(annotation) => annotations.rejects.push(Reject::annotation(
                    format!("annotation {}", annotation.question),
                    Code::DuplicateQuestionId,
                    "an earlier annotation has the same question_id",
                )),
                Err(bad) => annotations.rejects.push(bad.into_reject("annotation", file, row)),
            }
        }
        Ok(annotations)
    }

    /// The truth of each question, one a question.
    pub(crate) fn truths(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().map(|annotation| annotation.truth.as_ref())
    }
}

/// A question that can be used if its image can.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub id: Cow<'a, str>,
    /// Path of its image relative to the image folder.
    pub image: String,
    pub text: Cow<'a, str>,
    pub annotation: Option<Annotation<'a>>,
}

/// Everything that the annotation files say.
#[derive(Debug)]
pub(crate) struct Records<'a> {
    /// In file order.
    pub questions: Vec<Question<'a>>,
    /// Records lost so far: questions, then annotations, each in file order.
    pub rejects: Vec<Reject>,
    /// Records of the questions file, good or bad.
    pub listed: u64,
}

impl<'a> Records<'a> {
    /// Reads the questions, finds their images' paths, and matches annotations by question id.
    pub(crate) fn collect(
        file: &'a SourceFile,
        annotations: Option<Annotations<'a>>,
        pattern: &ImagePattern,
    ) -> Result<Self> {
        let listing = file.listing("questions")?;
        let rows = parse_all(&listing, question);
        let named = |row: &Result<QuestionRow<'_>, _>| matches!(row, Ok(row) if row.subtype.is_some());
        if pattern.needs_subtype() && listing.subtype.is_none() && !rows.is_empty() && !rows.iter().any(named) {
            return Err(Error::NoSubtype { path: file.path.clone() });
        }
        let annotated = annotations.is_some();
        let (truths, annotation_rejects) = annotations.map_or_else(Default::default, |all| (all.rows, all.rejects));
        let by_question: HashMap<Cow<'_, str>, usize> =
            truths.iter().enumerate().map(|(row, annotation)| (annotation.question.clone(), row)).collect();
        let mut truths: Vec<Option<Annotation<'_>>> = truths.into_iter().map(Some).collect();

        let mut records = Self { questions: Vec::new(), rejects: Vec::new(), listed: listing.records.len() as u64 };
        let mut seen = HashSet::new();
        for (row, parsed) in rows.into_iter().enumerate() {
            let parsed = parsed.and_then(|row| {
                let path = row.image_path(listing.subtype.as_deref(), pattern)?;
                Ok((row, path))
            });
            let (question, path) = match parsed {
                Ok(found) => found,
                Err(bad) => {
                    records.rejects.push(bad.into_reject("question", file, row));
                    continue;
                }
            };
            let mut reject = |code, message| {
                records.rejects.push(Reject::annotation(format!("question {}", question.id), code, message));
            };
            if !seen.insert(question.id.clone()) {
                reject(Code::DuplicateQuestionId, "an earlier question has the same question_id");
                continue;
            }
            let annotation = by_question.get(&question.id).and_then(|row| truths[*row].take());
            if annotated && annotation.is_none() {
                reject(Code::NoAnnotation, "the annotations file has no usable record of this question_id");
                continue;
            }
            records.questions.push(Question { id: question.id, image: path, text: question.text, annotation });
        }
        records.rejects.extend(annotation_rejects);
        records.rejects.extend(truths.into_iter().flatten().map(|annotation| {
            Reject::annotation(
                format!("annotation {}", annotation.question),
                Code::AnnotationWithoutQuestion,
                "the questions file has no usable record of this question_id",
            )
        }));
        Ok(records)
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

/// Parses the records in parallel, in order.
fn parse_all<'a, T: Send>(
    listing: &Listing<'a>,
    parse: fn(&Record<'a>) -> Result<T, String>,
) -> Vec<Result<T, BadRecord>> {
    let parse = |raw: &RawRecord<'a>| {
        let record = Record::of(*raw).map_err(|message| BadRecord { id: None, message })?;
        parse(&record).map_err(|message| BadRecord { id: record.id("question_id").ok().map(Cow::into_owned), message })
    };
    listing.records.par_iter().map(parse).collect()
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
