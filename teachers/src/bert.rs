//! BERT, as in `transformers` (`BertModel`), with the poolings of sentence-transformers.

use retort_nn::{Activation, BertEmbeddings, BertSizes, Block, Linear, Scope, attention_bias, bert_layers};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::{Result, TextFeatures};

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

/// How one vector is made of a text's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Mean over all tokens, special ones included, padding left out (sentence-transformers' `mean`).
    Mean,
    /// The first token's feature (sentence-transformers' `cls`).
    First,
    /// BERT's own pooler: tanh of a linear layer on the first token (`pooler_output`).
    Pooler,
}

/// BERT with its pooling.
#[derive(Debug)]
pub struct Bert {
    embeddings: BertEmbeddings,
    blocks: Vec<Block>,
    pooling: Pooling,
    pooler: Option<Linear>,
    normalise: bool,
}

impl Bert {
    /// Builds the model from its names, with or without the `bert.` prefix of task models.
    ///
    /// # Errors
    /// If a tensor is missing or does not fit the config.
    pub fn new(scope: &Scope<'_>, config: &BertConfig, pooling: Pooling, normalise: bool) -> Result<Self> {
        let scope = Self::base(scope);
        let width = config.hidden_size;
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
        let blocks = bert_layers(&scope.sub("encoder"), &sizes)?;
        let pooler = match pooling {
            Pooling::Pooler => Some(Linear::new(&scope.sub("pooler").sub("dense"), width, width)?),
            Pooling::Mean | Pooling::First => None,
        };
        Ok(Self {
            embeddings: BertEmbeddings::new(&scope.sub("embeddings"), &sizes)?,
            blocks,
            pooling,
            pooler,
            normalise,
        })
    }

    /// Where BERT's own names start in a checkpoint.
    pub fn base<'a>(scope: &Scope<'a>) -> Scope<'a> {
        let task_model = scope.sub("bert");
        if !scope.has("embeddings.word_embeddings.weight") && task_model.has("embeddings.word_embeddings.weight") {
            task_model
        } else {
            scope.clone()
        }
    }

    /// Ids and mask `[batch, tokens]` to pooled `[batch, width]` and the last hidden state `[batch, tokens, width]`.
    ///
    /// # Errors
    /// If libtorch refuses the shapes.
    pub fn forward(&self, ids: &Tensor, mask: &Tensor) -> Result<TextFeatures> {
        let mut x = self.embeddings.forward(ids, None)?;
        let bias = attention_bias(mask, x.kind())?;
        for block in &self.blocks {
            x = block.forward(&x, Some(&bias), false)?;
        }
        let pooled = match (self.pooling, &self.pooler) {
            (Pooling::Pooler, Some(pooler)) => pooler.forward(&x.f_select(1, 0)?)?.f_tanh()?,
            (Pooling::Mean, _) => {
                let weights = mask.f_to_kind(x.kind())?.f_unsqueeze(-1)?;
                let sum = x.f_mul(&weights)?.f_sum_dim_intlist([1_i64].as_slice(), false, None::<Kind>)?;
                sum.f_div(&weights.f_sum_dim_intlist([1_i64].as_slice(), false, None::<Kind>)?.f_clamp_min(1e-9)?)?
            }
            _ => x.f_select(1, 0)?,
        };
        let pooled = if self.normalise {
            pooled.f_div(&pooled.f_norm_scalaropt_dim(2, [-1_i64].as_slice(), true)?.f_clamp_min(1e-12)?)?
        } else {
            pooled
        };
        Ok(TextFeatures { pooled, tokens: x })
    }
}
