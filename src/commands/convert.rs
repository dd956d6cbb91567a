//! `retort convert`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use retort_cache::{Dataset, convert};

use super::{print, print_json};
use crate::cli::{Convert, SummaryFormat};
use crate::progress::Terminal;

pub fn run(options: &Convert, terminal: &Terminal) -> Result<ExitCode> {
    let dataset = Dataset::open(&options.dataset)?;
    let (name, interrupt) = (&options.teacher, terminal.interrupt());
    let done = convert(&dataset, name, options.store, options.finer, terminal, interrupt)?;
    match options.format {
        SummaryFormat::Json => print_json(&serde_json::to_value(&done).context("cannot print what was done")?)?,
        SummaryFormat::Table => {
            let kept = if done.kept > 0 { format!(", {} were there", done.kept) } else { String::new() };
            print(&format!("{} to {}: {} shards converted{kept}\n", done.from, done.to, done.converted))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
