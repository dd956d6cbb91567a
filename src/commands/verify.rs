//! `retort verify`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use retort_cache::verify;

use super::{print, print_json};
use crate::cli::{SummaryFormat, Verify};
use crate::failure;
use crate::progress::Terminal;
use crate::tabulate::bytes;

pub fn run(options: &Verify, terminal: &Terminal) -> Result<ExitCode> {
    let found = verify(&options.dataset, terminal, terminal.interrupt())?;
    match options.format {
        SummaryFormat::Json => print_json(&serde_json::to_value(&found).context("cannot print what was found")?)?,
        SummaryFormat::Table => {
            let mut text = String::new();
            for damage in &found.damages {
                let column = damage.column.as_ref().map_or(String::new(), |column| format!(" [{column}]"));
                text.push_str(&format!("{}{column}: {}\n", damage.file.display(), damage.problem));
            }
            let verdict = match found.damages.len() {
                0 => "whole".to_owned(),
                count => format!("{count} damaged"),
            };
            text.push_str(&format!("{} files, {} of tables: {verdict}\n", found.files, bytes(found.bytes)));
            print(&text)?;
        }
    }
    Ok(if found.damages.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(failure::NO) })
}
