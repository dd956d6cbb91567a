//! SigLIP 2 for images that keep their shape (NaFlex), as in `transformers` (`Siglip2Model`): the vision tower. Texts are
//! SigLIP's.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use retort_nn::{Activation, Block, Init, LayerNorm, Scope, attention_bias, strip};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use super::layers::{Layers, Patches};
use super::siglip::{POOLING, Pool, open_texts};
use crate::folder::ModelFolder;
use crate::preprocessing;
use crate::sides::{ImageSide, ImageTower, Sides};
use crate::{Error, Result};

/// `vision_config`; defaults are those of transformers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct VisionConfig {
    /// Width of a patch feature.
    hidden_size: i64,
    /// Width inside the feed-forward part.
    intermediate_size: i64,
    /// Layers.
    num_hidden_layers: i64,
    /// Attention heads.
    num_attention_heads: i64,
    /// Positions that were trained, in a square; images may have more patches or fewer.
    num_patches: i64,
    /// Side of a patch in pixels.
    patch_size: i64,
    /// Activation by name.
    hidden_act: String,
    /// Added to the variance.
    layer_norm_eps: f64,
    /// Whether there is a head that pools; without one there is no embedding.
    vision_use_head: bool,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_patches: 256,
            patch_size: 16,
            hidden_act: "gelu_pytorch_tanh".to_owned(),
            layer_norm_eps: 1e-6,
            vision_use_head: true,
        }
    }
}

/// Opens `model_type` `siglip2`.
pub(super) fn open(folder: &ModelFolder) -> Result<Sides> {
    let vision: VisionConfig = folder.part("vision_config")?;
    check(folder, &vision)?;
    let preprocessing = preprocessing::open_patches(folder, vision.patch_size)?;
    let (texts, mut details) = open_texts(folder)?;
    details.insert("vision".to_owned(), json!(vision));
    details.insert("preprocessing".to_owned(), json!(preprocessing));
    details.insert("pooling".to_owned(), json!(POOLING));
    let most = i64::from(preprocessing.input_size()[1]) / vision.patch_size - 1;
    let tower = Box::new(Vision::new(&folder.scope().sub("vision_model"), &vision, most)?);
    let image = ImageSide { tower, preprocessing, width: vision.hidden_size as usize };
    Ok(Sides { image: Some(image), text: Some(texts), details: Value::Object(details), pools: false })
}

fn check(folder: &ModelFolder, vision: &VisionConfig) -> Result<()> {
    folder.check_heads(vision.num_attention_heads, vision.hidden_size)?;
    let (patch, positions) = (vision.patch_size, vision.num_patches);
    // The shape of an image is handed over in the pixels of one patch.
    if patch < 2 {
        return Err(folder.refuse(format!("its patch_size is {patch}, expected 2 or more")));
    }
    if positions < 1 || positions.isqrt().pow(2) != positions {
        return Err(folder.refuse(format!("its num_patches is {positions}, expected those of a square")));
    }
    if !vision.vision_use_head {
        return Err(folder.refuse("its vision_use_head is false: expected a head that pools".to_owned()));
    }
    Ok(())
}

#[derive(Debug)]
struct Vision {
    patches: Patches,
    /// Of a square, `[1, width, side, side]`, in f32: what they are resized in.
    positions: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Pool,
    /// Most patches of an image, to which every image is padded.
    most: i64,
}

impl Vision {
    fn new(scope: &Scope<'_>, config: &VisionConfig, most: i64) -> Result<Self> {
        let (embeddings, width) = (scope.sub("embeddings"), config.hidden_size);
        let layers = Layers {
            width,
            inner: config.intermediate_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            activation: Activation::named(&config.hidden_act)?,
            epsilon: config.layer_norm_eps,
        };
        let positions = [config.num_patches, width];
        let positions = embeddings.sub("position_embedding").tensor("weight", &positions, Init::Normal(0.02))?;
        let side = config.num_patches.isqrt();
        let positions = positions.f_reshape([1, side, side, width])?.f_permute([0, 3, 1, 2])?;
        Ok(Self {
            patches: Patches::of_linear(&embeddings.sub("patch_embedding"), width, config.patch_size)?,
            positions: positions.f_to_kind(Kind::Float)?.f_contiguous()?,
            blocks: layers.open(&scope.sub("encoder"))?,
            norm: LayerNorm::new(&scope.sub("post_layernorm"), width, config.layer_norm_eps)?,
            head: Pool::new(&scope.sub("head"), &layers)?,
            most,
        })
    }

    /// Positions of images of these rows and columns, `[batch, most, width]`, and zeros behind them: bilinear, smoothed where
    /// there are fewer of them than were trained.
    fn positions(&self, shapes: &[[i64; 2]], kind: Kind) -> Result<Tensor> {
        let mut resized = BTreeMap::new();
        for [rows, columns] in shapes {
            // Many images of a batch have the same shape.
            if let Entry::Vacant(entry) = resized.entry([*rows, *columns]) {
                let grid = self.positions.f_internal_upsample_bilinear2d_aa([*rows, *columns], false, None, None)?;
                let places = grid.f_flatten(2, 3)?.f_transpose(1, 2)?;
                let places = places.f_constant_pad_nd([0, 0, 0, self.most - rows * columns])?.f_to_kind(kind)?;
                entry.insert(places);
            }
        }
        Ok(Tensor::f_cat(&shapes.iter().filter_map(|shape| resized.get(shape)).collect::<Vec<_>>(), 0)?)
    }

    /// 1 for a patch and 0 for padding, `[batch, most]`.
    fn mask(&self, shapes: &[[i64; 2]]) -> Result<Tensor> {
        let row = |[rows, columns]: &[i64; 2]| {
            let patches = rows * columns;
            (0..self.most).map(move |place| i64::from(place < patches))
        };
        let mask: Vec<i64> = shapes.iter().flat_map(row).collect();
        let mask = Tensor::f_from_slice(&mask)?.f_reshape([shapes.len() as i64, self.most])?;
        Ok(mask.f_to_device(self.positions.device())?)
    }
}

impl ImageTower for Vision {
    /// Of [strips](strip). What is pooled stands first, as a class token would: the head leaves padding out as well, and the shapes
    /// are known here alone.
    fn hidden(&self, strips: &Tensor) -> Result<Tensor> {
        let shapes = strip::shapes(strips)?;
        let patches = self.patches.forward(strips)?.f_narrow(1, 0, self.most)?;
        let mut x = patches.f_add(&self.positions(&shapes, patches.kind())?)?;
        let bias = attention_bias(&self.mask(&shapes)?, x.kind())?;
        for block in &self.blocks {
            x = block.forward(&x, Some(&bias), false)?;
        }
        let x = self.norm.forward(&x)?;
        Ok(Tensor::f_cat(&[&self.head.forward(&x, Some(&bias))?.f_unsqueeze(1)?, &x], 1)?)
    }

    /// `get_image_features`, not normalised.
    fn pooled(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(hidden.f_select(1, 0)?)
    }

    /// There is none of one shape.
    fn grid(&self, _: &Tensor) -> Result<Tensor> {
        Err(Error::ManyShapes { most: u32::try_from(self.most).unwrap_or(u32::MAX) })
    }

    fn grid_size(&self) -> [usize; 2] {
        [0, 0]
    }
}
