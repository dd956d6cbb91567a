//! Whole runs whose loss diverges.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use retort_cache::{Interrupt, Quiet};
use retort_schemas::runs::{RunInfo, files};
use tempfile::tempdir;

use super::region_tests::StopAt;
use super::train;
use crate::adapt::Stage;
use crate::fixture::{Asked, Result, recipe, write};
use crate::metrics::Metrics;
use crate::{Error, Recipe};

fn failed(recipe: &Recipe, run: &Path) -> Result<Error> {
    train(recipe, run, &Quiet, &Interrupt::default()).err().ok_or_else(|| "the run went well".into())
}

/// Steps of the task stage that were logged.
fn logged(run: &Path) -> Result<Vec<u64>> {
    let all = Metrics::read(run, Stage::Task, u64::MAX)?;
    Ok(all.rows().iter().filter(|row| row.tag == "loss/total").map(|row| row.step).collect())
}

fn step_of(checkpoint: &Path) -> Option<u64> {
    checkpoint.file_stem()?.to_str()?.strip_prefix("step-")?.parse().ok()
}

#[test]
fn a_loss_that_is_no_number_stops_with_samples_and_the_last_good_checkpoint() -> Result {
    let folder = tempdir()?;
    let dataset = write(folder.path(), Asked::Class)?;
    // The first step of such a length leaves nothing that the second could compute with.
    let settings = ["optim.lr=1e38", "optim.warmup_steps=0", "optim.explode=0.0", "log.checkpoint_every=1"];
    let (recipe, run) = (recipe(&dataset, &settings)?, folder.path().join("run"));
    let error = failed(&recipe, &run)?;
    let Error::NotFinite { step, value, samples, checkpoint } = &error else { return Err(error.to_string().into()) };
    assert!(!value.is_finite() && *step == 2, "{error}");
    assert_eq!(samples.split(", ").count(), 8, "{samples}");
    // That of the first step is the wreck itself.
    assert_eq!(*checkpoint, None);
    assert!(run.join(files::CHECKPOINTS).join("step-00000001.safetensors").is_file());
    assert!(error.to_string().ends_with("; there is no good checkpoint yet"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.starts_with("lower optim.lr")));
    assert_eq!(logged(&run)?, [1]);
    let info: RunInfo = serde_json::from_str(&fs::read_to_string(run.join(files::RUN))?)?;
    assert!(!info.complete && !run.join("student/model.safetensors").exists());
    assert_eq!(failed(&recipe, &run)?.to_string(), error.to_string());
    Ok(())
}

#[test]
fn an_absurd_rate_explodes() -> Result {
    let folder = tempdir()?;
    let dataset = write(folder.path(), Asked::Answers)?;
    // Far from numbers that overflow, which would be another error.
    let settings = ["optim.lr=5.0", "optim.warmup_steps=0", "optim.steps=100", "optim.explode=2.0"];
    let error = failed(&recipe(&dataset, &settings)?, &folder.path().join("run"))?;
    let Error::Exploded { value, limit, .. } = &error else { return Err(error.to_string().into()) };
    assert!(value > limit && *limit > 0.0, "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("raise optim.explode")));
    Ok(())
}

#[test]
fn a_run_that_was_stopped_explodes_where_it_would_have() -> Result {
    let folder = tempdir()?;
    let dataset = write(folder.path(), Asked::Answers)?;
    // A rate that rises until the student breaks.
    let settings = ["arm=kd+ts", "optim.steps=200", "optim.explode=2.0", "optim.lr=5.0", "optim.warmup_steps=200"];
    let recipe = recipe(&dataset, &settings)?;
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    let error = failed(&recipe, &whole)?;
    let Error::Exploded { step, samples, checkpoint, .. } = &error else { return Err(error.to_string().into()) };
    assert!(*step > 4, "{error}");
    assert_eq!(samples.split(", ").count(), 8);
    let good: &PathBuf = checkpoint.as_ref().ok_or("no checkpoint")?;
    assert!(good.is_file() && error.to_string().contains(&good.display().to_string()), "{error}");
    // A checkpoint every second step: the newest of which a step was taken that went well.
    assert_eq!(step_of(good), Some((step - 2) / 2 * 2), "{error}");
    assert_eq!(logged(&whole)?, (1..*step).collect::<Vec<u64>>());
    let steps = |run: &Path| -> Result<Vec<u64>> {
        let files = fs::read_dir(run.join(files::CHECKPOINTS))?.flatten();
        Ok(files.filter_map(|file| step_of(&file.path())).collect())
    };
    assert!(steps(&whole)?.iter().all(|kept| kept < step));
    let interrupt = Interrupt::default();
    let asked = StopAt(step - 2, AtomicU64::new(0), interrupt.clone());
    assert!(matches!(train(&recipe, &stopped, &asked, &interrupt), Err(Error::Cache(_))));
    let again = failed(&recipe, &stopped)?.to_string();
    let message = |text: &str| text.split(';').next().map(str::to_owned);
    assert_eq!(message(&again), message(&error.to_string()));
    Ok(())
}
