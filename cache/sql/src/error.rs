//! What can go wrong between a question and its answer.

use std::path::PathBuf;

use datafusion::common::DataFusionError;

use crate::options::bytes_in_words;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of opening a folder, asking a question and writing the answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or manifest could not be read, or is damaged.
    #[error(transparent)]
    Data(#[from] retort_cache::Error),
    /// The folder holds neither a data set nor a run nor results of a protocol.
    #[error("{} is neither a data set nor a run nor a protocol: it has no dataset.json, metrics.parquet, predictions or results.parquet", path.display())]
    NothingToAsk {
        /// The folder.
        path: PathBuf,
    },
    /// There is no such folder.
    #[error("there is no folder {}", path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A query names a table that does not exist.
    #[error("there is no table {table}; there are {known}")]
    UnknownTable {
        /// The name asked for.
        table: String,
        /// The names there are.
        known: String,
    },
    /// A query calls a table function that does not exist.
    #[error("there is no table function {function}; there are {known}")]
    UnknownFunction {
        /// The name called.
        function: String,
        /// The names there are.
        known: String,
    },
    /// A statement that does not ask but do.
    #[error("{statement} is refused: only queries are answered (SELECT, WITH, EXPLAIN, SHOW, DESCRIBE)")]
    NotAQuery {
        /// Its first words.
        statement: String,
    },
    /// A clause that the answer would not heed.
    #[error("{clause} is refused: the query would be answered as if it were not there")]
    Ignored {
        /// The clause.
        clause: &'static str,
    },
    /// A statement that reads or writes files outside of the folder, where that is not allowed.
    #[error("{statement} is refused: it {what} outside of what was opened, which takes --allow-external")]
    Outside {
        /// Its first words.
        statement: String,
        /// Whether it reads or writes.
        what: &'static str,
    },
    /// A file that an answer cannot be copied to.
    #[error("cannot copy to {target}: {problem}")]
    Copy {
        /// The file.
        target: String,
        /// Why not.
        problem: String,
    },
    /// A file of text that is read as a table does not hold one.
    #[error("{files} cannot be read: {problem}")]
    Unreadable {
        /// The files that the statement reads; it is one of them.
        files: String,
        /// What is wrong.
        problem: String,
    },
    /// There is no statement at all.
    #[error("there is no query in {found:?}")]
    NoQuery {
        /// The text.
        found: String,
    },
    /// A Parquet file holds one result.
    #[error("{statements} statements do not fit into one Parquet file")]
    OneResultOnly {
        /// How many there are.
        statements: usize,
    },
    /// No vector can be made of a text or an image that `nearest` is asked for: what a [`crate::QueryEncoder`] may say, to
    /// have its hint told and the query pointed at.
    #[error("nearest cannot make a vector of {query:?}: {problem}")]
    NotEncoded {
        /// The text, or the path.
        query: String,
        /// Why not.
        problem: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// A stop was asked for.
    #[error("stopped before all was answered")]
    Interrupted,
    /// DataFusion could not understand or answer the query. Its message is this error's message, not a cause of it.
    #[error("{}", plain(.0))]
    Query(Box<DataFusionError>),
    /// Another error, and where in the query it is.
    #[error("{error}\n{excerpt}")]
    Pointed {
        /// What is wrong.
        error: Box<Error>,
        /// The line of the query, and marks under the word.
        excerpt: String,
    },
    /// A query needs more memory than it may have.
    #[error("the query needs more than the memory limit of {}{}: {problem}", bytes_in_words(*limit), match spill_folder {
        Some(folder) => format!(", and what it would put into {} is not enough", folder.display()),
        None => String::new(),
    })]
    OverLimit {
        /// The limit.
        limit: usize,
        /// Where it may put what does not fit.
        spill_folder: Option<PathBuf>,
        /// What asked for more, in DataFusion's words.
        problem: String,
    },
    /// The answer could not be put into the wanted format.
    #[error("the answer cannot be written as {format}")]
    Encode {
        /// The format.
        format: super::Format,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer could not be written.
    #[error("cannot write the answer")]
    Write(#[source] std::io::Error),
    /// The runtime did not start.
    #[error("cannot start the threads that answer queries")]
    Runtime(#[source] std::io::Error),
    /// A word that names a format is unknown.
    #[error("unknown format {found:?}: expected table, csv, json, ndjson or parquet")]
    UnknownFormat {
        /// The word found.
        found: String,
    },
}

impl Error {
    /// What to do next, where there is something better than reading the message again.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Data(error) => return error.hint(),
            Self::Pointed { error, .. } => return error.hint(),
            Self::Query(error) => match error.find_root() {
                DataFusionError::External(error) => {
                    let own = || error.downcast_ref().and_then(Self::hint);
                    return error.downcast_ref().and_then(retort_cache::Error::hint).or_else(own);
                }
                DataFusionError::SchemaError(..) => "DESCRIBE <table> lists the columns of a table",
                DataFusionError::SQL(error, _) if stumbles_over_a_sign(&error.to_string()) => {
                    "names with other characters than a-z, 0-9 and _ need \"double quotes\""
                }
                _ => return None,
            },
            Self::NotEncoded { hint, .. } => return hint.clone(),
            Self::NothingToAsk { .. } => {
                "give the folder that `retort ingest`, `retort train` or `retort protocol` wrote"
            }
            Self::OverLimit { spill_folder: None, .. } => {
                "let it write to a disk what does not fit, with --spill-dir DIR, or give more with --memory-limit"
            }
            Self::OverLimit { .. } => {
                "give more with --memory-limit; each core holds a shard of the columns that are read, and its part of a sort"
            }
            Self::UnknownTable { .. } => "SHOW TABLES lists the tables; a teacher's are <teacher>.<table>",
            Self::Outside { .. } => {
                "give the flag (from Rust, Options::allow_external) if the query is yours; to write an answer to a file without it: --format parquet > FILE"
            }
            Self::Ignored { clause: "TABLESAMPLE" } => "WHERE random() < 0.1 keeps about every tenth row",
            Self::NotAQuery { .. } => "to write an answer to a file: --format parquet > FILE",
            Self::OneResultOnly { .. } => "ask one at a time, or use another format",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::External(root) if matches!(root.downcast_ref(), Some(Self::Interrupted)) => {
                Self::Interrupted
            }
            _ => Self::Query(Box::new(error)),
        }
    }
}

/// The words of an error that is about memory.
pub(crate) fn memory_problem(error: &DataFusionError) -> Option<String> {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => Some(plain(error)),
        _ => None,
    }
}

/// The innermost error in words: neither layers, nor DataFusion's own prefixes, nor a backtrace.
fn plain(error: &DataFusionError) -> String {
    match error.find_root() {
        DataFusionError::External(error) => {
            let mut words = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                let reason = error.to_string();
                if !words.ends_with(&reason) {
                    words = format!("{words}: {reason}");
                }
                cause = error.source();
            }
            words
        }
        // The place is pointed at.
        DataFusionError::SQL(error, _) => {
            let words = error.to_string();
            let words = words.strip_prefix("sql parser error: ").unwrap_or(&words);
            crate::point::without_place(words).to_owned()
        }
        root => {
            let message = root.message().into_owned();
            let message = message.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or_default();
            of_function(message).unwrap_or(message).to_owned()
        }
    }
}

/// Whether a query was understood up to a sign that may have been meant as part of a name.
fn stumbles_over_a_sign(message: &str) -> bool {
    let found = message.split_once(", found: ").map_or("", |(_, found)| found);
    found.chars().next().is_some_and(|first| !first.is_alphanumeric() && !"'\"();,".contains(first))
}

/// What a function said of its arguments, out of the words that DataFusion puts around it. These are all that tells: tests hold
/// them.
pub(crate) fn of_function(message: &str) -> Option<&str> {
    let (_, said) = message.split_once("user-defined coercion failed with: Error during planning: ")?;
    said.split(" No function matches").next()?.lines().next().map(|said| said.trim().trim_end_matches('.'))
}
