//! Bicubic and bilinear with antialiasing, bit for bit as Pillow does it.
//!
//! Weights are 22-bit fixed point numbers, rows go before columns, and bytes are rounded and clipped in between: this is
//! Pillow's definition, and integers sum to the same in any order, on any processor. The loops are written for the
//! compiler to vectorise, and compiled for each generation of vector instructions.

mod rows;

use std::borrow::Cow;

use pulp::{Arch, NullaryFnOnce};

use self::rows::Rows;
use crate::{Error, Result, Rgb};

/// Bits behind the point of a weight.
const PRECISION: u32 = 22;

/// What weighs the pixels around a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filter {
    /// Keys' cubic with a = -0.5, Pillow's `BICUBIC`.
    #[default]
    Bicubic,
    /// A triangle, Pillow's `BILINEAR`.
    Bilinear,
}

impl Filter {
    /// Pixels from the centre to the end of the filter, where nothing is made smaller.
    fn support(self) -> f64 {
        match self {
            Self::Bicubic => 2.0,
            Self::Bilinear => 1.0,
        }
    }

    /// The weight at a distance from the centre.
    fn at(self, x: f64) -> f64 {
        match self {
            Self::Bicubic => cubic(x),
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
        }
    }
}

/// Bicubic with antialiasing, a = -0.5: the pixels of Pillow's `resize((width, height), BICUBIC)`.
///
/// # Errors
/// [`Error::Resize`] if a side is 0.
pub fn resize(image: &Rgb, width: u32, height: u32) -> Result<Rgb> {
    resize_with(image, width, height, Filter::Bicubic)
}

/// With a filter and antialiasing: the pixels of Pillow's `resize((width, height), ..)`.
///
/// # Errors
/// [`Error::Resize`] if a side is 0.
pub fn resize_with(image: &Rgb, width: u32, height: u32, filter: Filter) -> Result<Rgb> {
    part_with(image, [0.0, 0.0, f64::from(image.width), f64::from(image.height)], width, height, filter)
}

/// Width and height when the shorter side becomes `side` and the other follows in proportion, rounded down: transformers'
/// `int(side * long / short)`, in integers to keep the float's rounding out.
pub fn shortest_side(width: u32, height: u32, side: u32) -> (u32, u32) {
    let (short, long) = (width.min(height), width.max(height));
    let scaled = u64::from(side) * u64::from(long) / u64::from(short.max(1));
    let scaled = u32::try_from(scaled).unwrap_or(u32::MAX);
    if width <= height { (side, scaled) } else { (scaled, side) }
}

/// Bicubic, of a part of an image: its left, top, right and bottom, which may lie between pixels.
pub(crate) fn resize_part(image: &Rgb, part: [f64; 4], width: u32, height: u32) -> Result<Rgb> {
    part_with(image, part, width, height, Filter::Bicubic)
}

fn part_with(image: &Rgb, part: [f64; 4], width: u32, height: u32, filter: Filter) -> Result<Rgb> {
    let failed = |problem: &str| Error::Resize {
        from: [image.width, image.height],
        to: [width, height],
        problem: problem.to_owned(),
    };
    let [left, top, right, bottom] = part;
    let inside = left >= 0.0 && top >= 0.0 && right <= image.width.into() && bottom <= image.height.into();
    if width == 0 || height == 0 || !inside || left >= right || top >= bottom {
        return Err(failed("a side is 0"));
    }
    if image.data.len() as u64 != u64::from(image.width) * u64::from(image.height) * 3 {
        return Err(failed("its bytes are of another size"));
    }
    // The larger of the results of the two passes.
    let bytes = u64::from(width) * u64::from(height.max(image.height)) * 3;
    if bytes > i32::MAX as u64 {
        return Err(failed(&format!("it would be {bytes} bytes")));
    }
    let whole_rows = left == 0.0 && right == f64::from(image.width);
    let wide = if width == image.width && whole_rows {
        Cow::Borrowed(&image.data)
    } else {
        let weights = Weights::new(image.width, [left, right], width, filter);
        Cow::Owned(Rows { data: &image.data, width: image.width as usize, weights: &weights }.resize())
    };
    let whole_columns = top == 0.0 && bottom == f64::from(image.height);
    let data = if height == image.height && whole_columns {
        wide.into_owned()
    } else {
        let weights = Weights::new(image.height, [top, bottom], height, filter);
        Arch::new().dispatch(Columns { data: &wide, row: width as usize * 3, weights: &weights })
    };
    Ok(Rgb { width, height, data })
}

/// What each output pixel of a row or column is summed from.
struct Weights {
    /// First input pixel and number of input pixels of each output pixel.
    windows: Vec<(usize, usize)>,
    /// Weights of an output pixel, the zeros at their end included.
    stride: usize,
    /// `stride` of each output pixel.
    fixed: Vec<i32>,
}

impl Weights {
    /// From the pixels between two places of `input` pixels to `output` pixels.
    fn new(input: u32, [from, to]: [f64; 2], output: u32, filter: Filter) -> Self {
        let scale = (to - from) / f64::from(output);
        let filter_scale = scale.max(1.0);
        let support = filter.support() * filter_scale;
        let stride = (support.ceil() as usize * 2 + 1).next_multiple_of(rows::PIXELS);
        let count = output as usize;
        let mut weights = Self { windows: Vec::with_capacity(count), stride, fixed: vec![0; count * stride] };
        let mut window = Vec::with_capacity(stride);
        for (at, fixed) in weights.fixed.chunks_exact_mut(stride).enumerate() {
            let centre = from + (at as f64 + 0.5) * scale;
            // The casts round towards zero, as C's do.
            let first = (centre - support + 0.5).max(0.0) as usize;
            let last = ((centre + support + 0.5) as usize).min(input as usize);
            window.clear();
            window.extend((first..last).map(|pixel| filter.at((pixel as f64 - centre + 0.5) * (1.0 / filter_scale))));
            let sum: f64 = window.iter().sum();
            for (fixed, weight) in fixed.iter_mut().zip(&window) {
                let weight = if sum == 0.0 { *weight } else { weight / sum } * f64::from(1 << PRECISION);
                *fixed = (weight + 0.5_f64.copysign(weight)) as i32;
            }
            weights.windows.push((first, window.len()));
        }
        weights
    }
}

/// Keys' cubic with a = -0.5, in Pillow's order of operations.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// The byte of a sum of weighted bytes.
#[inline(always)]
fn byte(sum: i32) -> u8 {
    (sum.wrapping_add(1 << (PRECISION - 1)) >> PRECISION).clamp(0, 255) as u8
}

/// The pass along the columns, over rows of `row` bytes.
struct Columns<'a> {
    data: &'a [u8],
    row: usize,
    weights: &'a Weights,
}

impl NullaryFnOnce for Columns<'_> {
    type Output = Vec<u8>;

    // Where this is not inlined, it is compiled for the oldest processors alone.
    #[inline(always)]
    fn call(self) -> Vec<u8> {
        let Self { data, row, weights } = self;
        let mut resized = vec![0; row * weights.windows.len()];
        let mut sums = vec![0_i32; row];
        let rows = resized.chunks_exact_mut(row).zip(&weights.windows);
        for ((resized, (first, count)), weights) in rows.zip(weights.fixed.chunks_exact(weights.stride)) {
            sums.fill(0);
            let window = &data[first * row..(first + count) * row];
            for (bytes, weight) in window.chunks_exact(row).zip(weights) {
                for (sum, byte) in sums.iter_mut().zip(bytes) {
                    *sum = sum.wrapping_add(i32::from(*byte).wrapping_mul(*weight));
                }
            }
            for (resized, sum) in resized.iter_mut().zip(&sums) {
                *resized = byte(*sum);
            }
        }
        resized
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_side_is_rounded_down() {
        assert_eq!(shortest_side(37, 13, 10), (28, 10)); // 28.46
        assert_eq!(shortest_side(13, 37, 10), (10, 28));
        assert_eq!(shortest_side(5, 5, 10), (10, 10));
    }

    #[test]
    fn one_colour_stays_that_colour_at_any_size() -> Result<()> {
        let image = Rgb { width: 9, height: 7, data: [10, 200, 255].repeat(63) };
        for (width, height) in [(9, 7), (3, 7), (9, 20), (1, 1), (40, 2)] {
            let resized = resize(&image, width, height)?;
            assert_eq!(resized.data, [10, 200, 255].repeat((width * height) as usize), "{width}x{height}");
            assert_eq!(resize_with(&image, width, height, Filter::Bilinear)?.data, resized.data, "{width}x{height}");
        }
        // A window of thousands of pixels.
        let long = Rgb { width: 19_999, height: 1, data: vec![255; 19_999 * 3] };
        assert_eq!(resize(&long, 1, 1)?.data, [255; 3]);
        Ok(())
    }

    #[test]
    fn bilinear_is_a_triangle() -> Result<()> {
        // Made twice as wide, a new pixel lies a quarter of the way between two old ones.
        let image = Rgb { width: 2, height: 1, data: [[0; 3], [100; 3]].concat() };
        let wide = resize_with(&image, 4, 1, Filter::Bilinear)?;
        assert_eq!(wide.data, [[0; 3], [25; 3], [75; 3], [100; 3]].concat());
        assert_ne!(resize(&image, 4, 1)?.data, wide.data);
        Ok(())
    }

    #[test]
    fn a_part_is_what_is_seen_of_the_image() -> Result<()> {
        let data = (0..8).flat_map(|_| [[9; 24], [200; 24]].concat()).collect();
        let image = Rgb { width: 16, height: 8, data };
        let left = resize_part(&image, [0.0, 0.0, 2.0, 8.0], 1, 4)?;
        assert_eq!(left.data, [9; 12]);
        let right = resize_part(&image, [12.0, 0.0, 16.0, 7.5], 2, 2)?;
        assert_eq!(right.data, [200; 12]);
        Ok(())
    }

    #[test]
    fn a_side_of_nothing_is_refused() {
        let image = Rgb { width: 2, height: 2, data: vec![0; 12] };
        assert!(matches!(resize(&image, 0, 2), Err(Error::Resize { to: [0, 2], .. })));
        assert!(resize(&image, u32::MAX, 2).is_err());
        assert!(resize(&Rgb { width: 0, height: 0, data: Vec::new() }, 1, 1).is_err());
        assert!(resize(&Rgb { width: 3, height: 2, data: vec![0; 12] }, 1, 1).is_err());
    }
}
