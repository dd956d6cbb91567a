//! Folders with one `.npz` or `.npy` file an image.
//!
//! Members of an `.npz` file go by the names that extractors give them; the first that is there holds:
//!
//! | what | names |
//! |---|---|
//! | features, `[regions, width]` or `[width, regions]` | `features`, `x`, `feat`, `feats`, `object_features`, `roi_features` |
//! | boxes in pixels, left top right bottom | `bbox`, `boxes`, `bboxes` |
//! | boxes as shares of the image, as UNITER has them | `norm_bb`, `norm_boxes`, `normalized_boxes` |
//! | size of the image that the detector saw | `image_w` `image_h`, `img_w` `img_h`, `image_width` `image_height`, `width` `height` |
//! | how many rows are regions, not padding | `num_bbox`, `num_boxes` |
//! | class of each region, from 0 without the background (or its scores of all classes) | `objects_id`, `objects`, `cls`, `classes`, `labels` |
//! | scores of all classes, with or without the background first | `soft_labels`, `cls_prob` |
//! | score of each region | `conf`, `objects_conf`, `scores`, `cls_scores` |
//!
//! Boxes may have more columns (width, height, area): the first four count. An `.npy` file holds the features; boxes in
//! pixels may lie beside it in `<stem>_bbox.npy`. Python objects (`info`) are not read: they are pickles, which run code.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use retort_cache::Error as CacheError;
use zip::ZipArchive;

use super::detections::{Boxes, Classes, Detections, Lost, Matrix, Unit};
use super::npy::{Array, MOST_ARRAY_BYTES, Shape};
use crate::images::hash_digits;
use crate::rejects::Code;
use crate::{Error, Result};

const FEATURES: &[&str] = &["features", "x", "feat", "feats", "object_features", "roi_features"];
const PIXEL_BOXES: &[&str] = &["bbox", "boxes", "bboxes"];
const SHARE_BOXES: &[&str] = &["norm_bb", "norm_boxes", "normalized_boxes"];
const WIDTHS: &[&str] = &["image_w", "img_w", "image_width", "width"];
const HEIGHTS: &[&str] = &["image_h", "img_h", "image_height", "height"];
const COUNTS: &[&str] = &["num_bbox", "num_boxes"];
const CLASS_IDS: &[&str] = &["objects_id", "objects", "cls", "classes", "labels"];
const CLASS_SCORES: &[&str] = &["soft_labels", "cls_prob"];
const SCORES: &[&str] = &["conf", "objects_conf", "scores", "cls_scores"];

/// Largest file: a few arrays of the largest size.
const LARGEST_FILE_BYTES: u64 = 4 * MOST_ARRAY_BYTES as u64;

/// A folder of arrays, listed.
#[derive(Debug)]
pub(crate) struct ArrayFolder {
    root: PathBuf,
    /// Paths relative to the folder, in the order of their characters.
    files: Vec<String>,
    /// What the folder is, wherever it lies: a hash of the names and sizes of its files. Their contents would take as
    /// long to hash as to ingest.
    pub fingerprint: serde_json::Value,
}

impl ArrayFolder {
    /// Lists a folder and those in it.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        let mut folders = vec![(root.to_owned(), String::new())];
        while let Some((folder, prefix)) = folders.pop() {
            // A link may lead back to a folder above it.
            if !seen.insert(folder.canonicalize().map_err(CacheError::io("read", &folder))?) {
                continue;
            }
            for entry in fs::read_dir(&folder).map_err(CacheError::io("read", &folder))? {
                let path = entry.map_err(CacheError::io("read", &folder))?.path();
                // The names of images are text; a link to nothing has no size.
                let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
                let Ok(metadata) = fs::metadata(&path) else { continue };
                let name = format!("{prefix}{name}");
                if metadata.is_dir() {
                    folders.push((path, format!("{name}/")));
                } else if array_stem(&name).is_some() {
                    found.push((name, metadata.len()));
                }
            }
        }
        if found.is_empty() {
            let problem = "the folder holds no .npz and no .npy file".to_owned();
            return Err(Error::NotRegions { path: root.to_owned(), problem });
        }
        found.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        for (name, bytes) in &found {
            hasher.update(name.as_bytes()).update(&[0]).update(&bytes.to_le_bytes());
        }
        let hash = hash_digits(&hasher.finalize());
        let fingerprint = serde_json::json!({ "files": found.len(), "names_and_sizes_blake3": hash });
        Ok(Self { root: root.to_owned(), files: found.into_iter().map(|(name, _)| name).collect(), fingerprint })
    }

    /// The names of the images that the files are about.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| array_stem(file).unwrap_or(file))
    }

    /// Reads a file.
    pub(crate) fn read(&self, file: usize) -> Result<Detections, Lost> {
        let name = self.files.get(file).map(String::as_str).unwrap_or_default();
        let path = self.root.join(name);
        let found = match name.strip_suffix(".npy") {
            Some(stem) => read_npy(&path, &self.root.join(format!("{stem}_bbox.npy"))),
            None => open(&path).and_then(|file| read_npz(BufReader::new(file))),
        };
        found.map_err(|Lost { code, message }| Lost { code, message: format!("{name}: {message}") })
    }
}

fn array_stem(name: &str) -> Option<&str> {
    name.strip_suffix(".npz").or_else(|| name.strip_suffix(".npy"))
}

fn open(path: &Path) -> Result<File, Lost> {
    let unreadable = |problem: String| Lost::new(Code::RegionsUnreadable, problem);
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let metadata = file.metadata().map_err(|error| unreadable(error.to_string()))?;
    match metadata.len() {
        bytes if bytes > LARGEST_FILE_BYTES => {
            Err(unreadable(format!("it has {bytes} bytes, expected {LARGEST_FILE_BYTES} at most")))
        }
        _ => Ok(file),
    }
}

fn corrupt(problem: impl Into<String>) -> Lost {
    Lost::new(Code::RegionsCorrupt, problem)
}

fn read_npy(features: &Path, boxes: &Path) -> Result<Detections, Lost> {
    let array = |file| Array::read(BufReader::new(file)).map_err(corrupt);
    let features = matrix("features", &array(open(features)?)?)?;
    let boxes = match boxes.exists() {
        true => Some(boxes_of("boxes", &array(open(boxes)?)?, Unit::Pixels(None))?),
        false => None,
    };
    Ok(Detections { features, boxes, ..Detections::default() })
}

/// Reads the arrays of an `.npz` file that are about regions.
pub(crate) fn read_npz(file: impl Read + std::io::Seek) -> Result<Detections, Lost> {
    let mut archive = ZipArchive::new(file).map_err(|error| corrupt(format!("it is no .npz file: {error}")))?;
    let mut first = |names: &[&'static str]| -> Result<Option<(&'static str, Array)>, Lost> {
        for name in names {
            let Some(index) = archive.index_for_name(&format!("{name}.npy")) else { continue };
            let problem = |problem: String| corrupt(format!("array {name}: {problem}"));
            let member = archive.by_index(index).map_err(|error| problem(error.to_string()))?;
            return Ok(Some((*name, Array::read(member).map_err(problem)?)));
        }
        Ok(None)
    };
    let Some((name, features)) = first(FEATURES)? else {
        return Err(corrupt(format!("it has no array of the name {}", FEATURES.join(", "))));
    };
    let features = matrix(name, &features)?;
    let mut number = |names| first(names)?.map(|(name, array)| single(name, &array)).transpose();
    let (width, height, count) = (number(WIDTHS)?, number(HEIGHTS)?, number(COUNTS)?);
    let seen = width.zip(height).map(|(width, height)| [width, height]);
    let boxes = match (first(PIXEL_BOXES)?, first(SHARE_BOXES)?) {
        // Without the size of the image that the detector saw, shares are surer.
        (Some((name, pixels)), None) => Some(boxes_of(name, &pixels, Unit::Pixels(seen))?),
        (Some((name, pixels)), Some(_)) if seen.is_some() => Some(boxes_of(name, &pixels, Unit::Pixels(seen))?),
        (_, Some((name, shares))) => Some(boxes_of(name, &shares, Unit::Shares)?),
        (None, None) => None,
    };
    let classes = match first(CLASS_IDS)? {
        Some((_, ids)) if ids.shape().len() <= 1 => Some(Classes::Ids(ids.floats())),
        Some((name, scores)) => Some(Classes::Scores(matrix(name, &scores)?)),
        None => match first(CLASS_SCORES)? {
            Some((name, scores)) => Some(Classes::Scores(matrix(name, &scores)?)),
            None => None,
        },
    };
    let scores = first(SCORES)?.map(|(_, scores)| scores.floats());
    // A count that is no whole number counts nothing, and is told apart from every number of rows.
    let count = count.map(|count| if count >= 0.0 && count.fract() == 0.0 { count as usize } else { usize::MAX });
    Ok(Detections { features, boxes, count, classes, scores })
}

fn matrix(name: &str, array: &Array) -> Result<Matrix, Lost> {
    match array.shape() {
        // An empty list has no second axis.
        [0] => Ok(Matrix::default()),
        &[rows, columns] => Ok(Matrix { rows, columns, floats: array.floats() }),
        other => Err(Lost::new(
            Code::RegionsWidth,
            format!("array {name} has shape {}, expected rows and columns", Shape(other)),
        )),
    }
}

fn boxes_of(name: &str, array: &Array, unit: Unit) -> Result<Boxes, Lost> {
    Ok(Boxes { corners: matrix(name, array)?, unit })
}

fn single(name: &str, array: &Array) -> Result<f32, Lost> {
    match array.floats().as_slice() {
        [number] => Ok(*number),
        _ => Err(corrupt(format!("array {name} has shape {}, expected one number", Shape(array.shape())))),
    }
}
