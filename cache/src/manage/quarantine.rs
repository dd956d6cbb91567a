//! Sets damaged files of teachers aside, so that `teach` computes just those again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use retort_schemas::manifest::{CACHE_FOLDER, DATASET_FILE, Shard, TEACHER_FILE};
use retort_schemas::parts::{PART_SHARDS, PARTS_FOLDER};
use serde::Serialize;

use crate::dataset::table_path;
use crate::files::remove_file;
use crate::lock::{NOTE, WriterLock};
use crate::teacher::version_of;
use crate::{Columns, Error, Result, TeacherCache, Verification, create_folder, read_table};

/// Folder of what was set aside: in a teacher's folder, or in the cache folder for whole teachers.
const QUARANTINE: &str = "quarantine";

/// What was set aside and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Quarantine {
    /// Files and folders that were moved, and files that were gone already.
    pub moved: Vec<Moved>,
    /// Damage that stays, and what to do about it.
    pub left: Vec<Left>,
}

/// One file, or one teacher's folder, that no manifest names any more. Paths are relative to the data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Where it was.
    pub from: PathBuf,
    /// Where it is; nowhere if there was no such file.
    pub to: Option<PathBuf>,
}

/// One damaged file that stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The file, relative to the data set.
    pub file: PathBuf,
    /// What to do about it.
    pub advice: String,
}

/// What a damaged file is.
enum Part {
    /// Of the data set itself.
    Own,
    /// A teacher's manifest.
    Manifest(String),
    /// A part of a teacher's manifest: its folder, its file.
    OfManifest(String, String),
    /// A table of a teacher: its folder, the table, the shard.
    Table(String, String, String),
}

/// Sets aside what [`crate::verify()`] found damaged in the caches of a data set. Files are moved to
/// `cache/<teacher>/quarantine/` and taken out of `teacher.json`; a teacher whose `teacher.json` is damaged is moved to
/// `cache/quarantine/` as a whole. A damaged part of `teacher.json` is moved like a table: its shards are then taught
/// again. Nothing is deleted, and each file is read once more before it is moved.
///
/// Damage in the data set's own files, in a teacher that another process writes, and a cache that is whole but of
/// another data set or release stay as they are.
///
/// # Errors
/// [`Error::Io`]; run again, it goes on.
pub fn quarantine(dataset: &Path, found: &Verification) -> Result<Quarantine> {
    let mut done = Quarantine::default();
    let mut manifests = BTreeSet::new();
    let mut unread: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut tables: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for file in found.damages.iter().map(|damage| &damage.file).collect::<BTreeSet<_>>() {
        match part(file) {
            Part::Own => done.left.push(Left { file: file.clone(), advice: advice(file) }),
            Part::Manifest(teacher) => {
                manifests.insert(teacher);
            }
            Part::OfManifest(teacher, name) => {
                unread.entry(teacher).or_default().insert(name);
            }
            Part::Table(teacher, table, shard) => {
                tables.entry(teacher).or_default().insert((table, shard));
            }
        }
    }
    for teacher in manifests {
        whole(dataset, &teacher, &mut done)?;
    }
    // Before tables are taken out: for that, the parts that they are in are read.
    for (teacher, names) in unread {
        of_manifest(dataset, &teacher, &names, &mut done)?;
    }
    for (teacher, files) in tables {
        parts(dataset, &teacher, &files, &mut done)?;
    }
    Ok(done)
}

fn part(file: &Path) -> Part {
    let names: Vec<&str> = file
        .components()
        .filter_map(|part| if let Component::Normal(name) = part { name.to_str() } else { None })
        .collect();
    match names[..] {
        [CACHE_FOLDER, teacher, TEACHER_FILE] => Part::Manifest(teacher.to_owned()),
        [CACHE_FOLDER, teacher, PARTS_FOLDER, name] => Part::OfManifest(teacher.to_owned(), name.to_owned()),
        [CACHE_FOLDER, teacher, table, name] => match name.strip_suffix(".parquet") {
            Some(shard) => Part::Table(teacher.to_owned(), table.to_owned(), shard.to_owned()),
            None => Part::Own,
        },
        _ => Part::Own,
    }
}

fn advice(file: &Path) -> String {
    if file == Path::new(DATASET_FILE) || file.starts_with(PARTS_FOLDER) {
        return "restore a copy of it, or ingest into another folder: it cannot be computed again".to_owned();
    }
    let shard = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let split = Shard::split_of(&shard);
    format!("restore a copy of it, or run `retort ingest` of split {split} again with --force, then `retort teach`")
}

/// Takes a teacher's lock; where another process holds it, its files are left with that advice.
fn lock(folder: &Path, file: PathBuf, done: &mut Quarantine) -> Result<Option<WriterLock>> {
    match WriterLock::take(folder) {
        Ok(lock) => Ok(Some(lock)),
        Err(error @ Error::Locked { .. }) => {
            done.left.push(Left { file, advice: format!("{error}: wait for it and verify again") });
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Moves a whole teacher aside, if its manifest is damaged.
fn whole(dataset: &Path, teacher: &str, done: &mut Quarantine) -> Result<()> {
    let from = Path::new(CACHE_FOLDER).join(teacher);
    let file = from.join(TEACHER_FILE);
    let folder = dataset.join(&from);
    let Some(_lock) = lock(&folder, file.clone(), done)? else { return Ok(()) };
    match TeacherCache::load(&folder) {
        Err(Error::Damaged { .. } | Error::Broken { .. } | Error::Manifest { .. }) => {
            let to = free(dataset, &Path::new(CACHE_FOLDER).join(QUARANTINE).join(teacher));
            rename(dataset, &from, &to)?;
            remove_file(&dataset.join(&to).join(NOTE))?;
            done.moved.push(Moved { from, to: Some(to) });
        }
        Err(error) => done.left.push(Left { file, advice: error.hint().unwrap_or_else(|| error.to_string()) }),
        Ok(_) => {
            let advice = format!("it is whole, but of other rows: `retort cache rm` {teacher}, then `retort teach`");
            done.left.push(Left { file, advice });
        }
    }
    Ok(())
}

/// Moves damaged parts of a teacher's manifest aside and takes their shards out of it.
fn of_manifest(dataset: &Path, teacher: &str, names: &BTreeSet<String>, done: &mut Quarantine) -> Result<()> {
    let home = Path::new(CACHE_FOLDER).join(teacher);
    let folder = dataset.join(&home);
    if !folder.join(TEACHER_FILE).is_file() {
        return Ok(()); // moved aside, or removed since
    }
    let Some(_lock) = lock(&folder, home.clone(), done)? else { return Ok(()) };
    let mut cache = TeacherCache::load(&folder)?;
    for name in names {
        let name = Path::new(PARTS_FOLDER).join(name);
        let Some((split, part)) = cache.part_at(&name) else { continue };
        let from = home.join(&name);
        match cache.parts().load(&split, &part) {
            Ok(_) => continue,
            Err(error @ Error::Schema { .. }) => {
                done.left.push(Left { file: from, advice: error.hint().unwrap_or_else(|| error.to_string()) });
                continue;
            }
            Err(_) => {}
        }
        cache.remove_part(&split, &part);
        let to = dataset.join(&from).exists().then(|| free(dataset, &home.join(QUARANTINE).join(&name)));
        if let Some(to) = &to {
            rename(dataset, &from, to)?;
        }
        done.moved.push(Moved { from, to });
    }
    cache.save(PART_SHARDS, None)
}

/// Moves damaged files of a teacher aside and takes them out of its manifest.
fn parts(dataset: &Path, teacher: &str, files: &BTreeSet<(String, String)>, done: &mut Quarantine) -> Result<()> {
    let home = Path::new(CACHE_FOLDER).join(teacher);
    let folder = dataset.join(&home);
    if !folder.join(TEACHER_FILE).is_file() {
        return Ok(()); // moved aside, or removed since
    }
    let Some(_lock) = lock(&folder, home.clone(), done)? else { return Ok(()) };
    let mut cache = TeacherCache::load(&folder)?;
    for (table, shard) in files {
        let Some(known) = cache.shard(shard)? else { continue };
        let Some(file) = known.tables.get(table) else { continue };
        let from = table_path(&home, table, shard);
        // Between the check and the lock another process may have made it anew.
        match read_table(&dataset.join(&from), file, version_of(table), Columns::All) {
            Ok(_) => continue,
            Err(error @ Error::Schema { .. }) => {
                done.left.push(Left { file: from, advice: error.hint().unwrap_or_else(|| error.to_string()) });
                continue;
            }
            Err(_) => {}
        }
        cache.take_out(shard, table)?;
        let to = dataset.join(&from).exists().then(|| free(dataset, &table_path(&home.join(QUARANTINE), table, shard)));
        // First the file, then the manifest: a kill in between leaves a file that is missing, which no reader believes and
        // the next check finds. The other way round, `teach` could replace what is to be kept.
        if let Some(to) = &to {
            rename(dataset, &from, to)?;
        }
        done.moved.push(Moved { from, to });
    }
    cache.save(PART_SHARDS, None)?;
    cache.parts().sweep(cache.runs())
}

fn rename(dataset: &Path, from: &Path, to: &Path) -> Result<()> {
    let (from, to) = (dataset.join(from), dataset.join(to));
    if let Some(parent) = to.parent() {
        create_folder(parent)?;
    }
    fs::rename(&from, &to).map_err(Error::io("move aside", &from))
}

/// This path, or with a number where an earlier one was set aside.
fn free(dataset: &Path, path: &Path) -> PathBuf {
    let numbered = |number: usize| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    let candidates = std::iter::once(path.to_owned()).chain((1..).map(numbered));
    candidates.into_iter().find(|candidate| !dataset.join(candidate).exists()).unwrap_or_else(|| path.to_owned())
}
