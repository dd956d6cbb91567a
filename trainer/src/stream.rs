//! The training stream: shuffled batches, prepared by a background thread.
//!
//! Order is a pure function of (seed, epoch, position). Shards are permuted an epoch; runs of `pool_shards` of them are
//! loaded together and their samples permuted; batches follow one another through that order, and the last, shorter
//! one of an epoch is left out. The state is the number of batches taken: a stopped run skips what it has seen without
//! reading it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use rayon::prelude::*;
use retort_schemas::manifest::Shard;

use crate::prepare::{Batch, Preparer};
use crate::seeds::permutation;
use crate::zipped::{Sources, Zipped};
use crate::{Error, Result};

/// The chosen rows of one shard.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) shard: Shard,
    pub(crate) rows: Vec<usize>,
}

/// What is streamed, and in which order.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) parts: Vec<Part>,
    pub(crate) seed: u64,
    pub(crate) batch: usize,
    pub(crate) pool_shards: usize,
}

impl Plan {
    pub(crate) fn samples(&self) -> usize {
        self.parts.iter().map(|part| part.rows.len()).sum()
    }

    /// Batches an epoch: at least one, of all samples if they are fewer than a batch.
    pub(crate) fn batches(&self) -> u64 {
        (self.samples() / self.batch).max(1) as u64
    }

    /// An epoch's pools in order: the parts of each, and the order of their samples as (part, row).
    fn pools(&self, epoch: u64) -> Vec<Vec<(usize, usize)>> {
        let order = permutation("shards", self.seed, epoch, "", self.parts.len());
        order
            .chunks(self.pool_shards.max(1))
            .enumerate()
            .map(|(pool, parts)| {
                let all: Vec<(usize, usize)> =
                    parts.iter().flat_map(|part| self.parts[*part].rows.iter().map(|row| (*part, *row))).collect();
                let order = permutation("samples", self.seed, epoch, &pool.to_string(), all.len());
                order.into_iter().map(|at| all[at]).collect()
            })
            .collect()
    }
}

/// Batches with their epochs, ahead of the step.
pub(crate) struct Stream {
    batches: Option<Receiver<Result<Batch>>>,
    worker: Option<JoinHandle<()>>,
}

impl Stream {
    /// Starts the background thread at batch `taken`, for `wanted` batches.
    pub(crate) fn start(
        plan: Plan,
        sources: Sources,
        preparer: Arc<Preparer>,
        taken: u64,
        wanted: u64,
        ahead: usize,
    ) -> Self {
        let (ready, batches) = sync_channel(ahead.max(1));
        let worker = std::thread::spawn(move || {
            let mut producer = Producer { plan, sources, preparer, loaded: Vec::new() };
            let outcome = producer.run(taken, wanted, &mut |batch| ready.send(Ok(batch)).is_ok());
            if let Err(error) = outcome {
                // Nobody listens once training has stopped for another reason.
                let _ = ready.send(Err(error));
            }
        });
        Self { batches: Some(batches), worker: Some(worker) }
    }

    /// The next batch.
    pub(crate) fn next(&mut self) -> Result<Batch> {
        let gone = || Error::Setting { key: "data", problem: "stream ended before training did".to_owned() };
        self.batches.as_ref().and_then(|batches| batches.recv().ok()).ok_or_else(gone)?
    }
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

struct Producer {
    plan: Plan,
    sources: Sources,
    preparer: Arc<Preparer>,
    /// Parts in memory, by index.
    loaded: Vec<(usize, Arc<Zipped>)>,
}

impl Producer {
    fn run(&mut self, taken: u64, wanted: u64, send: &mut dyn FnMut(Batch) -> bool) -> Result<()> {
        let per_epoch = self.plan.batches();
        let mut at = taken;
        while at < wanted {
            let epoch = at / per_epoch;
            let mut skip = (at % per_epoch) as usize * self.plan.batch;
            let mut left = per_epoch.min(wanted - epoch * per_epoch) - at % per_epoch;
            let mut waiting: Vec<(Arc<Zipped>, usize)> = Vec::new();
            let size = self.plan.batch.min(self.plan.samples());
            for pool in self.plan.pools(epoch) {
                if skip >= pool.len() {
                    skip -= pool.len();
                    continue;
                }
                self.load(&pool)?;
                for (part, row) in pool.into_iter().skip(std::mem::take(&mut skip)) {
                    let Some((_, shard)) = self.loaded.iter().find(|(loaded, _)| *loaded == part) else { continue };
                    waiting.push((shard.clone(), row));
                    if waiting.len() == size && left > 0 {
                        let rows: Vec<(&Zipped, usize)> =
                            waiting.iter().map(|(shard, row)| (shard.as_ref(), *row)).collect();
                        let batch = self.preparer.batch(&rows, Some(epoch))?;
                        waiting.clear();
                        left -= 1;
                        at += 1;
                        if !send(batch) {
                            return Ok(());
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads and checks the shards of a pool, keeping those that are in memory already.
    fn load(&mut self, pool: &[(usize, usize)]) -> Result<()> {
        let mut parts: Vec<usize> = pool.iter().map(|(part, _)| *part).collect();
        parts.sort_unstable();
        parts.dedup();
        let kept = std::mem::take(&mut self.loaded);
        let sources = &self.sources;
        let plan = &self.plan;
        self.loaded = parts
            .into_par_iter()
            .map(|part| match kept.iter().find(|(loaded, _)| *loaded == part) {
                Some(known) => Ok(known.clone()),
                None => Ok((part, Arc::new(sources.load(&plan.parts[part].shard)?))),
            })
            .collect::<Result<_>>()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn plan() -> Plan {
        let part = |i: usize| Part {
            shard: Shard { name: format!("train-{i:05}"), tables: BTreeMap::new() },
            rows: (0..10 + i).collect(),
        };
        Plan { parts: (0..7).map(part).collect(), seed: 3, batch: 4, pool_shards: 3 }
    }

    #[test]
    fn an_epoch_holds_every_sample_once_in_its_own_order() {
        let plan = plan();
        let epoch = |e| plan.pools(e).concat();
        let all: BTreeSet<(usize, usize)> = epoch(0).into_iter().collect();
        assert_eq!((all.len(), epoch(0).len()), (plan.samples(), plan.samples()));
        assert_eq!(epoch(0), epoch(0));
        assert_ne!(epoch(0), epoch(1));
        assert_ne!(epoch(0), Plan { seed: 4, ..plan.clone() }.pools(0).concat());
    }

    #[test]
    fn a_pool_holds_no_more_shards_than_asked() {
        for pool in plan().pools(5) {
            let parts: BTreeSet<usize> = pool.iter().map(|(part, _)| *part).collect();
            assert!(parts.len() <= 3);
        }
    }
}
