//! How the norms of a column are spread: counts in buckets that are the same in every file, so that files add up to what one
//! file of all rows would say, in any order and to the last count.
//!
//! A bucket is what the upper bits of an IEEE 754 double say: its exponent and the first six bits of its mantissa. So buckets
//! are 64 an octave, and the middle of one is within 1/128 (0.8 %) of every norm in it. Sketches that adapt (t-digest, KLL) are
//! no larger here, as the norms of a column lie within an octave or two, but merge to other numbers in another order, and have
//! an error of rank, which says little of a norm. A logarithm would make equal buckets, but is rounded otherwise by
//! another library of mathematics, and then the same vectors would give other manifests; shifting bits is exact everywhere.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

/// Bits of a double below those that name its bucket.
const DROPPED_BITS: u32 = 46;
/// The first bucket of what is no finite number.
const BUCKETS: u32 = (f64::INFINITY.to_bits() >> DROPPED_BITS) as u32;

/// Counts of norms by bucket; in JSON a string: of each run of buckets the number of the first, a colon, and the counts with
/// commas; a space between runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Histogram(BTreeMap<u32, u64>);

impl Histogram {
    /// The most that a quantile is wrong by, as a share of the norm at that rank.
    pub const RELATIVE_ERROR: f64 = 1.0 / 128.0;

    /// Counts a norm; one that is negative, infinite or no number is none.
    pub fn add(&mut self, norm: f64) {
        if norm >= 0.0 && norm.is_finite() {
            // Without its sign: of a negative zero, which is a zero.
            *self.0.entry((norm.abs().to_bits() >> DROPPED_BITS) as u32).or_default() += 1;
        }
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.0 {
            let known = self.0.entry(*bucket).or_default();
            *known = known.saturating_add(*count);
        }
    }

    /// Norms counted.
    pub fn total(&self) -> u64 {
        self.0.values().fold(0, |total, count| total.saturating_add(*count))
    }

    /// The least norm that a share of all, 0 to 1, is not above: within [`Self::RELATIVE_ERROR`] of it. None if there are no norms.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = ((share * self.total() as f64).ceil() as u64).max(1);
        let mut below = 0_u64;
        let reaches = |(bucket, count): (&u32, &u64)| {
            below = below.saturating_add(*count);
            (below >= rank).then_some(*bucket)
        };
        let bucket = self.0.iter().find_map(reaches).or_else(|| self.0.last_key_value().map(|(last, _)| *last))?;
        let begins = |bucket: u32| f64::from_bits(u64::from(bucket) << DROPPED_BITS);
        // The first holds zero, and nothing else that the norm of a vector of singles can be.
        Some(if bucket == 0 { 0.0 } else { f64::midpoint(begins(bucket), begins(bucket + 1)) })
    }
}

impl From<Histogram> for String {
    fn from(histogram: Histogram) -> Self {
        let mut text = Self::new();
        let mut next = None;
        for (bucket, count) in histogram.0 {
            // Writing to a string does not fail.
            let _ = match next {
                Some(next) if next == bucket => write!(text, ",{count}"),
                Some(_) => write!(text, " {bucket}:{count}"),
                None => write!(text, "{bucket}:{count}"),
            };
            next = Some(bucket + 1);
        }
        text
    }
}

impl TryFrom<String> for Histogram {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("expected counts of norms, such as 65472:3,5 65480:1, found {text:?}");
        let mut counts = BTreeMap::new();
        let mut next = 0;
        for run in text.split_ascii_whitespace() {
            let (first, values) = run.split_once(':').ok_or_else(wrong)?;
            let first: u32 = first.parse().map_err(|_| wrong())?;
            if first < next {
                return Err(wrong());
            }
            next = first;
            for count in values.split(',') {
                let count = count.parse().ok().filter(|count| *count > 0 && next < BUCKETS).ok_or_else(wrong)?;
                counts.insert(next, count);
                next += 1;
            }
        }
        Ok(Self(counts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(norms: &[f64]) -> Histogram {
        let mut histogram = Histogram::default();
        norms.iter().for_each(|norm| histogram.add(*norm));
        histogram
    }

    /// Written files hold these numbers for ever: 1 is bucket 1023 * 64, and an octave has 64.
    #[test]
    fn never_change_these_buckets() {
        let norms = of(&[0.0, 1.0, 1.0, 1.0156, 1.015625, 1.9999, 2.0, f64::NAN, f64::INFINITY, -1.0]);
        let text = serde_json::to_value(&norms).unwrap();
        assert_eq!(text, "0:1 65472:3,1 65535:1,1");
        assert_eq!(serde_json::from_value::<Histogram>(text).unwrap(), norms);
        assert_eq!(
            (norms.total(), Histogram::try_from(String::new()), Histogram::default().quantile(0.5)),
            (7, Ok(of(&[])), None)
        );
    }

    #[test]
    fn quantiles_are_within_the_error_that_is_stated_of_exact_ones() {
        // Nine orders of magnitude, and clustered ones as embeddings have.
        let wide: Vec<f64> = (0..5000).map(|at| 1e-4 * 1.004_f64.powi(at)).collect();
        let narrow: Vec<f64> = (0..777).map(|at| 10.0 + f64::from(at) / 500.0).collect();
        for norms in [wide, narrow, vec![0.3]] {
            let told = of(&norms);
            for share in [0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0] {
                let rank = ((share * norms.len() as f64).ceil() as usize).max(1);
                let (exact, told) = (norms[rank - 1], told.quantile(share).unwrap());
                assert!((told - exact).abs() <= exact * Histogram::RELATIVE_ERROR, "{share}: {told}, exactly {exact}");
            }
        }
    }

    #[test]
    fn the_order_in_which_files_are_put_together_changes_nothing() {
        let files = [of(&[0.0, 3.0]), of(&[3.01, 700.0]), of(&[]), of(&[0.1])];
        let mut all = Histogram::default();
        files.iter().for_each(|file| all.merge(file));
        let mut backwards = Histogram::default();
        files.iter().rev().for_each(|file| backwards.merge(file));
        assert_eq!((&all, &backwards), (&of(&[0.0, 3.0, 3.01, 700.0, 0.1]), &all));
        assert_eq!((all.quantile(0.2), all.total()), (Some(0.0), 5));
    }

    #[test]
    fn nonsense_is_no_histogram() {
        for text in ["1", "a:1", "5:1,", "5:0", "5:-1", "5:1 5:1", "7:1 5:1", "131008:1", "131007:1,1", "4294967295:1"]
        {
            assert!(Histogram::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
