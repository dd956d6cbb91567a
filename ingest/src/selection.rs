//! Which source images are ingested: all of them, the first so many, or a share drawn by seed.

use crate::Error;

/// A choice of source images, with everything said about them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Selection {
    /// The first so many of those that are drawn.
    pub limit: Option<u64>,
    /// A share of all images, from 0 to 1: each is drawn by its own name and the seed, so that the same images are
    /// drawn whatever is beside them, and a smaller share is part of a larger one.
    pub share: Option<f64>,
    /// The seed of the draw.
    pub seed: u64,
}

impl Selection {
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.share {
            Some(share) if !(share > 0.0 && share <= 1.0) => Err(Error::InvalidOption {
                option: "share of images to sample",
                value: share.to_string(),
                problem: "it is not between 0 and 1".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Whether the draw has this image.
    pub(crate) fn draws(&self, name: &str) -> bool {
        let Some(share) = self.share else { return true };
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes()).update(name.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        // The upper 53 bits as a number from 0 to 1.
        ((u64::from_le_bytes(first) >> 11) as f64) < share * (1_u64 << 53) as f64
    }

    pub(crate) fn options(&self) -> Option<serde_json::Value> {
        let whole = self.limit.is_none() && self.share.is_none();
        (!whole).then(|| serde_json::json!({ "limit": self.limit, "share": self.share, "seed": self.seed }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(share: f64, seed: u64) -> Vec<u32> {
        let selection = Selection { share: Some(share), seed, limit: None };
        (0..10_000).filter(|image| selection.draws(&format!("{image}.jpg"))).collect()
    }

    #[test]
    fn a_share_is_about_that_share_nested_and_decided_by_the_seed() {
        let (tenth, half) = (drawn(0.1, 1), drawn(0.5, 1));
        assert!((900..1_100).contains(&tenth.len()), "{}", tenth.len());
        assert!((4_800..5_200).contains(&half.len()), "{}", half.len());
        assert!(tenth.iter().all(|image| half.contains(image)));
        assert_eq!(drawn(0.1, 1), tenth);
        assert_ne!(drawn(0.1, 2), tenth);
        assert_eq!(drawn(1.0, 1).len(), 10_000);
    }

    #[test]
    fn a_share_outside_0_to_1_is_refused() {
        for share in [0.0, -0.1, 1.5, f64::NAN] {
            let error = Selection { share: Some(share), ..Selection::default() }.check().unwrap_err();
            assert!(error.to_string().contains("between 0 and 1"), "{error}");
        }
    }
}
