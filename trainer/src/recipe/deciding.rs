//! What a run is known by: the keys that decide what it learns.

use super::{AdaptMode, Recipe};
use crate::{Error, Result};

impl Recipe {
    /// The keys that decide what a run learns, as TOML. Those that only pace it, log it or keep it in memory are left
    /// out, and so are the sections of parts of the method that this arm does not have: two recipes for which this
    /// is the same are the same run.
    ///
    /// # Errors
    /// [`Error::Recipe`], which would be a defect of this crate.
    pub(crate) fn deciding(&self) -> Result<String> {
        let unwritable = |problem: String| Error::Recipe { path: std::path::PathBuf::from("resolved"), problem };
        let mut keys = toml::Table::try_from(self).map_err(|error| unwritable(error.to_string()))?;
        keys.remove("log");
        if let Some(data) = keys.get_mut("data").and_then(toml::Value::as_table_mut) {
            for key in ["prefetch_batches", "kept_images_bytes", "kept_texts_bytes"] {
                data.remove(key);
            }
        }
        let (arm, stage) = (self.arm, self.adaptation());
        let distils = arm.vision() || arm.text() || stage == AdaptMode::Aft;
        let without = [
            ("adapt", stage == AdaptMode::None),
            ("distil", !distils),
            ("selection", !(arm.tokens() || stage == AdaptMode::Aft)),
            ("confidence", !arm.confidence()),
            ("adversarial", !self.adversarial.enabled),
        ];
        for (section, _) in without.iter().filter(|(_, without)| *without) {
            keys.remove(*section);
        }
        toml::to_string(&keys).map_err(|error| unwritable(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn of(settings: &[&str]) -> Result<String> {
        let text = "[data]\ndataset = \"d\"\n[teachers]\nimage = \"clip\"\ntext = \"text\"";
        let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
        Recipe::parse(Path::new("recipe.toml"), text, &settings)?.deciding()
    }

    #[test]
    fn only_keys_that_the_arm_heeds_tell_runs_apart() -> Result<()> {
        for (arm, setting, decides) in [
            ("base", "adapt.lr=0.5", false),
            ("kd+ts+cw", "adapt.lr=0.5", false),
            ("mad", "adapt.lr=0.5", true),
            ("kd", "selection.alpha=0.125", false),
            ("kd+ts", "selection.alpha=0.125", true),
            ("kd+ts", "confidence.folds=7", false),
            ("kd+ts+cw", "confidence.folds=7", true),
            ("base", "distil.kd_ratio=0.125", false),
            ("kd-v", "distil.kd_ratio=0.125", true),
            ("base", "adversarial.steps=9", false),
            ("mad", "data.prefetch_batches=9", false),
            ("mad", "data.kept_texts_bytes=9", false),
            ("mad", "log.every=9", false),
            ("base", "data.pool_samples=9", true),
            ("base", "seed=9", true),
            ("base", "optim.lr=0.5", true),
        ] {
            let arm = format!("arm={arm}");
            assert_eq!(of(&[&arm])? != of(&[&arm, setting])?, decides, "{arm}, {setting}");
        }
        let adapted = ["arm=base", "adapt.mode=aft"];
        for setting in ["distil.kd_ratio=0.125", "selection.alpha=0.125"] {
            assert_ne!(of(&adapted)?, of(&[&adapted[..], &[setting]].concat())?, "{setting}");
        }
        Ok(())
    }
}
