//! The state dict of OpenAI's own CLIP without any config: every size is that of a tensor, as OpenAI's code has it.

use super::open_clip::of_torchvision;
use super::{ClipTextConfig, ClipVisionConfig, Towers};
use crate::folder::ModelFolder;
use crate::preprocessing::square;
use crate::sides::Sides;
use crate::{Error, Result};

/// Dimensions of an attention head in all of OpenAI's models.
const HEAD: i64 = 64;

/// Opens a folder whose weights have OpenAI's names.
pub(crate) fn open(folder: &ModelFolder) -> Result<Sides> {
    let sizes = Sizes { folder };
    if !folder.stores("visual.proj") {
        let found = "the tensors of a ResNet".to_owned();
        return Err(Error::UnsupportedTower { path: folder.config_path(), key: "visual".to_owned(), value: found });
    }
    let (width, patch) = (sizes.of("visual.conv1.weight", 0)?, sizes.of("visual.conv1.weight", -1)?);
    let grid = ((sizes.of("visual.positional_embedding", 0)? - 1).max(0) as f64).sqrt().round() as i64;
    let vision = ClipVisionConfig {
        hidden_size: width,
        intermediate_size: 4 * width,
        num_hidden_layers: sizes.layers("visual.transformer.resblocks."),
        num_attention_heads: width / HEAD,
        image_size: patch * grid,
        patch_size: patch,
        ..ClipVisionConfig::default()
    };
    let width = sizes.of("ln_final.weight", 0)?;
    let text = ClipTextConfig {
        vocab_size: sizes.of("token_embedding.weight", 0)?,
        hidden_size: width,
        intermediate_size: 4 * width,
        num_hidden_layers: sizes.layers("transformer.resblocks."),
        num_attention_heads: width / HEAD,
        max_position_embeddings: sizes.of("positional_embedding", 0)?,
        eos_token_id: ClipTextConfig::HIGHEST_ID,
        ..ClipTextConfig::default()
    };
    let projected = sizes.of("text_projection", 1)?;
    let preprocessing = square(folder, of_torchvision(vision.image_size), vision.image_size)?;
    Towers { vision, text, projected, preprocessing }.open(folder)
}

struct Sizes<'a> {
    folder: &'a ModelFolder,
}

impl Sizes<'_> {
    /// A dimension of a tensor; -1 is the last.
    fn of(&self, name: &str, dimension: i64) -> Result<i64> {
        let shape = self.folder.stored_shape(name)?;
        let at = if dimension < 0 { shape.len() as i64 + dimension } else { dimension };
        let size = usize::try_from(at).ok().and_then(|at| shape.get(at));
        size.copied().ok_or_else(|| self.folder.refuse(format!("its tensor {name} has shape {shape:?}")))
    }

    /// How many layers have names that begin so.
    fn layers(&self, start: &str) -> i64 {
        let layers = self.folder.stored_names().filter_map(|name| name.strip_prefix(start)?.split('.').next());
        layers.collect::<std::collections::BTreeSet<_>>().len() as i64
    }
}
