//! The pictures and texts of some rows, read shard by shard.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow::array::StringArray;
use retort_cache::{Columns, Dataset, Result, column};
use retort_schemas::tables::texts;

use super::sampled::{Sampled, Spot};
use crate::pictures::{Picture, read_pictures};

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
}

impl Pictures {
    /// Reads them.
    ///
    /// # Errors
    /// As [`Dataset::read_rows`].
    pub(crate) fn read(dataset: &Dataset, sampled: &Sampled, images: impl IntoIterator<Item = Spot>) -> Result<Self> {
        let mut all = Self::default();
        for (shard, rows) in by_shard(images) {
            let read = read_pictures(dataset, &sampled.shards[shard].shard, &rows)?;
            all.pictures.extend(rows.into_iter().map(|row| Spot { shard, row }).zip(read));
        }
        Ok(all)
    }

    /// A picture in its frame.
    pub(crate) fn html(&self, image: Spot, alt: &str) -> String {
        self.pictures.get(&image).map(|picture| picture.html(alt)).unwrap_or_default()
    }
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
