//! How a teacher's features are stored: `f32`, `f16`, `bf16` or `cos:BOUND`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Dtype, Error};

/// A store option, written as on the command line; decides, with the teacher's identity, the fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Store {
    /// Floats of this type.
    Floats(Dtype),
    /// Integer codes and a scale a vector, such that every vector read back has at least this cosine to the one given.
    Cos(Bound),
}

impl Store {
    /// Single precision: nothing is lost.
    pub const F32: Self = Self::Floats(Dtype::F32);
    /// Half precision.
    pub const F16: Self = Self::Floats(Dtype::F16);
    /// The upper half of a single.
    pub const BF16: Self = Self::Floats(Dtype::Bf16);

    /// Codes with this bound on the cosine.
    ///
    /// # Errors
    /// [`Error::UnknownStore`] if it is not above 0 and at most [`Bound::GREATEST`].
    pub fn cos(bound: f64) -> Result<Self, Error> {
        Bound::new(bound).map(Self::Cos).ok_or_else(|| Error::UnknownStore { found: format!("cos:{bound}") })
    }

    /// Whether storing what `self` holds as `finer` only takes room, as what is lost does not come back.
    pub fn is_coarser_than(self, finer: Self) -> bool {
        finer.loss() < self.loss()
    }

    /// One minus the cosine that a vector read back has to the one given, at worst and roughly.
    fn loss(self) -> f64 {
        match self {
            Self::Floats(Dtype::F32) => 0.0,
            // Half a unit in the last place, squared and halved: of 11 bits of significand, and of 8.
            Self::Floats(Dtype::F16) => 0.5 / 4096.0 / 4096.0,
            Self::Floats(Dtype::Bf16) => 0.5 / 512.0 / 512.0,
            Self::Cos(bound) => 1.0 - bound.get(),
        }
    }
}

/// A bound on the cosine: above 0, at most [`Bound::GREATEST`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound(f64);

/// A bound is never NaN.
impl Eq for Bound {}

impl Bound {
    /// The greatest bound that two-byte codes keep for every vector of up to 80,000 elements. Beyond it, `f32` is exact.
    pub const GREATEST: f64 = 0.99999;

    /// A bound, if it is one.
    pub fn new(bound: f64) -> Option<Self> {
        (bound > 0.0 && bound <= Self::GREATEST).then_some(Self(bound))
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl From<Dtype> for Store {
    fn from(dtype: Dtype) -> Self {
        Self::Floats(dtype)
    }
}

impl From<Store> for String {
    fn from(store: Store) -> Self {
        store.to_string()
    }
}

impl TryFrom<String> for Store {
    type Error = Error;

    fn try_from(word: String) -> Result<Self, Error> {
        word.parse()
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Floats(dtype) => write!(f, "{dtype}"),
            Self::Cos(bound) => write!(f, "cos:{}", bound.0),
        }
    }
}

impl FromStr for Store {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        let unknown = || Error::UnknownStore { found: word.to_owned() };
        match word.strip_prefix("cos:") {
            Some(bound) => bound.parse().ok().and_then(Bound::new).map(Self::Cos).ok_or_else(unknown),
            None => word.parse().map(Self::Floats).map_err(|_| unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Manifests and fingerprints hold these words for ever.
    #[test]
    fn never_change_these_constants() -> Result<(), Error> {
        let stores = [Store::F32, Store::F16, Store::BF16, Store::cos(0.999)?, Store::cos(0.5)?];
        let written = ["f32", "f16", "bf16", "cos:0.999", "cos:0.5"];
        assert_eq!(stores.map(|store| store.to_string()), written);
        for (store, word) in stores.into_iter().zip(written) {
            assert_eq!(word.parse::<Store>()?, store);
        }
        assert_eq!("cos:0.9990".parse::<Store>()?, Store::cos(0.999)?, "one bound, one word");
        Ok(())
    }

    #[test]
    fn what_is_no_store_is_refused_naming_those_that_are() {
        for word in
            ["f64", "cos", "cos:", "cos:0", "cos:1", "cos:-0.5", "cos:0.999999", "cos:NaN", "cos:inf", "F16", ""]
        {
            let refusal = word.parse::<Store>().unwrap_err().to_string();
            assert!(refusal.contains("cos:BOUND") && refusal.contains(&format!("{word:?}")), "{refusal}");
        }
    }

    #[test]
    fn what_is_lost_decides_which_store_is_coarser() -> Result<(), Error> {
        let by_loss = [Store::F32, Store::F16, Store::BF16, Store::cos(0.9999)?, Store::cos(0.999)?, Store::cos(0.9)?];
        for (at, finer) in by_loss.iter().enumerate() {
            assert!(!finer.is_coarser_than(*finer), "{finer}");
            for coarser in &by_loss[at + 1..] {
                assert!(coarser.is_coarser_than(*finer) && !finer.is_coarser_than(*coarser), "{coarser} {finer}");
            }
        }
        Ok(())
    }
}
