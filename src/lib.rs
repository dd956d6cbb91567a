//! The command line over the crates: what both binaries share.
//!
//! ```text
//! retort         ingest, summary, verify, cache, export, sql, report, demo    starts at once, needs no libtorch
//!    |
//!    \-- execs --> retort-torch    teach, train, eval, protocol    loading libtorch alone takes 0.2 s and 125 MiB
//!    |
//!    \-- sql starts --> retort-torch encode    where a search is asked for a text or an image; a line of JSON each way
//! ```
//!
//! stdout is data, stderr is progress and hints. Exit codes: 0 done, 1 the answer is no, 2 error, 130 interrupted with
//! everything finished so far kept.

pub mod cli;
pub mod commands;
#[cfg(feature = "torch")]
pub mod encoding;
pub mod failure;
pub mod progress;
pub mod tabulate;
