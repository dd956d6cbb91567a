//! The layers of transformers, in the order of data: embedding, normalisation, attention, feed-forward, block.
//!
//! Shapes: `batch` samples of `tokens` positions of `width` numbers.

use tch::{Kind, Tensor};

use crate::packed::{self, Packed};
use crate::{Error, Init, Result, Scope};

/// Standard deviation of fresh embeddings, as BERT and ViT use.
const EMBEDDING_DEVIATION: f64 = 0.02;

/// The factor in [`Activation::QuickGelu`].
const QUICK: f64 = 1.702;

/// y = x W^T + b.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    /// Whether its weights are such that [`Attention`] and [`Mlp`] may pack it.
    packs: bool,
}

impl Linear {
    /// With bias: `weight` `[outputs, inputs]` and `bias` `[outputs]`.
    ///
    /// # Errors
    /// As [`Scope::tensor`].
    pub fn new(scope: &Scope<'_>, inputs: i64, outputs: i64) -> Result<Self> {
        let bias = Some(scope.tensor("bias", &[outputs], Init::Zeros)?);
        Ok(Self { bias, ..Self::without_bias(scope, inputs, outputs)? })
    }

    /// `weight` `[outputs, inputs]` alone.
    ///
    /// # Errors
    /// As [`Scope::tensor`].
    pub fn without_bias(scope: &Scope<'_>, inputs: i64, outputs: i64) -> Result<Self> {
        // Keeps the variance of what passes at any width; BERT's 0.02 does so at 2500 and starves narrow students.
        let init = Init::Normal((inputs as f64).sqrt().recip());
        Ok(Self { weight: scope.tensor("weight", &[outputs, inputs], init)?, bias: None, packs: scope.packs() })
    }

    /// `[.., inputs]` to `[.., outputs]`, computed in the kind of `x`: weights of another kind are rounded to it, and get
    /// their gradients in their own.
    ///
    /// # Errors
    /// [`Error::Torch`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let weight = self.weight.f_to_kind(x.kind())?;
        let bias = self.bias.as_ref().map(|bias| bias.f_to_kind(x.kind())).transpose()?;
        Ok(x.f_linear(&weight, bias)?)
    }

    /// Layers that read the same, one below the other.
    fn joined(layers: &[Self]) -> Result<Self> {
        let weights: Vec<&Tensor> = layers.iter().map(|layer| &layer.weight).collect();
        let bias = |layer: &Self| match &layer.bias {
            Some(bias) => Ok(bias.shallow_clone()),
            None => Tensor::f_zeros(&layer.weight.size()[..1], (layer.weight.kind(), layer.weight.device())),
        };
        let biases = layers.iter().map(bias).collect::<Result<Vec<_>, _>>()?;
        let packs = layers.iter().all(|layer| layer.packs);
        Ok(Self { weight: Tensor::f_cat(&weights, 0)?, bias: Some(Tensor::f_cat(&biases, 0)?), packs })
    }

    /// The same with its weights, and what it gives, so many times as large; `bias_too` says whether its bias is, too.
    fn times(&self, factor: f64, bias_too: bool) -> Result<Self> {
        let scaled = |bias: &Tensor| if bias_too { bias.f_mul_scalar(factor) } else { Ok(bias.shallow_clone()) };
        let bias = self.bias.as_ref().map(scaled).transpose()?;
        Ok(Self { weight: self.weight.f_mul_scalar(factor)?, bias, packs: self.packs })
    }
}

/// A linear layer as it is stored, or packed.
#[derive(Debug)]
enum Projection {
    Stored(Linear),
    Packed(Packed),
}

impl Projection {
    /// Packs a layer where that may be.
    fn of(layer: Linear) -> Result<Self> {
        let packed = if layer.packs { Packed::new(&layer.weight, layer.bias.as_ref())? } else { None };
        Ok(packed.map_or(Self::Stored(layer), Self::Packed))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Stored(layer) => layer.forward(x),
            Self::Packed(layer) => layer.forward(x),
        }
    }

    /// Adds what it makes of `x` to something.
    fn added(&self, x: &Tensor, to: &Tensor) -> Result<Tensor> {
        match self {
            Self::Stored(layer) => Ok(to.f_add(&layer.forward(x)?)?),
            Self::Packed(layer) => layer.added(x, to),
        }
    }
}

/// Normalises each position to mean 0 and variance 1, then scales and shifts.
#[derive(Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    width: i64,
    epsilon: f64,
}

impl LayerNorm {
    /// Over the last dimension, of `width`.
    ///
    /// # Errors
    /// As [`Scope::tensor`].
    pub fn new(scope: &Scope<'_>, width: i64, epsilon: f64) -> Result<Self> {
        let weight = scope.tensor("weight", &[width], Init::Ones)?;
        Ok(Self { weight, bias: scope.tensor("bias", &[width], Init::Zeros)?, width, epsilon })
    }

    /// `[.., width]` to the same.
    ///
    /// # Errors
    /// [`Error::Torch`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_layer_norm([self.width], Some(&self.weight), Some(&self.bias), self.epsilon, true)?)
    }
}

/// A table of vectors, looked up by id.
#[derive(Debug)]
pub struct Embedding {
    weight: Tensor,
}

impl Embedding {
    /// `weight` `[entries, width]`.
    ///
    /// # Errors
    /// As [`Scope::tensor`].
    pub fn new(scope: &Scope<'_>, entries: i64, width: i64) -> Result<Self> {
        Ok(Self { weight: scope.tensor("weight", &[entries, width], Init::Normal(EMBEDDING_DEVIATION))? })
    }

    /// ids `[..]` to `[.., width]`.
    ///
    /// # Errors
    /// [`Error::Torch`].
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        Ok(Tensor::f_embedding(&self.weight, ids, -1, false, false)?)
    }

    /// The first `count` entries, `[count, width]`.
    ///
    /// # Errors
    /// [`Error::Torch`].
    pub fn first(&self, count: i64) -> Result<Tensor> {
        Ok(self.weight.f_narrow(0, 0, count)?)
    }
}

/// The non-linearity between the two linear layers of an [`Mlp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x * Phi(x).
    Gelu,
    /// The tanh approximation of it.
    GeluTanh,
    /// x * sigmoid(1.702 x), as OpenAI's CLIP.
    QuickGelu,
    /// max(x, 0).
    Relu,
}

impl Activation {
    /// Reads the name that Hugging Face configs use.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "gelu" => Ok(Self::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" => Ok(Self::GeluTanh),
            "quick_gelu" => Ok(Self::QuickGelu),
            "relu" => Ok(Self::Relu),
            _ => Err(Error::Unknown {
                what: "activation",
                found: name.to_owned(),
                known: "gelu, gelu_new, gelu_pytorch_tanh, quick_gelu, relu",
            }),
        }
    }

    fn apply(self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Gelu => x.f_gelu("none")?,
            Self::GeluTanh => x.f_gelu("tanh")?,
            Self::QuickGelu => x.f_mul(&x.f_mul_scalar(QUICK)?.f_sigmoid()?)?,
            Self::Relu => x.f_relu()?,
        })
    }
}

/// Two linear layers with an activation between.
#[derive(Debug)]
pub struct Mlp {
    up: Projection,
    down: Projection,
    activation: Activation,
}

impl Mlp {
    /// From its two layers.
    ///
    /// # Errors
    /// [`Error::Torch`].
    pub fn new(up: Linear, down: Linear, activation: Activation) -> Result<Self> {
        if !(up.packs && down.packs && packed::is_available()) {
            return Ok(Self { up: Projection::Stored(up), down: Projection::Stored(down), activation });
        }
        // One after the other: of the weights that were read, those of one layer at most stay beside the packed ones.
        let quick = activation == Activation::QuickGelu;
        let up = Projection::of(if quick { up.times(QUICK, true)? } else { up })?;
        let down = Projection::of(if quick { down.times(QUICK.recip(), false)? } else { down })?;
        Ok(Self { up, down, activation })
    }

    /// `[.., width]` to the same.
    ///
    /// # Errors
    /// [`Error::Torch`].
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.down.forward(&self.inner(x)?)
    }

    /// Adds what it makes of `x` to something of its shape.
    fn added(&self, x: &Tensor, to: &Tensor) -> Result<Tensor> {
        self.down.added(&self.inner(x)?, to)
    }

    fn inner(&self, x: &Tensor) -> Result<Tensor> {
        match &self.up {
            Projection::Stored(layer) => self.activation.apply(&layer.forward(x)?),
            Projection::Packed(layer) => layer.activated(x, self.activation),
        }
    }
}

/// Scaled dot-product attention with several heads: softmax(q k^T / sqrt(width / heads) + bias) v.
#[derive(Debug)]
pub struct Attention {
    inputs: Inputs,
    output: Projection,
    heads: i64,
}

/// What makes query, key and value.
#[derive(Debug)]
enum Inputs {
    /// A layer each.
    Apart([Linear; 3]),
    /// In one, in this order.
    Joined(Packed),
}

impl Attention {
    /// From its four projections, each `[width, width]`.
    ///
    /// # Errors
    /// [`Error::Torch`].
    pub fn new(query: Linear, key: Linear, value: Linear, output: Linear, heads: i64) -> Result<Self> {
        let layers = [query, key, value];
        let joined = layers.iter().all(|layer| layer.packs).then(|| Linear::joined(&layers)).transpose()?;
        let inputs = match joined.map(Projection::of).transpose()? {
            Some(Projection::Packed(joined)) => Inputs::Joined(joined),
            _ => Inputs::Apart(layers),
        };
        Ok(Self { inputs, output: Projection::of(output)?, heads })
    }

    /// `[batch, tokens, width]` to the same. `bias` `[batch, 1, 1, tokens]` is added to the scores ([`attention_bias`]);
    /// `causal` lets a position see itself and those before it only.
    ///
    /// # Errors
    /// [`Error::Torch`].
    pub fn forward(&self, x: &Tensor, bias: Option<&Tensor>, causal: bool) -> Result<Tensor> {
        self.output.forward(&self.mixed(x, bias, causal)?)
    }

    /// Adds what it makes of `x` to something of its shape.
    fn added(&self, x: &Tensor, to: &Tensor, bias: Option<&Tensor>, causal: bool) -> Result<Tensor> {
        self.output.added(&self.mixed(x, bias, causal)?, to)
    }

    /// What comes before the last projection.
    fn mixed(&self, x: &Tensor, bias: Option<&Tensor>, causal: bool) -> Result<Tensor> {
        let (batch, tokens, width) = x.size3()?;
        let [query, key, value] = match &self.inputs {
            Inputs::Apart(layers) => {
                let split = |layer: &Linear| -> Result<Tensor> {
                    let projected = layer.forward(x)?.f_view([batch, tokens, self.heads, width / self.heads])?;
                    Ok(projected.f_transpose(1, 2)?)
                };
                let [query, key, value] = layers;
                [split(query)?, split(key)?, split(value)?]
            }
            Inputs::Joined(layer) => {
                let all = layer.forward(x)?.f_view([batch, tokens, 3, self.heads, width / self.heads])?;
                let nth = |nth| all.f_select(2, nth)?.f_transpose(1, 2);
                [nth(0)?, nth(1)?, nth(2)?]
            }
        };
        let mixed = Tensor::f_scaled_dot_product_attention(&query, &key, &value, bias, 0.0, causal, None, false)?;
        Ok(mixed.f_transpose(1, 2)?.f_reshape([batch, tokens, width])?)
    }
}

/// Turns a mask `[batch, tokens]` (1 for a token, 0 for padding) into what is added to attention scores,
/// `[batch, 1, 1, tokens]`: 0, or so low that the softmax gives nothing.
///
/// # Errors
/// [`Error::Torch`].
pub fn attention_bias(mask: &Tensor, kind: Kind) -> Result<Tensor> {
    let padded = mask.f_eq(0)?.f_unsqueeze(1)?.f_unsqueeze(1)?;
    let zeros = padded.f_zeros_like()?.f_to_kind(kind)?;
    Ok(zeros.f_masked_fill(&padded, f64::from(f32::MIN) / 2.0)?)
}

/// Where a [`Block`] normalises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormOrder {
    /// Before attention and before the feed-forward part (CLIP, ViT, ViLT).
    Before,
    /// After each sum (BERT).
    After,
}

/// One transformer layer.
#[derive(Debug)]
pub struct Block {
    /// Attention over the tokens.
    pub attention: Attention,
    /// Its normalisation.
    pub attention_norm: LayerNorm,
    /// The feed-forward part.
    pub mlp: Mlp,
    /// Its normalisation.
    pub mlp_norm: LayerNorm,
    /// Where the two normalise.
    pub order: NormOrder,
}

impl Block {
    /// `[batch, tokens, width]` to the same; `bias` and `causal` as in [`Attention::forward`]. Attention and feed-forward
    /// part compute in the kind of the bias, normalisations and sums in that of `x`: a bias of bf16 beside states of f32
    /// is mixed precision.
    ///
    /// # Errors
    /// [`Error::Torch`].
    pub fn forward(&self, x: &Tensor, bias: Option<&Tensor>, causal: bool) -> Result<Tensor> {
        let kind = bias.map_or(x.kind(), Tensor::kind);
        let attended = |x: &Tensor, to: &Tensor| self.attention.added(&x.f_to_kind(kind)?, to, bias, causal);
        let fed = |x: &Tensor, to: &Tensor| self.mlp.added(&x.f_to_kind(kind)?, to);
        match self.order {
            NormOrder::Before => {
                let x = attended(&self.attention_norm.forward(x)?, x)?;
                fed(&self.mlp_norm.forward(&x)?, &x)
            }
            NormOrder::After => {
                let x = self.attention_norm.forward(&attended(x, x)?)?;
                self.mlp_norm.forward(&fed(&x, &x)?)
            }
        }
    }
}

#[cfg(test)]
mod tests;
