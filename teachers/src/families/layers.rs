//! Parts that several families have in common, under the names that transformers gives them.

use retort_nn::{Activation, Attention, Block, Init, LayerNorm, Linear, Mlp, NormOrder, Scope};
use tch::Tensor;

use crate::Result;

/// Sizes of the layers of CLIP and SigLIP.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layers {
    /// Width of a token.
    pub width: i64,
    /// Width inside the feed-forward part.
    pub inner: i64,
    /// How many there are.
    pub layers: i64,
    /// Attention heads.
    pub heads: i64,
    /// The non-linearity of the feed-forward part.
    pub activation: Activation,
    /// Added to the variance.
    pub epsilon: f64,
}

impl Layers {
    /// The layers below a scope, `layers.0` and so on: normalised before attention and before the feed-forward part.
    ///
    /// # Errors
    /// If a tensor is missing or does not fit.
    pub(super) fn open(&self, scope: &Scope<'_>) -> Result<Vec<Block>> {
        (0..self.layers).map(|layer| self.block(&scope.sub("layers").sub(&layer.to_string()))).collect()
    }

    fn block(&self, scope: &Scope<'_>) -> Result<Block> {
        let (width, epsilon) = (self.width, self.epsilon);
        let attention = scope.sub("self_attn");
        let projection = |name: &str| Linear::new(&attention.sub(name), width, width);
        Ok(Block {
            attention: Attention::new(
                projection("q_proj")?,
                projection("k_proj")?,
                projection("v_proj")?,
                projection("out_proj")?,
                self.heads,
            )?,
            attention_norm: LayerNorm::new(&scope.sub("layer_norm1"), width, epsilon)?,
            mlp: self.feed_forward(&scope.sub("mlp"))?,
            mlp_norm: LayerNorm::new(&scope.sub("layer_norm2"), width, epsilon)?,
            order: NormOrder::Before,
        })
    }

    /// `fc1` and `fc2` below a scope.
    ///
    /// # Errors
    /// If a tensor is missing or does not fit.
    pub(super) fn feed_forward(&self, scope: &Scope<'_>) -> Result<Mlp> {
        let up = Linear::new(&scope.sub("fc1"), self.width, self.inner)?;
        Ok(Mlp::new(up, Linear::new(&scope.sub("fc2"), self.inner, self.width)?, self.activation)?)
    }
}

/// The attention of ViT and DINOv2: `attention.query`, `.key`, `.value`, which may lack a bias, and `output.dense`.
///
/// # Errors
/// If a tensor is missing or does not fit.
pub(super) fn vit_attention(scope: &Scope<'_>, width: i64, heads: i64, bias: bool) -> Result<Attention> {
    let projection = |name: &str| {
        let scope = scope.sub("attention").sub(name);
        if bias { Linear::new(&scope, width, width) } else { Linear::without_bias(&scope, width, width) }
    };
    let output = Linear::new(&scope.sub("output").sub("dense"), width, width)?;
    Ok(Attention::new(projection("query")?, projection("key")?, projection("value")?, output, heads)?)
}

/// Cuts pixels into patches and makes a vector of each.
#[derive(Debug)]
pub(super) struct Patches {
    weight: Tensor,
    bias: Option<Tensor>,
    side: i64,
}

impl Patches {
    /// `weight` `[width, 3, side, side]` and `bias` `[width]`, if there is one, below a scope.
    ///
    /// # Errors
    /// If a tensor is missing or does not fit.
    pub(super) fn new(scope: &Scope<'_>, width: i64, side: i64, bias: bool) -> Result<Self> {
        Ok(Self {
            weight: scope.tensor("weight", &[width, 3, side, side], Init::Normal(0.02))?,
            bias: bias.then(|| scope.tensor("bias", &[width], Init::Zeros)).transpose()?,
            side,
        })
    }

    /// Of a linear layer over patches that were flattened with channels last: `weight` `[width, side * side * 3]` and `bias`
    /// `[width]` below a scope.
    ///
    /// # Errors
    /// If a tensor is missing or does not fit.
    pub(super) fn of_linear(scope: &Scope<'_>, width: i64, side: i64) -> Result<Self> {
        let weight = scope.tensor("weight", &[width, side * side * 3], Init::Normal(0.02))?;
        let weight = weight.f_reshape([width, side, side, 3])?.f_permute([0, 3, 1, 2])?.f_contiguous()?;
        Ok(Self { weight, bias: Some(scope.tensor("bias", &[width], Init::Zeros)?), side })
    }

    /// Pixels `[batch, 3, height, width]` to `[batch, patches, patch width]`, row by row from the top left. What is left of
    /// a side that patches do not divide is not seen.
    ///
    /// # Errors
    /// If libtorch refuses the shapes.
    pub(super) fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let stride = [self.side, self.side];
        let patches = pixels.f_conv2d(&self.weight, self.bias.as_ref(), stride, [0, 0], [1, 1], 1)?;
        Ok(patches.f_flatten(2, 3)?.f_transpose(1, 2)?)
    }
}

/// Puts the class token `[.., width]` before patches `[batch, patches, width]`.
///
/// # Errors
/// If libtorch refuses the shapes.
pub(super) fn with_class(class: &Tensor, patches: &Tensor) -> Result<Tensor> {
    let (batch, _, width) = patches.size3()?;
    let class = class.f_reshape([1, 1, width])?.f_expand([batch, 1, width], false)?;
    Ok(Tensor::f_cat(&[&class, patches], 1)?)
}
