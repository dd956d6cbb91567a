//! BERT, as in `transformers` (`BertModel`); MiniLM and most sentence-transformers are BERTs.

use retort_nn::{Activation, BertEmbeddings, BertSizes, Block, Scope, attention_bias, bert_layers};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::Tensor;

use crate::Result;
use crate::folder::ModelFolder;
use crate::sentences::{self, Parts, TokenEncoder};
use crate::sides::Sides;

/// A BERT config; defaults are those of transformers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BertConfig {
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
    /// Entries of the segment embedding.
    pub type_vocab_size: i64,
    /// Activation by name.
    pub hidden_act: String,
    /// Added to the variance.
    pub layer_norm_eps: f64,
}

impl Default for BertConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30_522,
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            hidden_act: "gelu".to_owned(),
            layer_norm_eps: 1e-12,
        }
    }
}

/// Opens `model_type` `bert`, with or without the `bert.` prefix of task models.
pub(super) fn open(folder: &ModelFolder) -> Result<Sides> {
    let config: BertConfig = folder.config()?;
    folder.check_heads(config.num_attention_heads, config.hidden_size)?;
    folder.expect("position_embedding_type", "absolute")?;
    let scope = folder.scope_below("bert", "embeddings.word_embeddings.weight");
    let parts = Parts {
        name: "bert",
        config: json!(config),
        encoder: Box::new(Bert::new(&scope, &config)?),
        pooler: Some(scope.sub("pooler")),
        vocabulary: config.vocab_size,
        positions: config.max_position_embeddings,
        width: config.hidden_size,
        pad: 0,
        sees_spaces: false,
    };
    sentences::open(folder, parts)
}

#[derive(Debug)]
struct Bert {
    embeddings: BertEmbeddings,
    blocks: Vec<Block>,
}

impl Bert {
    fn new(scope: &Scope<'_>, config: &BertConfig) -> Result<Self> {
        let sizes = BertSizes {
            vocabulary: config.vocab_size,
            positions: config.max_position_embeddings,
            segments: config.type_vocab_size,
            width: config.hidden_size,
            inner: config.intermediate_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            activation: Activation::named(&config.hidden_act)?,
            epsilon: config.layer_norm_eps,
        };
        let blocks = bert_layers(&scope.sub("encoder"), &sizes)?;
        Ok(Self { embeddings: BertEmbeddings::new(&scope.sub("embeddings"), &sizes)?, blocks })
    }
}

impl TokenEncoder for Bert {
    fn hidden(&self, ids: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let mut x = self.embeddings.forward(ids, None)?;
        let bias = attention_bias(mask, x.kind())?;
        for block in &self.blocks {
            x = block.forward(&x, Some(&bias), false)?;
        }
        Ok(x)
    }
}
