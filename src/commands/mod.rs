//! One module a command: it calls the crates and prints what they say.

mod cache;
#[cfg(feature = "torch")]
mod compute;
mod convert;
#[cfg(feature = "torch")]
mod demo;
mod export;
mod ingest;
mod report;
mod shift;
mod sql;
mod summary;
mod verify;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cli::{Cli, Command};
use crate::progress::Terminal;

/// Runs a command.
///
/// # Errors
/// Those of the crates; [`crate::failure::report`] prints them.
pub fn run(cli: Cli) -> Result<ExitCode> {
    // Takes over Ctrl-C, which ends as ever what has nothing to finish first.
    let terminal = || Terminal::new(cli.quiet);
    match cli.command {
        Command::Ingest(source) => ingest::run(*source, &terminal()),
        Command::Shift(kind) => shift::run(kind, &terminal()),
        #[cfg(feature = "torch")]
        Command::Teach(_)
        | Command::Train(_)
        | Command::Eval(_)
        | Command::Probe(_)
        | Command::Protocol(_)
        | Command::Encode(_) => compute::run(),
        Command::Convert(options) => convert::run(&options, &terminal()),
        Command::Summary(options) => summary::run(&options),
        Command::Verify(options) => verify::run(&options, &terminal()),
        Command::Cache(command) => cache::run(&command, &terminal()),
        Command::Export(options) => export::run(&options, &terminal()),
        Command::Sql(options) => sql::run(&options),
        Command::Report(options) => report::run(&options, &terminal()),
        #[cfg(feature = "torch")]
        Command::Demo(options) => demo::run(&options, &terminal()),
    }
}

/// Writes data to stdout.
///
/// # Errors
/// If nobody reads it.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to stdout")
}

/// Writes JSON to stdout.
///
/// # Errors
/// As [`print()`].
pub fn print_json(value: &Value) -> Result<()> {
    print(&format!("{value:#}\n"))
}
