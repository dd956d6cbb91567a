//! What `vilt` and `clip-grid` have in common, all but how an image becomes vectors: text tokens, then a whole-image token
//! and the places of the image, as one sequence through layers that normalise first; names and head are ViLT's.
//!
//! ```text
//! ids ----> words + segment + position --> LayerNorm --> + modality 0 --\
//!                                                                        layers --> LayerNorm --> first token --> head
//! places --> [whole image | places] + position ---------> + modality 1 --/
//! ```

use retort_nn::{Activation, Attention, Block, Embedding, Init, LayerNorm, Linear, Mlp, NormOrder, Scope};
use tch::Tensor;

use super::regions::{encoded, join};
use super::{Embedded, Text, Views};
use crate::{Error, Result};

/// Epsilon of the head's normalisation, which no config of ViLT states.
const HEAD_EPSILON: f64 = 1e-5;

/// Sizes of a trunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct TrunkSizes<'a> {
    pub(super) vocabulary: i64,
    /// Most tokens of a text.
    pub(super) positions: i64,
    pub(super) segments: i64,
    /// Entries of the modality embedding: text, image and, in ViLTs for two images, the second one.
    pub(super) modalities: i64,
    pub(super) width: i64,
    /// Width inside the feed-forward part.
    pub(super) inner: i64,
    pub(super) layers: i64,
    pub(super) heads: i64,
    /// Places of an image, the whole-image token left out.
    pub(super) places: i64,
    pub(super) activation: &'a str,
    /// Whether queries, keys and values have biases.
    pub(super) qkv_bias: bool,
    pub(super) epsilon: f64,
}

/// The layers, the embeddings around them, and the head.
#[derive(Debug)]
pub(super) struct Trunk {
    words: Embedding,
    text_positions: Embedding,
    segments: Embedding,
    text_norm: LayerNorm,
    class_token: Tensor,
    positions: Tensor,
    modalities: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    pooler: Linear,
    head_up: Linear,
    head_norm: LayerNorm,
    head_down: Linear,
    width: i64,
}

impl Trunk {
    /// Built from the tensors below `name`, and from those of `classifier`, which has so many outputs.
    ///
    /// # Errors
    /// If a tensor is missing or does not fit the sizes, or heads do not divide the width.
    pub(super) fn new(scope: &Scope<'_>, name: &str, sizes: &TrunkSizes<'_>, outputs: i64) -> Result<Self> {
        let TrunkSizes { width, epsilon, .. } = *sizes;
        if sizes.heads < 1 || width % sizes.heads != 0 {
            let problem = format!("{} do not divide a width of {width}", sizes.heads);
            return Err(Error::Setting { key: "student.heads", problem });
        }
        let model = scope.sub(name);
        let embeddings = model.sub("embeddings");
        let text = embeddings.sub("text_embeddings");
        let classifier = scope.sub("classifier");
        let table = |name: &str, entries: i64| Embedding::new(&text.sub(name), entries, width);
        let places = [1, sizes.places.saturating_add(1), width];
        Ok(Self {
            words: table("word_embeddings", sizes.vocabulary)?,
            text_positions: table("position_embeddings", sizes.positions)?,
            segments: table("token_type_embeddings", sizes.segments)?,
            text_norm: LayerNorm::new(&text.sub("LayerNorm"), width, epsilon)?,
            class_token: embeddings.tensor("cls_token", &[1, 1, width], Init::Normal(0.02))?,
            positions: embeddings.tensor("position_embeddings", &places, Init::Normal(0.02))?,
            modalities: Embedding::new(&embeddings.sub("token_type_embeddings"), sizes.modalities, width)?,
            blocks: (0..sizes.layers)
                .map(|layer| block(&model.sub("encoder").sub("layer").sub(&layer.to_string()), sizes))
                .collect::<Result<_>>()?,
            norm: LayerNorm::new(&model.sub("layernorm"), width, epsilon)?,
            pooler: Linear::new(&model.sub("pooler").sub("dense"), width, width)?,
            head_up: Linear::new(&classifier.sub("0"), width, 2 * width)?,
            head_norm: LayerNorm::new(&classifier.sub("1"), 2 * width, HEAD_EPSILON)?,
            head_down: Linear::new(&classifier.sub("3"), 2 * width, outputs)?,
            width,
        })
    }

    /// Text and places `[batch, places, width]` as one sequence; a whole-image token comes before the places.
    pub(super) fn embed(&self, text: &Text, places: &Tensor) -> Result<Embedded> {
        let (tokens, image) = (self.embed_text(&text.ids)?, self.embed_places(places)?);
        let (batch, count, _) = image.size3()?;
        let seen = Tensor::f_ones([batch, count], (text.mask.kind(), text.mask.device()))?;
        join(text, tokens, image, &seen)
    }

    /// t_i = LayerNorm( W_word(id_i) + W_segment(0) + W_position(i) ) + W_modality(0): ids `[texts, tokens]` to
    /// `[texts, tokens, width]`. Every token is of segment 0, as in the authors' models.
    fn embed_text(&self, ids: &Tensor) -> Result<Tensor> {
        let (_, tokens) = ids.size2()?;
        let x = self.words.forward(ids)?.f_add(&self.segments.first(1)?)?;
        let x = self.text_norm.forward(&x.f_add(&self.text_positions.first(tokens)?)?)?;
        Ok(x.f_add(&self.modalities.first(1)?)?)
    }

    /// v_0 = c + P(0) + W_modality(1), v_j = x_j + P(j) + W_modality(1): `[batch, places, width]` to
    /// `[batch, 1 + places, width]`.
    fn embed_places(&self, places: &Tensor) -> Result<Tensor> {
        let batch = places.size3()?.0;
        let class = self.class_token.f_expand([batch, 1, self.width], false)?;
        let x = Tensor::f_cat(&[&class, places], 1)?.f_add(&self.positions)?;
        Ok(x.f_add(&self.modalities.first(2)?.f_narrow(0, 1, 1)?)?)
    }

    pub(super) fn layers(&self) -> &[Block] {
        &self.blocks
    }

    /// Encodes what was embedded, and reads the answer from the first text token.
    pub(super) fn encode(&self, embedded: &Embedded) -> Result<Views> {
        let tokens = embedded.text.size3()?.1;
        let x = self.norm.forward(&encoded(&self.blocks, embedded)?)?;
        let h_cls = x.f_select(1, 0)?;
        let pooled = self.pooler.forward(&h_cls)?.f_tanh()?;
        let head = self.head_norm.forward(&self.head_up.forward(&pooled)?)?.f_gelu("none")?;
        Ok(Views {
            h_text: x.f_narrow(1, 0, tokens)?,
            r_img: x.f_select(1, tokens)?,
            logits: self.head_down.forward(&head)?,
            h_cls,
        })
    }
}

fn block(scope: &Scope<'_>, sizes: &TrunkSizes<'_>) -> Result<Block> {
    let TrunkSizes { width, inner, epsilon, .. } = *sizes;
    let attention = scope.sub("attention");
    let projection = |name: &str| {
        let scope = attention.sub("attention").sub(name);
        if sizes.qkv_bias { Linear::new(&scope, width, width) } else { Linear::without_bias(&scope, width, width) }
    };
    Ok(Block {
        attention: Attention::new(
            projection("query")?,
            projection("key")?,
            projection("value")?,
            Linear::new(&attention.sub("output").sub("dense"), width, width)?,
            sizes.heads,
        )?,
        attention_norm: LayerNorm::new(&scope.sub("layernorm_before"), width, epsilon)?,
        mlp: Mlp::new(
            Linear::new(&scope.sub("intermediate").sub("dense"), width, inner)?,
            Linear::new(&scope.sub("output").sub("dense"), inner, width)?,
            Activation::named(sizes.activation)?,
        )?,
        mlp_norm: LayerNorm::new(&scope.sub("layernorm_after"), width, epsilon)?,
        order: NormOrder::Before,
    })
}
