//! `teacher.toml`: what a module of TorchScript takes and gives.

use std::path::{Path, PathBuf};

use retort_nn::nearest;
use retort_nn::pixels::{Filter, Middle, Preprocessing, Resize};
use serde::Deserialize;

use crate::error::said_near;
use crate::{Error, Result};

/// Keys of both parts, for messages about unknown ones.
const IMAGE_KEYS: [&str; 10] =
    ["module", "size", "crop", "resize", "interpolation", "rescale", "mean", "std", "pooled", "grid"];
const TEXT_KEYS: [&str; 8] =
    ["module", "tokenizer", "max_length", "pad", "pad_to_longest", "inputs", "pooled", "tokens"];

/// The whole file.
pub(super) struct Description {
    pub path: PathBuf,
    pub image: Option<Image>,
    pub text: Option<Text>,
}

/// `[image]`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Image {
    pub module: PathBuf,
    size: Size,
    crop: Option<Size>,
    #[serde(default)]
    resize: How,
    #[serde(default)]
    interpolation: Filter,
    #[serde(default = "byte")]
    rescale: f32,
    #[serde(default)]
    mean: [f32; 3],
    #[serde(default = "ones")]
    std: [f32; 3],
    #[serde(default)]
    pub pooled: Output,
    pub grid: Option<Output>,
}

/// `[text]`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Text {
    pub module: PathBuf,
    #[serde(default = "tokenizer")]
    pub tokenizer: PathBuf,
    pub max_length: usize,
    #[serde(default)]
    pub pad: i64,
    /// Texts are padded to the longest that the model takes, not to the longest of their batch.
    #[serde(default)]
    pub pad_to_longest: bool,
    #[serde(default = "ids_and_mask")]
    pub inputs: Vec<Input>,
    #[serde(default)]
    pub pooled: Output,
    pub tokens: Option<Output>,
}

/// Which output of a module: by place in a tuple or list, or by key of a dictionary.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(untagged)]
pub(super) enum Output {
    Place(usize),
    Key(String),
}

impl Default for Output {
    fn default() -> Self {
        Self::Place(0)
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Place(place) => write!(f, "{place}"),
            Self::Key(key) => write!(f, "{key:?}"),
        }
    }
}

/// What a text module is given, in this order: all `[batch, tokens]` of whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Input {
    Ids,
    /// 1 for a token, 0 for padding.
    Mask,
    /// Zeros: the segments of BERT.
    Types,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Size {
    One(u32),
    Two([u32; 2]),
}

impl Size {
    fn sides(self) -> [u32; 2] {
        match self {
            Self::One(side) => [side, side],
            Self::Two(sides) => sides,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum How {
    #[default]
    Shortest,
    Squash,
    None,
}

fn byte() -> f32 {
    1.0 / 255.0
}

fn ones() -> [f32; 3] {
    [1.0; 3]
}

fn tokenizer() -> PathBuf {
    PathBuf::from("tokenizer.json")
}

fn ids_and_mask() -> Vec<Input> {
    vec![Input::Ids, Input::Mask]
}

impl Image {
    /// As torchvision resizes and crops Pillow images.
    pub(super) fn preprocessing(&self) -> Preprocessing {
        let resize = match (self.resize, self.size) {
            (How::None, _) => None,
            (How::Shortest, Size::One(side)) => Some(Resize::ShortestEdge(side)),
            (How::Squash, size) | (How::Shortest, size @ Size::Two(_)) => Some(Resize::Exact(size.sides())),
        };
        Preprocessing {
            resize,
            filter: self.interpolation,
            crop: Some(self.crop.unwrap_or(self.size).sides()),
            middle: Middle::Even,
            rescale: self.rescale,
            mean: self.mean,
            std: self.std,
        }
    }
}

impl Description {
    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Config`] for what cannot be read, with the nearest key for one that is unknown.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let refuse = |problem: String| Error::Config { path: path.to_owned(), problem };
        let table: toml::Table =
            toml::from_str(&retort_cache::read_text(path)?).map_err(|error| refuse(error.to_string()))?;
        check_keys(table.keys(), &["image", "text"]).map_err(|problem| refuse(format!("it has {problem}")))?;
        let image: Option<Image> = part(&table, "image", &IMAGE_KEYS).map_err(refuse)?;
        let text: Option<Text> = part(&table, "text", &TEXT_KEYS).map_err(refuse)?;
        if image.is_none() && text.is_none() {
            return Err(refuse("it has neither [image] nor [text]".to_owned()));
        }
        if image.as_ref().is_some_and(|image| image.std.iter().any(|std| *std <= 0.0 || std.is_nan())) {
            return Err(refuse("image.std is not above 0".to_owned()));
        }
        Ok(Self { path: path.to_owned(), image, text })
    }

    /// A file that is named relative to this one.
    ///
    /// # Errors
    /// [`Error::Config`] if it is not there.
    pub(super) fn file(&self, key: &str, named: &Path) -> Result<PathBuf> {
        let path = self.path.parent().unwrap_or(Path::new("")).join(named);
        if path.is_file() {
            return Ok(path);
        }
        Err(self.refuse(format!("{key} is {}, and there is no file {}", named.display(), path.display())))
    }

    pub(super) fn refuse(&self, problem: String) -> Error {
        Error::Config { path: self.path.clone(), problem }
    }
}

fn part<T: serde::de::DeserializeOwned>(table: &toml::Table, name: &str, known: &[&str]) -> Result<Option<T>, String> {
    let Some(value) = table.get(name) else { return Ok(None) };
    let inner = value.as_table().ok_or_else(|| format!("{name} is no table"))?;
    check_keys(inner.keys(), known).map_err(|problem| format!("[{name}] has {problem}"))?;
    value.clone().try_into().map(Some).map_err(|error: toml::de::Error| format!("[{name}]: {}", error.message()))
}

fn check_keys<'a>(mut found: impl Iterator<Item = &'a String>, known: &[&str]) -> Result<(), String> {
    match found.find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => {
            let near = nearest(key, known.iter().copied());
            Err(format!("an unknown key {key:?}: expected one of {}{}", known.join(", "), said_near(near.as_deref())))
        }
    }
}
