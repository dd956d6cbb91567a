//! Images as models see them: decoded to RGB, resized as Pillow does, cropped, normalised.

pub use retort_pixels::Rgb;
use retort_pixels::shortest_side;
use serde::{Deserialize, Serialize};

use crate::Result;

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
    /// Multiplied with each byte, usually 1/255.
    pub rescale: f32,
    /// Subtracted a channel, after rescaling.
    pub mean: [f32; 3],
    /// Divided by a channel, after that.
    pub std: [f32; 3],
}

impl Preprocessing {
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
            None => image,
        };
        Ok(match self.crop {
            Some([height, width]) => centre_crop(resized, width, height),
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

    /// `[3, height, width]` floats: (byte x rescale - mean) / std.
    pub fn normalise(&self, image: &Rgb) -> Vec<f32> {
        let pixels = image.width as usize * image.height as usize;
        let mut floats = vec![0.0; 3 * pixels];
        for (channel, plane) in floats.chunks_exact_mut(pixels.max(1)).enumerate() {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            for (float, pixel) in plane.iter_mut().zip(image.data.chunks_exact(3)) {
                *float = (f32::from(pixel[channel]) * self.rescale - mean) / std;
            }
        }
        floats
    }
}

/// Bicubic with antialiasing, as Pillow's `BICUBIC`.
///
/// # Errors
/// [`crate::Error::Image`].
pub fn resize(image: &Rgb, width: u32, height: u32) -> Result<Rgb> {
    Ok(retort_pixels::resize(image, width, height)?)
}

/// Cuts out the middle; where the image is smaller, the border is black, as in transformers.
fn centre_crop(image: &Rgb, width: u32, height: u32) -> Rgb {
    let mut data = vec![0; width as usize * height as usize * 3];
    // Where the crop is larger the padding comes first, ceil((crop - size) / 2) of it, as transformers pads.
    let offset = |size: u32, crop: u32| {
        if size >= crop {
            (i64::from(size) - i64::from(crop)) / 2
        } else {
            -((i64::from(crop) - i64::from(size) + 1) / 2)
        }
    };
    let (left, top) = (offset(image.width, width), offset(image.height, height));
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
        let middle = centre_crop(&image, 2, 1);
        assert_eq!(middle.data, [5, 5, 5, 6, 6, 6]);
        let padded = centre_crop(&image, 6, 3);
        assert_eq!(padded.data[..6], [0, 0, 0, 0, 0, 0]);
        assert_eq!(padded.data[3..6], [0; 3]);
        assert_eq!(padded.data[6..9], [1; 3]);
    }

    #[test]
    fn the_longer_side_is_rounded_down() -> Result<()> {
        let preprocessing = Preprocessing {
            resize: Some(Resize::ShortestEdge(10)),
            filter: Filter::Bicubic,
            crop: None,
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
