//! The parts of BERT (Devlin et al. 2019) under their names in the Hugging Face layout: text encoders and cross-modal
//! students are built of them.

use tch::Tensor;

use crate::{Activation, Attention, Block, Embedding, LayerNorm, Linear, Mlp, NormOrder, Result, Scope};

/// Sizes of a BERT.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BertSizes {
    /// Entries of the vocabulary.
    pub vocabulary: i64,
    /// Most tokens of a text.
    pub positions: i64,
    /// Entries of the segment embedding.
    pub segments: i64,
    /// Width of a token.
    pub width: i64,
    /// Width inside the feed-forward part.
    pub inner: i64,
    /// Layers.
    pub layers: i64,
    /// Attention heads.
    pub heads: i64,
    /// The non-linearity of the feed-forward part.
    pub activation: Activation,
    /// Added to the variance.
    pub epsilon: f64,
}

/// What BERT makes of ids before its first layer.
#[derive(Debug)]
pub struct BertEmbeddings {
    words: Embedding,
    positions: Embedding,
    /// Of segments, also called token types.
    pub segments: Embedding,
    /// Normalises the sum.
    pub norm: LayerNorm,
}

impl BertEmbeddings {
    /// `word_embeddings`, `position_embeddings`, `token_type_embeddings` and `LayerNorm` below a scope.
    ///
    /// # Errors
    /// As [`Scope::tensor`].
    pub fn new(scope: &Scope<'_>, sizes: &BertSizes) -> Result<Self> {
        let table = |name: &str, entries: i64| Embedding::new(&scope.sub(name), entries, sizes.width);
        Ok(Self {
            words: table("word_embeddings", sizes.vocabulary)?,
            positions: table("position_embeddings", sizes.positions)?,
            segments: table("token_type_embeddings", sizes.segments)?,
            norm: LayerNorm::new(&scope.sub("LayerNorm"), sizes.width, sizes.epsilon)?,
        })
    }

    /// x_i = LayerNorm( W_word(id_i) + W_segment(s_i) + W_position(i) ), `[batch, tokens]` to `[batch, tokens, width]`.
    ///
    /// Without `segments`, which has the shape of `ids`, every token is of segment 0.
    ///
    /// # Errors
    /// [`crate::Error::Torch`], as for a text longer than there are positions.
    pub fn forward(&self, ids: &Tensor, segments: Option<&Tensor>) -> Result<Tensor> {
        let (_, tokens) = ids.size2()?;
        let segments = match segments {
            Some(segments) => self.segments.forward(segments)?,
            None => self.segments.first(1)?,
        };
        let x = self.words.forward(ids)?.f_add(&segments)?.f_add(&self.positions.first(tokens)?)?;
        self.norm.forward(&x)
    }
}

/// The layers below a scope, `layer.0` and so on: attention, then feed-forward, each normalised after its sum.
///
/// # Errors
/// As [`Scope::tensor`].
pub fn bert_layers(scope: &Scope<'_>, sizes: &BertSizes) -> Result<Vec<Block>> {
    let BertSizes { width, inner, epsilon, .. } = *sizes;
    (0..sizes.layers)
        .map(|layer| {
            let scope = scope.sub("layer").sub(&layer.to_string());
            let attention = scope.sub("attention");
            let projection = |name: &str| Linear::new(&attention.sub("self").sub(name), width, width);
            Ok(Block {
                attention: Attention::new(
                    projection("query")?,
                    projection("key")?,
                    projection("value")?,
                    Linear::new(&attention.sub("output").sub("dense"), width, width)?,
                    sizes.heads,
                )?,
                attention_norm: LayerNorm::new(&attention.sub("output").sub("LayerNorm"), width, epsilon)?,
                mlp: Mlp::new(
                    Linear::new(&scope.sub("intermediate").sub("dense"), width, inner)?,
                    Linear::new(&scope.sub("output").sub("dense"), inner, width)?,
                    sizes.activation,
                )?,
                mlp_norm: LayerNorm::new(&scope.sub("output").sub("LayerNorm"), width, epsilon)?,
                order: NormOrder::After,
            })
        })
        .collect()
}
