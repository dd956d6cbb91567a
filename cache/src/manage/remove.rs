//! Removes a teacher's cache.

use std::fs;
use std::path::{Path, PathBuf};

use retort_schemas::manifest::{CACHE_FOLDER, TEACHER_FILE};
use serde::Serialize;

use crate::dataset::names;
use crate::files::remove_file;
use crate::lock::{NOTE, WriterLock};
use crate::{Error, Result};

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// `name@fingerprint8`.
    pub name: String,
    /// Files, with the manifest.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Removes a teacher, found by `name` or `name@fingerprint8`, with everything in its folder.
///
/// The folder's name decides, not its manifest: what is damaged, or was left by a removal that was killed, goes too.
///
/// # Errors
/// [`Error::NoTeacher`], [`Error::AmbiguousTeacher`]; [`Error::Locked`] if another process writes there; [`Error::Io`].
pub fn remove_teacher(dataset: &Path, name: &str) -> Result<Removed> {
    let folder = find(dataset, name)?;
    let _lock = WriterLock::take(&folder)?;
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut removed = Removed { name, files: 0, bytes: 0 };
    count(&folder, &mut removed)?;
    // First what says that there are features: a kill after this leaves files that nothing names.
    remove_file(&folder.join(TEACHER_FILE))?;
    fs::File::open(&folder).and_then(|open| open.sync_all()).map_err(Error::io("sync", &folder))?;
    fs::remove_dir_all(&folder).map_err(Error::io("remove", &folder))?;
    Ok(removed)
}

/// The one folder of that name in the cache.
fn find(dataset: &Path, name: &str) -> Result<PathBuf> {
    let cache = dataset.join(CACHE_FOLDER);
    let mut folders: Vec<String> = Vec::new();
    if cache.is_dir() {
        for entry in fs::read_dir(&cache).map_err(Error::io("list", &cache))? {
            let entry = entry.map_err(Error::io("list", &cache))?;
            folders.extend(entry.file_name().into_string().ok().filter(|folder| folder.contains('@')));
        }
    }
    folders.sort();
    let is_named =
        |folder: &&String| *folder == name || folder.rsplit_once('@').is_some_and(|(first, _)| first == name);
    let mut found = folders.iter().filter(is_named);
    let (path, name) = (dataset.to_owned(), name.to_owned());
    match (found.next(), found.next()) {
        (Some(folder), None) => Ok(cache.join(folder)),
        (None, _) => Err(Error::NoTeacher { path, name, known: names(folders.iter().map(String::as_str)) }),
        _ => Err(Error::AmbiguousTeacher { path, name, known: names(folders.iter().map(String::as_str)) }),
    }
}

/// Counts files and bytes, the lock's own note left out.
fn count(folder: &Path, removed: &mut Removed) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let entry = entry.map_err(Error::io("list", folder))?;
        let path = entry.path();
        // Of the entry itself: a link is not followed.
        let metadata = entry.metadata().map_err(Error::io("read", &path))?;
        if metadata.is_dir() {
            count(&path, removed)?;
        } else if entry.file_name() != NOTE {
            removed.files += 1;
            removed.bytes += metadata.len();
        }
    }
    Ok(())
}
