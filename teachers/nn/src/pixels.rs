//! Images as models see them: decoded to RGB, resized as Pillow does, cropped, normalised.

pub use retort_pixels::Rgb;
use retort_pixels::shortest_side;
use serde::{Deserialize, Serialize};

use crate::{Result, strip};

/// Decodes an encoded image, whose format is told from its content.
///
/// # Errors
/// [`crate::Error::Image`].
pub fn decode(bytes: &[u8]) -> Result<Rgb> {
    Ok(retort_pixels::decode(bytes)?)
}

/// The size that an image is brought to before it is cropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// The shorter side becomes this, the other follows in proportion, rounded down.
    ShortestEdge(u32),
    /// `[height, width]`, whatever the proportion.
    Exact([u32; 2]),
    /// In proportion, to whole patches: the image keeps its shape, and the tower is given a [`strip`].
    Patches {
        /// Side of a patch in pixels.
        side: u32,
        /// Most patches of an image.
        most: u32,
    },
}

/// How pixels between pixels are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Pillow's `BICUBIC`, with antialiasing.
    #[default]
    Bicubic,
    /// Pillow's `BILINEAR`, with antialiasing.
    Bilinear,
}

impl Filter {
    fn is_bicubic(&self) -> bool {
        *self == Self::Bicubic
    }
}

/// Where the middle is, when it is between two pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Middle {
    /// transformers: a crop begins half a pixel before it, a border that is added is thicker there.
    #[default]
    Down,
    /// torchvision: a crop begins at the even one of the two pixels, a border that is added is thicker behind it.
    Even,
}

impl Middle {
    fn is_down(&self) -> bool {
        *self == Self::Down
    }

    /// First pixel of a middle of `crop` pixels out of `size`; below 0 where it begins with a border.
    fn start(self, size: u32, crop: u32) -> i64 {
        let (more, half) = (i64::from(size) - i64::from(crop), (i64::from(size) - i64::from(crop)) / 2);
        match (self, more < 0, more % 2 == 0) {
            (_, _, true) | (Self::Down, false, _) | (Self::Even, true, _) => half,
            (Self::Down, true, _) => half - 1,
            (Self::Even, false, _) => half + half % 2,
        }
    }
}

/// What a model's `preprocessor_config.json` asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// How the image is resized, if at all.
    pub resize: Option<Resize>,
    /// With what filter. Not written where it is bicubic, so that fingerprints from before there were others stay.
    #[serde(default, skip_serializing_if = "Filter::is_bicubic")]
    pub filter: Filter,
    /// The middle `[height, width]` is cut out; missing borders are black.
    pub crop: Option<[u32; 2]>,
    /// Where that middle is. Not written where it is as in transformers, as of the filter.
    #[serde(default, skip_serializing_if = "Middle::is_down")]
    pub middle: Middle,
    /// Multiplied with each byte, usually 1/255.
    pub rescale: f32,
    /// Subtracted a channel, after rescaling.
    pub mean: [f32; 3],
    /// Divided by a channel, after that.
    pub std: [f32; 3],
}

impl Preprocessing {
    /// `[height, width]` of what [`Self::normalise`] gives: that of the crop, or of a strip.
    pub fn input_size(&self) -> [u32; 2] {
        match self.resize {
            Some(Resize::Patches { side, most }) => [side, most.saturating_add(1).saturating_mul(side)],
            _ => self.crop.unwrap_or_default(),
        }
    }

    /// Resizes and crops.
    ///
    /// # Errors
    /// [`crate::Error::Image`].
    pub fn fit(&self, image: &Rgb) -> Result<Rgb> {
        let resized = match self.resize {
            Some(Resize::ShortestEdge(edge)) => {
                let (width, height) = shortest_side(image.width, image.height, edge);
                &self.resized(image, width, height)?
            }
            Some(Resize::Exact([height, width])) => &self.resized(image, width, height)?,
            Some(Resize::Patches { side, most }) => {
                let [width, height] = strip::fitting([image.width, image.height], side, most)?;
                &self.resized(image, width, height)?
            }
            None => image,
        };
        Ok(match self.crop {
            Some([height, width]) => centre_crop(resized, width, height, self.middle),
            None => resized.clone(),
        })
    }

    fn resized(&self, image: &Rgb, width: u32, height: u32) -> Result<Rgb> {
        let filter = match self.filter {
            Filter::Bicubic => retort_pixels::Filter::Bicubic,
            Filter::Bilinear => retort_pixels::Filter::Bilinear,
        };
        Ok(retort_pixels::resize_with(image, width, height, filter)?)
    }

    /// `[3, height, width]` floats: (byte x rescale - mean) / std. Of an image that keeps its shape they are a [`strip`].
    pub fn normalise(&self, image: &Rgb) -> Vec<f32> {
        let pixels = image.width as usize * image.height as usize;
        let mut floats = vec![0.0; 3 * pixels];
        for (channel, plane) in floats.chunks_exact_mut(pixels.max(1)).enumerate() {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            for (float, pixel) in plane.iter_mut().zip(image.data.chunks_exact(3)) {
                *float = (f32::from(pixel[channel]) * self.rescale - mean) / std;
            }
        }
        match self.resize {
            Some(Resize::Patches { side, most }) => strip::strip(&floats, [image.height, image.width], side, most),
            _ => floats,
        }
    }
}

/// Bicubic with antialiasing, as Pillow's `BICUBIC`.
///
/// # Errors
/// [`crate::Error::Image`].
pub fn resize(image: &Rgb, width: u32, height: u32) -> Result<Rgb> {
    Ok(retort_pixels::resize(image, width, height)?)
}

/// Cuts out the middle; where the image is smaller, the border is black.
fn centre_crop(image: &Rgb, width: u32, height: u32, middle: Middle) -> Rgb {
    let mut data = vec![0; width as usize * height as usize * 3];
    let (left, top) = (middle.start(image.width, width), middle.start(image.height, height));
    for y in 0..i64::from(height) {
        let from_y = y + top;
        if !(0..i64::from(image.height)).contains(&from_y) {
            continue;
        }
        let first = (-left).max(0);
        let last = i64::from(width).min(i64::from(image.width) - left);
        if first < last {
            let at = |y: i64, x: i64, stride: u32| (y as usize * stride as usize + x as usize) * 3;
            let (to, from) = (at(y, first, width), at(from_y, first + left, image.width));
            let count = (last - first) as usize * 3;
            data[to..to + count].copy_from_slice(&image.data[from..from + count]);
        }
    }
    Rgb { width, height, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: u32, height: u32) -> Rgb {
        let data = (0..width * height).flat_map(|i| [(i % 256) as u8; 3]).collect();
        Rgb { width, height, data }
    }

    #[test]
    fn the_crop_is_the_middle_and_its_missing_border_black() {
        let image = ramp(4, 3);
        let middle = centre_crop(&image, 2, 1, Middle::Down);
        assert_eq!(middle.data, [5, 5, 5, 6, 6, 6]);
        let padded = centre_crop(&image, 6, 3, Middle::Down);
        assert_eq!(padded.data[..6], [0, 0, 0, 0, 0, 0]);
        assert_eq!(padded.data[3..6], [0; 3]);
        assert_eq!(padded.data[6..9], [1; 3]);
    }

    #[test]
    fn the_middle_is_where_each_library_has_it() {
        // Python: (size - crop) // 2, or -ceil((crop - size) / 2); round((size - crop) / 2), or -((crop - size) // 2).
        for (size, down, even) in [(13, 1, 2), (15, 2, 2), (17, 3, 4), (19, 4, 4), (14, 2, 2), (9, -1, 0), (7, -2, -1)]
        {
            let starts = [Middle::Down, Middle::Even].map(|middle| middle.start(size, 10));
            assert_eq!(starts, [down, even], "{size}");
        }
    }

    #[test]
    fn the_longer_side_is_rounded_down() -> Result<()> {
        let preprocessing = Preprocessing {
            resize: Some(Resize::ShortestEdge(10)),
            filter: Filter::Bicubic,
            crop: None,
            middle: Middle::Down,
            rescale: 1.0,
            mean: [0.0; 3],
            std: [1.0; 3],
        };
        let fitted = preprocessing.fit(&ramp(37, 13))?;
        assert_eq!((fitted.width, fitted.height), (28, 10)); // 28.46
        Ok(())
    }

    #[test]
    fn what_is_no_image_is_refused() {
        assert!(decode(b"this is no image").is_err());
    }
}
