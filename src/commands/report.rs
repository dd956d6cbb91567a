//! `retort report`.

use std::process::ExitCode;

use anyhow::Result;
use retort_report::write_report;

use super::print;
use crate::cli::Report;
use crate::progress::Terminal;
use crate::tabulate::bytes;

pub fn run(options: &Report, terminal: &Terminal) -> Result<ExitCode> {
    let page = write_report(&options.runs, options.dataset.as_deref(), &options.out)?;
    for missing in &page.missing {
        terminal.say(missing);
    }
    terminal.say(&format!("report: {} runs, {} images, {}", page.runs, page.images, bytes(page.bytes as u64)));
    print(&format!("{}\n", options.out.display()))?;
    Ok(ExitCode::SUCCESS)
}
