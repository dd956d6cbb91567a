//! `retort report`.

use std::process::ExitCode;

use anyhow::Result;
use retort_report::write_report;

use super::print;
use crate::cli::Report;
use crate::progress::Terminal;

pub fn run(options: &Report, terminal: &Terminal) -> Result<ExitCode> {
    write_report(&options.runs, options.dataset.as_deref(), &options.out)?;
    terminal.say("report: written");
    print(&format!("{}\n", options.out.display()))?;
    Ok(ExitCode::SUCCESS)
}
