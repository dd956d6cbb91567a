//! Protocols: arms x conditions x seeds, carried out as one job that can be stopped anywhere, and compared honestly.
//!
//! ```text
//! PROTOCOL.toml --> file (what) --> plan (cells and runs; objections) --> work (slots, processes, failures)
//!                                                                            |
//!                    results (parquet, Markdown) <-- table (gains) <-- runs/ARM-SHOTS-seedN-HASH/
//! ```
//!
//! A run's folder is named after a hash of what decides it in its resolved recipe, so a changed protocol finds the runs
//! that the change does not touch, and two conditions that differ in what is tested share their runs. Nothing else is
//! kept of what was done: the folders of the runs say it.

mod estimate;
mod file;
mod gains;
mod part;
mod plan;
mod processes;
mod results;
mod statistics;
mod table;
#[cfg(test)]
mod tests;
mod work;

use std::path::PathBuf;

use retort_schemas::protocol::Failure;

pub use estimate::{Estimate, estimate};
pub use file::{ArmEntry, Condition, Protocol};
pub use part::Part;
pub use plan::{Cell, Missing, Plan, PlannedRun};
pub use processes::Processes;
pub use results::duration;
pub use table::{Gain, Row, Section};
pub use work::{Doing, Ended, Site, Slot, Worker, carry_out};

use crate::Result;

/// What came out of a protocol.
#[derive(Debug, Clone)]
pub struct Results {
    /// The comparison, by condition and split.
    pub sections: Vec<Section>,
    /// The same as Markdown, as `results.md` has it.
    pub markdown: String,
    /// Folders of the runs that are scored.
    pub scored: Vec<PathBuf>,
}

/// Compares what is done of a plan, and writes `results.parquet`, `predictions.parquet`, `gains.parquet` and `results.md`.
///
/// # Errors
/// If a file of a run is damaged, or a file cannot be written.
pub fn conclude(protocol: &Protocol, plan: &Plan, failures: &[Failure], out: &std::path::Path) -> Result<Results> {
    let scored = results::gather(plan, out)?;
    results::write_tables(protocol, plan, &scored, out)?;
    let sections = table::sections(protocol, plan, &scored)?;
    gains::write_gains(&sections, out)?;
    let markdown = results::write_markdown(protocol, plan, &sections, failures, out)?;
    let mut folders: Vec<PathBuf> = scored.iter().map(|scored| plan.runs[scored.run].path(out)).collect();
    folders.dedup();
    Ok(Results { sections, markdown, scored: folders })
}
