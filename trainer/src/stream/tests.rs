//! The order of samples, and that nothing but the plan decides the batches.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use retort_cache::{Dataset, TeacherCache};
use retort_schemas::manifest::Shard;
use tch::{Device, Kind, Tensor};
use tempfile::tempdir;

use super::*;
use crate::fixture::{Asked, Result, SHARDS, recipe, write};
use crate::seeds::permutation;
use crate::students::Visual;
use crate::tasks::Objective;

fn part(shard: usize, rows: impl Iterator<Item = usize>) -> Part {
    Part { shard: Shard { name: format!("train-{shard:05}"), tables: BTreeMap::new() }, rows: rows.collect() }
}

fn plan(parts: Vec<Part>) -> Plan {
    Plan { parts, seed: 3, batch: 4, pool_samples: 24, block_samples: 4 }
}

/// Seven shards of which every second row was chosen.
fn uneven() -> Plan {
    plan((0..7).map(|i| part(i, (0..20 + 2 * i).step_by(2))).collect())
}

/// The samples of an epoch as they come, numbered through all parts; those of the last, shorter batch too.
fn epoch(plan: &Plan, epoch: u64) -> Vec<usize> {
    let samples_of = plan.samples_of_blocks();
    let of_pool = |(pool, blocks): (usize, Vec<usize>)| {
        let samples: Vec<usize> = blocks.iter().flat_map(|block| samples_of(*block)).collect();
        plan.order(epoch, pool, samples.len()).into_iter().map(move |at| samples[at]).collect::<Vec<_>>()
    };
    plan.pools(epoch).into_iter().enumerate().flat_map(of_pool).collect()
}

#[test]
fn an_epoch_holds_every_sample_once_in_its_own_order() {
    let plan = uneven();
    let mut sorted = epoch(&plan, 0);
    sorted.sort_unstable();
    assert_eq!(sorted, (0..plan.samples()).collect::<Vec<_>>());
    assert_eq!(epoch(&plan, 0), epoch(&plan, 0));
    assert_ne!(epoch(&plan, 0), epoch(&plan, 1));
    assert_ne!(epoch(&plan, 0), epoch(&Plan { seed: 4, ..plan.clone() }, 0));
    let places = plan.places(&(0..plan.samples().div_ceil(4)).collect::<Vec<_>>());
    let all = plan.parts.iter().enumerate().flat_map(|(at, part)| part.rows.iter().map(move |row| (at, *row)));
    assert_eq!(places, all.collect::<Vec<_>>());
}

#[test]
fn a_pool_has_its_part_of_every_stretch_and_no_more_samples_than_asked() {
    let plan = uneven();
    let pools = plan.pools(5);
    assert_eq!(pools.len(), plan.pool_count());
    for blocks in &pools {
        assert!(blocks.iter().map(|block| plan.samples_of_blocks()(*block).len()).sum::<usize>() <= plan.pool_samples);
        let runs: Vec<usize> = blocks.iter().map(|block| block / pools.len()).collect();
        assert!(runs.windows(2).all(|pair| pair[0] + 1 == pair[1]), "one block of every run: {runs:?}");
    }
    // A block of more samples than a pool may hold is a pool.
    let coarse = Plan { block_samples: 50, ..plan };
    assert!(coarse.pools(0).iter().all(|blocks| blocks.len() == 1));
}

#[test]
fn visits_go_on_where_batches_were_taken() {
    let plan = uneven();
    let (per_epoch, size) = (plan.batches(), plan.batch_size());
    let taken = |from: u64, to: u64| -> Vec<usize> {
        let of_visit = |visit: Visit| {
            let samples: Vec<usize> = visit.blocks.iter().flat_map(|block| plan.samples_of_blocks()(*block)).collect();
            let order = plan.order(visit.epoch, visit.pool, samples.len());
            order[visit.taken].iter().map(|at| samples[*at]).collect::<Vec<_>>()
        };
        plan.visits(from..to).flat_map(of_visit).collect()
    };
    let all: Vec<usize> = (0..3).flat_map(|e| epoch(&plan, e)[..per_epoch as usize * size].to_vec()).collect();
    assert_eq!(taken(0, 3 * per_epoch), all);
    for from in 0..3 * per_epoch {
        for to in [from, from + 1, 2 * per_epoch, 3 * per_epoch - 1] {
            let to = to.max(from);
            assert_eq!(taken(from, to), all[from as usize * size..to as usize * size], "batches {from} to {to}");
        }
    }
}

/// Classes of the samples of a sorted set, and samples a batch.
const CLASSES: usize = 10;
const BATCH: usize = 64;

/// How far the classes of batches are from those of the whole, as chi-square, added over the batches of an epoch.
fn chi_square(order: &[usize]) -> f64 {
    let expected = BATCH as f64 / CLASSES as f64;
    let of_batch = |batch: &[usize]| -> f64 {
        let mut counts = [0.0_f64; CLASSES];
        batch.iter().for_each(|sample| counts[sample * CLASSES / order.len()] += 1.0);
        counts.iter().map(|count| (count - expected).powi(2) / expected).sum()
    };
    order.chunks_exact(BATCH).map(of_batch).sum()
}

#[test]
fn the_classes_of_batches_of_a_sorted_set_are_as_if_all_were_shuffled() {
    const SHARD: usize = 1024;
    const SEEDS: u64 = 20;
    let data = crate::Recipe::parse(Path::new("recipe.toml"), "[data]\ndataset = \"d\"", &[]).unwrap().data;
    let (pool, block) = (data.pool_samples, data.block_samples);
    let parts: Vec<Part> = (0..40).map(|shard| part(shard, 0..SHARD)).collect();
    let sorted = |seed| Plan { parts: parts.clone(), seed, batch: BATCH, pool_samples: pool, block_samples: block };
    let all = sorted(0).samples();
    let uniform = |seed| {
        let mut order: Vec<usize> = (0..all).collect();
        order.shuffle(&mut StdRng::seed_from_u64(seed));
        chi_square(&order)
    };
    let mut band: Vec<f64> = (0..100).map(uniform).collect();
    band.sort_by(f64::total_cmp);
    let (least, most) = (band[0], band[99]);
    let streamed: Vec<f64> = (0..SEEDS).map(|seed| chi_square(&epoch(&sorted(seed), seed % 3))).collect();
    let mean = streamed.iter().sum::<f64>() / SEEDS as f64;
    assert!(streamed.iter().all(|x| (least..=most).contains(x)), "{streamed:?} of {least}..{most}");
    assert!((band[10]..=band[89]).contains(&mean), "{mean} of {}..{}", band[10], band[89]);
    // Stretches in any order, some of them shuffled together, are not: neither eight whole shards nor blocks.
    for (samples, together) in [(SHARD, 8), (block, pool / block)] {
        for seed in 0..3 {
            let stretches = permutation("stretches", seed, 0, "", all / samples);
            let of_pool = |stretches: &[usize]| {
                let all: Vec<usize> = stretches.iter().flat_map(|at| at * samples..(at + 1) * samples).collect();
                let order = permutation("samples", seed, 0, "", all.len());
                order.into_iter().map(move |at| all[at]).collect::<Vec<_>>()
            };
            let other = chi_square(&stretches.chunks(together).flat_map(of_pool).collect::<Vec<_>>());
            assert!(other > 1.05 * most, "{other} of {least}..{most}, stretches of {samples}");
        }
    }
}

/// A data set, its samples, and what makes batches of them.
struct Streamed {
    plan: Plan,
    sources: Sources,
    preparer: Arc<Preparer>,
}

/// What a batch holds, to compare.
type Seen = (Vec<String>, Vec<i64>, Vec<f32>, Vec<f32>);

impl Streamed {
    fn of(folder: &Path, wanted: impl Fn(usize, usize) -> bool) -> Result<Self> {
        let path = write(folder, Asked::Choice)?;
        let dataset = Dataset::open(&path)?;
        let sources = Sources {
            image_teacher: Some(TeacherCache::open(&dataset, "clip")?),
            text_teacher: Some(TeacherCache::open(&dataset, "text")?),
            with_tokens: true,
            with_pixels: true,
            with_regions: false,
            grid_teacher: None,
            random: None,
            dataset,
        };
        let mut parts = Vec::new();
        let mut texts = BTreeSet::new();
        for (at, shard) in sources.dataset.split_shards("train")?.enumerate() {
            let shard = shard?;
            let zipped = sources.load(&shard)?;
            texts.extend(zipped.texts.iter().flatten().map(str::to_owned));
            let rows = (0..zipped.samples.len()).filter(|row| wanted(at, *row)).collect();
            parts.push(Part { shard, rows });
        }
        parts.retain(|part| !part.rows.is_empty());
        let tokenizer = crate::vocabulary::from_texts(texts.iter().map(String::as_str), 12)?;
        let recipe = recipe(&path, &["arm=kd", "augment.flip=true"])?;
        let preparer = Preparer::new(recipe, tokenizer, Objective::Choice(3), 3, Device::Cpu);
        let plan = Plan { parts, seed: 2, batch: 5, pool_samples: 12, block_samples: 3 };
        Ok(Self { plan, sources, preparer: Arc::new(preparer) })
    }

    /// Batches by the background threads.
    fn streamed(&self, taken: u64, wanted: u64, ahead: usize) -> Result<Vec<Seen>> {
        let (plan, sources) = (self.plan.clone(), self.sources.clone());
        let mut stream = Stream::start(plan, sources, self.preparer.clone(), taken, wanted, ahead);
        let batches = (taken..wanted).map(|_| seen(&stream.next()?)).collect();
        assert!(stream.next().is_err(), "no batch more than wanted");
        batches
    }
}

fn seen(batch: &Batch) -> Result<Seen> {
    let floats = |tensor: &Tensor| Vec::<f32>::try_from(tensor.f_to_kind(Kind::Float)?.f_flatten(0, -1)?);
    let Visual::Pixels(pixels) = &batch.visual else { return Err("no pixels".into()) };
    let features = [&batch.z_v, &batch.z_t].into_iter().flatten().map(floats).collect::<Result<Vec<_>, _>>()?;
    let ids = Vec::<i64>::try_from(&batch.text.ids.f_flatten(0, -1)?)?;
    Ok((batch.ids_of_samples.clone(), ids, floats(pixels)?, features.concat()))
}

/// Pools loaded when they are wanted, by the threads of the caller; counts those in use.
struct PoolsHere<'a> {
    of: &'a Streamed,
    given: &'a Mutex<Vec<std::sync::Weak<Pool>>>,
    asked: usize,
}

impl Pools for PoolsHere<'_> {
    fn next(&mut self, visit: &Visit) -> crate::Result<Arc<Pool>> {
        let pool = Arc::new(Pool::load(&self.of.plan, &self.of.sources, &visit.blocks)?);
        let mut given = self.given.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        given.push(Arc::downgrade(&pool));
        assert!(given.len() <= self.asked, "a pool that was not asked for");
        Ok(pool)
    }

    fn ask(&mut self) {
        self.asked += 1;
        let given = self.given.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // What is about to be loaded is the second.
        let held = given.iter().filter(|pool| pool.strong_count() > 0).count();
        assert!(held <= 1 || self.of.plan.pool_samples < self.of.plan.batch, "{held} pools are held already");
    }
}

#[test]
fn threads_prefetch_and_resuming_change_no_batch() -> Result {
    let folder = tempdir()?;
    let set = Streamed::of(folder.path(), |_, _| true)?;
    let wanted = 2 * set.plan.batches() + 3;
    assert!(set.plan.pool_count() > 2 && set.plan.samples() % 5 != 0);
    let all = set.streamed(0, wanted, 1)?;
    assert_ne!(all[0], all[set.plan.batches() as usize]);
    for ahead in [2, 7, 100] {
        assert_eq!(set.streamed(0, wanted, ahead)?, all, "{ahead} batches ahead");
    }
    for taken in 0..wanted {
        assert_eq!(set.streamed(taken, wanted, 3)?, all[taken as usize..], "resumed at {taken}");
    }
    for threads in [1, 2, 5] {
        let workers = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        let given = Mutex::default();
        let mut made = Vec::new();
        workers.install(|| {
            let pools = PoolsHere { of: &set, given: &given, asked: 0 };
            produce(&set.plan, pools, &set.preparer, 0..wanted, |batch| {
                made.push(seen(&batch).map_err(|error| error.to_string()));
                true
            })
        })?;
        let made: std::result::Result<Vec<Seen>, String> = made.into_iter().collect();
        assert_eq!(made?, all, "{threads} threads");
    }
    Ok(())
}

#[test]
fn every_sample_comes_once_an_epoch_and_pools_may_be_smaller_than_batches() -> Result {
    let folder = tempdir()?;
    let mut set = Streamed::of(folder.path(), |_, _| true)?;
    for (batch, pool_samples, block_samples) in [(4, 12, 3), (4, 1, 1), (16, 3, 2), (6, 1000, 7), (1000, 5, 2)] {
        set.plan = Plan { batch, pool_samples, block_samples, ..set.plan };
        let batches = set.plan.batches();
        for epoch in 0..2 {
            let ids = set.streamed(epoch * batches, (epoch + 1) * batches, 2)?;
            let ids: Vec<String> = ids.into_iter().flat_map(|(ids, ..)| ids).collect();
            assert_eq!(ids.len(), set.plan.samples(), "batches of {batch} leave nothing over");
            assert_eq!(ids.into_iter().collect::<BTreeSet<_>>().len(), set.plan.samples());
        }
    }
    Ok(())
}

#[test]
fn what_fits_a_pool_is_read_once() -> Result {
    let folder = tempdir()?;
    // Three samples of the first shard, none of the second, the last sample of the third.
    let mut set = Streamed::of(folder.path(), |shard, row| match shard {
        0 => [1, 2, 9].contains(&row),
        _ => shard + 1 == SHARDS && row == 15,
    })?;
    set.plan.batch = 2;
    assert_eq!((set.plan.samples(), set.plan.pool_count()), (4, 1));
    set.streamed(0, 2, 1)?;
    let once = set.sources.rows_read();
    assert!(once.used_bytes > 0 && once.read_bytes >= once.used_bytes);
    let nothing = Streamed::of(folder.path().join("again").as_path(), |shard, _| shard == 0)?;
    assert_eq!(nothing.sources.rows_read(), RowsRead::default());
    let batches = set.streamed(0, 8, 1)?;
    let twice = set.sources.rows_read();
    // Eight batches are four epochs, read as two batches are, but that the files are open.
    assert_eq!(twice.used_bytes, 2 * once.used_bytes);
    for epoch in batches.chunks(2) {
        assert_eq!(epoch.iter().flat_map(|(ids, ..)| ids).collect::<BTreeSet<_>>().len(), 4);
    }
    Ok(())
}

#[test]
fn rows_of_a_shard_are_zipped_as_in_the_whole_shard() -> Result {
    let folder = tempdir()?;
    let set = Streamed::of(folder.path(), |_, _| true)?;
    for part in &set.plan.parts {
        let whole = set.sources.load(&part.shard)?;
        for rows in [vec![0], vec![15, 3, 4], (0..16).collect()] {
            let some = set.sources.load_rows(&part.shard, &rows)?;
            assert_eq!(some.samples.len(), rows.len());
            let all = |zipped: &Zipped, rows: &[usize]| -> Result<Seen> {
                let rows: Vec<(&Zipped, usize)> = rows.iter().map(|row| (zipped, *row)).collect();
                seen(&set.preparer.batch(&rows, Some(1))?)
            };
            assert_eq!(all(&some, &(0..rows.len()).collect::<Vec<_>>())?, all(&whole, &rows)?);
            for (sample, row) in some.samples.iter().zip(&rows) {
                let (text, text_of_whole) = (sample.texts[1], whole.samples[*row].texts[1]);
                let mean = |zipped: &Zipped, text| zipped.tokens.as_ref().and_then(|tokens| tokens.mean(text, 0, 99));
                assert_eq!(mean(&some, text), mean(&whole, text_of_whole));
                assert!(mean(&some, text).is_some());
            }
            assert!(some.image_ids.value(0) == whole.image_ids.value(whole.samples[rows[0]].image) || rows.len() > 1);
        }
    }
    Ok(())
}
