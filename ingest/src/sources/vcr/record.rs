//! A line of annotations, and the samples it gives.

use std::borrow::Cow;

use retort_schemas::tables::samples::tasks;
use serde_json::value::RawValue;

use super::names::Names;
use super::text::{OutOfRange, Sentence, Token, mentioned, text_of};
use crate::folder::stays_inside;
use crate::formats::json;
use crate::formats::lines::Lines;
use crate::rejects::{Code, Reject};
use crate::source::Record;

/// Candidates of a sample.
const CHOICES: usize = 4;
/// The folder of the published archive; some write it into their paths.
pub(super) const IMAGE_FOLDER: &str = "vcr1images/";

/// Which samples are made of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tasks {
    pub qa: bool,
    pub qar: bool,
}

impl Tasks {
    /// Samples of a line whose right answer is known, or is not.
    pub(super) fn samples(self, is_labelled: bool) -> u64 {
        let rationales = if is_labelled { 1 } else { CHOICES as u64 };
        u64::from(self.qa) + if self.qar { rationales } else { 0 }
    }
}

/// What is wrong with a line or with one of its samples.
struct Fault {
    code: Code,
    message: String,
}

impl From<String> for Fault {
    /// A field that is missing or of another type.
    fn from(message: String) -> Self {
        Self { code: Code::BadRecord, message }
    }
}

impl Fault {
    fn out_of_range(field: &str, OutOfRange(index): OutOfRange, objects: usize) -> Self {
        let message = format!("field {field} refers to object {index}, expected one of its {objects} objects from 0");
        Self { code: Code::ObjectOutOfRange, message }
    }

    fn reject(self, source: String) -> Reject {
        Reject::annotation(source, self.code, self.message)
    }
}

/// What a line says.
#[derive(Debug)]
pub(super) struct Annotation {
    pub annot_id: String,
    /// Path of its image in the image folder.
    pub image: String,
    /// Path of the metadata file there.
    pub metadata: Option<String>,
    /// Classes of the detected objects.
    pub objects: Vec<String>,
    pub samples: Vec<Record<'static>>,
    /// Samples that are lost.
    pub rejects: Vec<Reject>,
}

/// The image's path without the archive's own folder.
pub(super) fn image_name(img_fn: &str) -> &str {
    img_fn.strip_prefix(IMAGE_FOLDER).unwrap_or(img_fn)
}

/// Why the two fields that every line needs cannot be used.
pub(super) fn problem_of_key(img_fn: &str, annot_id: &str) -> Option<String> {
    if annot_id.is_empty() {
        Some("field annot_id is empty, expected a text".to_owned())
    } else if !stays_inside(image_name(img_fn)) {
        Some(format!("field img_fn is {img_fn:?}, which leads out of the image folder"))
    } else {
        None
    }
}

/// A line that has no key, told by its number.
pub(super) fn reject_of_line(lines: &Lines, line: usize, bytes: &[u8]) -> Reject {
    let source = format!("line {} of {}", lines.number(line), lines.path.file_name().unwrap_or_default().display());
    let problem = fields_of(bytes).and_then(|fields| key_of(&fields)).err();
    Reject::annotation(
        source,
        Code::BadRecord,
        problem.unwrap_or_else(|| "one of its fields is there twice".to_owned()),
    )
}

fn fields_of(bytes: &[u8]) -> Result<json::Record<'_>, String> {
    let raw: &RawValue = serde_json::from_slice(bytes).map_err(|error| format!("it is not JSON: {error}"))?;
    json::Record::parse(raw)
}

/// Image and id of a line.
fn key_of(fields: &json::Record<'_>) -> Result<(String, String), String> {
    let text = |name: &str| fields.field::<json::Text<'_>>(name, "a text").map(|text| text.0.into_owned());
    let (img_fn, annot_id) = (text("img_fn")?, text("annot_id")?);
    match problem_of_key(&img_fn, &annot_id) {
        Some(problem) => Err(problem),
        None => Ok((image_name(&img_fn).to_owned(), annot_id)),
    }
}

impl Annotation {
    /// Reads a line and makes its samples; an error is a line that gives none.
    pub(super) fn parse(lines: &Lines, line: usize, bytes: &[u8], tasks: Tasks) -> Result<Self, Reject> {
        let fields = fields_of(bytes).and_then(|fields| Ok((key_of(&fields)?, fields)));
        let ((image, annot_id), fields) = fields.map_err(|_| reject_of_line(lines, line, bytes))?;
        let source = format!("annotation {annot_id}");
        Self::of_fields(image, annot_id, &fields, tasks).map_err(|fault| fault.reject(source))
    }

    fn of_fields(image: String, annot_id: String, fields: &json::Record<'_>, tasks: Tasks) -> Result<Self, Fault> {
        let metadata = fields.optional::<json::Text<'_>>("metadata_fn", "a text")?;
        let objects: Vec<String> = fields.field("objects", "a list of class names")?;
        let likelihood = fields.optional::<json::Text<'_>>("answer_likelihood", "a text")?;
        let question: Vec<Token<'_>> = fields.field("question", TOKENS)?;
        let answers = choices(fields, "answer_choices");
        let rationales = choices(fields, "rationale_choices");

        let readable = [&answers, &rationales].into_iter().flatten().flatten().flatten();
        let names = Names::new(&annot_id, &objects, &mentioned(question.iter().chain(readable)));
        let join = |field: &str, tokens: &[Token<'_>]| {
            let sentence =
                Sentence::join(tokens, &names).map_err(|index| Fault::out_of_range(field, index, objects.len()))?;
            if sentence.text.is_empty() { Err(format!("field {field} has no words").into()) } else { Ok(sentence) }
        };
        let join_all = |field: &str, choices: Result<Vec<Vec<Token<'_>>>, Fault>| {
            choices?.iter().map(|tokens| join(field, tokens)).collect::<Result<Vec<_>, Fault>>()
        };
        let question = join("question", &question)?;
        let answers = join_all("answer_choices", answers);
        let answer_label = label(fields, "answer_label");

        let sample = |suffix: &str, task, texts, truth: Option<u32>, choices: &[Sentence]| Record {
            id: format!("{annot_id}:{suffix}").into(),
            task,
            texts,
            label: truth,
            label_text: truth.and_then(|truth| choices.get(truth as usize)).map(|choice| choice.text.clone().into()),
            answer_type: likelihood.as_ref().map(|text| Cow::Owned(text.0.as_ref().to_owned())),
            ..Record::default()
        };
        let mut samples = Vec::new();
        let mut rejects = Vec::new();
        let mut lost = |suffix: &str, fault: Fault| rejects.push(fault.reject(format!("sample {annot_id}:{suffix}")));
        if tasks.qa {
            let made = known(&answers).and_then(|answers| Ok((answers, known(&answer_label)?)));
            match made {
                Ok((answers, truth)) => {
                    let texts = answers.iter().map(|answer| text_of(&[&question, answer])).collect();
                    samples.push(sample("qa", tasks::VCR_QA, texts, *truth, answers));
                }
                Err(fault) => lost("qa", fault),
            }
        }
        if tasks.qar {
            let made = (|| {
                let (answers, answer) = (known(&answers)?, *known(&answer_label)?);
                let rationales = join_all("rationale_choices", rationales)?;
                let truth = label(fields, "rationale_label")?;
                let about = |answer: &Sentence| {
                    rationales.iter().map(|rationale| text_of(&[&question, answer, rationale])).collect()
                };
                let right = answer.and_then(|answer| answers.get(answer as usize));
                Ok(match right {
                    Some(right) => vec![sample("qar", tasks::VCR_QAR, about(right), truth, &rationales)],
                    // Which rationale is right is known beside the right answer only.
                    None => {
                        let each = answers.iter().enumerate();
                        let each = each.map(|(place, answer)| (format!("qar:a{place}"), about(answer)));
                        each.map(|(suffix, texts)| sample(&suffix, tasks::VCR_QAR, texts, None, &[])).collect()
                    }
                })
            })();
            match made {
                Ok(made) => samples.extend(made),
                Err(fault) => lost("qar", fault),
            }
        }
        let metadata = metadata.map(|path| image_name(&path.0).to_owned());
        Ok(Self { annot_id, image, metadata, objects, samples, rejects })
    }
}

const TOKENS: &str = "a list of words and lists of object indices";

/// Four token lists.
fn choices<'a>(fields: &json::Record<'a>, name: &str) -> Result<Vec<Vec<Token<'a>>>, Fault> {
    let choices: Vec<Vec<Token<'_>>> = fields.field(name, "four lists of words and lists of object indices")?;
    if choices.len() == CHOICES {
        return Ok(choices);
    }
    let message = format!("field {name} has {} choices, expected {CHOICES}", choices.len());
    Err(Fault { code: Code::WrongChoices, message })
}

/// The place of the right choice, where it is known.
fn label(fields: &json::Record<'_>, name: &str) -> Result<Option<u32>, Fault> {
    let expected = "a whole number from 0 to 3";
    let Some(label) = fields.optional::<i64>(name, expected)? else { return Ok(None) };
    match u32::try_from(label) {
        Ok(label) if (label as usize) < CHOICES => Ok(Some(label)),
        _ => {
            Err(Fault { code: Code::LabelOutOfRange, message: format!("field {name} is {label}, expected {expected}") })
        }
    }
}

/// A part that several samples need: each of them is lost with it.
fn known<T>(part: &Result<T, Fault>) -> Result<&T, Fault> {
    part.as_ref().map_err(|fault| Fault { code: fault.code, message: fault.message.clone() })
}
