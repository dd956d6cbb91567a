//! How far each teacher is, and how long devices waited.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use retort_cache::Progress;

/// Counts of a call, added to by all of its threads.
pub(super) struct Tally<'a> {
    progress: &'a dyn Progress,
    began: Instant,
    workers: u32,
    teachers: Vec<Counts>,
}

#[derive(Default)]
struct Counts {
    items: AtomicU64,
    /// Summed over workers.
    waited_nanos: AtomicU64,
    /// From the beginning to the last commit.
    nanos: AtomicU64,
}

impl<'a> Tally<'a> {
    /// Begins to count, for so many workers.
    pub(super) fn begin(progress: &'a dyn Progress, teachers: usize, workers: usize) -> Self {
        let teachers = (0..teachers).map(|_| Counts::default()).collect();
        Self { progress, began: Instant::now(), workers: u32::try_from(workers).unwrap_or(1).max(1), teachers }
    }

    /// Items were done.
    pub(super) fn advance(&self, teacher: usize, items: u64) {
        if items > 0 {
            self.teachers[teacher].items.fetch_add(items, Ordering::Relaxed);
            self.progress.note_of(teacher, &waiting(self.began.elapsed(), self.waited_of(teacher)));
            self.progress.advance_of(teacher, items);
        }
    }

    /// A worker had nothing to compute for so long.
    pub(super) fn waited(&self, teacher: usize, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.teachers[teacher].waited_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Something of a teacher was committed.
    pub(super) fn ended(&self, teacher: usize) {
        let nanos = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.teachers[teacher].nanos.store(nanos, Ordering::Relaxed);
    }

    pub(super) fn items(&self, teacher: usize) -> u64 {
        self.teachers[teacher].items.load(Ordering::Relaxed)
    }

    /// Time from the beginning to the last commit of a teacher.
    pub(super) fn elapsed(&self, teacher: usize) -> Duration {
        Duration::from_nanos(self.teachers[teacher].nanos.load(Ordering::Relaxed))
    }

    /// Time that a worker, in the mean, waited for what a teacher was to compute, or for what it had computed to be written.
    pub(super) fn waited_of(&self, teacher: usize) -> Duration {
        Duration::from_nanos(self.teachers[teacher].waited_nanos.load(Ordering::Relaxed)) / self.workers
    }
}

/// The share of waiting in words.
pub(super) fn waiting(elapsed: Duration, waited: Duration) -> String {
    let share = waited.as_secs_f64() / elapsed.as_secs_f64().max(1e-9);
    format!("the device waited {:.0} % of the time", 100.0 * share.min(1.0))
}
