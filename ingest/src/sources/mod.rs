//! One module a source: what it reads, and how its records become samples.

mod vqa;

pub use vqa::{COCO_PATTERN, Vqa, VqaFiles};
