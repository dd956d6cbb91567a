//! RoBERTa and XLM-RoBERTa, as in `transformers` (`RobertaModel`, `XLMRobertaModel`): BERT with positions that begin
//! behind the padding's.

use retort_nn::{Activation, BertSizes, Block, Embedding, LayerNorm, Scope, attention_bias, bert_layers};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::{Kind, Tensor};

use crate::Result;
use crate::folder::ModelFolder;
use crate::sentences::{self, Parts, TokenEncoder};
use crate::sides::Sides;

/// A RoBERTa config; defaults are those of transformers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct RobertaConfig {
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
    /// Entries of the position embedding, of which those up to the padding's id are no positions.
    max_position_embeddings: i64,
    /// Entries of the segment embedding.
    type_vocab_size: i64,
    /// Activation by name.
    hidden_act: String,
    /// Added to the variance.
    layer_norm_eps: f64,
    /// Id of the padding.
    pad_token_id: i64,
}

impl Default for RobertaConfig {
    fn default() -> Self {
        Self {
            vocab_size: 50_265,
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            hidden_act: "gelu".to_owned(),
            layer_norm_eps: 1e-12,
            pad_token_id: 1,
        }
    }
}

/// Opens `model_type` `roberta` or `xlm-roberta`, with or without the `roberta.` prefix of task models.
pub(super) fn open(folder: &ModelFolder) -> Result<Sides> {
    let config: RobertaConfig = folder.config()?;
    folder.check_heads(config.num_attention_heads, config.hidden_size)?;
    folder.expect("position_embedding_type", "absolute")?;
    let scope = folder.scope_below("roberta", "embeddings.word_embeddings.weight");
    let parts = Parts {
        name: "roberta",
        config: json!(config),
        encoder: Box::new(Roberta::new(&scope, &config)?),
        pooler: Some(scope.sub("pooler")),
        vocabulary: config.vocab_size,
        positions: config.max_position_embeddings - config.pad_token_id - 1,
        width: config.hidden_size,
        pad: config.pad_token_id,
        sees_spaces: true,
    };
    sentences::open(folder, parts)
}

#[derive(Debug)]
struct Roberta {
    words: Embedding,
    positions: Embedding,
    segments: Embedding,
    norm: LayerNorm,
    blocks: Vec<Block>,
    padding: i64,
}

impl Roberta {
    fn new(scope: &Scope<'_>, config: &RobertaConfig) -> Result<Self> {
        let (embeddings, width) = (scope.sub("embeddings"), config.hidden_size);
        let sizes = BertSizes {
            vocabulary: config.vocab_size,
            positions: config.max_position_embeddings,
            segments: config.type_vocab_size,
            width,
            inner: config.intermediate_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            activation: Activation::named(&config.hidden_act)?,
            epsilon: config.layer_norm_eps,
        };
        let table = |name: &str, entries: i64| Embedding::new(&embeddings.sub(name), entries, width);
        Ok(Self {
            words: table("word_embeddings", sizes.vocabulary)?,
            positions: table("position_embeddings", sizes.positions)?,
            segments: table("token_type_embeddings", sizes.segments)?,
            norm: LayerNorm::new(&embeddings.sub("LayerNorm"), width, config.layer_norm_eps)?,
            blocks: bert_layers(&scope.sub("encoder"), &sizes)?,
            padding: config.pad_token_id,
        })
    }
}

impl TokenEncoder for Roberta {
    fn hidden(&self, ids: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let positions = self.positions.forward(&positions(ids, self.padding)?)?;
        let x = self.words.forward(ids)?.f_add(&self.segments.first(1)?)?.f_add(&positions)?;
        let mut x = self.norm.forward(&x)?;
        let bias = attention_bias(mask, x.kind())?;
        for block in &self.blocks {
            x = block.forward(&x, Some(&bias), false)?;
        }
        Ok(x)
    }
}

/// The positions of ids `[batch, tokens]`: padding is at its own id, the n-th other token n places behind that. As in
/// transformers it is the id that counts, so that a padding token spelled out in a text takes no position.
///
/// # Errors
/// If libtorch refuses.
pub(super) fn positions(ids: &Tensor, padding: i64) -> Result<Tensor> {
    let counted = ids.f_ne(padding)?.f_to_kind(Kind::Int64)?;
    Ok(counted.f_cumsum(1, Kind::Int64)?.f_mul(&counted)?.f_add_scalar(padding)?)
}
