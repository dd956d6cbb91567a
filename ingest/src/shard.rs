//! The tables of one shard in the making: rows collected in source order, equal images and equal texts once.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use retort_schemas::{VectorType, tables};

use crate::columns;
use crate::images::{CheckedImage, ContentId, content_id};
use crate::plain::plain;
use crate::rejects::Reject;
use crate::source::{Record, Regions, Text};
use crate::{Error, Result};

/// A row of `samples`: a record whose image and texts have their rows.
#[derive(Debug)]
pub(crate) struct Sample<'a> {
    /// Row of the shard's images.
    pub image: u32,
    /// The image's id.
    pub group: ContentId,
    /// Rows of the shard's texts.
    pub texts: Vec<u32>,
    /// The rest; its own texts are moved out.
    pub record: Record<'a>,
}

/// What the table `regions` of a split holds: the same for all its shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum RegionColumns {
    /// There is no such table.
    #[default]
    None,
    /// Boxes, classes and scores.
    Boxes,
    /// And a vector a region.
    Features(VectorType),
}

/// Collects rows in source order; equal images and equal texts become one row.
#[derive(Debug, Default)]
pub(crate) struct ShardBuilder<'a> {
    images: Vec<CheckedImage>,
    image_rows: HashMap<ContentId, u32>,
    region_columns: RegionColumns,
    /// Objects of each image.
    regions: Vec<Regions>,
    pub texts: Vec<(ContentId, Text<'a>)>,
    text_rows: HashMap<ContentId, u32>,
    pub samples: Vec<Sample<'a>>,
    rejects: Vec<Reject>,
}

/// The finished tables.
#[derive(Debug)]
pub(crate) struct ShardTables {
    pub images: RecordBatch,
    pub regions: Option<RecordBatch>,
    pub texts: RecordBatch,
    pub samples: RecordBatch,
    pub rejects: RecordBatch,
}

impl<'a> ShardBuilder<'a> {
    /// An empty shard.
    pub(crate) fn new(region_columns: RegionColumns) -> Self {
        Self { region_columns, ..Self::default() }
    }

    /// The row of an image; the first of several with the same bytes stays.
    pub(crate) fn add_image(&mut self, image: CheckedImage, regions: Option<Regions>) -> u32 {
        *self.image_rows.entry(image.id).or_insert_with(|| {
            self.images.push(image);
            self.regions.push(regions.unwrap_or_default());
            self.images.len() as u32 - 1
        })
    }

    /// Adds a record about the image of this row.
    pub(crate) fn add_sample(&mut self, image: u32, mut record: Record<'a>) {
        let texts = std::mem::take(&mut record.texts).into_iter().map(|text| self.add_text(text)).collect();
        let group = self.images.get(image as usize).map_or_else(ContentId::default, |image| image.id);
        self.samples.push(Sample { image, group, texts, record });
    }

    /// The row of a text: equal texts that name the same objects in the same places are one row.
    pub(crate) fn add_text(&mut self, text: Text<'a>) -> u32 {
        *self.text_rows.entry(text_id(&text)).or_insert_with_key(|id| {
            self.texts.push((*id, text));
            self.texts.len() as u32 - 1
        })
    }

    /// Adds what is lost. Names and excerpts are whatever somebody wrote: all rejects come through here.
    pub(crate) fn add_reject(&mut self, reject: Reject) {
        let (source, message) = (plain(&reject.source).into_owned(), plain(&reject.message).into_owned());
        self.rejects.push(Reject { source, message, ..reject });
    }

    /// Builds the tables of the shard of this name.
    ///
    /// # Errors
    /// [`Error::ShardTooLarge`] if a column would not fit into one batch.
    pub(crate) fn finish(self, shard: &str, split: &str) -> Result<ShardTables> {
        // A column's offsets are i32. Images and features are by far the largest, then texts; the rest follows the texts.
        let halves = self.regions.iter().flat_map(|regions| &regions.features).map(|features| features.halves.len());
        let sizes = [
            (tables::regions::NAME, 2 * halves.sum::<usize>()),
            (tables::images::NAME, self.images.iter().map(|image| image.bytes.len()).sum::<usize>()),
            (tables::texts::NAME, self.texts.iter().map(|(_, text)| text.text.len()).sum()),
            (tables::samples::NAME, self.samples.iter().flat_map(|s| &s.record.answers).map(|a| a.len() + 1).sum()),
        ];
        for (table, bytes) in sizes {
            if i32::try_from(bytes).is_err() {
                return Err(Error::ShardTooLarge { shard: shard.to_owned(), bytes, table });
            }
        }
        let regions = columns::regions(self.region_columns, &self.images, &self.regions).transpose();
        Ok(ShardTables {
            images: columns::images(&self.images).map_err(in_table(tables::images::NAME))?,
            regions: regions.map_err(in_table(tables::regions::NAME))?,
            texts: columns::texts(&self.texts).map_err(in_table(tables::texts::NAME))?,
            samples: columns::samples(&self.samples, split).map_err(in_table(tables::samples::NAME))?,
            rejects: columns::rejects(&self.rejects).map_err(in_table(tables::rejects::NAME))?,
        })
    }
}

impl ShardTables {
    /// The tables by name, in the order they are written.
    pub(crate) fn named(&self) -> Vec<(&'static str, RecordBatch)> {
        let tables = [
            (tables::images::NAME, Some(&self.images)),
            (tables::regions::NAME, self.regions.as_ref()),
            (tables::texts::NAME, Some(&self.texts)),
            (tables::samples::NAME, Some(&self.samples)),
            (tables::rejects::NAME, Some(&self.rejects)),
        ];
        tables.into_iter().filter_map(|(name, batch)| Some((name, batch?.clone()))).collect()
    }
}

/// An [`Error::Table`], for `map_err`.
pub(crate) fn in_table(table: &'static str) -> impl FnOnce(ArrowError) -> Error {
    move |source| Error::Table { table, source }
}

/// Id of a text: of its bytes alone where it is nothing but a text, so that equal questions of different data sets have
/// equal ids; else of its parts and object references, too.
fn text_id(text: &Text<'_>) -> ContentId {
    if text.parts.is_empty() && text.objects.is_empty() {
        return content_id(text.text.as_bytes());
    }
    let mut bytes = text.text.as_bytes().to_vec();
    bytes.push(0);
    bytes.extend(text.parts.iter().flat_map(|part| part.to_le_bytes()));
    bytes.push(0);
    let numbers = text.objects.iter().flat_map(|reference| [reference.start, reference.end, reference.object]);
    bytes.extend(numbers.flat_map(u32::to_le_bytes));
    content_id(&bytes)
}
