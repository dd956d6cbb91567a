//! What a step of training costs: plain, with the whole method from the cache, and with the same teachers in the loop.
//!
//! ```text
//! steps RECIPE.toml WORK IMAGE_TEACHER TEXT_TEACHER STEPS plain|cached|online      milliseconds a step, the median
//!                                                         start|resume             milliseconds until the first step is done
//! ```
//!
//! Each is the trainer itself, on the same batches. In the third, each step first decodes a batch of images, preprocesses
//! and embeds them, and embeds a batch of texts with their tokens: what a trainer without a cache would do. The last two
//! are of the method from the cache: a new run, and one that was stopped a few steps before its end.
//! `tests/peers/train.py` makes the inputs, calls this once for each of them and adds the plain step in PyTorch.

use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use arrow::array::{Array, BinaryArray, StringArray};
use retort_cache::{Columns, Dataset, Interrupt, Progress, column};
use retort_schemas::{Dtype, tables};
use retort_teachers::Teacher;
use retort_teachers::nn::pixels;
use retort_trainer::{Recipe, train};
use tch::Device;

/// Steps at the start of a run that are not counted: buffers are allocated, threads started, pages read.
const WARM_UP: usize = 5;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = "expected RECIPE.toml WORK IMAGE_TEACHER TEXT_TEACHER STEPS plain|cached|online|start|resume";
    let [recipe, work, image, text, steps, kind] = arguments.as_slice() else { return Err(usage.into()) };
    let arm = if kind == "plain" { "base" } else { "kd+ts+cw" };
    let recipe = Recipe::read(Path::new(recipe), &[format!("arm=\"{arm}\""), format!("optim.steps={steps}")])?;
    let run = Path::new(work).join(kind);
    let timed = match kind.as_str() {
        "online" => Timed::new(Some(Online::open(Path::new(image), Path::new(text), &recipe)?), None),
        "start" => Timed::new(None, Some(1)),
        "plain" | "cached" | "resume" => Timed::new(None, None),
        _ => return Err(usage.into()),
    };
    if kind == "resume" {
        timed_until_stopped(&recipe, &run, Timed::new(None, Some(steps.parse::<usize>()?.saturating_sub(WARM_UP))))?;
    }
    let began = Instant::now();
    let timed = timed_until_stopped(&recipe, &run, timed)?;
    std::fs::remove_dir_all(&run)?;
    let found =
        if ["start", "resume"].contains(&kind.as_str()) { timed.first_ms(began)? } else { timed.median_ms()? };
    writeln!(std::io::stdout(), "{found}")?;
    Ok(())
}

/// Trains to the end, or to where the timer stops it.
fn timed_until_stopped(recipe: &Recipe, run: &Path, timed: Timed) -> Result<Timed, Failure> {
    match train(recipe, run, &timed, &timed.interrupt) {
        Err(error) if !timed.interrupt.requested() => Err(error.into()),
        _ => Ok(timed),
    }
}

/// Notes when each step ends, and runs the teachers before the next where they are in the loop.
struct Timed {
    done: Mutex<Vec<Instant>>,
    online: Option<Mutex<Online>>,
    /// Steps after which the run is asked to stop.
    stop_after: Option<usize>,
    interrupt: Interrupt,
}

impl Timed {
    fn new(online: Option<Online>, stop_after: Option<usize>) -> Self {
        Self { done: Mutex::default(), online: online.map(Mutex::new), stop_after, interrupt: Interrupt::default() }
    }

    fn first_ms(&self, began: Instant) -> Result<f64, Failure> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((*done.first().ok_or("no step was done")? - began).as_secs_f64() * 1e3)
    }

    fn median_ms(&self) -> Result<f64, Failure> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let each = done.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e3);
        let mut each: Vec<f64> = each.skip(WARM_UP).collect();
        each.sort_by(f64::total_cmp);
        Ok(*each.get(each.len() / 2).ok_or("too few steps")?)
    }
}

impl Progress for Timed {
    fn begin(&self, _: &str, _: u64, _: &'static str) {}

    fn advance(&self, units: u64) {
        if units != 1 {
            return;
        }
        if let Some(online) = &self.online {
            let mut online = online.lock().unwrap_or_else(PoisonError::into_inner);
            // A benchmark that computes nothing would lie.
            assert!(online.embed().is_ok_and(|floats| floats > 0));
        }
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.push(Instant::now());
        if Some(done.len()) == self.stop_after {
            self.interrupt.request();
        }
    }

    fn note(&self, _: &str) {}

    fn end(&self) {}
}

/// Both teachers, with images and texts of the training part.
struct Online {
    image: Teacher,
    text: Teacher,
    images: BinaryArray,
    texts: StringArray,
    batch: usize,
    at: usize,
}

impl Online {
    fn open(image: &Path, text: &Path, recipe: &Recipe) -> Result<Self, Failure> {
        let dataset = Dataset::open(&recipe.data.dataset)?;
        let shard = &dataset.split_shards(&recipe.data.split)?.next().ok_or("no shards")??;
        let images = dataset.read(shard, tables::images::NAME, Columns::Named(&[tables::images::BYTES]))?;
        let texts = dataset.read(shard, tables::texts::NAME, Columns::Named(&[tables::texts::TEXT]))?;
        Ok(Self {
            image: Teacher::open(image, Device::Cpu, Dtype::F32)?,
            text: Teacher::open(text, Device::Cpu, Dtype::F32)?,
            images: column::<BinaryArray>(&images, tables::images::BYTES)?.clone(),
            texts: column::<StringArray>(&texts, tables::texts::TEXT)?.clone(),
            batch: recipe.optim.batch,
            at: 0,
        })
    }

    /// Embeds the next batch; floats computed.
    fn embed(&mut self) -> Result<usize, Failure> {
        let rows: Vec<usize> = (self.at..self.at + self.batch).collect();
        self.at += self.batch;
        let decoded = rows.iter().map(|row| pixels::decode(self.images.value(row % self.images.len())));
        let features = self.image.embed_images(&decoded.collect::<Result<Vec<_>, _>>()?)?;
        let side = self.text.text.as_ref().ok_or("the text teacher has no text encoder")?;
        let encoded = rows.iter().map(|row| side.tokenizer.encode(self.texts.value(row % self.texts.len())));
        let encoded = encoded.collect::<Result<Vec<_>, _>>()?;
        let (pooled, tokens) = self.text.embed_texts(&encoded.iter().collect::<Vec<_>>(), true)?;
        Ok(features.len() + pooled.len() + tokens.len())
    }
}
