//! One module a source: what it reads, and how its records become samples.

mod folder;
mod img2dataset;
#[cfg(test)]
mod testing;
mod vqa;
mod webdataset;

pub use folder::{Folder, FolderFiles};
pub use img2dataset::{Img2Dataset, Img2DatasetFiles};
pub use vqa::{COCO_PATTERN, Vqa, VqaFiles};
pub use webdataset::{IMAGE_SUFFIXES, JSON_SUFFIX, LABEL_SUFFIX, TEXT_SUFFIXES, WebDataset, WebDatasetFiles};
