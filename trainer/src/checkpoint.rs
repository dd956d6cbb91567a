//! Checkpoints: the whole state of training in one safetensors file, whole or not there.

use std::path::{Path, PathBuf};

use retort_nn::{Checkpoint, save};
use retort_schemas::runs::{CHECKPOINT_VERSION, files};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::adamw::AdamW;
use crate::adapt::Stage;
use crate::balance::Balance;
use crate::{Error, Result};

/// What is not a tensor. The place in the stream is the step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The stage that the step counts in.
    #[serde(default)]
    pub(crate) stage: Stage,
    pub(crate) step: u64,
    pub(crate) balance: Balance,
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

/// Whether a run has a checkpoint of this stage.
pub(crate) fn has_reached(run: &Path, stage: Stage) -> bool {
    let is_of = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(name_of(stage)))
    };
    list(&run.join(files::CHECKPOINTS)).iter().any(is_of)
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

/// Checkpoints, oldest first.
fn list(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "safetensors"))
        .collect();
    all.sort();
    all
}
