//! The families of models that are known, one module each.
//!
//! A family reads its config with transformers' defaults, builds a tower behind [`ImageTower`](crate::sides::ImageTower),
//! [`TextTower`](crate::sides::TextTower) or [`TokenEncoder`](crate::sentences::TokenEncoder) by the names that the
//! weights have, and says in [`Sides::details`](crate::sides::Sides) what decides its numbers. To add one: a module
//! beside `distilbert.rs` (texts) or `vit.rs` (images), its line in [`FAMILIES`], a golden test.

mod bert;
mod clip;
mod dinov2;
mod distilbert;
mod layers;
mod mpnet;
mod roberta;
mod siglip;
mod siglip2;
#[cfg(test)]
mod tests;
mod vit;

use crate::folder::ModelFolder;
use crate::layout::Layout;
use crate::sides::Sides;
use crate::{Error, Result};

pub(crate) use clip::stored as openai_name;
pub use clip::{ClipVision, ClipVisionConfig};

/// How a family opens a folder.
type Open = fn(&ModelFolder) -> Result<Sides>;

/// By the `model_type` of `config.json`.
const FAMILIES: [(&str, Open); 13] = [
    ("bert", bert::open),
    ("clip", clip::open),
    ("clip_text_model", clip::open_text),
    ("clip_vision_model", clip::open_vision),
    ("dinov2", dinov2::open),
    ("dinov2_with_registers", dinov2::open_with_registers),
    ("distilbert", distilbert::open),
    ("mpnet", mpnet::open),
    ("roberta", roberta::open),
    ("siglip", siglip::open),
    ("siglip2", siglip2::open),
    ("vit", vit::open),
    ("xlm-roberta", roberta::open),
];

/// Opens a folder as what its config says it is.
///
/// # Errors
/// [`Error::UnknownArchitecture`], and those of the family.
pub(crate) fn open(folder: &ModelFolder) -> Result<Sides> {
    match folder.layout() {
        Layout::Transformers => {}
        Layout::OpenClip => return clip::open_open_clip(folder),
        Layout::OpenAi => return clip::open_openai(folder),
    }
    let found = folder.model_type();
    let Some((_, open)) = FAMILIES.iter().find(|(known, _)| *known == found) else {
        let known = FAMILIES.map(|(known, _)| known).join(", ");
        return Err(Error::UnknownArchitecture { path: folder.config_path(), found: found.to_owned(), known });
    };
    open(folder)
}
