//! The engine: a source's items into shards, images read in parallel, shards committed in order.
//!
//! ```text
//! Source::items --> selected images --> runs of `shard_images` --> read, check, hash (rayon) --> tables
//!                                                                                                  |
//!                                                          a thread beside it: commit, count <-----+
//! ```

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rayon::prelude::*;
use retort_cache::{Dataset, DatasetWriter, Error as CacheError, Interrupt, Progress, SplitPlan};
use retort_schemas::manifest::Shard;
use serde_json::json;

use crate::images::{self, CheckedImage};
use crate::plan::{ShardPlan, Shards, existing, items_of};
use crate::rejects::{Code, Reject, Stage};
use crate::shard::{RegionColumns, ShardBuilder, ShardTables};
use crate::source::{Items, Record, Regions, SourceImage};
use crate::{DetectedRegions, Error, ImageOptions, IngestReport, RejectLimit, Result, Selection, Source};

/// Source images of a shard, unless told otherwise.
pub const DEFAULT_SHARD_IMAGES: usize = 1024;

/// Shards that wait for their commit while the next is read: one, so that memory holds two.
const SHARDS_AHEAD: usize = 1;

/// How a split is ingested, whatever its source.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the split in the data set.
    pub split: String,
    /// Source images of a shard, usually [`DEFAULT_SHARD_IMAGES`].
    pub shard_images: usize,
    /// Which images are ingested.
    pub selection: Selection,
    /// How images are stored.
    pub images: ImageOptions,
    /// What a detector found in the images; the split then has the table `regions`, with features.
    pub regions: Option<Arc<DetectedRegions>>,
    /// How many lost records are too many.
    pub max_rejects: RejectLimit,
    /// Replace a split of this name that is complete, or was ingested otherwise; the features that teachers made of it
    /// go with it.
    pub force: bool,
}

impl Options {
    /// The usual options for a split.
    pub fn new(split: impl Into<String>) -> Self {
        Self {
            split: split.into(),
            shard_images: DEFAULT_SHARD_IMAGES,
            selection: Selection::default(),
            images: ImageOptions::default(),
            regions: None,
            max_rejects: RejectLimit::default(),
            force: false,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let invalid = |option, value: &dyn ToString, problem: &str| {
            Err(Error::InvalidOption { option, value: value.to_string(), problem: problem.to_owned() })
        };
        // Files are named after the split.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.split.is_empty() || self.split.starts_with('.') || !self.split.chars().all(is_plain) {
            return invalid("split", &self.split, "it names files: use letters, digits, - and _");
        }
        if self.shard_images == 0 {
            return invalid("number of images a shard", &self.shard_images, "a shard has at least one");
        }
        self.images.check()?;
        self.selection.check()
    }

    /// Everything that decides what is written.
    fn stored(&self, source: &dyn Source) -> serde_json::Value {
        let mut options = json!({ "source": source.options(), "shard_images": self.shard_images });
        let others = [("selection", self.selection.options()), ("images", self.images.stored())];
        for (key, value) in others {
            if let (Some(value), Some(object)) = (value, options.as_object_mut()) {
                object.insert(key.to_owned(), value);
            }
        }
        if let (Some(regions), Some(object)) = (&self.regions, options.as_object_mut()) {
            object.insert("regions".to_owned(), regions.options());
        }
        options
    }
}

/// Ingests a split into a data set, or continues where an earlier run stopped.
///
/// # Errors
/// Those of the source; [`Error::NoRecords`] if it says nothing; [`Error::TooManyRejects`] after the shard that exceeds
/// the limit; [`retort_cache::Error`] if a file cannot be read or written, if the split exists with other options, or on
/// an interrupt: shards committed so far stay.
pub fn ingest(
    source: &dyn Source,
    options: &Options,
    out: &Path,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<IngestReport> {
    options.check()?;
    let vocabulary = source.vocabulary(&options.split, existing(out)?.answers.as_ref())?;
    let plan = SplitPlan {
        name: options.split.clone(),
        source: source.kind().to_owned(),
        options: options.stored(source),
        answers: vocabulary.as_ref().map(|vocabulary| vocabulary.stored.clone()),
    };
    // What is there is not given up for a source that turns out to be none.
    let items = if options.force { Some(items_of(source, vocabulary.as_ref())?) } else { None };
    let mut writer = if options.force { DatasetWriter::replace(out, plan)? } else { DatasetWriter::begin(out, plan)? };
    let mut report = IngestReport { skipped_already: writer.is_complete(), ..IngestReport::default() };
    if writer.committed() > 0 {
        let dataset = Dataset::open(out)?;
        for shard in dataset.split_shards(&options.split)? {
            report.add_committed(&dataset, &shard?)?;
        }
    }
    if report.skipped_already {
        return Ok(report);
    }
    let items = items.map_or_else(|| items_of(source, vocabulary.as_ref()), Ok)?;
    let total = items.images.map(|images| options.selection.limit.map_or(images, |limit| limit.min(images)));
    progress.begin(&format!("ingest {}", options.split), total.unwrap_or(0), "images");
    let regions = match &options.regions {
        Some(detected) => RegionColumns::Features(detected.vector()),
        None if items.regions => RegionColumns::Boxes,
        None => RegionColumns::None,
    };
    let run = Run { options, out, progress, interrupt, regions, records: items.records };
    let result = run.write(items, &mut writer, &mut report);
    progress.end();
    result?;
    writer.finish()?;
    Ok(report)
}

/// What every shard needs.
struct Run<'a> {
    options: &'a Options,
    out: &'a Path,
    progress: &'a dyn Progress,
    interrupt: &'a Interrupt,
    regions: RegionColumns,
    records: Option<u64>,
}

/// A shard on its way to the commit: its tables, and the records and images seen up to its end.
struct Ready {
    tables: ShardTables,
    seen: u64,
}

impl<'a> Run<'a> {
    /// Writes the shards that are not there yet. Images are read on this thread's pool, shards committed beside it.
    fn write(&self, items: Items<'a>, writer: &mut DatasetWriter, report: &mut IngestReport) -> Result<()> {
        let committed = writer.committed();
        let mut shards = Shards::new(items, self.options);
        for _ in 0..committed {
            if let Some(plan) = self.next_shard(&mut shards)? {
                self.progress.advance(plan.images.len() as u64);
            }
        }
        if committed > 0 {
            self.check_rejects(report, shards.seen)?;
        }
        std::thread::scope(|scope| {
            let (ready, waiting) = sync_channel(SHARDS_AHEAD);
            let committer = scope.spawn(|| self.commit(waiting, writer, report));
            let read = self.read(shards, committed, ready);
            // The committer's own error is what stopped the reading.
            let commit = committer.join().map_err(|_| Error::Committer)?;
            commit.and(read)
        })
    }

    /// Builds shard after shard. Ends early, without an error of its own, where the committer has gone.
    fn read(&self, mut shards: Shards<'a>, committed: usize, ready: SyncSender<Ready>) -> Result<()> {
        let mut index = committed;
        while let Some(plan) = self.next_shard(&mut shards)? {
            let tables = self.shard(&Shard::name_of(&self.options.split, index), plan)?;
            index += 1;
            if ready.send(Ready { tables, seen: shards.seen }).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// The next shard. Images that the selection leaves out count as done, unless a limit makes the bar count others.
    fn next_shard(&self, shards: &mut Shards<'a>) -> Result<Option<ShardPlan<'a>>> {
        let plan = shards.next_shard()?;
        let left_out = std::mem::take(&mut shards.left_out);
        if self.options.selection.limit.is_none() {
            self.progress.advance(left_out);
        }
        Ok(plan)
    }

    fn commit(&self, waiting: Receiver<Ready>, writer: &mut DatasetWriter, report: &mut IngestReport) -> Result<()> {
        for Ready { tables, seen } in waiting {
            writer.commit(&tables.named())?;
            let (images, texts) = (tables.images.num_rows() as u64, tables.texts.num_rows() as u64);
            report.add(images, texts, &tables.samples, &tables.rejects)?;
            self.check_rejects(report, seen)?;
        }
        Ok(())
    }

    /// Reads the images of one shard and builds its tables: a function of the plan and the files alone.
    fn shard(&self, name: &str, plan: ShardPlan<'_>) -> Result<ShardTables> {
        let loaded: Vec<_> =
            plan.images.into_par_iter().map(|image| self.load(image)).collect::<Result<_, CacheError>>()?;
        let mut shard = ShardBuilder::new(self.regions);
        plan.rejects.into_iter().for_each(|reject| shard.add_reject(reject));
        let mut lost = Vec::new();
        for Loaded { image, regions, lost_regions, records } in loaded {
            match image {
                Ok(image) => {
                    if let Some(reject) = rest_of_truncated(&image) {
                        shard.add_reject(reject);
                    }
                    lost_regions.into_iter().for_each(|reject| shard.add_reject(reject));
                    let row = shard.add_image(image, regions);
                    records.into_iter().for_each(|record| shard.add_sample(row, record));
                }
                Err(reject) => {
                    lost.extend(records.into_iter().map(|record| lost_with_image(&record, &reject)));
                    shard.add_reject(reject);
                }
            }
        }
        lost.into_iter().for_each(|reject| shard.add_reject(reject));
        shard.finish(name, &self.options.split)
    }

    fn load<'i>(&self, image: SourceImage<'i>) -> Result<Loaded<'i>, CacheError> {
        self.interrupt.check()?;
        let SourceImage { name, bytes, mut regions, records } = image;
        let detected = self.options.regions.as_ref().map(|detected| (detected, name.clone()));
        let image = images::load(name, bytes, &self.options.images);
        let mut lost_regions = None;
        if let (Ok(image), Some((detected, name))) = (&image, detected) {
            match detected.find(&name, [image.source_width, image.source_height], regions.as_ref()) {
                Ok(found) => regions = Some(found),
                Err(reject) => lost_regions = Some(reject),
            }
        }
        self.progress.advance(1);
        Ok(Loaded { image, regions, lost_regions, records })
    }

    fn check_rejects(&self, report: &IngestReport, seen: u64) -> Result<()> {
        let records = self.records.unwrap_or(seen);
        let limit = self.options.max_rejects;
        if !limit.is_exceeded(report.rejected(), records) {
            return Ok(());
        }
        Err(Error::TooManyRejects {
            path: self.out.to_owned(),
            split: self.options.split.clone(),
            rejects: report.rejected(),
            records,
            limit: limit.to_string(),
            reasons: report.reasons(),
        })
    }
}

/// An image that was read, or is lost, with what is said about it.
struct Loaded<'a> {
    image: Result<CheckedImage, Reject>,
    regions: Option<Regions>,
    /// Why it has no detected regions.
    lost_regions: Option<Reject>,
    records: Vec<Record<'a>>,
}

/// What is said about an image that is kept as far as it goes.
fn rest_of_truncated(image: &CheckedImage) -> Option<Reject> {
    let problem = image.truncated.as_ref()?;
    Some(Reject {
        source: image.source.clone(),
        stage: Stage::Decode,
        code: Code::ImageTruncated,
        message: format!("the rest of it is lost, the image is kept: {problem}"),
    })
}

fn lost_with_image(record: &Record<'_>, image: &Reject) -> Reject {
    Reject {
        source: format!("sample {}", record.id),
        stage: image.stage,
        code: Code::ImageRejected,
        message: format!("its image is lost: {}, {}", image.code.name(), image.message),
    }
}
