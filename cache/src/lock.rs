//! One writer a folder. The operating system drops the lock with the process, so a dead writer holds nothing.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::{Error, Result, create_folder};

/// The note beside a locked folder that says who holds it.
pub(crate) const NOTE: &str = ".writer";

/// Held for as long as it lives. The folder itself is locked; the file beside it only says by whom.
#[derive(Debug)]
pub(crate) struct WriterLock {
    folder: File,
    holder: PathBuf,
}

impl WriterLock {
    /// Takes the lock of a folder, making the folder if need be.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process holds it.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        create_folder(path)?;
        let folder = File::open(path).map_err(Error::io("open", path))?;
        let holder = path.join(NOTE);
        match folder.try_lock() {
            Ok(()) => {
                fs::write(&holder, std::process::id().to_string()).map_err(Error::io("write", &holder))?;
                Ok(Self { folder, holder })
            }
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&holder).unwrap_or_else(|_| "unknown".to_owned());
                Err(Error::Locked { path: path.to_owned(), holder })
            }
            Err(TryLockError::Error(source)) => Err(Error::Io { action: "lock", path: path.to_owned(), source }),
        }
    }
}

impl Drop for WriterLock {
    fn drop(&mut self) {
        // Only a note for others; the next writer overwrites one that stays.
        let _ = fs::remove_file(&self.holder);
        // Closing the folder would not do: a child that another thread forks holds a duplicate until it executes its
        // program, and the lock lives as long as any duplicate that was not unlocked.
        let _ = self.folder.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_with_its_holder_though_a_child_still_has_the_folder_open() -> Result<()> {
        let folder = tempfile::tempdir().map_err(Error::io("make", Path::new("a folder")))?;
        let lock = WriterLock::take(folder.path())?;
        // What a child has between fork and exec.
        let duplicate = lock.folder.try_clone().map_err(Error::io("duplicate", folder.path()))?;
        let refused = WriterLock::take(folder.path());
        assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
        drop(lock);
        WriterLock::take(folder.path())?;
        drop(duplicate);
        Ok(())
    }
}
