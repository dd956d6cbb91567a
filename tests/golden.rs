//! The models against what the reference implementations answered (`tests/data/golden`).

use std::fs;
use std::path::{Path, PathBuf};

use retort_schemas::Dtype;
use retort_teachers::nn::pixels::{Preprocessing, Resize, Rgb, decode};
use retort_teachers::nn::{Checkpoint, Encoded, Weights};
use retort_teachers::{ClipVision, ClipVisionConfig, ImageSide, Teacher, TextSide};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::support::{Result, copy_folder, demo, golden};

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

#[test]
fn clip_tokens_are_those_of_transformers() -> Result {
    for name in ["clip", "clip-legacy"] {
        let case = Case::open(name)?;
        let encoded = case.encoded(&case.teacher(Dtype::F32)?)?;
        let lengths: Vec<i64> = Vec::try_from(case.expected.tensor("lengths")?)?;
        let lengths = lengths.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>()?;
        assert_same_ids(&case, &encoded, &expected_ids(&case, &lengths)?)?;
        // The longest of the model is 32 tokens; those that came out as long as that were longer.
        let cut: Vec<bool> = encoded.iter().map(|text| text.truncated).collect();
        let full: Vec<bool> = lengths.iter().map(|length| *length == 32).collect();
        assert!(full.contains(&true));
        assert_eq!(cut, full, "which texts were cut");
    }
    Ok(())
}

#[test]
fn clip_text_features_are_those_of_transformers() -> Result {
    for name in ["clip", "clip-legacy"] {
        let case = Case::open(name)?;
        let teacher = case.teacher(Dtype::F32)?;
        let encoded = case.encoded(&teacher)?;
        let (pooled, tokens) = embed(&teacher, &encoded)?;
        let (expected, width) = case.rows("text_embeds")?;
        assert_eq!(text_side(&teacher)?.width, width);
        assert_near(&format!("{name} texts"), &pooled, &expected, width, F32);
        if name == "clip" {
            let (expected, width) = case.content_rows("text_last_hidden_state", &encoded)?;
            assert_eq!(text_side(&teacher)?.token_width, width);
            assert_near("clip tokens", &tokens, &expected, width, F32);
        }
    }
    Ok(())
}

#[test]
fn clip_image_features_are_those_of_transformers() -> Result {
    for name in ["clip", "clip-legacy"] {
        let case = Case::open(name)?;
        let teacher = case.teacher(Dtype::F32)?;
        let images = case.images()?;
        let (expected, width) = case.rows("image_embeds")?;
        assert_eq!(image_side(&teacher)?.width, width);
        let found = teacher.embed_pixels(&case.floats("pixel_values")?, images.len())?;
        assert_near(&format!("{name} images"), &found, &expected, width, F32);
        let found = teacher.embed_images(&images)?;
        assert_near(&format!("{name} images from files"), &found, &expected, width, FROM_FILE);
    }
    Ok(())
}

#[test]
fn clip_patch_features_are_those_of_transformers() -> Result {
    let case = Case::open("clip")?;
    let config: Value = serde_json::from_str(&fs::read_to_string(case.folder.join("config.json"))?)?;
    let vision: ClipVisionConfig = serde_json::from_value(config["vision_config"].clone())?;
    let projected = config["projection_dim"].as_i64().ok_or("no projection_dim")?;
    let weights = Weights::frozen(Checkpoint::open(&case.folder)?, Device::Cpu, Kind::Float);
    let tower = ClipVision::new(&weights.root(), &vision, projected)?;
    let (expected, width) = case.rows("vision_last_hidden_state")?;
    let found = floats(&tower.hidden(&case.expected.tensor("pixel_values")?)?)?;
    assert_near("clip patches", &found, &expected, width, F32);
    Ok(())
}

#[test]
fn every_pixel_is_within_one_level_of_pillow() -> Result {
    let case = Case::open("preprocess")?;
    let settings = case.inputs["settings"].as_array().ok_or("no settings")?;
    let (mut pixels, mut different) = (0, 0);
    for (name, image) in case.words("images")?.into_iter().zip(case.images()?) {
        for setting in settings {
            let number = |key: &str| setting[key].as_u64().and_then(|n| u32::try_from(n).ok()).ok_or("no number");
            let (edge, crop) = (number("shortest_edge")?, number("crop")?);
            let preprocessing = Preprocessing {
                resize: Some(Resize::ShortestEdge(edge)),
                crop: Some([crop, crop]),
                rescale: 1.0,
                mean: [0.0; 3],
                std: [1.0; 3],
            };
            let name = format!("{name}/{edge}-{crop}");
            let found = preprocessing.fit(&image)?;
            assert_eq!((found.width, found.height), (crop, crop), "{name}");
            let expected: Vec<u8> = Vec::try_from(case.expected.tensor(&name)?.f_flatten(0, -1)?)?;
            assert_eq!(found.data.len(), expected.len(), "{name}");
            for (at, (found, expected)) in found.data.iter().zip(&expected).enumerate() {
                let (row, column) = (at / 3 / crop as usize, at / 3 % crop as usize);
                let place = format!("{name}, row {row}, column {column}, channel {}", at % 3);
                assert!(found.abs_diff(*expected) <= 1, "{place}: {found}, expected {expected}");
                pixels += 1;
                different += usize::from(found != expected);
            }
        }
    }
    assert!(pixels > 0 && different * 50 < pixels, "{different} of {pixels} values are off by one");
    println!("preprocess: {different} of {pixels} values are off by one level");
    Ok(())
}

#[test]
fn pixels_are_normalised_as_transformers_does() -> Result {
    for name in ["clip", "clip-legacy"] {
        let case = Case::open(name)?;
        let teacher = case.teacher(Dtype::F32)?;
        let side = image_side(&teacher)?;
        assert_eq!(side.input_size(), [32, 32]);
        let expected = case.floats("pixel_values")?;
        let (names, images) = (case.words("images")?, case.images()?);
        assert_eq!(expected.len(), images.len() * 3 * 32 * 32);
        for ((image, name), expected) in images.iter().zip(names).zip(expected.chunks_exact(3 * 32 * 32)) {
            let found = side.preprocess(image)?;
            assert_eq!(found.len(), expected.len(), "{name}");
            for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                let channel = at / (32 * 32);
                let level = 1.0 / 255.0 / side.preprocessing.std[channel];
                let levels = (found - expected).abs() / level;
                assert!(levels <= 1.01, "{name}, channel {channel}, value {at}: {levels} levels off");
            }
        }
    }
    Ok(())
}

#[test]
fn bert_tokens_and_features_are_those_of_transformers() -> Result {
    let case = Case::open("bert")?;
    let teacher = case.teacher(Dtype::F32)?;
    let encoded = case.encoded(&teacher)?;
    let mask = case.expected.tensor("attention_mask")?;
    let lengths: Vec<i64> = Vec::try_from(mask.f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Int64)?)?;
    let lengths = lengths.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>()?;
    assert_same_ids(&case, &encoded, &expected_ids(&case, &lengths)?)?;
    let cut: Vec<bool> = encoded.iter().map(|text| text.truncated).collect();
    assert_eq!(cut, [false, false, false, false, false, false, true], "only the last text is longer than 24 tokens");

    let (pooled, tokens) = embed(&teacher, &encoded)?;
    let (expected, width) = case.rows("pooler_output")?;
    assert_near("bert texts", &pooled, &expected, width, F32);
    let (expected, width) = case.content_rows("last_hidden_state", &encoded)?;
    assert_near("bert tokens", &tokens, &expected, width, F32);
    Ok(())
}

/// The poolings of sentence-transformers are simple sums over the last hidden state, so they are taken here anew.
#[test]
fn a_sentence_transformers_folder_says_how_to_pool() -> Result {
    let case = Case::open("bert")?;
    let lengths: Vec<usize> = case.encoded(&case.teacher(Dtype::F32)?)?.iter().map(|text| text.ids.len()).collect();
    let (states, width) = case.rows("last_hidden_state")?;
    let texts = || states.chunks_exact(states.len() / lengths.len()).zip(&lengths);
    let mean = |(states, length): (&[f32], &usize)| -> Vec<f32> {
        let sum = |column: usize| states.chunks_exact(width).take(*length).map(|row| row[column]).sum::<f32>();
        (0..width).map(|column| sum(column) / *length as f32).collect()
    };
    let first = |(states, _): (&[f32], &usize)| states[..width].to_vec();
    let unit = |row: Vec<f32>| -> Vec<f32> {
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter().map(|x| x / norm).collect()
    };
    let poolings: [(&str, bool, Vec<f32>); 4] = [
        ("mean", false, texts().flat_map(mean).collect()),
        ("mean", true, texts().flat_map(|text| unit(mean(text))).collect()),
        ("cls", false, texts().flat_map(first).collect()),
        ("cls", true, texts().flat_map(|text| unit(first(text))).collect()),
    ];
    for (mode, normalise, expected) in poolings {
        let folder = tempfile::tempdir()?;
        copy_folder(&case.folder, folder.path())?;
        write_modules(folder.path(), mode, normalise)?;
        let teacher = Teacher::open(folder.path(), Device::Cpu, Dtype::F32)?;
        let (pooled, _) = embed(&teacher, &case.encoded(&teacher)?)?;
        assert_near(&format!("bert, {mode} pooling, normalise {normalise}"), &pooled, &expected, width, F32);
    }
    Ok(())
}

fn write_modules(folder: &Path, mode: &str, normalise: bool) -> Result {
    let mut modules = vec![
        json!({ "idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer" }),
        json!({ "idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling" }),
    ];
    if normalise {
        modules.push(json!({ "idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize" }));
    }
    let pooling = json!({ "pooling_mode_mean_tokens": mode == "mean", "pooling_mode_cls_token": mode == "cls" });
    fs::write(folder.join("modules.json"), json!(modules).to_string())?;
    fs::create_dir(folder.join("1_Pooling"))?;
    fs::write(folder.join("1_Pooling/config.json"), pooling.to_string())?;
    Ok(())
}

#[test]
fn a_text_gives_the_same_alone_and_in_a_batch() -> Result {
    for name in ["clip", "clip-legacy", "bert"] {
        let case = Case::open(name)?;
        let teacher = case.teacher(Dtype::F32)?;
        let side = text_side(&teacher)?;
        let encoded = case.encoded(&teacher)?;
        let (pooled, tokens) = embed(&teacher, &encoded)?;
        let (mut pooled_alone, mut tokens_alone) = (Vec::new(), Vec::new());
        for text in encoded.chunks(1) {
            let (pooled, tokens) = embed(&teacher, text)?;
            pooled_alone.extend(pooled);
            tokens_alone.extend(tokens);
        }
        assert_near(&format!("{name} texts, alone"), &pooled_alone, &pooled, side.width, BATCHED);
        assert_near(&format!("{name} tokens, alone"), &tokens_alone, &tokens, side.token_width, BATCHED);
    }
    Ok(())
}

#[test]
fn features_computed_in_bf16_stay_near() -> Result {
    for name in ["clip", "clip-legacy", "bert"] {
        let case = Case::open(name)?;
        let teacher = case.teacher(Dtype::Bf16)?;
        let (pooled, _) = embed(&teacher, &case.encoded(&teacher)?)?;
        let expected = if name == "bert" { "pooler_output" } else { "text_embeds" };
        let (expected, width) = case.rows(expected)?;
        assert_near(&format!("{name} texts in bf16"), &pooled, &expected, width, BF16);
        if teacher.image.is_some() {
            let (expected, width) = case.rows("image_embeds")?;
            let found = teacher.embed_pixels(&case.floats("pixel_values")?, expected.len() / width)?;
            assert_near(&format!("{name} images in bf16"), &found, &expected, width, BF16);
        }
    }
    Ok(())
}

#[test]
fn minilm_answers_as_sentence_transformers_runs_it() -> Result {
    let folder = match demo("minilm") {
        Ok(folder) => folder,
        Err(absent) => {
            eprintln!("{absent}");
            return Ok(());
        }
    };
    let inputs: Value = serde_json::from_str(&fs::read_to_string(golden("minilm.json"))?)?;
    let sentences = inputs["sentences"].as_array().ok_or("no sentences")?;
    let expected = Checkpoint::open_file(&golden("minilm.safetensors"))?;
    let embeddings = floats(&expected.tensor("embedding")?)?;
    let width = 384;

    let teacher = Teacher::open(&folder, Device::Cpu, Dtype::F32)?;
    let tokenizer = &text_side(&teacher)?.tokenizer;
    assert_eq!((tokenizer.longest(), text_side(&teacher)?.width), (256, width));
    let mut encoded = Vec::new();
    for sentence in sentences {
        let text = sentence["text"].as_str().ok_or("no text")?;
        let ids: Vec<u32> = serde_json::from_value(sentence["input_ids"].clone())?;
        let found = tokenizer.encode(text)?;
        assert_eq!(found.ids, ids, "tokens of {text:?}");
        assert_eq!(found.truncated, ids.len() == 256, "{text:?}");
        if let Some(offsets) = sentence.get("byte_offsets") {
            let offsets: Vec<(u32, u32)> = serde_json::from_value(offsets.clone())?;
            let spans = found.spans.iter().zip(&found.special).filter(|(_, special)| !**special);
            assert_eq!(spans.map(|(span, _)| *span).collect::<Vec<_>>(), offsets, "spans of {text:?}");
        }
        encoded.push(found);
    }

    let batch: Vec<&Encoded> = encoded.iter().collect();
    let (pooled, tokens) = teacher.embed_texts(&batch, true)?;
    assert_near("minilm", &pooled, &embeddings, width, F32);
    let mut with_tokens = 0;
    for (sentence, tokens) in tokens.iter().enumerate() {
        let name = format!("tokens_{sentence}");
        assert_eq!(expected.has(&name), sentences[sentence].get("byte_offsets").is_some(), "{name}");
        if expected.has(&name) {
            assert_near(&format!("minilm {name}"), tokens, &floats(&expected.tensor(&name)?)?, width, F32);
            with_tokens += 1;
        }
    }
    assert_eq!(with_tokens, 3);

    let teacher = Teacher::open(&folder, Device::Cpu, Dtype::Bf16)?;
    let (pooled, _) = teacher.embed_texts(&batch, false)?;
    assert_near("minilm in bf16", &pooled, &embeddings, width, BF16);
    Ok(())
}
