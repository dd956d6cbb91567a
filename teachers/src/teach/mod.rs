//! The work of teachers over a data set: what is missing, shard by shard, committed as it is done.
//!
//! ```text
//!                     a worker, of which every device has one                                        one a call
//! shards that lack    +---------------------------------------------------------------------------+
//! something, in   --> | read --0--> decode, preprocess, tokenise --2 batches--> compute (tensors) | --0--> check, store,
//! their order         | (a thread)  (a thread, and rayon's)                     (a thread)        |        commit
//!                     +---------------------------------------------------------------------------+        (a thread)
//! ```
//!
//! A worker computes no more than one batch before what it handed over is committed: a kill loses a shard of each worker, and
//! that batch.
//!
//! The numbers are what a queue holds: 0 hands over from thread to thread. So in memory, however large the data set, there
//! are of every worker the rows of two shards, the features of one, and a few batches, and the features of one more that
//! is written. An image is decoded once for all teachers of a call.

mod batches;
mod compute;
mod decode;
mod plan;
mod tally;
#[cfg(test)]
mod tests;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use retort_cache::{Dataset, Interrupt, Progress, TeacherWriter};
use retort_schemas::Store;
use retort_schemas::manifest::BatchPlan;

use self::compute::Handed;
use self::plan::{Course, Run, Wants};
use self::tally::Tally;
use crate::{Result, Teacher};

/// Batches and texts that wait, ready to be computed.
const BATCHES_AHEAD: usize = 2;

/// What to compute and how to store it.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How features are stored.
    pub store: Store,
    /// Also the patch grid of each image: of a ViT-B/32 49 vectors of 768, 75 KB an image as f16.
    pub patches: bool,
    /// Also the features of each text's tokens.
    pub tokens: bool,
    /// Also the embeddings of each distinct word.
    pub words: bool,
    /// Batch sizes of a new cache; one that exists keeps its own.
    pub batch: BatchPlan,
    /// For a new cache of a teacher on CUDA, find the batch sizes by trying instead.
    pub find_batch: bool,
}

/// One teacher of a call.
pub struct Job<'a> {
    /// The name of its cache.
    pub name: &'a str,
    /// The teacher, on the device of this thread's work.
    pub teacher: &'a Teacher,
    /// The same on further devices, each of which has a worker of its own; of every job as many.
    pub copies: &'a mut [Teacher],
}

impl<'a> Job<'a> {
    /// A teacher on its one device.
    pub fn new(name: &'a str, teacher: &'a Teacher) -> Self {
        Self { name, teacher, copies: &mut [] }
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// `name@fingerprint8`.
    pub folder: String,
    /// Shards computed now.
    pub computed: usize,
    /// Shards that were there: all that was asked for of them, with its files.
    pub kept: usize,
    /// Files that the cache's manifest named and that were gone: computed again now.
    pub again: usize,
    /// The same of tables that were not asked for, by table: they are still gone.
    pub gone: BTreeMap<String, usize>,
    /// Texts computed now that were longer than the model takes, and cut.
    pub truncated: u64,
    /// Batch sizes in use.
    pub batch: BatchPlan,
    /// Images, texts and words computed now.
    pub items: u64,
    /// From the beginning of the work to the last commit of this teacher.
    pub elapsed: Duration,
    /// Of that, for how long a device in the mean waited for what this teacher was to compute, or for its features to be
    /// written.
    pub waited: Duration,
}

impl Report {
    /// Items, items a second and the share of waiting, in words; none where nothing was computed.
    pub fn speed(&self) -> Option<String> {
        let each_second = (self.items as f64 / self.elapsed.as_secs_f64().max(1e-9)).round() as u64;
        let waiting = tally::waiting(self.elapsed, self.waited);
        let [items, each_second] = [self.items, each_second].map(thousands);
        (self.computed > 0).then(|| format!("{items} items, {each_second} items/s, {waiting}"))
    }
}

/// Computes what is missing of teachers' features, in one pass over the data set: one report a job.
///
/// When asked to stop it ends as soon as the shards that are being computed are committed.
///
/// # Errors
/// Of a teacher, of the data set, of a cache; [`retort_cache::Error::Interrupted`] when asked to stop before all was done.
/// Finished shards stay, and the next call continues.
pub fn teach(
    dataset: &Dataset,
    jobs: &mut [Job<'_>],
    options: &Options,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Vec<Report>> {
    jobs.iter().try_for_each(|job| job.teacher.check_gives(options.patches, options.tokens))?;
    let mut writers = jobs.iter().map(|job| open_writer(dataset, job, options)).collect::<Result<Vec<_>>>()?;
    let teachers: Vec<&Teacher> = jobs.iter().map(|job| job.teacher).collect();
    let courses = jobs
        .iter()
        .zip(&writers)
        .map(|(job, writer)| Course::of(job.name, job.teacher, options.store, writer.cache().manifest().batch));
    let courses: Vec<Course<'_>> = courses.collect();
    let wanted: Vec<Wants> = courses.iter().map(|course| course.wanted(options)).collect();
    let (works, gone) = plan::missing(dataset, &wanted, &writers)?;
    let lacks_words = works.iter().any(|work| work.wants.iter().any(|wants| wants.words));
    let words = if lacks_words { plan::words_by_shard(dataset, interrupt)? } else { HashMap::new() };
    let stages: Vec<(String, u64)> = courses
        .iter()
        .enumerate()
        .map(|(teacher, course)| (format!("teach {}", course.name), plan::items(&works, &words, teacher)))
        .collect();
    let copies = workers(jobs.iter_mut().map(|job| &mut *job.copies));
    progress.begin_all(&stages, "items");
    let tally = Tally::begin(progress, stages.len(), 1 + copies.len());
    let run = Run::new(dataset, courses, works, words, tally, interrupt);
    let written = work(&run, &mut writers, &teachers, copies);
    progress.end();
    let written = written?;
    let report = |(teacher, writer): (usize, &TeacherWriter)| Report {
        folder: writer.cache().folder_name().to_owned(),
        computed: written[teacher].shards,
        kept: dataset.shard_count() - run.shards_of(teacher),
        again: gone[teacher].again,
        gone: gone[teacher].others.clone(),
        truncated: written[teacher].truncated,
        batch: run.courses[teacher].plan,
        items: run.tally.items(teacher),
        elapsed: run.tally.elapsed(teacher),
        waited: run.tally.waited_of(teacher),
    };
    let reports: Vec<Report> = writers.iter().enumerate().map(report).collect();
    if (0..written.len()).any(|teacher| written[teacher].shards < run.shards_of(teacher)) {
        interrupt.check()?;
    }
    writers.into_iter().try_for_each(TeacherWriter::finish)?;
    Ok(reports)
}

fn open_writer(dataset: &Dataset, job: &Job<'_>, options: &Options) -> Result<TeacherWriter> {
    let (identity, joint) = (job.teacher.identity.clone(), job.teacher.is_joint());
    let writer = TeacherWriter::open(dataset, job.name, joint, options.store, identity, options.batch)?;
    let writer = writer.from_origin(job.teacher.origin.clone()).from_folder(job.teacher.folder.clone());
    let writer = writer.with_settings(job.teacher.settings.clone());
    if options.find_batch && job.teacher.device().is_cuda() && writer.is_new() {
        return Ok(writer.with_batches(batches::find_plan(job.teacher, options.patches, options.tokens)?));
    }
    Ok(writer)
}

/// Copies of the teachers by device, as many as there are of every teacher.
fn workers<'a>(copies: impl Iterator<Item = &'a mut [Teacher]>) -> Vec<Vec<&'a mut Teacher>> {
    let mut of_teachers: Vec<_> = copies.map(<[Teacher]>::iter_mut).collect();
    let mut workers = Vec::new();
    loop {
        let worker: Vec<&mut Teacher> = of_teachers.iter_mut().filter_map(Iterator::next).collect();
        if worker.is_empty() || worker.len() < of_teachers.len() {
            return workers;
        }
        workers.push(worker);
    }
}

/// Does the work: one worker on this thread, one on a thread of its own for every further device, and a thread that writes.
fn work(
    run: &Run<'_>,
    writers: &mut [TeacherWriter],
    teachers: &[&Teacher],
    copies: Vec<Vec<&mut Teacher>>,
) -> Result<Vec<write::Written>> {
    std::thread::scope(|scope| {
        let (computed, waiting) = sync_channel(0);
        let writer = scope.spawn(move || {
            let written = write::write(run, writers, &waiting);
            if written.is_err() {
                run.fail();
            }
            written
        });
        let on_others = copies.into_iter().map(|copies| {
            let computed = computed.clone();
            scope.spawn(move || {
                // Tensors may move to another thread, but not be shared with one.
                let teachers: Vec<&Teacher> = copies.into_iter().map(|teacher| &*teacher).collect();
                worker(run, &teachers, &computed)
            })
        });
        let on_others: Vec<_> = on_others.collect();
        let mut done = worker(run, teachers, &computed);
        drop(computed);
        for other in on_others {
            done = done.and(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        // The writer's own error is what stopped the others.
        let written = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        done.map(|()| written)
    })
}

/// Does shards until there is no other to begin.
fn worker<'a>(run: &'a Run<'_>, teachers: &[&Teacher], computed: &SyncSender<Handed<'a>>) -> Result<()> {
    let Some(device) = teachers.first().map(|teacher| teacher.device()) else { return Ok(()) };
    std::thread::scope(|scope| {
        let (loaded, rows) = sync_channel(0);
        let (ready, batches) = sync_channel(BATCHES_AHEAD);
        scope.spawn(move || decode::read(run, &loaded));
        scope.spawn(move || decode::decode(run, device, rows, ready));
        let done = compute::compute(run, teachers, &batches, computed);
        // The threads that make batches end when nobody takes them.
        drop(batches);
        if done.is_err() {
            run.fail();
        }
        done
    })
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A count with commas.
fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
