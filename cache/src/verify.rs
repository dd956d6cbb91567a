//! Checks every byte of a data set and its caches against the manifests.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use retort_schemas::manifest::{CACHE_FOLDER, DATASET_FILE, Shard, TEACHER_FILE, TableFile};
use retort_schemas::{SchemaVersion, features};
use serde::Serialize;

use crate::dataset::table_path;
use crate::files::holds_a_table;
use crate::table::Table;
use crate::teacher::teacher_folders;
use crate::{Dataset, Error, Interrupt, Progress, Result, TeacherCache};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The file, relative to the data set.
    pub file: PathBuf,
    /// The shard that it belongs to; a manifest belongs to none.
    pub shard: Option<String>,
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
    version: SchemaVersion,
}

/// Checks every file that the manifests of a data set describe, and the manifests themselves.
///
/// # Errors
/// Only what keeps it from looking at all: no data set, an unknown version, an interrupt. Damage is in the result.
pub fn verify(folder: &Path, progress: &dyn Progress, interrupt: &Interrupt) -> Result<Verification> {
    let mut found = Verification::default();
    let dataset = match Dataset::open(folder) {
        Ok(dataset) => Some(dataset),
        Err(
            error @ (Error::Damaged { .. } | Error::Broken { .. } | Error::Manifest { .. } | Error::NoManifest { .. }),
        ) => {
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
    for lost in without_manifest(folder)? {
        let problem = "it is missing beside its tables: it was lost, or `retort teach` was killed in its first shard; \
                       the next `retort teach` of this teacher removes them and makes them anew"
            .to_owned();
        let manifest = lost.join(TEACHER_FILE);
        found.damages.push(damage(folder, &manifest, None, &Error::Broken { path: manifest.clone(), problem }));
    }
    let mut tasks: Vec<Task<'_>> = Vec::new();
    if let Some(dataset) = &dataset {
        tasks.extend(tasks_of(folder, dataset.manifest().shards(), crate::dataset::version_of));
    }
    for teacher in &teachers {
        tasks.extend(tasks_of(teacher.folder(), teacher.manifest().shards.iter(), crate::teacher::version_of));
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

fn tasks_of<'a>(
    folder: &Path,
    shards: impl Iterator<Item = &'a Shard>,
    version_of: fn(&str) -> SchemaVersion,
) -> Vec<Task<'a>> {
    let task = |shard: &'a Shard, table: &'a str, file| Task {
        path: table_path(folder, table, &shard.name),
        file,
        version: version_of(table),
    };
    shards
        .flat_map(|shard| shard.tables.iter().map(move |(table, file)| (shard, table, file)))
        .map(|(shard, table, file)| task(shard, table, file))
        .collect()
}

/// Everything that is wrong with one file, with the column where one can be named: of a column, its first damage.
fn verify_file(task: &Task<'_>) -> Vec<(Option<String>, Error)> {
    let table = match Table::open(&task.path, task.file, task.version) {
        Ok(table) => table,
        Err(error) => return vec![(None, error)],
    };
    let mut damages: Vec<(Option<String>, Error)> =
        table.check_magic().err().map(|error| (None, error)).into_iter().collect();
    let mut scratch = Vec::new();
    for leaf in table.leaves() {
        let mut first = None;
        let read = table.read_pages(leaf, 0..leaf.pages.len(), &mut scratch, |_, bytes| {
            first = first.take().or(bytes.err());
            Ok(())
        });
        damages.extend(first.or(read.err()).map(|error| (Some(leaf.path.clone()), error)));
    }
    damages
}

/// A teacher's folder that holds tables but has lost its manifest: nothing would miss them.
fn without_manifest(dataset: &Path) -> Result<Vec<PathBuf>> {
    let cache = dataset.join(CACHE_FOLDER);
    let Ok(entries) = std::fs::read_dir(&cache) else { return Ok(Vec::new()) };
    let mut lost = Vec::new();
    for entry in entries {
        let folder = entry.map_err(Error::io("list", &cache))?.path();
        let tables = features::ALL;
        let has_tables = || tables.iter().any(|table| holds_a_table(&folder.join(table)));
        if !folder.join(TEACHER_FILE).is_file() && has_tables() {
            lost.push(folder);
        }
    }
    lost.sort();
    Ok(lost)
}

fn damage(folder: &Path, path: &Path, column: Option<String>, error: &Error) -> Damage {
    let problem = match error {
        Error::Damaged { what, expected, found, .. } => {
            format!("{what} does not match its checksum (stored {expected}, computed {found})")
        }
        Error::Broken { problem, .. } => problem.clone(),
        Error::NoManifest { .. } => "it is missing beside the tables of a data set".to_owned(),
        other => other.to_string(),
    };
    let is_table = path.extension().is_some_and(|ending| ending == "parquet");
    let shard = path.file_stem().filter(|_| is_table).map(|name| name.to_string_lossy().into_owned());
    Damage { file: path.strip_prefix(folder).unwrap_or(path).to_owned(), shard, column, problem }
}
