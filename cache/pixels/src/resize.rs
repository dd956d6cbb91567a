//! Bicubic with antialiasing, as Pillow does it.

use std::cell::RefCell;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::{Error, Result, Rgb};

thread_local! {
    /// Keeps its coefficients' and rows' memory from one image to the next.
    static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
}

/// Bicubic with antialiasing, a = -0.5, as Pillow's `BICUBIC`.
///
/// # Errors
/// [`Error::Resize`] if a side is 0.
pub fn resize(image: &Rgb, width: u32, height: u32) -> Result<Rgb> {
    // Pillow goes along the rows first and clips to bytes in between. Left to itself fast_image_resize goes along the
    // columns first, which shows wherever an overshoot is clipped: at the edges of a two-coloured image.
    match (width == image.width, height == image.height) {
        (true, true) => Ok(image.clone()),
        (false, true) | (true, false) => stretch(image, width, height),
        (false, false) => stretch(&stretch(image, width, image.height)?, width, height),
    }
}

/// Width and height when the shorter side becomes `side` and the other follows in proportion, rounded down: transformers'
/// `int(side * long / short)`, in integers to keep the float's rounding out.
pub fn shortest_side(width: u32, height: u32, side: u32) -> (u32, u32) {
    let (short, long) = (width.min(height), width.max(height));
    let scaled = u64::from(side) * u64::from(long) / u64::from(short.max(1));
    let scaled = u32::try_from(scaled).unwrap_or(u32::MAX);
    if width <= height { (side, scaled) } else { (scaled, side) }
}

/// One pass: only one of the two sides may change.
fn stretch(image: &Rgb, width: u32, height: u32) -> Result<Rgb> {
    let failed = |problem: &dyn ToString| Error::Resize {
        from: [image.width, image.height],
        to: [width, height],
        problem: problem.to_string(),
    };
    let source = ImageRef::new(image.width, image.height, &image.data, PixelType::U8x3).map_err(|e| failed(&e))?;
    if width == 0 || height == 0 || image.width == 0 || image.height == 0 {
        return Err(failed(&"a side is 0"));
    }
    let bytes = u64::from(width) * u64::from(height) * 3;
    if bytes > i32::MAX as u64 {
        return Err(failed(&format!("it would be {bytes} bytes")));
    }
    let mut target = Image::new(width, height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).use_alpha(false);
    RESIZER
        .with_borrow_mut(|resizer| resizer.resize(&source, &mut target, &options))
        .map_err(|error| failed(&error))?;
    Ok(Rgb { width, height, data: target.into_vec() })
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
        }
        Ok(())
    }

    #[test]
    fn a_side_of_nothing_is_refused() {
        let image = Rgb { width: 2, height: 2, data: vec![0; 12] };
        assert!(matches!(resize(&image, 0, 2), Err(Error::Resize { to: [0, 2], .. })));
        assert!(resize(&image, u32::MAX, 2).is_err());
    }
}
