//! The folder that is exported into, and the note in it that says what it holds.

use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};

use super::Export;
use crate::files::remove_file;
use crate::lock::{NOTE, WriterLock};
use crate::{Error, Result, remove_temporaries, write_atomic};

/// What was exported, from what; `complete` once all files are there.
const EXPORT_FILE: &str = "export.json";

/// A locked folder in which an export is written.
pub(super) struct Target {
    out: PathBuf,
    files: Vec<String>,
    _lock: WriterLock,
}

impl Target {
    /// Locks the folder, removes what an earlier export left in it, and notes what is going to be written.
    pub(super) fn prepare(export: &Export<'_>, files: Vec<String>) -> Result<Self> {
        let lock = WriterLock::take(export.out)?;
        if !export.force && !is_empty(export.out)? {
            return Err(Error::NotEmpty { path: export.out.to_owned() });
        }
        let out = export.out.to_owned();
        for earlier in earlier_files(&out) {
            if let Some(folder) = out.join(&earlier).parent() {
                remove_temporaries(folder)?;
            }
            remove_file(&out.join(earlier))?;
        }
        let target = Self { out, files, _lock: lock };
        target.note(export, false)?;
        Ok(target)
    }

    /// Says that all files are there.
    pub(super) fn finish(self, export: &Export<'_>) -> Result<Vec<String>> {
        self.note(export, true)?;
        Ok(self.files)
    }

    fn note(&self, export: &Export<'_>, complete: bool) -> Result<()> {
        let manifest = export.teacher.manifest();
        let note = json!({
            "teacher": export.teacher.folder_name(),
            "fingerprint": manifest.fingerprint,
            "split": export.split,
            "format": export.format,
            "complete": complete,
            "files": self.files,
        });
        write_atomic(&self.out.join(EXPORT_FILE), format!("{note:#}\n").as_bytes())
    }
}

/// Whether a folder holds nothing but the note of the lock.
fn is_empty(folder: &Path) -> Result<bool> {
    let mut entries = std::fs::read_dir(folder).map_err(Error::io("list", folder))?;
    Ok(entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == NOTE)))
}

/// The files that an earlier export noted. Only paths inside the folder count: the note may be anyone's.
fn earlier_files(out: &Path) -> Vec<PathBuf> {
    let note = std::fs::read_to_string(out.join(EXPORT_FILE)).ok().and_then(|text| serde_json::from_str(&text).ok());
    let files = note.as_ref().and_then(|note: &Value| note.get("files")).and_then(Value::as_array);
    let inside = |path: &PathBuf| path.components().all(|part| matches!(part, Component::Normal(_)));
    files.into_iter().flatten().filter_map(Value::as_str).map(PathBuf::from).filter(inside).collect()
}
