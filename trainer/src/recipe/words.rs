//! The words of a recipe: what each setting may say.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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
        /// The whole method: as `kd+ts+cw`, after adaptive finetuning.
        Mad = "mad",
        /// The task alone, on a student whose visual input is the image teacher's patch grid: no distillation.
        ClipGrid = "clip-grid",
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
        !matches!(self, Self::Base | Self::ClipGrid | Self::KdT)
    }

    /// L_t.
    pub fn text(self) -> bool {
        !matches!(self, Self::Base | Self::ClipGrid | Self::KdV)
    }

    /// L_TS.
    pub fn tokens(self) -> bool {
        matches!(self, Self::KdTs | Self::KdTsCw | Self::Mad)
    }

    /// w(x).
    pub fn confidence(self) -> bool {
        matches!(self, Self::KdTsCw | Self::Mad)
    }
}

words! {
    /// A student; `students` has one module each.
    StudentKind {
        /// Pixels through a linear patch projection.
        Vilt = "vilt",
        /// Detected regions, in BERT after the text.
        VisualBert = "visualbert",
        /// Detected regions with their boxes, each embedded in its own way.
        Uniter = "uniter",
        /// `uniter`, trained with adversarial perturbation.
        Villa = "villa",
        /// The patch grid of the image teacher, from the cache.
        ClipGrid = "clip-grid",
    }
}

impl StudentKind {
    /// Whether it reads a detector's regions instead of pixels.
    pub fn reads_regions(self) -> bool {
        matches!(self, Self::VisualBert | Self::Uniter | Self::Villa)
    }

    /// Whether it reads pixels, so that images are decoded.
    pub fn reads_pixels(self) -> bool {
        self == Self::Vilt
    }
}

words! {
    /// How an image that is no square is made one.
    Fit {
        /// The shorter side is scaled to the square's, and the middle cut out: shapes stay, borders are lost.
        Crop = "crop",
        /// Both sides are scaled to the square's: all is seen, shapes are squeezed.
        Squash = "squash",
    }
}

words! {
    /// How the positions of a grid of patches begin in a student that starts from scratch.
    Positions {
        /// Normal, of deviation 0.02, as the rest.
        Random = "random",
        /// Sines and cosines along both sides.
        Waves = "waves",
    }
}

words! {
    /// What the student's layers compute in.
    Precision {
        /// Everything in single precision.
        F32 = "f32",
        /// Attention and feed-forward parts in bfloat16; weights, sums, normalisations, heads and losses in single precision.
        Bf16 = "bf16",
    }
}

words! {
    /// What adversarial training perturbs.
    Side {
        /// The embeddings of the text.
        Text = "text",
        /// The embeddings of the image.
        Image = "image",
        /// Both at once.
        Both = "both",
        /// The text's in one step, the image's in the next, as VILLA: never both at once.
        Alternate = "alternate",
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

words! {
    /// Where c_T comes from.
    ConfidenceSource {
        /// `zero-shot` for a choice with a joint teacher whose texts are in the cache, else `probe`.
        Auto = "auto",
        /// softmax over the candidates of cos(z_v, z_t) / 0.01, of a joint teacher.
        ZeroShot = "zero-shot",
        /// A cross-fitted probe on the teachers' features.
        Probe = "probe",
    }
}

words! {
    /// Task loss of a choice among candidate texts.
    ChoiceLoss {
        /// Cross-entropy over the candidates.
        Softmax = "softmax",
        /// Two-way cross-entropy a candidate, as UNITER.
        Binary = "binary",
    }
}

words! {
    /// What comes before task finetuning.
    AdaptMode {
        /// `aft` for the arm `mad`, `none` for all others.
        Auto = "auto",
        /// Adaptive finetuning: L_v + L_t + L_TS + L_con, no labels.
        Aft = "aft",
        /// The compute-matched baseline: as many steps of masked-language modelling on the same data.
        Mlm = "mlm",
        /// Nothing.
        None = "none",
    }
}

words! {
    /// A control of the protocol: one part of the method replaced by chance.
    Control {
        /// The method as it is.
        None = "none",
        /// As many random words of each text instead of the selected ones.
        RandomWords = "random-words",
        /// w(x) shuffled within the batch.
        ShuffledWeights = "shuffled-weights",
        /// Random vectors of the same widths for everything that the teachers say.
        RandomTeacher = "random-teacher",
    }
}

words! {
    /// Which weights of a validated run become the student.
    Export {
        /// Those of the last step.
        Last = "last",
        /// Those of the best score on the held-out part.
        Best = "best",
    }
}

words! {
    /// What becomes of the learning rate after the warm-up.
    Decay {
        /// Down to zero in a straight line.
        Linear = "linear",
        /// Down to zero by half a cosine.
        Cosine = "cosine",
        /// It stays.
        Constant = "constant",
    }
}

/// How many images are trained on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "toml::Value", into = "String")]
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

/// A number of images may be written with quotes or without.
impl TryFrom<toml::Value> for Shots {
    type Error = String;

    fn try_from(said: toml::Value) -> Result<Self, String> {
        match said {
            toml::Value::String(word) => word.parse(),
            other => other.to_string().parse(),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shots_are_a_share_or_a_number() {
        assert_eq!("5%".parse(), Ok(Shots::Share(0.05)));
        assert_eq!(Shots::Share(0.05).of(4000), 200);
        assert_eq!(Shots::Count(10).of(4), 4);
        for wrong in ["0%", "101%", "0", "-1", "some"] {
            assert!(wrong.parse::<Shots>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_number_of_shots_needs_no_quotes() {
        #[derive(Debug, Deserialize)]
        struct Said {
            shots: Shots,
        }
        let said = |value: &str| toml::from_str::<Said>(&format!("shots = {value}")).map(|said| said.shots);
        assert_eq!(said("40").ok(), Some(Shots::Count(40)));
        assert_eq!(said("\"40\"").ok(), Some(Shots::Count(40)));
        assert_eq!(said("\"1%\"").ok(), Some(Shots::Share(0.01)));
        for wrong in ["0", "-1", "0.01", "true", "[40]"] {
            let refusal = said(wrong).unwrap_err().to_string();
            assert!(refusal.contains("a share such as \"5%\" or a number of images, found"), "{wrong}: {refusal}");
        }
    }
}
