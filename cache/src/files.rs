//! The seam to the file system: whole files appear by rename, and a rename is on disk before it counts.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Ending of files that are being written.
const TEMPORARY: &str = "partial";

/// A file on its way: written under a temporary name, in place after [`NewFile::commit`], gone if dropped before.
pub(crate) struct NewFile {
    temporary: PathBuf,
    target: PathBuf,
    committed: bool,
}

impl NewFile {
    /// Opens a temporary file beside `target`.
    pub(crate) fn create(target: &Path) -> Result<(Self, File)> {
        create_folder(folder_of(target))?;
        let mut temporary = target.as_os_str().to_owned();
        temporary.push(format!(".{TEMPORARY}"));
        let temporary = PathBuf::from(temporary);
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temporary)
            .map_err(Error::io("create", &temporary))?;
        Ok((Self { temporary, target: target.to_owned(), committed: false }, file))
    }

    /// Syncs, renames, and syncs the folder.
    pub(crate) fn commit(mut self, file: &File) -> Result<()> {
        file.sync_all().map_err(Error::io("sync", &self.temporary))?;
        fs::rename(&self.temporary, &self.target).map_err(Error::io("rename into place", &self.target))?;
        self.committed = true;
        let folder = folder_of(&self.target);
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("sync", folder))
    }
}

/// The folder that a file is in: of a bare name, the current one.
fn folder_of(file: &Path) -> &Path {
    let parent = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.committed {
            // The write failed already; a leftover is removed by the next run.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Writes a whole file, or leaves what was there.
///
/// # Errors
/// [`Error::Io`] with the step that failed.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let (new, mut file) = NewFile::create(path)?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    new.commit(&file)
}

/// Makes a folder and those above it.
///
/// # Errors
/// [`Error::Io`].
pub fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::io("create folder", path))
}

/// Reads a text file.
///
/// # Errors
/// [`Error::Io`], also where the file is not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(Error::io("read", path))
}

/// Whether a file is there.
///
/// # Errors
/// [`Error::Io`] if nobody can tell, as where a folder may not be looked into.
pub(crate) fn is_there(path: &Path) -> Result<bool> {
    path.try_exists().map_err(Error::io("look for", path))
}

/// Removes a file, if it is there.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Whether a folder holds a table.
pub(crate) fn holds_a_table(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(|entry| is_table(&entry.path()))))
}

/// Removes the tables of a folder, which no manifest names. Call it only while holding the folder's lock.
pub(crate) fn remove_tables(folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry.map_err(Error::io("list", folder))?.path();
        if is_table(&path) {
            remove_file(&path)?;
        }
    }
    Ok(())
}

fn is_table(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "parquet")
}

/// Removes what killed writers left in a folder. Call it only while holding the folder's lock.
///
/// # Errors
/// [`Error::Io`].
pub fn remove_temporaries(folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry.map_err(Error::io("list", folder))?.path();
        if path.extension().is_some_and(|ending| ending == TEMPORARY) {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_in_the_current_folder() {
        assert_eq!(folder_of(Path::new("report.html")), Path::new("."));
        assert_eq!(folder_of(Path::new("pages/report.html")), Path::new("pages"));
        assert_eq!(folder_of(Path::new("/report.html")), Path::new("/"));
    }
}
