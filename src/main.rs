//! The `retort` binary.

use std::process::ExitCode;

use clap::Parser;
use retort::cli::Cli;
use retort::progress::Terminal;
use retort::{commands, failure};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let terminal = Terminal::new(cli.quiet);
    match commands::run(cli.command, &terminal) {
        Ok(code) => code,
        Err(error) => failure::report(&error, &failure::Light),
    }
}
