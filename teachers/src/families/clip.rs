//! CLIP as in `transformers`: both towers (`CLIPModel`), or one of them, with or without projection; and both towers in
//! the layouts of open_clip and of OpenAI.

mod names;
mod open_clip;
mod openai;
mod text;
mod vision;

use retort_nn::pixels::Preprocessing;
use serde_json::json;

use crate::folder::ModelFolder;
use crate::preprocessing::{self, Processor};
use crate::sides::{ImageSide, Padding, Sides, TextSide};
use crate::{Result, tokenizer};

pub(crate) use self::names::stored;
pub(super) use self::open_clip::open as open_open_clip;
pub(super) use self::openai::open as open_openai;
pub use self::text::{ClipText, ClipTextConfig};
pub use self::vision::{ClipVision, ClipVisionConfig};

/// What transformers projects to where a config does not say.
const PROJECTED: i64 = 512;

/// Opens `model_type` `clip`.
pub(super) fn open(folder: &ModelFolder) -> Result<Sides> {
    let vision: ClipVisionConfig = folder.part("vision_config")?;
    let text: ClipTextConfig = folder.part("text_config")?;
    let preprocessing = preprocessing::open_square(folder, Processor::Clip, vision.image_size)?;
    let projected = folder.integer("projection_dim", PROJECTED);
    Towers { vision, text, projected, preprocessing }.open(folder)
}

/// What a folder of any layout says of both towers.
struct Towers {
    vision: ClipVisionConfig,
    text: ClipTextConfig,
    /// Dimensions of the space of both.
    projected: i64,
    preprocessing: Preprocessing,
}

impl Towers {
    fn open(self, folder: &ModelFolder) -> Result<Sides> {
        let Self { vision, text, projected, preprocessing } = self;
        check_vision(folder, &vision)?;
        folder.check_heads(text.num_attention_heads, text.hidden_size)?;
        let image = image_side(folder, &vision, Some(projected), preprocessing)?;
        let texts = text_side(folder, &text, Some(projected))?;
        let details = json!({
            "vision": vision,
            "text": text,
            "projection": projected,
            "preprocessing": image.preprocessing,
            "tokenizer": tokenizer::hash(folder)?,
            "pooling": "projection of class token / end-of-text token",
            "longest": texts.tokenizer.longest(),
        });
        Ok(Sides { image: Some(image), text: Some(texts), details, pools: false })
    }
}

/// Opens `model_type` `clip_vision_model`: `CLIPVisionModelWithProjection`, or `CLIPVisionModel` where the weights have no
/// projection.
pub(super) fn open_vision(folder: &ModelFolder) -> Result<Sides> {
    let vision: ClipVisionConfig = folder.config()?;
    check_vision(folder, &vision)?;
    let projected = projection(folder, "visual_projection.weight");
    let preprocessing = preprocessing::open_square(folder, Processor::Clip, vision.image_size)?;
    let image = image_side(folder, &vision, projected, preprocessing)?;
    let details = json!({
        "vision": vision,
        "projection": projected,
        "preprocessing": image.preprocessing,
        "pooling": "class token",
    });
    Ok(Sides { image: Some(image), text: None, details, pools: false })
}

/// Opens `model_type` `clip_text_model`: `CLIPTextModelWithProjection`, or `CLIPTextModel` where the weights have no
/// projection.
pub(super) fn open_text(folder: &ModelFolder) -> Result<Sides> {
    let text: ClipTextConfig = folder.config()?;
    folder.check_heads(text.num_attention_heads, text.hidden_size)?;
    let projected = projection(folder, "text_projection.weight");
    let texts = text_side(folder, &text, projected)?;
    let details = json!({
        "text": text,
        "projection": projected,
        "tokenizer": tokenizer::hash(folder)?,
        "pooling": "end-of-text token",
        "longest": texts.tokenizer.longest(),
    });
    Ok(Sides { image: None, text: Some(texts), details, pools: false })
}

fn projection(folder: &ModelFolder, weight: &str) -> Option<i64> {
    folder.scope().has(weight).then(|| folder.integer("projection_dim", PROJECTED))
}

fn check_vision(folder: &ModelFolder, vision: &ClipVisionConfig) -> Result<()> {
    folder.check_heads(vision.num_attention_heads, vision.hidden_size)?;
    folder.check_patch(vision.patch_size, vision.image_size)
}

fn image_side(
    folder: &ModelFolder,
    vision: &ClipVisionConfig,
    projected: Option<i64>,
    preprocessing: Preprocessing,
) -> Result<ImageSide> {
    let tower = Box::new(ClipVision::new(&folder.scope(), vision, projected)?);
    Ok(ImageSide { tower, preprocessing, width: projected.unwrap_or(vision.hidden_size) as usize })
}

fn text_side(folder: &ModelFolder, text: &ClipTextConfig, projected: Option<i64>) -> Result<TextSide> {
    let positions = text.max_position_embeddings;
    let longest = tokenizer::told_length(folder, usize::try_from(positions).unwrap_or(0), positions)?;
    Ok(TextSide {
        tokenizer: tokenizer::open(folder, longest, text.vocab_size)?,
        tower: Box::new(ClipText::new(&folder.scope(), text, projected)?),
        // Attention is causal and the end is found under the mask: what stands behind it does not matter.
        padding: Padding { id: 0, least: 0 },
        width: projected.unwrap_or(text.hidden_size) as usize,
        token_width: text.hidden_size as usize,
    })
}
