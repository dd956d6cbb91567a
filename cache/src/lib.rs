//! Checked, atomic, resumable I/O of data sets and feature caches.
//!
//! Everything that reads or writes a table or a manifest goes through this crate, so that three promises hold
//! everywhere: a file appears whole or not at all; no byte is used before its checksum was checked; the same input
//! gives the same bytes, however often the work was interrupted.
//!
//! ```text
//!            batches                               batches          rows, in the caller's memory
//!               |                                     ^                   ^           ^
//!   write: encode pages, sum up each        read_table: decode     take: pages   stream: shards ahead
//!               |                                     ^                   ^           ^
//!   pages, then a footer with their sums    +-- check each page against the footer ---+
//!               |                           |
//!   sync, rename, sync the folder           check the footer against the manifest
//!               |                           |
//!   TableFile (rows, footer's sum) -->      manifest (sealed JSON, written last)
//! ```
//!
//! * [`Dataset`] opens a data set and finds its teachers; [`DatasetWriter`] adds splits shard by shard. Manifests are in
//!   parts, of which [`Shards`] has one in hand at a time.
//! * [`TeacherCache`] holds the features of one teacher; [`TeacherWriter`] adds them shard by shard.
//! * [`read_table`] and [`write_table`] move one file; [`vectors`] turns vector columns into floats and back,
//!   [`codes`] floats into integer codes that keep a cosine; [`convert()`] stores a teacher's features in another way.
//! * [`Dataset::read_rows`] and [`TeacherCache::read_rows`] decode some rows of a table, whatever its columns are.
//! * A [`Reader`] of a [`Source`] takes rows of any shards ([`Reader::take`]) or shuffles all of them ([`Stream`]);
//!   [`Ahead`] does any work on shards ahead of its user.
//! * [`verify()`] checks every byte; [`Summary`] tells what is there from the manifests and the names of files.
//! * [`VectorScan`] hands over the vectors of whole shards row by row; [`WordTeachers`] and [`word_embeddings`] tell what
//!   teachers say of words.
//! * [`list_teachers`], [`remove_teacher`], [`copy_teacher`], [`compare_teachers`] and [`quarantine()`] manage whole caches.
//! * [`export()`] writes a teacher's features in the layouts of other tools.
//!
//! Parallel work is on the caller's side: the writers take finished shards in order.

mod ahead;
mod checksums;
pub mod codes;
mod convert;
mod dataset;
mod error;
mod export;
mod files;
mod floats;
#[doc(hidden)]
pub mod fuzzing;
mod halves;
mod lock;
mod manage;
mod measure;
mod open;
mod pages;
mod parts;
mod plain;
mod progress;
mod read;
mod reader;
mod rows;
mod scan;
mod seal;
mod source;
mod stream;
mod summary;
mod table;
mod teacher;
mod vector;
pub mod vectors;
mod verify;
mod words;
mod write;

pub use ahead::{Ahead, Bounds};
pub use convert::{Conversion, convert};
pub use dataset::{Dataset, DatasetWriter, SplitPlan};
pub use error::{Error, Result};
pub use export::{Export, ExportFormat, Exported, export};
pub use files::{create_folder, read_text, remove_temporaries, write_atomic};
pub use manage::{
    ColumnComparison, Comparison, Copied, Left, Listing, Moved, Quarantine, Removed, TableListing, compare_teachers,
    copy_teacher, list_teachers, quarantine, remove_teacher,
};
pub use parts::Shards;
pub use plain::{read_plain_table, write_plain_table};
pub use progress::{Interrupt, Progress, Quiet};
pub use read::{Columns, column, read_table, take_ids};
pub use reader::Reader;
pub use rows::RowsRead;
pub use scan::VectorScan;
pub use source::{RowBytes, Rows, Source};
pub use stream::{Position, Stream, StreamOptions};
pub use summary::{
    Duplicates, Gone, MODEL_PLACEHOLDER, Missing, MissingTable, NormQuantiles, ReadSummary, RejectCount, SplitSummary,
    Summary, TableSummary, TeacherSummary, VectorSummary,
};
pub use teacher::{TeacherCache, TeacherWriter, fingerprint, teachers_of};
pub use vector::StoredVector;
pub use verify::{Damage, Verification, verify};
pub use words::{WordTeachers, names_object, word_embeddings};
pub use write::write_table;
