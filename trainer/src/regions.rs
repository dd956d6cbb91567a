//! Detected regions of a shard's images: what region students see instead of pixels.

use arrow::array::{Array, AsArray, FixedSizeBinaryArray, Float32Array, ListArray, RecordBatch, UInt32Array};
use retort_cache::vectors::Rows;
use retort_cache::{Columns, Dataset, column};
use retort_schemas::manifest::Shard;
use retort_schemas::tables::{images, regions};

use crate::zipped::read_part;
use crate::{Error, Result};

/// The box of a whole image.
const WHOLE: [f32; 4] = [0.0, 0.0, 1.0, 1.0];

/// The regions of all images of a shard, as stored.
#[derive(Debug, Clone)]
pub(crate) struct Regions {
    vectors: Rows,
    boxes: ListArray,
    /// Width and height of the source images in pixels, which the boxes are measured in.
    sizes: Vec<[f32; 2]>,
}

/// The regions of one image that a student sees.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    /// `[regions, d]` end to end.
    pub(crate) features: Vec<f32>,
    /// Left, top, right and bottom as fractions of the image's width and height.
    pub(crate) boxes: Vec<[f32; 4]>,
}

impl Regions {
    /// Reads the regions of a shard, whose rows are those of its images.
    ///
    /// Boxes alone are not enough: a region student embeds what a detector saw inside them, and a box without a feature
    /// would tell it where something is and never what.
    pub(crate) fn read(dataset: &Dataset, shard: &Shard) -> Result<Self> {
        Self::read_part(dataset, shard, None)
    }

    /// As [`Regions::read`], of some images: row i of the result is that of image `rows[i]`.
    pub(crate) fn read_part(dataset: &Dataset, shard: &Shard, rows: Option<&[usize]>) -> Result<Self> {
        let refuse = |problem: &str| Error::Data {
            path: dataset.folder().to_owned(),
            problem: format!(
                "shard {} {problem}, which this student reads instead of pixels: ingest it with --regions and a \
                 detector's features, or train student.kind = \"vilt\"",
                shard.name
            ),
        };
        if !shard.tables.contains_key(regions::NAME) {
            return Err(refuse("has no regions"));
        }
        let columns = Columns::Named(&[images::IMAGE_ID, images::SOURCE_WIDTH, images::SOURCE_HEIGHT]);
        let of_images = read_part(dataset, shard, images::NAME, columns, rows)?;
        let batch = read_part(dataset, shard, regions::NAME, Columns::All, rows)?;
        if batch.column_by_name(regions::FEATURES).is_none() {
            return Err(refuse("has boxes without features"));
        }
        let ids = |batch| column::<FixedSizeBinaryArray>(batch, images::IMAGE_ID);
        if ids(&of_images)? != ids(&batch)? {
            let problem = format!("rows of regions and images of shard {} have other ids: ingest it again", shard.name);
            return Err(Error::Data { path: dataset.folder().to_owned(), problem });
        }
        let side = |name: &str| column::<UInt32Array>(&of_images, name);
        let (widths, heights) = (side(images::SOURCE_WIDTH)?, side(images::SOURCE_HEIGHT)?);
        let sizes = widths.values().iter().zip(heights.values()).map(|(w, h)| [*w as f32, *h as f32]).collect();
        Self::of(&batch, sizes)
    }

    fn of(batch: &RecordBatch, sizes: Vec<[f32; 2]>) -> Result<Self> {
        let vectors = Rows::of(batch, regions::FEATURES)?;
        let boxes = column::<ListArray>(batch, regions::BOXES)?.clone();
        Ok(Self { vectors, boxes, sizes })
    }

    /// Elements of a feature.
    pub(crate) fn width(&self) -> usize {
        self.vectors.width()
    }

    /// The regions of image `row`: at most `most`, those with the highest scores, in the order of the source.
    ///
    /// An image without features is one region of zeros as large as the image, so that a student always has a place to
    /// read; features that came without boxes are as large as the image too.
    pub(crate) fn of_image(&self, row: usize, most: usize) -> Result<Seen> {
        let vectors = self.vectors.of_row(row);
        let width = self.width();
        if vectors.is_empty() {
            return Ok(Seen { features: vec![0.0; width], boxes: vec![WHOLE] });
        }
        let (boxes, scores) = self.boxes_of(row)?;
        if !boxes.is_empty() && boxes.len() != vectors.len() {
            let problem = format!("has {} boxes and {} features in row {row}", boxes.len(), vectors.len());
            return Err(retort_cache::Error::Column { column: regions::BOXES.to_owned(), problem }.into());
        }
        let kept = highest(&scores, vectors.len(), most);
        let mut features = vec![0.0; kept.len() * width];
        for (region, out) in kept.iter().zip(features.chunks_exact_mut(width.max(1))) {
            let at = vectors.start + region;
            self.vectors.decode(at..at + 1, out);
        }
        let boxes = kept.iter().map(|region| boxes.get(*region).copied().unwrap_or(WHOLE)).collect();
        Ok(Seen { features, boxes })
    }

    /// Boxes of an image as fractions of its size, and their scores, none where one is not known.
    fn boxes_of(&self, row: usize) -> Result<(Vec<[f32; 4]>, Vec<f32>)> {
        let broken = |problem: &str| retort_cache::Error::Column {
            column: regions::BOXES.to_owned(),
            problem: problem.to_owned(),
        };
        let list = self.boxes.value(row);
        let list = list.as_struct_opt().ok_or_else(|| broken("has items of another type"))?;
        let numbers = |at: usize| list.columns().get(at)?.as_any().downcast_ref::<Float32Array>();
        let corners: Option<Vec<&Float32Array>> = (0..4).map(numbers).collect();
        let corners = corners.ok_or_else(|| broken("has no corners"))?;
        let [width, height] = self.sizes.get(row).copied().unwrap_or_default();
        let boxes = (0..list.len()).map(|at| {
            let [left, top, right, bottom] = [0, 1, 2, 3].map(|corner| corners[corner].value(at));
            // The image of a row without a size was missing: nothing says how much of it a box is.
            if width > 0.0 && height > 0.0 {
                [left / width, top / height, right / width, bottom / height]
            } else {
                WHOLE
            }
        });
        let scores = list.column_by_name("score").and_then(|scores| scores.as_any().downcast_ref::<Float32Array>());
        let scores = scores.filter(|scores| scores.null_count() == 0).map(|scores| scores.values().to_vec());
        Ok((boxes.collect(), scores.unwrap_or_default()))
    }
}

/// Which of `count` regions are kept: the `most` of the highest scores, of equals the first; the first where there are no
/// scores. In the order of the source.
fn highest(scores: &[f32], count: usize, most: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    if scores.len() == count {
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    }
    order.truncate(most);
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_scores_are_kept_in_the_order_of_the_source() {
        assert_eq!(highest(&[0.1, 0.9, 0.5, 0.9, 0.2], 5, 3), [1, 2, 3]);
        assert_eq!(highest(&[0.5, 0.5, 0.5], 3, 2), [0, 1]);
        assert_eq!(highest(&[], 3, 2), [0, 1]);
        assert_eq!(highest(&[0.1, 0.9], 2, 36), [0, 1]);
    }
}
