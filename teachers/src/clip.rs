//! CLIP's two towers, as in `transformers` (`CLIPModel`).

use retort_nn::{Activation, Attention, Block, Embedding, Init, LayerNorm, Linear, Mlp, NormOrder, Scope};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::{Result, TextFeatures};

/// `vision_config` of a CLIP config; defaults are those of transformers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipVisionConfig {
    /// Width of a patch feature.
    pub hidden_size: i64,
    /// Width inside the feed-forward part.
    pub intermediate_size: i64,
    /// Layers.
    pub num_hidden_layers: i64,
    /// Attention heads.
    pub num_attention_heads: i64,
    /// Side of the square input in pixels.
    pub image_size: i64,
    /// Side of a patch in pixels.
    pub patch_size: i64,
    /// Activation by name.
    pub hidden_act: String,
    /// Added to the variance.
    pub layer_norm_eps: f64,
}

impl Default for ClipVisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 224,
            patch_size: 32,
            hidden_act: "quick_gelu".to_owned(),
            layer_norm_eps: 1e-5,
        }
    }
}

/// `text_config` of a CLIP config; defaults are those of transformers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClipTextConfig {
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
    /// Activation by name.
    pub hidden_act: String,
    /// Added to the variance.
    pub layer_norm_eps: f64,
    /// Id of the token whose feature is pooled; 2 marks configs from before this was stored, see [`ClipText`].
    pub eos_token_id: i64,
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49_408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: "quick_gelu".to_owned(),
            layer_norm_eps: 1e-5,
            eos_token_id: 49_407,
        }
    }
}

fn block(scope: &Scope<'_>, width: i64, inner: i64, heads: i64, act: Activation, epsilon: f64) -> Result<Block> {
    let attention = scope.sub("self_attn");
    let mlp = scope.sub("mlp");
    Ok(Block {
        attention: Attention::new(
            Linear::new(&attention.sub("q_proj"), width, width)?,
            Linear::new(&attention.sub("k_proj"), width, width)?,
            Linear::new(&attention.sub("v_proj"), width, width)?,
            Linear::new(&attention.sub("out_proj"), width, width)?,
            heads,
        ),
        attention_norm: LayerNorm::new(&scope.sub("layer_norm1"), width, epsilon)?,
        mlp: Mlp::new(Linear::new(&mlp.sub("fc1"), width, inner)?, Linear::new(&mlp.sub("fc2"), inner, width)?, act),
        mlp_norm: LayerNorm::new(&scope.sub("layer_norm2"), width, epsilon)?,
        order: NormOrder::Before,
    })
}

/// The vision tower with its projection.
#[derive(Debug)]
pub struct ClipVision {
    patch_projection: Tensor,
    class_embedding: Tensor,
    position_embedding: Embedding,
    norm_before: LayerNorm,
    blocks: Vec<Block>,
    norm_after: LayerNorm,
    projection: Linear,
    patch_size: i64,
    patches: i64,
    width: i64,
}

impl ClipVision {
    /// Builds the tower from `vision_model.*` and `visual_projection`, into `projected` dimensions.
    ///
    /// # Errors
    /// If a tensor is missing or does not fit the config.
    pub fn new(scope: &Scope<'_>, config: &ClipVisionConfig, projected: i64) -> Result<Self> {
        let (width, patch) = (config.hidden_size, config.patch_size);
        let patches = (config.image_size / patch) * (config.image_size / patch);
        let tower = scope.sub("vision_model");
        let embeddings = tower.sub("embeddings");
        let act = Activation::named(&config.hidden_act)?;
        let blocks = (0..config.num_hidden_layers)
            .map(|layer| {
                let scope = tower.sub("encoder").sub("layers").sub(&layer.to_string());
                let (inner, heads) = (config.intermediate_size, config.num_attention_heads);
                block(&scope, width, inner, heads, act, config.layer_norm_eps)
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            patch_projection: embeddings.sub("patch_embedding").tensor(
                "weight",
                &[width, 3, patch, patch],
                Init::Normal(0.02),
            )?,
            class_embedding: embeddings.tensor("class_embedding", &[width], Init::Normal(0.02))?,
            position_embedding: Embedding::new(&embeddings.sub("position_embedding"), patches + 1, width)?,
            norm_before: LayerNorm::new(&tower.sub("pre_layrnorm"), width, config.layer_norm_eps)?, // sic
            blocks,
            norm_after: LayerNorm::new(&tower.sub("post_layernorm"), width, config.layer_norm_eps)?,
            projection: Linear::without_bias(&scope.sub("visual_projection"), width, projected)?,
            patch_size: patch,
            patches,
            width,
        })
    }

    /// Pixels `[batch, 3, side, side]` to the last hidden state `[batch, 1 + patches, width]`.
    ///
    /// # Errors
    /// If libtorch refuses the shapes.
    pub fn hidden(&self, pixels: &Tensor) -> Result<Tensor> {
        let batch = pixels.size().first().copied().unwrap_or(0);
        let stride = [self.patch_size, self.patch_size];
        let patches = pixels.f_conv2d(&self.patch_projection, None::<Tensor>, stride, [0, 0], [1, 1], 1)?;
        let patches = patches.f_flatten(2, 3)?.f_transpose(1, 2)?;
        let class = self.class_embedding.f_reshape([1, 1, self.width])?.f_expand([batch, 1, self.width], false)?;
        let x = Tensor::f_cat(&[class, patches], 1)?.f_add(&self.position_embedding.first(self.patches + 1)?)?;
        let mut x = self.norm_before.forward(&x)?;
        for block in &self.blocks {
            x = block.forward(&x, None, false)?;
        }
        Ok(x)
    }

    /// The last hidden state `[batch, 1 + patches, width]` to image embeddings `[batch, projected]`, not normalised
    /// (`get_image_features`).
    ///
    /// # Errors
    /// If libtorch refuses the shapes.
    pub fn pooled(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(self.projection.forward(&self.norm_after.forward(&hidden.f_select(1, 0)?)?)?)
    }

    /// The last hidden state `[batch, 1 + patches, width]` to the patch grid `[batch, patches, width]`, row by row from
    /// the top left.
    ///
    /// Through `post_layernorm`, which transformers applies to the class token alone. What stands before it is the residual
    /// stream, whose size nothing bounds and which differs between dimensions and images; after it a patch is what the
    /// projection reads of the class token, of a size that suits f16 and integer codes and a fresh layer.
    ///
    /// # Errors
    /// If libtorch refuses the shapes.
    pub fn grid(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(self.norm_after.forward(&hidden.f_narrow(1, 1, self.patches)?)?)
    }

    /// Patches of an image, and the width of each.
    pub fn grid_size(&self) -> [usize; 2] {
        [self.patches as usize, self.width as usize]
    }
}

/// The text tower with its projection.
///
/// The pooled feature is that of the end-of-text token. Configs from before its id was stored say 2; transformers then
/// takes the token of the highest id, and so do we.
#[derive(Debug)]
pub struct ClipText {
    token_embedding: Embedding,
    position_embedding: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    projection: Linear,
    end_of_text: i64,
}

impl ClipText {
    /// Builds the tower from `text_model.*` and `text_projection`, into `projected` dimensions.
    ///
    /// # Errors
    /// If a tensor is missing or does not fit the config.
    pub fn new(scope: &Scope<'_>, config: &ClipTextConfig, projected: i64) -> Result<Self> {
        let width = config.hidden_size;
        let tower = scope.sub("text_model");
        let embeddings = tower.sub("embeddings");
        let act = Activation::named(&config.hidden_act)?;
        let blocks = (0..config.num_hidden_layers)
            .map(|layer| {
                let scope = tower.sub("encoder").sub("layers").sub(&layer.to_string());
                let (inner, heads) = (config.intermediate_size, config.num_attention_heads);
                block(&scope, width, inner, heads, act, config.layer_norm_eps)
            })
            .collect::<Result<_>>()?;
        let positions = config.max_position_embeddings;
        Ok(Self {
            token_embedding: Embedding::new(&embeddings.sub("token_embedding"), config.vocab_size, width)?,
            position_embedding: Embedding::new(&embeddings.sub("position_embedding"), positions, width)?,
            blocks,
            norm: LayerNorm::new(&tower.sub("final_layer_norm"), width, config.layer_norm_eps)?,
            projection: Linear::without_bias(&scope.sub("text_projection"), width, projected)?,
            end_of_text: config.eos_token_id,
        })
    }

    /// Ids `[batch, tokens]`, padded on the right, to pooled `[batch, projected]`, not normalised
    /// (`get_text_features`), and the last hidden state `[batch, tokens, width]`.
    ///
    /// Attention is causal, so padding on the right reaches no token before it and needs no mask.
    ///
    /// # Errors
    /// If libtorch refuses the shapes.
    pub fn forward(&self, ids: &Tensor, mask: &Tensor) -> Result<TextFeatures> {
        let (batch, tokens) = ids.size2()?;
        let mut x = self.token_embedding.forward(ids)?.f_add(&self.position_embedding.first(tokens)?)?;
        for block in &self.blocks {
            x = block.forward(&x, None, true)?;
        }
        let x = self.norm.forward(&x)?;
        let ids = ids.f_mul(mask)?;
        let marks =
            if self.end_of_text == 2 { ids } else { ids.f_eq(self.end_of_text)?.f_to_kind(tch::Kind::Int64)? };
        let end = marks.f_argmax(1, false)?;
        let rows = Tensor::f_arange(batch, (tch::Kind::Int64, x.device()))?;
        let pooled = x.f_index(&[Some(rows), Some(end)])?;
        Ok(TextFeatures { pooled: self.projection.forward(&pooled)?, tokens: x })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use retort_nn::Checkpoint;
    use retort_schemas::Dtype;
    use tch::Device;

    use crate::{Result, Teacher};

    #[test]
    fn the_grid_is_the_last_states_of_the_patches_through_the_last_norm() -> Result<()> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/golden/clip");
        let expected = Checkpoint::open_file(&folder.join("expected.safetensors"))?;
        let weights = Checkpoint::open(&folder)?;
        let teacher = Teacher::open(&folder, Device::Cpu, Dtype::F32)?;
        let pixels = expected.tensor("pixel_values")?;
        let count = pixels.size()[0];
        let (pooled, grid) = teacher.see_pixels(&Vec::<f32>::try_from(pixels.view([-1]))?, count as usize, true)?;
        let [places, width] = teacher.image.as_ref().map(|side| side.grid_size()).unwrap_or_default();
        assert_eq!((places, width, grid.len()), (16, 40, count as usize * 16 * 40));
        // (x - mean) / sqrt(variance + epsilon) * weight + bias of what transformers says, written out.
        let x = expected.tensor("vision_last_hidden_state")?.narrow(1, 1, 16);
        let over = [-1_i64].as_slice();
        let mean = x.mean_dim(over, true, None::<tch::Kind>);
        let variance = (&x - &mean).square().mean_dim(over, true, None::<tch::Kind>);
        let norm = |part: &str| weights.tensor(&format!("vision_model.post_layernorm.{part}"));
        let by_hand = (&x - &mean) / (variance + 1e-5).sqrt() * norm("weight")? + norm("bias")?;
        let found = tch::Tensor::from_slice(&grid).reshape([count, 16, 40]);
        assert!((found - by_hand).abs().max().double_value(&[]) < 1e-4);
        // Asking for the grid changes nothing of the rest.
        let alone = teacher.embed_pixels(&Vec::<f32>::try_from(pixels.view([-1]))?, count as usize)?;
        assert_eq!(pooled, alone);
        Ok(())
    }
}
