//! From a shard's rows to what encoders take: read a shard ahead, decoded and preprocessed a few batches ahead.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use arrow::array::{BinaryArray, FixedSizeBinaryArray, RecordBatch, StringArray};
use rayon::prelude::*;
use retort_cache::{Columns, column, take_ids};
use retort_nn::Encoded;
use retort_nn::pixels::{self, Preprocessing};
use retort_schemas::{features, tables};
use tch::{Device, Tensor};

use super::hex;
use super::plan::{Course, Reading, Run, Seeing, Work};
use crate::teacher::host_pixels;
use crate::{Error, Result};

/// A shard with the tables that teachers lack features of.
pub(super) struct Loaded<'a> {
    work: &'a Work,
    images: Option<RecordBatch>,
    texts: Option<RecordBatch>,
}

/// A shard on its way through the encoders.
pub(super) struct Rows<'a> {
    pub(super) work: &'a Work,
    /// Ids of its images, if they were read.
    pub(super) images: Option<FixedSizeBinaryArray>,
    /// Ids of its texts, if they were read.
    pub(super) texts: Option<FixedSizeBinaryArray>,
    /// Words that first appear in it.
    pub(super) words: &'a [String],
}

/// What encoders are given, in the order of shards; `teacher` is the place of one in the call.
pub(super) enum Ready<'a> {
    /// What follows is of this shard.
    Begin(Arc<Rows<'a>>),
    /// A batch of images `[images, 3, height, width]`, and the rows that they are.
    Pixels { teacher: usize, pixels: Tensor, rows: Vec<usize> },
    /// The texts, in the order of rows.
    Texts { teacher: usize, texts: Vec<Encoded> },
    /// The words, alone and in the template.
    Words { teacher: usize, alone: Vec<Encoded>, prompted: Vec<Encoded> },
    /// This was all that the teacher lacked of the shard.
    Done { teacher: usize },
}

/// Why a thread ends before its work does.
pub(super) enum Stop {
    /// Nobody takes what it makes: whoever did has said why, or was asked to stop.
    Gone,
    /// It failed.
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Reads shards until there is no other to begin.
pub(super) fn read<'a>(run: &'a Run<'_>, loaded: &SyncSender<Result<Loaded<'a>>>) {
    while let Some(work) = run.claim() {
        let Some(shard) = load(run, work).transpose() else { continue };
        let failed = shard.is_err();
        if loaded.send(shard).is_err() || failed {
            return;
        }
    }
}

fn load<'a>(run: &'a Run<'_>, work: &'a Work) -> Result<Option<Loaded<'a>>> {
    // Named by the same manifest when the work was laid out.
    let Some(shard) = run.dataset.shard(&work.shard)? else { return Ok(None) };
    let read = |table, columns: [&str; 2]| run.dataset.read(&shard, table, Columns::Named(&columns));
    let (sees, reads) = (work.wants.iter().any(|wants| wants.sees()), work.wants.iter().any(|wants| wants.reads()));
    let images = sees.then(|| read(tables::images::NAME, [tables::images::IMAGE_ID, tables::images::BYTES]));
    let texts = reads.then(|| read(tables::texts::NAME, [tables::texts::TEXT_ID, tables::texts::TEXT]));
    Ok(Some(Loaded { work, images: images.transpose()?, texts: texts.transpose()? }))
}

/// Makes batches of what was read, for encoders on a device.
pub(super) fn decode<'a>(
    run: &'a Run<'_>,
    device: Device,
    loaded: Receiver<Result<Loaded<'a>>>,
    ready: SyncSender<Result<Ready<'a>>>,
) {
    let decoder = Decoder { run, device, ready };
    for shard in loaded {
        match shard.map_err(Stop::Failed).and_then(|shard| decoder.shard(&shard)) {
            Ok(()) => {}
            Err(Stop::Gone) => return,
            Err(Stop::Failed(error)) => {
                // Where nobody takes it, another error came first.
                let _ = decoder.ready.send(Err(error));
                return;
            }
        }
    }
}

struct Decoder<'a, 'r> {
    run: &'a Run<'r>,
    device: Device,
    ready: SyncSender<Result<Ready<'a>>>,
}

/// What a teacher's next batch has so far.
struct Filling<'a> {
    teacher: usize,
    seeing: &'a Seeing<'a>,
    batch: usize,
    pixels: Vec<f32>,
    rows: Vec<usize>,
}

impl<'a> Decoder<'a, '_> {
    fn send(&self, ready: Ready<'a>) -> Result<(), Stop> {
        self.ready.send(Ok(ready)).map_err(|_| Stop::Gone)
    }

    fn shard(&self, loaded: &Loaded<'a>) -> Result<(), Stop> {
        let Loaded { work, images, texts } = loaded;
        let ids = |table: &Option<RecordBatch>| table.as_ref().map(|table| take_ids(table).cloned()).transpose();
        let words = self.run.words_of(work);
        self.send(Ready::Begin(Arc::new(Rows { work, images: ids(images)?, texts: ids(texts)?, words })))?;
        if let Some(images) = images {
            self.images(work, images)?;
        }
        let texts = texts.as_ref().map(|texts| column::<StringArray>(texts, tables::texts::TEXT)).transpose()?;
        let texts: Vec<&str> = texts.into_iter().flatten().flatten().collect();
        for (teacher, (course, wants)) in self.run.courses.iter().zip(&work.wants).enumerate() {
            if let Some(reading) = &course.reading {
                if wants.reads() {
                    self.send(Ready::Texts { teacher, texts: self.tokenise(reading, &texts)? })?;
                }
                if wants.words {
                    let prompts: Vec<String> =
                        words.iter().map(|word| features::words::TEMPLATE.replace("{}", word)).collect();
                    let (alone, prompted) = (self.tokenise(reading, words)?, self.tokenise(reading, &prompts)?);
                    self.send(Ready::Words { teacher, alone, prompted })?;
                }
            }
            if wants.any() {
                self.send(Ready::Done { teacher })?;
            }
        }
        Ok(())
    }

    fn tokenise(&self, reading: &Reading<'_>, texts: &[impl AsRef<str> + Sync]) -> Result<Vec<Encoded>> {
        let _cores = self.run.cores(self.device == Device::Cpu);
        let encoded = texts.par_iter().map(|text| reading.tokenizer.encode(text.as_ref()));
        Ok(encoded.collect::<Result<_, retort_nn::Error>>()?)
    }

    /// Decodes each image once and preprocesses it for every teacher that lacks it. One that is missing, which ingest was
    /// told to allow, is in no batch.
    fn images(&self, work: &Work, table: &RecordBatch) -> Result<(), Stop> {
        let (ids, encoded) = (take_ids(table)?, column::<BinaryArray>(table, tables::images::BYTES)?);
        let rows: Vec<usize> = (0..table.num_rows()).filter(|row| !encoded.value(*row).is_empty()).collect();
        let mut fillings = self.fillings(work);
        for filling in &fillings {
            self.run.tally.advance(filling.teacher, (table.num_rows() - rows.len()) as u64);
        }
        let ways: Vec<&Preprocessing> = fillings.iter().map(|filling| filling.seeing.preprocessing).collect();
        let all_see = |row: &usize| -> Result<Vec<Vec<f32>>> {
            let image = pixels::decode(encoded.value(*row)).map_err(|source| Error::Undecodable {
                shard: work.shard.clone(),
                id: hex(ids.value(*row)),
                source: Box::new(source),
            })?;
            let see = |way: &&Preprocessing| Ok(way.normalise(&way.fit(&image)?));
            ways.iter().map(see).collect()
        };
        // As many as the first full batch takes, but no fewer than there are threads.
        let least = fillings.iter().map(|filling| filling.batch).min().unwrap_or(1);
        for rows in rows.chunks(least.max(rayon::current_num_threads())) {
            let seen: Vec<Vec<Vec<f32>>> = {
                let _cores = self.run.cores(self.device == Device::Cpu);
                rows.par_iter().map(all_see).collect::<Result<_>>()?
            };
            for (row, views) in rows.iter().zip(seen) {
                for (filling, pixels) in fillings.iter_mut().zip(views) {
                    filling.pixels.extend(pixels);
                    filling.rows.push(*row);
                    if filling.rows.len() == filling.batch {
                        self.send_pixels(filling)?;
                    }
                }
            }
        }
        fillings.iter_mut().filter(|filling| !filling.rows.is_empty()).try_for_each(|filling| self.send_pixels(filling))
    }

    /// An empty batch for each teacher that lacks the images of a shard.
    fn fillings(&self, work: &Work) -> Vec<Filling<'a>> {
        let courses = self.run.courses.iter().zip(&work.wants).enumerate();
        let lacking = courses.filter(|(_, (_, wants))| wants.sees());
        let filling = |(teacher, (course, _)): (usize, (&'a Course<'_>, _))| {
            let (seeing, batch) = (course.seeing.as_ref()?, course.plan.images.max(1));
            Some(Filling { teacher, seeing, batch, pixels: Vec::new(), rows: Vec::new() })
        };
        lacking.filter_map(filling).collect()
    }

    fn send_pixels(&self, filling: &mut Filling<'_>) -> Result<(), Stop> {
        let pixels = host_pixels(&filling.pixels, filling.rows.len(), filling.seeing.input, self.device)?;
        filling.pixels.clear();
        self.send(Ready::Pixels { teacher: filling.teacher, pixels, rows: std::mem::take(&mut filling.rows) })
    }
}
