//! A source's items cut into shards, before any image is read; a dry run counts what comes out.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::path::{Path, PathBuf};

use retort_cache::{Dataset, Error as CacheError};
use retort_schemas::manifest::DatasetManifest;
use retort_schemas::tables::images;
use serde::Serialize;

use crate::rejects::Reject;
use crate::source::{ImageBytes, Item, Items, SourceImage};
use crate::{Error, Options, Result, Source, Vocabulary};

/// Most bytes of images that a source may hand over for one shard before any is checked: twice what a shard can hold,
/// for some of them may be alike, or no images.
const MOST_BYTES_AT_HAND: usize = 2 * i32::MAX as usize;

/// What an ingest would read and write, told without opening an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DryRun {
    /// The kind of source.
    pub source: &'static str,
    /// Files and folders that would be read.
    pub reads: Vec<PathBuf>,
    /// The data set that would be written.
    pub writes: PathBuf,
    /// The split.
    pub split: String,
    /// Shards, and those of them that are there already.
    pub shards: u64,
    /// Shards of a split of this name that are there already; without `force` they would be continued or refused.
    pub shards_there: u64,
    /// Source images, as many as can be found.
    pub images: u64,
    /// Samples, if every image can be used.
    pub samples: u64,
    /// Records lost before any image is read, by reason code.
    pub rejects: BTreeMap<String, u64>,
    /// Classes of the labels.
    pub classes: Option<usize>,
}

/// Says what [`crate::ingest()`] would do with the same arguments. Nothing is written.
///
/// # Errors
/// Those of the options and of the source; [`Error::NoRecords`] if it says nothing.
pub fn dry_run(source: &dyn Source, options: &Options, out: &Path) -> Result<DryRun> {
    options.check()?;
    let manifest = existing(out)?;
    let vocabulary = source.vocabulary(&options.split, manifest.answers.as_ref())?;
    let mut found = DryRun {
        source: source.kind(),
        reads: source.reads(),
        writes: out.to_owned(),
        split: options.split.clone(),
        shards: 0,
        shards_there: manifest.split(&options.split).map_or(0, |split| split.runs.shard_count() as u64),
        images: 0,
        samples: 0,
        rejects: BTreeMap::new(),
        classes: vocabulary.as_ref().map(Vocabulary::classes),
    };
    let mut shards = Shards::new(items_of(source, vocabulary.as_ref())?, options);
    while let Some(plan) = shards.next_shard()? {
        found.shards += 1;
        found.images += plan.images.len() as u64;
        found.samples += plan.images.iter().map(|image| image.records.len() as u64).sum::<u64>();
        for reject in plan.rejects {
            *found.rejects.entry(reject.code.name().to_owned()).or_default() += 1;
        }
    }
    Ok(found)
}

/// What a source says. One that says nothing is refused: an empty split would hide that the wrong file was given.
pub(crate) fn items_of<'a>(source: &'a dyn Source, vocabulary: Option<&'a Vocabulary>) -> Result<Items<'a>> {
    let Items { images, records, regions, mut items } = source.items(vocabulary)?;
    let Some(first) = items.next() else {
        let path = source.reads().into_iter().next().unwrap_or_default();
        return Err(Error::NoRecords { path, kind: source.kind() });
    };
    Ok(Items { images, records, regions, items: Box::new(std::iter::once(first).chain(items)) })
}

/// The manifest of a data set, or an empty one.
pub(crate) fn existing(out: &Path) -> Result<DatasetManifest> {
    match Dataset::open(out) {
        Ok(dataset) => Ok(dataset.manifest().clone()),
        Err(CacheError::NotADataset { .. } | CacheError::NoManifest { .. }) => Ok(DatasetManifest::empty()),
        Err(error) => Err(error.into()),
    }
}

/// What one shard is made from.
#[derive(Default)]
pub(crate) struct ShardPlan<'a> {
    pub images: Vec<SourceImage<'a>>,
    /// Records lost before any image was read.
    pub rejects: Vec<Reject>,
}

/// Cuts a source's items into shards: runs of `shard_images` selected images.
pub(crate) struct Shards<'a> {
    items: Peekable<Box<dyn Iterator<Item = Result<Item<'a>>> + Send + 'a>>,
    options: &'a Options,
    /// Images that the selection may still take.
    left: u64,
    /// Records and images so far.
    pub seen: u64,
    /// Images that the selection left out since this was last taken.
    pub left_out: u64,
}

impl<'a> Shards<'a> {
    pub(crate) fn new(items: Items<'a>, options: &'a Options) -> Self {
        let left = options.selection.limit.unwrap_or(u64::MAX);
        Self { items: items.items.peekable(), options, left, seen: 0, left_out: 0 }
    }

    /// The next shard, if there is anything left. Rejects that follow the last image belong to its shard; if nothing
    /// but rejects is there, there is one shard to say so.
    pub(crate) fn next_shard(&mut self) -> Result<Option<ShardPlan<'a>>> {
        let mut plan = ShardPlan::default();
        let mut at_hand = 0;
        loop {
            let full = plan.images.len() == self.options.shard_images || self.left == 0;
            if full && !matches!(self.items.peek(), Some(Ok(Item::Reject(_)))) {
                break;
            }
            match self.items.next().transpose()? {
                None => break,
                Some(Item::Reject(reject)) => {
                    self.seen += 1;
                    plan.rejects.push(reject);
                }
                Some(Item::Image(image)) => {
                    self.seen += 1 + image.records.len() as u64;
                    if self.options.selection.draws(&image.name) {
                        if let ImageBytes::Here(bytes) = &image.bytes {
                            at_hand += bytes.len();
                        }
                        if at_hand > MOST_BYTES_AT_HAND {
                            let shard = format!("of split {}", self.options.split);
                            return Err(Error::ShardTooLarge { shard, bytes: at_hand, table: images::NAME });
                        }
                        self.left -= 1;
                        plan.images.push(image);
                    } else {
                        self.left_out += 1;
                    }
                }
            }
        }
        Ok((!plan.images.is_empty() || !plan.rejects.is_empty()).then_some(plan))
    }
}
