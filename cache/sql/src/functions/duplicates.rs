//! `near_duplicates('images', max_hamming)`: pairs of images whose perceptual hashes differ in few bits.
//!
//! The 64 bits are cut into one band more than bits may differ: of a pair that is close enough, one band at least is
//! equal in both (the pigeonhole principle; Manku, Jain and Das Sarma, 2007). So each image is compared with those that
//! share a band with it, not with all, and no pair is missed.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::execution::memory_pool::MemoryReservation;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use retort_schemas::ID_BYTES;
use retort_schemas::tables::images::{FORMAT, IMAGE_ID, PHASH, compared_hash};

use super::arguments::Arguments;
use super::found::{Found, Run, Search, blocking, fold};
use super::places::{place_fields, placed};
use super::rank::Place;
use crate::columns::hex_word;
use crate::parts::Table;

/// Name of the column of differing bits.
const HAMMING: &str = "hamming";
/// With more bits than this, bands are so short that nearly all images share one: all are compared.
const MOST_BANDED: u32 = 15;

/// The table function.
#[derive(Debug)]
pub(super) struct NearDuplicatesFunction;

impl TableFunctionImpl for NearDuplicatesFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let arguments = Arguments::read("near_duplicates('images', max_hamming)", 2..=2, &args)?;
        let table = arguments.table(0)?;
        let column = |name: &str| table.schema.column_with_name(name).map(|(at, _)| at);
        let (Some(id), Some(hash), Some(format)) = (column(IMAGE_ID), column(PHASH), column(FORMAT)) else {
            return plan_err!("near_duplicates takes the table images, {} has no {PHASH}", table.name);
        };
        let most = arguments.number(1, 0..=64, "a number of bits from 0 to 64")?;
        let columns = vec![id, hash, format];
        Ok(Found::by(NearDuplicates { table, columns, most: u32::try_from(most).unwrap_or(64) }))
    }
}

#[derive(Debug)]
struct NearDuplicates {
    table: Arc<Table>,
    /// Id, hash and format.
    columns: Vec<usize>,
    most: u32,
}

/// An image that has a hash.
#[derive(Debug, Clone, Copy)]
struct Image {
    place: Place,
    id: [u8; ID_BYTES as usize],
    hash: u64,
}

impl NearDuplicates {
    /// The images of a part that have [a hash to compare](compared_hash): the others are no duplicates of any.
    fn read(&self, part: usize, into: &mut Vec<Image>) -> Result<()> {
        let stored = self.table.read(part, &self.columns)?;
        let external = |error: retort_cache::Error| DataFusionError::External(Box::new(error));
        let formats: &StringArray = retort_cache::column(&stored, FORMAT).map_err(external)?;
        let hashes = retort_cache::column::<UInt64Array>(&stored, PHASH).map_err(external)?;
        let ids = retort_cache::take_ids(&stored).map_err(external)?;
        into.extend((0..stored.num_rows()).filter_map(|row| {
            let hash = compared_hash(formats.value(row), hashes.value(row))?;
            let id = ids.value(row).try_into().ok()?;
            Some(Image { place: Place::new(part, row), id, hash })
        }));
        Ok(())
    }

    fn batch(&self, pairs: &[(Image, Image)]) -> Result<RecordBatch> {
        let side = |images: Vec<Image>| {
            let places: Vec<Place> = images.iter().map(|image| image.place).collect();
            placed(&self.table, &places, images.iter().map(|image| Some(hex_word(&image.id))).collect())
        };
        let mut columns = side(pairs.iter().map(|(first, _)| *first).collect());
        columns.extend(side(pairs.iter().map(|(_, other)| *other).collect()));
        let bits = pairs.iter().map(|(first, other)| (first.hash ^ other.hash).count_ones());
        columns.push(Arc::new(UInt32Array::from_iter_values(bits)));
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }

    async fn found(self: Arc<Self>, run: Run) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let (parts, this) = ((0..self.table.parts.len()).collect(), self.clone());
        let read = fold(
            parts,
            run.partitions,
            || (Vec::new(), run.holding()),
            move |(images, held), part| {
                this.read(part, images)?;
                held.try_resize(images.capacity() * size_of::<Image>())
            },
        );
        let (read, counted): (Vec<Vec<Image>>, Vec<MemoryReservation>) = read.await?.into_iter().unzip();
        let (most, held) = (self.most, run.holding());
        let images = read.iter().map(Vec::len).sum::<usize>();
        held.try_resize(images * (size_of::<Image>() + Bands::bytes(most)))?;
        let found = blocking(move || {
            let images = read.concat();
            drop((read, counted));
            Ok(Images { bands: Bands::of(&images, most), images, _counted: held })
        });
        Ok(self.pairs(Arc::new(found.await?), run.batch_rows))
    }

    /// Pairs in the order of their first image, then of the other, as many at a time as fill a batch.
    fn pairs(self: Arc<Self>, found: Arc<Images>, batch_rows: usize) -> BoxStream<'static, Result<RecordBatch>> {
        let step = move |first: usize| {
            let (this, found) = (self.clone(), found.clone());
            async move {
                let (batch, behind) = blocking(move || this.batch_from(&found, first, batch_rows.max(1))).await?;
                Ok((batch.num_rows() > 0).then_some((batch, behind)))
            }
        };
        stream::try_unfold(0, step).boxed()
    }

    /// The pairs whose first image is this one or one behind it, and the image to go on from.
    fn batch_from(
        &self,
        Images { bands, images, .. }: &Images,
        mut first: usize,
        rows: usize,
    ) -> Result<(RecordBatch, usize)> {
        let mut pairs = Vec::new();
        while first < images.len() && pairs.len() < rows {
            bands.behind(images, first, |other| pairs.push((images[first], images[other])));
            first += 1;
        }
        Ok((self.batch(&pairs)?, first))
    }
}

/// All images that have a hash.
#[derive(Debug)]
struct Images {
    bands: Bands,
    images: Vec<Image>,
    _counted: MemoryReservation,
}

/// Images by the bits of each band.
#[derive(Debug)]
struct Bands {
    most: u32,
    /// Which bits, and all images, by these bits and then in order.
    bands: Vec<(u64, Vec<u32>)>,
}

impl Bands {
    fn count(most: u32) -> u32 {
        if most <= MOST_BANDED { most + 1 } else { 1 }
    }

    /// What they take for an image.
    fn bytes(most: u32) -> usize {
        Self::count(most) as usize * size_of::<u32>()
    }

    fn of(images: &[Image], most: u32) -> Self {
        let count = Self::count(most);
        let bands = (0..count).map(|band| {
            let mask = if most <= MOST_BANDED { mask(band, count) } else { 0 };
            let mut order: Vec<u32> = (0..images.len()).filter_map(|image| u32::try_from(image).ok()).collect();
            order.sort_by_key(|image| images[*image as usize].hash & mask);
            (mask, order)
        });
        Self { most, bands: bands.collect() }
    }

    /// The images behind one that are close to it, in order.
    fn behind(&self, images: &[Image], first: usize, found: impl FnMut(usize)) {
        let hash = images[first].hash;
        let mut close = Vec::new();
        for (mask, order) in &self.bands {
            let band = |image: &u32| images[*image as usize].hash & mask;
            let from = order.partition_point(|image| (band(image), *image as usize) <= (hash & mask, first));
            let equal =
                order[from..].iter().take_while(|image| band(image) == hash & mask).map(|image| *image as usize);
            close.extend(equal.filter(|other| (images[*other].hash ^ hash).count_ones() <= self.most));
        }
        // Pairs that share several bands were found as often.
        close.sort_unstable();
        close.dedup();
        close.into_iter().for_each(found);
    }
}

/// The bits of one of so many bands, of lengths that differ by one at most.
fn mask(band: u32, count: u32) -> u64 {
    let below = |bit: u32| if bit >= 64 { u64::MAX } else { (1 << bit) - 1 };
    below((band + 1) * 64 / count) & !below(band * 64 / count)
}

impl Search for NearDuplicates {
    fn describe(&self) -> String {
        format!("pairs of {} that differ in at most {} bits", self.table.name, self.most)
    }

    fn schema(&self) -> SchemaRef {
        let bits = Field::new(HAMMING, DataType::UInt32, false);
        Arc::new(Schema::new([place_fields(""), place_fields("other_"), vec![bits]].concat()))
    }

    fn start(self: Arc<Self>, run: Run) -> BoxStream<'static, Result<RecordBatch>> {
        stream::once(self.found(run)).try_flatten().boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_cover_each_bit_once() {
        for count in 1..=16 {
            let masks: Vec<u64> = (0..count).map(|band| mask(band, count)).collect();
            assert_eq!(masks.iter().fold(0, |all, mask| all | mask), u64::MAX, "{count}");
            assert_eq!(masks.iter().map(|mask| mask.count_ones()).sum::<u32>(), 64, "{count}");
        }
    }

    #[test]
    fn no_pair_is_missed_or_told_twice() {
        // Hashes a few bits apart, some equal.
        let mut state = 7_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let mut images: Vec<Image> = Vec::new();
        for row in 0..300 {
            let near = images.get(row / 2).map_or(0x0123_4567_89ab_cdef, |image| image.hash);
            let hash = (0..random() % 4).fold(near, |hash, _| hash ^ 1 << (random() % 64));
            images.push(Image { place: Place::new(0, row), id: [0; ID_BYTES as usize], hash });
        }
        for most in [0, 1, 3, 8, 15, 16, 63, 64] {
            let bands = Bands::of(&images, most);
            for first in 0..images.len() {
                let close = |other: &usize| (images[first].hash ^ images[*other].hash).count_ones() <= most;
                let expected: Vec<usize> = (first + 1..images.len()).filter(close).collect();
                let mut found = Vec::new();
                bands.behind(&images, first, |other| found.push(other));
                assert_eq!(found, expected, "{first} within {most}");
            }
        }
    }
}
