//! ViT, as in `transformers` (`ViTModel`), with its pooler or without.

use retort_nn::{Activation, Block, Init, LayerNorm, Linear, Mlp, NormOrder, Scope};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::Tensor;

use super::layers::{Patches, vit_attention, with_class};
use crate::Result;
use crate::folder::ModelFolder;
use crate::preprocessing::{self, Processor};
use crate::sides::{ImageSide, ImageTower, Sides};

/// A ViT config; defaults are those of transformers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct VitConfig {
    /// Width of a patch feature.
    hidden_size: i64,
    /// Width inside the feed-forward part.
    intermediate_size: i64,
    /// Layers.
    num_hidden_layers: i64,
    /// Attention heads.
    num_attention_heads: i64,
    /// Side of the square input in pixels.
    image_size: i64,
    /// Side of a patch in pixels.
    patch_size: i64,
    /// Activation by name.
    hidden_act: String,
    /// Added to the variance.
    layer_norm_eps: f64,
    /// Whether query, key and value have a bias.
    qkv_bias: bool,
    /// Dimensions of what the pooler gives; those of a patch where none are said.
    pooler_output_size: Option<i64>,
}

impl Default for VitConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 224,
            patch_size: 16,
            hidden_act: "gelu".to_owned(),
            layer_norm_eps: 1e-12,
            qkv_bias: true,
            pooler_output_size: None,
        }
    }
}

/// Opens `model_type` `vit`, with or without the `vit.` prefix of task models. Where the weights have a pooler, what it
/// gives is the embedding; else the class token is, after the last norm.
pub(super) fn open(folder: &ModelFolder) -> Result<Sides> {
    let config: VitConfig = folder.config()?;
    folder.check_heads(config.num_attention_heads, config.hidden_size)?;
    folder.check_patch(config.patch_size, config.image_size)?;
    let scope = folder.scope_below("vit", "embeddings.cls_token");
    let pooler = scope.sub("pooler").sub("dense");
    let pooled = pooler.has("weight").then(|| config.pooler_output_size.unwrap_or(config.hidden_size));
    if pooled.is_some() {
        folder.expect("pooler_act", "tanh")?;
    }
    let preprocessing = preprocessing::open_square(folder, Processor::Vit, config.image_size)?;
    let details = json!({
        "vit": config,
        "preprocessing": preprocessing,
        "pooling": if pooled.is_some() { "pooler" } else { "class token" },
    });
    let mut tower = Vit::new(&scope, &config)?;
    tower.pooler = pooled.map(|outputs| Linear::new(&pooler, config.hidden_size, outputs)).transpose()?;
    let width = pooled.unwrap_or(config.hidden_size) as usize;
    Ok(Sides {
        image: Some(ImageSide { tower: Box::new(tower), preprocessing, width }),
        text: None,
        details,
        pools: false,
    })
}

#[derive(Debug)]
struct Vit {
    class: Tensor,
    patches: Patches,
    /// `[1, 1 + patches, width]`, of which the first is the class token's.
    positions: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
    pooler: Option<Linear>,
    places: i64,
    width: i64,
}

impl Vit {
    fn new(scope: &Scope<'_>, config: &VitConfig) -> Result<Self> {
        let (embeddings, width, patch) = (scope.sub("embeddings"), config.hidden_size, config.patch_size);
        let places = (config.image_size / patch) * (config.image_size / patch);
        let layers = scope.sub("encoder").sub("layer");
        Ok(Self {
            class: embeddings.tensor("cls_token", &[1, 1, width], Init::Normal(0.02))?,
            patches: Patches::new(&embeddings.sub("patch_embeddings").sub("projection"), width, patch, true)?,
            positions: embeddings.tensor("position_embeddings", &[1, places + 1, width], Init::Normal(0.02))?,
            blocks: (0..config.num_hidden_layers)
                .map(|layer| block(&layers.sub(&layer.to_string()), config))
                .collect::<Result<_>>()?,
            norm: LayerNorm::new(&scope.sub("layernorm"), width, config.layer_norm_eps)?,
            pooler: None,
            places,
            width,
        })
    }
}

fn block(scope: &Scope<'_>, config: &VitConfig) -> Result<Block> {
    let VitConfig { hidden_size: width, intermediate_size: inner, layer_norm_eps: epsilon, .. } = *config;
    Ok(Block {
        attention: vit_attention(&scope.sub("attention"), width, config.num_attention_heads, config.qkv_bias)?,
        attention_norm: LayerNorm::new(&scope.sub("layernorm_before"), width, epsilon)?,
        mlp: Mlp::new(
            Linear::new(&scope.sub("intermediate").sub("dense"), width, inner)?,
            Linear::new(&scope.sub("output").sub("dense"), inner, width)?,
            Activation::named(&config.hidden_act)?,
        )?,
        mlp_norm: LayerNorm::new(&scope.sub("layernorm_after"), width, epsilon)?,
        order: NormOrder::Before,
    })
}

impl ImageTower for Vit {
    fn hidden(&self, pixels: &Tensor) -> Result<Tensor> {
        let mut x = with_class(&self.class, &self.patches.forward(pixels)?)?.f_add(&self.positions)?;
        for block in &self.blocks {
            x = block.forward(&x, None, false)?;
        }
        Ok(self.norm.forward(&x)?)
    }

    fn pooled(&self, hidden: &Tensor) -> Result<Tensor> {
        let class = hidden.f_select(1, 0)?;
        match &self.pooler {
            Some(pooler) => Ok(pooler.forward(&class)?.f_tanh()?),
            None => Ok(class),
        }
    }

    /// The last hidden state without the class token.
    fn grid(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(hidden.f_narrow(1, 1, self.places)?)
    }

    fn grid_size(&self) -> [usize; 2] {
        [self.places as usize, self.width as usize]
    }
}
