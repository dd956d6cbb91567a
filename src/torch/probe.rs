//! `retort probe`.

use std::process::ExitCode;

use anyhow::Result;
use retort_trainer::TextProbe;

use retort::cli::Probe;
use retort::commands::print;
use retort::progress::Terminal;
use retort::tabulate::percent;

pub fn run(options: &Probe, terminal: &Terminal) -> Result<ExitCode> {
    let probe = TextProbe { teacher: options.teacher.clone(), folds: options.folds, seed: options.seed };
    let (split, out) = (&options.split, &options.out);
    let found = probe.write(&options.dataset, split, out, terminal, terminal.interrupt())?;
    let rest = match found.unlabelled {
        0 => String::new(),
        unlabelled => format!(", {unlabelled} samples without a label left out"),
    };
    let [accuracy, majority] = [found.accuracy, found.majority].map(percent);
    print(&format!(
        "{split}: {accuracy} of {} samples right by the text alone, {majority} in the commonest class{rest}\n\
         predictions in {}\n",
        found.samples,
        out.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}
