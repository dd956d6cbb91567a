//! One module a command: it calls the crates and prints what they say.

mod convert;
#[cfg(feature = "torch")]
mod demo;
#[cfg(feature = "torch")]
mod eval;
mod ingest;
mod report;
mod sql;
mod summary;
#[cfg(feature = "torch")]
mod teach;
#[cfg(feature = "torch")]
mod train;
mod verify;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cli::Command;
use crate::progress::Terminal;

/// Runs a command.
pub fn run(command: Command, terminal: &Terminal) -> Result<ExitCode> {
    match command {
        Command::Ingest(source) => ingest::run(*source, terminal),
        #[cfg(feature = "torch")]
        Command::Teach(options) => teach::run(&options, terminal),
        Command::Convert(options) => convert::run(&options, terminal),
        Command::Summary(options) => summary::run(&options),
        Command::Verify(options) => verify::run(&options, terminal),
        Command::Sql(options) => sql::run(&options),
        #[cfg(feature = "torch")]
        Command::Train(options) => train::run(&options, terminal),
        #[cfg(feature = "torch")]
        Command::Eval(options) => eval::run(&options, terminal),
        Command::Report(options) => report::run(&options, terminal),
        #[cfg(feature = "torch")]
        Command::Demo(options) => demo::run(&options, terminal),
    }
}

/// Writes data to stdout.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to stdout")
}

/// Writes JSON to stdout.
fn print_json(value: &Value) -> Result<()> {
    print(&format!("{value:#}\n"))
}
