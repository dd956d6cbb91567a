//! The `retort` binary.

use std::process::ExitCode;

use clap::Parser;
use retort::cli::Cli;
use retort::{commands, failure};

fn main() -> ExitCode {
    match commands::run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => failure::report(&error, &failure::Light),
    }
}
