//! CLIP's vision tower.

use retort_nn::{Activation, Block, Embedding, Init, LayerNorm, Linear, Scope};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::Result;
use crate::families::layers::{Layers, Patches, with_class};
use crate::sides::ImageTower;

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

/// The vision tower with its projection, if it has one.
#[derive(Debug)]
pub struct ClipVision {
    patches: Patches,
    class_embedding: Tensor,
    position_embedding: Embedding,
    norm_before: LayerNorm,
    blocks: Vec<Block>,
    norm_after: LayerNorm,
    projection: Option<Linear>,
    places: i64,
    width: i64,
}

impl ClipVision {
    /// Builds the tower from `vision_model.*`, and from `visual_projection` where it is to project into so many dimensions.
    ///
    /// # Errors
    /// If a tensor is missing or does not fit the config.
    pub fn new(scope: &Scope<'_>, config: &ClipVisionConfig, projected: Option<i64>) -> Result<Self> {
        let (width, patch) = (config.hidden_size, config.patch_size);
        let places = (config.image_size / patch) * (config.image_size / patch);
        let tower = scope.sub("vision_model");
        let embeddings = tower.sub("embeddings");
        let layers = Layers {
            width,
            inner: config.intermediate_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            activation: Activation::named(&config.hidden_act)?,
            epsilon: config.layer_norm_eps,
        };
        let blocks = layers.open(&tower.sub("encoder"))?;
        Ok(Self {
            patches: Patches::new(&embeddings.sub("patch_embedding"), width, patch, false)?,
            class_embedding: embeddings.tensor("class_embedding", &[width], Init::Normal(0.02))?,
            position_embedding: Embedding::new(&embeddings.sub("position_embedding"), places + 1, width)?,
            norm_before: LayerNorm::new(&tower.sub("pre_layrnorm"), width, config.layer_norm_eps)?, // sic
            blocks,
            norm_after: LayerNorm::new(&tower.sub("post_layernorm"), width, config.layer_norm_eps)?,
            projection: projected
                .map(|projected| Linear::without_bias(&scope.sub("visual_projection"), width, projected))
                .transpose()?,
            places,
            width,
        })
    }
}

impl ImageTower for ClipVision {
    fn hidden(&self, pixels: &Tensor) -> Result<Tensor> {
        let x = with_class(&self.class_embedding, &self.patches.forward(pixels)?)?;
        let mut x = self.norm_before.forward(&x.f_add(&self.position_embedding.first(self.places + 1)?)?)?;
        for block in &self.blocks {
            x = block.forward(&x, None, false)?;
        }
        Ok(x)
    }

    /// Not normalised: `get_image_features`, or `pooler_output` of a tower without projection.
    fn pooled(&self, hidden: &Tensor) -> Result<Tensor> {
        let pooled = self.norm_after.forward(&hidden.f_select(1, 0)?)?;
        match &self.projection {
            Some(projection) => Ok(projection.forward(&pooled)?),
            None => Ok(pooled),
        }
    }

    /// Through `post_layernorm`, which transformers applies to the class token alone. What stands before it is the residual
    /// stream, whose size nothing bounds and which differs between dimensions and images; after it a patch is what the
    /// projection reads of the class token, of a size that suits f16 and integer codes and a fresh layer.
    fn grid(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(self.norm_after.forward(&hidden.f_narrow(1, 1, self.places)?)?)
    }

    fn grid_size(&self) -> [usize; 2] {
        [self.places as usize, self.width as usize]
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
