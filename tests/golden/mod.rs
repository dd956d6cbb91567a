//! The models against what the reference implementations answered (`tests/data/golden`).

mod bert;
mod clip;
mod families;
mod open_clip;
mod pixels;
mod pooling;
mod torchscript;

use std::fs;
use std::path::PathBuf;

use retort_schemas::Dtype;
use retort_teachers::nn::pixels::{Rgb, decode};
use retort_teachers::nn::{Checkpoint, Encoded};
use retort_teachers::{ImageSide, Teacher, TextSide};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::support::{Result, golden};

/// How near vectors must come to those expected.
#[derive(Clone, Copy)]
struct Bounds {
    /// Least cosine of a row.
    cosine: f64,
    /// Greatest error of an element, as a share of its row's norm.
    error: f64,
}

/// The same sums in single precision, taken in another order.
const F32: Bounds = Bounds { cosine: 0.99999, error: 1e-4 };
/// Computed in eight bits of fraction.
const BF16: Bounds = Bounds { cosine: 0.999, error: 0.05 };
/// The same model on the same text, alone or beside longer ones.
const BATCHED: Bounds = Bounds { cosine: 0.99999, error: 1e-5 };
/// From an image that may differ by one grey level a pixel.
const FROM_FILE: Bounds = Bounds { cosine: 0.9999, error: 0.01 };

/// Holds rows of `width` against those expected.
fn assert_near(what: &str, found: &[f32], expected: &[f32], width: usize, bounds: Bounds) {
    assert_eq!(found.len(), expected.len(), "{what}: elements");
    assert!(!found.is_empty() && found.len().is_multiple_of(width), "{what}: {} elements", found.len());
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    for (row, (found, expected)) in found.chunks_exact(width).zip(expected.chunks_exact(width)).enumerate() {
        let norm = dot(expected, expected).sqrt();
        let cosine = dot(found, expected) / (norm * dot(found, found).sqrt());
        let differences = found.iter().zip(expected).map(|(x, y)| f64::from((x - y).abs()));
        let error = differences.fold(0.0, f64::max) / norm;
        // A comparison with NaN is false, and must fail.
        assert!(cosine > bounds.cosine, "{what}, row {row}: cosine {cosine}, expected more than {}", bounds.cosine);
        assert!(error < bounds.error, "{what}, row {row}: error {error:e} of norm, expected below {}", bounds.error);
    }
}

/// A small model with its inputs and what is expected of it.
struct Case {
    folder: PathBuf,
    expected: Checkpoint,
    inputs: Value,
}

impl Case {
    fn open(name: &str) -> Result<Self> {
        let folder = golden(name);
        let expected = Checkpoint::open_file(&folder.join("expected.safetensors"))?;
        let inputs = serde_json::from_str(&fs::read_to_string(folder.join("cases.json"))?)?;
        Ok(Self { folder, expected, inputs })
    }

    fn teacher(&self, compute: Dtype) -> Result<Teacher> {
        Ok(Teacher::open(&self.folder, Device::Cpu, compute)?)
    }

    /// The words under a key of `cases.json`.
    fn words(&self, key: &str) -> Result<Vec<&str>> {
        let words = self.inputs[key].as_array().ok_or_else(|| format!("cases.json has no {key}"))?;
        Ok(words.iter().filter_map(Value::as_str).collect())
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>> {
        floats(&self.expected.tensor(name)?)
    }

    /// A tensor's rows: its last dimension.
    fn rows(&self, name: &str) -> Result<(Vec<f32>, usize)> {
        let tensor = self.expected.tensor(name)?;
        let width = *tensor.size().last().ok_or("a tensor without dimensions")?;
        Ok((floats(&tensor)?, usize::try_from(width)?))
    }

    /// The images, decoded, in batch order.
    fn images(&self) -> Result<Vec<Rgb>> {
        self.words("images")?.into_iter().map(|name| Ok(decode(&fs::read(golden("images").join(name))?)?)).collect()
    }

    /// The texts, tokenised, in batch order.
    fn encoded(&self, teacher: &Teacher) -> Result<Vec<Encoded>> {
        let tokenizer = &text_side(teacher)?.tokenizer;
        self.words("texts")?.into_iter().map(|text| Ok(tokenizer.encode(text)?)).collect()
    }

    /// The rows of a `[texts, tokens, width]` tensor that stand at tokens of the text proper.
    fn content_rows(&self, name: &str, encoded: &[Encoded]) -> Result<(Vec<f32>, usize)> {
        let tensor = self.expected.tensor(name)?;
        let (_, tokens, width) = tensor.size3()?;
        let (tokens, width) = (usize::try_from(tokens)?, usize::try_from(width)?);
        let all = floats(&tensor)?;
        let mut content = Vec::new();
        for (text, rows) in encoded.iter().zip(all.chunks_exact(tokens * width)) {
            let rows = rows.chunks_exact(width).zip(&text.special).filter(|(_, special)| !**special);
            content.extend(rows.flat_map(|(row, _)| row));
        }
        Ok((content, width))
    }
}

fn floats(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(Vec::try_from(tensor.f_to_kind(Kind::Float)?.f_flatten(0, -1)?)?)
}

fn text_side(teacher: &Teacher) -> Result<&TextSide> {
    Ok(teacher.text.as_ref().ok_or("the teacher has no text encoder")?)
}

fn image_side(teacher: &Teacher) -> Result<&ImageSide> {
    Ok(teacher.image.as_ref().ok_or("the teacher has no image encoder")?)
}

/// Pooled features of texts in one batch, and those of their tokens without the special ones, end to end.
fn embed(teacher: &Teacher, encoded: &[Encoded]) -> Result<(Vec<f32>, Vec<f32>)> {
    let (pooled, tokens) = teacher.embed_texts(&encoded.iter().collect::<Vec<_>>(), true)?;
    Ok((pooled, tokens.concat()))
}

/// Ids of each row of `input_ids`, padding left out.
fn expected_ids(case: &Case, lengths: &[usize]) -> Result<Vec<Vec<u32>>> {
    let tensor = case.expected.tensor("input_ids")?;
    let (_, longest) = tensor.size2()?;
    let ids: Vec<i64> = Vec::try_from(tensor.f_flatten(0, -1)?)?;
    let rows = ids.chunks_exact(usize::try_from(longest)?).zip(lengths);
    rows.map(|(row, length)| row[..*length].iter().map(|id| Ok(u32::try_from(*id)?)).collect()).collect()
}

fn assert_same_ids(case: &Case, encoded: &[Encoded], expected: &[Vec<u32>]) -> Result {
    let texts = case.words("texts")?;
    assert_eq!((texts.len(), encoded.len()), (expected.len(), expected.len()));
    for ((text, encoded), expected) in texts.iter().zip(encoded).zip(expected) {
        assert_eq!(&encoded.ids, expected, "tokens of {text:?}");
    }
    Ok(())
}
