//! A page over training runs: what they are, how well they answer, how they learnt, and what they say to a few samples.
//!
//! ```text
//! RUN/run.json                  what was trained on what           \
//! RUN/metrics.parquet           learning curves                     \     one HTML file:
//! RUN/evaluation-<split>.json   accuracy, floors, question types     >    no scripts, no network,
//! RUN/predictions-*.parquet     answers to single samples           /     images inside
//! RUN/selection.parquet         words that token selection chose   /
//! DATASET/                      the images of those samples       /
//! ```
//!
//! Everything on the page is computed from these files, so the same files give the same page, byte for byte. What a run
//! does not have, such as scores before its end, becomes a sentence on the page.

mod charts;
mod error;
mod examples;
mod load;
mod page;
mod plot;
mod samples;
mod svg;
mod text;

use std::path::{Path, PathBuf};

use retort_cache::{Dataset, write_atomic};

pub use error::{Error, Result};

/// What a report holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportSummary {
    /// Runs on the page.
    pub runs: usize,
    /// Those of them with scores on at least one split.
    pub evaluated: usize,
    /// Samples shown with their image.
    pub images: usize,
    /// Size of the page in bytes.
    pub bytes: usize,
    /// The sentences that stand on the page for what is missing.
    pub missing: Vec<String>,
}

/// Writes one self-contained HTML page over `runs`.
///
/// Images come from `dataset`; without it, from the data set that the first run names, if it is still there.
///
/// # Errors
/// [`Error::NoRuns`], [`Error::NotARun`]; [`Error::Data`] and [`Error::Json`] if a file of a run is damaged or of
/// another version, or the page cannot be written. Anything merely missing is told on the page.
pub fn write_report(runs: &[PathBuf], dataset: Option<&Path>, out: &Path) -> Result<ReportSummary> {
    let runs = load::load(runs)?;
    let given = dataset.map_or_else(|| PathBuf::from(&runs[0].info.dataset), Path::to_owned);
    let page = page::build(&runs, Dataset::open(&given));
    write_atomic(out, page.html.as_bytes())?;
    Ok(ReportSummary {
        runs: runs.len(),
        evaluated: runs.iter().filter(|run| !run.evaluations.is_empty()).count(),
        images: page.images,
        bytes: page.html.len(),
        missing: page.missing,
    })
}
