//! DistilBERT, as in `transformers` (`DistilBertModel`): BERT without segments and pooler, under names of its own.

use retort_nn::{Activation, Attention, Block, Embedding, LayerNorm, Linear, Mlp, NormOrder, Scope, attention_bias};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::Tensor;

use crate::Result;
use crate::folder::ModelFolder;
use crate::sentences::{self, Parts, TokenEncoder};
use crate::sides::Sides;

/// Added to the variance; no config says otherwise.
const EPSILON: f64 = 1e-12;

/// A DistilBERT config; defaults are those of transformers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct DistilBertConfig {
    /// Entries of the vocabulary.
    vocab_size: i64,
    /// Width of a token feature.
    dim: i64,
    /// Width inside the feed-forward part.
    hidden_dim: i64,
    /// Layers.
    n_layers: i64,
    /// Attention heads.
    n_heads: i64,
    /// Most tokens of a text.
    max_position_embeddings: i64,
    /// Activation by name.
    activation: String,
}

impl Default for DistilBertConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30_522,
            dim: 768,
            hidden_dim: 3072,
            n_layers: 6,
            n_heads: 12,
            max_position_embeddings: 512,
            activation: "gelu".to_owned(),
        }
    }
}

/// Opens `model_type` `distilbert`, with or without the `distilbert.` prefix of task models.
pub(super) fn open(folder: &ModelFolder) -> Result<Sides> {
    let config: DistilBertConfig = folder.config()?;
    folder.check_heads(config.n_heads, config.dim)?;
    let scope = folder.scope_below("distilbert", "embeddings.word_embeddings.weight");
    let parts = Parts {
        name: "distilbert",
        config: json!(config),
        encoder: Box::new(DistilBert::new(&scope, &config)?),
        pooler: None,
        vocabulary: config.vocab_size,
        positions: config.max_position_embeddings,
        width: config.dim,
        pad: 0,
        sees_spaces: false,
    };
    sentences::open(folder, parts)
}

#[derive(Debug)]
struct DistilBert {
    words: Embedding,
    positions: Embedding,
    norm: LayerNorm,
    blocks: Vec<Block>,
}

impl DistilBert {
    fn new(scope: &Scope<'_>, config: &DistilBertConfig) -> Result<Self> {
        let (embeddings, layers) = (scope.sub("embeddings"), scope.sub("transformer").sub("layer"));
        let table = |name: &str, entries: i64| Embedding::new(&embeddings.sub(name), entries, config.dim);
        Ok(Self {
            words: table("word_embeddings", config.vocab_size)?,
            positions: table("position_embeddings", config.max_position_embeddings)?,
            norm: LayerNorm::new(&embeddings.sub("LayerNorm"), config.dim, EPSILON)?,
            blocks: (0..config.n_layers)
                .map(|layer| block(&layers.sub(&layer.to_string()), config))
                .collect::<Result<_>>()?,
        })
    }
}

fn block(scope: &Scope<'_>, config: &DistilBertConfig) -> Result<Block> {
    let (width, inner) = (config.dim, config.hidden_dim);
    let projection = |name: &str| Linear::new(&scope.sub("attention").sub(name), width, width);
    Ok(Block {
        attention: Attention::new(
            projection("q_lin")?,
            projection("k_lin")?,
            projection("v_lin")?,
            projection("out_lin")?,
            config.n_heads,
        )?,
        attention_norm: LayerNorm::new(&scope.sub("sa_layer_norm"), width, EPSILON)?,
        mlp: Mlp::new(
            Linear::new(&scope.sub("ffn").sub("lin1"), width, inner)?,
            Linear::new(&scope.sub("ffn").sub("lin2"), inner, width)?,
            Activation::named(&config.activation)?,
        )?,
        mlp_norm: LayerNorm::new(&scope.sub("output_layer_norm"), width, EPSILON)?,
        order: NormOrder::After,
    })
}

impl TokenEncoder for DistilBert {
    fn hidden(&self, ids: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (_, tokens) = ids.size2()?;
        let mut x = self.norm.forward(&self.words.forward(ids)?.f_add(&self.positions.first(tokens)?)?)?;
        let bias = attention_bias(mask, x.kind())?;
        for block in &self.blocks {
            x = block.forward(&x, Some(&bias), false)?;
        }
        Ok(x)
    }
}
