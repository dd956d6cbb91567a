//! MPNet, as in `transformers` (`MPNetModel`): no segments, and a learned bias of attention by how far apart two tokens
//! are.

use retort_nn::{Activation, Attention, Block, Embedding, LayerNorm, Linear, Mlp, NormOrder, Scope, attention_bias};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::roberta::positions;
use crate::Result;
use crate::folder::ModelFolder;
use crate::sentences::{self, Parts, TokenEncoder};
use crate::sides::Sides;

/// The id that positions take for padding, whatever the config says.
const PADDING: i64 = 1;
/// Buckets that distances fall into, half of them for tokens to the right; transformers takes no other number.
const BUCKETS: i64 = 32;
/// All distances from here on are one.
const FURTHEST: f64 = 128.0;

/// An MPNet config; defaults are those of transformers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct MpnetConfig {
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
    /// Entries of the position embedding, of which the first two are no positions.
    max_position_embeddings: i64,
    /// Entries of the table of biases.
    relative_attention_num_buckets: i64,
    /// Activation by name.
    hidden_act: String,
    /// Added to the variance.
    layer_norm_eps: f64,
}

impl Default for MpnetConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30_527,
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            max_position_embeddings: 512,
            relative_attention_num_buckets: BUCKETS,
            hidden_act: "gelu".to_owned(),
            layer_norm_eps: 1e-12,
        }
    }
}

/// Opens `model_type` `mpnet`, with or without the `mpnet.` prefix of task models.
pub(super) fn open(folder: &ModelFolder) -> Result<Sides> {
    let config: MpnetConfig = folder.config()?;
    folder.check_heads(config.num_attention_heads, config.hidden_size)?;
    if config.relative_attention_num_buckets < BUCKETS {
        let found = config.relative_attention_num_buckets;
        return Err(folder.refuse(format!("its relative_attention_num_buckets is {found}, expected {BUCKETS}")));
    }
    let scope = folder.scope_below("mpnet", "embeddings.word_embeddings.weight");
    let parts = Parts {
        name: "mpnet",
        config: json!(config),
        encoder: Box::new(Mpnet::new(&scope, &config)?),
        pooler: Some(scope.sub("pooler")),
        vocabulary: config.vocab_size,
        positions: config.max_position_embeddings - PADDING - 1,
        width: config.hidden_size,
        pad: PADDING,
        sees_spaces: false,
    };
    sentences::open(folder, parts)
}

#[derive(Debug)]
struct Mpnet {
    words: Embedding,
    positions: Embedding,
    norm: LayerNorm,
    blocks: Vec<Block>,
    distances: Embedding,
}

impl Mpnet {
    fn new(scope: &Scope<'_>, config: &MpnetConfig) -> Result<Self> {
        let (embeddings, encoder, width) = (scope.sub("embeddings"), scope.sub("encoder"), config.hidden_size);
        let table = |name: &str, entries: i64| Embedding::new(&embeddings.sub(name), entries, width);
        let blocks = (0..config.num_hidden_layers)
            .map(|layer| block(&encoder.sub("layer").sub(&layer.to_string()), config))
            .collect::<Result<_>>()?;
        let (buckets, heads) = (config.relative_attention_num_buckets, config.num_attention_heads);
        Ok(Self {
            words: table("word_embeddings", config.vocab_size)?,
            positions: table("position_embeddings", config.max_position_embeddings)?,
            norm: LayerNorm::new(&embeddings.sub("LayerNorm"), width, config.layer_norm_eps)?,
            blocks,
            distances: Embedding::new(&encoder.sub("relative_attention_bias"), buckets, heads)?,
        })
    }

    /// What is added to the attention scores of so many tokens, `[1, heads, tokens, tokens]`.
    fn distance_bias(&self, tokens: i64, device: Device) -> Result<Tensor> {
        let bias = self.distances.forward(&buckets(tokens, device)?)?;
        Ok(bias.f_permute([2, 0, 1])?.f_unsqueeze(0)?)
    }
}

fn block(scope: &Scope<'_>, config: &MpnetConfig) -> Result<Block> {
    let MpnetConfig { hidden_size: width, intermediate_size: inner, layer_norm_eps: epsilon, .. } = *config;
    let attention = scope.sub("attention");
    let projection = |name: &str| Linear::new(&attention.sub("attn").sub(name), width, width);
    Ok(Block {
        attention: Attention::new(
            projection("q")?,
            projection("k")?,
            projection("v")?,
            projection("o")?,
            config.num_attention_heads,
        )?,
        attention_norm: LayerNorm::new(&attention.sub("LayerNorm"), width, epsilon)?,
        mlp: Mlp::new(
            Linear::new(&scope.sub("intermediate").sub("dense"), width, inner)?,
            Linear::new(&scope.sub("output").sub("dense"), inner, width)?,
            Activation::named(&config.hidden_act)?,
        )?,
        mlp_norm: LayerNorm::new(&scope.sub("output").sub("LayerNorm"), width, epsilon)?,
        order: NormOrder::After,
    })
}

impl TokenEncoder for Mpnet {
    fn hidden(&self, ids: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (_, tokens) = ids.size2()?;
        let positions = self.positions.forward(&positions(ids, PADDING)?)?;
        let mut x = self.norm.forward(&self.words.forward(ids)?.f_add(&positions)?)?;
        let bias = attention_bias(mask, x.kind())?.f_add(&self.distance_bias(tokens, x.device())?)?;
        for block in &self.blocks {
            x = block.forward(&x, Some(&bias), false)?;
        }
        Ok(x)
    }
}

/// The bucket of each pair of tokens, `[tokens, tokens]`, by how far the second is from the first: near distances have one
/// each, the others share some by their logarithm (T5's relative positions). In f32 and in the reference's order, so that
/// a distance at the edge of a bucket falls on the same side.
fn buckets(tokens: i64, device: Device) -> Result<Tensor> {
    let places = Tensor::f_arange(tokens, (Kind::Int64, device))?;
    let away = places.f_unsqueeze(1)?.f_sub(&places.f_unsqueeze(0)?)?;
    let (half, near) = (BUCKETS / 2, BUCKETS / 4);
    let side = away.f_lt(0)?.f_to_kind(Kind::Int64)?.f_mul_scalar(half)?;
    let away = away.f_abs()?;
    let share = away.f_to_kind(Kind::Float)?.f_div_scalar(near)?.f_log()?;
    let share = share.f_div_scalar((FURTHEST / near as f64).ln())?.f_mul_scalar(half - near)?;
    // The logarithm of 0 has no whole number, and is not taken.
    let far = share.f_clamp(-1.0, half as f64)?.f_to_kind(Kind::Int64)?.f_add_scalar(near)?.f_clamp_max(half - 1)?;
    Ok(away.f_where_self(&away.f_lt(near)?, &far)?.f_add(&side)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_tokens_have_buckets_of_their_own_and_far_ones_share() -> Result<()> {
        let buckets = buckets(300, Device::Cpu)?;
        let of = |from: i64, to: i64| buckets.int64_value(&[from, to]);
        assert_eq!([of(5, 5), of(5, 4), of(5, 6), of(9, 2), of(2, 9)], [0, 1, 17, 7, 23]);
        // 8 to 11 are the first bucket of several; 128 and all beyond are the last.
        assert_eq!([of(20, 12), of(20, 9), of(20, 8), of(8, 20)], [8, 8, 9, 25]);
        assert_eq!([of(299, 171), of(299, 0), of(0, 299)], [15, 15, 31]);
        Ok(())
    }
}
