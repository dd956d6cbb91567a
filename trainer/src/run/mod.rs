//! The training loop.

#[cfg(test)]
mod accumulate_tests;
mod clock;
#[cfg(test)]
mod folder_tests;
#[cfg(test)]
mod grid_tests;
#[cfg(test)]
mod region_tests;
mod setup;
#[cfg(test)]
mod start_tests;
#[cfg(test)]
mod tests;
mod validate;
#[cfg(test)]
mod validate_tests;
#[cfg(test)]
mod watch_tests;

use std::path::Path;
use std::sync::Arc;

use retort_cache::{Dataset, Interrupt, Progress};
use retort_schemas::runs::{RUN_VERSION, RunInfo};
use tch::Device;

use self::clock::{Clock, note};
use self::setup::{begins_somewhere, claim, plan, prepare_words, said_of_selection, sources, tokenizer};
use self::validate::{Validation, to_export};
use crate::adamw::AdamW;
use crate::adapt::{Goal, Stage, contrast_step, masked_step};
use crate::balance::Balance;
use crate::checkpoint::{self, State};
use crate::descent::Losses;
use crate::metrics::Metrics;
use crate::prepare::{Batch, Preparer};
use crate::recipe::Recipe;
use crate::step::{Heads, step};
use crate::stream::Stream;
use crate::tasks::outputs_of;
use crate::watch::Watch;
use crate::{Error, Result, environment, record, students};

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What the run is.
    pub info: RunInfo,
    /// Steps done before this call, those of the stage before task finetuning included: 0, or those of a checkpoint.
    pub began_at: u64,
    /// Share of the time that steps waited for data.
    pub data_wait: f64,
}

/// Trains a student as the recipe says, into a run folder; called again on the same folder, it continues.
///
/// # Errors
/// Of the recipe, the data set, the cache, libtorch; [`Error::NotFinite`] and [`Error::Exploded`] when the loss
/// diverges, with what was measured before written down;
/// [`retort_cache::Error::Interrupted`] when asked to stop, after a checkpoint.
pub fn train(recipe: &Recipe, run: &Path, progress: &dyn Progress, interrupt: &Interrupt) -> Result<Outcome> {
    let dataset = Dataset::open(&recipe.data.dataset)?;
    let device = retort_nn::device(&recipe.device)?;
    dataset.split(&recipe.data.split)?;
    begins_somewhere(recipe)?;
    claim(run, recipe)?;
    environment::record(run, device)?;
    if let Some(said) = said_of_selection(recipe, &dataset)? {
        progress.say(&said);
    }
    let call = Call { run, dataset: &dataset, device, progress, interrupt };
    let Some(adapting) = recipe.of_adaptation() else {
        return train_stage(recipe, recipe, Stage::Task, &call);
    };
    let before = if checkpoint::has_reached(run, Stage::Task) {
        None
    } else {
        Some(train_stage(recipe, &adapting, Stage::Adapt, &call)?.began_at)
    };
    let outcome = train_stage(recipe, recipe, Stage::Task, &call)?;
    Ok(Outcome { began_at: before.unwrap_or(adapting.optim.steps + outcome.began_at), ..outcome })
}

/// What all stages of a run share.
struct Call<'a> {
    run: &'a Path,
    dataset: &'a Dataset,
    device: Device,
    progress: &'a dyn Progress,
    interrupt: &'a Interrupt,
}

/// One stage of a run: `recipe` is the stage's, `whole` the run's. A stage starts from the last checkpoint of the one
/// before, whether that was written a moment ago or before a kill, so that both end with the same bits.
fn train_stage(whole: &Recipe, recipe: &Recipe, stage: Stage, call: &Call<'_>) -> Result<Outcome> {
    let &Call { run, dataset, device, progress, interrupt } = call;
    let split = dataset.split(&recipe.data.split)?;
    let plan = plan(recipe, dataset, split)?;
    let objective = plan.objective;
    let answers = outputs_of(objective, dataset)?;
    let sources = sources(recipe, dataset)?;
    let tokenizer = tokenizer(recipe, run, &sources, &plan)?;
    let weights = students::first_weights(recipe, device)?;
    let shards = plan.stream.parts.iter().chain(&plan.held_out).map(|part| &part.shard);
    let features = sources.visual_features(shards)?;
    let student = students::first(recipe, &weights, &tokenizer, objective, answers.len(), features.as_ref())?;
    let heads = Heads::new(recipe, &weights, &sources, &plan.stream.parts)?;
    let goal = Goal::of(whole, stage, &weights, &tokenizer)?;
    let mut validation = Validation::of(recipe, run, dataset, &plan, &answers, device)?;
    let named = weights.into_named();
    let parameters = named.iter().filter(|(name, _)| student.exports(name)).map(|(_, t)| t.numel() as u64).sum();
    let mut info = RunInfo {
        schema: RUN_VERSION.to_string(),
        arm: whole.label(),
        student: format!("{} {}x{}", recipe.student.kind, recipe.student.layers, recipe.student.hidden),
        seed: recipe.seed,
        dataset: recipe.data.dataset.display().to_string(),
        split: split.name.clone(),
        images: plan.groups,
        samples: plan.stream.samples() as u64,
        steps: whole.optim.steps,
        adapt: whole.adaptation().to_string(),
        adapt_steps: whole.of_adaptation().map_or(0, |adapting| adapting.optim.steps),
        control: whole.control.to_string(),
        batch: recipe.optim.batch.min(plan.stream.samples()) as u64,
        parameters,
        complete: false,
        validation: validation.as_ref().map(Validation::info),
    };
    record::write_info(run, &info)?;
    record::write_drawn(run, dataset, &plan.stream.parts, &plan.held_out)?;
    let mut preparer = Preparer::new(recipe.clone(), tokenizer, objective, answers.len(), device);
    preparer.extra = goal.extra();
    prepare_words(recipe, &sources, &mut preparer)?;
    if recipe.arm.confidence() {
        preparer.confidence =
            Some(record::fit_confidence(recipe, run, &sources, &plan.stream.parts, objective, answers.len())?);
    }
    if recipe.arm.tokens() {
        record::write_selection(recipe, run, &sources, &plan.stream.parts, &preparer)?;
    }
    let mut adamw = AdamW::new(named, &recipe.optim)?;
    let restored = checkpoint::restore(run, stage, &mut adamw)?;
    let balance = Balance::new(recipe.distil.kd_ratio, recipe.distil.balance_steps);
    let fresh = State { stage, step: 0, balance, watch: Watch::default() };
    let mut state = restored.unwrap_or(fresh);
    let began_at = state.step;
    let mut metrics = Metrics::read(run, stage, state.step)?;
    let (steps, ahead) = (recipe.optim.steps, recipe.data.prefetch_batches);
    let preparer = Arc::new(preparer);
    let mut stream = Stream::start(plan.stream, sources, preparer.clone(), state.step, steps, ahead);
    let doing = if stage == Stage::Adapt { info.adapt.clone() } else { format!("train {}", info.arm) };
    progress.begin(&doing, steps, "steps");
    progress.advance(state.step);
    let mut clock = Clock::default();
    let mut last_score = None;
    while state.step < steps {
        let stopping = interrupt.requested();
        if stopping || (state.step > began_at && state.step.is_multiple_of(recipe.log.checkpoint_every.max(1))) {
            metrics.write(run)?;
            checkpoint::write(run, state, &adamw, recipe.log.keep)?;
        }
        if stopping {
            return Err(retort_cache::Error::Interrupted.into());
        }
        let batch = clock.wait(|| stream.next())?;
        let rate = adamw.rate();
        let taken = match &goal {
            Goal::Task => step(recipe, objective, student.as_ref(), &heads, &batch, &mut adamw, &mut state),
            Goal::Contrast => {
                contrast_step(recipe, objective, student.as_ref(), &heads, &batch, &mut adamw, state.step)
            }
            Goal::Masked(head, _) => {
                masked_step(recipe, objective, student.as_ref(), head, &batch, &mut adamw, state.step)
            }
        };
        let losses = match taken.and_then(|losses| not_exploded(recipe, losses, &batch, &mut state)) {
            Ok(losses) => losses,
            Err(error) => {
                // Of the step that went wrong nothing is kept.
                metrics.write(run)?;
                return Err(error.beside(checkpoint::last_good(run, stage, state.step + 1)));
            }
        };
        state.step = adamw.steps_done();
        clock.count(batch.ids_of_samples.len());
        progress.advance(1);
        if state.step.is_multiple_of(recipe.log.every.max(1)) || state.step == steps {
            let speed = [
                ("lr", rate),
                ("samples_per_sec", clock.rate()),
                ("data_wait", clock.wait_share()),
                ("data_read_ratio", stream.read_ratio()),
            ];
            for (tag, value) in losses.iter().chain(&speed) {
                metrics.push(state.step, &format!("{}{tag}", stage.prefix()), *value);
            }
            metrics.push(state.step, &format!("{}texts_cut", stage.prefix()), preparer.texts.share_cut());
            if let Some(said) = preparer.texts.said_of_cut(recipe.student.text_tokens) {
                progress.say(&said);
            }
            progress.note(&note(&losses, last_score, &clock));
        }
        if let Some(validation) = validation.as_mut().filter(|v| stage == Stage::Task && v.is_due(state.step)) {
            let scored = clock.pause(|| validation.score(run, state.step, student.as_ref(), &mut adamw))?;
            last_score = Some(scored.score);
            metrics.push(state.step, "val/accuracy", scored.score);
            metrics.push(state.step, "val/loss", scored.loss);
        }
    }
    progress.end();
    drop(stream);
    if state.step > began_at || restored.is_none() {
        metrics.write(run)?;
        checkpoint::write(run, state, &adamw, recipe.log.keep)?;
    }
    if stage == Stage::Task {
        let weights = to_export(recipe, run, student.as_ref(), &adamw)?;
        record::export(run, student.as_ref(), &weights, &preparer.tokenizer, &answers)?;
        info.complete = true;
        info.validation = validation.as_ref().map(Validation::info);
        record::write_info(run, &info)?;
    }
    Ok(Outcome { info, began_at, data_wait: clock.wait_share() })
}

/// Passes the losses of a step on, unless they explode.
fn not_exploded(recipe: &Recipe, losses: Losses, batch: &Batch, state: &mut State) -> Result<Losses> {
    let total = losses.first().map_or(0.0, |(_, total)| *total);
    match state.watch.see(total, recipe.optim.explode) {
        None => Ok(losses),
        Some(limit) => {
            let (step, samples) = (state.step + 1, batch.named());
            Err(Error::Exploded { step, value: total, limit, samples, checkpoint: None })
        }
    }
}
