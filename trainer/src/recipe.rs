//! Recipes: everything that decides a run, in one TOML file, every key with its default here.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A run from beginning to end. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Which parts of the method are on: `base`, `kd-v`, `kd-t`, `kd`, `kd+ts`, `kd+ts+cw`.
    #[serde(default)]
    pub arm: Arm,
    /// Seed of initialisation, low-shot sampling, order and augmentation.
    #[serde(default = "one")]
    pub seed: u64,
    /// What is trained on.
    pub data: Data,
    /// Who is trained.
    #[serde(default)]
    pub student: Student,
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
    /// Optimiser and schedule.
    #[serde(default)]
    pub optim: Optim,
    /// Student-side image augmentation.
    #[serde(default)]
    pub augment: Augment,
    /// What is logged and kept.
    #[serde(default)]
    pub log: Log,
}

fn one() -> u64 {
    1
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
    /// Shards that are shuffled together.
    #[serde(default = "pool")]
    pub pool_shards: usize,
    /// Batches prepared ahead of the step.
    #[serde(default = "prefetch")]
    pub prefetch_batches: usize,
}

fn train() -> String {
    "train".to_owned()
}
fn pool() -> usize {
    8
}
fn prefetch() -> usize {
    4
}

/// Size of the cross-modal student.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Student {
    /// `vilt`.
    pub kind: String,
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
}

impl Default for Student {
    /// Size tiny.
    fn default() -> Self {
        Self {
            kind: "vilt".to_owned(),
            hidden: 128,
            layers: 4,
            heads: 4,
            image_size: 64,
            patch_size: 8,
            text_tokens: 24,
            tokenizer: None,
        }
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
        Self { words: 3, alpha: 0.5, tau_a: 0.05, tau_b: 0.05, mode: SelectMode::Top, target: Target::Token }
    }
}

/// Confidence weighting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Confidence {
    /// `ratio`, `teacher` or `gate`.
    pub form: ConfidenceForm,
    /// Folds of the cross-fitted probe.
    pub folds: usize,
}

impl Default for Confidence {
    fn default() -> Self {
        Self { form: ConfidenceForm::Ratio, folds: 5 }
    }
}

/// AdamW with linear warm-up and linear decay to zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optim {
    /// Optimiser steps of the run.
    pub steps: u64,
    /// Samples a step.
    pub batch: usize,
    /// Highest learning rate.
    pub lr: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: u64,
    /// Decay of weight matrices; biases, norms and embeddings of positions have none.
    pub weight_decay: f64,
    /// First and second moment.
    pub betas: [f64; 2],
    /// Gradient norm above which gradients are scaled down; 0 for never.
    pub clip: f64,
}

impl Default for Optim {
    fn default() -> Self {
        Self {
            steps: 1000,
            batch: 32,
            lr: 1e-3,
            warmup_steps: 50,
            weight_decay: 0.01,
            betas: [0.9, 0.98],
            clip: 1.0,
        }
    }
}

/// Student-side augmentation, seeded a sample and epoch. Teacher features stay those of the plain image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Most pixels that the student's input is moved in each direction; edges repeat.
    pub shift_px: u32,
    /// Mirror half of the images left to right, and half top to bottom. Only where no text names a side.
    pub flip: bool,
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

/// Declares an enum of words: what a recipe says, and how it is printed.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $word)] $variant),+ }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

words! {
    /// An arm of the protocol: which parts of the method are on.
    Arm {
        /// The task alone.
        Base = "base",
        /// L_v.
        KdV = "kd-v",
        /// L_t.
        KdT = "kd-t",
        /// L_v and L_t: naive distillation.
        Kd = "kd",
        /// With token selection.
        KdTs = "kd+ts",
        /// With token selection and confidence weighting.
        KdTsCw = "kd+ts+cw",
    }
}

// The derive would need the attribute inside the macro for one enum of five.
#[allow(clippy::derivable_impls)]
impl Default for Arm {
    fn default() -> Self {
        Self::Base
    }
}

impl Arm {
    /// L_v.
    pub fn vision(self) -> bool {
        !matches!(self, Self::Base | Self::KdT)
    }

    /// L_t.
    pub fn text(self) -> bool {
        !matches!(self, Self::Base | Self::KdV)
    }

    /// L_TS.
    pub fn tokens(self) -> bool {
        matches!(self, Self::KdTs | Self::KdTsCw)
    }

    /// w(x).
    pub fn confidence(self) -> bool {
        self == Self::KdTsCw
    }
}

words! {
    /// Distance between a projected student feature and a normalised teacher feature, a mean over dimensions.
    Distance {
        /// Mean absolute difference.
        L1 = "l1",
        /// Mean squared difference.
        L2 = "l2",
        /// One minus cosine.
        Cosine = "cosine",
    }
}

words! {
    /// How words are chosen from their probabilities.
    SelectMode {
        /// The m most probable.
        Top = "top",
        /// m drawn without replacement, seeded a sample and epoch.
        Sample = "sample",
    }
}

words! {
    /// What the student's word feature is drawn to.
    Target {
        /// The text teacher's contextual feature of the word.
        Token = "token",
        /// The text teacher's pooled feature.
        Sentence = "sentence",
        /// The image teacher's pooled feature.
        Image = "image",
    }
}

words! {
    /// Form of w(x).
    ConfidenceForm {
        /// c_T / (c_T + c_S).
        Ratio = "ratio",
        /// c_T.
        Teacher = "teacher",
        /// 1 where the teacher's prediction is right, else 0.
        Gate = "gate",
    }
}

/// How many images are trained on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Shots {
    /// All.
    #[default]
    All,
    /// This share, 0 to 1.
    Share(f64),
    /// This many.
    Count(u64),
}

impl Shots {
    /// The number of groups out of `all`: at least one, at most all.
    pub fn of(self, all: usize) -> usize {
        let count = match self {
            Self::All => all,
            Self::Share(share) => (share * all as f64).round() as usize,
            Self::Count(count) => count as usize,
        };
        count.clamp(1, all.max(1))
    }
}

impl FromStr for Shots {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let refuse = || format!("expected \"all\", a share such as \"5%\" or a number of images, found {word:?}");
        if word == "all" {
            return Ok(Self::All);
        }
        match word.strip_suffix('%') {
            Some(percent) => match percent.trim().parse::<f64>() {
                Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(Self::Share(percent / 100.0)),
                _ => Err(refuse()),
            },
            None => word.parse().ok().filter(|n| *n > 0).map(Self::Count).ok_or_else(refuse),
        }
    }
}

impl TryFrom<String> for Shots {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        word.parse()
    }
}

impl From<Shots> for String {
    fn from(shots: Shots) -> Self {
        shots.to_string()
    }
}

impl fmt::Display for Shots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Share(share) => write!(f, "{}%", share * 100.0),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

impl Recipe {
    /// Reads a recipe and puts `key=value` settings over it; `data.dataset` is relative to the current folder.
    ///
    /// # Errors
    /// [`Error::Recipe`]; [`Error::UnknownKey`] with the nearest known key; [`Error::Setting`].
    pub fn read(path: &Path, settings: &[String]) -> Result<Self> {
        Self::parse(path, &retort_cache::read_text(path)?, settings)
    }

    /// As [`Self::read`], from text; `path` is for messages.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(path: &Path, text: &str, settings: &[String]) -> Result<Self> {
        let malformed = |problem: String| Error::Recipe { path: path.to_owned(), problem };
        let mut table: toml::Table = toml::from_str(text).map_err(|error| malformed(error.to_string()))?;
        for setting in settings {
            let (key, value) =
                setting.split_once('=').ok_or_else(|| malformed(format!("--set {setting}: expected key=value")))?;
            set(&mut table, key.trim(), value.trim()).map_err(malformed)?;
        }
        check_keys(path, &table)?;
        let recipe: Self =
            toml::Value::Table(table).try_into().map_err(|error: toml::de::Error| malformed(error.to_string()))?;
        recipe.check()?;
        Ok(recipe)
    }

    /// The resolved recipe as TOML, every key present.
    ///
    /// # Errors
    /// [`Error::Recipe`], which would be a defect of this crate.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|error| Error::Recipe { path: PathBuf::from("resolved"), problem: error.to_string() })
    }

    fn check(&self) -> Result<()> {
        let refuse = |key, problem: &str| Err(Error::Setting { key, problem: problem.to_owned() });
        if self.student.kind != "vilt" {
            return refuse("student.kind", "is unknown: expected vilt");
        }
        if self.student.image_size % self.student.patch_size.max(1) != 0 || self.student.patch_size < 1 {
            return refuse("student.patch_size", "does not divide student.image_size");
        }
        if self.student.heads < 1 || self.student.hidden % self.student.heads != 0 {
            return refuse("student.heads", "does not divide student.hidden");
        }
        if self.optim.batch == 0 || self.optim.steps == 0 {
            return refuse("optim", "needs at least one step of one sample");
        }
        if self.arm.vision() && self.teachers.image.is_none() {
            return refuse("teachers.image", "is needed by this arm: name a teacher of the data set, such as \"clip\"");
        }
        if self.arm.text() && self.teachers.text.is_none() {
            return refuse("teachers.text", "is needed by this arm: name a teacher of the data set, such as \"text\"");
        }
        Ok(())
    }
}

/// Puts a dotted key into a table; the value is TOML, or else a string.
fn set(table: &mut toml::Table, key: &str, value: &str) -> Result<(), String> {
    let parsed: toml::Value = match toml::from_str::<toml::Table>(&format!("value = {value}")) {
        Ok(mut table) => table.remove("value").unwrap_or_else(|| toml::Value::String(value.to_owned())),
        Err(_) => toml::Value::String(value.to_owned()),
    };
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), parsed);
            Ok(())
        }
        Some((head, rest)) => {
            let inner = table.entry(head.to_owned()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            match inner {
                toml::Value::Table(inner) => set(inner, rest, value),
                _ => Err(format!("--set {key}: {head} is no table")),
            }
        }
    }
}

/// Every key that a recipe may have, with its table: those of a recipe in which everything is present.
fn known_keys() -> Vec<String> {
    let full = Recipe {
        arm: Arm::Base,
        seed: 1,
        data: Data {
            dataset: PathBuf::new(),
            split: train(),
            shots: Shots::All,
            pool_shards: pool(),
            prefetch_batches: prefetch(),
        },
        student: Student { tokenizer: Some(PathBuf::new()), ..Student::default() },
        teachers: Teachers { image: Some(String::new()), text: Some(String::new()) },
        distil: Distil::default(),
        selection: Selection::default(),
        confidence: Confidence::default(),
        optim: Optim::default(),
        augment: Augment::default(),
        log: Log::default(),
    };
    let mut keys = Vec::new();
    if let Ok(toml::Value::Table(table)) = toml::Value::try_from(full) {
        for (key, value) in table {
            if let toml::Value::Table(inner) = &value {
                keys.extend(inner.keys().map(|inner| format!("{key}.{inner}")));
            }
            keys.push(key);
        }
    }
    keys
}

fn check_keys(path: &Path, table: &toml::Table) -> Result<()> {
    let known = known_keys();
    let found = table.iter().flat_map(|(key, value)| match value {
        toml::Value::Table(inner) if known.contains(key) => {
            inner.keys().map(|inner| format!("{key}.{inner}")).collect::<Vec<_>>()
        }
        _ => vec![key.clone()],
    });
    for key in found {
        if !known.contains(&key) {
            let near = known
                .iter()
                .map(|known| (strsim::damerau_levenshtein(known, &key), known))
                .min()
                .filter(|(distance, _)| *distance <= 1 + key.len() / 3)
                .map(|(_, known)| known.clone());
            return Err(Error::UnknownKey { path: path.to_owned(), key, near });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, settings: &[&str]) -> Result<Recipe> {
        let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
        Recipe::parse(Path::new("recipe.toml"), text, &settings)
    }

    #[test]
    fn the_resolved_recipe_reads_back_as_itself() -> Result<()> {
        let text = "arm = \"kd\"\n[data]\ndataset = \"d\"\nshots = \"5%\"\n[teachers]\nimage = \"clip\"\ntext = \"text\"";
        let recipe = parse(text, &["optim.lr=0.5", "seed=7", "student.tokenizer=t.json"])?;
        assert_eq!((recipe.optim.lr, recipe.seed, recipe.data.shots), (0.5, 7, Shots::Share(0.05)));
        assert_eq!(parse(&recipe.to_toml()?, &[])?, recipe);
        Ok(())
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest() {
        for (text, settings, near) in [
            ("[data]\ndataset = \"d\"\n[optim]\nstesp = 3", vec![], "optim.steps"),
            ("[data]\ndataset = \"d\"\n[optin]\nsteps = 3", vec![], "optim"),
            ("[data]\ndataset = \"d\"", vec!["distil.kd_ration=1"], "distil.kd_ratio"),
        ] {
            let refusal = parse(text, &settings).unwrap_err().to_string();
            assert!(refusal.contains(&format!("did you mean {near:?}")), "{refusal}");
        }
    }

    #[test]
    fn an_arm_names_the_teachers_that_it_needs() {
        let refusal = parse("arm = \"kd\"\n[data]\ndataset = \"d\"", &[]).unwrap_err().to_string();
        assert!(refusal.contains("teachers.image is needed"), "{refusal}");
    }

    #[test]
    fn shots_are_a_share_or_a_number() {
        assert_eq!("5%".parse(), Ok(Shots::Share(0.05)));
        assert_eq!(Shots::Share(0.05).of(4000), 200);
        assert_eq!(Shots::Count(10).of(4), 4);
        for wrong in ["0%", "101%", "0", "-1", "some"] {
            assert!(wrong.parse::<Shots>().is_err(), "{wrong}");
        }
    }
}
