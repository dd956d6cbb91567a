//! Numbers of a recipe: between what each has to lie. What else they have to suit is checked where it is known.

use std::fmt;

use super::Recipe;
use crate::{Error, Result};

/// What a number may be; infinities and what is no number never.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Range {
    Positive,
    NotNegative,
    /// 0 to 1.
    Share,
    /// 0 to 1, but not 1.
    BelowOne,
}

impl Range {
    fn holds(self, value: f64) -> bool {
        value.is_finite()
            && match self {
                Self::Positive => value > 0.0,
                Self::NotNegative => value >= 0.0,
                Self::Share => (0.0..=1.0).contains(&value),
                Self::BelowOne => (0.0..1.0).contains(&value),
            }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Positive => "a number above 0",
            Self::NotNegative => "a number of at least 0",
            Self::Share => "a number from 0 to 1",
            Self::BelowOne => "a number of at least 0 and less than 1",
        })
    }
}

impl Recipe {
    /// Refuses numbers with which a run would compute nonsense, or nothing.
    pub(super) fn check_ranges(&self) -> Result<()> {
        let refuse = |key, problem: String| Err(Error::Setting { key, problem });
        for (key, value, range) in self.fractions() {
            if !range.holds(value) {
                return refuse(key, format!("is {value}: expected {range}"));
            }
        }
        for (key, value, least, why) in self.counts() {
            if value < least {
                return refuse(key, format!("is {value}: expected at least {least}, {why}"));
            }
        }
        Ok(())
    }

    fn fractions(&self) -> [(&'static str, f64, Range); 21] {
        use Range::{BelowOne, NotNegative, Positive, Share};
        let Self { task, distil, selection, adapt, optim, adversarial, validate, .. } = self;
        [
            ("task.label_smoothing", task.label_smoothing, BelowOne),
            ("distil.kd_ratio", distil.kd_ratio, NotNegative),
            ("distil.vision", distil.vision, NotNegative),
            ("distil.text", distil.text, NotNegative),
            ("selection.alpha", selection.alpha.into(), Share),
            ("selection.tau_a", selection.tau_a.into(), Positive),
            ("selection.tau_b", selection.tau_b.into(), Positive),
            ("adapt.lr", adapt.lr, NotNegative),
            ("optim.lr", optim.lr, NotNegative),
            ("optim.head_rate", optim.head_rate, NotNegative),
            ("optim.layer_decay", optim.layer_decay, Share),
            ("optim.ema", optim.ema, BelowOne),
            ("optim.weight_decay", optim.weight_decay, NotNegative),
            ("optim.betas", optim.betas[0], BelowOne),
            ("optim.betas", optim.betas[1], BelowOne),
            ("optim.clip", optim.clip, NotNegative),
            ("adversarial.lr", adversarial.lr, NotNegative),
            ("adversarial.kl", adversarial.kl, NotNegative),
            ("adversarial.max_norm", adversarial.max_norm, NotNegative),
            ("adversarial.initial_norm", adversarial.initial_norm, NotNegative),
            ("validate.share", validate.share, BelowOne),
        ]
    }

    /// Key, value, the least that it may be, and why.
    fn counts(&self) -> [(&'static str, i64, i64, &'static str); 6] {
        let counted = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let steps = i64::try_from(self.distil.balance_steps).unwrap_or(i64::MAX);
        [
            ("student.hidden", self.student.hidden, 1, "the width of a token"),
            ("student.layers", self.student.layers, 1, "as a student without layers mixes nothing"),
            ("student.text_tokens", counted(self.student.text_tokens), 3, "as two are special"),
            (
                "selection.words",
                counted(self.selection.words),
                1,
                "or choose an arm without token selection, such as kd",
            ),
            ("confidence.folds", counted(self.confidence.folds), 2, "as a probe is fitted on the other folds"),
            ("distil.balance_steps", steps, 1, "as lambda is found over these steps"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn numbers_beyond_their_range_are_refused_by_key() {
        for (setting, says) in [
            ("optim.lr=-1", "optim.lr is -1: expected a number of at least 0"),
            ("optim.lr=nan", "optim.lr is NaN"),
            ("optim.lr=inf", "optim.lr is inf"),
            ("adapt.lr=-1", "adapt.lr is -1"),
            ("optim.betas=[1.5, 0.9]", "optim.betas is 1.5: expected a number of at least 0 and less than 1"),
            ("optim.betas=[0.9, 1.0]", "optim.betas is 1"),
            ("optim.weight_decay=-0.5", "optim.weight_decay is -0.5"),
            ("optim.layer_decay=1.5", "optim.layer_decay is 1.5: expected a number from 0 to 1"),
            ("optim.ema=1", "optim.ema is 1"),
            ("optim.clip=-1", "optim.clip is -1"),
            ("selection.tau_a=0", "selection.tau_a is 0: expected a number above 0"),
            ("selection.tau_b=-0.5", "selection.tau_b is -0.5"),
            ("selection.alpha=1.5", "selection.alpha is 1.5"),
            ("selection.words=0", "selection.words is 0: expected at least 1, or choose an arm"),
            ("confidence.folds=1", "confidence.folds is 1: expected at least 2"),
            ("distil.kd_ratio=-1", "distil.kd_ratio is -1"),
            ("distil.balance_steps=0", "distil.balance_steps is 0: expected at least 1"),
            ("student.hidden=0", "student.hidden is 0"),
            ("student.layers=0", "student.layers is 0"),
            ("student.text_tokens=2", "student.text_tokens is 2: expected at least 3, as two are special"),
        ] {
            let read = Recipe::parse(Path::new("recipe.toml"), "[data]\ndataset = \"d\"", &[setting.to_owned()]);
            let refusal = read.unwrap_err().to_string();
            assert!(refusal.starts_with(says), "{setting}: {refusal}");
        }
    }
}
