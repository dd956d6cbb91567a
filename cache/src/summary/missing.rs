//! What a teacher lacks, and the command that would compute it.

use std::path::Path;

use retort_schemas::manifest::TeacherManifest;
use retort_schemas::{Store, features};
use serde::Serialize;

use super::TeacherSummary;
use crate::{Dataset, TeacherCache};

/// What stands in a command where the model of a teacher belongs, and nobody knows where that is.
pub const MODEL_PLACEHOLDER: &str = "FOLDER";

/// What one command would add to a teacher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Whether it is what the teacher has of other shards; else tables that it could have besides, and has of none.
    pub begun: bool,
    /// The tables.
    pub tables: Vec<MissingTable>,
    /// The command. Of the model it says what the cache remembers: its id of the hub, or else the folder that it was opened
    /// from last, if that is there; or else [`MODEL_PLACEHOLDER`].
    pub command: String,
    /// What is to be put in its place, if it has one.
    pub note: Option<String>,
}

/// A table, and how many shards lack it, or its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingTable {
    /// Its name.
    pub table: &'static str,
    /// Shards of the data set without it.
    pub shards: u64,
}

/// What the teacher at this place lacks.
pub(super) fn missing(dataset: &Dataset, known: &[TeacherCache], all: &[TeacherSummary], at: usize) -> Vec<Missing> {
    let (teacher, summary) = (&known[at], &all[at]);
    let lacking = possible(summary).into_iter().filter_map(|table| {
        let shards = summary.shards_expected.saturating_sub(shards_with(summary, table));
        (shards > 0).then_some(MissingTable { table, shards })
    });
    let (begun, besides): (Vec<_>, Vec<_>) = lacking.partition(|missing| is_named(summary, missing.table));
    let told = [(true, begun), (false, besides)].into_iter().filter(|(_, tables)| !tables.is_empty());
    let commands = told.map(|(begun, tables)| {
        let source = source_of(known, all, at, &tables);
        let (command, note) = source.map_or_else(
            || teach(dataset.folder(), teacher, &tables),
            |source| (convert(dataset.folder(), &source.name, summary.store), None),
        );
        Missing { begun, tables, command, note }
    });
    commands.collect()
}

/// The tables that a teacher can have: those of images, of texts, or of both.
fn possible(summary: &TeacherSummary) -> Vec<&'static str> {
    let of_images = [features::images::NAME, features::patches::NAME];
    let of_texts = [features::texts::NAME, features::tokens::NAME, features::words::NAME];
    let any = |tables: &[&str]| summary.joint || tables.iter().any(|table| is_named(summary, table));
    let (images, texts) = (any(&of_images), any(&of_texts));
    let is_possible = |table: &&str| images && of_images.contains(table) || texts && of_texts.contains(table);
    features::ALL.into_iter().filter(is_possible).collect()
}

fn shards_with(summary: &TeacherSummary, table: &str) -> u64 {
    summary.tables.iter().find(|found| found.table == table).map_or(0, |found| found.shards)
}

/// Whether the manifest names a file of a table, be it there or not.
fn is_named(summary: &TeacherSummary, table: &str) -> bool {
    summary.tables.iter().any(|found| found.table == table)
}

/// The same teacher's features as floats, if codes are wanted and all of these tables are there: no model is needed then.
fn source_of<'a>(
    known: &[TeacherCache],
    all: &'a [TeacherSummary],
    at: usize,
    tables: &[MissingTable],
) -> Option<&'a TeacherSummary> {
    let mine = known[at].manifest();
    let is_source = |(teacher, summary): &(&TeacherCache, &TeacherSummary)| {
        let theirs = teacher.manifest();
        let is_same = theirs.name == mine.name && theirs.identity == mine.identity;
        let has = |missing: &MissingTable| shards_with(summary, missing.table) == summary.shards_expected;
        is_same && matches!((mine.store, theirs.store), (Store::Cos(_), Store::Floats(_))) && tables.iter().all(has)
    };
    known.iter().zip(all).find(is_source).map(|(_, summary)| summary)
}

fn convert(dataset: &Path, source: &str, store: Store) -> String {
    format!("retort convert {} --teacher {source} --store {store}", quoted(dataset))
}

/// Everything that decides the fingerprint is said, so that the command goes on with this cache.
fn teach(dataset: &Path, teacher: &TeacherCache, tables: &[MissingTable]) -> (String, Option<String>) {
    let manifest = teacher.manifest();
    let (model, note) = model_of(manifest);
    let model = word(&format!("{}={model}", manifest.name));
    let mut command = format!("retort teach {} --teacher {model}", quoted(dataset));
    for (key, value) in &manifest.settings {
        command.push_str(&format!(" --set {}", word(&format!("{}.{key}={value}", manifest.name))));
    }
    if let Some(compute) = manifest.identity.get("compute").and_then(serde_json::Value::as_str) {
        command.push_str(&format!(" --dtype {compute}"));
    }
    command.push_str(&format!(" --store {}", manifest.store));
    for MissingTable { table, .. } in tables {
        // Those of whole images and texts are computed anyway.
        if ![features::images::NAME, features::texts::NAME].contains(table) {
            command.push_str(&format!(" --{table}"));
        }
    }
    (command, note)
}

/// What names a teacher's model in a command; what to put in its place where that is not known.
fn model_of(manifest: &TeacherManifest) -> (String, Option<String>) {
    if let Some(origin) = &manifest.origin {
        return (format!("{}@{}", origin.repository, origin.commit), None);
    }
    let why = match &manifest.folder {
        Some(folder) if Path::new(folder).exists() => return (folder.clone(), None),
        Some(folder) => format!("it was {folder}, which is gone"),
        None => "this cache was made before that was noted".to_owned(),
    };
    let note = format!("in the place of {MODEL_PLACEHOLDER} goes the model's folder, or its id of the hub: {why}");
    (MODEL_PLACEHOLDER.to_owned(), Some(note))
}

/// A path as a shell takes it for one word.
fn quoted(path: &Path) -> String {
    word(&path.display().to_string())
}

fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        let paths = ["/data/vqa-2.0", "my data", "it's", ""].map(|path| quoted(Path::new(path)));
        assert_eq!(paths, ["/data/vqa-2.0", "'my data'", r"'it'\''s'", "''"]);
    }
}
