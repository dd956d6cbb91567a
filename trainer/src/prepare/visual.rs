//! What a student sees of an image: decoded, fitted, augmented, collated.

use std::sync::Arc;

use retort_nn::pixels::{self, Filter, Middle, Preprocessing, Resize};

use super::Preparer;
use crate::Result;
use crate::recipe::{self, Fit};
use crate::regions::Seen;
use crate::students::Visual;
use crate::zipped::{SampleRow, Zipped};

/// One image as its student reads it.
pub(super) enum PreparedVisual {
    /// `[3, side, side]`, normalised.
    Pixels(Vec<f32>),
    /// Detected regions.
    Regions(Seen),
    /// A teacher's patch grid, `[places, d]`.
    Grid(Vec<f32>, [usize; 2]),
}

/// How a student sees pixels, with ViLT's mean and standard deviation: a square whatever the image's shape, by cutting out
/// its middle or by squeezing its longer side.
pub(crate) fn student_preprocessing(size: &recipe::Student) -> Preprocessing {
    let side = size.image_size as u32;
    Preprocessing {
        resize: Some(match size.fit {
            Fit::Crop => Resize::ShortestEdge(side),
            Fit::Squash => Resize::Exact([side, side]),
        }),
        filter: Filter::Bicubic,
        crop: Some([side, side]),
        middle: Middle::Down,
        rescale: 1.0 / 255.0,
        mean: [0.5; 3],
        std: [0.5; 3],
    }
}

impl Preparer {
    /// The image of a sample. `epoch` seeds augmentation; without it there is none.
    pub(super) fn prepare_visual(
        &self,
        shard: &Zipped,
        sample: &SampleRow,
        epoch: Option<u64>,
    ) -> Result<PreparedVisual> {
        if let Some(regions) = &shard.regions {
            return Ok(PreparedVisual::Regions(regions.of_image(sample.image, self.recipe.student.regions)?));
        }
        if let Some(patches) = &shard.patches {
            let size = [patches.places(), patches.width()];
            return Ok(PreparedVisual::Grid(patches.of_image(sample.image), size));
        }
        let preprocessing = student_preprocessing(&self.recipe.student);
        let decode = || Ok(pixels::decode(shard.images.value(sample.image))?);
        let fitted = || {
            let id: [u8; 16] = shard.image_ids.value(sample.image).try_into().unwrap_or_default();
            self.fitted.get(&id, || Ok(preprocessing.fit(&decode()?)?))
        };
        let seen = match epoch {
            Some(epoch) => {
                let cropped = self.crop(decode, epoch, sample)?;
                self.moved(cropped.map_or_else(fitted, |image| Ok(Arc::new(image)))?, epoch, shard, sample)
            }
            None => fitted()?,
        };
        Ok(PreparedVisual::Pixels(preprocessing.normalise(&seen)))
    }

    /// The images of a batch as one tensor.
    pub(super) fn collate_visual<'a>(&self, images: impl Iterator<Item = &'a PreparedVisual>) -> Result<Visual> {
        let (mut values, mut regions, mut grid) = (Vec::<&[f32]>::new(), Vec::new(), None);
        for image in images {
            match image {
                PreparedVisual::Pixels(pixels) => values.push(pixels),
                PreparedVisual::Regions(seen) => regions.push(seen),
                PreparedVisual::Grid(vectors, size) => {
                    values.push(vectors);
                    grid = Some(*size);
                }
            }
        }
        if !regions.is_empty() {
            return self.collate_regions(&regions);
        }
        let (count, values) = (values.len() as i64, values.concat());
        if let Some([places, width]) = grid {
            return Ok(Visual::Grid(self.tensor(&values, &[count, places as i64, width as i64])?));
        }
        let side = self.recipe.student.image_size;
        Ok(Visual::Pixels(self.tensor(&values, &[count, 3, side, side])?))
    }

    /// Regions, padded to the most of an image.
    fn collate_regions(&self, images: &[&Seen]) -> Result<Visual> {
        let most = images.iter().map(|seen| seen.boxes.len()).max().unwrap_or(0);
        let width = images.iter().map(|seen| seen.features.len() / seen.boxes.len().max(1)).max().unwrap_or(0);
        let mut features = vec![0.0_f32; images.len() * most * width];
        let mut boxes = vec![[0.0_f32; 4]; images.len() * most];
        let mut mask = vec![0_i64; images.len() * most];
        for (row, seen) in images.iter().enumerate() {
            let (at, count) = (row * most, seen.boxes.len());
            features[at * width..at * width + seen.features.len()].copy_from_slice(&seen.features);
            boxes[at..at + count].copy_from_slice(&seen.boxes);
            mask[at..at + count].fill(1);
        }
        let (count, most) = (images.len() as i64, most as i64);
        Ok(Visual::Regions {
            features: self.tensor(&features, &[count, most, width as i64])?,
            boxes: self.tensor(boxes.as_flattened(), &[count, most, 4])?,
            mask: self.tensor(&mask, &[count, most])?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use retort_nn::pixels::Rgb;

    use super::*;
    use crate::Recipe;

    #[test]
    fn a_wide_image_loses_its_borders_or_its_shape() -> Result<()> {
        // 48 x 16: a third each of red, green and blue.
        let row: Vec<u8> = (0..48).flat_map(|x| [[255, 0, 0], [0, 255, 0], [0, 0, 255]][x / 16]).collect();
        let wide = Rgb { width: 48, height: 16, data: row.repeat(16) };
        for (fit, corners) in [("crop", [[0, 255, 0], [0, 255, 0]]), ("squash", [[255, 0, 0], [0, 0, 255]])] {
            let settings = [format!("student.fit={fit}"), "student.image_size=16".to_owned()];
            let recipe = Recipe::parse(Path::new("test"), "[data]\ndataset = \"none\"", &settings)?;
            let seen = student_preprocessing(&recipe.student).fit(&wide)?;
            assert_eq!((seen.width, seen.height), (16, 16));
            assert_eq!([&seen.data[..3], &seen.data[45..48]], [&corners[0][..], &corners[1][..]], "{fit}");
        }
        Ok(())
    }
}
