//! Whose layout a model folder has, and the weights that belong to it.

use std::path::{Path, PathBuf};

use retort_nn::{Checkpoint, Convert, Error as ModelError, INDEX, SINGLE, pickle_in};
use serde_json::Value;

use crate::folder::{json, require};
use crate::{Error, Result};

pub(crate) const CONFIG: &str = "config.json";
const OPEN_CLIP_CONFIG: &str = "open_clip_config.json";
/// The weights of open_clip's own layout.
pub(crate) const OPEN_CLIP_WEIGHTS: &str = "open_clip_model.safetensors";

/// Who wrote a model folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// transformers: `config.json` beside `model.safetensors` or its parts.
    Transformers,
    /// open_clip: `open_clip_config.json` beside `open_clip_model.safetensors`.
    OpenClip,
    /// OpenAI's state dict of CLIP as safetensors, and no config.
    OpenAi,
}

/// A folder's config and weights.
pub(crate) struct Opened {
    pub layout: Layout,
    /// Where the config is, or what stands for it.
    pub path: PathBuf,
    pub config: Value,
    pub checkpoint: Checkpoint,
}

impl Layout {
    /// Opens the folder that has config and weights.
    ///
    /// # Errors
    /// [`Error::MissingFile`], [`Error::Config`], and those of the weights.
    pub(crate) fn open(folder: &Path) -> Result<Opened> {
        if let Some(config) = of_transformers(folder)? {
            let checkpoint = Checkpoint::open(folder)?;
            return Ok(Opened { layout: Self::Transformers, path: folder.join(CONFIG), config, checkpoint });
        }
        let path = folder.join(OPEN_CLIP_CONFIG);
        if let Some(config) = json(&path)? {
            let checkpoint = Checkpoint::open_file(&open_clip_weights(folder)?)?;
            return Ok(Opened { layout: Self::OpenClip, path, config, checkpoint });
        }
        let checkpoint = openai_weights(folder)?;
        let path = checkpoint.path().to_owned();
        Ok(Opened { layout: Self::OpenAi, path, config: Value::Null, checkpoint })
    }
}

/// The config of a folder in transformers' layout. A folder of open_clip may have one of timm, which says no `model_type`,
/// or one whose weights nobody fetched.
fn of_transformers(folder: &Path) -> Result<Option<Value>> {
    let config: Option<Value> = json(&folder.join(CONFIG))?;
    let has = |file: &str| folder.join(file).is_file();
    let whole =
        |config: &Value| config.get("model_type").is_some() && (has(SINGLE) || has(INDEX) || !has(OPEN_CLIP_WEIGHTS));
    Ok(config.filter(|config| !has(OPEN_CLIP_CONFIG) || whole(config)))
}

fn open_clip_weights(folder: &Path) -> Result<PathBuf> {
    match require(folder, OPEN_CLIP_WEIGHTS) {
        Ok(path) => Ok(path),
        Err(missing) => Err(match pickle_in(folder) {
            Some(path) => ModelError::Pickle { path, convert: Convert::StateDict(OPEN_CLIP_WEIGHTS) }.into(),
            None => missing,
        }),
    }
}

/// The weights of a folder without any config, which must have OpenAI's names of CLIP's tensors: `model.safetensors`, or
/// the only safetensors.
fn openai_weights(folder: &Path) -> Result<Checkpoint> {
    let no_config = Error::MissingFile { folder: folder.to_owned(), file: CONFIG };
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_safe = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "safetensors");
    let (mut files, single): (Vec<PathBuf>, PathBuf) = (files.filter(is_safe).collect(), folder.join(SINGLE));
    let path = if single.is_file() { Some(single) } else { files.pop().filter(|_| files.is_empty()) };
    match (path, pickle_in(folder)) {
        (Some(path), _) => {
            let checkpoint = Checkpoint::open_file(&path)?;
            let is_clip = checkpoint.has("visual.conv1.weight") && checkpoint.has("token_embedding.weight");
            if is_clip { Ok(checkpoint) } else { Err(no_config) }
        }
        (None, Some(path)) => Err(ModelError::Pickle { path, convert: Convert::TorchScript }.into()),
        (None, None) => Err(no_config),
    }
}
