//! Augmentation of what a student sees: a random resized crop, a shift, mirror images.
//!
//! ```text
//! decoded --> crop, resized (or the plain fit) --> shift, flip, mirror --> normalised
//! ```
//!
//! Each kind draws from a generator of its own, made of (seed, epoch, sample): none changes what another draws. The
//! teachers' features stay those of the plain image.

use std::sync::Arc;

use rand::Rng;
use retort_nn::pixels::{self, Rgb};

use super::Preparer;
use super::sides::names_a_side;
use crate::Result;
use crate::recipe::Augment;
use crate::seeds::generator;
use crate::zipped::{SampleRow, Zipped};

/// Draws of an area and a ratio before the middle is taken.
const TRIES: usize = 10;

/// A part of an image in whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Crop {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
}

impl Crop {
    /// As torchvision's `RandomResizedCrop` draws it, of an image of W x H pixels:
    ///
    /// ```text
    /// area = W H u,  u uniform in scale        ratio = exp(v),  v uniform in ln(ratio)
    /// width = round(sqrt(area ratio))          height = round(sqrt(area / ratio))
    /// ```
    /// ten times at most, until it lies in the image, at a place that is uniform in what room there is; then
    /// [`Crop::middle`].
    fn draw(rng: &mut impl Rng, [w, h]: [u32; 2], scale: [f64; 2], ratio: [f64; 2]) -> Self {
        let pixels = f64::from(w) * f64::from(h);
        for _ in 0..TRIES {
            let area = pixels * rng.random_range(scale[0]..=scale[1]);
            let drawn = rng.random_range(ratio[0].ln()..=ratio[1].ln()).exp();
            let side = |square: f64| square.sqrt().round_ties_even() as u32;
            let (width, height) = (side(area * drawn), side(area / drawn));
            if (1..=w).contains(&width) && (1..=h).contains(&height) {
                let (left, top) = (rng.random_range(0..=w - width), rng.random_range(0..=h - height));
                return Self { left, top, width, height };
            }
        }
        Self::middle([w, h], ratio)
    }

    /// The largest part in the middle of an image of W x H pixels whose ratio of width to height is allowed.
    fn middle([w, h]: [u32; 2], ratio: [f64; 2]) -> Self {
        let own = f64::from(w) / f64::from(h.max(1));
        let side = |length: f64, most: u32| (length.round_ties_even() as u32).clamp(1, most.max(1));
        let (width, height) = if own < ratio[0] {
            (w, side(f64::from(w) / ratio[0], h))
        } else if own > ratio[1] {
            (side(f64::from(h) * ratio[1], w), h)
        } else {
            (w, h)
        };
        Self { left: (w - width) / 2, top: (h - height) / 2, width, height }
    }

    fn of(self, image: &Rgb) -> Rgb {
        let row = image.width as usize * 3;
        let (from, bytes) = (self.left as usize * 3, self.width as usize * 3);
        let rows = image.data.chunks_exact(row).skip(self.top as usize).take(self.height as usize);
        let data = rows.flat_map(|row| &row[from..from + bytes]).copied().collect();
        Rgb { width: self.width, height: self.height, data }
    }
}

/// Where each pixel of a shifted and mirrored image comes from.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Move {
    dx: i64,
    dy: i64,
    mirror_x: bool,
    mirror_y: bool,
}

impl Move {
    /// Edges repeat.
    fn of(self, image: Arc<Rgb>) -> Arc<Rgb> {
        if self == Self::default() {
            return image;
        }
        let from = |to: u32, size: u32, shift: i64, mirrored: bool| -> usize {
            let (last, at) = (i64::from(size) - 1, i64::from(to) + shift);
            let at = at.clamp(0, last);
            (if mirrored { last - at } else { at }) as usize
        };
        let (pixels, _) = image.data.as_chunks::<3>();
        let columns: Vec<usize> = (0..image.width).map(|x| from(x, image.width, self.dx, self.mirror_x)).collect();
        let mut moved: Vec<[u8; 3]> = Vec::with_capacity(pixels.len());
        for y in 0..image.height {
            let row = from(y, image.height, self.dy, self.mirror_y) * columns.len();
            let row = &pixels[row..row + columns.len()];
            moved.extend(columns.iter().map(|x| row[*x]));
        }
        Arc::new(Rgb { width: image.width, height: image.height, data: moved.into_flattened() })
    }
}

impl Preparer {
    /// The random resized crop of an image, which is decoded for it: a square of `student.image_size` pixels; none where
    /// the recipe has none.
    pub(super) fn crop(
        &self,
        decode: impl FnOnce() -> Result<Rgb>,
        epoch: u64,
        sample: &SampleRow,
    ) -> Result<Option<Rgb>> {
        let Augment { crop_scale: Some(scale), crop_ratio: ratio, .. } = self.recipe.augment else { return Ok(None) };
        let mut rng = generator("crop", self.recipe.seed, epoch, &sample.id);
        let image = decode()?;
        let crop = Crop::draw(&mut rng, [image.width, image.height], scale, ratio);
        let side = self.recipe.student.image_size as u32;
        Ok(Some(pixels::resize(&crop.of(&image), side, side)?))
    }

    /// The fitted or cropped image of a sample, shifted and mirrored.
    pub(super) fn moved(&self, image: Arc<Rgb>, epoch: u64, shard: &Zipped, sample: &SampleRow) -> Arc<Rgb> {
        self.movement(epoch, shard, sample).of(image)
    }

    fn movement(&self, epoch: u64, shard: &Zipped, sample: &SampleRow) -> Move {
        let Augment { shift_px, flip, mirror, .. } = self.recipe.augment;
        let generator = |purpose| generator(purpose, self.recipe.seed, epoch, &sample.id);
        let mut moved = Move::default();
        if shift_px > 0 || flip {
            let mut rng = generator("augment");
            let most = i64::from(shift_px);
            (moved.dx, moved.dy) = (rng.random_range(-most..=most), rng.random_range(-most..=most));
            (moved.mirror_x, moved.mirror_y) = (flip && rng.random(), flip && rng.random());
        }
        if mirror > 0.0 && generator("mirror").random_bool(mirror) && !says_a_side(shard, sample) {
            moved.mirror_x = true;
        }
        moved
    }
}

/// Whether anything that is said about the image names a side: a text, all candidates of a choice, the answers, the label.
fn says_a_side(shard: &Zipped, sample: &SampleRow) -> bool {
    let texts = sample.texts.iter().map(|text| shard.texts.value(*text));
    let said = sample.answers.iter().chain(&sample.label_text).map(String::as_str);
    texts.chain(said).any(names_a_side)
}

#[cfg(test)]
mod tests;
