//! One writer a folder. The operating system drops the lock with the process, so a dead writer holds nothing.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::{Error, Result, create_folder};

/// The note beside a locked folder that says who holds it.
pub(crate) const NOTE: &str = ".writer";

/// Held for as long as it lives. The folder itself is locked; the file beside it only says by whom.
#[derive(Debug)]
pub(crate) struct WriterLock {
    _folder: File,
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
                Ok(Self { _folder: folder, holder })
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
    }
}
