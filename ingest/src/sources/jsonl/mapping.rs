//! The mapping: a TOML file that says which field is what.

use std::path::Path;

use retort_cache::Error as CacheError;
use retort_schemas::tables::samples::tasks;
use serde::Deserialize;
use serde_json::Value;

use super::fields::{self, Template};
use crate::folder::stays_inside;
use crate::formats::delimited::BadRow;
use crate::formats::rows::Row;
use crate::rejects::Code;
use crate::{DEFAULT_MIN_COUNT, Error, Result};

/// What a sample asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Which class is this image and text?
    Classification,
    /// Which of these texts belongs to the image?
    Matching,
    /// None: an image and its text.
    Caption,
    /// What is the answer to this question?
    Vqa,
}

/// Each task with the keys that it takes beside those of all.
const TASKS: [(&str, Task, &[&str]); 4] = [
    (tasks::CLASSIFICATION, Task::Classification, &["text", "label", "classes"]),
    (tasks::MATCHING, Task::Matching, &["texts", "label"]),
    (tasks::CAPTION, Task::Caption, &["text"]),
    (tasks::VQA, Task::Vqa, &["text", "label", "answers", "classes", "min_count", "question_type", "answer_type"]),
];
const KEYS_OF_ALL: [&str; 5] = ["task", "id", "image", "split", "split_value"];

impl Task {
    /// The name as stored.
    pub(super) fn name(self) -> &'static str {
        TASKS.iter().find(|(_, task, _)| *task == self).map_or("", |(name, ..)| name)
    }

    pub(super) fn has_classes(self) -> bool {
        matches!(self, Self::Classification | Self::Vqa)
    }
}

/// One name or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Several(Vec<String>),
}

impl Names {
    fn list(self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name],
            Self::Several(names) => names,
        }
    }
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
struct Written {
    id: Option<String>,
    image: Option<String>,
    text: Option<String>,
    texts: Option<Names>,
    label: Option<String>,
    answers: Option<String>,
    question_type: Option<String>,
    answer_type: Option<String>,
    classes: Option<Vec<String>>,
    min_count: Option<usize>,
    split: Option<String>,
    split_value: Option<Names>,
}

/// A mapping that makes sense.
#[derive(Debug)]
pub(super) struct Mapping {
    pub task: Task,
    pub id: Option<Template>,
    image: Template,
    /// One field; for matching it holds a list, or there are several.
    pub texts: Vec<String>,
    pub label: Option<String>,
    pub answers: Option<String>,
    pub question_type: Option<String>,
    pub answer_type: Option<String>,
    pub classes: Option<Vec<String>>,
    pub min_count: usize,
    /// Field of the part, and the values that are chosen.
    part: Option<(String, Vec<String>)>,
    /// What it says, for the manifest.
    pub options: Value,
}

impl Mapping {
    /// Reads a mapping; `parts` go before its own.
    pub(super) fn read(path: &Path, parts: &[String]) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(CacheError::io("read", path))?;
        let invalid = |problem: String| Error::InvalidMapping { path: path.to_owned(), problem };
        let mut table: toml::Table = toml::from_str(&text).map_err(|error| invalid(error.to_string()))?;
        let unknown = |key: &String| !is_known(key);
        if let Some(key) = table.keys().find(|key| unknown(key)) {
            return Err(Error::UnknownMappingKey { path: path.to_owned(), key: key.clone(), near: nearest(key) });
        }
        if !parts.is_empty() {
            let parts = parts.iter().cloned().map(toml::Value::String).collect();
            table.insert("split_value".to_owned(), toml::Value::Array(parts));
        }
        Self::check(table).map_err(invalid)
    }

    fn check(table: toml::Table) -> Result<Self, String> {
        let names = || TASKS.map(|(name, ..)| name).join(", ");
        let task = table.get("task").ok_or_else(|| format!("task is missing, expected one of {}", names()))?;
        let (name, task, keys) = TASKS
            .into_iter()
            .find(|(name, ..)| task.as_str() == Some(name))
            .ok_or_else(|| format!("task is {task}, expected one of {}", names()))?;
        if let Some(key) =
            table.keys().find(|key| !KEYS_OF_ALL.contains(&key.as_str()) && !keys.contains(&key.as_str()))
        {
            return Err(format!("task {name:?} has no use for {key}, but for {}", keys.join(", ")));
        }
        let options = serde_json::to_value(&table).map_err(|error| error.to_string())?;
        let written: Written =
            toml::Value::Table(table).try_into().map_err(|error: toml::de::Error| error.message().to_owned())?;
        let image = written.image.ok_or("image is missing, expected a field or a path with fields in braces")?;
        let template = |key: &str, text: &str| Template::parse(text).map_err(|problem| format!("{key}: {problem}"));
        let texts = match (written.text, written.texts) {
            (Some(text), _) => vec![text],
            (None, Some(texts)) => texts.list(),
            (None, None) => Vec::new(),
        };
        if texts.is_empty() {
            let key = if task == Task::Matching { "texts" } else { "text" };
            return Err(format!("{key} is missing: task {name:?} needs it"));
        }
        if let Some(classes) = &written.classes {
            check_classes(classes)?;
        }
        let part = match (written.split, written.split_value) {
            (Some(field), Some(values)) => Some((field, values.list())),
            (None, None) => None,
            (Some(_), None) => return Err("split needs split_value: the parts that belong to this split".to_owned()),
            (None, Some(_)) => return Err("split_value needs split: the field of the part".to_owned()),
        };
        Ok(Self {
            task,
            id: written.id.map(|text| template("id", &text)).transpose()?,
            image: template("image", &image)?,
            texts,
            label: written.label,
            answers: written.answers,
            question_type: written.question_type,
            answer_type: written.answer_type,
            classes: written.classes,
            min_count: written.min_count.unwrap_or(if task == Task::Vqa { DEFAULT_MIN_COUNT } else { 1 }),
            part,
            options,
        })
    }

    /// The fields without which no record is a sample.
    pub(super) fn needed_fields(&self) -> impl Iterator<Item = &str> {
        self.image.fields().chain(self.texts.iter().map(String::as_str))
    }

    /// Whether a record belongs to the split.
    pub(super) fn is_in_part(&self, row: &Row) -> Result<bool, BadRow> {
        const EXPECTED: &str = "a text or a number";
        let Some((field, values)) = &self.part else { return Ok(true) };
        let part = fields::word(fields::required(row, field, EXPECTED)?, field, EXPECTED)?;
        Ok(values.contains(&part))
    }

    /// The part, for a message.
    pub(super) fn part_in_words(&self) -> String {
        let part = self.part.as_ref();
        part.map_or_else(String::new, |(field, values)| format!("with {field} {}", values.join(" or ")))
    }

    /// The id of a record: the number of it where the mapping names none.
    pub(super) fn sample_id(&self, row: &Row, number: usize) -> Result<String, BadRow> {
        self.id.as_ref().map_or_else(|| Ok(number.to_string()), |id| id.fill(row))
    }

    /// Where the image of a record lies in the image folder.
    pub(super) fn image_path(&self, row: &Row) -> Result<String, BadRow> {
        let path = self.image.fill(row)?;
        if stays_inside(&path) {
            return Ok(path);
        }
        let message = format!("the image is {path:?}, which leads out of the image folder");
        Err(BadRow { code: Code::BadRecord, message })
    }
}

fn is_known(key: &str) -> bool {
    KEYS_OF_ALL.contains(&key) || TASKS.iter().any(|(_, _, keys)| keys.contains(&key))
}

/// The key that was meant.
fn nearest(key: &str) -> Option<String> {
    let known = KEYS_OF_ALL.iter().chain(TASKS.iter().flat_map(|(_, _, keys)| keys.iter()));
    let (distance, near) = known.map(|known| (strsim::damerau_levenshtein(known, key), *known)).min()?;
    (distance <= 1 + key.len() / 3).then(|| near.to_owned())
}

fn check_classes(classes: &[String]) -> Result<(), String> {
    if classes.is_empty() {
        return Err("classes is empty, expected the classes in order".to_owned());
    }
    let twice = (1..classes.len()).find(|at| classes[..*at].contains(&classes[*at]));
    twice.map_or(Ok(()), |at| Err(format!("classes holds {:?} twice", classes[at])))
}
