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
    /// A protocol cannot be carried out as it is written.
    #[error("protocol {}: {problem}", path.display())]
    Protocol {
        /// The protocol file, or what it is carried out in.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
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
    /// Predictions cannot be written in the format asked for.
    #[error("predictions {}: {problem}", path.display())]
    Predictions {
        /// The file that was to be written.
        path: PathBuf,
        /// What does not fit, and where.
        problem: String,
        /// What to do.
        advice: String,
    },
    /// The loss became NaN or infinite.
    #[error("the loss is {value} at step {step}, on samples {samples}; {}", kept(checkpoint))]
    NotFinite {
        /// The step.
        step: u64,
        /// The loss.
        value: f64,
        /// The samples of the batch.
        samples: String,
        /// The newest checkpoint from which training went well.
        checkpoint: Option<PathBuf>,
    },
    /// The loss rose far above what it was.
    #[error(
        "the loss is {value} at step {step}, expected at most {limit} (optim.explode), on samples {samples}; {}",
        kept(checkpoint)
    )]
    Exploded {
        /// The step.
        step: u64,
        /// The loss.
        value: f64,
        /// What it may be.
        limit: f64,
        /// The samples of the batch.
        samples: String,
        /// The newest checkpoint from which training went well.
        checkpoint: Option<PathBuf>,
    },
}

fn kept(checkpoint: &Option<PathBuf>) -> String {
    match checkpoint {
        Some(path) => format!("the last good checkpoint is {}", path.display()),
        None => "there is no good checkpoint yet".to_owned(),
    }
}

impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Self {
        Self::Model(error.into())
    }
}

/// What keeps a loss from diverging.
const CALMER: &str = "lower optim.lr (before the task, adapt.lr), lengthen its warm-up or set optim.clip";

impl Error {
    /// Names the checkpoint that a loss that went wrong leaves.
    pub(crate) fn beside(mut self, good: Option<PathBuf>) -> Self {
        if let Self::NotFinite { checkpoint, .. } | Self::Exploded { checkpoint, .. } = &mut self {
            *checkpoint = good;
        }
        self
    }

    /// What to do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Model(error) => error.hint(),
            Self::Cache(error) => error.hint(),
            Self::Run { .. } => Some("choose another folder with --run, or remove this one".to_owned()),
            Self::Predictions { advice, .. } => Some(advice.clone()),
            Self::NotFinite { .. } => Some(format!("{CALMER}, and begin another run (--run); or look at the samples")),
            Self::Exploded { .. } => {
                Some(format!("{CALMER}, and begin another run (--run); or raise optim.explode there, 0 for no limit"))
            }
            _ => None,
        }
    }
}
