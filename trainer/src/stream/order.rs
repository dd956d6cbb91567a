//! Which samples come when: a pure function of (seed, epoch, position).
//!
//! ```text
//! chosen samples, in the order of their shards    [0 1 2 3][4 5 6 7][8 9 ..        blocks of `block_samples`
//! runs of as many blocks as there are pools       | c a b | b c a | a c b | ..     one of each run for each pool
//! a pool's samples, permuted                      41 6 12 57 ..                    batches go on from pool to pool
//! ```
//!
//! As each pool takes one block of every run, each has its part of every stretch of the data set: however the samples
//! are sorted, by class, source or time, the pools are alike, and so are the batches. Blocks dealt at random would not do:
//! a pool of 256 blocks would have other shares of the classes than the next, which batches of 64 show.

use std::ops::Range;

use retort_schemas::manifest::Shard;

use crate::seeds::permutation;

/// The chosen rows of one shard.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) shard: Shard,
    /// Rows of the shard's samples, in order; at least one.
    pub(crate) rows: Vec<usize>,
}

/// What is streamed, and in which order.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) parts: Vec<Part>,
    pub(crate) seed: u64,
    pub(crate) batch: usize,
    /// Most samples of a pool, unless a block has more.
    pub(crate) pool_samples: usize,
    /// Chosen samples that follow one another and are read together.
    pub(crate) block_samples: usize,
}

/// A pool at its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Visit {
    pub(super) epoch: u64,
    /// The pool's number in its epoch.
    pub(super) pool: usize,
    /// Its blocks, in the order of the plan.
    pub(super) blocks: Vec<usize>,
    /// Places of its order that are taken: not all of the first and the last.
    pub(super) taken: Range<usize>,
}

impl Plan {
    pub(crate) fn samples(&self) -> usize {
        self.parts.iter().map(|part| part.rows.len()).sum()
    }

    /// Samples a batch: all there are, if they are fewer than the recipe wants.
    pub(super) fn batch_size(&self) -> usize {
        self.batch.min(self.samples()).max(1)
    }

    /// Batches an epoch; the last, shorter one is left out.
    pub(crate) fn batches(&self) -> u64 {
        (self.samples() / self.batch_size()) as u64
    }

    fn block(&self) -> usize {
        self.block_samples.max(1)
    }

    fn blocks(&self) -> usize {
        self.samples().div_ceil(self.block())
    }

    /// Pools of an epoch, of as many blocks each, or one fewer.
    pub(super) fn pool_count(&self) -> usize {
        self.blocks().div_ceil((self.pool_samples / self.block()).max(1))
    }

    /// The blocks of each pool of an epoch, in the order of the plan.
    pub(super) fn pools(&self, epoch: u64) -> Vec<Vec<usize>> {
        let (blocks, pools) = (self.blocks(), self.pool_count().max(1));
        let mut all = vec![Vec::with_capacity(blocks / pools + 1); pools];
        for (run, first) in (0..blocks).step_by(pools).enumerate() {
            let order = permutation("blocks", self.seed, epoch, &run.to_string(), pools);
            (first..blocks).zip(order).for_each(|(block, pool)| all[pool].push(block));
        }
        all
    }

    /// The samples of a block, numbered through all parts. Counted once, as a large set has many parts and more blocks.
    pub(super) fn samples_of_blocks(&self) -> impl Fn(usize) -> Range<usize> + use<> {
        let (all, block) = (self.samples(), self.block());
        move |at| at * block..all.min((at + 1) * block)
    }

    /// The order in which the samples of a pool come, of which there are so many.
    pub(super) fn order(&self, epoch: u64, pool: usize, samples: usize) -> Vec<usize> {
        permutation("samples", self.seed, epoch, &pool.to_string(), samples)
    }

    /// Part and row of every sample of some blocks, in the order of the plan.
    pub(super) fn places(&self, blocks: &[usize]) -> Vec<(usize, usize)> {
        let mut part = 0;
        let mut before = 0;
        let mut places = Vec::new();
        let samples_of = self.samples_of_blocks();
        for sample in blocks.iter().flat_map(|block| samples_of(*block)) {
            while sample >= before + self.parts[part].rows.len() {
                before += self.parts[part].rows.len();
                part += 1;
            }
            places.push((part, self.parts[part].rows[sample - before]));
        }
        places
    }

    /// The pools that batches `batches` come from, counted through all epochs: what lies before them is passed over.
    pub(super) fn visits(&self, batches: Range<u64>) -> impl Iterator<Item = Visit> + '_ {
        let per_epoch = self.batches().max(1);
        let size = self.batch_size();
        (batches.start / per_epoch..batches.end.div_ceil(per_epoch)).flat_map(move |epoch| {
            let at = |batch: u64| batch.saturating_sub(epoch * per_epoch).min(per_epoch) as usize * size;
            let (from, to) = (at(batches.start), at(batches.end));
            let mut end = 0;
            let samples_of = self.samples_of_blocks();
            self.pools(epoch).into_iter().enumerate().filter_map(move |(pool, blocks)| {
                let samples: usize = blocks.iter().map(|block| samples_of(*block).len()).sum();
                let start = end;
                end += samples;
                let taken = from.max(start) - start..to.min(end).max(start) - start;
                (taken.start < taken.end).then_some(Visit { epoch, pool, blocks, taken })
            })
        })
    }
}
