//! `retort protocol`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use retort_report::write_report;
use retort_schemas::protocol::{FAILED_FILE, REPORT_FILE};
use retort_trainer::protocol as trainer;
use retort_trainer::protocol::{Estimate, Plan, Processes, Site, Slot, carry_out, conclude, duration, estimate};

use retort::cli::Protocol;
use retort::commands::print;
use retort::failure::NO;
use retort::progress::Terminal;

/// Most runs at a time on a CPU, unless told otherwise: each holds a student, its optimiser and a pool of samples.
const MOST_SLOTS: usize = 4;

pub fn run(options: &Protocol, terminal: &Terminal) -> Result<ExitCode> {
    let part = trainer::Part {
        arms: options.arms.clone(),
        conditions: options.conditions.clone(),
        seeds: options.seeds.clone(),
    };
    let protocol = trainer::Protocol::read(&options.protocol, &options.settings)?.only(&part)?;
    let plan = Plan::of(&protocol)?;
    let out = options.out.clone().unwrap_or_else(|| PathBuf::from("protocols").join(&protocol.name));
    let slots = slots(options.slots.map(usize::from), &plan);
    let worker = Processes { binary: std::env::current_exe().context("cannot find the retort-torch binary")? };
    let (out, interrupt) = (out.as_path(), terminal.interrupt());
    let site = Site { out, slots: &slots, worker: &worker, progress: terminal, interrupt };

    let estimated = estimate(&plan.runs, &site)?;
    let described = describe(&protocol, &plan, out, &slots, &estimated)?;
    if options.dry_run {
        print(&described)?;
        return Ok(ExitCode::SUCCESS);
    }
    terminal.say(described.trim_end());
    let failures = carry_out(&format!("protocol {}", protocol.name), &plan.runs, &site)?;
    let results = conclude(&protocol, &plan, &failures, out)?;
    if !results.scored.is_empty()
        && let Err(error) = write_report(&[out.to_owned()], None, &out.join(REPORT_FILE))
    {
        // The table is what was asked for; the pictures can be had with `retort report`.
        terminal.say(&format!("no {REPORT_FILE}: {error}"));
    }
    print(&results.markdown)?;
    if failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    for failure in &failures {
        terminal.say(&format!("failed: {} ({}): {}", failure.run, failure.doing, failure.how));
    }
    terminal.say(&format!("{} runs failed; {} has what they said", failures.len(), out.join(FAILED_FILE).display()));
    Ok(ExitCode::from(NO))
}

fn slots(told: Option<usize>, plan: &Plan) -> Vec<Slot> {
    let on_cuda = plan.runs.iter().any(|run| run.recipe.device != "cpu");
    let devices = if on_cuda { usize::try_from(tch::Cuda::device_count()).unwrap_or(0) } else { 0 };
    let threads = available_parallelism().map_or(1, |threads| threads.get());
    let usual = if devices > 0 { devices } else { threads.min(MOST_SLOTS) };
    Slot::divide(told.unwrap_or(usual), threads, devices)
}

/// The plan for people: how much there is to do, how long it takes, and what to object to.
fn describe(
    protocol: &trainer::Protocol,
    plan: &Plan,
    out: &Path,
    slots: &[Slot],
    estimated: &Estimate,
) -> Result<String> {
    let (mut train, mut score) = (0, 0);
    for run in &plan.runs {
        let missing = run.missing(out)?;
        train += usize::from(missing.train);
        score += missing.splits.len();
    }
    let mut text = format!(
        "{}: {} arms x {} conditions x {} seeds = {} runs, in {}\n",
        protocol.name,
        protocol.arms.len(),
        protocol.conditions.len(),
        protocol.seeds.len(),
        plan.runs.len(),
        out.display()
    );
    if let Some(part) = protocol.part() {
        text += &format!("a part of the protocol: {part}\n");
    }
    let threads = slots.first().map_or(1, |slot| slot.threads);
    let devices = if slots.iter().any(|slot| slot.cuda.is_some()) { "on CUDA, " } else { "" };
    text += &format!(
        "to do: {train} to train, {score} to score; {} at a time, {devices}{threads} threads each\n",
        slots.len()
    );
    if train > 0 {
        text += &format!("training takes about {}", duration(estimated.secs));
        if estimated.unknown > 0 {
            text += &format!(", without {} runs of which nothing is known", estimated.unknown);
        }
        text += "; scoring comes on top\n";
    }
    for condition in &protocol.conditions {
        let splits: Vec<String> = condition
            .splits()
            .map(|(split, shifted)| if shifted { format!("{split} (shifted)") } else { split.to_owned() })
            .collect();
        text += &format!("condition {}: tested on {}\n", condition.name, splits.join(", "));
    }
    for warning in &plan.warnings {
        text += &format!("warning: {warning}\n");
    }
    Ok(text)
}
