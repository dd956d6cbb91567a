//! Checkpoints: the whole state of training in one safetensors file, whole or not there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use retort_nn::{Checkpoint, save};
use retort_schemas::runs::{CHECKPOINT_VERSION, files};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::adamw::AdamW;
use crate::adapt::Stage;
use crate::balance::Balance;
use crate::watch::Watch;
use crate::{Error, Result};

/// What is not a tensor. The place in the stream is the step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The stage that the step counts in.
    #[serde(default)]
    pub(crate) stage: Stage,
    pub(crate) step: u64,
    pub(crate) balance: Balance,
    #[serde(default)]
    pub(crate) watch: Watch,
}

/// The one key of a checkpoint's metadata.
const STATE: &str = "state";

/// [`State`] with its version.
#[derive(Serialize, Deserialize)]
struct Saved {
    #[serde(rename = "retort:schema")]
    schema: String,
    #[serde(flatten)]
    state: State,
}

/// Writes a checkpoint and removes those beyond the last `keep`.
pub(crate) fn write(run: &Path, state: State, adamw: &AdamW, keep: usize) -> Result<()> {
    let malformed = |error: serde_json::Error| Error::Run { path: run.to_owned(), problem: error.to_string() };
    let saved = serde_json::to_string(&Saved { schema: CHECKPOINT_VERSION.to_string(), state }).map_err(malformed)?;
    let folder = run.join(files::CHECKPOINTS);
    let path = folder.join(format!("{}-{:08}.safetensors", name_of(state.stage), state.step));
    retort_cache::write_atomic(&path, &save(&adamw.state()?, STATE, &saved)?)?;
    let all = list(&folder);
    for old in &all[..all.len().saturating_sub(keep.max(1))] {
        std::fs::remove_file(old).map_err(retort_cache::Error::io("remove", old))?;
    }
    Ok(())
}

/// What files of a stage are called. In order of name they are in order of training.
fn name_of(stage: Stage) -> &'static str {
    match stage {
        Stage::Adapt => "adapt",
        Stage::Task => "step",
    }
}

/// The best weights on the held-out part, and what they scored. The file says so itself: whenever a run is killed,
/// that is true of it, and what a run finds again after a kill is no better than what it found before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Best {
    pub(crate) step: u64,
    #[serde(with = "crate::exact")]
    pub(crate) score: f64,
}

const BEST: &str = "best.safetensors";

/// [`Best`] with its version.
#[derive(Serialize, Deserialize)]
struct SavedBest {
    #[serde(rename = "retort:schema")]
    schema: String,
    #[serde(flatten)]
    best: Best,
}

fn is_best(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == BEST)
}

/// Writes the best weights, by name, in the place of those before.
pub(crate) fn write_best(run: &Path, best: Best, weights: &BTreeMap<String, Tensor>) -> Result<()> {
    let malformed = |error: serde_json::Error| Error::Run { path: run.to_owned(), problem: error.to_string() };
    let saved = SavedBest { schema: CHECKPOINT_VERSION.to_string(), best };
    let saved = serde_json::to_string(&saved).map_err(malformed)?;
    Ok(retort_cache::write_atomic(&run.join(files::CHECKPOINTS).join(BEST), &save(weights, STATE, &saved)?)?)
}

/// The best weights of a run and what they scored, if any were written.
pub(crate) fn read_best(run: &Path) -> Result<Option<(Best, Checkpoint)>> {
    let path = run.join(files::CHECKPOINTS).join(BEST);
    if !path.is_file() {
        return Ok(None);
    }
    let problem = |problem: String| Error::Run { path: path.clone(), problem };
    let checkpoint = Checkpoint::open_file(&path)?;
    let metadata = checkpoint.metadata()?;
    let saved = metadata.get(STATE).ok_or_else(|| problem("it has no state".to_owned()))?;
    let saved: SavedBest = serde_json::from_str(saved).map_err(|error| problem(error.to_string()))?;
    CHECKPOINT_VERSION.accept(&saved.schema).map_err(|error| problem(error.to_string()))?;
    Ok(Some((saved.best, checkpoint)))
}

/// Whether a run has a checkpoint of this stage.
pub(crate) fn has_reached(run: &Path, stage: Stage) -> bool {
    let is_of = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(name_of(stage)))
    };
    list(&run.join(files::CHECKPOINTS)).iter().any(is_of)
}

/// The newest checkpoint known to be good when step `failed` of a stage went wrong: a step from it went well, so that
/// it is not itself what went wrong. None if there is none.
pub(crate) fn last_good(run: &Path, stage: Stage, failed: u64) -> Option<PathBuf> {
    let good = |path: &PathBuf| {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let step = name.strip_prefix(name_of(stage)).and_then(|rest| rest.strip_prefix('-')?.parse::<u64>().ok());
        // What is not of this stage is of the one before.
        step.is_none_or(|step| step + 1 < failed)
    };
    list(&run.join(files::CHECKPOINTS)).into_iter().rev().find(good)
}

/// Takes over the newest checkpoint of a run, if there is one; of an earlier stage, the weights alone, and none is
/// returned.
pub(crate) fn restore(run: &Path, stage: Stage, adamw: &mut AdamW) -> Result<Option<State>> {
    let Some(path) = list(&run.join(files::CHECKPOINTS)).pop() else { return Ok(None) };
    let problem = |problem: String| Error::Run { path: path.clone(), problem };
    let checkpoint = Checkpoint::open_file(&path)?;
    let metadata = checkpoint.metadata()?;
    let saved = metadata.get(STATE).ok_or_else(|| problem("it has no state".to_owned()))?;
    let saved: Saved = serde_json::from_str(saved).map_err(|error| problem(error.to_string()))?;
    CHECKPOINT_VERSION.accept(&saved.schema).map_err(|error| problem(error.to_string()))?;
    let state = saved.state;
    if state.stage != stage {
        adamw.start_from(|name| Ok(if checkpoint.has(name) { Some(checkpoint.tensor(name)?) } else { None }))?;
        return Ok(None);
    }
    adamw.restore(state.step, |name| -> Result<Tensor> { Ok(checkpoint.tensor(name)?) })?;
    Ok(Some(state))
}

/// Checkpoints, oldest first. The best weights beside them are none: training cannot go on from them.
fn list(folder: &Path) -> Vec<PathBuf> {
    let is_one = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "safetensors") && !is_best(path);
    let mut all: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).filter(is_one).collect();
    all.sort();
    all
}
