//! Augmentation: what a recipe may say of it.

use serde::{Deserialize, Serialize};

use super::Recipe;
use crate::{Error, Result};

/// Student-side augmentation, a pure function of (seed, epoch, sample). Teacher features stay those of the plain image; a
/// student that reads regions or a patch grid has none, since no pixel of it is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Smallest and largest share of the image's area that a random resized crop takes, as torchvision's
    /// `RandomResizedCrop`; without it there is no crop. The crop takes the place of `student.fit` in training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop_scale: Option<[f64; 2]>,
    /// Smallest and largest ratio of the crop's width to its height, drawn uniformly in its logarithm.
    pub crop_ratio: [f64; 2],
    /// Probability that an image is mirrored left to right, unless a text, candidate, answer or label of the sample names a
    /// side.
    pub mirror: f64,
    /// Most pixels that the student's input is moved in each direction; edges repeat.
    pub shift_px: u32,
    /// Mirror half of the images left to right, and half top to bottom, whatever the texts say: for data sets whose texts
    /// name neither sides nor up and down.
    pub flip: bool,
}

impl Default for Augment {
    /// None. The ratios are torchvision's.
    fn default() -> Self {
        Self { crop_scale: None, crop_ratio: [3.0 / 4.0, 4.0 / 3.0], mirror: 0.0, shift_px: 0, flip: false }
    }
}

impl Recipe {
    /// Refuses augmentation that cannot be, or that would change nothing.
    pub(super) fn check_augment(&self) -> Result<()> {
        let refuse = |key, problem: String| Err(Error::Setting { key, problem });
        let (augment, none) = (&self.augment, Augment::default());
        if !self.student.kind.reads_pixels() && *augment != none {
            let reads = if self.student.kind.reads_regions() { "regions" } else { "a patch grid" };
            return refuse("augment", format!("changes pixels, and this student reads {reads}: leave it out"));
        }
        if let Some([least, most]) = augment.crop_scale
            && !(least > 0.0 && least <= most && most <= 1.0)
        {
            let problem =
                format!("is [{least}, {most}]: expected [min, max], shares of the area above 0 and at most 1");
            return refuse("augment.crop_scale", problem);
        }
        let [least, most] = augment.crop_ratio;
        if !(least > 0.0 && least <= most && most.is_finite()) {
            let problem = format!("is [{least}, {most}]: expected [min, max], ratios of width to height above 0");
            return refuse("augment.crop_ratio", problem);
        }
        if augment.crop_scale.is_none() && augment.crop_ratio != none.crop_ratio {
            let problem = "changes nothing without augment.crop_scale: set that too, such as [0.5, 1.0]";
            return refuse("augment.crop_ratio", problem.to_owned());
        }
        if !(0.0..=1.0).contains(&augment.mirror) {
            return refuse("augment.mirror", format!("is {}: a probability is from 0 to 1", augment.mirror));
        }
        if augment.flip && augment.mirror > 0.0 {
            let problem = "is for texts that may name sides, and augment.flip mirrors whatever they say: leave one out";
            return refuse("augment.mirror", problem.to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn recipe(settings: &[&str]) -> Result<Recipe> {
        let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
        Recipe::parse(Path::new("recipe.toml"), "[data]\ndataset = \"d\"", &settings)
    }

    #[test]
    fn what_cannot_be_or_changes_nothing_is_refused_by_key() -> Result<()> {
        let (scale, ratio) = ("augment.crop_scale=[0.5, 1.0]", "augment.crop_ratio=[0.5, 2.0]");
        for (settings, key, word) in [
            (&["augment.crop_scale=[0.0, 1.0]"][..], "augment.crop_scale", "above 0"),
            (&["augment.crop_scale=[0.9, 0.8]"], "augment.crop_scale", "[0.9, 0.8]"),
            (&["augment.crop_scale=[0.9, 1.1]"], "augment.crop_scale", "at most 1"),
            (&["augment.crop_scale=[nan, 1.0]"], "augment.crop_scale", "NaN"),
            (&[ratio], "augment.crop_ratio", "without augment.crop_scale"),
            (&[scale, "augment.crop_ratio=[2.0, 0.5]"], "augment.crop_ratio", "[2, 0.5]"),
            (&[scale, "augment.crop_ratio=[1.0, inf]"], "augment.crop_ratio", "inf"),
            (&["augment.mirror=1.5"], "augment.mirror", "from 0 to 1"),
            (&["augment.mirror=nan"], "augment.mirror", "NaN"),
            (&["augment.mirror=0.5", "augment.flip=true"], "augment.mirror", "leave one out"),
            (&["student.kind=uniter", scale], "augment", "reads regions"),
            (&["student.kind=villa", "augment.mirror=0.5"], "augment", "reads regions"),
            (&["student.kind=clip-grid", "teachers.image=c", "augment.shift_px=1"], "augment", "a patch grid"),
        ] {
            match recipe(settings) {
                Err(Error::Setting { key: found, problem }) => {
                    assert!(found == key && problem.contains(word), "{settings:?}: {found} {problem}");
                }
                other => panic!("{settings:?}: {other:?}"),
            }
        }
        assert_eq!(recipe(&[])?.augment, Augment::default());
        let all = recipe(&[scale, ratio, "augment.mirror=0.5", "augment.shift_px=4"])?;
        assert_eq!(all.augment.crop_scale, Some([0.5, 1.0]));
        Ok(())
    }
}
