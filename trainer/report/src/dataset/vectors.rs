//! A teacher's embeddings of a sample of rows.

use std::collections::{BTreeMap, HashMap};

use retort_cache::{Columns, Dataset, Result, TeacherCache, take_ids, vectors};
use retort_schemas::features::{self, EMBEDDING};
use retort_schemas::tables::{images, texts};

use super::pictures::by_shard;
use super::sampled::{Sampled, Spot};
use crate::text::count;

/// Embeddings read of one table: enough for a picture, and few enough to compare each with a few.
const ROWS: usize = 2000;

/// Embeddings of a sample of a table's rows. An image or text that is in several shards is there once.
#[derive(Debug, Default)]
pub(crate) struct Embedded {
    /// The rows whose embedding has a direction: finite, and not all zeros.
    pub(crate) spots: Vec<Spot>,
    /// Further rows of the image or text of one of these, by its place.
    again: HashMap<usize, Vec<Spot>>,
    /// Ids of all images or texts that were read, with their place where the embedding has a direction.
    seen: HashMap<Vec<u8>, Option<usize>>,
    pub(crate) width: usize,
    /// Their embeddings, each of length 1, `[spots, width]`.
    pub(crate) unit: Vec<f32>,
    /// Norms of all finite embeddings that were read.
    pub(crate) norms: Vec<f64>,
    /// Rows that were read.
    read: usize,
    /// Rows that there are of this table in all shards that are read.
    rows: usize,
}

impl Embedded {
    /// Reads embeddings of `table`, evenly spread over the shards that are read and that the teacher has it of.
    ///
    /// # Errors
    /// As [`TeacherCache::read_rows`].
    pub(crate) fn read(dataset: &Dataset, sampled: &Sampled, teacher: &TeacherCache, table: &str) -> Result<Self> {
        let id = if table == features::images::NAME { images::IMAGE_ID } else { texts::TEXT_ID };
        let mut counts = BTreeMap::new();
        for of in &sampled.shards {
            let mine = teacher.shard(&of.shard.name)?;
            counts.insert(of.shard.name.clone(), mine.map_or(0, |mine| mine.rows(table) as usize));
        }
        let mut all = Self { rows: counts.values().sum(), ..Self::default() };
        let spots = sampled.rows(ROWS, |of| counts.get(&of.shard.name).copied().unwrap_or(0));
        for (shard, rows) in by_shard(spots) {
            let of = &sampled.shards[shard].shard;
            let batch = teacher.read_rows(dataset, of, table, Columns::Named(&[id, EMBEDDING]), &rows)?;
            let ids: Vec<Vec<u8>> = take_ids(&batch)?.iter().flatten().map(<[u8]>::to_vec).collect();
            let vectors = vectors::Rows::of(&batch, EMBEDDING)?;
            let spots = rows.into_iter().map(|row| Spot { shard, row });
            all.add(spots.zip(ids), &vectors.floats(), vectors.width());
        }
        Ok(all)
    }

    fn add(&mut self, rows: impl Iterator<Item = (Spot, Vec<u8>)>, floats: &[f32], width: usize) {
        self.width = width;
        for ((spot, id), row) in rows.zip(floats.chunks_exact(width.max(1))) {
            self.read += 1;
            if let Some(known) = self.seen.get(&id) {
                known.iter().for_each(|at| self.again.entry(*at).or_default().push(spot));
                continue;
            }
            let norm = norm(row);
            let has_direction = norm.is_finite() && norm > 0.0;
            self.seen.insert(id, has_direction.then_some(self.spots.len()));
            if norm.is_finite() {
                self.norms.push(norm);
            }
            if has_direction {
                self.spots.push(spot);
                self.unit.extend(row.iter().map(|x| (f64::from(*x) / norm) as f32));
            }
        }
    }

    /// How many of how many were read, in words.
    pub(crate) fn words(&self, items: &str) -> String {
        let [distinct, read, rows] = [self.seen.len(), self.read, self.rows].map(|number| count(number as u64));
        let of_all = if read == rows { read.clone() } else { format!("{read} of {rows}") };
        if distinct == read {
            format!("{of_all} {items}")
        } else {
            format!("{distinct} distinct {items} ({of_all} rows)")
        }
    }

    /// All rows of the image or text at a place.
    pub(crate) fn spots_of(&self, at: usize) -> Vec<Spot> {
        let again = self.again.get(&at).into_iter().flatten();
        self.spots.get(at).into_iter().chain(again).copied().collect()
    }

    /// Whether there is no embedding at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.read == 0
    }

    /// Images or texts whose embedding has no direction.
    pub(crate) fn odd(&self) -> usize {
        self.seen.len() - self.spots.len()
    }

    /// Of vectors of length 1, each of a row of its own.
    #[cfg(test)]
    pub(crate) fn of_units(unit: Vec<f32>, width: usize) -> Self {
        let spots = (0..unit.len() / width).map(|row| Spot { shard: 0, row }).collect();
        Self { spots, unit, width, ..Self::default() }
    }

    /// Images or texts with all their rows, the first of which was the one that is there.
    #[cfg(test)]
    pub(crate) fn of_rows(rows: Vec<Vec<Spot>>) -> Self {
        let spots = rows.iter().filter_map(|rows| rows.first().copied()).collect();
        let again = rows.into_iter().map(|mut rows| rows.split_off(1)).enumerate().collect();
        Self { spots, again, ..Self::default() }
    }

    /// An embedding, of length 1.
    pub(crate) fn unit(&self, at: usize) -> &[f32] {
        self.unit.get(at * self.width..(at + 1) * self.width).unwrap_or_default()
    }
}

/// Euclidean norm.
pub(crate) fn norm(vector: &[f32]) -> f64 {
    vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
}

/// Scalar product; of vectors of length 1, their cosine.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

/// Cosine of two vectors; none if one of them has no direction.
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> Option<f64> {
    let cosine = dot(a, b) / (norm(a) * norm(b));
    cosine.is_finite().then_some(cosine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_without_a_direction_are_left_out() {
        let mut all = Embedded { rows: 1234, ..Embedded::default() };
        let rows = (0..5).map(|row| (Spot { shard: 0, row }, vec![row as u8 % 4]));
        all.add(rows, &[3.0, 4.0, 0.0, 0.0, f32::NAN, 1.0, 0.0, -2.0, 3.0, 4.0], 2);
        assert_eq!((all.norms.as_slice(), all.odd()), ([5.0, 0.0, 2.0].as_slice(), 2));
        assert_eq!(all.unit, [0.6, 0.8, 0.0, -1.0]);
        let rows: Vec<usize> = all.spots.iter().map(|spot| spot.row).collect();
        assert_eq!((rows, all.unit(1), all.unit(2)), (vec![0, 3], &[0.0, -1.0][..], &[][..]));
        let all_of = |at| all.spots_of(at).iter().map(|spot| spot.row).collect::<Vec<_>>();
        assert_eq!((all_of(0), all_of(1), all_of(2), all.is_empty()), (vec![0, 4], vec![3], vec![], false));
        assert_eq!(all.words("texts"), "4 distinct texts (5 of 1\u{202f}234 rows)");
    }

    #[test]
    fn a_cosine_does_not_see_lengths() {
        assert!((cosine(&[3.0, 0.0], &[2.0, 2.0]).unwrap() - 0.5_f64.sqrt()).abs() < 1e-7);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), None);
        assert_eq!(cosine(&[f32::INFINITY, 0.0], &[1.0, 0.0]), None);
    }
}
