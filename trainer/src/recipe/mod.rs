//! Recipes: everything that decides a run, in one TOML file, every key with its default here.

mod adapt;
mod augment;
mod deciding;
#[cfg(test)]
mod page_tests;
mod ranges;
mod read;
#[cfg(test)]
mod ready_tests;
mod words;

use std::path::PathBuf;

use retort_schemas::selection;
use serde::{Deserialize, Serialize};

pub use adapt::Adapt;
pub use augment::Augment;
pub(crate) use read::{near_key, set, unknown_key};
pub use words::{
    AdaptMode, Arm, ChoiceLoss, ConfidenceForm, ConfidenceSource, Control, Decay, Distance, Export, Fit, Positions,
    Precision, SelectMode, Shots, Side, StudentKind, Target,
};

/// A run from beginning to end. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Which parts of the method are on: `base`, `kd-v`, `kd-t`, `kd`, `kd+ts`, `kd+ts+cw`, `mad`; or
    /// `clip-grid`.
    #[serde(default)]
    pub arm: Arm,
    /// Which part of the method is replaced by chance: `none`, `random-words`, `shuffled-weights`, `random-teacher`.
    #[serde(default = "no_control")]
    pub control: Control,
    /// Seed of initialisation, low-shot sampling, order and augmentation.
    #[serde(default = "one")]
    pub seed: u64,
    /// Where: `auto` (CUDA if there is one), `cpu`, `cuda` or `cuda:N`. On a CPU a run is bit-identical every time.
    #[serde(default = "auto")]
    pub device: String,
    /// What is trained on.
    pub data: Data,
    /// Who is trained.
    #[serde(default)]
    pub student: Student,
    /// What the task loss is, where there are several.
    #[serde(default)]
    pub task: Task,
    /// Whose features are distilled; not needed by the arm `base`.
    #[serde(default)]
    pub teachers: Teachers,
    /// Weight and distance of the distillation terms.
    #[serde(default)]
    pub distil: Distil,
    /// Token selection (TS).
    #[serde(default)]
    pub selection: Selection,
    /// Confidence weighting (CW).
    #[serde(default)]
    pub confidence: Confidence,
    /// What comes before task finetuning.
    #[serde(default)]
    pub adapt: Adapt,
    /// Optimiser and schedule.
    #[serde(default)]
    pub optim: Optim,
    /// Student-side image augmentation.
    #[serde(default)]
    pub augment: Augment,
    /// What is logged and kept.
    #[serde(default)]
    pub log: Log,
    /// Adversarial training (VILLA).
    #[serde(default)]
    pub adversarial: Adversarial,
    /// What is held out of training and scored now and then.
    #[serde(default)]
    pub validate: Validate,
}

fn one() -> u64 {
    1
}
fn auto() -> String {
    "auto".to_owned()
}
fn no_control() -> Control {
    Control::None
}

/// What is trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Folder of the data set.
    pub dataset: PathBuf,
    /// The split.
    #[serde(default = "train")]
    pub split: String,
    /// Low-shot part of it, by images: `"5%"`, `"200"` or `"all"`.
    #[serde(default)]
    pub shots: Shots,
    /// Most samples that are in memory and shuffled together; another such pool is loaded meanwhile.
    #[serde(default = "pool")]
    pub pool_samples: usize,
    /// Chosen samples that follow one another in the data set and are read together: more of them read less in vain,
    /// fewer of them keep neighbours further apart.
    #[serde(default = "block")]
    pub block_samples: usize,
    /// Batches prepared ahead of the step.
    #[serde(default = "prefetch")]
    pub prefetch_batches: usize,
    /// Memory for images that were decoded and fitted before, so that they are not decoded again.
    #[serde(default = "kept_images")]
    pub kept_images_bytes: usize,
    /// Memory for texts that were tokenised before, so that they are not tokenised again.
    #[serde(default = "kept_texts")]
    pub kept_texts_bytes: usize,
}

fn train() -> String {
    "train".to_owned()
}
fn pool() -> usize {
    8192
}
fn block() -> usize {
    32
}
fn prefetch() -> usize {
    4
}
fn kept_images() -> usize {
    256 << 20
}

fn kept_texts() -> usize {
    64 << 20
}

/// Size of the cross-modal student.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Student {
    /// `vilt`, `visualbert`, `uniter`, `villa` or `clip-grid`.
    pub kind: StudentKind,
    /// Width of a token.
    pub hidden: i64,
    /// Layers.
    pub layers: i64,
    /// Attention heads.
    pub heads: i64,
    /// Side of the square input in pixels.
    pub image_size: i64,
    /// Side of a patch in pixels.
    pub patch_size: i64,
    /// Most tokens of a text, special ones included.
    pub text_tokens: usize,
    /// A tokenizer.json; without one, a WordPiece vocabulary is made of the training texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// Most regions of an image, for students that read regions: those of the highest scores, the first where the
    /// detector gave none.
    pub regions: usize,
    /// How an image that is no square is made one, for students that read pixels: `crop` or `squash`.
    pub fit: Fit,
    /// How the positions of a grid of patches begin, without `from`: `random` or `waves`.
    pub positions: Positions,
    /// A folder in Hugging Face layout to start from. `hidden`, `layers`, `heads` and `patch_size` have to be those of its
    /// config.json, `text_tokens` at most its positions; for another `image_size` the positions of its patches are resized.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
}

impl Default for Student {
    /// Size tiny.
    fn default() -> Self {
        Self {
            kind: StudentKind::Vilt,
            hidden: 128,
            layers: 4,
            heads: 4,
            image_size: 64,
            patch_size: 8,
            text_tokens: 24,
            tokenizer: None,
            regions: 36,
            fit: Fit::Crop,
            positions: Positions::Random,
            from: None,
        }
    }
}

/// What the task loss is, where there are several. The task itself is that of the samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Task {
    /// Of a choice among candidate texts (VCR, matching): `softmax` or `binary`.
    pub choice_loss: ChoiceLoss,
    /// Share of the truth that is spread evenly over all answers, classes or candidates; 0 for none.
    pub label_smoothing: f64,
}

impl Default for Task {
    fn default() -> Self {
        Self { choice_loss: ChoiceLoss::Softmax, label_smoothing: 0.0 }
    }
}

/// Names of teachers in the data set's cache.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Teachers {
    /// Gives z_v, and, if joint, visual relevance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Gives z_t, token targets and semantic relevance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Weight and distance of the distillation terms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Distil {
    /// `l1`, `l2` or `cosine`.
    pub distance: Distance,
    /// Distillation term over task loss, from which lambda is set.
    pub kd_ratio: f64,
    /// Steps over which lambda is found; then it is fixed.
    pub balance_steps: u64,
    /// Share of L_v within the distillation term, against 1 for the texts'.
    pub vision: f64,
    /// Share of L_t + L_TS.
    pub text: f64,
}

impl Default for Distil {
    fn default() -> Self {
        Self { distance: Distance::L1, kd_ratio: 0.3, balance_steps: 50, vision: 1.0, text: 1.0 }
    }
}

/// Token selection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    /// m: words a text.
    pub words: usize,
    /// Share of visual relevance; 0 without a joint teacher.
    pub alpha: f32,
    /// Temperature of the visual softmax.
    pub tau_a: f32,
    /// Temperature of the semantic softmax.
    pub tau_b: f32,
    /// `top` or `sample`.
    pub mode: SelectMode,
    /// `token`, `sentence` or `image`.
    pub target: Target,
}

impl Default for Selection {
    fn default() -> Self {
        let (words, alpha, tau) = (selection::WORDS, selection::ALPHA, selection::TAU);
        Self { words, alpha, tau_a: tau, tau_b: tau, mode: SelectMode::Top, target: Target::Token }
    }
}

/// Confidence weighting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Confidence {
    /// `ratio`, `teacher` or `gate`.
    pub form: ConfidenceForm,
    /// `auto`, `zero-shot` or `probe`.
    pub source: ConfidenceSource,
    /// Folds of the cross-fitted probe.
    pub folds: usize,
}

impl Default for Confidence {
    fn default() -> Self {
        Self { form: ConfidenceForm::Ratio, source: ConfidenceSource::Auto, folds: 5 }
    }
}

/// AdamW with linear warm-up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optim {
    /// Optimiser steps of the run.
    pub steps: u64,
    /// Samples a step.
    pub batch: usize,
    /// Parts in which a step's samples go through the student, one after another; their gradients add up to those of the
    /// whole batch, and memory is that of one part.
    pub accumulate: usize,
    /// Highest learning rate.
    pub lr: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: u64,
    /// What the rate does after it: `linear` or `cosine` (down to zero behind the last step) or `constant`.
    pub decay: Decay,
    /// Times the rate for what begins untrained: the answer head and the projections to the teachers' widths.
    pub head_rate: f64,
    /// Times the rate for each layer further down, from the last to the embeddings; 1 for the same everywhere.
    pub layer_decay: f64,
    /// Of the exponential moving average of the weights, which is then what is exported; 0 for none.
    pub ema: f64,
    /// Decay of weight matrices; biases, norms and embeddings of positions have none.
    pub weight_decay: f64,
    /// First and second moment.
    pub betas: [f64; 2],
    /// Gradient norm above which gradients are scaled down; 0 for never.
    pub clip: f64,
    /// Times what the loss was (the higher of the mean of its first steps and its running mean) at which training
    /// stops; 0 for never.
    pub explode: f64,
    /// Whether layers are computed again in the backward pass instead of kept (gradient checkpointing): memory of one
    /// layer instead of all, for a third more time.
    pub recompute: bool,
    /// What the layers compute in while training: `f32` or `bf16` (mixed precision).
    pub precision: Precision,
}

impl Default for Optim {
    fn default() -> Self {
        Self {
            steps: 1000,
            batch: 32,
            accumulate: 1,
            lr: 1e-3,
            warmup_steps: 50,
            decay: Decay::Linear,
            head_rate: 1.0,
            layer_decay: 1.0,
            ema: 0.0,
            weight_decay: 0.01,
            betas: [0.9, 0.98],
            clip: 1.0,
            explode: 100.0,
            recompute: false,
            precision: Precision::F32,
        }
    }
}

/// What is logged and kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Steps between two rows of the metrics.
    pub every: u64,
    /// Steps between two checkpoints.
    pub checkpoint_every: u64,
    /// Checkpoints kept.
    pub keep: usize,
    /// Samples whose selected words are written down.
    pub selection_samples: usize,
}

impl Default for Log {
    fn default() -> Self {
        Self { every: 10, checkpoint_every: 250, keep: 2, selection_samples: 32 }
    }
}

/// Adversarial training of the embeddings, as VILLA (Gan et al. 2020). Any student can be trained so; `villa` always
/// is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Adversarial {
    /// Whether it is on; `student.kind = "villa"` turns it on whatever this says.
    pub enabled: bool,
    /// Steps of gradient ascent for each step of training; each costs an encoder pass, forward and backward.
    pub steps: u64,
    /// Length of a step of ascent, in the L2 norm over all embeddings of a text or image.
    pub lr: f64,
    /// Weight of the divergence between clean and perturbed predictions.
    pub kl: f64,
    /// Largest L2 norm of a perturbation; 0 for no bound.
    pub max_norm: f64,
    /// Size of the random perturbation that ascent begins with; 0 to begin with none.
    pub initial_norm: f64,
    /// `text`, `image`, `both` or `alternate`.
    pub side: Side,
}

impl Default for Adversarial {
    fn default() -> Self {
        Self { enabled: false, steps: 3, lr: 1e-2, kl: 1.5, max_norm: 0.0, initial_norm: 0.0, side: Side::Alternate }
    }
}

/// Validation on a held-out part of the training images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Validate {
    /// Share of the images that `data.shots` draws, which is held out; 0 for none.
    pub share: f64,
    /// Steps between two scores; 0 for one at the end. There always is one at the end.
    pub every: u64,
    /// Which weights become the student: `last`, or `best` of those that were scored.
    pub export: Export,
}

impl Default for Validate {
    fn default() -> Self {
        Self { share: 0.0, every: 250, export: Export::Last }
    }
}

impl Recipe {
    /// The settings of adversarial training, where it is on.
    pub fn adversarial(&self) -> Option<&Adversarial> {
        Some(&self.adversarial).filter(|settings| settings.enabled || self.student.kind == StudentKind::Villa)
    }
}
