//! The thread that owns tensors: takes batches as they are ready, and hands over the features of whole shards.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use retort_nn::Encoded;
use tch::{Device, Tensor};

use super::batches::text_batches;
use super::decode::{Ready, Rows, Stop};
use super::plan::{Run, Wants};
use crate::{Result, Teacher};

/// What a teacher lacked of a shard, row by row.
pub(super) struct Computed<'a> {
    /// The place of the teacher in the call.
    pub(super) teacher: usize,
    pub(super) rows: Arc<Rows<'a>>,
    /// `[images, width]`; zeros where an image is missing.
    pub(super) embeddings: Vec<f32>,
    /// `[images, patches, patch width]`, where patches are wanted.
    pub(super) grids: Vec<f32>,
    /// The shard's texts, if they are wanted.
    pub(super) texts: Option<Embedded>,
    /// `[words, width]`, alone and in the template, if they are wanted.
    pub(super) words: Option<[Vec<f32>; 2]>,
}

/// What is handed to the thread that writes.
pub(super) struct Handed<'a> {
    pub(super) computed: Computed<'a>,
    /// To be told when it is committed.
    pub(super) committed: SyncSender<()>,
}

impl Computed<'_> {
    /// What the teacher lacked.
    pub(super) fn wants(&self) -> Wants {
        self.rows.work.wants[self.teacher]
    }
}

/// Texts with their features.
#[derive(Default)]
pub(super) struct Embedded {
    pub(super) texts: Vec<Encoded>,
    /// `[texts, width]`.
    pub(super) pooled: Vec<f32>,
    /// The features of each text's tokens, `[tokens, token width]` each, where they are wanted.
    pub(super) tokens: Vec<Vec<f32>>,
}

/// Batches that are computed while a shard before them is written, so that the device need not wait for all of that; a kill
/// loses them beside the shard.
const BATCHES_BEFORE_COMMIT: usize = 1;

/// Computes what is ready until nothing more comes, or until a shard would begin that is not to be begun.
///
/// # Errors
/// Those of decoding and of libtorch. That nobody takes what was computed is none: the writer has said why.
pub(super) fn compute<'a>(
    run: &'a Run<'_>,
    teachers: &[&Teacher],
    ready: &Receiver<Result<Ready<'a>>>,
    handed: &SyncSender<Handed<'a>>,
) -> Result<()> {
    let unwritten = Unwritten { committed: None, batches: 0 };
    let mut worker = Worker { run, teachers, shard: Vec::new(), unwritten, waited: Duration::ZERO };
    match worker.work(ready, handed) {
        Err(Stop::Failed(error)) => Err(error),
        Ok(()) | Err(Stop::Gone) => Ok(()),
    }
}

/// What was handed over last, and may not be committed yet.
struct Unwritten {
    committed: Option<Receiver<()>>,
    /// Batches computed since.
    batches: usize,
}

impl Unwritten {
    /// Something was handed over; the writer has taken it, and so has committed all before it.
    fn begin(&mut self, committed: Receiver<()>) {
        *self = Self { committed: Some(committed), batches: 0 };
    }

    /// A batch is to be computed: waits for the commit, but before the first ones.
    fn batch(&mut self) -> Result<(), Stop> {
        if self.batches >= BATCHES_BEFORE_COMMIT
            && let Some(committed) = self.committed.take()
        {
            return committed.recv().map_err(|_| Stop::Gone);
        }
        self.batches += 1;
        Ok(())
    }
}

struct Worker<'a, 'r, 't> {
    run: &'a Run<'r>,
    teachers: &'t [&'t Teacher],
    /// What is known of the shard, by teacher.
    shard: Vec<Computed<'a>>,
    unwritten: Unwritten,
    /// Time waited for what comes next.
    waited: Duration,
}

impl<'a> Worker<'a, '_, '_> {
    fn work(&mut self, ready: &Receiver<Result<Ready<'a>>>, handed: &SyncSender<Handed<'a>>) -> Result<(), Stop> {
        loop {
            let asked = Instant::now();
            let Ok(next) = ready.recv() else { return Ok(()) };
            self.waited += asked.elapsed();
            match next? {
                Ready::Begin(_) if self.run.is_stopping() => return Ok(()),
                Ready::Begin(rows) => self.begin(&rows),
                Ready::Pixels { teacher, pixels, rows } => self.see(teacher, &pixels, &rows)?,
                Ready::Texts { teacher, texts } => {
                    let with_tokens = self.shard[teacher].wants().tokens;
                    self.shard[teacher].texts = Some(self.embed(teacher, texts, with_tokens)?);
                }
                Ready::Words { teacher, alone, prompted } => {
                    let alone = self.embed(teacher, alone, false)?.pooled;
                    self.shard[teacher].words = Some([alone, self.embed(teacher, prompted, false)?.pooled]);
                }
                Ready::Done { teacher } => self.hand_over(teacher, handed)?,
            }
        }
    }

    fn begin(&mut self, rows: &Arc<Rows<'a>>) {
        let images = rows.images.as_ref().map_or(0, arrow::array::Array::len);
        let courses = self.run.courses.iter().zip(&rows.work.wants).enumerate();
        let empty = courses.map(|(teacher, (course, wants))| {
            let [places, patch_width] = course.seeing.as_ref().map_or([0; 2], |seeing| seeing.grid);
            let width = course.seeing.as_ref().filter(|_| wants.sees()).map_or(0, |seeing| seeing.width);
            let grid = if wants.patches { places * patch_width } else { 0 };
            let (embeddings, grids) = (vec![0.0; images * width], vec![0.0; images * grid]);
            Computed { teacher, rows: rows.clone(), embeddings, grids, texts: None, words: None }
        });
        self.shard = empty.collect();
    }

    fn take(&mut self, teacher: usize) -> Computed<'a> {
        let Computed { rows, embeddings, grids, texts, words, .. } = &mut self.shard[teacher];
        Computed {
            teacher,
            rows: rows.clone(),
            embeddings: std::mem::take(embeddings),
            grids: std::mem::take(grids),
            texts: texts.take(),
            words: words.take(),
        }
    }

    /// Waits for the writer to take what a teacher lacked.
    fn hand_over(&mut self, teacher: usize, handed: &SyncSender<Handed<'a>>) -> Result<(), Stop> {
        let asked = Instant::now();
        let (committed, told) = sync_channel(1);
        let computed = self.take(teacher);
        handed.send(Handed { computed, committed }).map_err(|_| Stop::Gone)?;
        self.unwritten.begin(told);
        self.run.tally.waited(teacher, asked.elapsed());
        Ok(())
    }

    /// Has a teacher compute, and puts the time waited for that down to it.
    fn at<T>(&mut self, teacher: usize, compute: impl FnOnce(&Teacher) -> Result<T>) -> Result<T, Stop> {
        let asked = Instant::now();
        self.unwritten.batch()?;
        let _cores = self.run.cores(self.teachers[teacher].device() == Device::Cpu);
        self.run.tally.waited(teacher, std::mem::take(&mut self.waited) + asked.elapsed());
        Ok(compute(self.teachers[teacher])?)
    }

    /// Encodes a batch of images and puts their features to their rows.
    fn see(&mut self, teacher: usize, pixels: &Tensor, rows: &[usize]) -> Result<(), Stop> {
        let with_grid = self.shard[teacher].wants().patches;
        let (embedded, grids) = self.at(teacher, |teacher| teacher.see(pixels, with_grid))?;
        put(&mut self.shard[teacher].embeddings, rows, &embedded);
        put(&mut self.shard[teacher].grids, rows, &grids);
        self.run.tally.advance(teacher, rows.len() as u64);
        Ok(())
    }

    /// Encodes texts in order of length, so that batches hold little padding, and puts rows back in order.
    fn embed(&mut self, teacher: usize, texts: Vec<Encoded>, with_tokens: bool) -> Result<Embedded, Stop> {
        let course = &self.run.courses[teacher];
        let Some(reading) = &course.reading else { return Ok(Embedded::default()) };
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|row| (texts[*row].ids.len(), *row));
        let mut pooled = vec![0.0; texts.len() * reading.width];
        let mut tokens = vec![Vec::new(); if with_tokens { texts.len() } else { 0 }];
        for rows in text_batches(course.plan, &order, |row| texts[row].ids.len().max(reading.least)) {
            let batch: Vec<&Encoded> = rows.iter().map(|row| &texts[*row]).collect();
            let (vectors, features) = self.at(teacher, |teacher| teacher.embed_texts(&batch, with_tokens))?;
            put(&mut pooled, rows, &vectors);
            for (row, features) in rows.iter().zip(features) {
                tokens[*row] = features;
            }
            self.run.tally.advance(teacher, rows.len() as u64);
        }
        Ok(Embedded { texts, pooled, tokens })
    }
}

/// Copies vectors, one for each of `rows`, to their places.
fn put(all: &mut [f32], rows: &[usize], vectors: &[f32]) {
    let width = vectors.len() / rows.len().max(1);
    for (row, vector) in rows.iter().zip(vectors.chunks_exact(width.max(1))) {
        all[row * width..][..width].copy_from_slice(vector);
    }
}
