//! The `retort` binary: the command line over the crates.
//!
//! stdout is data, stderr is progress and hints. Exit codes: 0 done, 1 the answer is no, 2 error, 130 interrupted with
//! everything finished so far kept.

mod cli;
mod commands;
mod failure;
mod progress;
mod tabulate;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::progress::Terminal;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let terminal = Terminal::new(cli.quiet);
    match commands::run(cli.command, &terminal) {
        Ok(code) => code,
        Err(error) => failure::report(&error),
    }
}
