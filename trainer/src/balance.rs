//! Lambda: how strong the distillation term is against the task.

use serde::{Deserialize, Serialize};

/// Sets lambda from `kd_ratio`: over the first steps, lambda is such that the distillation term would so far have been
/// `kd_ratio` times the task loss; after them it stays.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Balance {
    ratio: f64,
    steps_left: u64,
    task: f64,
    distillation: f64,
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
}
