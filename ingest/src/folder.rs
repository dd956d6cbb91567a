//! A folder that images are read from.

use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use crate::images::LARGEST_FILE;
use crate::rejects::{Code, Stage};
use crate::source::{ImageStore, LostImage};
use crate::{Error, Result};

/// Images by their path in a folder, or, where there is none, by their file name alone: some unpack the images of each
/// part into a folder of its own, others all into one.
#[derive(Debug, Clone)]
pub(crate) struct ImageFolder(PathBuf);

impl ImageFolder {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if path.is_dir() { Ok(Self(path.to_owned())) } else { Err(Error::NoImageFolder { path: path.to_owned() }) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl ImageStore for ImageFolder {
    fn read(&self, path: &str) -> Result<(String, Vec<u8>), LostImage> {
        let lost = |code, message| LostImage { stage: Stage::Read, code, message };
        if !stays_inside(path) {
            return Err(lost(Code::ImageUnreadable, format!("{path:?} leads out of the image folder")));
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        // A path that ends in a slash has no name.
        for candidate in [path, name].into_iter().filter(|candidate| !candidate.is_empty()) {
            match read(&self.0.join(candidate)) {
                Ok(bytes) => return Ok((candidate.to_owned(), bytes)),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(error) => return Err(lost(Code::ImageUnreadable, format!("{candidate}: {error}"))),
            }
        }
        let tried = if name == path { path.to_owned() } else { format!("{path} or {name}") };
        Err(lost(Code::ImageMissing, format!("the image folder has no {tried}")))
    }
}

/// Whether a path, which comes from a file that someone else wrote, names something below the folder it is joined to.
pub(crate) fn stays_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.contains('\0')
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// Reads a file that may be an image.
pub(crate) fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let size = fs::metadata(path)?.len();
    if size > LARGEST_FILE {
        return Err(std::io::Error::other(format!("it has {size} bytes, expected {LARGEST_FILE} at most")));
    }
    fs::read(path)
}
