//! The training stream: shuffled batches, prepared by background threads.
//!
//! ```text
//! one thread     pool 0 |   pool 1    |   pool 2   ..     reads rows of many shards: the next pool
//! another               | b b b b b b | b b b b b b ..    tokenises, decodes and collates the present pool
//! the step                b b b b b b   b b b b b b
//! ```
//!
//! [`order`] says which samples come when. The state is the number of batches taken: a stopped run skips what it has
//! seen without reading it. Two pools are in memory, no more; where everything chosen fits one, it is read once.

mod order;
#[cfg(test)]
mod photos;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::JoinHandle;

use rayon::prelude::*;
use retort_cache::RowsRead;

use self::order::Visit;
pub(crate) use self::order::{Part, Plan};
use crate::prepare::{Batch, Preparer};
use crate::zipped::{Sources, Zipped};
use crate::{Error, Result};

/// Batches with their epochs, ahead of the step.
pub(crate) struct Stream {
    batches: Option<Receiver<Result<Batch>>>,
    worker: Option<JoinHandle<()>>,
    sources: Sources,
}

impl Stream {
    /// Starts the background threads at batch `taken`, for batches up to `wanted`.
    pub(crate) fn start(
        plan: Plan,
        sources: Sources,
        preparer: Arc<Preparer>,
        taken: u64,
        wanted: u64,
        ahead: usize,
    ) -> Self {
        let (ready, batches) = sync_channel(ahead.max(1));
        let read = sources.clone();
        keep_threads_for_the_step();
        let worker = std::thread::spawn(move || {
            tch::set_num_threads(1);
            let (ask, asked) = channel();
            let (loaded, pools) = channel();
            std::thread::scope(|scope| {
                let (plan, sources) = (&plan, &read);
                scope.spawn(move || load_ahead(plan, sources, taken..wanted, &asked, &loaded));
                let pools = PoolsAhead { ask, pools };
                let outcome = produce(plan, pools, &preparer, taken..wanted, |batch| ready.send(Ok(batch)).is_ok());
                if let Err(error) = outcome {
                    // Nobody listens once training has stopped for another reason.
                    let _ = ready.send(Err(error));
                }
            });
        });
        Self { batches: Some(batches), worker: Some(worker), sources }
    }

    /// The next batch.
    pub(crate) fn next(&mut self) -> Result<Batch> {
        let gone = || Error::Setting { key: "data", problem: "stream ended before training did".to_owned() };
        self.batches.as_ref().and_then(|batches| batches.recv().ok()).ok_or_else(gone)?
    }

    /// Bytes read from files over the bytes that the samples needed of them, so far: 1 where nothing was read in vain,
    /// and before anything was read.
    pub(crate) fn read_ratio(&self) -> f64 {
        let RowsRead { read_bytes, used_bytes } = self.sources.rows_read();
        if used_bytes == 0 { 1.0 } else { read_bytes as f64 / used_bytes as f64 }
    }
}

/// Settles the calling thread's share of libtorch's threads before another thread asks for one alone.
///
/// Collating only copies. Were libtorch to copy with a team of threads of its own there, OpenMP would see more threads than
/// cores and let those of the step sleep at each operation: a small student's step took half as long again.
fn keep_threads_for_the_step() {
    tch::set_num_threads(tch::get_num_threads());
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Hang up first: the worker may wait for a place in the queue.
        self.batches = None;
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// The samples of some blocks, in memory.
struct Pool {
    /// Of each shard, its samples of the pool.
    shards: Vec<Zipped>,
    /// Shard of the pool and row of it, in the order of the plan.
    samples: Vec<(usize, usize)>,
}

impl Pool {
    /// Reads and checks the samples of some blocks, shard by shard in parallel.
    fn load(plan: &Plan, sources: &Sources, blocks: &[usize]) -> Result<Self> {
        let places = plan.places(blocks);
        let parts: Vec<&[(usize, usize)]> = places.chunk_by(|a, b| a.0 == b.0).collect();
        let load = |places: &&[(usize, usize)]| {
            let rows: Vec<usize> = places.iter().map(|(_, row)| *row).collect();
            sources.load_rows(&plan.parts[places[0].0].shard, &rows)
        };
        let shards = parts.par_iter().map(load).collect::<Result<_>>()?;
        let samples = parts.iter().enumerate().flat_map(|(shard, rows)| (0..rows.len()).map(move |row| (shard, row)));
        Ok(Self { shards, samples: samples.collect() })
    }
}

/// Where pools come from, one after another.
trait Pools {
    /// The pool that was asked for first.
    fn next(&mut self, visit: &Visit) -> Result<Arc<Pool>>;
    /// Asks for one pool more: there is memory for it.
    fn ask(&mut self);
}

/// Pools loaded by another thread.
struct PoolsAhead {
    ask: Sender<()>,
    pools: Receiver<Result<Arc<Pool>>>,
}

impl Pools for PoolsAhead {
    fn next(&mut self, _: &Visit) -> Result<Arc<Pool>> {
        let gone = || Error::Setting { key: "data", problem: "the thread that reads it has died".to_owned() };
        self.pools.recv().map_err(|_| gone())?
    }

    fn ask(&mut self) {
        // The other side has gone once it has loaded the last pool.
        let _ = self.ask.send(());
    }
}

/// Loads pools as they are asked for.
fn load_ahead(
    plan: &Plan,
    sources: &Sources,
    batches: std::ops::Range<u64>,
    asked: &Receiver<()>,
    loaded: &Sender<Result<Arc<Pool>>>,
) {
    let mut kept: Option<Arc<Pool>> = None;
    for visit in plan.visits(batches) {
        if asked.recv().is_err() {
            return;
        }
        let pool = match &kept {
            Some(all) => Ok(all.clone()),
            None => Pool::load(plan, sources, &visit.blocks).map(Arc::new),
        };
        // Where there is but one pool, that of every epoch is the same.
        kept = pool.as_ref().ok().filter(|_| plan.pool_count() == 1).cloned();
        if loaded.send(pool).is_err() {
            return;
        }
    }
}

/// Makes batches until `send` says that none are wanted any more.
fn produce(
    plan: &Plan,
    mut pools: impl Pools,
    preparer: &Preparer,
    batches: std::ops::Range<u64>,
    mut send: impl FnMut(Batch) -> bool,
) -> Result<()> {
    let size = plan.batch_size();
    // What is left of a pool is short of a batch and goes into the first one of the next pool.
    let mut waiting: Vec<(Arc<Pool>, usize)> = Vec::with_capacity(size);
    pools.ask();
    for visit in plan.visits(batches) {
        let pool = pools.next(&visit)?;
        // One pool more is asked for once nothing of the one before is in use: so there are never more than two.
        let mut asked = waiting.is_empty();
        if asked {
            pools.ask();
        }
        for at in &plan.order(visit.epoch, visit.pool, pool.samples.len())[visit.taken.clone()] {
            waiting.push((pool.clone(), *at));
            if waiting.len() < size {
                continue;
            }
            let row = |(pool, at): &(Arc<Pool>, usize)| pool.samples[*at];
            let rows: Vec<(&Zipped, usize)> =
                waiting.iter().map(|sample| (&sample.0.shards[row(sample).0], row(sample).1)).collect();
            let batch = preparer.batch(&rows, Some(visit.epoch))?;
            waiting.clear();
            if !std::mem::replace(&mut asked, true) {
                pools.ask();
            }
            if !send(batch) {
                return Ok(());
            }
        }
        // A pool smaller than a batch.
        if !asked {
            pools.ask();
        }
    }
    Ok(())
}
