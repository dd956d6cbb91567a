//! Checks every byte of a data set and its caches against the manifests.

use std::fs::File;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use retort_schemas::manifest::{DATASET_FILE, Shard, TEACHER_FILE, TableFile};
use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

use crate::dataset::table_path;
use crate::read::{check, check_chunk, read_range};
use crate::teacher::teacher_folders;
use crate::write::outside_chunks;
use crate::{Dataset, Error, Interrupt, Progress, Result, TeacherCache};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file, relative to the data set.
    pub file: PathBuf,
    /// The damaged column, where one can be named.
    pub column: Option<String>,
    /// What is wrong.
    pub problem: String,
}

/// What a check found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verification {
    /// Files checked.
    pub files: u64,
    /// Bytes checked.
    pub bytes: u64,
    /// Damage in file order; empty when all is well.
    pub damages: Vec<Damage>,
}

/// One file to check, with its description.
struct Task<'a> {
    path: PathBuf,
    file: &'a TableFile,
}

/// Checks every file that the manifests of a data set describe, and the manifests themselves.
///
/// # Errors
/// Only what keeps it from looking at all: no data set, an unknown version, an interrupt. Damage is in the result.
pub fn verify(folder: &Path, progress: &dyn Progress, interrupt: &Interrupt) -> Result<Verification> {
    let mut found = Verification::default();
    let dataset = match Dataset::open(folder) {
        Ok(dataset) => Some(dataset),
        Err(error @ (Error::Damaged { .. } | Error::Broken { .. } | Error::Manifest { .. })) => {
            found.damages.push(damage(folder, &folder.join(DATASET_FILE), None, &error));
            None
        }
        Err(error) => return Err(error),
    };
    found.files += 1;
    let mut teachers = Vec::new();
    for teacher in teacher_folders(folder)? {
        let manifest = teacher.join(TEACHER_FILE);
        found.files += 1;
        match TeacherCache::load(&teacher) {
            Ok(teacher) => {
                if let Some(error) = dataset.as_ref().and_then(|dataset| teacher.check_belongs(dataset).err()) {
                    found.damages.push(damage(folder, &manifest, None, &error));
                }
                teachers.push(teacher);
            }
            Err(error) => found.damages.push(damage(folder, &manifest, None, &error)),
        }
    }
    let mut tasks: Vec<Task<'_>> = Vec::new();
    if let Some(dataset) = &dataset {
        tasks.extend(tasks_of(folder, dataset.manifest().shards()));
    }
    for teacher in &teachers {
        tasks.extend(tasks_of(teacher.folder(), teacher.manifest().shards.iter()));
    }
    found.files += tasks.len() as u64;
    found.bytes = tasks.iter().map(|task| task.file.bytes).sum();
    progress.begin("verify", found.bytes, "bytes");
    let damages: Vec<Vec<Damage>> = tasks
        .par_iter()
        .map(|task| {
            interrupt.check()?;
            let found = verify_file(task);
            progress.advance(task.file.bytes);
            Ok(found.into_iter().map(|(column, error)| damage(folder, &task.path, column, &error)).collect())
        })
        .collect::<Result<_>>()?;
    progress.end();
    found.damages.extend(damages.into_iter().flatten());
    Ok(found)
}

fn tasks_of<'a>(folder: &Path, shards: impl Iterator<Item = &'a Shard>) -> Vec<Task<'a>> {
    let files = |shard: &'a Shard| {
        let path = |table: &String| table_path(folder, table, &shard.name);
        shard.tables.iter().map(move |(table, file)| Task { path: path(table), file }).collect::<Vec<_>>()
    };
    shards.flat_map(files).collect()
}

/// Everything that is wrong with one file, with the column where one can be named.
fn verify_file(task: &Task<'_>) -> Vec<(Option<String>, Error)> {
    let path = &task.path;
    let broken = |problem: String| vec![(None, Error::Broken { path: path.clone(), problem })];
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return broken(format!("it cannot be opened: {error}")),
    };
    match file.metadata() {
        Ok(metadata) if metadata.len() == task.file.bytes => {}
        Ok(metadata) => return broken(format!("it has {} bytes, expected {}", metadata.len(), task.file.bytes)),
        Err(error) => return broken(error.to_string()),
    }
    let mut damages = Vec::new();
    for chunk in &task.file.chunks {
        let checked =
            read_range(path, &mut file, chunk.offset, chunk.bytes).and_then(|bytes| check_chunk(path, chunk, &bytes));
        if let Err(error) = checked {
            damages.push((Some(chunk.column.clone()), error));
        }
    }
    let mut rest = Xxh3::new();
    for (from, to) in outside_chunks(task.file) {
        match read_range(path, &mut file, from, to - from) {
            Ok(bytes) => rest.update(&bytes),
            Err(error) => damages.push((None, error)),
        }
    }
    if let Err(error) = check(path, "the footer", &task.file.rest, rest.digest()) {
        damages.push((None, error));
    }
    damages
}

fn damage(folder: &Path, path: &Path, column: Option<String>, error: &Error) -> Damage {
    let problem = match error {
        Error::Damaged { what, expected, found, .. } => {
            format!("{what} does not match its checksum (stored {expected}, computed {found})")
        }
        Error::Broken { problem, .. } => problem.clone(),
        other => other.to_string(),
    };
    Damage { file: path.strip_prefix(folder).unwrap_or(path).to_owned(), column, problem }
}
