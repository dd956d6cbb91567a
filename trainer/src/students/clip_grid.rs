//! `vilt` on the patch grid that an image teacher left in the cache, instead of pixels: nothing is decoded, and the student
//! begins with what CLIP sees. Its files have ViLT's names below `grid.`; no class of transformers reads them.

use std::path::Path;

use retort_nn::{Block, Linear, Scope};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::regions::write_config;
use super::trunk::{Trunk, TrunkSizes};
use super::vilt::{epsilon, gelu};
use super::{Embedded, Student, Text, Views, Visual, VisualFeatures, unread};
use crate::Result;
use crate::recipe;

/// Config of a student on a patch grid; the names are ViLT's where ViLT has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClipGridConfig {
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
    /// Patches of an image.
    pub grid_places: i64,
    /// Width of a patch's vector.
    pub grid_dim: i64,
    /// The teacher whose grid it reads, `name@fingerprint8`: another's means something else.
    pub grid_teacher: String,
    /// Activation by name.
    #[serde(default = "gelu")]
    pub hidden_act: String,
    /// Added to the variance.
    #[serde(default = "epsilon")]
    pub layer_norm_eps: f64,
}

impl ClipGridConfig {
    /// Of a recipe's sizes and the grid in the cache.
    pub(crate) fn of(size: &recipe::Student, vocabulary: i64, grid: &VisualFeatures) -> Self {
        Self {
            vocab_size: vocabulary,
            hidden_size: size.hidden,
            num_hidden_layers: size.layers,
            num_attention_heads: size.heads,
            intermediate_size: 4 * size.hidden,
            max_position_embeddings: size.text_tokens as i64,
            grid_places: grid.places as i64,
            grid_dim: grid.width as i64,
            grid_teacher: grid.teacher.clone(),
            hidden_act: gelu(),
            layer_norm_eps: epsilon(),
        }
    }
}

/// The student.
#[derive(Debug)]
pub struct ClipGrid {
    config: ClipGridConfig,
    projection: Linear,
    trunk: Trunk,
}

impl ClipGrid {
    /// Names in a checkpoint that another task has otherwise.
    pub(crate) const TASK_NAMES: &[&str] = &["classifier.", "grid.pooler."];

    /// Builds the student with a head of so many outputs: the answers or classes, or 1 where it scores texts.
    ///
    /// # Errors
    /// If a tensor is missing or does not fit the config.
    pub fn new(scope: &Scope<'_>, config: ClipGridConfig, outputs: i64) -> Result<Self> {
        let width = config.hidden_size;
        let sizes = TrunkSizes {
            vocabulary: config.vocab_size,
            positions: config.max_position_embeddings,
            segments: 1,
            modalities: 2,
            width,
            inner: config.intermediate_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            places: config.grid_places,
            activation: &config.hidden_act,
            qkv_bias: true,
            epsilon: config.layer_norm_eps,
        };
        let projection = scope.sub("grid").sub("embeddings").sub("grid_projection");
        Ok(Self {
            projection: Linear::new(&projection, config.grid_dim, width)?,
            trunk: Trunk::new(scope, "grid", &sizes, outputs)?,
            config,
        })
    }

    /// The teacher, `name@fingerprint8`, whose grid an exported student reads.
    pub(crate) fn teacher_of(config: &Value) -> Option<&str> {
        config.get("grid_teacher").and_then(Value::as_str)
    }
}

impl Student for ClipGrid {
    /// x_j = W_grid g_j + b_grid of the patches' vectors g_j: `[batch, places, d]` to `[batch, places, width]`; then as ViLT.
    fn embed(&self, text: &Text, visual: &Visual) -> Result<Embedded> {
        let Visual::Grid(grid) = visual else { return Err(unread("a patch grid", visual)) };
        self.trunk.embed(text, &self.projection.forward(grid)?)
    }

    fn encode(&self, embedded: &Embedded) -> Result<Views> {
        self.trunk.encode(embedded)
    }

    fn layers(&self) -> &[Block] {
        self.trunk.layers()
    }

    fn exports(&self, name: &str) -> bool {
        name.starts_with("grid.") || name.starts_with("classifier.")
    }

    fn write_config(&self, folder: &Path, answers: &[String]) -> Result<()> {
        let own = serde_json::to_value(&self.config);
        write_config(folder, own, "retort-clip-grid", "RetortClipGrid", answers)
    }
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::*;

    #[test]
    fn a_grid_is_projected_and_its_places_follow_the_whole_image() -> Result<()> {
        let text = "[data]\ndataset = \"none\"\n[student]\nhidden = 8\nlayers = 1\nheads = 2\n";
        let recipe = crate::Recipe::parse(Path::new("test"), text, &[])?;
        let grid = VisualFeatures { places: 4, width: 6, teacher: "clip@1a2b3c4d".to_owned() };
        let weights = retort_nn::Weights::fresh(1, tch::Device::Cpu);
        let student = ClipGrid::new(&weights.root(), ClipGridConfig::of(&recipe.student, 20, &grid), 3)?;
        let named = weights.into_named();
        let ids = Tensor::from_slice(&[2_i64, 7, 3, 2, 9, 3]).reshape([2, 3]);
        let text = Text { mask: ids.ones_like(), ids, segments: None };
        let vectors = Tensor::arange(24, (tch::Kind::Float, tch::Device::Cpu)).reshape([1, 4, 6]) / 10.0;
        let embedded = student.embed(&text, &Visual::Grid(vectors.shallow_clone()))?;
        // One image for two texts, a whole-image token before four places.
        assert_eq!((embedded.visual.size(), embedded.mask.size()), (vec![2, 5, 8], vec![2, 8]));
        let of = |name: &str| &named[&format!("grid.embeddings.{name}")];
        // Place 2 by hand: position 3, since that of the whole image is 0.
        let expected = of("grid_projection.weight").matmul(&vectors.get(0).get(2))
            + of("grid_projection.bias")
            + of("position_embeddings").get(0).get(3)
            + of("token_type_embeddings.weight").get(1);
        let found = embedded.visual.get(1).get(3);
        assert!((found - expected).abs().max().double_value(&[]) < 1e-5);
        Ok(())
    }
}
