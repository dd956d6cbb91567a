//! The `retort-torch` binary: the commands that compute, started by `retort` with its own arguments.

mod encode;
mod eval;
mod failures;
mod probe;
mod protocol;
mod settings;
mod teach;
mod train;

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Parser;
use retort::cli::{Cli, Command};
use retort::failure;
use retort::progress::Terminal;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Encode(options) = &cli.command {
        // Nothing is kept that Ctrl-C could cost: it ends it as ever.
        return ended(encode::run(options));
    }
    let terminal = Terminal::new(cli.quiet);
    ended(match cli.command {
        Command::Teach(options) => teach::run(&options, &terminal),
        Command::Train(options) => train::run(&options, &terminal),
        Command::Eval(options) => eval::run(&options, &terminal),
        Command::Probe(options) => probe::run(&options, &terminal),
        Command::Protocol(options) => protocol::run(&options, &terminal),
        _ => Err(anyhow!("retort-torch is the part of retort that computes: run retort")),
    })
}

fn ended(done: Result<ExitCode>) -> ExitCode {
    match done {
        Ok(code) => code,
        Err(error) => failure::report(&error, &failures::Torch),
    }
}
