//! DINOv2, as in `transformers` (`Dinov2Model`, `Dinov2WithRegistersModel`): a ViT whose branches are scaled, for images of
//! any size, with register tokens or without.

use retort_nn::{Activation, Attention, Init, LayerNorm, Linear, Mlp, Scope};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::{Kind, Tensor};

use super::layers::{Patches, vit_attention, with_class};
use crate::Result;
use crate::folder::ModelFolder;
use crate::preprocessing::{self, Processor};
use crate::sides::{ImageSide, ImageTower, Sides};

/// A DINOv2 config; defaults are those of transformers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Dinov2Config {
    /// Width of a patch feature.
    hidden_size: i64,
    /// Layers.
    num_hidden_layers: i64,
    /// Attention heads.
    num_attention_heads: i64,
    /// Width inside the feed-forward part, in widths of a patch feature.
    mlp_ratio: f64,
    /// Side in pixels of the square that the positions were trained for.
    image_size: i64,
    /// Side of a patch in pixels.
    patch_size: i64,
    /// Activation by name.
    hidden_act: String,
    /// Added to the variance.
    layer_norm_eps: f64,
    /// Whether query, key and value have a bias.
    qkv_bias: bool,
    /// Whether the feed-forward part is gated, as in the giant.
    use_swiglu_ffn: bool,
    /// Register tokens between the class token and the patches; none for the models without. Not written there, so that
    /// fingerprints from before there were registers stay.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    num_register_tokens: Option<i64>,
}

impl Default for Dinov2Config {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            mlp_ratio: 4.0,
            image_size: 224,
            patch_size: 14,
            hidden_act: "gelu".to_owned(),
            layer_norm_eps: 1e-6,
            qkv_bias: true,
            use_swiglu_ffn: false,
            num_register_tokens: None,
        }
    }
}

/// Opens `model_type` `dinov2`, with or without the `dinov2.` prefix of task models. Images are of the size that the
/// preprocessing crops to, and the positions are interpolated to it.
pub(super) fn open(folder: &ModelFolder) -> Result<Sides> {
    open_as(folder, "dinov2", folder.config()?)
}

/// Opens `model_type` `dinov2_with_registers`, likewise with or without its prefix.
pub(super) fn open_with_registers(folder: &ModelFolder) -> Result<Sides> {
    let registers = folder.integer("num_register_tokens", 4);
    if registers < 0 {
        return Err(folder.refuse(format!("its num_register_tokens is {registers}, expected 0 or more")));
    }
    // Another default than that of the models without.
    let patch_size = folder.integer("patch_size", 16);
    let config = Dinov2Config { num_register_tokens: Some(registers), patch_size, ..folder.config()? };
    open_as(folder, "dinov2_with_registers", config)
}

fn open_as(folder: &ModelFolder, prefix: &str, config: Dinov2Config) -> Result<Sides> {
    folder.check_heads(config.num_attention_heads, config.hidden_size)?;
    folder.check_patch(config.patch_size, config.image_size)?;
    // The processor's own size; that of the config is of the last stage of training.
    let preprocessing = preprocessing::open(folder, Processor::Bit, 224)?;
    let size = preprocessing.crop.unwrap_or_default().map(i64::from);
    for side in size {
        folder.check_patch(config.patch_size, side)?;
    }
    let details = json!({ "dinov2": config, "preprocessing": preprocessing, "pooling": "class token" });
    let scope = folder.scope_below(prefix, "embeddings.cls_token");
    let tower = Box::new(Dinov2::new(&scope, &config, size)?);
    let width = config.hidden_size as usize;
    Ok(Sides { image: Some(ImageSide { tower, preprocessing, width }), text: None, details, pools: false })
}

#[derive(Debug)]
struct Dinov2 {
    class: Tensor,
    /// `[1, registers, width]`, if there are any.
    registers: Option<Tensor>,
    patches: Patches,
    /// For images of the size that the tower takes, `[1, 1 + patches, width]`.
    positions: Tensor,
    layers: Vec<Layer>,
    norm: LayerNorm,
    /// Tokens before the patches: the class token and the registers.
    before: i64,
    places: i64,
    width: i64,
}

impl Dinov2 {
    /// For images of `[height, width]`.
    fn new(scope: &Scope<'_>, config: &Dinov2Config, size: [i64; 2]) -> Result<Self> {
        let (embeddings, width, patch) = (scope.sub("embeddings"), config.hidden_size, config.patch_size);
        let trained = config.image_size / patch;
        let shape = [1, trained * trained + 1, width];
        let positions = embeddings.tensor("position_embeddings", &shape, Init::Normal(0.02))?;
        let grid = size.map(|side| side / patch);
        let layers = scope.sub("encoder").sub("layer");
        let registers = config.num_register_tokens.unwrap_or(0);
        let register_tokens = || embeddings.tensor("register_tokens", &[1, registers, width], Init::Normal(0.02));
        Ok(Self {
            class: embeddings.tensor("cls_token", &[1, 1, width], Init::Normal(0.02))?,
            registers: (registers > 0).then(register_tokens).transpose()?,
            patches: Patches::new(&embeddings.sub("patch_embeddings").sub("projection"), width, patch, true)?,
            positions: if size[0] == size[1] && grid == [trained; 2] {
                positions
            } else {
                interpolated(&positions, trained, grid, config.num_register_tokens.is_some())?
            },
            layers: (0..config.num_hidden_layers)
                .map(|layer| Layer::new(&layers.sub(&layer.to_string()), config))
                .collect::<Result<_>>()?,
            norm: LayerNorm::new(&scope.sub("layernorm"), width, config.layer_norm_eps)?,
            before: 1 + registers,
            places: grid[0] * grid[1],
            width,
        })
    }
}

/// Positions of a `trained` x `trained` grid, `[1, 1 + places, width]`, as those of another grid `[rows, columns]`: bicubic,
/// in f32. The class token's stays. The reference smooths (antialiasing, and another cubic curve) for the models with
/// registers alone.
fn interpolated(positions: &Tensor, trained: i64, [rows, columns]: [i64; 2], smooth: bool) -> Result<Tensor> {
    let (_, places, width) = positions.size3()?;
    let grid = positions.f_narrow(1, 1, places - 1)?.f_reshape([1, trained, trained, width])?;
    let grid = grid.f_permute([0, 3, 1, 2])?.f_to_kind(Kind::Float)?;
    let grid = if smooth {
        grid.f_internal_upsample_bicubic2d_aa([rows, columns], false, None, None)?
    } else {
        grid.f_upsample_bicubic2d([rows, columns], false, None, None)?
    };
    let grid = grid.f_to_kind(positions.kind())?;
    let grid = grid.f_permute([0, 2, 3, 1])?.f_reshape([1, rows * columns, width])?;
    Ok(Tensor::f_cat(&[&positions.f_narrow(1, 0, 1)?, &grid], 1)?)
}

/// Puts registers `[1, registers, width]` between the class token and the patches of `[batch, 1 + patches, width]`.
fn behind_class(x: &Tensor, registers: &Tensor) -> Result<Tensor> {
    let (batch, tokens, _) = x.size3()?;
    let registers = registers.f_expand([batch, -1, -1], false)?;
    Ok(Tensor::f_cat(&[&x.f_narrow(1, 0, 1)?, &registers, &x.f_narrow(1, 1, tokens - 1)?], 1)?)
}

impl ImageTower for Dinov2 {
    fn hidden(&self, pixels: &Tensor) -> Result<Tensor> {
        let mut x = with_class(&self.class, &self.patches.forward(pixels)?)?.f_add(&self.positions)?;
        if let Some(registers) = &self.registers {
            // Behind the positions: registers have none.
            x = behind_class(&x, registers)?;
        }
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        Ok(self.norm.forward(&x)?)
    }

    /// `pooler_output`: the class token after the last norm.
    fn pooled(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(hidden.f_select(1, 0)?)
    }

    /// The last hidden state without the class token and the registers.
    fn grid(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(hidden.f_narrow(1, self.before, self.places)?)
    }

    fn grid_size(&self) -> [usize; 2] {
        [self.places as usize, self.width as usize]
    }
}

/// x + a(x) * s_1, then x + f(x) * s_2: attention and feed-forward part, each scaled by a learned vector.
#[derive(Debug)]
struct Layer {
    attention_norm: LayerNorm,
    attention: Attention,
    attention_scale: Tensor,
    feed_norm: LayerNorm,
    feed: Feed,
    feed_scale: Tensor,
}

#[derive(Debug)]
enum Feed {
    Mlp(Mlp),
    /// (silu(a) * b) W, where a and b are the halves of x V.
    SwiGlu {
        into: Linear,
        out: Linear,
        inner: i64,
    },
}

impl Layer {
    fn new(scope: &Scope<'_>, config: &Dinov2Config) -> Result<Self> {
        let (width, epsilon) = (config.hidden_size, config.layer_norm_eps);
        let scale = |name: &str| scope.sub(name).tensor("lambda1", &[width], Init::Ones);
        let (inner, mlp) = ((width as f64 * config.mlp_ratio) as i64, scope.sub("mlp"));
        let feed = if config.use_swiglu_ffn {
            // Two thirds of it, up to a multiple of 8: the gate's weights are paid for.
            let inner = ((inner as f64 * 2.0 / 3.0) as i64 + 7) / 8 * 8;
            Feed::SwiGlu {
                into: Linear::new(&mlp.sub("weights_in"), width, 2 * inner)?,
                out: Linear::new(&mlp.sub("weights_out"), inner, width)?,
                inner,
            }
        } else {
            let up = Linear::new(&mlp.sub("fc1"), width, inner)?;
            let down = Linear::new(&mlp.sub("fc2"), inner, width)?;
            Feed::Mlp(Mlp::new(up, down, Activation::named(&config.hidden_act)?)?)
        };
        Ok(Self {
            attention_norm: LayerNorm::new(&scope.sub("norm1"), width, epsilon)?,
            attention: vit_attention(&scope.sub("attention"), width, config.num_attention_heads, config.qkv_bias)?,
            attention_scale: scale("layer_scale1")?,
            feed_norm: LayerNorm::new(&scope.sub("norm2"), width, epsilon)?,
            feed,
            feed_scale: scale("layer_scale2")?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let attended = self.attention.forward(&self.attention_norm.forward(x)?, None, false)?;
        let x = x.f_add(&attended.f_mul(&self.attention_scale)?)?;
        let fed = self.feed.forward(&self.feed_norm.forward(&x)?)?;
        Ok(x.f_add(&fed.f_mul(&self.feed_scale)?)?)
    }
}

impl Feed {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Mlp(mlp) => Ok(mlp.forward(x)?),
            Self::SwiGlu { into, out, inner } => {
                let x = into.forward(x)?;
                let (gate, value) = (x.f_narrow(-1, 0, *inner)?, x.f_narrow(-1, *inner, *inner)?);
                Ok(out.forward(&gate.f_silu()?.f_mul(&value)?)?)
            }
        }
    }
}
