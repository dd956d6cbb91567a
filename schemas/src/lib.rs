//! Names, types and versions of everything that retort writes to disk.
//!
//! The one home of column names, file versions and manifest fields. Nothing here touches a file: the crate above this
//! one, `cache`, reads and writes what is described here.
//!
//! ```text
//! DATASET/
//!   dataset.json                    manifest::DatasetManifest
//!   manifest/train-00000-SEAL.json  parts::PartFile     full runs of shards
//!   images/train-00000.parquet      tables::images
//!   regions/train-00000.parquet     tables::regions     row i belongs to row i of images/; where there are objects
//!   texts/train-00000.parquet       tables::texts
//!   samples/train-00000.parquet     tables::samples     points at rows of the two above
//!   rejects/train-00000.parquet     tables::rejects
//!   cache/<teacher>@<fingerprint8>/
//!     teacher.json                  manifest::TeacherManifest
//!     manifest/train-00000-SEAL.json parts::PartFile
//!     images/train-00000.parquet    features::images    row i belongs to row i of images/
//!     patches/train-00000.parquet   features::patches   row i belongs to row i of images/; where they were asked for
//!     texts/train-00000.parquet     features::texts     row i belongs to row i of texts/
//!     tokens/train-00000.parquet    features::tokens    row i belongs to row i of texts/
//!     words/train-00000.parquet     features::words     the words that first appear in this shard
//! RUN/
//!   metrics.parquet                 runs::metrics
//!   selection.parquet               runs::selection
//!   predictions-test.parquet        runs::predictions
//! PROTOCOL/
//!   results.parquet                 protocol::runs
//!   predictions.parquet             protocol::predictions
//! ```

pub mod answers;
pub mod features;
pub mod histogram;
pub mod manifest;
pub mod parts;
pub mod protocol;
pub mod runs;
pub mod selection;
mod store;
pub mod sums;
pub mod tables;
pub mod tokens;
mod vector;
mod version;
pub mod words;

pub use store::{Bound, Store};
pub use vector::{Code, DTYPE_KEY, Dtype, Layout, SCALE_KEY, VectorType, WIDTH_KEY, WORST_COSINE_KEY, scale_column};
pub use version::{SCHEMA_KEY, SchemaVersion};

/// Bytes of an image or text id: the first 16 of the blake3 hash of the source bytes.
pub const ID_BYTES: i32 = 16;

/// What can be wrong with names, types and versions found in a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file carries no `retort:schema`, or one that cannot be read.
    #[error("expected the schema version {expected}, found {found:?}: this is not a file that retort wrote")]
    NoVersion {
        /// What this build writes.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// The file is of another major version.
    #[error("the file has version {found}, this retort reads {expected}: use the retort release that wrote it")]
    UnknownMajor {
        /// What this build writes.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// A column that should hold vectors does not say so.
    #[error("column {column:?} is not a vector column: {problem}")]
    NotAVector {
        /// The column's name.
        column: String,
        /// What is missing or wrong.
        problem: String,
    },
    /// A word that names an element type is unknown.
    #[error("unknown element type {found:?}: expected f32, f16 or bf16")]
    UnknownDtype {
        /// The word found.
        found: String,
    },
    /// A word that names a store option is unknown.
    #[error("unknown store {found:?}: expected f32, f16, bf16 or cos:BOUND, the bound above 0 and at most 0.99999")]
    UnknownStore {
        /// The word found.
        found: String,
    },
}
