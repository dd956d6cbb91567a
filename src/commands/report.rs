//! `retort report`.

use std::process::ExitCode;

use anyhow::Result;
use retort_report::write_report;
use retort_schemas::protocol::REPORT_FILE;

use super::print;
use crate::cli::Report;
use crate::progress::Terminal;
use crate::tabulate::bytes;

pub fn run(options: &Report, terminal: &Terminal) -> Result<ExitCode> {
    let usual = || options.folders.first().map(|folder| folder.join(REPORT_FILE));
    let out = options.out.clone().or_else(usual).unwrap_or_else(|| REPORT_FILE.into());
    let page = write_report(&options.folders, options.dataset.as_deref(), &out)?;
    for missing in &page.missing {
        terminal.say(missing);
    }
    let runs = if page.runs > 0 { format!("{} runs, ", page.runs) } else { String::new() };
    terminal.say(&format!("report: {runs}{} images, {}", page.images, bytes(page.bytes as u64)));
    print(&format!("{}\n", out.display()))?;
    Ok(ExitCode::SUCCESS)
}
