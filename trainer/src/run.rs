//! The training loop.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use retort_cache::{Dataset, Interrupt, Progress, TeacherCache, read_text, write_atomic};
use retort_nn::{Linear, TextTokenizer, Weights};
use retort_schemas::features;
use retort_schemas::manifest::Split;
use retort_schemas::runs::{RUN_VERSION, RunInfo, files};
use tch::{Device, Kind, Tensor};

use crate::adamw::AdamW;
use crate::balance::Balance;
use crate::checkpoint::{self, State};
use crate::losses::{
    binary_choice_loss, class_loss, distillation, mean_over_texts, text_loss, token_loss, vision_loss, vqa_loss,
};
use crate::metrics::Metrics;
use crate::prepare::{Batch, Preparer, WordFeatures};
use crate::recipe::{ChoiceLoss, Recipe, Target};
use crate::sampling::{Candidate, draw};
use crate::stream::{Part, Plan, Stream};
use crate::students::{Input, Student, Views, Vilt, ViltConfig};
use crate::tasks::{Objective, in_rows_of_samples, outputs_of};
use crate::zipped::{Sources, samples};
use crate::{Error, Result, confidence, record, vocabulary};

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What the run is.
    pub info: RunInfo,
    /// Step at which this call began: 0, or that of a checkpoint; the last if there was nothing left to do.
    pub began_at: u64,
    /// Share of the time that steps waited for data.
    pub data_wait: f64,
}

/// Trains a student as the recipe says, into a run folder; called again on the same folder, it continues.
///
/// # Errors
/// Of the recipe, the data set, the cache, libtorch; [`Error::NotFinite`] when the loss diverges;
/// [`retort_cache::Error::Interrupted`] when asked to stop, after a checkpoint.
pub fn train(recipe: &Recipe, run: &Path, progress: &dyn Progress, interrupt: &Interrupt) -> Result<Outcome> {
    let dataset = Dataset::open(&recipe.data.dataset)?;
    let split = dataset.split(&recipe.data.split)?;
    claim(run, recipe)?;
    let plan = plan(recipe, &dataset, split)?;
    let objective = plan.objective;
    let answers = outputs_of(objective, &dataset)?;
    let device = Device::Cpu;
    let sources = sources(recipe, &dataset)?;
    let tokenizer = tokenizer(recipe, run, &sources, &plan)?;
    let weights = Weights::fresh(recipe.seed, device);
    let student = student(recipe, &weights, &tokenizer, answers.len())?;
    let heads = Heads::new(recipe, &weights, &sources, &plan)?;
    let named = weights.into_named();
    let parameters = named.iter().filter(|(name, _)| student.exports(name)).map(|(_, t)| t.numel() as u64).sum();
    let mut info = RunInfo {
        schema: RUN_VERSION.to_string(),
        arm: recipe.arm.to_string(),
        student: format!("{} {}x{}", recipe.student.kind, recipe.student.layers, recipe.student.hidden),
        seed: recipe.seed,
        dataset: recipe.data.dataset.display().to_string(),
        split: split.name.clone(),
        images: plan.groups,
        samples: plan.stream.samples() as u64,
        steps: recipe.optim.steps,
        batch: recipe.optim.batch.min(plan.stream.samples()) as u64,
        parameters,
        complete: false,
    };
    record::write_info(run, &info)?;
    let mut preparer = Preparer {
        recipe: recipe.clone(),
        tokenizer,
        objective,
        classes: answers.len(),
        visual_words: None,
        semantic_words: None,
        confidence: None,
        device,
    };
    prepare_words(recipe, &sources, &mut preparer)?;
    if recipe.arm.confidence() {
        preparer.confidence =
            Some(record::fit_confidence(recipe, run, &sources, &plan.stream.parts, objective, answers.len())?);
    }
    if recipe.arm.tokens() {
        record::write_selection(recipe, run, &sources, &plan.stream.parts, &preparer)?;
    }
    let mut adamw = AdamW::new(named, &recipe.optim)?;
    let restored = checkpoint::restore(run, &mut adamw)?;
    let fresh = State { step: 0, balance: Balance::new(recipe.distil.kd_ratio, recipe.distil.balance_steps) };
    let mut state = restored.unwrap_or(fresh);
    let began_at = state.step;
    let mut metrics = Metrics::read(run, state.step)?;
    let (steps, ahead) = (recipe.optim.steps, recipe.data.prefetch_batches);
    let preparer = Arc::new(preparer);
    let mut stream = Stream::start(plan.stream, sources, preparer.clone(), state.step, steps, ahead);
    progress.begin(&format!("train {}", recipe.arm), steps, "steps");
    progress.advance(state.step);
    let mut clock = Clock::default();
    while state.step < steps {
        let stopping = interrupt.requested();
        if stopping || (state.step > began_at && state.step.is_multiple_of(recipe.log.checkpoint_every.max(1))) {
            metrics.write(run)?;
            checkpoint::write(run, state, &adamw, recipe.log.keep)?;
        }
        if stopping {
            return Err(retort_cache::Error::Interrupted.into());
        }
        let waited = Instant::now();
        let batch = stream.next()?;
        clock.waited += waited.elapsed().as_secs_f64();
        let rate = adamw.rate();
        let losses = step(recipe, objective, student.as_ref(), &heads, &batch, &mut adamw, &mut state)?;
        state.step = adamw.steps_done();
        clock.samples += batch.ids_of_samples.len() as u64;
        progress.advance(1);
        if state.step.is_multiple_of(recipe.log.every.max(1)) || state.step == steps {
            for (tag, value) in &losses {
                metrics.push(state.step, tag, *value);
            }
            metrics.push(state.step, "lr", rate);
            metrics.push(state.step, "samples_per_sec", clock.rate());
            metrics.push(state.step, "data_wait", clock.wait_share());
            progress.note(&losses.first().map_or(String::new(), |(_, total)| format!("loss {total:.4}")));
        }
    }
    progress.end();
    drop(stream);
    if state.step > began_at || restored.is_none() {
        metrics.write(run)?;
        checkpoint::write(run, state, &adamw, recipe.log.keep)?;
    }
    record::export(run, student.as_ref(), &adamw, &preparer.tokenizer, &answers)?;
    info.complete = true;
    record::write_info(run, &info)?;
    Ok(Outcome { info, began_at, data_wait: clock.wait_share() })
}

/// One step: the whole objective in the order of the formula.
///
/// ```text
/// L = L_task + lambda * w(x) [ s_v L_v + s_t (L_t + L_TS) ]
/// ```
fn step(
    recipe: &Recipe,
    objective: Objective,
    student: &dyn Student,
    heads: &Heads,
    batch: &Batch,
    adamw: &mut AdamW,
    state: &mut State,
) -> Result<Vec<(&'static str, f64)>> {
    let Views { h_cls, h_text, r_img, logits } =
        student.forward(&Input { ids: &batch.ids, mask: &batch.mask, pixels: &batch.pixels })?;
    let kind = recipe.distil.distance;
    let texts = objective.texts() as i64;
    let logits = in_rows_of_samples(&logits, objective)?;
    let task = task_loss(recipe, objective, &logits, batch)?;

    // Once per image: the whole-image token, seen with each candidate text.
    let r_img = mean_over_texts_of(&r_img, texts)?;
    let l_v = both(&heads.vision, &batch.z_v).map(|(g_v, z_v)| vision_loss(g_v, &r_img, z_v, kind)).transpose()?;
    let l_t = both(&heads.text, &batch.z_t)
        .map(|(g_t, z_t)| mean_over_texts(&text_loss(g_t, &h_cls, z_t, kind)?, texts))
        .transpose()?;
    let l_ts = both(&heads.words, &batch.words)
        .map(|(g_w, words)| {
            let each = token_loss(g_w, &h_text, &words.members, &words.present, &words.target, kind)?;
            mean_over_texts(&each, texts)
        })
        .transpose()?;
    let w = match &batch.confidence {
        Some((c_t, right)) => {
            let c_s = confidence::student_confidence(&logits, &batch.labels)?;
            Some(confidence::weights(recipe.confidence.form, c_t, &c_s, right)?)
        }
        None => None,
    };
    let (s_v, s_t) = (recipe.distil.vision, recipe.distil.text);
    let distil = distillation(
        l_v.as_ref().map(|loss| (loss, s_v)),
        l_t.as_ref().map(|loss| (loss, s_t)),
        l_ts.as_ref().map(|loss| (loss, s_t)),
        w.as_ref(),
    )?;

    let mut losses = vec![("loss/task", task.f_double_value(&[])?)];
    for (tag, loss) in [("loss/vision", &l_v), ("loss/text", &l_t), ("loss/tokens", &l_ts)] {
        if let Some(loss) = loss {
            losses.push((tag, loss.f_mean(Kind::Float)?.f_double_value(&[])?));
        }
    }
    let total = match &distil {
        Some(distil) => {
            let lambda = state.balance.lambda(losses[0].1, distil.f_double_value(&[])?);
            losses.push(("lambda", lambda));
            task.f_add(&distil.f_mul_scalar(lambda)?)?
        }
        None => task,
    };
    let value = total.f_double_value(&[])?;
    if !value.is_finite() {
        let first: Vec<&str> = batch.ids_of_samples.iter().take(5).map(String::as_str).collect();
        return Err(Error::NotFinite { step: state.step + 1, value, samples: first.join(", ") });
    }
    total.f_backward()?;
    losses.insert(0, ("loss/total", value));
    losses.push(("gradient_norm", adamw.step()?));
    Ok(losses)
}

/// L_task of `logits` `[batch, classes]` or, of a choice, `[batch, K]`.
fn task_loss(recipe: &Recipe, objective: Objective, logits: &Tensor, batch: &Batch) -> Result<Tensor> {
    match (objective, &batch.targets) {
        (Objective::Answers, Some(targets)) => vqa_loss(logits, targets),
        (Objective::Choice(_), _) if recipe.task.choice_loss == ChoiceLoss::Binary => {
            binary_choice_loss(logits, &batch.labels)
        }
        _ => class_loss(logits, &batch.labels),
    }
}

/// `[texts, width]` to `[batch, width]`.
fn mean_over_texts_of(features: &Tensor, texts: i64) -> Result<Tensor> {
    let width = features.size2()?.1;
    Ok(features.f_view([-1, texts, width])?.f_mean_dim([1_i64].as_slice(), false, Kind::Float)?)
}

fn both<'a, A, B>(a: &'a Option<A>, b: &'a Option<B>) -> Option<(&'a A, &'a B)> {
    a.as_ref().zip(b.as_ref())
}

/// g_v, g_t, g_w: trained with the student, dropped at export.
struct Heads {
    vision: Option<Linear>,
    text: Option<Linear>,
    words: Option<Linear>,
}

impl Heads {
    fn new(recipe: &Recipe, weights: &Weights, sources: &Sources, plan: &RunPlan) -> Result<Self> {
        let Some(part) = plan.stream.parts.first() else {
            return Ok(Self { vision: None, text: None, words: None });
        };
        let first = sources.load(&part.shard)?;
        let scope = weights.root().sub("distil");
        let width = recipe.student.hidden;
        let head = |on: bool, name: &str, target: Option<usize>| -> Result<Option<Linear>> {
            let target = target.filter(|_| on);
            Ok(target.map(|target| Linear::new(&scope.sub(name), width, target as i64)).transpose()?)
        };
        let (d_v, d_t) = (first.z_v.as_ref().map(|z| z.width), first.z_t.as_ref().map(|z| z.width));
        let d_w = match recipe.selection.target {
            Target::Token => first.tokens.as_ref().map(|tokens| tokens.width()),
            Target::Sentence => d_t,
            Target::Image => d_v,
        };
        Ok(Self {
            vision: head(recipe.arm.vision(), "vision", d_v)?,
            text: head(recipe.arm.text(), "text", d_t)?,
            words: head(recipe.arm.tokens(), "words", d_w)?,
        })
    }
}

/// Waiting and working, since the call began.
struct Clock {
    began: Instant,
    waited: f64,
    samples: u64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { began: Instant::now(), waited: 0.0, samples: 0 }
    }
}

impl Clock {
    fn rate(&self) -> f64 {
        self.samples as f64 / self.began.elapsed().as_secs_f64().max(1e-9)
    }

    fn wait_share(&self) -> f64 {
        self.waited / self.began.elapsed().as_secs_f64().max(1e-9)
    }
}

/// Makes the run folder this recipe's, or sees that it is.
fn claim(run: &Path, recipe: &Recipe) -> Result<()> {
    let path = run.join(files::RECIPE);
    let resolved = recipe.to_toml()?;
    if !path.is_file() {
        return Ok(write_atomic(&path, resolved.as_bytes())?);
    }
    let begun = read_text(&path)?;
    if begun == resolved {
        return Ok(());
    }
    let differ = begun.lines().zip(resolved.lines()).find(|(old, new)| old != new);
    let how = differ.map_or(String::new(), |(old, new)| format!(" ({old:?}, now {new:?})"));
    Err(Error::Run { path: run.to_owned(), problem: format!("was begun with another recipe{how}") })
}

/// The stream of the chosen samples.
struct RunPlan {
    stream: Plan,
    groups: u64,
    objective: Objective,
}

fn plan(recipe: &Recipe, dataset: &Dataset, split: &Split) -> Result<RunPlan> {
    let mut all = Vec::new();
    for shard in &split.shards {
        all.push((shard, samples(dataset, shard)?));
    }
    let unusable = |problem: String| Error::Data { path: dataset.folder().to_owned(), problem };
    let objective = Objective::of_all(all.iter().flat_map(|(_, samples)| samples)).map_err(unusable)?;
    let candidates: Vec<Candidate> = all
        .iter()
        .flat_map(|(_, samples)| samples.iter().map(|s| Candidate { group: s.group, label: s.label }))
        .collect();
    let groups: BTreeSet<[u8; 16]> = candidates.iter().map(|candidate| candidate.group).collect();
    let chosen: BTreeSet<[u8; 16]> =
        draw(&candidates, recipe.data.shots.of(groups.len()), recipe.seed).into_iter().collect();
    let parts: Vec<Part> = all
        .into_iter()
        .map(|(shard, samples)| {
            let wanted = |row: &usize| chosen.contains(&samples[*row].group);
            Part { shard: shard.clone(), rows: (0..samples.len()).filter(wanted).collect() }
        })
        .filter(|part| !part.rows.is_empty())
        .collect();
    let Some(objective) = objective.filter(|_| !parts.is_empty()) else {
        return Err(unusable(format!("split {} has no samples", split.name)));
    };
    let (seed, batch, pool_shards) = (recipe.seed, recipe.optim.batch, recipe.data.pool_shards);
    let stream = Plan { parts, seed, batch, pool_shards };
    Ok(RunPlan { stream, groups: chosen.len() as u64, objective })
}

fn sources(recipe: &Recipe, dataset: &Dataset) -> Result<Sources> {
    let open = |wanted: bool, name: &Option<String>| -> Result<Option<TeacherCache>> {
        let name = name.as_ref().filter(|_| wanted);
        Ok(name.map(|name| TeacherCache::open(dataset, name)).transpose()?)
    };
    Ok(Sources {
        image_teacher: open(recipe.arm.vision() || recipe.arm.tokens(), &recipe.teachers.image)?,
        text_teacher: open(recipe.arm.text(), &recipe.teachers.text)?,
        with_tokens: recipe.arm.tokens() && recipe.selection.target == Target::Token,
        dataset: dataset.clone(),
    })
}

/// The recipe's tokenizer, or the one that this run made of its texts.
fn tokenizer(recipe: &Recipe, run: &Path, sources: &Sources, plan: &RunPlan) -> Result<TextTokenizer> {
    let longest = recipe.student.text_tokens;
    let own = run.join(files::STUDENT).join(record::TOKENIZER);
    if own.is_file() {
        return Ok(TextTokenizer::open(&own, longest)?);
    }
    let made = match &recipe.student.tokenizer {
        Some(path) => TextTokenizer::open(path, longest)?,
        None => {
            let mut texts: BTreeSet<String> = BTreeSet::new();
            for part in &plan.stream.parts {
                let zipped = sources.load(&part.shard)?;
                let rows = part.rows.iter().flat_map(|row| &zipped.samples[*row].texts);
                texts.extend(rows.map(|row| zipped.texts.value(*row).to_owned()));
            }
            vocabulary::from_texts(texts.iter().map(String::as_str), longest)?
        }
    };
    write_atomic(&own, made.to_json()?.as_bytes())?;
    Ok(made)
}

fn student(recipe: &Recipe, weights: &Weights, tokenizer: &TextTokenizer, outputs: usize) -> Result<Box<dyn Student>> {
    let size = &recipe.student;
    let config = ViltConfig {
        vocab_size: tokenizer.vocabulary_size() as i64,
        hidden_size: size.hidden,
        num_hidden_layers: size.layers,
        num_attention_heads: size.heads,
        intermediate_size: 4 * size.hidden,
        max_position_embeddings: size.text_tokens as i64,
        image_size: size.image_size,
        patch_size: size.patch_size,
        layer_norm_eps: 1e-12,
    };
    Ok(Box::new(Vilt::new(&weights.root(), config, outputs as i64)?))
}

fn prepare_words(recipe: &Recipe, sources: &Sources, preparer: &mut Preparer) -> Result<()> {
    if !recipe.arm.tokens() {
        return Ok(());
    }
    if let Some(text) = &sources.text_teacher {
        preparer.semantic_words = Some(WordFeatures::read(sources, text, features::words::ISOLATED)?);
    }
    if let Some(joint) = sources.image_teacher.as_ref().filter(|teacher| teacher.manifest().joint) {
        preparer.visual_words = Some(WordFeatures::read(sources, joint, features::words::PROMPT)?);
    }
    Ok(())
}
