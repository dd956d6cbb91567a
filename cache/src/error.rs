//! What can go wrong between disk and memory.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of reading, writing and matching files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: `read`, `write`, ...
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A folder holds no data set.
    #[error("{} is not a data set: it has no {file}", path.display())]
    NotADataset {
        /// The folder.
        path: PathBuf,
        /// The file that is missing.
        file: &'static str,
    },
    /// A folder holds the tables of a data set, and no manifest that names them.
    #[error("{} is damaged: it has tables but no {file}", path.display())]
    NoManifest {
        /// The folder.
        path: PathBuf,
        /// The file that is missing.
        file: &'static str,
    },
    /// Bytes differ from their checksum.
    #[error("{} is damaged: {what} does not match its checksum (stored {expected}, computed {found})", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which part: a column, the footer, the manifest.
        what: String,
        /// The stored checksum.
        expected: String,
        /// The checksum of the bytes.
        found: String,
    },
    /// A file is missing, cut, or not the one that the manifest describes.
    #[error("{} is damaged: {problem}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A manifest is intact but does not say what is expected.
    #[error("{} cannot be understood: {problem}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Version, type or vector description is wrong.
    #[error("{}: {source}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        source: retort_schemas::Error,
    },
    /// Parquet could not encode or decode.
    #[error("parquet failed on {}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: ParquetError,
    },
    /// Arrow could not build or cast a column.
    #[error("arrow failed on {}", path.display())]
    Arrow {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: arrow::error::ArrowError,
    },
    /// A column is missing or of another type.
    #[error("column {column:?} {problem}")]
    Column {
        /// The column.
        column: String,
        /// What is wrong.
        problem: String,
    },
    /// Feature rows do not belong to the rows they lie beside.
    #[error("row {row} of {table} in shard {shard} belongs to {found}, expected {expected}")]
    Misaligned {
        /// The table.
        table: String,
        /// The shard.
        shard: String,
        /// First row that differs.
        row: usize,
        /// The id in the data set.
        expected: String,
        /// The id in the feature file.
        found: String,
    },
    /// A cache does not belong to this data set.
    #[error("{} was made for another data set: {problem}", path.display())]
    ForeignCache {
        /// The teacher's folder.
        path: PathBuf,
        /// Where they differ.
        problem: String,
    },
    /// No such teacher in the cache.
    #[error("{} has no teacher {name:?}; it has {known}", path.display())]
    NoTeacher {
        /// The data set.
        path: PathBuf,
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Several caches of one name and the caller did not say which.
    #[error("{} has several teachers named {name:?}: {known}", path.display())]
    AmbiguousTeacher {
        /// The data set.
        path: PathBuf,
        /// The name asked for.
        name: String,
        /// `name@fingerprint8` of each teacher of the data set.
        known: String,
    },
    /// A split exists already, whole or made with other options.
    #[error("split {split:?} of {} {problem}", path.display())]
    SplitExists {
        /// The data set.
        path: PathBuf,
        /// The split.
        split: String,
        /// Why it cannot be written.
        problem: String,
    },
    /// No such split.
    #[error("{} has no split {split:?}; it has {known}", path.display())]
    NoSplit {
        /// The data set.
        path: PathBuf,
        /// The name asked for.
        split: String,
        /// The names there are.
        known: String,
    },
    /// Another process writes here.
    #[error("{} is being written by process {holder}", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
        /// Its process id, as it wrote it down.
        holder: String,
    },
    /// Two data sets, or two caches, that were to be the same are not.
    #[error("{} differs from {}: {problem}", path.display(), other.display())]
    Differs {
        /// The one that was to be like `other`.
        path: PathBuf,
        /// The other.
        other: PathBuf,
        /// Where they differ; names the shard.
        problem: String,
    },
    /// A folder to export into holds something.
    #[error("{} is not empty", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// A teacher has no features of the kind that an export needs.
    #[error("{} cannot be exported: {problem}", path.display())]
    NotExportable {
        /// The teacher's folder.
        path: PathBuf,
        /// What is missing.
        problem: String,
    },
    /// A vector cannot be stored as the store option wants it.
    #[error("row {row} cannot be stored with a bound on its cosine: {problem}")]
    Inexpressible {
        /// The first such row.
        row: usize,
        /// Why.
        problem: String,
    },
    /// A teacher would be stored finer than it is.
    #[error("teacher {name} is stored as {from}: as {to} it takes more room, and what is lost does not come back")]
    Coarser {
        /// `name@fingerprint8`.
        name: String,
        /// How it is stored.
        from: String,
        /// How it was to be.
        to: String,
    },
    /// The user asked to stop.
    #[error("interrupted; everything finished so far is kept")]
    Interrupted,
}

impl Error {
    /// What to do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotADataset { .. } => "make one with `retort ingest`, or check the path",
            Self::NoManifest { .. } => {
                "restore a copy of it, or run the same `retort ingest` again: one that was killed in its first shard leaves this"
            }
            Self::AmbiguousTeacher { name, known, .. } => return Some(choices(name, known)),
            Self::Damaged { .. } | Self::Broken { .. } => {
                "`retort verify` lists all damage of a data set, and with --quarantine sets features aside to be made again; of anything else, restore a copy or run again what wrote it"
            }
            Self::Schema { .. } => "use the retort release that wrote it, or make it again with this one",
            Self::Misaligned { .. } | Self::ForeignCache { .. } => {
                "a cache belongs to the data set it was made from: remove it with `retort cache rm` and run `retort teach` here"
            }
            Self::NoTeacher { .. } => "make its features with `retort teach DATASET --teacher NAME=MODEL_FOLDER`",
            Self::SplitExists { .. } => {
                "use the options it was begun with, another name for the split, or --force to replace it"
            }
            Self::Locked { .. } => "wait for it, or stop it",
            Self::Differs { .. } => {
                "make the features there with `retort teach`; `retort cache rm` removes what is in the way"
            }
            Self::NotEmpty { .. } => "choose another folder, or use --force to replace an earlier export",
            Self::Inexpressible { .. } => "store this teacher as f32, f16 or bf16",
            Self::Coarser { .. } => "convert from a finer one, or run `retort teach` with the store that is wanted",
            Self::Interrupted => "run the same command again to continue",
            Self::Io { source, .. } if is_full(source) => {
                "make room and run the same command again: what was committed is kept"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// An [`Error::Io`], for `map_err`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// An [`Error::Parquet`], or what the operating system said below it, for `map_err`.
    pub(crate) fn parquet(path: &Path) -> impl Fn(ParquetError) -> Self {
        let path = path.to_owned();
        move |error| match error {
            ParquetError::External(below) => match below.downcast() {
                Ok(source) => Self::Io { action: "read or write", path: path.clone(), source: *source },
                Err(below) => Self::Parquet { path: path.clone(), source: ParquetError::External(below) },
            },
            source => Self::Parquet { path: path.clone(), source },
        }
    }

    /// An [`Error::Arrow`], for `map_err`.
    pub fn arrow(path: &Path) -> impl Fn(arrow::error::ArrowError) -> Self {
        let path = path.to_owned();
        move |source| Self::Arrow { path: path.clone(), source }
    }
}

/// What to type in the place of a teacher's name that several have, out of all that there are.
fn choices(name: &str, known: &str) -> String {
    let mine = known.split(", ").filter(|known| known.rsplit_once('@').is_some_and(|(first, _)| first == name));
    format!(
        "say which instead of {name}: {}; `retort cache ls` tells them apart",
        mine.collect::<Vec<_>>().join(" or ")
    )
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}
