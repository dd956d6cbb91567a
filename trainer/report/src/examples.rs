//! Which samples are shown, and their images.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow::array::UInt32Array;
use retort_cache::{Columns, Dataset, column};
use retort_schemas::tables::{images, samples};

use crate::load::{Place, Prediction, Run, Selection};
use crate::pictures::{Gallery, Picture};

/// Samples in the grid of predictions.
const EXAMPLES: usize = 24;
/// Samples shown of a run's token selection.
const SELECTIONS: usize = 8;
/// Shards that samples are taken from: each is read for its images.
const SHARDS: usize = 4;

/// One sample with every run's prediction, where the run has one.
#[derive(Debug)]
pub(crate) struct Example<'a> {
    pub(crate) place: &'a Place,
    pub(crate) text: &'a str,
    pub(crate) truth: Option<&'a str>,
    pub(crate) predictions: Vec<(usize, &'a Prediction)>,
}

impl Example<'_> {
    fn all_right(&self) -> bool {
        self.predictions.iter().all(|(_, prediction)| is_right(prediction) != Some(false))
    }
}

/// Whether a prediction counts as right; `None` without a truth.
pub(crate) fn is_right(prediction: &Prediction) -> Option<bool> {
    prediction.score.map(|score| score >= 0.5)
}

/// Evenly spread samples of a split: half of them right by every run as far as there are such, in the order of the data.
pub(crate) fn choose<'a>(runs: &'a [Run], split: &str) -> Vec<Example<'a>> {
    let mut by_place: BTreeMap<&Place, Vec<(usize, &Prediction)>> = BTreeMap::new();
    for (at, run) in runs.iter().enumerate() {
        for prediction in run.predictions.get(split).into_iter().flatten() {
            by_place.entry(&prediction.place).or_default().push((at, prediction));
        }
    }
    let known = by_place.values().map(Vec::len).max().unwrap_or(0);
    let shards: BTreeSet<&str> = by_place.keys().map(|place| place.shard.as_str()).collect();
    let shards: BTreeSet<&str> = spread(shards.into_iter().collect(), SHARDS).into_iter().collect();
    let (right, wrong): (Vec<Example<'_>>, Vec<Example<'_>>) = by_place
        .into_iter()
        .filter(|(place, predictions)| predictions.len() == known && shards.contains(place.shard.as_str()))
        .filter_map(|(place, predictions)| {
            let first = predictions.first()?.1;
            Some(Example { place, text: &first.text, truth: first.truth.as_deref(), predictions })
        })
        .partition(Example::all_right);
    let rights = right.len().min((EXAMPLES / 2).max(EXAMPLES.saturating_sub(wrong.len())));
    let mut chosen = spread(wrong, EXAMPLES - rights);
    chosen.extend(spread(right, rights));
    chosen.sort_by_key(|example| example.place);
    chosen
}

/// Evenly spread samples of a run's token selection.
pub(crate) fn choose_selection(run: &Run) -> Vec<&Selection> {
    let shards: BTreeSet<&str> = run.selection.iter().map(|sample| sample.place.shard.as_str()).collect();
    let shards: BTreeSet<&str> = spread(shards.into_iter().collect(), SHARDS).into_iter().collect();
    spread(run.selection.iter().filter(|sample| shards.contains(sample.place.shard.as_str())).collect(), SELECTIONS)
}

/// `wanted` of the items, at even distances, in their order.
pub(crate) fn spread<T>(items: Vec<T>, wanted: usize) -> Vec<T> {
    let (all, wanted) = (items.len(), wanted.min(items.len()));
    let picked: BTreeSet<usize> = (0..wanted).map(|at| at * all / wanted).collect();
    items.into_iter().enumerate().filter(|(at, _)| picked.contains(at)).map(|(_, item)| item).collect()
}

/// Images by the place of their sample, and why the rest is missing.
#[derive(Default)]
pub(crate) struct Album {
    pictures: HashMap<Place, Picture>,
    pub(crate) problem: Option<String>,
}

impl Album {
    /// The images of some samples, or why there are none.
    pub(crate) fn of<'a>(
        gallery: &mut Gallery,
        dataset: &retort_cache::Result<Dataset>,
        places: impl IntoIterator<Item = &'a Place>,
    ) -> Self {
        match dataset {
            Ok(dataset) => Self::load(gallery, dataset, places),
            Err(error) => Self { problem: Some(format!("Images are left out: {error}.")), ..Self::default() },
        }
    }

    /// Reads the images of some samples, shard by shard.
    fn load<'a>(gallery: &mut Gallery, dataset: &Dataset, places: impl IntoIterator<Item = &'a Place>) -> Self {
        let mut by_shard: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
        for place in places {
            by_shard.entry(&place.shard).or_default().insert(place.row);
        }
        let mut album = Self::default();
        for (shard, rows) in by_shard {
            if let Err(error) = album.load_shard(gallery, dataset, shard, &rows) {
                album.problem = Some(format!("Images of shard {shard} could not be read: {error}."));
            }
        }
        album
    }

    fn load_shard(
        &mut self,
        gallery: &mut Gallery,
        dataset: &Dataset,
        name: &str,
        rows: &BTreeSet<u32>,
    ) -> retort_cache::Result<()> {
        let Some(shard) = dataset.shard(name)? else {
            self.problem = Some(format!("The data set has no shard {name}; is it another one than the runs used?"));
            return Ok(());
        };
        let of_sample = dataset.read(&shard, samples::NAME, Columns::Named(&[samples::IMAGE]))?;
        let of_sample: &UInt32Array = column(&of_sample, samples::IMAGE)?;
        let image_of = |row: &u32| {
            let image = (*row as usize) < of_sample.len();
            let image = image.then(|| of_sample.value(*row as usize));
            image.filter(|image| u64::from(*image) < shard.rows(images::NAME)).map(|image| (*row, image as usize))
        };
        let known: Vec<(u32, usize)> = rows.iter().filter_map(image_of).collect();
        if let Some(row) = rows.iter().find(|row| known.iter().all(|(known, _)| known != *row)) {
            self.problem = Some(format!("Shard {name} has no sample {row}; is it of another data set than the runs'?"));
        }
        let images: Vec<usize> = known.iter().map(|(_, image)| *image).collect();
        for ((row, _), picture) in known.iter().zip(gallery.read(dataset, &shard, &images)?) {
            self.pictures.insert(Place { shard: name.to_owned(), row: *row }, picture);
        }
        Ok(())
    }

    /// The image of a sample.
    pub(crate) fn picture(&self, place: &Place) -> Option<&Picture> {
        self.pictures.get(place)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.pictures.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_even_and_in_order() {
        assert_eq!(spread((0..10).collect(), 5), [0, 2, 4, 6, 8]);
        assert_eq!(spread(vec![1, 2], 5), [1, 2]);
        assert!(spread(Vec::<u8>::new(), 5).is_empty());
    }
}
