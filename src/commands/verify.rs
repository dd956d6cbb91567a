//! `retort verify`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use retort_cache::{Quarantine, Verification, quarantine, verify};

use super::{print, print_json};
use crate::cli::{SummaryFormat, Verify};
use crate::failure;
use crate::progress::Terminal;
use crate::tabulate::bytes;

pub fn run(options: &Verify, terminal: &Terminal) -> Result<ExitCode> {
    let found = verify(&options.dataset, terminal, terminal.interrupt())?;
    let aside = if options.quarantine { Some(quarantine(&options.dataset, &found)?) } else { None };
    match options.format {
        SummaryFormat::Json => {
            let mut value = serde_json::to_value(&found).context("cannot print what was found")?;
            if let Some(aside) = &aside {
                value["quarantine"] = serde_json::to_value(aside).context("cannot print what was moved")?;
            }
            print_json(&value)?;
        }
        SummaryFormat::Table => print(&text(&found, aside.as_ref()))?,
    }
    let damaged = aside.map_or(!found.damages.is_empty(), |aside| !aside.left.is_empty());
    Ok(if damaged { ExitCode::from(failure::NO) } else { ExitCode::SUCCESS })
}

fn text(found: &Verification, aside: Option<&Quarantine>) -> String {
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
    for moved in aside.map_or(&[][..], |aside| &aside.moved) {
        let to =
            moved.to.as_ref().map_or("no longer in the manifest".to_owned(), |to| format!("moved to {}", to.display()));
        text.push_str(&format!("{}: {to}\n", moved.from.display()));
    }
    for left in aside.map_or(&[][..], |aside| &aside.left) {
        text.push_str(&format!("{}: left as it is: {}\n", left.file.display(), left.advice));
    }
    if aside.is_some_and(|aside| !aside.moved.is_empty()) {
        text.push_str("run `retort teach` again to compute what was moved aside\n");
    }
    text
}
