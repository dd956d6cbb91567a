//! What a teacher's model alone takes: no decoding, no tokenising, nothing written.
//!
//! ```text
//! encode images MODEL COUNT BATCH DEVICE DTYPE       items a second over COUNT images of noise
//! encode texts MODEL FILE TOKENS DEVICE DTYPE        items a second over the lines of FILE, in batches of so many tokens
//! ```
//!
//! Inputs are in memory, as the model takes them, before the time begins: `tests/peers/teach.py` compares it with `retort teach`,
//! which does everything else beside.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use retort_teachers::Teacher;
use retort_teachers::nn::{self, Encoded};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [kind, model, what, batch, device, dtype] = words[..] else {
        return Err("encode images MODEL COUNT BATCH DEVICE DTYPE | encode texts MODEL FILE TOKENS DEVICE DTYPE".into());
    };
    let (teacher, batch) = (Teacher::open(Path::new(model), nn::device(device)?, dtype.parse()?)?, batch.parse()?);
    let rate = match kind {
        "images" => images(&teacher, what.parse()?, batch)?,
        "texts" => texts(&teacher, Path::new(what), batch)?,
        other => return Err(format!("{other} is neither images nor texts").into()),
    };
    writeln!(std::io::stdout(), "{rate}")?;
    Ok(())
}

fn images(teacher: &Teacher, count: usize, batch: usize) -> Result<f64> {
    let side = teacher.image.as_ref().ok_or("the model has no image encoder")?;
    let [height, width] = side.input_size().map(|side| side as usize);
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let pixels: Vec<f32> = (0..batch * 3 * height * width).map(|_| noise()).collect();
    teacher.see_pixels(&pixels, batch, false)?; // Buffers are allocated.
    let began = Instant::now();
    for at in (0..count).step_by(batch) {
        let images = batch.min(count - at);
        teacher.see_pixels(&pixels[..images * 3 * height * width], images, false)?;
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

fn texts(teacher: &Teacher, file: &Path, tokens: usize) -> Result<f64> {
    let side = teacher.text.as_ref().ok_or("the model has no text encoder")?;
    let lines = std::fs::read_to_string(file)?;
    let mut all: Vec<Encoded> =
        lines.lines().map(|line| side.tokenizer.encode(line)).collect::<std::result::Result<_, _>>()?;
    all.sort_by_key(|text| text.ids.len());
    let mut batches: Vec<Vec<&Encoded>> = Vec::new();
    for text in &all {
        match batches.last_mut().filter(|batch| (batch.len() + 1) * text.ids.len() <= tokens) {
            Some(batch) => batch.push(text),
            None => batches.push(vec![text]),
        }
    }
    if let Some(batch) = batches.last() {
        teacher.embed_texts(batch, false)?;
    }
    let began = Instant::now();
    for batch in &batches {
        teacher.embed_texts(batch, false)?;
    }
    Ok(all.len() as f64 / began.elapsed().as_secs_f64())
}
