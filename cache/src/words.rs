//! What teachers say of words: which teachers, and the embeddings of some words. Of use where a few samples are looked at; a
//! trainer reads all words once.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use arrow::array::{Array, AsArray, ListArray, StringArray, UInt32Array};
use retort_schemas::features::{images, texts, words};

use crate::{Columns, Dataset, Result, TeacherCache, column, vectors};

/// The teachers whose embeddings tell how relevant a word is (method section 4).
#[derive(Debug, Clone, Copy)]
pub struct WordTeachers<'a> {
    /// Embedded images, and words in the template: of a space of images and texts.
    pub visual: Option<&'a TeacherCache>,
    /// Embedded texts, and words alone: of texts alone, or if there is none, of both.
    pub semantic: Option<&'a TeacherCache>,
}

impl<'a> WordTeachers<'a> {
    /// The first of each kind that has embedded words.
    pub fn among(teachers: &'a [TeacherCache]) -> Self {
        let first = |table: &str, joint: Option<bool>| {
            teachers.iter().find(|teacher| {
                let is = teacher.manifest();
                is.has(words::NAME) && is.has(table) && joint.is_none_or(|joint| is.joint == joint)
            })
        };
        Self {
            visual: first(images::NAME, Some(true)),
            semantic: first(texts::NAME, Some(false)).or_else(|| first(texts::NAME, None)),
        }
    }
}

/// Whether a text names an object of the image anywhere in a span of bytes: `objects` is that column of texts. Such words are
/// no candidates, as a tag like `[person1]` was resolved to any name.
pub fn names_object(objects: &ListArray, text: usize, span: Range<usize>) -> bool {
    let objects = objects.value(text);
    let bounds = objects.as_struct_opt().and_then(|objects| {
        let bound = |at: usize| objects.column(at).as_any().downcast_ref::<UInt32Array>();
        bound(0).zip(bound(1))
    });
    bounds.is_some_and(|(starts, ends)| {
        let mut both = starts.values().iter().zip(ends.values());
        both.any(|(from, to)| (*from as usize) < span.end && (*to as usize) > span.start)
    })
}

/// The embeddings of some words, [`words::ISOLATED`] or [`words::PROMPT`]; those that the teacher has not embedded are left out.
/// A word is in the shard where it first appears: the names of words are read shard by shard until all are found, and
/// of the embeddings the wanted rows.
///
/// # Errors
/// As [`TeacherCache::read_rows`].
pub fn word_embeddings(
    dataset: &Dataset,
    teacher: &TeacherCache,
    name: &str,
    wanted: &BTreeSet<&str>,
) -> Result<HashMap<String, Vec<f32>>> {
    let mut found = HashMap::new();
    for shard in dataset.shards() {
        let shard = shard?;
        if found.len() == wanted.len() {
            break;
        }
        if teacher.shard(&shard.name)?.is_none_or(|mine| mine.rows(words::NAME) == 0) {
            continue;
        }
        let all = teacher.read_columns(dataset, &shard, words::NAME, Columns::Named(&[words::WORD]))?;
        let all = column::<StringArray>(&all, words::WORD)?.iter().flatten().enumerate();
        let mine: Vec<(usize, String)> =
            all.filter(|(_, word)| wanted.contains(word)).map(|(row, word)| (row, word.to_owned())).collect();
        if mine.is_empty() {
            continue;
        }
        let rows: Vec<usize> = mine.iter().map(|(row, _)| *row).collect();
        let batch = teacher.read_rows(dataset, &shard, words::NAME, Columns::Named(&[name]), &rows)?;
        found.extend(mine.into_iter().map(|(_, word)| word).zip(vectors::Rows::of(&batch, name)?.each()));
    }
    Ok(found)
}
