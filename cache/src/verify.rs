//! Checks every byte of a data set and its caches against the manifests.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use retort_schemas::manifest::{CACHE_FOLDER, DATASET_FILE, Shard, TEACHER_FILE, TableFile};
use retort_schemas::parts::PARTS_FOLDER;
use retort_schemas::{SchemaVersion, features};
use serde::Serialize;

use crate::dataset::{runs_of, table_path};
use crate::files::holds_a_table;
use crate::parts::{Parts, Piece, pieces};
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

/// Everything that one manifest names.
struct Owner<'a> {
    /// Its folder.
    folder: &'a Path,
    parts: &'a Parts,
    pieces: Vec<Piece<'a>>,
    version_of: fn(&str) -> SchemaVersion,
}

/// Checks every file that the manifests of a data set describe, and the manifests themselves with their parts.
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
                if let Some(error) = dataset.as_ref().and_then(|dataset| teacher.check_belongs(dataset).err())
                    // A part that cannot be read is found below, whosever it is.
                    && !is_of_part(&error)
                {
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
    let mut owners = Vec::new();
    if let Some(dataset) = &dataset {
        let pieces = runs_of(dataset.manifest()).flat_map(|(split, runs)| pieces(split, runs)).collect();
        owners.push(Owner { folder, parts: dataset.parts(), pieces, version_of: crate::dataset::version_of });
    }
    for teacher in &teachers {
        let pieces = teacher.runs().flat_map(|(split, runs)| pieces(split, runs)).collect();
        let (folder, parts) = (teacher.folder(), teacher.parts());
        owners.push(Owner { folder, parts, pieces, version_of: crate::teacher::version_of });
    }
    let own = dataset.iter().flat_map(|dataset| runs_of(dataset.manifest()));
    let all = own.chain(teachers.iter().flat_map(|teacher| teacher.runs()));
    progress.begin("verify", all.map(|(_, runs)| runs.bytes()).sum(), "bytes");
    for owner in &owners {
        for piece in &owner.pieces {
            match piece {
                Piece::Open(shards) => found.check(folder, owner, shards, progress, interrupt)?,
                Piece::Part(split, part) => {
                    found.files += 1;
                    match owner.parts.load(split, part) {
                        Ok(shards) => found.check(folder, owner, &shards, progress, interrupt)?,
                        Err(error) => {
                            let path = owner.folder.join(part.path(split));
                            found.damages.push(damage(folder, &path, None, &error));
                        }
                    }
                }
            }
        }
    }
    progress.end();
    Ok(found)
}

/// Whether an error is about a part of a manifest.
fn is_of_part(error: &Error) -> bool {
    let (Error::Damaged { path, .. }
    | Error::Broken { path, .. }
    | Error::Manifest { path, .. }
    | Error::Schema { path, .. }) = error
    else {
        return false;
    };
    path.parent().is_some_and(|folder| folder.ends_with(PARTS_FOLDER))
}

impl Verification {
    /// Checks the files of shards.
    fn check(
        &mut self,
        folder: &Path,
        owner: &Owner<'_>,
        shards: &[Shard],
        progress: &dyn Progress,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let tasks: Vec<Task<'_>> = shards
            .iter()
            .flat_map(|shard| shard.tables.iter().map(move |(table, file)| (shard, table, file)))
            .map(|(shard, table, file)| Task {
                path: table_path(owner.folder, table, &shard.name),
                file,
                version: (owner.version_of)(table),
            })
            .collect();
        self.files += tasks.len() as u64;
        self.bytes += tasks.iter().map(|task| task.file.bytes).sum::<u64>();
        let damages: Vec<Vec<Damage>> = tasks
            .par_iter()
            .map(|task| {
                interrupt.check()?;
                let found = verify_file(task);
                progress.advance(task.file.bytes);
                Ok(found.into_iter().map(|(column, error)| damage(folder, &task.path, column, &error)).collect())
            })
            .collect::<Result<_>>()?;
        self.damages.extend(damages.into_iter().flatten());
        Ok(())
    }
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
