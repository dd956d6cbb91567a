//! How a run is doing: how fast, and the line beside its bar.

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

/// The line beside the bar: the loss and its parts, lambda, the last score on the held-out part, the speed. The bar
/// itself shows the time left.
pub(super) fn note(losses: &[(&'static str, f64)], scored: Option<f64>, clock: &Clock) -> String {
    let mut parts = Vec::new();
    let (mut total, mut lambda) = (String::new(), String::new());
    for (tag, value) in losses {
        match (*tag, tag.strip_prefix("loss/")) {
            ("loss/total", _) => total = format!("loss {value:.4}"),
            ("lambda", _) => lambda = format!(", lambda {value:.3}"),
            (_, Some(part)) => parts.push(format!("{part} {value:.4}")),
            _ => {}
        }
    }
    let parts = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    let scored = scored.map_or(String::new(), |score| format!(", held out {:.1} %", score * 100.0));
    format!(
        "{total}{parts}{lambda}{scored}, {:.0} samples/s, {:.1} % waiting",
        clock.rate(),
        clock.wait_share() * 100.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_the_loss_its_parts_and_the_speed() {
        let losses =
            [("loss/total", 1.25), ("loss/task", 1.0), ("loss/vision", 0.5), ("lambda", 0.5), ("gradient_norm", 3.0)];
        let mut clock = Clock::default();
        let told = note(&losses, Some(0.712), &clock);
        assert!(
            told.starts_with("loss 1.2500 (task 1.0000, vision 0.5000), lambda 0.500, held out 71.2 %, 0 "),
            "{told}"
        );
        assert!(told.ends_with(" samples/s, 0.0 % waiting"), "{told}");
        clock.count(7);
        assert!(clock.rate() > 0.0 && note(&losses[..1], None, &clock).starts_with("loss 1.2500, "));
    }

    #[test]
    fn a_pause_is_no_time_of_training() {
        let mut clock = Clock::default();
        clock.count(1);
        clock.paused = Duration::from_secs(1_000_000);
        assert!(clock.rate() >= 1e8, "{}", clock.rate());
    }
}
