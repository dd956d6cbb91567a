//! Tar archives, plain, gzip or zstd, read member by member and trusted in nothing.
//!
//! ```text
//! file --> Stream       bytes in order: by offset where the archive is plain, inflated within bounds where it is packed
//!            |
//!            v
//!          Members      headers: PAX and GNU long names, checksums, sizes; what is broken is a Fault with its offset
//! ```
//!
//! Nothing is ever unpacked to disk: a name is a name, and where it leads is nobody's business.

mod members;
mod stream;
#[cfg(test)]
pub(crate) mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use retort_cache::Error as CacheError;

pub(crate) use self::members::{Kind, Member, Members};
pub(crate) use self::stream::{Fault, Packing};
use crate::Result;
use crate::images::LARGEST_FILE;
use crate::rejects::{Code, Stage};
use crate::source::LostImage;

/// An archive as it lies on disk.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    pub path: PathBuf,
    pub packing: Packing,
}

impl Archive {
    /// Looks at the first bytes: names end in anything.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let packing = Packing::of(path).map_err(CacheError::io("read", path))?;
        Ok(Self { path: path.to_owned(), packing })
    }

    /// Its members from the first on.
    pub(crate) fn members(&self) -> Result<Members> {
        let stream = stream::Stream::open(self).map_err(CacheError::io("read", &self.path))?;
        Ok(Members::new(stream))
    }

    /// What it starts with, if that is no header of a tar.
    pub(crate) fn strangeness(&self) -> Result<Option<String>> {
        Ok(self.members()?.next().err().map(|fault| fault.message))
    }
}

/// The plain archives that images are read from, by offset and from many threads. One file is held open: the images of
/// a shard mostly lie in one archive, and there may be more archives than a process may have files.
#[derive(Debug, Default)]
pub(crate) struct OpenArchive(Mutex<Option<(PathBuf, Arc<File>)>>);

impl OpenArchive {
    /// Reads a stretch of an archive that is an image.
    pub(crate) fn read(&self, path: &Path, start: u64, bytes: u64) -> Result<Vec<u8>, LostImage> {
        let lost = |message| LostImage { stage: Stage::Read, code: Code::ImageUnreadable, message };
        if bytes > LARGEST_FILE {
            return Err(lost(too_large(bytes)));
        }
        let read = || {
            let mut buffer = vec![0; bytes as usize];
            std::os::unix::fs::FileExt::read_exact_at(&*self.file(path)?, &mut buffer, start)?;
            Ok(buffer)
        };
        read().map_err(|error: std::io::Error| lost(format!("{bytes} bytes at offset {start}: {error}")))
    }

    fn file(&self, path: &Path) -> std::io::Result<Arc<File>> {
        // Whoever panicked while holding it left a whole value.
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, file)) = held.as_ref().filter(|(open, _)| open == path) {
            return Ok(file.clone());
        }
        let file = Arc::new(File::open(path)?);
        *held = Some((path.to_owned(), file.clone()));
        Ok(file)
    }
}

/// Why a member is not read as an image.
pub(crate) fn too_large(bytes: u64) -> String {
    format!("it has {bytes} bytes, expected {LARGEST_FILE} at most")
}
