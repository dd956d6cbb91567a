//! A model folder in Hugging Face layout, opened as a teacher.

use std::collections::BTreeMap;
use std::path::Path;

use retort_cache::fingerprint;
use retort_nn::pixels::{Resize, Rgb};
use retort_nn::{Encoded, pinned};
use retort_schemas::manifest::Origin;
use retort_schemas::{Dtype, Store};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::folder::ModelFolder;
use crate::sides::{ImageSide, Sides, TextSide};
use crate::{Error, Overrides, Result, families, torchscript};

/// A frozen encoder of images, texts or both.
pub struct Teacher {
    /// The image encoder, if it has one.
    pub image: Option<ImageSide>,
    /// The text encoder, if it has one.
    pub text: Option<TextSide>,
    /// Everything that decides its numbers.
    pub identity: Value,
    /// The repository that its model was fetched from; whoever fetched it sets it.
    pub origin: Option<Origin>,
    /// The absolute path of the folder that its model was opened from, where that is not the hub's cache; whoever opened it sets it.
    pub folder: Option<String>,
    /// The overrides as the user said them, by key; whoever took them sets it.
    pub settings: BTreeMap<String, String>,
    device: Device,
    kind: Kind,
}

impl Teacher {
    /// Whether it computes in a type narrower than f32.
    pub(crate) fn is_narrow(&self) -> bool {
        self.kind != Kind::Float
    }

    /// Opens a model folder, detecting its architecture, for computing on a device in a type.
    ///
    /// # Errors
    /// [`Error::MissingFile`], [`Error::Config`], [`Error::UnknownArchitecture`], [`Error::VocabularySize`], and those
    /// of the weights.
    pub fn open(folder: &Path, device: Device, compute: Dtype) -> Result<Self> {
        Self::open_with(folder, device, compute, Overrides::default())
    }

    /// As [`Self::open`], with what the user says in the place of what is detected.
    ///
    /// # Errors
    /// As [`Self::open`]; [`Error::Setting`] for what this model has no place for.
    pub fn open_with(folder: &Path, device: Device, compute: Dtype, told: Overrides) -> Result<Self> {
        let kind = match compute {
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::Bf16 => Kind::BFloat16,
        };
        let (sides, architecture, weights) = match torchscript::description_of(folder) {
            Some(path) => {
                let (sides, hash) = torchscript::open(&path, device, kind, &told)?;
                (sides, "torchscript".to_owned(), hash)
            }
            None => {
                let folder = ModelFolder::open(folder, device, kind, told.clone())?;
                (families::open(&folder)?, folder.model_type().to_owned(), folder.weights_hash().to_owned())
            }
        };
        told.check(sides.image.is_some(), sides.text.is_some(), sides.pools)?;
        let unit = told.normalize == Some(true) && !sides.pools;
        let Sides { image, text, details, .. } = if unit { sides.normalised() } else { sides };
        let identity = json!({
            "architecture": architecture,
            "weights": weights,
            "compute": compute,
            "details": details,
        });
        Ok(Self { image, text, identity, origin: None, folder: None, settings: BTreeMap::new(), device, kind })
    }

    /// Whether it gives what is asked for beside embeddings: modules of TorchScript may lack either, and images that keep
    /// their shape have no grids of one shape.
    ///
    /// # Errors
    /// [`Error::NotGiven`], [`Error::ManyShapes`].
    pub(crate) fn check_gives(&self, patches: bool, tokens: bool) -> Result<()> {
        let images = self.image.as_ref().filter(|side| patches && side.grid_size() == [0, 0]);
        if let Some(side) = images {
            if let Some(Resize::Patches { most, .. }) = side.preprocessing.resize {
                return Err(Error::ManyShapes { most });
            }
            return Err(Error::NotGiven { what: "patch grids", key: "image.grid" });
        }
        if tokens && self.text.as_ref().is_some_and(|side| side.token_width == 0) {
            return Err(Error::NotGiven { what: "features of tokens", key: "text.tokens" });
        }
        Ok(())
    }

    /// Whether images and texts are embedded into one space.
    pub fn is_joint(&self) -> bool {
        self.image.is_some() && self.text.is_some()
    }

    /// The fingerprint of its features when stored as `store`, 32 hex digits.
    pub fn fingerprint(&self, store: impl Into<Store>) -> String {
        fingerprint(&self.identity, store)
    }

    /// Embeds images that were preprocessed to `[3, height, width]` floats each: `[images, width]`, end to end.
    ///
    /// # Errors
    /// If there is no image encoder, or libtorch refuses.
    pub fn embed_pixels(&self, pixels: &[f32], images: usize) -> Result<Vec<f32>> {
        Ok(self.see_pixels(pixels, images, false)?.0)
    }

    /// As [`Self::embed_pixels`], and where wanted each image's patch grid, `[images, patches, patch width]`, end to end
    /// ([`ImageSide::grid_size`]).
    ///
    /// # Errors
    /// As [`Self::embed_pixels`].
    pub fn see_pixels(&self, pixels: &[f32], images: usize, with_grid: bool) -> Result<(Vec<f32>, Vec<f32>)> {
        let pixels = host_pixels(pixels, images, self.image_side()?.input_size(), self.device)?;
        self.see(&pixels, with_grid)
    }

    /// As [`Self::see_pixels`], of what [`host_pixels`] gives.
    pub(crate) fn see(&self, pixels: &Tensor, with_grid: bool) -> Result<(Vec<f32>, Vec<f32>)> {
        let side = self.image_side()?;
        let _guard = tch::no_grad_guard();
        let pixels =
            pixels.f_to_device_(self.device, Kind::Float, self.device.is_cuda(), false)?.f_to_kind(self.kind)?;
        let hidden = side.tower.hidden(&pixels)?;
        let grid = if with_grid { floats(&side.tower.grid(&hidden)?)? } else { Vec::new() };
        Ok((floats(&side.tower.pooled(&hidden)?)?, grid))
    }

    /// Embeds decoded images: `[images, width]`, end to end.
    ///
    /// # Errors
    /// As [`Self::embed_pixels`].
    pub fn embed_images(&self, images: &[Rgb]) -> Result<Vec<f32>> {
        let side = self.image_side()?;
        let mut pixels = Vec::new();
        for image in images {
            pixels.extend(side.preprocess(image)?);
        }
        self.embed_pixels(&pixels, images.len())
    }

    /// Embeds tokenised texts, padded to the longest: pooled `[texts, width]`, and where wanted the features of each
    /// text's tokens without the special ones, `[tokens, token width]` each.
    ///
    /// # Errors
    /// If there is no text encoder, or libtorch refuses.
    pub fn embed_texts(&self, texts: &[&Encoded], with_tokens: bool) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
        let Some(side) = &self.text else { return Err(no_side("text")) };
        let _guard = tch::no_grad_guard();
        let (ids, mask) = side.batch(texts, self.device)?;
        let (_, longest) = ids.size2()?;
        let features = side.tower.forward(&ids, &mask)?;
        let pooled = floats(&features.pooled)?;
        let mut tokens = Vec::new();
        if with_tokens {
            let all = floats(&features.tokens)?;
            for (text, rows) in texts.iter().zip(all.chunks_exact((longest as usize * side.token_width).max(1))) {
                let content = rows.chunks_exact(side.token_width).zip(&text.special).filter(|(_, special)| !**special);
                tokens.push(content.flat_map(|(row, _)| row.iter().copied()).collect());
            }
        }
        Ok((pooled, tokens))
    }

    /// Where it computes.
    pub(crate) const fn device(&self) -> Device {
        self.device
    }

    fn image_side(&self) -> Result<&ImageSide> {
        self.image.as_ref().ok_or_else(|| no_side("image"))
    }
}

fn no_side(side: &'static str) -> Error {
    let found = format!("this teacher has no {side} encoder");
    Error::Model(retort_nn::Error::Image { problem: found })
}

/// Preprocessed images, end to end, as a tensor `[images, 3, height, width]` in the memory of the host: for CUDA in such
/// that the device copies from while this thread goes on.
pub(crate) fn host_pixels(pixels: &[f32], images: usize, input: [u32; 2], device: Device) -> Result<Tensor> {
    let [height, width] = input.map(i64::from);
    Ok(pinned(Tensor::f_from_slice(pixels)?.f_reshape([images as i64, 3, height, width])?, device)?)
}

fn floats(tensor: &Tensor) -> Result<Vec<f32>> {
    let flat = tensor.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?.f_contiguous()?.f_view([-1])?;
    Ok(Vec::<f32>::try_from(&flat)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache goes on only under the fingerprint that it began with.
    #[test]
    fn fingerprints_of_teachers_that_have_caches_stay() -> Result<()> {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/golden");
        let fingerprint = |folder: &Path| -> Result<String> {
            Ok(Teacher::open(folder, Device::Cpu, Dtype::F32)?.fingerprint(Dtype::F16))
        };
        assert_eq!(fingerprint(&golden.join("clip"))?, "c6a1ecce1d275f25e003e9e35f5ab600");
        assert_eq!(fingerprint(&golden.join("clip-legacy"))?, "5b3434e6ce8c6e4ee4ff3ca3c8ab3d1e");
        assert_eq!(fingerprint(&golden.join("bert"))?, "96bfd060059a3d831b3529036c1fb4f0");
        assert_eq!(fingerprint(&golden.join("dinov2"))?, "fb9a7e0d6d1717388880786561563c17");
        assert_eq!(fingerprint(&golden.join("dinov2-giant"))?, "e9b27c95ac5f27a2d7ba0a2b30dd2ae2");
        assert_eq!(fingerprint(&golden.join("siglip"))?, "821f0aa3d4e888344e3a425b4efcc429");
        assert_eq!(fingerprint(&golden.join("siglip2"))?, "a6e814b2ec33c4b53d9f0ff31c3beb10");
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for file in std::fs::read_dir(golden.join("bert")).unwrap().flatten() {
            std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
        }
        std::fs::create_dir(folder.join("1_Pooling")).unwrap();
        for (file, text) in [
            ("1_Pooling/config.json", r#"{"pooling_mode_mean_tokens": true}"#),
            ("sentence_bert_config.json", r#"{"max_seq_length": 12, "do_lower_case": false}"#),
            ("modules.json", r#"[{"path": "1_Pooling", "type": "models.Pooling"}, {"type": "models.Normalize"}]"#),
        ] {
            std::fs::write(folder.join(file), text).unwrap();
        }
        assert_eq!(fingerprint(folder)?, "c6aa66d75a605d6ab02ff6c10b9a6463");
        Ok(())
    }
}
