//! A model folder in Hugging Face layout, opened as a teacher.

use std::path::Path;

use retort_cache::fingerprint;
use retort_nn::pixels::{Preprocessing, Resize, Rgb};
use retort_nn::{Checkpoint, Encoded, TextTokenizer, Weights, file_hash};
use retort_schemas::{Dtype, Store};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::bert::{Bert, BertConfig, Pooling};
use crate::clip::{ClipText, ClipTextConfig, ClipVision, ClipVisionConfig};
use crate::{Error, Result};

/// What a text encoder gives for a batch.
#[derive(Debug)]
pub struct TextFeatures {
    /// One vector a text, `[batch, width]`.
    pub pooled: Tensor,
    /// One vector a token, `[batch, tokens, token width]`; what stands at padding means nothing.
    pub tokens: Tensor,
}

/// The image half of a teacher.
#[derive(Debug)]
pub struct ImageSide {
    tower: ClipVision,
    /// How images are brought to the tower's input.
    pub preprocessing: Preprocessing,
    /// Dimensions of an embedding.
    pub width: usize,
}

#[derive(Debug)]
enum TextTower {
    Clip(ClipText),
    Bert(Bert),
}

/// The text half of a teacher.
pub struct TextSide {
    tower: TextTower,
    /// How texts become ids.
    pub tokenizer: TextTokenizer,
    /// Dimensions of an embedding.
    pub width: usize,
    /// Dimensions of a token's feature.
    pub token_width: usize,
}

/// A frozen encoder of images, texts or both.
pub struct Teacher {
    /// The image encoder, if it has one.
    pub image: Option<ImageSide>,
    /// The text encoder, if it has one.
    pub text: Option<TextSide>,
    /// Everything that decides its numbers.
    pub identity: Value,
    device: Device,
    kind: Kind,
}

impl Teacher {
    /// Opens a model folder, detecting its architecture, for computing on a device in a type.
    ///
    /// # Errors
    /// [`Error::MissingFile`], [`Error::Config`], [`Error::UnknownArchitecture`], [`Error::VocabularySize`], and those
    /// of the weights.
    pub fn open(folder: &Path, device: Device, compute: Dtype) -> Result<Self> {
        let config_path = require(folder, "config.json")?;
        let config: Value = read_json(&config_path)?;
        let checkpoint = Checkpoint::open(folder)?;
        let weights_hash = checkpoint.hash().to_owned();
        let kind = match compute {
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::Bf16 => Kind::BFloat16,
        };
        let weights = Weights::frozen(checkpoint, device, kind);
        let architecture = config.get("model_type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let (image, text, details) = match architecture.as_str() {
            "clip" => open_clip(folder, &config_path, &config, &weights)?,
            "bert" => open_bert(folder, &config_path, &config, &weights)?,
            _ => return Err(Error::UnknownArchitecture { path: config_path, found: architecture }),
        };
        let identity = json!({
            "architecture": architecture,
            "weights": weights_hash,
            "compute": compute,
            "details": details,
        });
        Ok(Self { image, text, identity, device, kind })
    }

    /// Whether images and texts are embedded into one space.
    pub fn is_joint(&self) -> bool {
        self.image.is_some() && self.text.is_some()
    }

    /// The fingerprint of its features when stored as `store`, 32 hex digits.
    pub fn fingerprint(&self, store: impl Into<Store>) -> String {
        fingerprint(&self.identity, store)
    }

    /// Embeds images that were preprocessed to `[3, height, width]` floats each: `[images, width]`, end to end.
    ///
    /// # Errors
    /// If there is no image encoder, or libtorch refuses.
    pub fn embed_pixels(&self, pixels: &[f32], images: usize) -> Result<Vec<f32>> {
        Ok(self.see_pixels(pixels, images, false)?.0)
    }

    /// As [`Self::embed_pixels`], and where wanted each image's patch grid, `[images, patches, patch width]`, end to end
    /// ([`ImageSide::grid_size`]).
    ///
    /// # Errors
    /// As [`Self::embed_pixels`].
    pub fn see_pixels(&self, pixels: &[f32], images: usize, with_grid: bool) -> Result<(Vec<f32>, Vec<f32>)> {
        let side = self.image_side()?;
        let [height, width] = side.input_size();
        let shape = [images as i64, 3, i64::from(height), i64::from(width)];
        let _guard = tch::no_grad_guard();
        let pixels = Tensor::f_from_slice(pixels)?.f_reshape(shape)?.f_to_device(self.device)?.f_to_kind(self.kind)?;
        let hidden = side.tower.hidden(&pixels)?;
        let grid = if with_grid { floats(&side.tower.grid(&hidden)?)? } else { Vec::new() };
        Ok((floats(&side.tower.pooled(&hidden)?)?, grid))
    }

    /// Embeds decoded images: `[images, width]`, end to end.
    ///
    /// # Errors
    /// As [`Self::embed_pixels`].
    pub fn embed_images(&self, images: &[Rgb]) -> Result<Vec<f32>> {
        let side = self.image_side()?;
        let mut pixels = Vec::new();
        for image in images {
            pixels.extend(side.preprocess(image)?);
        }
        self.embed_pixels(&pixels, images.len())
    }

    /// Embeds tokenised texts, padded to the longest: pooled `[texts, width]`, and where wanted the features of each
    /// text's tokens without the special ones, `[tokens, token width]` each.
    ///
    /// # Errors
    /// If there is no text encoder, or libtorch refuses.
    pub fn embed_texts(&self, texts: &[&Encoded], with_tokens: bool) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
        let Some(side) = &self.text else { return Err(no_side("text")) };
        let longest = texts.iter().map(|text| text.ids.len()).max().unwrap_or(0);
        let mut ids = vec![0_i64; texts.len() * longest];
        let mut mask = vec![0_i64; ids.len()];
        for (row, text) in texts.iter().enumerate() {
            for (column, id) in text.ids.iter().enumerate() {
                ids[row * longest + column] = i64::from(*id);
                mask[row * longest + column] = 1;
            }
        }
        let shape = [texts.len() as i64, longest as i64];
        let _guard = tch::no_grad_guard();
        let tensor = |values: &[i64]| -> Result<Tensor> {
            Ok(Tensor::f_from_slice(values)?.f_reshape(shape)?.f_to_device(self.device)?)
        };
        let (ids, mask) = (tensor(&ids)?, tensor(&mask)?);
        let features = match &side.tower {
            TextTower::Clip(tower) => tower.forward(&ids, &mask)?,
            TextTower::Bert(tower) => tower.forward(&ids, &mask)?,
        };
        let pooled = floats(&features.pooled)?;
        let mut tokens = Vec::new();
        if with_tokens {
            let all = floats(&features.tokens)?;
            for (text, rows) in texts.iter().zip(all.chunks_exact((longest * side.token_width).max(1))) {
                let content = rows.chunks_exact(side.token_width).zip(&text.special).filter(|(_, special)| !**special);
                tokens.push(content.flat_map(|(row, _)| row.iter().copied()).collect());
            }
        }
        Ok((pooled, tokens))
    }

    fn image_side(&self) -> Result<&ImageSide> {
        self.image.as_ref().ok_or_else(|| no_side("image"))
    }
}

fn no_side(side: &'static str) -> Error {
    let found = format!("this teacher has no {side} encoder");
    Error::Model(retort_nn::Error::Image { problem: found })
}

impl ImageSide {
    /// Patches of an image, and the width of each one's vector.
    pub fn grid_size(&self) -> [usize; 2] {
        self.tower.grid_size()
    }

    /// `[height, width]` of the tower's input.
    pub fn input_size(&self) -> [u32; 2] {
        self.preprocessing.crop.unwrap_or_default()
    }

    /// An image as the tower's input, `[3, height, width]` floats.
    ///
    /// # Errors
    /// If it cannot be resized.
    pub fn preprocess(&self, image: &Rgb) -> Result<Vec<f32>> {
        Ok(self.preprocessing.normalise(&self.preprocessing.fit(image)?))
    }
}

fn floats(tensor: &Tensor) -> Result<Vec<f32>> {
    let flat = tensor.f_to_kind(Kind::Float)?.f_to_device(Device::Cpu)?.f_contiguous()?.f_view([-1])?;
    Ok(Vec::<f32>::try_from(&flat)?)
}

type Sides = (Option<ImageSide>, Option<TextSide>, Value);

fn open_clip(folder: &Path, path: &Path, config: &Value, weights: &Weights) -> Result<Sides> {
    let vision: ClipVisionConfig = part(path, config, "vision_config")?;
    let text: ClipTextConfig = part(path, config, "text_config")?;
    let projected = config.get("projection_dim").and_then(Value::as_i64).unwrap_or(512);
    check_heads(path, vision.num_attention_heads, vision.hidden_size)?;
    check_heads(path, text.num_attention_heads, text.hidden_size)?;
    if !(1..=vision.image_size).contains(&vision.patch_size) {
        let problem = format!("its patch_size is {}, its image_size {}", vision.patch_size, vision.image_size);
        return Err(Error::Config { path: path.to_owned(), problem });
    }
    let preprocessing = clip_preprocessing(folder, vision.image_size)?;
    let tokenizer = open_tokenizer(folder, text.max_position_embeddings as usize, text.vocab_size as usize)?;
    let details = json!({
        "vision": vision,
        "text": text,
        "projection": projected,
        "preprocessing": preprocessing,
        "tokenizer": file_hash(&folder.join("tokenizer.json"))?,
        "pooling": "projection of class token / end-of-text token",
        "longest": tokenizer.longest(),
    });
    let scope = weights.root();
    let image =
        ImageSide { tower: ClipVision::new(&scope, &vision, projected)?, preprocessing, width: projected as usize };
    let text_side = TextSide {
        tower: TextTower::Clip(ClipText::new(&scope, &text, projected)?),
        tokenizer,
        width: projected as usize,
        token_width: text.hidden_size as usize,
    };
    Ok((Some(image), Some(text_side), details))
}

fn open_bert(folder: &Path, path: &Path, config: &Value, weights: &Weights) -> Result<Sides> {
    let bert: BertConfig = parse(path, config.clone())?;
    check_heads(path, bert.num_attention_heads, bert.hidden_size)?;
    let (pooling, normalise) = sentence_pooling(folder, weights)?;
    let longest = longest_text(folder, bert.max_position_embeddings)?;
    let tokenizer = open_tokenizer(folder, longest, bert.vocab_size as usize)?;
    let details = json!({
        "bert": bert,
        "tokenizer": file_hash(&folder.join("tokenizer.json"))?,
        "pooling": pooling,
        "normalise": normalise,
        "longest": longest,
    });
    let width = bert.hidden_size as usize;
    let tower = TextTower::Bert(Bert::new(&weights.root(), &bert, pooling, normalise)?);
    Ok((None, Some(TextSide { tower, tokenizer, width, token_width: width }), details))
}

fn check_heads(path: &Path, heads: i64, width: i64) -> Result<()> {
    if heads > 0 && width % heads == 0 {
        return Ok(());
    }
    let problem = format!("its {heads} attention heads do not divide its hidden_size {width}");
    Err(Error::Config { path: path.to_owned(), problem })
}

/// Pooling and normalisation as a sentence-transformers folder states them; else BERT's own pooler, if it has weights.
fn sentence_pooling(folder: &Path, weights: &Weights) -> Result<(Pooling, bool)> {
    let modules_path = folder.join("modules.json");
    if !modules_path.is_file() {
        let pooler = Bert::base(&weights.root()).has("pooler.dense.weight");
        return Ok((if pooler { Pooling::Pooler } else { Pooling::First }, false));
    }
    let modules: Vec<Value> = read_json(&modules_path)?;
    let of_type = |ending: &str| {
        modules.iter().find(|module| module.get("type").and_then(Value::as_str).is_some_and(|t| t.ends_with(ending)))
    };
    let normalise = of_type(".Normalize").is_some();
    let Some(module) = of_type(".Pooling") else { return Ok((Pooling::First, normalise)) };
    let place = module.get("path").and_then(Value::as_str).unwrap_or("1_Pooling");
    let path = folder.join(place).join("config.json");
    let config: Value = read_json(&path)?;
    let on = |mode: &str| config.get(mode).and_then(Value::as_bool).unwrap_or(false);
    match (on("pooling_mode_mean_tokens"), on("pooling_mode_cls_token")) {
        (true, false) => Ok((Pooling::Mean, normalise)),
        (false, true) => Ok((Pooling::First, normalise)),
        _ => Err(Error::Config { path, problem: "its pooling is neither mean nor cls alone".to_owned() }),
    }
}

/// Most tokens of a text: `max_seq_length` of sentence-transformers, `model_max_length` of the tokenizer, or the
/// model's positions, whichever is least.
fn longest_text(folder: &Path, positions: i64) -> Result<usize> {
    let mut longest = positions as u64;
    for (file, key) in [("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")]
    {
        let path = folder.join(file);
        if path.is_file() {
            let config: Value = read_json(&path)?;
            longest = longest.min(config.get(key).and_then(Value::as_u64).unwrap_or(u64::MAX));
        }
    }
    Ok(longest as usize)
}

fn open_tokenizer(folder: &Path, longest: usize, vocabulary: usize) -> Result<TextTokenizer> {
    let path = require(folder, "tokenizer.json")?;
    let tokenizer = TextTokenizer::open(&path, longest)?;
    if tokenizer.vocabulary_size() > vocabulary {
        return Err(Error::VocabularySize { path, tokenizer: tokenizer.vocabulary_size(), model: vocabulary });
    }
    Ok(tokenizer)
}

/// Reads `preprocessor_config.json`; without one, CLIP's usual values for the config's image size.
fn clip_preprocessing(folder: &Path, image_size: i64) -> Result<Preprocessing> {
    let side = image_size as u32;
    let mut preprocessing = Preprocessing {
        resize: Some(Resize::ShortestEdge(side)),
        crop: Some([side, side]),
        rescale: 1.0 / 255.0,
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
    };
    let path = folder.join("preprocessor_config.json");
    if !path.is_file() {
        return Ok(preprocessing);
    }
    let config: Value = read_json(&path)?;
    let problem = |problem: String| Error::Config { path: path.clone(), problem };
    let on = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(true);
    const BICUBIC: u64 = 3;
    match config.get("resample").and_then(Value::as_u64) {
        None | Some(BICUBIC) => {}
        Some(other) => return Err(problem(format!("resample is {other}, expected 3 (bicubic)"))),
    }
    if let Some(size) = config.get("size") {
        preprocessing.resize = Some(match (edge(size, "shortest_edge"), sides(size)) {
            (Some(edge), _) => Resize::ShortestEdge(edge),
            (None, Some(sides)) => Resize::Exact(sides),
            (None, None) => {
                return Err(problem(format!("size is {size}, expected a shortest_edge or height and width")));
            }
        });
    }
    if let Some(size) = config.get("crop_size") {
        let crop = sides(size).or_else(|| edge(size, "shortest_edge").map(|edge| [edge, edge]));
        preprocessing.crop = Some(crop.ok_or_else(|| problem(format!("crop_size is {size}")))?);
    }
    if !on("do_resize") {
        preprocessing.resize = None;
    }
    if !on("do_center_crop") {
        match preprocessing.resize {
            Some(Resize::Exact(sides)) => preprocessing.crop = Some(sides),
            _ => return Err(problem("without a centre crop, size must give height and width".to_owned())),
        }
    }
    if let Some(factor) = config.get("rescale_factor").and_then(Value::as_f64) {
        preprocessing.rescale = factor as f32;
    }
    if !on("do_rescale") {
        preprocessing.rescale = 1.0;
    }
    if on("do_normalize") {
        for (key, channels) in [("image_mean", &mut preprocessing.mean), ("image_std", &mut preprocessing.std)] {
            if let Some(values) = config.get(key) {
                *channels = parse(&path, values.clone())?;
            }
        }
    } else {
        (preprocessing.mean, preprocessing.std) = ([0.0; 3], [1.0; 3]);
    }
    if preprocessing.crop != Some([side, side]) {
        let crop = preprocessing.crop.unwrap_or_default();
        return Err(problem(format!("images come out as {crop:?}, the model takes {side} x {side}")));
    }
    Ok(preprocessing)
}

fn edge(size: &Value, key: &str) -> Option<u32> {
    size.get(key).unwrap_or(size).as_u64().and_then(|n| u32::try_from(n).ok())
}

fn sides(size: &Value) -> Option<[u32; 2]> {
    Some([edge(size.get("height")?, "")?, edge(size.get("width")?, "")?])
}

fn require(folder: &Path, file: &'static str) -> Result<std::path::PathBuf> {
    let path = folder.join(file);
    if path.is_file() { Ok(path) } else { Err(Error::MissingFile { folder: folder.to_owned(), file }) }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = retort_cache::read_text(path)?;
    serde_json::from_str(&text).map_err(|error| Error::Config { path: path.to_owned(), problem: error.to_string() })
}

fn parse<T: DeserializeOwned>(path: &Path, value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| Error::Config { path: path.to_owned(), problem: error.to_string() })
}

fn part<T: DeserializeOwned>(path: &Path, config: &Value, key: &str) -> Result<T> {
    let missing = || Error::Config { path: path.to_owned(), problem: format!("it has no {key}") };
    parse(path, config.get(key).cloned().ok_or_else(missing)?)
}
