//! How long a plan takes: from runs that are finished, or from a few steps of each arm.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::{Float64Array, StringArray};
use retort_cache::{column, read_plain_table};
use retort_schemas::runs::{Environment, files, metrics};

use super::plan::{PlannedRun, is_trained, read_info};
use super::work::{Site, carry_out};
use crate::recipe::{Export, Recipe, Validate};
use crate::{Error, Result};

/// Steps of a calibration, and of its stage before the task.
const STEPS: u64 = 12;
/// Tag of the learning rate.
const RATE: &str = "lr";
/// Before the tags of the stage before the task.
const ADAPT: &str = "adapt/";
/// Folder of calibrations, in the output folder.
const FOLDER: &str = "calibration";

/// What is known of the time that a plan still takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Seconds of training, over all slots; scoring comes on top.
    pub secs: f64,
    /// Runs of arms of which nothing is known, which are not in it.
    pub unknown: usize,
}

/// What an arm takes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pace {
    /// Before the first steps are done.
    start_secs: f64,
    step_secs: f64,
}

/// Seconds that a run took to train: for each of its starts, until the last value that it logged and kept. None where
/// nothing of it was written down.
///
/// What was done after the last checkpoint before a kill was done again and is counted once.
///
/// # Errors
/// If a file is there and damaged.
pub fn wall_secs(run: &Path) -> Result<Option<f64>> {
    let (starts, logged) = (starts(run)?, logged(run)?);
    let mut secs = None;
    for (at, began) in starts.iter().enumerate() {
        let until = starts.get(at + 1).copied().unwrap_or(f64::INFINITY);
        let last = logged.iter().filter(|time| **time >= *began && **time < until).copied().reduce(f64::max);
        secs = last.map_or(secs, |last| Some(secs.unwrap_or(0.0) + last - began));
    }
    Ok(secs)
}

fn starts(run: &Path) -> Result<Vec<f64>> {
    let path = run.join(files::ENVIRONMENT);
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let malformed = |problem: String| Error::Run { path: run.to_owned(), problem };
    let found: Environment = serde_json::from_str(&retort_cache::read_text(&path)?)
        .map_err(|error| malformed(format!("{}: {error}", files::ENVIRONMENT)))?;
    Ok(found.starts.iter().map(|start| start.began_unix_secs).collect())
}

/// When each logged step was done, in seconds since 1970.
fn logged(run: &Path) -> Result<Vec<f64>> {
    let path = run.join(format!("{}.parquet", metrics::NAME));
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let table = read_plain_table(&path, metrics::VERSION)?;
    let tags: &StringArray = column(&table, metrics::TAG)?;
    let times: &Float64Array = column(&table, metrics::UNIX_SECS)?;
    // Of all that is logged of a step, the rate, which every stage has.
    let of_step = |tag: &str| tag == RATE || tag.strip_prefix(ADAPT).is_some_and(|tag| tag == RATE);
    Ok((0..table.num_rows()).filter(|row| of_step(tags.value(*row))).map(|row| times.value(row)).collect())
}

/// Steps of a run, the stage before the task included.
fn steps_of(recipe: &Recipe) -> u64 {
    recipe.optim.steps + recipe.of_adaptation().map_or(0, |adapting| adapting.optim.steps)
}

/// What is known already, by arm.
fn known_paces(runs: &[PlannedRun], out: &Path) -> Result<BTreeMap<String, Pace>> {
    let mut paces = BTreeMap::new();
    for run in runs {
        let path = run.path(out);
        if !is_trained(&path)? {
            continue;
        }
        if let Some(secs) = wall_secs(&path)? {
            let info = read_info(&path)?;
            let pace = Pace { start_secs: 0.0, step_secs: secs / (info.steps + info.adapt_steps).max(1) as f64 };
            paces.insert(run.arm.clone(), pace);
        }
    }
    Ok(paces)
}

/// Estimates what is missing. Arms without a finished run are trained for a few steps first, in `calibration/`, once.
///
/// # Errors
/// [`retort_cache::Error::Interrupted`]; if files of runs are damaged. An arm that fails is one of which nothing is known.
pub fn estimate(runs: &[PlannedRun], site: &Site<'_>) -> Result<Estimate> {
    let mut paces = known_paces(runs, site.out)?;
    let mut missing: Vec<&PlannedRun> = Vec::new();
    for run in runs {
        if run.missing(site.out)?.train {
            missing.push(run);
        }
    }
    let mut trials: Vec<PlannedRun> = Vec::new();
    for run in &missing {
        if !paces.contains_key(&run.arm) && !trials.iter().any(|trial| trial.arm == run.arm) {
            trials.push(trial_of(run)?);
        }
    }
    if !trials.is_empty() {
        let out: PathBuf = site.out.join(FOLDER);
        carry_out("calibration", &trials, &Site { out: &out, ..*site })?;
        for trial in &trials {
            let path = trial.path(&out);
            if is_trained(&path)?
                && let Some(pace) = pace_of_trial(&path)?
            {
                paces.insert(trial.arm.clone(), pace);
            }
        }
    }
    let (mut secs, mut unknown) = (0.0, 0);
    for run in missing {
        match paces.get(&run.arm) {
            Some(pace) => secs += pace.start_secs + pace.step_secs * steps_of(&run.recipe) as f64,
            None => unknown += 1,
        }
    }
    Ok(Estimate { secs: secs / site.slots.len().max(1) as f64, unknown })
}

/// The run, cut to a few steps.
fn trial_of(run: &PlannedRun) -> Result<PlannedRun> {
    let mut recipe = run.recipe.clone();
    recipe.optim.steps = STEPS;
    recipe.adapt.steps = STEPS;
    recipe.log.every = 1;
    recipe.log.checkpoint_every = STEPS * 2;
    recipe.validate = Validate { share: 0.0, export: Export::Last, ..recipe.validate };
    let folder = super::plan::folder_of(&recipe)?;
    Ok(PlannedRun { folder, recipe, arm: run.arm.clone(), conditions: Vec::new(), splits: Vec::new() })
}

/// The median time between two steps, which neither warm-up nor the change of stages moves; the rest is the start.
fn pace_of_trial(run: &Path) -> Result<Option<Pace>> {
    let times = logged(run)?;
    let mut between: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    between.sort_by(f64::total_cmp);
    let (Some(step_secs), Some(whole)) = (between.get(between.len() / 2).copied(), wall_secs(run)?) else {
        return Ok(None);
    };
    let start_secs = f64::max(whole - step_secs * times.len() as f64, 0.0);
    Ok(Some(Pace { start_secs, step_secs }))
}
