//! How one vector is made of a text's tokens: as a sentence-transformers folder says, or as the model itself does.

use retort_nn::{Linear, Scope};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tch::{Kind, Tensor};

use crate::folder::{ModelFolder, Module, read_json};
use crate::overrides::setting;
use crate::{Error, Overrides, Result};

/// How one vector is made of a text's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Mean over all tokens, special ones included, padding left out (sentence-transformers' `mean`).
    Mean,
    /// Their sum, divided by the root of their number (`mean_sqrt_len_tokens`).
    MeanSqrtLen,
    /// Their mean, the n-th counted n times (`weightedmean`).
    WeightedMean,
    /// The greatest of each dimension (`max`).
    Max,
    /// The first token's feature (`cls`).
    First,
    /// The last token's feature (`lasttoken`).
    Last,
    /// The model's own pooler: tanh of a linear layer on the first token (`pooler_output`).
    Pooler,
}

/// The modes of sentence-transformers' `Pooling`: as a key of older configs, as the word of newer ones.
const MODES: [(&str, &str, Pooling); 6] = [
    ("pooling_mode_cls_token", "cls", Pooling::First),
    ("pooling_mode_max_tokens", "max", Pooling::Max),
    ("pooling_mode_mean_tokens", "mean", Pooling::Mean),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", Pooling::MeanSqrtLen),
    ("pooling_mode_weightedmean_tokens", "weightedmean", Pooling::WeightedMean),
    ("pooling_mode_lasttoken", "lasttoken", Pooling::Last),
];

/// The word of a user for the model's own pooler, which sentence-transformers has no mode for.
const POOLER: &str = "pooler";

impl Pooling {
    /// The words that name it: those of sentence-transformers, and `pooler`.
    pub(crate) fn words() -> Vec<&'static str> {
        MODES.iter().map(|(_, word, _)| *word).chain([POOLER]).collect()
    }

    /// Reads one of [`Self::words`].
    pub(crate) fn named(word: &str) -> Option<Self> {
        let mode = MODES.iter().find(|(_, known, _)| *known == word).map(|(.., pooling)| *pooling);
        mode.or((word == POOLER).then_some(Self::Pooler))
    }

    /// States `[batch, tokens, width]` and mask `[batch, tokens]` to `[batch, width]`. The pooler's layer comes after.
    fn pool(self, states: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let tokens = [1_i64];
        let tokens = tokens.as_slice();
        let weights = mask.f_to_kind(states.kind())?.f_unsqueeze(-1)?;
        let sum = |x: &Tensor| x.f_sum_dim_intlist(tokens, false, None::<Kind>);
        let mean =
            |weights: &Tensor, count: Tensor| -> Result<Tensor> { Ok(sum(&states.f_mul(weights)?)?.f_div(&count)?) };
        match self {
            Self::First | Self::Pooler => Ok(states.f_select(1, 0)?),
            Self::Mean => mean(&weights, sum(&weights)?.f_clamp_min(1e-9)?),
            Self::MeanSqrtLen => mean(&weights, sum(&weights)?.f_clamp_min(1e-9)?.f_sqrt()?),
            Self::WeightedMean => {
                let (_, longest) = mask.size2()?;
                let places = Tensor::f_arange_start(1, longest + 1, (states.kind(), states.device()))?;
                let weights = weights.f_mul(&places.f_unsqueeze(-1)?)?;
                mean(&weights, sum(&weights)?.f_clamp_min(1e-9)?)
            }
            Self::Max => {
                let padded = mask.f_eq(0)?.f_unsqueeze(-1)?;
                Ok(states.f_masked_fill(&padded, -1e9)?.f_amax(tokens, false)?)
            }
            Self::Last => {
                let (batch, _) = mask.size2()?;
                let last = mask.f_sum_dim_intlist(tokens, false, Kind::Int64)?.f_sub_scalar(1)?.f_clamp_min(0)?;
                let rows = Tensor::f_arange(batch, (Kind::Int64, states.device()))?;
                Ok(states.f_index(&[Some(rows), Some(last)])?)
            }
        }
    }
}

/// What a dense layer of sentence-transformers ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum DenseActivation {
    Identity,
    Tanh,
    Relu,
    Gelu,
    Sigmoid,
    Silu,
}

impl DenseActivation {
    /// Reads the name of a class of torch, wherever that is defined.
    fn named(class: &str) -> Option<Self> {
        Some(match class.rsplit('.').next()? {
            "Identity" => Self::Identity,
            "Tanh" => Self::Tanh,
            "ReLU" => Self::Relu,
            "GELU" => Self::Gelu,
            "Sigmoid" => Self::Sigmoid,
            "SiLU" => Self::Silu,
            _ => return None,
        })
    }

    fn apply(self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Identity => x.shallow_clone(),
            Self::Tanh => x.f_tanh()?,
            Self::Relu => x.f_relu()?,
            Self::Gelu => x.f_gelu("none")?,
            Self::Sigmoid => x.f_sigmoid()?,
            Self::Silu => x.f_silu()?,
        })
    }
}

/// What comes after pooling.
#[derive(Debug)]
enum Step {
    Dense {
        layer: Linear,
        activation: DenseActivation,
        told: Value,
    },
    /// To length one.
    Normalise,
}

/// What makes embeddings of token features.
#[derive(Debug)]
pub(crate) struct Head {
    pooling: Pooling,
    pooler: Option<Linear>,
    steps: Vec<Step>,
    width: i64,
}

impl Head {
    /// As `modules.json` of a sentence-transformers folder says; without one, the model's pooler where it has weights, else
    /// the first token. `pooler` is the scope of the former, `width` that of a token.
    ///
    /// # Errors
    /// [`Error::Config`] for what is not supported, and those of the weights.
    pub(crate) fn open(folder: &ModelFolder, pooler: Option<Scope<'_>>, width: i64) -> Result<Self> {
        let pooler = pooler.map(|scope| scope.sub("dense")).filter(|dense| dense.has("weight"));
        let mut head = match folder.root_json::<Vec<Module>>("modules.json")? {
            Some(modules) => Self::of_modules(folder, &modules, width)?,
            None => {
                let pooling = if pooler.is_some() { Pooling::Pooler } else { Pooling::First };
                Self { pooling, pooler: None, steps: Vec::new(), width }
            }
        };
        head.overridden(folder.overrides());
        if head.pooling == Pooling::Pooler {
            let dense = pooler.ok_or_else(|| setting("pooling", "is pooler, and the weights have none".to_owned()))?;
            head.pooler = Some(Linear::new(&dense, width, width)?);
        }
        Ok(head)
    }

    /// Puts what the user says over what the folder says.
    fn overridden(&mut self, told: &Overrides) {
        self.pooling = told.pooling.unwrap_or(self.pooling);
        match told.normalize {
            Some(true) if !matches!(self.steps.last(), Some(Step::Normalise)) => self.steps.push(Step::Normalise),
            Some(false) => self.steps.retain(|step| !matches!(step, Step::Normalise)),
            _ => {}
        }
    }

    fn of_modules(folder: &ModelFolder, modules: &[Module], width: i64) -> Result<Self> {
        refuse_prompt(folder)?;
        let refuse = |problem: String| Error::Config { path: folder.in_root("modules.json"), problem };
        let (mut pooling, mut steps, mut width) = (None, Vec::new(), width);
        for module in modules {
            match module.name() {
                "Transformer" | "Dropout" => {}
                "Pooling" => pooling = Some(read_pooling(folder, &module.path)?),
                "Normalize" => steps.push(Step::Normalise),
                "Dense" => {
                    let (step, outputs) = read_dense(folder, &module.path, width)?;
                    steps.push(step);
                    width = outputs;
                }
                other => {
                    let known = "expected Transformer, Pooling, Dense, Normalize or Dropout";
                    return Err(refuse(format!("it has a module {other}: {known}")));
                }
            }
        }
        let pooling = pooling.ok_or_else(|| refuse("it has no module Pooling".to_owned()))?;
        Ok(Self { pooling, pooler: None, steps, width })
    }

    /// States `[batch, tokens, token width]` and mask `[batch, tokens]` to embeddings `[batch, width]`.
    ///
    /// # Errors
    /// If libtorch refuses the shapes.
    pub(crate) fn forward(&self, states: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let mut x = self.pooling.pool(states, mask)?;
        if let Some(pooler) = &self.pooler {
            x = pooler.forward(&x)?.f_tanh()?;
        }
        for step in &self.steps {
            x = match step {
                Step::Dense { layer, activation, .. } => activation.apply(&layer.forward(&x)?)?,
                Step::Normalise => normalised(&x)?,
            };
        }
        Ok(x)
    }

    /// Dimensions of an embedding.
    pub(crate) fn width(&self) -> usize {
        self.width as usize
    }

    /// Writes down what decides its numbers. `steps` are written where there is more to them than a normalisation at the
    /// end, so that fingerprints from before there was more stay.
    pub(crate) fn tell(&self, details: &mut Map<String, Value>) {
        details.insert("pooling".to_owned(), json!(self.pooling));
        details.insert("normalise".to_owned(), json!(self.steps.iter().any(|step| matches!(step, Step::Normalise))));
        if self.steps.iter().any(|step| matches!(step, Step::Dense { .. })) {
            let told = |step: &Step| match step {
                Step::Dense { told, .. } => told.clone(),
                Step::Normalise => json!("normalise"),
            };
            details.insert("steps".to_owned(), self.steps.iter().map(told).collect());
        }
    }
}

/// Rows `[.., width]` brought to length one.
///
/// # Errors
/// If libtorch refuses.
pub(crate) fn normalised(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_div(&x.f_norm_scalaropt_dim(2, [-1_i64].as_slice(), true)?.f_clamp_min(1e-12)?)?)
}

/// Texts that are encoded with a prompt before them are other texts.
fn refuse_prompt(folder: &ModelFolder) -> Result<()> {
    let file = "config_sentence_transformers.json";
    let config: Value = folder.root_json(file)?.unwrap_or(Value::Null);
    match config.get("default_prompt_name").and_then(Value::as_str) {
        None => Ok(()),
        Some(name) => {
            let problem = format!("its default_prompt_name is {name:?}: prompts are not supported, expected null");
            Err(Error::Config { path: folder.in_root(file), problem })
        }
    }
}

fn read_pooling(folder: &ModelFolder, place: &str) -> Result<Pooling> {
    let path = folder.in_root(if place.is_empty() { "1_Pooling" } else { place }).join("config.json");
    let config: Value = read_json(&path)?;
    let is_on = |(key, word, _): &&(&str, &str, Pooling)| match config.get("pooling_mode") {
        Some(mode) => mode.as_str() == Some(word),
        None => config.get(key).and_then(Value::as_bool).unwrap_or(false),
    };
    let on: Vec<_> = MODES.iter().filter(is_on).collect();
    match on.as_slice() {
        [(_, _, pooling)] => Ok(*pooling),
        several => {
            let several: Vec<&str> = several.iter().map(|(_, word, _)| *word).collect();
            let known = MODES.map(|(_, word, _)| word).join(", ");
            let problem = format!("its pooling is [{}], expected one of {known}", several.join(", "));
            Err(Error::Config { path, problem })
        }
    }
}

/// `Dense`'s config, as sentence-transformers writes it.
#[derive(Debug, Deserialize)]
struct DenseConfig {
    in_features: i64,
    out_features: i64,
    #[serde(default = "yes")]
    bias: bool,
    #[serde(default = "tanh")]
    activation_function: String,
    #[serde(default)]
    module_input_name: Option<String>,
}

fn yes() -> bool {
    true
}

fn tanh() -> String {
    "Tanh".to_owned()
}

fn read_dense(folder: &ModelFolder, place: &str, width: i64) -> Result<(Step, i64)> {
    let path = folder.in_root(place).join("config.json");
    let config: DenseConfig = read_json(&path)?;
    let refuse = |problem: String| Error::Config { path: path.clone(), problem };
    if config.in_features != width {
        return Err(refuse(format!("it takes {} dimensions, what comes before it has {width}", config.in_features)));
    }
    if let Some(input) = config.module_input_name.filter(|input| input != "sentence_embedding") {
        return Err(refuse(format!("it is of {input}, expected sentence_embedding")));
    }
    let activation = DenseActivation::named(&config.activation_function).ok_or_else(|| {
        let known = "expected Identity, Tanh, ReLU, GELU, Sigmoid or SiLU";
        refuse(format!("its activation_function is {}: {known}", config.activation_function))
    })?;
    let (weights, hash) = folder.module_weights(place)?;
    let (scope, outputs) = (weights.root().sub("linear"), config.out_features);
    let layer =
        if config.bias { Linear::new(&scope, width, outputs)? } else { Linear::without_bias(&scope, width, outputs)? };
    let told =
        json!({ "dense": { "activation": activation, "bias": config.bias, "outputs": outputs, "weights": hash } });
    Ok((Step::Dense { layer, activation, told }, outputs))
}
