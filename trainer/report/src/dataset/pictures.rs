//! The pictures and texts of some rows, read shard by shard, and what samples say of a picture.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow::array::StringArray;
use retort_cache::{Columns, Dataset, Result, column};
use retort_schemas::tables::texts;

use super::labels::{Group, of_images};
use super::sampled::{Sampled, Spot};
use crate::pictures::{Frame, Gallery, Picture};
use crate::text::{cut, escape};

/// Characters of a label or text under a picture.
const LONGEST: usize = 60;

/// Rows by shard, each once, in order.
pub(crate) fn by_shard(spots: impl IntoIterator<Item = Spot>) -> BTreeMap<usize, Vec<usize>> {
    let mut rows: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for spot in spots {
        rows.entry(spot.shard).or_default().insert(spot.row);
    }
    rows.into_iter().map(|(shard, rows)| (shard, rows.into_iter().collect())).collect()
}

/// Pictures by row of their shard's images.
#[derive(Default)]
pub(crate) struct Pictures {
    pictures: HashMap<Spot, Picture>,
    /// What samples say of them, where that was asked for.
    told: HashMap<Spot, String>,
}

impl Pictures {
    /// Reads them into a page.
    ///
    /// # Errors
    /// As [`Dataset::read_rows`].
    pub(crate) fn read(
        gallery: &mut Gallery,
        dataset: &Dataset,
        sampled: &Sampled,
        images: impl IntoIterator<Item = Spot>,
    ) -> Result<Self> {
        let mut all = Self::default();
        for (shard, rows) in by_shard(images) {
            let read = gallery.read(dataset, &sampled.shards[shard].shard, &rows)?;
            all.pictures.extend(rows.into_iter().map(|row| Spot { shard, row }).zip(read));
        }
        Ok(all)
    }

    /// The same, with what samples say of each: the label, where all have the same, and the first text.
    ///
    /// # Errors
    /// As [`Dataset::read_rows`].
    pub(crate) fn read_told(
        gallery: &mut Gallery,
        dataset: &Dataset,
        sampled: &Sampled,
        images: impl IntoIterator<Item = Spot>,
    ) -> Result<Self> {
        let images: Vec<Spot> = images.into_iter().collect();
        let told = told(dataset, sampled, &images)?;
        Ok(Self { told, ..Self::read(gallery, dataset, sampled, images)? })
    }

    /// A picture in its frame.
    pub(crate) fn html(&self, image: Spot, alt: &str) -> String {
        self.html_with(image, alt, &[])
    }

    /// A picture in its frame, with boxes over it.
    pub(crate) fn html_with(&self, image: Spot, alt: &str, frames: &[Frame]) -> String {
        let alt = if alt.is_empty() { self.told.get(&image).map(String::as_str).unwrap_or_default() } else { alt };
        self.pictures.get(&image).map(|picture| picture.html_with(alt, frames)).unwrap_or_default()
    }

    /// The line under a picture: what samples say of it.
    pub(crate) fn caption(&self, image: Spot) -> String {
        let told = self.told.get(&image).map(|told| escape(&cut(told, LONGEST)));
        told.map(|told| format!("<span class=\"told\" dir=\"auto\">{told}</span>")).unwrap_or_default()
    }
}

/// Of each image its label, where its samples have one and the same, and the text of the first of them: without the
/// question a *no* says nothing.
fn told(dataset: &Dataset, sampled: &Sampled, images: &[Spot]) -> Result<HashMap<Spot, String>> {
    let texts = first_texts(sampled, images);
    let words = read_texts(dataset, sampled, texts.values().copied())?;
    let labels = of_images(sampled);
    // Of a choice among texts the label is the place of the text.
    let is_choice = |sample: &Spot| sampled.shards[sample.shard].right_of(sample.row).is_some();
    let image_of = |sample: Spot| Spot { row: sampled.shards[sample.shard].images[sample.row], ..sample };
    let choices: BTreeSet<Spot> = sampled.samples().filter(is_choice).map(image_of).collect();
    let told = images.iter().map(|image| {
        let text = texts.get(image).and_then(|text| words.get(text)).map(String::as_str);
        let labels = labels.get(image).filter(|labels| labels.len() == 1 && !choices.contains(image));
        let label = labels.and_then(|labels| labels.keys().next()).and_then(|label| match label {
            Group::Label(label) => sampled.labels.get(*label).map(String::as_str),
            _ => None,
        });
        let both = [label.filter(|label| text != Some(label)), text];
        (*image, both.into_iter().flatten().collect::<Vec<_>>().join(" \u{b7} "))
    });
    Ok(told.filter(|(_, told)| !told.is_empty()).collect())
}

/// The text of the first sample that shows an image; of a choice, the right one.
fn first_texts(sampled: &Sampled, images: &[Spot]) -> HashMap<Spot, Spot> {
    let wanted: BTreeSet<&Spot> = images.iter().collect();
    let mut first = HashMap::new();
    for sample in sampled.samples() {
        let of = &sampled.shards[sample.shard];
        let image = Spot { row: of.images[sample.row], ..sample };
        if let Some(row) = of.text_of(sample.row).filter(|_| wanted.contains(&image)) {
            first.entry(image).or_insert(Spot { row, ..sample });
        }
    }
    first
}

/// Texts by row of their shard's texts.
///
/// # Errors
/// As [`Dataset::read_rows`].
pub(crate) fn read_texts(
    dataset: &Dataset,
    sampled: &Sampled,
    spots: impl IntoIterator<Item = Spot>,
) -> Result<HashMap<Spot, String>> {
    let mut all = HashMap::new();
    for (shard, rows) in by_shard(spots) {
        let of = &sampled.shards[shard].shard;
        let batch = dataset.read_rows(of, texts::NAME, Columns::Named(&[texts::TEXT]), &rows)?;
        let texts: &StringArray = column(&batch, texts::TEXT)?;
        let spots = rows.into_iter().map(|row| Spot { shard, row });
        all.extend(spots.zip(texts.iter().flatten().map(str::to_owned)));
    }
    Ok(all)
}
