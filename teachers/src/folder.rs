//! A model folder that is being opened: its config, its weights, and the files beside them.

use std::path::{Path, PathBuf};

use retort_nn::{Checkpoint, Convert, Error as ModelError, SINGLE, Scope, Weights};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tch::{Device, Kind};

use crate::layout::{CONFIG, Layout, Opened};
use crate::{Error, Overrides, Result, families};

/// The folder, with what every family reads of it.
pub(crate) struct ModelFolder {
    /// As the user named it: `modules.json` of sentence-transformers is here.
    root: PathBuf,
    /// Where config, weights and tokenizer are: the root, but for sentence-transformers folders that divide them.
    path: PathBuf,
    layout: Layout,
    config_path: PathBuf,
    config: Value,
    weights: Weights,
    weights_hash: String,
    device: Device,
    kind: Kind,
    overrides: Overrides,
}

impl ModelFolder {
    /// Reads the config and opens the weights, for computing on a device in a kind; `overrides` go before what is read.
    ///
    /// # Errors
    /// [`Error::MissingFile`], [`Error::Config`], and those of the weights.
    pub(crate) fn open(root: &Path, device: Device, kind: Kind, overrides: Overrides) -> Result<Self> {
        let path = transformer_of(root)?;
        let Opened { layout, path: config_path, config, checkpoint } = Layout::open(&path)?;
        let weights_hash = checkpoint.hash().to_owned();
        let weights = Weights::frozen(checkpoint, device, kind).packed();
        let weights = if layout == Layout::Transformers { weights } else { weights.named_by(families::openai_name) };
        let root = root.to_owned();
        Ok(Self { root, path, layout, config_path, config, weights, weights_hash, device, kind, overrides })
    }

    /// What the user says in the place of what is detected.
    pub(crate) fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    /// Whose layout it has.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// What the config calls its architecture, or the layout where that means only one.
    pub(crate) fn model_type(&self) -> &str {
        match self.layout {
            Layout::Transformers => self.config.get("model_type").and_then(Value::as_str).unwrap_or_default(),
            Layout::OpenClip => "open_clip",
            Layout::OpenAi => "openai_clip",
        }
    }

    /// The config's path, or that of the weights where there is no config.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.config_path.clone()
    }

    /// The config as a family reads it.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub(crate) fn config<T: DeserializeOwned>(&self) -> Result<T> {
        parse(&self.config_path(), self.config.clone())
    }

    /// The part of the config under a key, as `vision_config`.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub(crate) fn part<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        let part = self.config.get(key).cloned().ok_or_else(|| self.refuse(format!("it has no {key}")))?;
        parse(&self.config_path(), part)
    }

    /// A whole number of the config, or what transformers takes where it says none.
    pub(crate) fn integer(&self, key: &str, default: i64) -> i64 {
        self.config.get(key).and_then(Value::as_i64).unwrap_or(default)
    }

    /// Refuses a config that says another word under a key than the only one that is known.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub(crate) fn expect(&self, key: &str, word: &str) -> Result<()> {
        match self.config.get(key).and_then(Value::as_str) {
            Some(found) if found != word => Err(self.refuse(format!("its {key} is {found:?}, expected {word:?}"))),
            _ => Ok(()),
        }
    }

    /// That the config cannot be used.
    pub(crate) fn refuse(&self, problem: String) -> Error {
        Error::Config { path: self.config_path(), problem }
    }

    /// Whether attention heads divide the width of a tower.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub(crate) fn check_heads(&self, heads: i64, width: i64) -> Result<()> {
        if heads > 0 && width % heads == 0 {
            return Ok(());
        }
        Err(self.refuse(format!("its {heads} attention heads do not divide its hidden_size {width}")))
    }

    /// Whether patches of a side fit into an image of a side.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub(crate) fn check_patch(&self, patch: i64, image: i64) -> Result<()> {
        if (1..=image).contains(&patch) {
            return Ok(());
        }
        Err(self.refuse(format!("its patch_size is {patch}, its image_size {image}")))
    }

    /// Where the names of tensors start.
    pub(crate) fn scope(&self) -> Scope<'_> {
        self.weights.root()
    }

    /// Where a model's own names start: models for a task have them below a prefix. `probe` is one of the names.
    pub(crate) fn scope_below(&self, prefix: &str, probe: &str) -> Scope<'_> {
        let (root, below) = (self.scope(), self.scope().sub(prefix));
        if !root.has(probe) && below.has(probe) { below } else { root }
    }

    /// Names of the tensors as they are stored.
    pub(crate) fn stored_names(&self) -> impl Iterator<Item = &str> {
        self.weights.checkpoint().into_iter().flat_map(Checkpoint::names)
    }

    /// Whether there is a tensor of a name, as they are stored.
    pub(crate) fn stores(&self, name: &str) -> bool {
        self.weights.checkpoint().is_some_and(|checkpoint| checkpoint.has(name))
    }

    /// The shape of a tensor as it is stored.
    ///
    /// # Errors
    /// [`ModelError::MissingTensor`].
    pub(crate) fn stored_shape(&self, name: &str) -> Result<Vec<i64>> {
        let checkpoint = self.weights.checkpoint();
        let missing =
            || ModelError::MissingTensor { path: self.config_path(), name: name.to_owned(), expected: Vec::new() };
        Ok(checkpoint.ok_or_else(missing)?.tensor(name)?.size())
    }

    /// blake3 of the weights.
    pub(crate) fn weights_hash(&self) -> &str {
        &self.weights_hash
    }

    /// Weights of a module in a folder of its own, and their hash, for the same device and kind.
    ///
    /// # Errors
    /// Those of the weights.
    pub(crate) fn module_weights(&self, place: &str) -> Result<(Weights, String)> {
        let checkpoint = Checkpoint::open(&self.root.join(place)).map_err(|error| match error {
            ModelError::Pickle { path, .. } => ModelError::Pickle { path, convert: Convert::StateDict(SINGLE) },
            error => error,
        })?;
        let hash = checkpoint.hash().to_owned();
        Ok((Weights::frozen(checkpoint, self.device, self.kind), hash))
    }

    /// The path of a file that must be there.
    ///
    /// # Errors
    /// [`Error::MissingFile`].
    pub(crate) fn require(&self, file: &'static str) -> Result<PathBuf> {
        require(&self.path, file)
    }

    /// A JSON file beside the config, if it is there.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub(crate) fn json<T: DeserializeOwned>(&self, file: &str) -> Result<Option<T>> {
        json(&self.path.join(file))
    }

    /// A JSON file of the root, below which sentence-transformers keeps its modules, if it is there.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub(crate) fn root_json<T: DeserializeOwned>(&self, file: &str) -> Result<Option<T>> {
        json(&self.root.join(file))
    }

    /// The path of a file of the root.
    pub(crate) fn in_root(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }
}

/// A module of sentence-transformers' `modules.json`.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Module {
    /// Its folder below the root.
    #[serde(default)]
    pub path: String,
    /// Its class, as `sentence_transformers.models.Pooling`.
    #[serde(rename = "type")]
    class: String,
}

impl Module {
    /// Its class without where that is defined.
    pub(crate) fn name(&self) -> &str {
        self.class.rsplit('.').next().unwrap_or_default()
    }
}

/// Where config and weights are: the folder itself, or the first module's where the folder has only modules.
fn transformer_of(root: &Path) -> Result<PathBuf> {
    if root.join(CONFIG).is_file() {
        return Ok(root.to_owned());
    }
    let modules: Option<Vec<Module>> = json(&root.join("modules.json"))?;
    let transformer = modules.into_iter().flatten().find(|module| module.name() == "Transformer");
    Ok(transformer.map_or_else(|| root.to_owned(), |module| root.join(module.path)))
}

/// The path of a file of a folder that must be there.
///
/// # Errors
/// [`Error::MissingFile`].
pub(crate) fn require(folder: &Path, file: &'static str) -> Result<PathBuf> {
    let path = folder.join(file);
    if path.is_file() { Ok(path) } else { Err(Error::MissingFile { folder: folder.to_owned(), file }) }
}

/// A JSON file, if it is there.
///
/// # Errors
/// [`Error::Config`].
pub(crate) fn json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    if path.is_file() { read_json(path).map(Some) } else { Ok(None) }
}

/// A JSON file that is there.
///
/// # Errors
/// [`Error::Config`], [`Error::Cache`] if it cannot be read.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = retort_cache::read_text(path)?;
    serde_json::from_str(&text).map_err(|error| Error::Config { path: path.to_owned(), problem: error.to_string() })
}

/// A value of a JSON file as a type.
///
/// # Errors
/// [`Error::Config`].
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| Error::Config { path: path.to_owned(), problem: error.to_string() })
}
