//! How long work tells where it is, and how it is asked to stop. The binary decides what the user sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Receives the progress of long work.
pub trait Progress: Send + Sync {
    /// A stage starts: what it does, how many units it has (0 where nobody knows), and what a unit is called (plural).
    fn begin(&self, stage: &str, total: u64, unit: &'static str);
    /// Units done since the last call.
    fn advance(&self, units: u64);
    /// Something worth a word beside the bar, such as the current loss.
    fn note(&self, note: &str);
    /// The stage is over, or all that go on side by side.
    fn end(&self);

    /// Something that the user should know whatever goes on: a line of its own.
    fn say(&self, _line: &str) {}

    /// Stages start that go on side by side, each with its name and how many units it has. Who shows only one shows the sum.
    fn begin_all(&self, stages: &[(String, u64)], unit: &'static str) {
        let names: Vec<&str> = stages.iter().map(|(name, _)| name.as_str()).collect();
        self.begin(&names.join(", "), stages.iter().map(|(_, total)| total).sum(), unit);
    }

    /// As [`Progress::advance`], of one of the stages that go on side by side, by its place among them.
    fn advance_of(&self, _stage: usize, units: u64) {
        self.advance(units);
    }

    /// As [`Progress::note`], of one of the stages that go on side by side.
    fn note_of(&self, _stage: usize, note: &str) {
        self.note(note);
    }
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn begin(&self, _: &str, _: u64, _: &'static str) {}
    fn advance(&self, _: u64) {}
    fn note(&self, _: &str) {}
    fn end(&self) {}
}

/// A request to stop at the next safe point, shared with a signal handler.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Asks to stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a stop was asked for.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails if a stop was asked for.
    ///
    /// # Errors
    /// [`crate::Error::Interrupted`].
    pub fn check(&self) -> crate::Result<()> {
        if self.requested() { Err(crate::Error::Interrupted) } else { Ok(()) }
    }
}
