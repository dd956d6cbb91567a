//! One module a source: what it reads, and how its records become samples.

#[cfg(test)]
mod testing;
mod vqa;
mod webdataset;

pub use vqa::{COCO_PATTERN, Vqa, VqaFiles};
pub use webdataset::{IMAGE_SUFFIXES, JSON_SUFFIX, LABEL_SUFFIX, TEXT_SUFFIXES, WebDataset, WebDatasetFiles};
