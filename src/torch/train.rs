//! `retort train`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use retort_trainer::{Recipe, train};

use retort::cli::Train;
use retort::commands::print;
use retort::progress::Terminal;

pub fn run(options: &Train, terminal: &Terminal) -> Result<ExitCode> {
    let recipe = Recipe::read(&options.recipe, &options.settings)?;
    let run = options.run.clone().unwrap_or_else(|| default_run(&options.recipe, &recipe));
    let outcome = train(&recipe, &run, terminal, terminal.interrupt())?;
    let info = &outcome.info;
    let from = if outcome.began_at > 0 { format!(", continued at step {}", outcome.began_at) } else { String::new() };
    let before = match info.adapt_steps {
        0 => String::new(),
        steps => format!(", after {steps} of {}", info.adapt),
    };
    print(&format!(
        "{}: arm {}, seed {}, {} ({} parameters), {} steps of {} on {} samples of {} images{before}{from}; waited for data {:.1} % of the time\n",
        run.display(),
        info.arm,
        info.seed,
        info.student,
        info.parameters,
        info.steps,
        info.batch,
        info.samples,
        info.images,
        outcome.data_wait * 100.0
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn default_run(path: &Path, recipe: &Recipe) -> PathBuf {
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("run");
    PathBuf::from("runs").join(format!("{name}-{}-seed{}", recipe.label(), recipe.seed))
}
