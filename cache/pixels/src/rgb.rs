//! A decoded image, and the ways in which other kinds of pixels become RGB.

use image::ColorType;

/// An RGB image, one byte a channel, rows from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb {
    /// Pixels a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `height x width x 3` bytes.
    pub data: Vec<u8>,
}

/// Three bytes a pixel, as Pillow's `convert("RGB")` gives them: alpha is dropped, not blended; 16-bit colour keeps its
/// upper byte; 16-bit grey is clipped at 255. Samples are in the machine's own byte order.
pub(crate) fn from_samples(colour: ColorType, samples: Vec<u8>) -> Option<Vec<u8>> {
    let wide = |bytes: &[u8]| u16::from_ne_bytes([bytes[0], bytes[1]]);
    let upper = |bytes: &[u8]| (wide(bytes) >> 8) as u8;
    Some(match colour {
        ColorType::Rgb8 => samples,
        ColorType::L8 => samples.iter().flat_map(|grey| [*grey; 3]).collect(),
        ColorType::La8 => samples.chunks_exact(2).flat_map(|pixel| [pixel[0]; 3]).collect(),
        ColorType::Rgba8 => without_fourth(&samples),
        ColorType::L16 => samples.chunks_exact(2).flat_map(|grey| [wide(grey).min(255) as u8; 3]).collect(),
        ColorType::La16 => samples.chunks_exact(4).flat_map(|pixel| [upper(pixel); 3]).collect(),
        ColorType::Rgb16 => samples.chunks_exact(2).map(upper).collect(),
        ColorType::Rgba16 => {
            samples.chunks_exact(8).flat_map(|p| [upper(&p[0..2]), upper(&p[2..4]), upper(&p[4..6])]).collect()
        }
        _ => return None,
    })
}

fn without_fourth(samples: &[u8]) -> Vec<u8> {
    let mut data = vec![0; samples.len() / 4 * 3];
    for (pixel, from) in data.chunks_exact_mut(3).zip(samples.chunks_exact(4)) {
        pixel.copy_from_slice(&from[..3]);
    }
    data
}

/// Pillow's conversion of CMYK, with its rounding; the samples are ink, 255 is full.
pub(crate) fn from_cmyk(samples: &[u8]) -> Vec<u8> {
    let mut data = vec![0; samples.len() / 4 * 3];
    for (pixel, from) in data.chunks_exact_mut(3).zip(samples.chunks_exact(4)) {
        let paper = 255 - u32::from(from[3]);
        for (channel, ink) in pixel.iter_mut().zip(from) {
            let product = u32::from(*ink) * paper + 128;
            *channel = paper.saturating_sub((product + (product >> 8)) >> 8) as u8;
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_pixel_becomes_three_bytes() {
        let wide: Vec<u8> = [0x0102_u16, 0x00ff, 0xabcd, 0x1234].iter().flat_map(|n| n.to_ne_bytes()).collect();
        for (colour, samples, expected) in [
            (ColorType::L8, vec![7, 9], vec![7, 7, 7, 9, 9, 9]),
            (ColorType::La8, vec![7, 0], vec![7, 7, 7]),
            (ColorType::Rgba8, vec![1, 2, 3, 0], vec![1, 2, 3]),
            (ColorType::L16, wide[..4].to_vec(), vec![255; 6]),
            (ColorType::La16, wide[..4].to_vec(), vec![1; 3]),
            (ColorType::Rgb16, wide[..6].to_vec(), vec![1, 0, 0xab]),
            (ColorType::Rgba16, wide.clone(), vec![1, 0, 0xab]),
        ] {
            assert_eq!(from_samples(colour, samples), Some(expected), "{colour:?}");
        }
        assert_eq!(from_samples(ColorType::Rgb32F, vec![0; 12]), None);
    }

    #[test]
    fn ink_darkens() {
        assert_eq!(from_cmyk(&[0, 0, 0, 0]), [255, 255, 255]);
        assert_eq!(from_cmyk(&[255, 0, 128, 0]), [0, 255, 127]);
        assert_eq!(from_cmyk(&[10, 20, 30, 255]), [0, 0, 0]);
    }
}
