//! What a step of training costs: plain, with the whole method from the cache, and with the same teachers in the loop.
//!
//! ```text
//! steps RECIPE.toml WORK IMAGE_TEACHER TEXT_TEACHER STEPS ROUNDS      one JSON object a round, milliseconds a step
//! ```
//!
//! The three are the trainer itself, in turn, on the same batches. In the third, each step first decodes a batch of
//! images, preprocesses and embeds them, and embeds a batch of texts with their tokens: what a trainer without a cache
//! would do. `tests/peers/train.py` makes the inputs and adds the plain step in PyTorch.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use arrow::array::{Array, BinaryArray, StringArray};
use retort_cache::{Columns, Dataset, Interrupt, Progress, column};
use retort_schemas::{Dtype, tables};
use retort_teachers::Teacher;
use retort_teachers::nn::pixels;
use retort_trainer::{Recipe, train};
use serde_json::json;
use tch::Device;

/// Steps at the start of a run that are not counted: buffers are allocated, threads started, pages read.
const WARM_UP: usize = 5;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [recipe, work, image, text, steps, rounds] = arguments.as_slice() else {
        return Err("expected RECIPE.toml WORK IMAGE_TEACHER TEXT_TEACHER STEPS ROUNDS".into());
    };
    let (recipe, work) = (Path::new(recipe), Path::new(work));
    let plain = Recipe::read(recipe, &[])?;
    let online = Online::open(Path::new(image), Path::new(text), &plain)?;
    let online = Mutex::new(online);
    for round in 0..rounds.parse::<usize>()? {
        let time = |name: &str, arm: &str, online: Option<&Mutex<Online>>| -> Result<f64, Failure> {
            let settings = [format!("arm=\"{arm}\""), format!("optim.steps={steps}")];
            let timed = Timed { done: Mutex::default(), online };
            let run = work.join(format!("{name}-{round}"));
            train(&Recipe::read(recipe, &settings)?, &run, &timed, &Interrupt::default())?;
            std::fs::remove_dir_all(&run)?;
            timed.median_ms()
        };
        let found = json!({
            "plain_ms": time("plain", "base", None)?,
            "cached_ms": time("cached", "kd+ts+cw", None)?,
            "online_ms": time("online", "kd+ts+cw", Some(&online))?,
        });
        println_json(&found)?;
    }
    Ok(())
}

fn println_json(value: &serde_json::Value) -> std::io::Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{value}")
}

/// Notes when each step ends, and runs the teachers before the next where they are in the loop.
struct Timed<'a> {
    done: Mutex<Vec<Instant>>,
    online: Option<&'a Mutex<Online>>,
}

impl Timed<'_> {
    fn median_ms(&self) -> Result<f64, Failure> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let each = done.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1e3);
        let mut each: Vec<f64> = each.skip(WARM_UP).collect();
        each.sort_by(f64::total_cmp);
        Ok(*each.get(each.len() / 2).ok_or("too few steps")?)
    }
}

impl Progress for Timed<'_> {
    fn begin(&self, _: &str, _: u64, _: &'static str) {}

    fn advance(&self, units: u64) {
        if units != 1 {
            return;
        }
        if let Some(online) = self.online {
            let mut online = online.lock().unwrap_or_else(PoisonError::into_inner);
            // A benchmark that computes nothing would lie.
            assert!(online.embed().is_ok_and(|floats| floats > 0));
        }
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
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
