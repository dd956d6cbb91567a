//! What keeps a report from being written at all. What is merely missing becomes a sentence on the page.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of reading runs and writing their page.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written, or is damaged.
    #[error(transparent)]
    Data(#[from] retort_cache::Error),
    /// There is nothing to report on.
    #[error("a report needs at least one run")]
    NoRuns,
    /// A folder holds no run.
    #[error("{} is not a run: it has no {file}", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// The file that is missing.
        file: &'static str,
    },
    /// What is to be shown is not there.
    #[error("there is no {}", path.display())]
    NotThere {
        /// The folder that was named.
        path: PathBuf,
    },
    /// A data set is named beside the one that is shown.
    #[error("{} is itself a data set: --dataset {} would not be read", folder.display(), dataset.display())]
    TwoDatasets {
        /// What is shown.
        folder: PathBuf,
        /// What is named beside it.
        dataset: PathBuf,
    },
    /// A JSON file does not say what is expected.
    #[error("{} cannot be understood", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Error {
    /// What to do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Data(error) => error.hint(),
            Self::NotARun { .. } | Self::NotThere { .. } => Some(
                "give the folder that `retort train --run` wrote; a protocol's folder or a data set is shown alone"
                    .to_owned(),
            ),
            Self::TwoDatasets { folder, .. } => Some(format!(
                "--dataset says where the images of runs are: leave it out to show {}, or give the folders of runs",
                folder.display()
            )),
            Self::NoRuns | Self::Json { .. } => None,
        }
    }
}
