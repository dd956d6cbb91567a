//! Rows put together by source image: for files whose rows about one image do not lie side by side, without holding
//! what the rows say.

use std::collections::HashMap;
use std::vec::IntoIter;

use crate::images::{ContentId, content_id};

/// Holds a name an image and two numbers a row; the rows are read again when their image comes.
#[derive(Debug, Default)]
pub(crate) struct RowsByImage {
    names: Vec<String>,
    places: HashMap<ContentId, u32>,
    /// Place of the image, row.
    rows: Vec<(u32, u32)>,
}

impl RowsByImage {
    pub(crate) fn add(&mut self, image: String, row: usize) {
        let place = *self.places.entry(content_id(image.as_bytes())).or_insert_with(|| {
            self.names.push(image);
            self.names.len() as u32 - 1
        });
        self.rows.push((place, row as u32));
    }

    /// How many images there are.
    pub(crate) fn images(&self) -> u64 {
        self.names.len() as u64
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> u64 {
        self.rows.len() as u64
    }
}

impl IntoIterator for RowsByImage {
    type Item = (String, Vec<usize>);
    type IntoIter = Images;

    /// Each image with its rows, both in order of first appearance.
    fn into_iter(mut self) -> Images {
        self.rows.sort_unstable();
        Images { names: self.names.into_iter().zip(0..), rows: self.rows.into_iter() }
    }
}

pub(crate) struct Images {
    names: std::iter::Zip<IntoIter<String>, std::ops::RangeFrom<u32>>,
    rows: IntoIter<(u32, u32)>,
}

impl Iterator for Images {
    type Item = (String, Vec<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, place) = self.names.next()?;
        let own = self.rows.as_slice().iter().take_while(|(of, _)| *of == place).count();
        Some((name, self.rows.by_ref().take(own).map(|(_, row)| row as usize).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_and_their_rows_keep_the_order_of_first_appearance() {
        let mut rows = RowsByImage::default();
        for (row, image) in ["b", "a", "b", "c", "a", "b"].into_iter().enumerate() {
            rows.add(image.to_owned(), row);
        }
        assert_eq!((rows.images(), rows.rows()), (3, 6));
        let expected = [("b", vec![0, 2, 5]), ("a", vec![1, 4]), ("c", vec![3])];
        let expected: Vec<_> = expected.into_iter().map(|(name, rows)| (name.to_owned(), rows)).collect();
        assert_eq!(rows.into_iter().collect::<Vec<_>>(), expected);
    }
}
