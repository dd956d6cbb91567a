//! Carrying a plan out: some runs at a time, each held by one process, failures written down and passed over.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use retort_cache::{Interrupt, Progress, create_folder, write_atomic};
use retort_schemas::protocol::{FAILED_FILE, Failure};
use retort_schemas::runs::files;

use super::plan::PlannedRun;
use crate::{Error, Result};

/// How often the progress is shown and other processes' runs are looked after.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Room for one run at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Threads of the processor that the run may use.
    pub threads: usize,
    /// Place of its CUDA device among those that are visible, if it has one.
    pub cuda: Option<usize>,
}

impl Slot {
    /// `count` slots that share `threads` evenly, each with at least one; on `devices` CUDA devices in turn, if there are any.
    pub fn divide(count: usize, threads: usize, devices: usize) -> Vec<Self> {
        let each = (threads / count.max(1)).max(1);
        (0..count.max(1)).map(|at| Self { threads: each, cuda: (devices > 0).then(|| at % devices) }).collect()
    }
}

/// One thing to do for a run, whose folder has its recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doing {
    /// Train to the last step, going on where there is a checkpoint.
    Train,
    /// Score on this split.
    Eval(String),
}

impl std::fmt::Display for Doing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Train => f.write_str("train"),
            Self::Eval(split) => write!(f, "eval {split}"),
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It is done.
    Done,
    /// It was asked to stop, and can go on.
    Stopped,
    /// It failed.
    Failed {
        /// An exit code or a signal.
        how: String,
        /// The last lines of what it said.
        stderr: Vec<String>,
    },
}

/// What does the work of single runs.
pub trait Worker: Sync {
    /// Does one thing for the run in a folder. `lock` is the folder's: whoever holds it or a copy of it is at work on the run.
    /// `hear` is told now and then how far it is.
    ///
    /// # Errors
    /// If the work cannot even be begun; a run that fails is [`Ended::Failed`].
    fn work(
        &self,
        doing: &Doing,
        run: &Path,
        slot: Slot,
        lock: &File,
        hear: &(dyn Fn(&str) + Sync),
        interrupt: &Interrupt,
    ) -> Result<Ended>;
}

/// Where a plan is carried out, and by whom.
pub struct Site<'a> {
    /// Output folder of the protocol.
    pub out: &'a Path,
    /// Runs at a time.
    pub slots: &'a [Slot],
    /// Who does the work.
    pub worker: &'a dyn Worker,
    /// Who is told how far it is.
    pub progress: &'a dyn Progress,
    /// The request to stop.
    pub interrupt: &'a Interrupt,
}

/// Makes what is missing of these runs. A run that another process is at work on is waited for.
///
/// Failures are written to `failed.json`, which goes where there are none, and returned in the order of the runs.
///
/// # Errors
/// [`retort_cache::Error::Interrupted`] when asked to stop, with all runs at a checkpoint; or if files cannot be written.
pub fn carry_out(title: &str, runs: &[PlannedRun], site: &Site<'_>) -> Result<Vec<Failure>> {
    let shared = Shared {
        waiting: Mutex::new((0..runs.len()).collect()),
        failures: Mutex::new(BTreeMap::new()),
        error: Mutex::new(None),
        notes: Mutex::new(BTreeMap::new()),
        stop: site.interrupt.clone(),
    };
    site.progress.begin(title, runs.len() as u64, "runs");
    thread::scope(|scope| {
        let work = |at: usize, slot: Slot| {
            if let Err(error) = keep_at_work(runs, site, &shared, at, slot) {
                // One that cannot go on ends the work: the others finish the runs that they are at.
                lock(&shared.error).get_or_insert(error);
                lock(&shared.waiting).clear();
            }
        };
        let handles: Vec<_> =
            site.slots.iter().enumerate().map(|(at, slot)| scope.spawn(move || work(at, *slot))).collect();
        while !handles.iter().all(|handle| handle.is_finished()) {
            thread::sleep(LOOK_EVERY);
            let notes: Vec<String> = lock(&shared.notes).values().cloned().collect();
            site.progress.note(&notes.join("; "));
            // Nothing is done, but a status line may be due.
            site.progress.advance(0);
        }
    });
    site.progress.end();
    let failures: Vec<Failure> = lock(&shared.failures).values().cloned().collect();
    write_failures(site.out, &failures)?;
    if let Some(error) = lock(&shared.error).take() {
        return Err(error);
    }
    site.interrupt.check()?;
    Ok(failures)
}

struct Shared {
    waiting: Mutex<VecDeque<usize>>,
    /// By run.
    failures: Mutex<BTreeMap<usize, Failure>>,
    error: Mutex<Option<Error>>,
    /// What each slot last said.
    notes: Mutex<BTreeMap<usize, String>>,
    stop: Interrupt,
}

/// A thread that panicked while it held one of these leaves it usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes runs until none is left.
fn keep_at_work(runs: &[PlannedRun], site: &Site<'_>, shared: &Shared, at: usize, slot: Slot) -> Result<()> {
    while !shared.stop.requested() {
        let next = lock(&shared.waiting).pop_front();
        let Some((index, run)) = next.and_then(|index| Some((index, runs.get(index)?))) else { break };
        let say = |said: &str| {
            lock(&shared.notes).insert(at, format!("{} seed {}: {said}", run.arm, run.recipe.seed));
        };
        let path = run.path(site.out);
        if run.missing(site.out)?.is_nothing() {
            site.progress.advance(1);
            continue;
        }
        create_folder(&path)?;
        let held = File::open(&path).map_err(retort_cache::Error::io("open", &path))?;
        match held.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                // Of a protocol that was killed, or one beside this: its process goes on, and its work counts.
                say("another process is at work on it");
                lock(&shared.waiting).push_back(index);
                thread::sleep(LOOK_EVERY);
                continue;
            }
            Err(TryLockError::Error(error)) => return Err(retort_cache::Error::io("lock", &path)(error).into()),
        }
        match make(run, &path, site, slot, &held, &say)? {
            None => site.progress.advance(1),
            Some((_, Ended::Done | Ended::Stopped)) => {}
            Some((doing, Ended::Failed { how, stderr })) => {
                let failure = Failure {
                    run: run.folder.clone(),
                    arm: run.arm.clone(),
                    conditions: run.conditions.clone(),
                    seed: run.recipe.seed,
                    doing: doing.to_string(),
                    how,
                    stderr,
                };
                lock(&shared.failures).insert(index, failure);
                site.progress.advance(1);
            }
        }
        lock(&shared.notes).remove(&at);
    }
    Ok(())
}

/// Makes one run, to its end (none) or to what kept it from that.
fn make(
    run: &PlannedRun,
    path: &Path,
    site: &Site<'_>,
    slot: Slot,
    held: &File,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Option<(Doing, Ended)>> {
    // Only now, as the last holder of the lock may have done it.
    let missing = run.missing(site.out)?;
    let recipe = path.join(files::RECIPE);
    if !recipe.is_file() {
        write_atomic(&recipe, run.recipe.to_toml()?.as_bytes())?;
    }
    let train = missing.train.then_some(Doing::Train);
    for doing in train.into_iter().chain(missing.splits.into_iter().map(Doing::Eval)) {
        if site.interrupt.requested() {
            return Ok(Some((doing, Ended::Stopped)));
        }
        say(&doing.to_string());
        let ended = site.worker.work(&doing, path, slot, held, say, site.interrupt)?;
        if ended != Ended::Done {
            return Ok(Some((doing, ended)));
        }
    }
    Ok(None)
}

fn write_failures(out: &Path, failures: &[Failure]) -> Result<()> {
    let path = out.join(FAILED_FILE);
    if failures.is_empty() {
        return match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(retort_cache::Error::io("remove", &path)(error).into())
            }
            _ => Ok(()),
        };
    }
    let text = serde_json::to_string_pretty(failures)
        .map_err(|error| Error::Protocol { path: path.clone(), problem: error.to_string() })?;
    Ok(write_atomic(&path, format!("{text}\n").as_bytes())?)
}
