//! The stage before task finetuning, and the controls: what a recipe may combine.

use serde::{Deserialize, Serialize};

use super::{AdaptMode, Arm, Control, Optim, Recipe, StudentKind};
use crate::{Error, Result};

/// One stage before task finetuning, on the images and texts of the same training part; no labels. Everything that is
/// not here (batch, decay, betas, clipping) is as in `[optim]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Adapt {
    /// `auto` (`aft` for the arm `mad`, else `none`), `aft`, `mlm` or `none`.
    pub mode: AdaptMode,
    /// Optimiser steps of the stage, besides `optim.steps`. The compute-matched baseline has as many.
    pub steps: u64,
    /// Highest learning rate.
    pub lr: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: u64,
    /// Temperature of the contrastive term.
    pub tau_c: f64,
}

impl Default for Adapt {
    /// The temperature is the one that MoCo fixed and from which CLIP started. The rate is the best of five on
    /// held-out images of easy-VQA (docs/results).
    fn default() -> Self {
        Self { mode: AdaptMode::Auto, steps: 500, lr: 3e-5, warmup_steps: 50, tau_c: 0.07 }
    }
}

impl Recipe {
    /// What comes before task finetuning: never [`AdaptMode::Auto`].
    pub fn adaptation(&self) -> AdaptMode {
        match (self.adapt.mode, self.arm) {
            (AdaptMode::Auto, Arm::Mad) => AdaptMode::Aft,
            (AdaptMode::Auto, _) => AdaptMode::None,
            (mode, _) => mode,
        }
    }

    /// The recipe of the stage before task finetuning, if there is one: with its own schedule, and with the terms of
    /// adaptive finetuning (L_v + L_t + L_TS, those of the arm `kd+ts`) or, of masked-language modelling, none.
    pub(crate) fn of_adaptation(&self) -> Option<Self> {
        let arm = match self.adaptation() {
            AdaptMode::Aft => Arm::KdTs,
            AdaptMode::Mlm => Arm::Base,
            AdaptMode::Auto | AdaptMode::None => return None,
        };
        let Adapt { steps, lr, warmup_steps, .. } = self.adapt;
        Some(Self { arm, optim: Optim { steps, lr, warmup_steps, ..self.optim.clone() }, ..self.clone() })
    }

    /// The arm with everything by which it differs from the plain one, such as `base+mlm` (the compute-matched
    /// baseline) or `kd+ts+random-words`.
    pub fn label(&self) -> String {
        let mut label = self.arm.to_string();
        if self.arm != Arm::Mad && self.adaptation() != AdaptMode::None {
            label += &format!("+{}", self.adaptation());
        }
        if self.control != Control::None {
            label += &format!("+{}", self.control);
        }
        label
    }

    /// Refuses stages and controls that do not go with the arm.
    pub(super) fn check_adaptation(&self) -> Result<()> {
        let refuse = |key, problem: String| Err(Error::Setting { key, problem });
        let (arm, mode) = (self.arm, self.adaptation());
        if arm == Arm::Mad && mode != AdaptMode::Aft {
            return refuse(
                "adapt.mode",
                format!("is {mode}, and the arm mad is kd+ts+cw after aft: set arm = \"kd+ts+cw\""),
            );
        }
        if arm == Arm::ClipGrid {
            let kind = self.student.kind;
            if kind != StudentKind::ClipGrid {
                let problem =
                    format!("clip-grid needs a student that reads the patch grid, and student.kind is {kind}");
                return refuse("arm", format!("{problem}: set student.kind = \"clip-grid\""));
            }
            if mode == AdaptMode::Aft {
                return refuse("adapt.mode", "is aft, and the arm clip-grid is one without distillation".to_owned());
            }
        }
        if mode != AdaptMode::None && self.adapt.steps == 0 {
            return refuse(
                "adapt.steps",
                format!("is 0: {mode} needs at least one step, or set adapt.mode = \"none\""),
            );
        }
        if self.adapt.tau_c.is_nan() || self.adapt.tau_c <= 0.0 {
            return refuse("adapt.tau_c", format!("is {}: a temperature is above 0", self.adapt.tau_c));
        }
        let (effective, needs) = match self.control {
            Control::None => (true, ""),
            Control::RandomWords => (arm.tokens() || mode == AdaptMode::Aft, "token selection"),
            Control::ShuffledWeights => (arm.confidence(), "confidence weighting"),
            Control::RandomTeacher => (arm.vision() || arm.text() || mode == AdaptMode::Aft, "teachers"),
        };
        if !effective {
            let problem =
                format!("is {}, which changes nothing for the arm {}: it has no {needs}", self.control, self.label());
            return refuse("control", problem);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn recipe(settings: &[&str]) -> Result<Recipe> {
        let text = "[data]\ndataset = \"d\"\n[teachers]\nimage = \"clip\"\ntext = \"text\"";
        let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
        Recipe::parse(Path::new("recipe.toml"), text, &settings)
    }

    #[test]
    fn only_mad_is_adapted_unless_told() -> Result<()> {
        for (settings, mode, label) in [
            (&["arm=mad"][..], AdaptMode::Aft, "mad"),
            (&["arm=kd+ts+cw"], AdaptMode::None, "kd+ts+cw"),
            (&["arm=base", "adapt.mode=mlm"], AdaptMode::Mlm, "base+mlm"),
            (&["arm=kd", "adapt.mode=aft", "control=random-teacher"], AdaptMode::Aft, "kd+aft+random-teacher"),
        ] {
            let recipe = recipe(settings)?;
            assert_eq!((recipe.adaptation(), recipe.label().as_str()), (mode, label));
        }
        Ok(())
    }

    #[test]
    fn the_stage_has_its_own_schedule_and_terms() -> Result<()> {
        let whole = recipe(&["arm=mad", "adapt.steps=7", "adapt.lr=0.5", "adapt.warmup_steps=2", "optim.batch=3"])?;
        let stage = whole.of_adaptation().unwrap();
        assert_eq!((stage.optim.steps, stage.optim.lr, stage.optim.warmup_steps, stage.optim.batch), (7, 0.5, 2, 3));
        assert_eq!(stage.arm, Arm::KdTs);
        assert_eq!(recipe(&["adapt.mode=mlm"])?.of_adaptation().map(|stage| stage.arm), Some(Arm::Base));
        assert_eq!(recipe(&["arm=kd+ts+cw"])?.of_adaptation(), None);
        Ok(())
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_key() {
        for (settings, key, says) in [
            (&["arm=mad", "adapt.mode=none"][..], "adapt.mode", "set arm = \"kd+ts+cw\""),
            (&["arm=mad", "adapt.mode=mlm"], "adapt.mode", "is mlm"),
            (&["arm=mad", "adapt.steps=0"], "adapt.steps", "at least one step"),
            (&["arm=mad", "adapt.tau_c=0.0"], "adapt.tau_c", "above 0"),
            (&["arm=clip-grid"], "arm", "student.kind is vilt"),
            (&["arm=kd", "control=random-words"], "control", "kd+random-words: it has no token selection"),
            (&["arm=kd+ts", "control=shuffled-weights"], "control", "no confidence weighting"),
            (&["arm=base", "control=random-teacher"], "control", "no teachers"),
            (&["arm=base", "adapt.mode=mlm", "control=random-words"], "control", "no token selection"),
        ] {
            match recipe(settings) {
                Err(Error::Setting { key: found, problem }) => {
                    assert!(found == key && problem.contains(says), "{settings:?}: {found} {problem}");
                }
                other => panic!("{settings:?}: {other:?}"),
            }
        }
        assert!(recipe(&["arm=base", "adapt.mode=aft", "control=random-words"]).is_ok());
    }

    #[test]
    fn an_adapted_base_needs_teachers_too() {
        let text = "[data]\ndataset = \"d\"\n[adapt]\nmode = \"aft\"";
        let refusal = Recipe::parse(Path::new("recipe.toml"), text, &[]).unwrap_err().to_string();
        assert!(refusal.contains("teachers.image is needed"), "{refusal}");
    }
}
