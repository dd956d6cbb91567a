//! One module a source: what it reads, and how its records become samples.

mod captions;
#[cfg(test)]
mod fixture;
mod jsonl;
mod snli_ve;
mod vcr;
mod vqa;

pub use captions::{CaptionFiles, CaptionLayout, Captions};
pub use jsonl::{Jsonl, JsonlFiles};
pub use snli_ve::{SnliVe, SnliVeFiles, SnliVePart};
pub use vcr::{Vcr, VcrFiles, VcrTasks};
pub use vqa::{COCO_PATTERN, Vqa, VqaFiles};
