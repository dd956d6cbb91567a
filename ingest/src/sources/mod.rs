//! One module a source: what it reads, and how its records become samples.

mod vcr;
mod vqa;

pub use vcr::{Vcr, VcrFiles, VcrTasks};
pub use vqa::{COCO_PATTERN, Vqa, VqaFiles};
