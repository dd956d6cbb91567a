//! Work done ahead of its user: several threads, results in order, bounded in number and bytes.
//!
//! ```text
//! jobs --in order--> threads: load(job, memory used before) --> waiting, at most `depth` and `bytes` --in order--> take_next()
//!                                      ^                                                                      |
//!                                      +--------------------------- give_back() <-----------------------------+
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::Result;

/// How far work may run ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Threads that work; at least one.
    pub threads: usize,
    /// Results begun or finished that nobody has taken; at least one.
    pub depth: usize,
    /// Bytes of these results, as the jobs say; one result is always allowed.
    pub bytes: u64,
}

/// Results of jobs, in the order of the jobs, whatever the number of threads.
pub struct Ahead<T> {
    shared: Arc<Shared<T>>,
    workers: Vec<JoinHandle<()>>,
    taken: u64,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// Jobs begun.
    begun: u64,
    /// No job is left, or nobody wants results.
    ended: bool,
    /// Results that wait, with the bytes of their jobs.
    waiting: BTreeMap<u64, (u64, Result<T>)>,
    /// Number and bytes of results begun and not taken.
    ahead: usize,
    bytes: u64,
    spare: Vec<T>,
    threads: usize,
}

impl<T: Send + 'static> Ahead<T> {
    /// Starts to work on `jobs`, each with the bytes that its result takes up. `load` may use the memory of a result that
    /// was given back.
    pub fn start<J, I, F>(jobs: I, bounds: Bounds, load: F) -> Self
    where
        J: Send + 'static,
        I: Iterator<Item = (u64, J)> + Send + 'static,
        F: Fn(J, Option<T>) -> Result<T> + Send + Sync + 'static,
    {
        let threads = bounds.threads.max(1);
        let state =
            State { begun: 0, ended: false, waiting: BTreeMap::new(), ahead: 0, bytes: 0, spare: Vec::new(), threads };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let jobs = Arc::new(Mutex::new(jobs.peekable()));
        let load = Arc::new(load);
        let work = || {
            let (shared, jobs, load) = (shared.clone(), jobs.clone(), load.clone());
            std::thread::spawn(move || {
                let _leaving = Leaving(&shared);
                while let Some((index, bytes, job, spare)) = shared.begin(&jobs, bounds) {
                    let result = load(job, spare);
                    shared.lock().waiting.insert(index, (bytes, result));
                    shared.changed.notify_all();
                }
            })
        };
        let workers = (0..threads).map(|_| work()).collect();
        Self { shared, workers, taken: 0 }
    }

    /// The result of the next job; none behind the last, and none where a thread of it panicked.
    ///
    /// # Errors
    /// That of the job.
    pub fn take_next(&mut self) -> Result<Option<T>> {
        let mut state = self.shared.lock();
        loop {
            if let Some((bytes, result)) = state.waiting.remove(&self.taken) {
                self.taken += 1;
                state.ahead -= 1;
                state.bytes -= bytes;
                self.shared.changed.notify_all();
                return result.map(Some);
            }
            if state.threads == 0 || (state.ended && self.taken >= state.begun) {
                return Ok(None);
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets a later job use the memory of a result.
    pub fn give_back(&self, used: T) {
        self.shared.lock().spare.push(used);
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the next job may begin, and begins it: its number, its bytes, itself, and memory to use again.
    fn begin<J, I>(&self, jobs: &Mutex<std::iter::Peekable<I>>, bounds: Bounds) -> Option<(u64, u64, J, Option<T>)>
    where
        I: Iterator<Item = (u64, J)>,
    {
        // The lock on the jobs is taken first and held while waiting: whoever has it begins the next job.
        let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = jobs.peek().map(|(bytes, _)| *bytes);
        let mut state = self.lock();
        let Some(bytes) = wanted else {
            state.ended = true;
            self.changed.notify_all();
            return None;
        };
        let full = |state: &State<T>| {
            state.ahead > 0 && (state.ahead >= bounds.depth || state.bytes.saturating_add(bytes) > bounds.bytes)
        };
        while full(&state) && !state.ended {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.ended {
            return None;
        }
        let index = state.begun;
        state.begun += 1;
        state.ahead += 1;
        state.bytes += bytes;
        let spare = state.spare.pop();
        drop(state);
        jobs.next().map(|(_, job)| (index, bytes, job, spare))
    }
}

/// Counts a thread as gone, also when it panics.
struct Leaving<'a, T>(&'a Shared<T>);

impl<T> Drop for Leaving<'_, T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.threads -= 1;
        // What it was working on will not come, so nobody need go on.
        state.ended |= std::thread::panicking();
        self.0.changed.notify_all();
    }
}

impl<T> Drop for Ahead<T> {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        for worker in self.workers.drain(..) {
            // A panic in a thread has been reported where it happened.
            let _ = worker.join();
        }
    }
}
