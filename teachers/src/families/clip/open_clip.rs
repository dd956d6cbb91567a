//! Folders that open_clip wrote: `open_clip_config.json` beside `open_clip_model.safetensors`.

use retort_nn::pixels::{Filter, Middle, Preprocessing, Resize};
use serde_json::{Map, Value};

use super::{ClipTextConfig, ClipVisionConfig, Towers};
use crate::folder::{ModelFolder, parse};
use crate::preprocessing::{OPENAI_MEAN, OPENAI_STD, square};
use crate::sides::Sides;
use crate::{Error, Result};

/// Keys that change no number of a tower that is known: of training, of the weights' first values, or of towers that are
/// refused by another key.
const UNREAD: [&str; 17] = [
    "patch_dropout",
    "output_tokens",
    "attn_pooler_queries",
    "attn_pooler_heads",
    "timm_model_pretrained",
    "timm_pool",
    "timm_proj",
    "timm_proj_bias",
    "timm_drop",
    "timm_drop_path",
    "hf_model_pretrained",
    "hf_proj_type",
    "hf_pooler_type",
    "hf_tokenizer_name",
    "pad_id",
    "eos_id",
    "output_dict",
];
/// Of the whole model, for training and comparing alone.
const UNREAD_OF_MODEL: [&str; 4] = ["init_logit_scale", "init_logit_bias", "nonscalar_logit_scale", "cast_dtype"];

/// Opens a folder of open_clip with two towers of its own.
pub(crate) fn open(folder: &ModelFolder) -> Result<Sides> {
    let mut model = Part::of(folder, "model_cfg", folder.part("model_cfg")?);
    let [mut vision, mut text] = [model.below("vision_cfg")?, model.below("text_cfg")?];
    let quick = model.take("quick_gelu", false)?;
    let activation = if quick { "quick_gelu" } else { "gelu" }.to_owned();
    let width: i64 = vision.take("width", 768)?;
    let side = vision.square("image_size", 224)?;
    let vision_config = ClipVisionConfig {
        hidden_size: width,
        intermediate_size: vision.inner(width)?,
        num_hidden_layers: vision.layers()?,
        num_attention_heads: width / vision.take("head_width", 64)?.max(1),
        image_size: side,
        patch_size: vision.square("patch_size", 16)?,
        hidden_act: activation.clone(),
        ..ClipVisionConfig::default()
    };
    let width = text.take("width", 512)?;
    let text_config = ClipTextConfig {
        vocab_size: text.take("vocab_size", 49_408)?,
        hidden_size: width,
        intermediate_size: text.inner(width)?,
        num_hidden_layers: text.layers()?,
        num_attention_heads: text.take("heads", 8)?,
        max_position_embeddings: text.take("context_length", 77)?,
        hidden_act: activation,
        eos_token_id: ClipTextConfig::HIGHEST_ID,
        ..ClipTextConfig::default()
    };
    vision.nothing_else(&[("pool_type", "tok"), ("pos_embed_type", "learnable"), ("block_type", "default")])?;
    text.nothing_else(&[("pool_type", "argmax"), ("proj_type", "linear"), ("block_type", "default")])?;
    let projected = model.take("embed_dim", 0)?;
    model.keys.retain(|key, _| !UNREAD_OF_MODEL.contains(&key.as_str()));
    model.nothing_else(&[])?;
    let preprocessing = square(folder, preprocessing(folder, side)?, side)?;
    Towers { vision: vision_config, text: text_config, projected, preprocessing }.open(folder)
}

/// A part of the config, of which keys are taken until nothing that matters is left.
struct Part<'a> {
    folder: &'a ModelFolder,
    name: &'static str,
    keys: Map<String, Value>,
}

impl<'a> Part<'a> {
    fn of(folder: &'a ModelFolder, name: &'static str, keys: Map<String, Value>) -> Self {
        Self { folder, name, keys }
    }

    fn below(&mut self, name: &'static str) -> Result<Self> {
        let keys = self.keys.remove(name).ok_or_else(|| self.folder.refuse(format!("its model_cfg has no {name}")))?;
        Ok(Self::of(self.folder, name, parse(&self.folder.config_path(), keys)?))
    }

    /// The value of a key, or what open_clip takes where there is none.
    fn take<T: serde::de::DeserializeOwned>(&mut self, key: &str, usual: T) -> Result<T> {
        match self.keys.remove(key) {
            None | Some(Value::Null) => Ok(usual),
            Some(value) => serde_json::from_value(value)
                .map_err(|error| self.folder.refuse(format!("its {}.{key} cannot be read: {error}", self.name))),
        }
    }

    /// Width inside the feed-forward parts, rounded down.
    fn inner(&mut self, width: i64) -> Result<i64> {
        Ok((width as f64 * self.take("mlp_ratio", 4.0)?) as i64)
    }

    /// How many layers there are: a list of numbers is a ResNet.
    fn layers(&mut self) -> Result<i64> {
        match self.keys.get("layers") {
            Some(list @ Value::Array(_)) => Err(self.unsupported("layers", list)),
            _ => self.take("layers", 12),
        }
    }

    /// A side in pixels, or two that are the same.
    fn square(&mut self, key: &str, usual: i64) -> Result<i64> {
        match self.keys.get(key).and_then(Value::as_array).map(Vec::as_slice) {
            Some([height, width]) if height == width => {
                let side = height.clone();
                self.keys.insert(key.to_owned(), side);
                self.take(key, usual)
            }
            _ => self.take(key, usual),
        }
    }

    /// Refuses what is left but for what changes nothing: nulls, what is off, and the words that open_clip takes anyway.
    fn nothing_else(&self, usual: &[(&str, &str)]) -> Result<()> {
        let changes = |(key, value): &(&String, &Value)| {
            let off = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Object(keys) => keys.is_empty(),
                Value::String(word) => usual.contains(&(key.as_str(), word.as_str())),
                _ => false,
            };
            !off && !UNREAD.contains(&key.as_str())
        };
        match self.keys.iter().find(changes) {
            Some((key, value)) => Err(self.unsupported(key, value)),
            None => Ok(()),
        }
    }

    fn unsupported(&self, key: &str, value: &Value) -> Error {
        let key = format!("{}.{key}", self.name);
        Error::UnsupportedTower { path: self.folder.config_path(), key, value: value.to_string() }
    }
}

/// `preprocess_cfg`, which torchvision follows.
fn preprocessing(folder: &ModelFolder, side: i64) -> Result<Preprocessing> {
    let config: Value = folder.part("preprocess_cfg").unwrap_or_default();
    let mut read = of_torchvision(side);
    let word = |key: &str| config.get(key).and_then(Value::as_str);
    let refuse = |key: &str, found: &str, known: &str| {
        folder.refuse(format!("its preprocess_cfg.{key} is {found:?}, expected {known}"))
    };
    read.filter = match word("interpolation") {
        // Random is for training; open_clip takes bicubic otherwise.
        None | Some("bicubic" | "random") => Filter::Bicubic,
        Some("bilinear") => Filter::Bilinear,
        Some(other) => return Err(refuse("interpolation", other, "bicubic or bilinear")),
    };
    match word("resize_mode") {
        None | Some("shortest") => {}
        Some("squash") => read.resize = read.crop.map(Resize::Exact),
        Some(other) => return Err(refuse("resize_mode", other, "shortest or squash")),
    }
    for (key, channels) in [("mean", &mut read.mean), ("std", &mut read.std)] {
        if let Some(values) = config.get(key).filter(|values| !values.is_null()) {
            *channels = parse(&folder.config_path(), values.clone())?;
        }
    }
    Ok(read)
}

/// What OpenAI's CLIP does to an image for a tower that takes squares of `side` pixels, and open_clip by itself.
pub(super) fn of_torchvision(side: i64) -> Preprocessing {
    let side = u32::try_from(side).unwrap_or(0);
    Preprocessing {
        resize: Some(Resize::ShortestEdge(side)),
        filter: Filter::Bicubic,
        crop: Some([side, side]),
        middle: Middle::Even,
        rescale: 1.0 / 255.0,
        mean: OPENAI_MEAN,
        std: OPENAI_STD,
    }
}
