//! The difference hash: near duplicates have hashes that differ in few bits.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use pulp::{Arch, NullaryFnOnce};

use crate::Rgb;

/// Rows that are enough: 32 in each of the eight.
const ROWS: usize = 256;

/// 64 bits, row by row from the most significant: whether a pixel of the 9 x 8 grey image is darker than the one on
/// its right. Of a high image every second, third, ... row is looked at, 256 to 511 in all. An image without pixels
/// has 0.
pub fn difference_hash(image: &Rgb) -> u64 {
    let (row, step) = (image.width as usize * 3, (image.height as usize / ROWS).max(1));
    let rows = image.height as usize / step;
    let grey = Arch::new().dispatch(Luma { data: &image.data, row, step, rows });
    let mut small = Image::new(9, 8, PixelType::U8);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    let resized = ImageRef::new(image.width, rows as u32, &grey, PixelType::U8)
        .ok()
        .and_then(|grey| Resizer::new().resize(&grey, &mut small, &options).ok());
    if resized.is_none() {
        return 0;
    }
    small
        .buffer()
        .chunks_exact(9)
        .fold(0, |hash, row| row.windows(2).fold(hash, |hash, pair| hash << 1 | u64::from(pair[0] < pair[1])))
}

/// The brightness of RGB pixels, by Rec. 709: of one row in the middle of every `step`.
struct Luma<'a> {
    data: &'a [u8],
    /// Bytes of a row.
    row: usize,
    step: usize,
    /// Rows of the grey image.
    rows: usize,
}

impl NullaryFnOnce for Luma<'_> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn call(self) -> Vec<u8> {
        let Self { data, row, step, rows } = self;
        let mut grey = vec![0; row / 3 * rows];
        let seen = data.chunks_exact(row.max(1)).skip(step / 2).step_by(step);
        for (grey, pixels) in grey.chunks_exact_mut((row / 3).max(1)).zip(seen) {
            for (grey, [red, green, blue]) in grey.iter_mut().zip(pixels.as_chunks::<3>().0) {
                // In 65536ths.
                let sum = u32::from(*red) * 13_933 + u32::from(*green) * 46_871 + u32::from(*blue) * 4_732;
                *grey = (sum >> 16) as u8;
            }
        }
        grey
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Encoding, decode, encode};

    fn drawn(width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 3]) -> Rgb {
        let data = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).flat_map(|(x, y)| pixel(x, y)).collect();
        Rgb { width, height, data }
    }

    #[test]
    fn the_hash_tells_the_direction_of_a_gradient() {
        let gradient = |from_left: bool| {
            difference_hash(&drawn(90, 80, |x, _| [if from_left { x * 2 } else { 255 - x * 2 } as u8; 3]))
        };
        assert_eq!(gradient(true), u64::MAX);
        assert_eq!(gradient(false), 0);
        // Only the top row of the small image grows brighter to the right.
        let top = drawn(90, 80, |x, y| [if y < 8 { x * 2 } else { 0 } as u8; 3]);
        assert_eq!(difference_hash(&top) >> 56, 0xff);
    }

    #[test]
    fn near_duplicates_differ_in_few_bits() {
        let pixel = |x: u32, y: u32| [(x * 2) as u8, (y * 2) as u8, ((x * y) % 251) as u8];
        let photo = drawn(120, 90, pixel);
        let mirrored = drawn(120, 90, |x, y| pixel(119 - x, y));
        let lossy = decode(&encode(&photo, Encoding::Jpeg(75)).unwrap()).unwrap();
        let distance = |other: &Rgb| (difference_hash(&photo) ^ difference_hash(other)).count_ones();
        assert!(distance(&lossy) <= 6, "{}", distance(&lossy));
        assert!(distance(&mirrored) > 20, "{}", distance(&mirrored));
    }

    #[test]
    fn a_high_image_has_the_hash_of_a_low_one() {
        let pixel = |x: u32, y: u32| [(x * 2) as u8, (y * 2) as u8, ((x * y) % 251) as u8];
        let photo = drawn(120, 90, pixel);
        let high = drawn(1200, 900, |x, y| pixel(x / 10, y / 10));
        assert_eq!(difference_hash(&high), difference_hash(&photo));
    }

    #[test]
    fn nothing_has_a_hash() {
        assert_eq!(difference_hash(&Rgb { width: 0, height: 0, data: Vec::new() }), 0);
    }
}
