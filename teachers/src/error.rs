//! What can go wrong between a model folder and a cache.

use std::path::PathBuf;

use retort_cache::MODEL_PLACEHOLDER;

use crate::hub;
use crate::layout::OPEN_CLIP_WEIGHTS;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of loading and running teachers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading the data set or writing the cache failed.
    #[error(transparent)]
    Cache(#[from] retort_cache::Error),
    /// Weights, tokenizer, pixels or libtorch failed.
    #[error(transparent)]
    Model(#[from] retort_nn::Error),
    /// Fetching a model failed.
    #[error(transparent)]
    Hub(hub::Error),
    /// A word names no model.
    #[error("there is no folder {word}, and it is no id of a model on the hub: {problem}")]
    NoModel {
        /// The word.
        word: String,
        /// What keeps it from being an id.
        problem: String,
    },
    /// A command was run as it was told, with the word that stands for what nobody knew.
    #[error(
        "{} stands for a model, and there is no such folder: expected a model's folder or its id of the hub",
        MODEL_PLACEHOLDER
    )]
    Placeholder,
    /// A model folder lacks a file.
    #[error("{} has no {file}", folder.display())]
    MissingFile {
        /// The folder.
        folder: PathBuf,
        /// The file.
        file: &'static str,
    },
    /// A config file cannot be understood.
    #[error("{} cannot be understood: {problem}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The model is of an architecture that this build does not know.
    #[error("{} has model_type {found:?}: expected one of {known}, or a teacher.toml that describes TorchScript", path.display())]
    UnknownArchitecture {
        /// The config file.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What there is.
        known: String,
    },
    /// A model of open_clip or OpenAI has something else than two plain towers.
    #[error("{}: {key} is {value}, expected none: only the plain vision and text transformers of CLIP are known here", path.display())]
    UnsupportedTower {
        /// The config file, or that of the weights.
        path: PathBuf,
        /// The key that says so.
        key: String,
        /// What it says.
        value: String,
    },
    /// The tokenizer makes ids that the model has no embedding for.
    #[error("{} has {tokenizer} tokens, the model {model}: they do not belong together", path.display())]
    VocabularySize {
        /// The tokenizer file.
        path: PathBuf,
        /// Entries of the tokenizer.
        tokenizer: usize,
        /// Entries of the model.
        model: usize,
    },
    /// A teacher gives no such features.
    #[error("this teacher gives no {what}: its teacher.toml has no {key}")]
    NotGiven {
        /// What was asked for.
        what: &'static str,
        /// What would say where they are.
        key: &'static str,
    },
    /// Patch grids were asked for where images keep their shape.
    #[error(
        "this teacher gives no patch grids: its images keep their shape, so that each has a grid of another shape (up to {most} \
         patches), and those of a cache have one shape for all images"
    )]
    ManyShapes {
        /// Most patches of an image.
        most: u32,
    },
    /// A setting over what was detected has a key that there is none of.
    #[error("there is no setting {key:?} of a teacher: expected one of {known}{}", said_near(near.as_deref()))]
    UnknownSetting {
        /// The key.
        key: String,
        /// The nearest that there is.
        near: Option<String>,
        /// All that there are.
        known: String,
    },
    /// A setting over what was detected cannot be used.
    #[error("{key} {problem}")]
    Setting {
        /// The key.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// An image that ingest accepted cannot be decoded.
    #[error("image {id} of shard {shard}: {source}")]
    Undecodable {
        /// The shard.
        shard: String,
        /// The image's id.
        id: String,
        /// Why not.
        source: Box<retort_nn::Error>,
    },
    /// The model gave NaN or infinity.
    #[error("teacher {teacher} gave NaN or infinite features for {table} {ids} of shard {shard}")]
    NotFinite {
        /// The teacher.
        teacher: String,
        /// The table.
        table: &'static str,
        /// The shard.
        shard: String,
        /// Ids of the first such rows.
        ids: String,
        /// Whether they were computed in a narrower type than f32, which may have been too small for them.
        narrow: bool,
    },
}

/// The end of a message about an unknown word.
pub(crate) fn said_near(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"))
}

impl From<hub::Error> for Error {
    fn from(error: hub::Error) -> Self {
        match error {
            hub::Error::Cache(error) => Self::Cache(error),
            error => Self::Hub(error),
        }
    }
}

impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Self {
        Self::Model(error.into())
    }
}

impl Error {
    /// Whether the memory of a device did not suffice. libtorch has no other sign of it than its words.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Model(retort_nn::Error::Torch(error)) if error.to_string().contains("out of memory"))
    }

    /// What to do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Model(_) if self.is_out_of_memory() => Some(
                "free memory of the device, or begin the teacher's cache anew with a smaller --batch (`retort cache rm`)"
                    .to_owned(),
            ),
            Self::Model(error) => error.hint(),
            Self::Cache(error) => error.hint(),
            Self::Hub(error) => error.hint(),
            Self::Placeholder => Some(format!(
                "put the folder that the teacher's model lies in, or an id such as org/name@revision, in the place of \
                 {MODEL_PLACEHOLDER}; of the same weights, the cache goes on"
            )),
            Self::NoModel { .. } => Some(
                "give a model folder in Hugging Face layout (config.json, model.safetensors, tokenizer.json), or an id such as \
                 sentence-transformers/all-MiniLM-L6-v2 or org/name@revision"
                    .to_owned(),
            ),
            Self::UnsupportedTower { .. } => Some(
                "take the same model in the layout of transformers, if there is one, or trace it to TorchScript (docs/teachers.md)"
                    .to_owned(),
            ),
            Self::MissingFile { file: OPEN_CLIP_WEIGHTS, .. } => Some(format!(
                "point at a folder that open_clip wrote (open_clip_config.json, {OPEN_CLIP_WEIGHTS}, tokenizer.json)"
            )),
            Self::MissingFile { .. } => {
                Some("point at a Hugging Face model folder (config.json, model.safetensors, tokenizer.json)".to_owned())
            }
            Self::ManyShapes { .. } => {
                Some("teach it without --patches, or take SigLIP 2 of a fixed resolution".to_owned())
            }
            Self::NotFinite { narrow: true, .. } => Some("compute in f32: --dtype f32".to_owned()),
            Self::NotFinite { narrow: false, .. } => Some(
                "f32 was wide enough, so its weights are damaged, or it cannot take these rows: fetch the model again, or leave \
                 the rows out when ingesting"
                    .to_owned(),
            ),
            Self::VocabularySize { .. } => {
                Some("copy tokenizer.json from the folder that the weights come from".to_owned())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f32_is_a_way_out_of_narrower_types_alone() {
        let hint = |narrow| {
            let (teacher, shard, ids) = ("clip".to_owned(), "a-00000".to_owned(), "00".to_owned());
            Error::NotFinite { teacher, table: "images", shard, ids, narrow }.hint().unwrap_or_default()
        };
        assert!(hint(true).contains("--dtype f32"));
        assert!(!hint(false).contains("--dtype") && hint(false).contains("fetch the model again"));
    }
}
