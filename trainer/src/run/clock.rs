//! How fast a run is.

use std::time::{Duration, Instant};

/// Waiting and working, since the call began.
pub(super) struct Clock {
    began: Instant,
    waited: Duration,
    paused: Duration,
    samples: u64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { began: Instant::now(), waited: Duration::ZERO, paused: Duration::ZERO, samples: 0 }
    }
}

impl Clock {
    /// Does what a step waits for.
    pub(super) fn wait<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        self.waited += began.elapsed();
        done
    }

    /// Does what is not training.
    pub(super) fn pause<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        self.paused += began.elapsed();
        done
    }

    /// Counts samples that were trained on.
    pub(super) fn count(&mut self, samples: usize) {
        self.samples += samples as u64;
    }

    fn secs(&self) -> f64 {
        self.began.elapsed().saturating_sub(self.paused).as_secs_f64().max(1e-9)
    }

    /// Samples a second.
    pub(super) fn rate(&self) -> f64 {
        self.samples as f64 / self.secs()
    }

    /// Share of the time that steps waited for data.
    pub(super) fn wait_share(&self) -> f64 {
        self.waited.as_secs_f64() / self.secs()
    }
}
