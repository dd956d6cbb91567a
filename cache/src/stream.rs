//! An epoch of shuffled batches: order is a pure function of (seed, epoch), the state is two numbers.
//!
//! ```text
//! shards, permuted an epoch    [ 7 2 9 | 0 4 1 | ... ]        pools of `pool_shards`, loaded ahead by several threads
//! rows of a pool, permuted     7:12 2:900 9:3 ...             batches follow one another through pool after pool
//! ```

use std::ops::Range;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::ahead::{Ahead, Bounds};
use crate::pages::{ColumnRows, PageReader};
use crate::{Error, Reader, Result, Rows, Source};

/// How an epoch is read. Seed, batch and pool decide the order; the bounds do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOptions {
    /// Decides the order, with the epoch.
    pub seed: u64,
    /// Rows a batch; the last of an epoch has what is left.
    pub batch: usize,
    /// Shards whose rows are shuffled together. They are in memory, decompressed, besides those read ahead.
    pub pool_shards: usize,
    /// Threads, and how many shards and compressed bytes they read ahead.
    pub bounds: Bounds,
}

/// Where a stream is: all of its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The epoch, from 0.
    pub epoch: u64,
    /// Batches of it that were taken.
    pub batch: u64,
}

/// Shuffled batches of a source, epoch after epoch.
pub struct Stream {
    reader: Arc<Reader>,
    options: StreamOptions,
    ahead: Ahead<Loaded>,
    position: Position,
    end: u64,
    pool: Vec<Loaded>,
    pool_index: usize,
    /// Rows of the pool in order, as (shard of the pool, row), and how many of them were taken.
    order: Vec<(u32, u32)>,
    taken: usize,
}

/// A shard in memory.
struct Loaded {
    shard: usize,
    columns: Vec<ColumnRows>,
    pages: PageReader,
}

impl Reader {
    /// Streams the epochs up to `epochs`, from a position on. What lies before it is not read.
    ///
    /// # Errors
    /// [`Error::Column`] if the position is behind the end of its epoch.
    pub fn stream(self: &Arc<Self>, options: StreamOptions, from: Position, epochs: u64) -> Result<Stream> {
        let batches = batches(self.source(), &options);
        if from.batch > batches {
            let problem = format!("has {batches} batches an epoch, no batch {}", from.batch);
            return Err(Error::Column { column: self.source().columns().join(", "), problem });
        }
        let (pool, taken) = skip(self.source(), &options, from);
        let jobs = jobs(self.clone(), options, from.epoch..epochs, pool);
        let reader = self.clone();
        let ahead = Ahead::start(jobs, options.bounds, move |shard, spare: Option<Loaded>| {
            let mut loaded = match spare {
                Some(spare) => spare,
                None => Loaded { shard, columns: Vec::new(), pages: PageReader::new()? },
            };
            loaded.shard = shard;
            reader.read_shard(shard, &mut loaded.pages, &mut loaded.columns)?;
            Ok(loaded)
        });
        let reader = self.clone();
        let (pool_index, order) = (pool, Vec::new());
        Ok(Stream { reader, options, ahead, position: from, end: epochs, pool: Vec::new(), pool_index, order, taken })
    }
}

/// Batches of an epoch.
fn batches(source: &Source, options: &StreamOptions) -> u64 {
    source.rows().div_ceil(options.batch.max(1) as u64)
}

/// The pool that holds the next row at a position, and how many rows of it come before.
fn skip(source: &Source, options: &StreamOptions, from: Position) -> (usize, usize) {
    let mut rows = from.batch.saturating_mul(options.batch.max(1) as u64);
    let order = shard_order(source, options, from.epoch);
    let pools = order.chunks(options.pool_shards.max(1));
    for (index, pool) in pools.enumerate() {
        let held: u64 = pool.iter().map(|shard| source.shards[*shard].rows as u64).sum();
        if rows < held {
            return (index, rows as usize);
        }
        rows -= held;
    }
    (order.len().div_ceil(options.pool_shards.max(1)), 0)
}

/// The shards to load, from a pool of the first epoch on, each with its compressed bytes.
fn jobs(
    reader: Arc<Reader>,
    options: StreamOptions,
    epochs: Range<u64>,
    pool: usize,
) -> impl Iterator<Item = (u64, usize)> + Send + 'static {
    let first = epochs.start;
    epochs.flat_map(move |epoch| {
        let skipped = if epoch == first { pool * options.pool_shards.max(1) } else { 0 };
        let order = shard_order(reader.source(), &options, epoch);
        let reader = reader.clone();
        order.into_iter().skip(skipped).map(move |shard| {
            let source = reader.source();
            (source.shards[shard].bytes(&source.columns), shard)
        })
    })
}

fn shard_order(source: &Source, options: &StreamOptions, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..source.shards.len()).collect();
    shuffle(&mut order, "shards", options.seed, epoch, 0);
    order
}

/// Fisher and Yates, by random numbers that depend on nothing but what is named here.
fn shuffle<T>(items: &mut [T], purpose: &str, seed: u64, epoch: u64, place: u64) {
    let mut state = xxh3_64(format!("{purpose}/{seed}/{epoch}/{place}").as_bytes());
    let mut random = || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = state;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    for last in (1..items.len()).rev() {
        // The high half of the product is even but for less than one in 2^40 of a shard's rows.
        let other = (u128::from(random()) * (last as u128 + 1)) >> 64;
        items.swap(last, other as usize);
    }
}

impl Stream {
    /// Where the next batch is: give it to [`Reader::stream`] to go on from there.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Batches of an epoch.
    pub fn batches(&self) -> u64 {
        batches(self.reader.source(), &self.options)
    }

    /// Copies the next batch into the caller's memory and tells where it is; none behind the last epoch.
    ///
    /// # Errors
    /// As [`Reader::take`]; `into` then holds nothing of use, and the stream has ended.
    pub fn next_into(&mut self, into: &mut Rows) -> Result<Option<Position>> {
        into.clear(self.reader.source().columns().len());
        if self.position.batch >= self.batches() {
            self.position = Position { epoch: self.position.epoch + 1, batch: 0 };
            (self.pool_index, self.taken) = (0, 0);
            self.leave_pool();
        }
        if self.position.epoch >= self.end || self.reader.source().rows() == 0 {
            return Ok(None);
        }
        while into.rows.len() < self.options.batch.max(1) {
            if self.pool.is_empty() {
                self.load_pool()?;
                if self.pool.is_empty() {
                    break;
                }
            }
            self.gather(into);
            if self.taken == self.order.len() {
                self.leave_pool();
                (self.pool_index, self.taken) = (self.pool_index + 1, 0);
            }
        }
        let here = self.position;
        self.position.batch += 1;
        Ok(Some(here))
    }

    /// Copies rows of the pool until the batch is full or the pool is used up.
    fn gather(&mut self, into: &mut Rows) {
        let left = self.options.batch.max(1) - into.rows.len();
        let next = &self.order[self.taken..self.order.len().min(self.taken + left)];
        let starts = &self.reader.source().starts;
        into.rows.extend(next.iter().map(|(at, row)| starts[self.pool[*at as usize].shard] + u64::from(*row)));
        for (column, out) in into.columns.iter_mut().enumerate() {
            next.iter().for_each(|(at, row)| out.push(self.pool[*at as usize].columns[column].row(*row as usize)));
        }
        self.taken += next.len();
    }

    /// Waits for the shards of the next pool; leaves it empty behind the last one of the epoch.
    fn load_pool(&mut self) -> Result<()> {
        let source = self.reader.source();
        let shards = shard_order(source, &self.options, self.position.epoch);
        let pool = shards.chunks(self.options.pool_shards.max(1)).nth(self.pool_index).unwrap_or_default();
        self.order.clear();
        for (at, shard) in pool.iter().enumerate() {
            let loaded = self.ahead.take_next()?.filter(|loaded| loaded.shard == *shard);
            let loaded = loaded.ok_or_else(|| Error::Broken {
                path: source.shards[*shard].name.clone().into(),
                problem: "the thread that read this shard has died".to_owned(),
            })?;
            self.pool.push(loaded);
            self.order.extend((0..source.shards[*shard].rows).map(|row| (at as u32, row as u32)));
        }
        shuffle(&mut self.order, "rows", self.options.seed, self.position.epoch, self.pool_index as u64);
        Ok(())
    }

    fn leave_pool(&mut self) {
        self.pool.drain(..).for_each(|shard| self.ahead.give_back(shard));
        self.order.clear();
    }
}
