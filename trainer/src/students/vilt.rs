//! ViLT (Kim et al. 2021): text and linear patches in one transformer, as `ViltForQuestionAnswering` of transformers.

use std::path::Path;

use retort_nn::{Block, Init, Scope, Weights};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use super::regions::write_config;
use super::trunk::{Trunk, TrunkSizes};
use super::{Embedded, Student, Text, Views, Visual, unread};
use crate::Result;
use crate::recipe;

/// Under which the positions of whole image and patches lie, `[1, 1 + patches, width]`.
const POSITIONS: &str = "vilt.embeddings.position_embeddings";

/// A ViLT config; the names are those of Hugging Face's config.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ViltConfig {
    /// Entries of the vocabulary.
    pub vocab_size: i64,
    /// Width of a token.
    pub hidden_size: i64,
    /// Layers.
    pub num_hidden_layers: i64,
    /// Attention heads.
    pub num_attention_heads: i64,
    /// Width inside the feed-forward part.
    pub intermediate_size: i64,
    /// Most tokens of a text.
    pub max_position_embeddings: i64,
    /// Side of the square input in pixels.
    pub image_size: i64,
    /// Side of a patch in pixels.
    pub patch_size: i64,
    /// Entries of the segment embedding.
    #[serde(default = "two")]
    pub type_vocab_size: i64,
    /// Entries of the modality embedding.
    #[serde(default = "two")]
    pub modality_type_vocab_size: i64,
    /// Activation by name.
    #[serde(default = "gelu")]
    pub hidden_act: String,
    /// Whether queries, keys and values have biases.
    #[serde(default = "yes")]
    pub qkv_bias: bool,
    /// Added to the variance.
    #[serde(default = "epsilon")]
    pub layer_norm_eps: f64,
}

fn two() -> i64 {
    2
}
pub(super) fn gelu() -> String {
    "gelu".to_owned()
}
fn yes() -> bool {
    true
}
pub(super) fn epsilon() -> f64 {
    1e-12
}

impl ViltConfig {
    /// Of a recipe's sizes.
    pub(crate) fn of(size: &recipe::Student, vocabulary: i64) -> Self {
        Self {
            vocab_size: vocabulary,
            hidden_size: size.hidden,
            num_hidden_layers: size.layers,
            num_attention_heads: size.heads,
            intermediate_size: 4 * size.hidden,
            max_position_embeddings: size.text_tokens as i64,
            image_size: size.image_size,
            patch_size: size.patch_size,
            type_vocab_size: two(),
            modality_type_vocab_size: two(),
            hidden_act: gelu(),
            qkv_bias: yes(),
            layer_norm_eps: epsilon(),
        }
    }

    /// This config for images of another size: the positions that a checkpoint has of its patches are resized to the new
    /// grid, once, before training.
    ///
    /// # Errors
    /// If the checkpoint's positions are not those of its config.
    pub(crate) fn resized(self, weights: &Weights, image_size: i64) -> Result<Self> {
        let (before, now) = (self.image_size / self.patch_size.max(1), image_size / self.patch_size.max(1));
        let Some(checkpoint) = weights.checkpoint().filter(|_| image_size != self.image_size) else { return Ok(self) };
        let positions = checkpoint.tensor(POSITIONS)?;
        let expected = vec![1, before.saturating_pow(2).saturating_add(1), self.hidden_size];
        if positions.size() != expected {
            let (path, name, found) = (checkpoint.path().to_owned(), POSITIONS.to_owned(), positions.size());
            return Err(retort_nn::Error::TensorShape { path, name, expected, found }.into());
        }
        weights.replace(POSITIONS, &resized_positions(&positions, before, now)?)?;
        Ok(Self { image_size, ..self })
    }
}

/// Positions of a grid of `from` x `from` patches for one of `to` x `to`: that of the whole image stays, and
///
/// P'(y, x) = P( y (from - 1) / (to - 1), x (from - 1) / (to - 1) ), bilinear between the four nearest,
///
/// so that corners stay corners. `[1, 1 + from^2, width]` to `[1, 1 + to^2, width]`; as `ViltEmbeddings.visual_embed` of
/// transformers, which does it in every pass.
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn resized_positions(positions: &Tensor, from: i64, to: i64) -> Result<Tensor> {
    let positions = positions.f_to_kind(Kind::Float)?;
    let (_, all, width) = positions.size3()?;
    let grid = positions.f_narrow(1, 1, all - 1)?.f_transpose(1, 2)?.f_reshape([1, width, from, from])?;
    let grid = grid.f_upsample_bilinear2d([to, to], true, None, None)?.f_flatten(2, 3)?.f_transpose(1, 2)?;
    Ok(Tensor::f_cat(&[positions.f_narrow(1, 0, 1)?, grid], 1)?)
}

/// The student.
#[derive(Debug)]
pub struct Vilt {
    config: ViltConfig,
    patch_weight: Tensor,
    patch_bias: Tensor,
    trunk: Trunk,
}

impl Vilt {
    /// Names in a checkpoint that another task has otherwise.
    pub(crate) const TASK_NAMES: &[&str] = &["classifier.", "vilt.pooler."];

    /// Builds the student with a head of so many outputs: the answers or classes, or 1 where it scores texts.
    ///
    /// # Errors
    /// If a tensor is missing or does not fit the config.
    pub fn new(scope: &Scope<'_>, config: ViltConfig, outputs: i64) -> Result<Self> {
        let (width, side) = (config.hidden_size, config.patch_size);
        let sizes = TrunkSizes {
            vocabulary: config.vocab_size,
            positions: config.max_position_embeddings,
            segments: config.type_vocab_size,
            modalities: config.modality_type_vocab_size,
            width,
            inner: config.intermediate_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            places: (config.image_size / side.max(1)).saturating_pow(2),
            activation: &config.hidden_act,
            qkv_bias: config.qkv_bias,
            epsilon: config.layer_norm_eps,
        };
        let patch = scope.sub("vilt").sub("embeddings").sub("patch_embeddings").sub("projection");
        let patch_init = Init::Normal((3.0 * side as f64 * side as f64).sqrt().recip());
        Ok(Self {
            patch_weight: patch.tensor("weight", &[width, 3, side, side], patch_init)?,
            patch_bias: patch.tensor("bias", &[width], Init::Zeros)?,
            trunk: Trunk::new(scope, "vilt", &sizes, outputs)?,
            config,
        })
    }

    /// x_j = W_patch p_j + b_patch of the patches p_j, row by row: pixels `[batch, 3, side, side]` to
    /// `[batch, patches, width]`.
    fn embed_patches(&self, pixels: &Tensor) -> Result<Tensor> {
        let stride = [self.config.patch_size; 2];
        let patches = pixels.f_conv2d(&self.patch_weight, Some(&self.patch_bias), stride, [0, 0], [1, 1], 1)?;
        Ok(patches.f_flatten(2, 3)?.f_transpose(1, 2)?)
    }
}

impl Student for Vilt {
    fn embed(&self, text: &Text, visual: &Visual) -> Result<Embedded> {
        let Visual::Pixels(pixels) = visual else { return Err(unread("pixels", visual)) };
        self.trunk.embed(text, &self.embed_patches(pixels)?)
    }

    fn encode(&self, embedded: &Embedded) -> Result<Views> {
        self.trunk.encode(embedded)
    }

    fn layers(&self) -> &[Block] {
        self.trunk.layers()
    }

    fn exports(&self, name: &str) -> bool {
        name.starts_with("vilt.") || name.starts_with("classifier.")
    }

    fn write_config(&self, folder: &Path, answers: &[String]) -> Result<()> {
        let own = serde_json::to_value(&self.config).map(|mut own| {
            if let Value::Object(own) = &mut own {
                own.insert("num_channels".to_owned(), 3.into());
                own.insert("max_image_length".to_owned(), (-1).into());
            }
            own
        });
        write_config(folder, own, "vilt", "ViltForQuestionAnswering", answers)?;
        let side = self.config.image_size;
        let preprocessor = json!({
            "image_processor_type": "ViltImageProcessor",
            "do_resize": true,
            "size": {"shortest_edge": side},
            "size_divisor": self.config.patch_size,
            "resample": 3,
            "do_rescale": true,
            "rescale_factor": 1.0 / 255.0,
            "do_normalize": true,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "do_pad": true,
        });
        let path = folder.join("preprocessor_config.json");
        Ok(retort_cache::write_atomic(&path, format!("{preprocessor:#}\n").as_bytes())?)
    }
}
