//! What can go wrong between a recipe and a trained student.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of recipes, data and training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading the data set or the cache failed, or writing the run did.
    #[error(transparent)]
    Cache(#[from] retort_cache::Error),
    /// Weights, tokenizer, pixels or libtorch failed.
    #[error(transparent)]
    Model(#[from] retort_nn::Error),
    /// The recipe is not TOML, or a value is of the wrong type.
    #[error("recipe {}: {problem}", path.display())]
    Recipe {
        /// The recipe file.
        path: PathBuf,
        /// What is wrong, with line and column where known.
        problem: String,
    },
    /// The recipe has a key that means nothing.
    #[error("recipe {} has an unknown key {key:?}{}", path.display(), near.as_ref().map(|near| format!(": did you mean {near:?}?")).unwrap_or_default())]
    UnknownKey {
        /// The recipe file.
        path: PathBuf,
        /// The key, with its table.
        key: String,
        /// The nearest known key.
        near: Option<String>,
    },
    /// A setting does not suit the data or another setting.
    #[error("{key} {problem}")]
    Setting {
        /// The recipe key.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The data cannot be trained on.
    #[error("data set {}: {problem}", path.display())]
    Data {
        /// The data set.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A run folder holds something else than this run.
    #[error("run {}: {problem}", path.display())]
    Run {
        /// The run folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The loss became NaN or infinite.
    #[error("the loss is {value} at step {step}, on samples {samples}")]
    NotFinite {
        /// The step.
        step: u64,
        /// The loss.
        value: f64,
        /// The first samples of the batch.
        samples: String,
    },
}

impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Self {
        Self::Model(error.into())
    }
}

impl Error {
    /// What to do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Model(error) => error.hint(),
            Self::Cache(error) => error.hint(),
            Self::Run { .. } => Some("choose another folder with --run, or remove this one".to_owned()),
            Self::NotFinite { .. } => Some(
                "lower optim.lr (before the task, adapt.lr), or set optim.clip; the last checkpoint is from before"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}
