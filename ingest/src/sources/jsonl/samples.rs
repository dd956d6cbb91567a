//! A record as samples, as its mapping says.

use std::borrow::Cow;

use serde_json::Value;

use super::fields::{at, required, text, word};
use super::mapping::{Mapping, Task};
use crate::Vocabulary;
use crate::formats::delimited::BadRow;
use crate::formats::rows::{Row, wrong_type};
use crate::rejects::Code;
use crate::source::{Record, Text};

const TEXT: &str = "a text";
const TEXTS: &str = "a list of two or more texts";
const CAPTIONS: &str = "a text or a list of texts";
const LABEL: &str = "a text, a number or a truth value";
const ANSWERS: &str = "a text, a list of texts, or a list of objects with the text answer";

impl Mapping {
    /// The samples of a record: one, but for a list of captions.
    pub(super) fn samples<'a>(
        &self,
        row: &Row,
        id: &str,
        vocabulary: Option<&Vocabulary>,
    ) -> Result<Vec<Record<'a>>, BadRow> {
        let texts = self.sample_texts(row)?;
        if self.task == Task::Caption {
            let alone = texts.len() == 1;
            let caption = |(at, text): (usize, String)| {
                let id = if alone { id.to_owned() } else { format!("{id}#{at}") };
                self.record(id, vec![text])
            };
            return Ok((0..).zip(texts).map(caption).collect());
        }
        let mut record = self.record(id.to_owned(), Vec::new());
        match self.task {
            Task::Classification => self.classify(row, vocabulary, &mut record)?,
            Task::Matching => self.match_label(row, &texts, &mut record)?,
            Task::Vqa => self.answer(row, vocabulary, &mut record)?,
            Task::Caption => {}
        }
        record.texts = owned(texts);
        Ok(vec![record])
    }

    fn record<'a>(&self, id: String, texts: Vec<String>) -> Record<'a> {
        Record { id: id.into(), task: self.task.name(), texts: owned(texts), ..Record::default() }
    }

    fn sample_texts(&self, row: &Row) -> Result<Vec<String>, BadRow> {
        let (expected, least) = match self.task {
            Task::Classification | Task::Vqa => (TEXT, 1),
            Task::Caption => (CAPTIONS, 1),
            Task::Matching => (TEXTS, 2),
        };
        let takes_list = matches!(self.task, Task::Caption | Task::Matching);
        if let [field] = self.texts.as_slice() {
            let value = required(row, field, expected)?;
            return match value {
                Value::Array(items) if takes_list && items.len() >= least => {
                    items.iter().map(|item| text(item, field, expected).map(str::to_owned)).collect()
                }
                value if least == 1 => Ok(vec![text(value, field, expected)?.to_owned()]),
                value => Err(wrong_type(field, value, expected)),
            };
        }
        self.texts.iter().map(|field| Ok(text(required(row, field, TEXT)?, field, TEXT)?.to_owned())).collect()
    }

    /// The label in words, as a vocabulary is built from it.
    pub(super) fn label_text(&self, row: &Row) -> Result<Option<String>, BadRow> {
        if let Some((field, value)) = self.labelled(row) {
            return word(value, field, LABEL).map(Some);
        }
        Ok(commonest(&self.sample_answers(row)?))
    }

    /// The field of the label and what it holds; an empty text is no label.
    fn labelled<'r>(&'r self, row: &'r Row) -> Option<(&'r str, &'r Value)> {
        let field = self.label.as_deref()?;
        let value = at(row, field)?;
        value.as_str().is_none_or(|text| !text.trim().is_empty()).then_some((field, value))
    }

    fn classify(&self, row: &Row, vocabulary: Option<&Vocabulary>, record: &mut Record<'_>) -> Result<(), BadRow> {
        let Some((field, value)) = self.labelled(row) else { return Ok(()) };
        let label = word(value, field, LABEL)?;
        let classes = vocabulary.map(|vocabulary| vocabulary.stored.answers.as_slice()).unwrap_or_default();
        let by_name = vocabulary.and_then(|vocabulary| vocabulary.class_of_label(&label));
        // Where the mapping names the classes, a number may stand for one of them.
        let by_number = || {
            let number = value.as_u64().or_else(|| label.parse().ok()).filter(|_| self.classes.is_some())?;
            u32::try_from(number).ok().filter(|class| (*class as usize) < classes.len())
        };
        let Some(class) = by_name.or_else(by_number) else {
            let message = format!("field {field} is {label:?}, expected one of the classes {}", in_words(classes));
            return Err(BadRow { code: Code::UnknownLabel, message });
        };
        record.label = Some(class);
        record.label_text = classes.get(class as usize).cloned().map(Cow::Owned);
        Ok(())
    }

    fn match_label(&self, row: &Row, texts: &[String], record: &mut Record<'_>) -> Result<(), BadRow> {
        let Some((field, value)) = self.labelled(row) else { return Ok(()) };
        let label = word(value, field, LABEL)?;
        let by_wording = || value.as_str().and_then(|label| texts.iter().position(|text| text == label.trim()));
        let index = by_wording().or_else(|| label.parse().ok()).filter(|index| *index < texts.len());
        let Some(index) = index else {
            let last = texts.len() - 1;
            let message = format!("field {field} is {label:?}, expected one of the texts or their numbers 0 to {last}");
            return Err(BadRow { code: Code::UnknownLabel, message });
        };
        record.label = Some(index as u32);
        record.label_text = texts.get(index).cloned().map(Cow::Owned);
        Ok(())
    }

    fn answer(&self, row: &Row, vocabulary: Option<&Vocabulary>, record: &mut Record<'_>) -> Result<(), BadRow> {
        let answers = self.sample_answers(row)?;
        let truth = match self.labelled(row) {
            Some((field, value)) => Some(word(value, field, LABEL)?),
            None => commonest(&answers),
        };
        if let (Some(vocabulary), Some(truth)) = (vocabulary, &truth) {
            record.label = vocabulary.class_of_truth(truth);
            record.targets = match answers.as_slice() {
                // One answer is no vote: it is the truth.
                [] | [_] => record.label.map(|class| (class, 1.0)).into_iter().collect(),
                answers => vocabulary.targets(answers.iter().map(String::as_str)),
            };
        }
        record.label_text = truth.map(Cow::Owned);
        record.answers = answers.into_iter().map(Cow::Owned).collect();
        let optional = |field: &Option<String>| {
            let Some((field, value)) = field.as_deref().and_then(|field| Some((field, at(row, field)?))) else {
                return Ok(None);
            };
            word(value, field, LABEL).map(|word| Some(Cow::Owned(word)))
        };
        record.question_type = optional(&self.question_type)?;
        record.answer_type = optional(&self.answer_type)?;
        Ok(())
    }

    fn sample_answers(&self, row: &Row) -> Result<Vec<String>, BadRow> {
        let Some((field, value)) = self.answers.as_deref().and_then(|field| Some((field, at(row, field)?))) else {
            return Ok(Vec::new());
        };
        let one = |answer: &Value| {
            let named = answer.as_object().map_or(Some(answer), |answer| answer.get("answer"));
            named.and_then(|named| word(named, field, ANSWERS).ok()).ok_or_else(|| wrong_type(field, value, ANSWERS))
        };
        match value {
            Value::Array(answers) => answers.iter().map(one).collect(),
            Value::String(text) if text.trim().is_empty() => Ok(Vec::new()),
            answer => Ok(vec![one(answer)?]),
        }
    }
}

fn owned<'a>(texts: Vec<String>) -> Vec<Text<'a>> {
    texts.into_iter().map(|text| Text { text: text.into(), ..Text::default() }).collect()
}

/// The answer that was given most often, the first of equals.
fn commonest(answers: &[String]) -> Option<String> {
    let count = |answer: &String| answers.iter().filter(|other| *other == answer).count();
    // The last of equal maxima wins.
    answers.iter().rev().max_by_key(|answer| count(answer)).cloned()
}

/// Classes for a message, which may be thousands.
fn in_words(classes: &[String]) -> String {
    const MOST: usize = 10;
    let named = classes.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join(", ");
    if classes.len() > MOST { format!("{named}, ... ({} in all)", classes.len()) } else { named }
}
