//! One module a source: what it reads, and how its records become samples.

mod captions;
#[cfg(test)]
pub(crate) mod fixture;
mod folder;
mod img2dataset;
mod jsonl;
pub(crate) mod snli_ve;
#[cfg(test)]
pub(crate) mod testing;
mod vcr;
mod vqa;
mod webdataset;

pub use captions::{CaptionFiles, CaptionLayout, Captions};
pub use folder::{Folder, FolderFiles};
pub use img2dataset::{Img2Dataset, Img2DatasetFiles};
pub use jsonl::{Jsonl, JsonlFiles};
pub use snli_ve::{SnliVe, SnliVeFiles, SnliVePart};
pub use vcr::{Vcr, VcrFiles, VcrTasks};
pub use vqa::{COCO_PATTERN, Vqa, VqaFiles};
pub use webdataset::{IMAGE_SUFFIXES, JSON_SUFFIX, LABEL_SUFFIX, TEXT_SUFFIXES, WebDataset, WebDatasetFiles};
