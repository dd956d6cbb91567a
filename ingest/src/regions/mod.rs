//! Detectors' boxes, classes and feature vectors, beside any source: the table `regions`.
//!
//! ```text
//! folders of .npz / .npy  --> arrays  --+
//! tab-separated files     --> table   --+--> names: the detections of an image, by its name
//!                                                    |
//! checked image, its source's own boxes ------------>+--> detections: checked, in pixels, half precision
//! ```
//!
//! An image without detections, or with some that cannot be used, is kept without regions; `rejects` tells which and
//! why, under the stage `regions`.

mod arrays;
mod detections;
pub(crate) mod fuzzing;
mod names;
mod npy;
mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use retort_schemas::{Dtype, VectorType};
use serde_json::json;

use self::arrays::ArrayFolder;
use self::detections::{Expected, Lost};
use self::names::{Find, Names, Place};
use self::table::Table;
use crate::formats::lines::Lines;
use crate::rejects::{Code, Reject, Stage};
use crate::{Error, Regions, Result};

/// Elements of a feature vector of the detectors that the field's published features come from.
pub const DEFAULT_REGION_WIDTH: usize = 2048;
/// Widest feature vector.
const WIDEST: usize = 65_536;

/// Where detections are, and what they should be.
#[derive(Debug, Clone)]
pub struct RegionFiles {
    /// Folders with one `.npz` or `.npy` file an image, and tab-separated files of bottom-up attention, plain or gzip.
    /// What the first has of an image holds.
    pub paths: Vec<PathBuf>,
    /// Names of the classes, one a line in class order, without the background; a line may have synonyms behind a comma.
    /// Without it classes have no names.
    pub classes: Option<PathBuf>,
    /// Elements of a feature vector, usually [`DEFAULT_REGION_WIDTH`]: all shards have the same.
    pub width: usize,
}

/// Detections, opened: listed or indexed, read by need from many threads at once.
#[derive(Debug)]
pub struct DetectedRegions {
    parts: Vec<Part>,
    names: Names,
    expected: Expected,
    class_names: Option<serde_json::Value>,
}

#[derive(Debug)]
enum Part {
    Arrays(ArrayFolder),
    Table(Table),
}

impl DetectedRegions {
    /// Lists the folders and indexes the files.
    ///
    /// # Errors
    /// [`Error::NotRegions`] if there is something else, [`Error::InvalidOption`],
    /// [`retort_cache::Error`] if a file cannot be read.
    pub fn open(files: &RegionFiles) -> Result<Self> {
        if files.width == 0 || files.width > WIDEST {
            return Err(Error::InvalidOption {
                option: "region width",
                value: files.width.to_string(),
                problem: format!("feature vectors have 1 to {WIDEST} elements"),
            });
        }
        if files.paths.is_empty() {
            return Err(Error::InvalidOption {
                option: "list of region files",
                value: String::new(),
                problem: "it is empty".to_owned(),
            });
        }
        let (mut parts, mut names) = (Vec::new(), Names::default());
        for (part, path) in (0..).zip(&files.paths) {
            // No list of files or lines is that long.
            let place = |entry: usize| Place { part, entry: entry as u32 };
            parts.push(if path.is_dir() {
                let folder = ArrayFolder::open(path)?;
                folder.names().enumerate().for_each(|(entry, name)| names.add(name, place(entry)));
                Part::Arrays(folder)
            } else {
                Part::Table(Table::open(path, |name, entry| names.add(name, place(entry)))?)
            });
        }
        let classes = files.classes.as_deref().map(read_classes).transpose()?;
        let (class_names, classes) = classes.unzip();
        Ok(Self { parts, names, expected: Expected { width: files.width, classes }, class_names })
    }

    /// What the table holds.
    pub(crate) fn vector(&self) -> VectorType {
        VectorType { dtype: Dtype::F16, width: self.expected.width }
    }

    /// Everything that decides what is written.
    pub(crate) fn options(&self) -> serde_json::Value {
        let part = |part: &Part| match part {
            Part::Arrays(folder) => json!({ "folder": folder.fingerprint }),
            Part::Table(table) => json!({ "file": table.fingerprint() }),
        };
        let parts: Vec<_> = self.parts.iter().map(part).collect();
        json!({ "parts": parts, "width": self.expected.width, "classes": self.class_names })
    }

    /// The regions of an image of this name and size: detected, or with detected features, where its source has `own`.
    pub(crate) fn find(&self, image: &str, size: [u32; 2], own: Option<&Regions>) -> Result<Regions, Reject> {
        let found = match self.names.find(image) {
            Find::One(place) => self.read(place),
            Find::Several => Err(Lost::new(Code::RegionsAmbiguous, "several folders have detections of this name")),
            Find::None => Err(Lost::new(Code::RegionsMissing, "there are no detections under its name or id")),
        };
        found.and_then(|found| self.expected.check(found, size, own)).map_err(|Lost { code, message }| Reject {
            source: image.to_owned(),
            stage: Stage::Regions,
            code,
            message,
        })
    }

    fn read(&self, place: Place) -> Result<detections::Detections, Lost> {
        match self.parts.get(place.part as usize) {
            Some(Part::Arrays(folder)) => folder.read(place.entry as usize),
            Some(Part::Table(table)) => table.read(place.entry as usize, self.expected.width),
            None => Err(Lost::new(Code::RegionsMissing, "there is no such part")),
        }
    }
}

/// Fingerprint of a file of class names, and the names.
fn read_classes(path: &Path) -> Result<(serde_json::Value, Vec<String>)> {
    let refuse = |problem: String| Error::NotRegions { path: path.to_owned(), problem };
    let lines = Lines::open(path)?;
    let mut names = Vec::new();
    for line in 0..lines.len() {
        let number = lines.number(line) as usize;
        // A class is the number of its line.
        if number != line + 1 {
            return Err(refuse(format!("line {} is empty, expected the name of class {line}", line + 1)));
        }
        let text = String::from_utf8(lines.read(line)?);
        let text = text.map_err(|_| refuse(format!("line {number} is not UTF-8, expected the name of a class")))?;
        names.push(text.split(',').next().unwrap_or_default().trim().to_owned());
    }
    if names.is_empty() { Err(refuse("it has no class names".to_owned())) } else { Ok((lines.fingerprint, names)) }
}
