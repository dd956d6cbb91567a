//! Lambda: how strong the distillation term is against the task.

use serde::{Deserialize, Serialize};

/// Sets lambda from `kd_ratio`: over the first steps, lambda is such that the distillation term would so far have been
/// `kd_ratio` times the task loss; after them it stays.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub(crate) struct Balance {
    ratio: f64,
    steps_left: u64,
    task: f64,
    distillation: f64,
}

/// A balance in a checkpoint: its floats for people and earlier builds, and their bits, which count.
#[derive(Serialize, Deserialize)]
struct Saved {
    ratio: f64,
    steps_left: u64,
    task: f64,
    distillation: f64,
    /// Of ratio, task and distillation. Since checkpoint/1.2.
    #[serde(default)]
    bits: Option<[u64; 3]>,
}

impl From<Balance> for Saved {
    fn from(Balance { ratio, steps_left, task, distillation }: Balance) -> Self {
        let bits = Some([ratio, task, distillation].map(f64::to_bits));
        Self { ratio, steps_left, task, distillation, bits }
    }
}

impl From<Saved> for Balance {
    fn from(Saved { ratio, steps_left, task, distillation, bits }: Saved) -> Self {
        let [ratio, task, distillation] = bits.map_or([ratio, task, distillation], |bits| bits.map(f64::from_bits));
        Self { ratio, steps_left, task, distillation }
    }
}

impl Balance {
    pub(crate) fn new(ratio: f64, steps: u64) -> Self {
        Self { ratio, steps_left: steps, task: 0.0, distillation: 0.0 }
    }

    /// Lambda for a step with these two losses (the second before lambda).
    pub(crate) fn lambda(&mut self, task: f64, distillation: f64) -> f64 {
        if self.steps_left > 0 {
            self.steps_left -= 1;
            self.task += task;
            self.distillation += distillation;
        }
        self.found()
    }

    /// Lambda, once no step changes it any more.
    pub(crate) fn settled(&self) -> Option<f64> {
        (self.steps_left == 0).then(|| self.found())
    }

    fn found(&self) -> f64 {
        if self.distillation > 0.0 { self.ratio * self.task / self.distillation } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambda_is_found_and_then_fixed() {
        let mut balance = Balance::new(0.3, 2);
        assert!((balance.lambda(2.0, 1.0) - 0.6).abs() < 1e-12);
        assert_eq!(balance.settled(), None);
        assert!((balance.lambda(4.0, 1.0) - 0.9).abs() < 1e-12); // 0.3 * 6 / 2
        assert_eq!(balance.settled(), Some({ balance }.lambda(100.0, 5.0)));
        assert!((balance.lambda(100.0, 5.0) - 0.9).abs() < 1e-12);
    }

    #[test]
    fn every_float_of_a_checkpoint_survives() -> Result<(), serde_json::Error> {
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..10_000 {
            // A walk through all bit patterns (xorshift, Marsaglia 2003).
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            let value = f64::from_bits(bits);
            if value.is_finite() {
                let balance = Balance { ratio: value, steps_left: bits, task: -value, distillation: value / 3.0 };
                let read: Balance = serde_json::from_str(&serde_json::to_string(&balance)?)?;
                let bits = |b: Balance| [b.ratio, b.task, b.distillation].map(f64::to_bits);
                assert_eq!((bits(read), read.steps_left), (bits(balance), balance.steps_left));
            }
        }
        Ok(())
    }

    #[test]
    fn a_checkpoint_from_before_the_bits_is_read() -> Result<(), serde_json::Error> {
        let text = r#"{"ratio":0.5,"steps_left":3,"task":2.25,"distillation":1.5}"#;
        let expected = Balance { ratio: 0.5, steps_left: 3, task: 2.25, distillation: 1.5 };
        assert_eq!(serde_json::from_str::<Balance>(text)?, expected);
        Ok(())
    }
}
