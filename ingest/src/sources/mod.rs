//! One module a source: what it reads, and how its records become samples.

#[cfg(test)]
mod fixture;
mod snli_ve;
mod vqa;

pub use snli_ve::{SnliVe, SnliVeFiles, SnliVePart};
pub use vqa::{COCO_PATTERN, Vqa, VqaFiles};
