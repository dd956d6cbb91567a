//! Images that keep their shape (NaFlex), as inputs of one size.
//!
//! ```text
//! image --fit--> rows x columns patches of side x side pixels, `most` of them at most
//!       --strip--> [3, side, (most + 1) * side]:  patch 0 | patch 1 | .. | zeros | shape
//! ```
//!
//! The patches stand beside one another, row by row from the top left, and zeros where there are none. One patch more holds the
//! shape: at its first two pixels the rows (first channel) and columns (second), as digits to the base 256, which bf16 and f16
//! keep as they are.

use tch::{Device, Kind, Tensor};

use crate::{Error, Result};

/// Base of the digits.
const BASE: f32 = 256.0;
/// Nearer than this, two scales are one: the reference's `eps`, which decides sizes.
const PRECISION: f64 = 1e-5;

/// `[width, height]` in pixels that an image of `[width, height]` is resized to: in proportion, each side up to whole patches of
/// `side` pixels, and as large as `most` patches allow. `get_image_size_for_max_num_patches` of transformers, to the pixel.
///
/// # Errors
/// [`Error::Image`] for sides so long that no scale of the search makes them `most` patches.
pub(crate) fn fitting([width, height]: [u32; 2], side: u32, most: u32) -> Result<[u32; 2]> {
    let patches = |scale: f64, length: u32| (f64::from(length) * scale / f64::from(side)).ceil().max(1.0);
    let (mut fits, mut exceeds) = (PRECISION / 10.0, 100.0);
    while exceeds - fits >= PRECISION {
        let scale = (fits + exceeds) / 2.0;
        if patches(scale, width) * patches(scale, height) <= f64::from(most) {
            fits = scale;
        } else {
            exceeds = scale;
        }
    }
    let sides = [width, height].map(|length| patches(fits, length) as u32);
    if u64::from(sides[0]) * u64::from(sides[1]) > u64::from(most) {
        let problem = format!("{width}x{height} pixels cannot be made {most} patches of {side}x{side}");
        return Err(Error::Image { problem });
    }
    Ok(sides.map(|patches| patches * side))
}

/// Planes `[3, height, width]` of whole patches, `most` of them at most, as a strip.
pub(crate) fn strip(planes: &[f32], [height, width]: [u32; 2], side: u32, most: u32) -> Vec<f32> {
    let [height, width, side, most] = [height, width, side, most].map(|length| length as usize);
    let (columns, row) = (width / side, (most + 1) * side);
    let mut strip = vec![0.0; 3 * side * row];
    // A line of a patch is as long in the image as in the strip.
    for (line, pixels) in planes.chunks_exact(side).enumerate() {
        let (y, column) = (line / columns, line % columns);
        let (channel, y) = (y / height, y % height);
        let patch = y / side * columns + column;
        let to = (channel * side + y % side) * row + patch * side;
        strip[to..to + side].copy_from_slice(pixels);
    }
    for (channel, patches) in [height / side, columns].into_iter().enumerate() {
        let at = channel * side * row + most * side;
        (strip[at], strip[at + 1]) = ((patches / 256) as f32, (patches % 256) as f32);
    }
    strip
}

/// Rows and columns of patches of each strip `[batch, 3, side, (most + 1) * side]`.
///
/// # Errors
/// [`Error::Image`] where a shape is none of 1 to `most` patches; [`Error::Torch`].
pub fn shapes(strips: &Tensor) -> Result<Vec<[i64; 2]>> {
    let (_, _, side, length) = strips.size4()?;
    let most = length / side.max(1) - 1;
    let digits = strips.f_narrow(3, most * side, 2)?.f_select(2, 0)?.f_narrow(1, 0, 2)?.f_to_kind(Kind::Float)?;
    let digits: Vec<f32> = Vec::try_from(&digits.f_to_device(Device::Cpu)?.f_contiguous()?.f_view([-1])?)?;
    let number = |digits: &[f32]| (digits[0] * BASE + digits[1]) as i64;
    let shape = |digits: &[f32]| {
        let [rows, columns] = [number(&digits[..2]), number(&digits[2..])];
        let fits = rows > 0 && columns > 0 && rows.saturating_mul(columns) <= most;
        let problem = || format!("a strip of {rows} x {columns} patches, expected 1 to {most} of them");
        fits.then_some([rows, columns]).ok_or_else(|| Error::Image { problem: problem() })
    };
    digits.chunks_exact(4).map(shape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Height and width, patch and most patches: what transformers 4.57.1 gives.
    #[test]
    fn sizes_are_those_of_transformers() -> Result<()> {
        for (height, width, side, most, expected) in [
            (64, 64, 8, 64, [64, 64]),
            (120, 33, 8, 64, [120, 32]),
            (3, 5, 8, 64, [48, 80]),
            (41, 97, 8, 64, [40, 96]),
            (480, 640, 16, 256, [224, 288]),
            (1, 5000, 16, 256, [16, 4096]),
            (1080, 1920, 16, 256, [192, 336]),
            (427, 640, 14, 1024, [364, 546]),
            (333, 500, 16, 1, [16, 16]),
            (9, 100, 16, 7, [16, 112]),
        ] {
            let [found_width, found_height] = fitting([width, height], side, most)?;
            assert_eq!([found_height, found_width], expected, "{height}x{width}, {most} patches of {side}");
        }
        assert!(fitting([u32::MAX, 1], 2, 1).is_err());
        Ok(())
    }

    #[test]
    fn patches_stand_beside_one_another_and_the_shape_behind_them() -> Result<()> {
        // One row of 300 patches: more than bf16 counts to.
        let (side, most, columns) = (2, 301, 300);
        let planes: Vec<f32> = (0..3 * side * columns * side).map(|at| (at % 7) as f32).collect();
        let found = strip(&planes, [side, columns * side], side, most);
        let row = (most + 1) * side;
        assert_eq!(found.len(), (3 * side * row) as usize);
        let strips = Tensor::f_from_slice(&found)?.f_reshape([1, 3, i64::from(side), i64::from(row)])?;
        for kind in [Kind::Float, Kind::BFloat16, Kind::Half] {
            assert_eq!(shapes(&strips.f_to_kind(kind)?)?, [[1, 300]]);
        }
        assert!(shapes(&strips.f_zeros_like()?).is_err());

        // Two rows of two: the third patch is the first of the second row.
        let planes: Vec<f32> = (0..3 * 16).map(|at| at as f32).collect();
        let found = strip(&planes, [4, 4], 2, 4);
        assert_eq!(found[..10], [0.0, 1.0, 2.0, 3.0, 8.0, 9.0, 10.0, 11.0, 0.0, 2.0]);
        assert_eq!(found[10..20], [4.0, 5.0, 6.0, 7.0, 12.0, 13.0, 14.0, 15.0, 0.0, 0.0]);
        assert_eq!(found[20..30], [16.0, 17.0, 18.0, 19.0, 24.0, 25.0, 26.0, 27.0, 0.0, 2.0]);
        Ok(())
    }
}
