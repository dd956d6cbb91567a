//! Whether the loss explodes.

use serde::{Deserialize, Serialize};

use crate::exact;

/// Steps that tell what the loss is before training.
const FIRST: u64 = 10;
/// Steps that the running mean remembers.
const WINDOW: u64 = 100;

/// Follows the total loss of a stage; its state goes into the checkpoint, so that a run that goes on stops where one
/// that never stopped would.
///
/// ```text
/// first   mean of the losses of the first steps, at most 10
/// mean    running mean: mean += (loss - mean) / min(steps, 100)
/// limit   explode max(first, mean)
/// ```
/// `first` keeps a student that has learnt nearly everything from being stopped by one hard batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Watch {
    seen: u64,
    #[serde(with = "exact")]
    first: f64,
    #[serde(with = "exact")]
    mean: f64,
}

impl Watch {
    /// Sees the loss of a step; gives the limit if that is above it. The first step has none, and `explode` 0 is none
    /// at all.
    pub(crate) fn see(&mut self, loss: f64, explode: f64) -> Option<f64> {
        let limit = explode * self.first.max(self.mean);
        if limit > 0.0 && loss > limit {
            return Some(limit);
        }
        self.seen += 1;
        if self.seen <= FIRST {
            self.first += (loss - self.first) / self.seen as f64;
        }
        self.mean += (loss - self.mean) / self.seen.min(WINDOW) as f64;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_far_above_those_before_explodes() {
        let mut watch = Watch::default();
        assert_eq!(watch.see(1e9, 100.0), None, "nothing was before the first");
        let mut watch = Watch::default();
        for loss in [0.5, 1.5, 1.0, 50.0] {
            assert_eq!(watch.see(loss, 100.0), None);
        }
        let mut off = watch;
        // The mean of four is 13.25.
        assert_eq!(watch.see(1326.0, 100.0), Some(1325.0));
        assert_eq!(watch, off, "what exploded is not remembered");
        assert_eq!(watch.see(1324.0, 100.0), None);
        assert_eq!(off.see(1e30, 0.0), None);
    }

    #[test]
    fn a_hard_batch_for_a_student_that_knows_everything_is_no_explosion() {
        let mut watch = Watch::default();
        for step in 0..2000 {
            assert_eq!(watch.see(if step < 10 { 2.0 } else { 1e-6 }, 100.0), None);
        }
        assert_eq!(watch.see(3.0, 100.0), None);
        assert_eq!(watch.see(201.0, 100.0), Some(200.0));
        // A loss that has grown slowly, such as with lambda, is compared with what it has become.
        for _ in 0..1000 {
            assert_eq!(watch.see(20.0, 100.0), None);
        }
        assert_eq!(watch.see(500.0, 100.0), None);
    }

    #[test]
    fn its_state_survives_a_checkpoint() -> Result<(), serde_json::Error> {
        let mut watch = Watch::default();
        for step in 1..200 {
            watch.see(f64::from(step).sqrt().recip(), 100.0);
            assert_eq!(serde_json::from_str::<Watch>(&serde_json::to_string(&watch)?)?, watch);
        }
        Ok(())
    }
}
