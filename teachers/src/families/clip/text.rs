//! CLIP's text tower.

use retort_nn::{Activation, Block, Embedding, LayerNorm, Linear, Scope};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::Result;
use crate::families::layers::Layers;
use crate::sides::{TextFeatures, TextTower};

/// `text_config` of a CLIP config; defaults are those of transformers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipTextConfig {
    /// Entries of the vocabulary.
    pub vocab_size: i64,
    /// Width of a token feature.
    pub hidden_size: i64,
    /// Width inside the feed-forward part.
    pub intermediate_size: i64,
    /// Layers.
    pub num_hidden_layers: i64,
    /// Attention heads.
    pub num_attention_heads: i64,
    /// Most tokens of a text.
    pub max_position_embeddings: i64,
    /// Activation by name.
    pub hidden_act: String,
    /// Added to the variance.
    pub layer_norm_eps: f64,
    /// Id of the token whose feature is pooled, or [`Self::HIGHEST_ID`].
    pub eos_token_id: i64,
}

impl ClipTextConfig {
    /// What configs say from before the id was stored: the token of the highest id is pooled.
    pub(crate) const HIGHEST_ID: i64 = 2;
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49_408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: "quick_gelu".to_owned(),
            layer_norm_eps: 1e-5,
            eos_token_id: 49_407,
        }
    }
}

/// The text tower with its projection, if it has one.
///
/// The pooled feature is that of the end-of-text token. Configs from before its id was stored say 2; transformers then
/// takes the token of the highest id, as OpenAI's code and open_clip always do, and so do we.
#[derive(Debug)]
pub struct ClipText {
    token_embedding: Embedding,
    position_embedding: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    projection: Option<Linear>,
    end_of_text: i64,
}

impl ClipText {
    /// Builds the tower from `text_model.*`, and from `text_projection` where it is to project into so many dimensions.
    ///
    /// # Errors
    /// If a tensor is missing or does not fit the config.
    pub fn new(scope: &Scope<'_>, config: &ClipTextConfig, projected: Option<i64>) -> Result<Self> {
        let width = config.hidden_size;
        let tower = scope.sub("text_model");
        let embeddings = tower.sub("embeddings");
        let layers = Layers {
            width,
            inner: config.intermediate_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            activation: Activation::named(&config.hidden_act)?,
            epsilon: config.layer_norm_eps,
        };
        let blocks = layers.open(&tower.sub("encoder"))?;
        let positions = config.max_position_embeddings;
        Ok(Self {
            token_embedding: Embedding::new(&embeddings.sub("token_embedding"), config.vocab_size, width)?,
            position_embedding: Embedding::new(&embeddings.sub("position_embedding"), positions, width)?,
            blocks,
            norm: LayerNorm::new(&tower.sub("final_layer_norm"), width, config.layer_norm_eps)?,
            projection: projected
                .map(|projected| Linear::without_bias(&scope.sub("text_projection"), width, projected))
                .transpose()?,
            end_of_text: config.eos_token_id,
        })
    }
}

impl TextTower for ClipText {
    /// Not normalised: `get_text_features`, or `pooler_output` of a tower without projection.
    ///
    /// Attention is causal, so padding on the right reaches no token before it and needs no mask.
    fn forward(&self, ids: &Tensor, mask: &Tensor) -> Result<TextFeatures> {
        let (batch, tokens) = ids.size2()?;
        let mut x = self.token_embedding.forward(ids)?.f_add(&self.position_embedding.first(tokens)?)?;
        for block in &self.blocks {
            x = block.forward(&x, None, true)?;
        }
        let x = self.norm.forward(&x)?;
        let ids = ids.f_mul(mask)?;
        let marks = if self.end_of_text == ClipTextConfig::HIGHEST_ID {
            ids
        } else {
            ids.f_eq(self.end_of_text)?.f_to_kind(tch::Kind::Int64)?
        };
        let end = marks.f_argmax(1, false)?;
        let rows = Tensor::f_arange(batch, (tch::Kind::Int64, x.device()))?;
        let pooled = x.f_index(&[Some(rows), Some(end)])?;
        let pooled = match &self.projection {
            Some(projection) => projection.forward(&pooled)?,
            None => pooled,
        };
        Ok(TextFeatures { pooled, tokens: x })
    }
}
