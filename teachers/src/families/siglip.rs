//! SigLIP, and SigLIP 2 of a fixed resolution, as in `transformers` (`SiglipModel`): both towers. The text tower and the head
//! that pools are those of SigLIP 2 for images that keep their shape too (`siglip2.rs`).

use retort_nn::{Activation, Block, Embedding, Init, LayerNorm, Linear, Mlp, Scope, attention_bias};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tch::Tensor;

use super::layers::{Layers, Patches};
use crate::folder::ModelFolder;
use crate::preprocessing::{self, Processor};
use crate::sides::{ImageSide, ImageTower, Padding, Sides, TextFeatures, TextSide, TextTower};
use crate::{Result, tokenizer};

/// What is pooled of images and texts.
pub(super) const POOLING: &str = "attention head / last position of a text padded to the longest";

/// `vision_config`; defaults are those of transformers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct VisionConfig {
    /// Width of a patch feature.
    hidden_size: i64,
    /// Width inside the feed-forward part.
    intermediate_size: i64,
    /// Layers.
    num_hidden_layers: i64,
    /// Attention heads.
    num_attention_heads: i64,
    /// Side of the square input in pixels.
    image_size: i64,
    /// Side of a patch in pixels.
    patch_size: i64,
    /// Activation by name.
    hidden_act: String,
    /// Added to the variance.
    layer_norm_eps: f64,
    /// Whether there is a head that pools; without one there is no embedding.
    vision_use_head: bool,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 224,
            patch_size: 16,
            hidden_act: "gelu_pytorch_tanh".to_owned(),
            layer_norm_eps: 1e-6,
            vision_use_head: true,
        }
    }
}

/// `text_config`; defaults are those of transformers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct TextConfig {
    /// Entries of the vocabulary.
    vocab_size: i64,
    /// Width of a token feature.
    hidden_size: i64,
    /// Width inside the feed-forward part.
    intermediate_size: i64,
    /// Layers.
    num_hidden_layers: i64,
    /// Attention heads.
    num_attention_heads: i64,
    /// Tokens that every text is brought to.
    max_position_embeddings: i64,
    /// Activation by name.
    hidden_act: String,
    /// Added to the variance.
    layer_norm_eps: f64,
    /// Dimensions of an embedding; those of a token where none are said.
    projection_size: Option<i64>,
    /// Id of the padding, where the tokenizer's files name none.
    pad_token_id: i64,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 32_000,
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            max_position_embeddings: 64,
            hidden_act: "gelu_pytorch_tanh".to_owned(),
            layer_norm_eps: 1e-6,
            projection_size: None,
            pad_token_id: 1,
        }
    }
}

/// Opens `model_type` `siglip`.
pub(super) fn open(folder: &ModelFolder) -> Result<Sides> {
    let vision: VisionConfig = folder.part("vision_config")?;
    folder.check_heads(vision.num_attention_heads, vision.hidden_size)?;
    folder.check_patch(vision.patch_size, vision.image_size)?;
    if !vision.vision_use_head {
        return Err(folder.refuse("its vision_use_head is false: expected a head that pools".to_owned()));
    }
    let preprocessing = preprocessing::open_square(folder, Processor::Siglip, vision.image_size)?;
    let (texts, mut details) = open_texts(folder)?;
    details.insert("vision".to_owned(), json!(vision));
    details.insert("preprocessing".to_owned(), json!(preprocessing));
    details.insert("pooling".to_owned(), json!(POOLING));
    let tower = Box::new(Vision::new(&folder.scope().sub("vision_model"), &vision)?);
    let image = ImageSide { tower, preprocessing, width: vision.hidden_size as usize };
    Ok(Sides { image: Some(image), text: Some(texts), details: Value::Object(details), pools: false })
}

/// The text half, and what decides its numbers.
pub(super) fn open_texts(folder: &ModelFolder) -> Result<(TextSide, Map<String, Value>)> {
    let text: TextConfig = folder.part("text_config")?;
    folder.check_heads(text.num_attention_heads, text.hidden_size)?;
    let longest = tokenizer::longest_text(folder, text.max_position_embeddings)?;
    let tokenizer = tokenizer::open(folder, longest, text.vocab_size)?;
    let padding = Padding { id: tokenizer::pad_id(folder, &tokenizer, text.pad_token_id)?, least: longest };
    let masked = masks_padding(folder)?;
    let details = [
        ("text", json!(text)),
        ("tokenizer", json!(tokenizer::hash(folder)?)),
        ("longest", json!(longest)),
        ("padding", json!(padding.id)),
        ("masked", json!(masked)),
    ];
    let details = details.map(|(key, value)| (key.to_owned(), value)).into_iter().collect();
    let tower = Text::new(&folder.scope().sub("text_model"), &text, masked)?;
    let (width, token_width) = (tower.width as usize, text.hidden_size as usize);
    Ok((TextSide { tower: Box::new(tower), tokenizer, padding, width, token_width }, details))
}

/// Whether attention leaves the padding out. SigLIP was trained to see it, and the tokenizers of published models give no
/// mask; where a folder's `model_input_names` do name one, transformers' processor hands it over.
fn masks_padding(folder: &ModelFolder) -> Result<bool> {
    let settings = tokenizer::settings(folder)?;
    let names = settings.get("model_input_names").and_then(Value::as_array);
    Ok(names.is_some_and(|names| names.iter().any(|name| name.as_str() == Some("attention_mask"))))
}

#[derive(Debug)]
struct Vision {
    patches: Patches,
    positions: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Pool,
    places: i64,
    width: i64,
}

impl Vision {
    fn new(scope: &Scope<'_>, config: &VisionConfig) -> Result<Self> {
        let (embeddings, width, patch) = (scope.sub("embeddings"), config.hidden_size, config.patch_size);
        let places = (config.image_size / patch) * (config.image_size / patch);
        let layers = Layers {
            width,
            inner: config.intermediate_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            activation: Activation::named(&config.hidden_act)?,
            epsilon: config.layer_norm_eps,
        };
        Ok(Self {
            patches: Patches::new(&embeddings.sub("patch_embedding"), width, patch, true)?,
            positions: Embedding::new(&embeddings.sub("position_embedding"), places, width)?,
            blocks: layers.open(&scope.sub("encoder"))?,
            norm: LayerNorm::new(&scope.sub("post_layernorm"), width, config.layer_norm_eps)?,
            head: Pool::new(&scope.sub("head"), &layers)?,
            places,
            width,
        })
    }
}

impl ImageTower for Vision {
    fn hidden(&self, pixels: &Tensor) -> Result<Tensor> {
        let mut x = self.patches.forward(pixels)?.f_add(&self.positions.first(self.places)?)?;
        for block in &self.blocks {
            x = block.forward(&x, None, false)?;
        }
        Ok(self.norm.forward(&x)?)
    }

    /// `get_image_features`, not normalised.
    fn pooled(&self, hidden: &Tensor) -> Result<Tensor> {
        self.head.forward(hidden, None)
    }

    /// The last hidden state: there is no class token.
    fn grid(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(hidden.shallow_clone())
    }

    fn grid_size(&self) -> [usize; 2] {
        [self.places as usize, self.width as usize]
    }
}

/// Pools patches by the attention of one learned query (multihead attention pooling), which torch's `MultiheadAttention`
/// keeps under names of its own.
#[derive(Debug)]
pub(super) struct Pool {
    probe: Tensor,
    /// Query, key and value, one below the other: `[3 width, width]`, `[3 width]`.
    weight: Tensor,
    bias: Tensor,
    output: Linear,
    norm: LayerNorm,
    mlp: Mlp,
    heads: i64,
}

impl Pool {
    /// Below the scope of the head.
    ///
    /// # Errors
    /// If a tensor is missing or does not fit.
    pub(super) fn new(scope: &Scope<'_>, layers: &Layers) -> Result<Self> {
        let (attention, width) = (scope.sub("attention"), layers.width);
        Ok(Self {
            probe: scope.tensor("probe", &[1, 1, width], Init::Normal(0.02))?,
            weight: attention.tensor("in_proj_weight", &[3 * width, width], Init::Normal(0.02))?,
            bias: attention.tensor("in_proj_bias", &[3 * width], Init::Zeros)?,
            output: Linear::new(&attention.sub("out_proj"), width, width)?,
            norm: LayerNorm::new(&scope.sub("layernorm"), width, layers.epsilon)?,
            mlp: layers.feed_forward(&scope.sub("mlp"))?,
            heads: layers.heads,
        })
    }

    /// `[batch, patches, width]` to `[batch, width]`. `bias` `[batch, 1, 1, patches]` is added to the scores
    /// ([`attention_bias`]).
    ///
    /// # Errors
    /// If libtorch refuses the shapes.
    pub(super) fn forward(&self, hidden: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let (batch, _, width) = hidden.size3()?;
        // Projects by the n-th third, and divides what comes out among the heads.
        let projected = |x: &Tensor, third: i64| -> Result<Tensor> {
            let weight = self.weight.f_narrow(0, third * width, width)?;
            let x = x.f_linear(&weight, Some(&self.bias.f_narrow(0, third * width, width)?))?;
            let (batch, tokens, _) = x.size3()?;
            Ok(x.f_view([batch, tokens, self.heads, width / self.heads])?.f_transpose(1, 2)?)
        };
        let query = projected(&self.probe, 0)?.f_expand([batch, self.heads, 1, width / self.heads], false)?;
        let (key, value) = (projected(hidden, 1)?, projected(hidden, 2)?);
        let mixed = Tensor::f_scaled_dot_product_attention(&query, &key, &value, bias, 0.0, false, None, false)?;
        let x = self.output.forward(&mixed.f_transpose(1, 2)?.f_reshape([batch, width])?)?;
        Ok(x.f_add(&self.mlp.forward(&self.norm.forward(&x)?)?)?)
    }
}

#[derive(Debug)]
struct Text {
    words: Embedding,
    positions: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
    masked: bool,
    width: i64,
}

impl Text {
    fn new(scope: &Scope<'_>, config: &TextConfig, masked: bool) -> Result<Self> {
        let (embeddings, width) = (scope.sub("embeddings"), config.hidden_size);
        let projected = config.projection_size.unwrap_or(width);
        let layers = Layers {
            width,
            inner: config.intermediate_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            activation: Activation::named(&config.hidden_act)?,
            epsilon: config.layer_norm_eps,
        };
        let positions = config.max_position_embeddings;
        Ok(Self {
            words: Embedding::new(&embeddings.sub("token_embedding"), config.vocab_size, width)?,
            positions: Embedding::new(&embeddings.sub("position_embedding"), positions, width)?,
            blocks: layers.open(&scope.sub("encoder"))?,
            norm: LayerNorm::new(&scope.sub("final_layer_norm"), width, config.layer_norm_eps)?,
            head: Linear::new(&scope.sub("head"), width, projected)?,
            masked,
            width: projected,
        })
    }
}

impl TextTower for Text {
    /// `get_text_features`, not normalised: of the last position, which is padding but for the longest texts.
    fn forward(&self, ids: &Tensor, mask: &Tensor) -> Result<TextFeatures> {
        let (_, tokens) = ids.size2()?;
        let mut x = self.words.forward(ids)?.f_add(&self.positions.first(tokens)?)?;
        let bias = if self.masked { Some(attention_bias(mask, x.kind())?) } else { None };
        for block in &self.blocks {
            x = block.forward(&x, bias.as_ref(), false)?;
        }
        let x = self.norm.forward(&x)?;
        Ok(TextFeatures { pooled: self.head.forward(&x.f_select(1, -1)?)?, tokens: x })
    }
}
