//! Pages that show training runs, a protocol or a data set: of runs, what they are, how well they answer, how they learnt,
//! and what they say to a few samples; of a data set, what is in it and how its teachers see it (`dataset`).
//!
//! ```text
//! RUN/run.json                  what was trained on what           \
//! RUN/metrics.parquet           learning curves                     \     one HTML file:
//! RUN/evaluation-<split>.json   accuracy, floors, question types     >    no scripts, no network,
//! RUN/predictions-*.parquet     answers to single samples           /     images inside
//! RUN/selection.parquet         words that token selection chose   /
//! RUN/confidence.parquet        how sure the teachers' probe is   /
//! PROTOCOL/gains.parquet        arms compared by condition       /
//! DATASET/                      the images of those samples     /
//!
//! DATASET/                      samples, labels, rejects, sizes  \  another such file
//! DATASET/cache/<teacher>/      norms, projections, neighbours   /
//! ```
//!
//! Everything on the page is computed from these files, so the same files give the same page, byte for byte. What a run
//! does not have, such as scores before its end, becomes a sentence on the page.

mod changed;
mod charts;
mod comparison;
mod confusion;
mod dataset;
mod error;
mod examples;
mod joint;
mod load;
mod page;
mod pictures;
mod plot;
mod protocol;
mod runs;
mod samples;
mod svg;
mod text;
mod types;
mod weights;

use std::path::{Path, PathBuf};

use retort_cache::{Dataset, write_atomic};

pub use error::{Error, Result};

/// What a report holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportSummary {
    /// Runs on the page; none on that of a data set.
    pub runs: usize,
    /// Those of them with scores on at least one split.
    pub evaluated: usize,
    /// Images shown.
    pub images: usize,
    /// Size of the page in bytes.
    pub bytes: usize,
    /// The sentences that stand on the page for what is missing.
    pub missing: Vec<String>,
}

/// Writes one self-contained HTML page over `folders`: runs, or one protocol's folder, or one data set.
///
/// Images come from `dataset`; without it, from the data set that the first run names, if it is still there. The page of a
/// data set takes them from there.
///
/// # Errors
/// [`Error::NoRuns`], [`Error::NotThere`], [`Error::NotARun`]; [`Error::TwoDatasets`] if a data set is shown and `dataset` names another; [`Error::Data`] and [`Error::Json`] if a file of a run or of the data set that
/// is shown is damaged or of another version, or the page cannot be written. Anything merely missing is told on the page.
pub fn write_report(folders: &[PathBuf], dataset: Option<&Path>, out: &Path) -> Result<ReportSummary> {
    let open = |runs: &[load::Run]| {
        let named = runs.first().map(|run| PathBuf::from(&run.info.dataset));
        Dataset::open(dataset.unwrap_or(&named.unwrap_or_default()))
    };
    let (page, runs, evaluated) = match folders {
        [folder] if dataset::is_there(folder) => match dataset {
            Some(dataset) => return Err(Error::TwoDatasets { folder: folder.clone(), dataset: dataset.to_owned() }),
            None => (dataset::build(folder)?, 0, 0),
        },
        [folder] if protocol::is_there(folder) => protocol::build(folder, &open)?,
        _ => {
            let runs = load::load(folders)?;
            let evaluated = runs.iter().filter(|run| !run.evaluations.is_empty()).count();
            (runs::build(&runs, open(&runs)), runs.len(), evaluated)
        }
    };
    write_atomic(out, page.html.as_bytes())?;
    Ok(ReportSummary { runs, evaluated, images: page.images, bytes: page.html.len(), missing: page.missing })
}
