//! Pixels to bytes.

use std::fmt;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};
use libjpeg_turbo_rs::{Encoder, PixelFormat, Subsampling};

use crate::{Error, Format, Result, Rgb};

/// Quality with which a lossy image is encoded again in its own format.
const OWN_QUALITY: u8 = 95;

/// How an image is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Baseline JPEG of this quality, 1 to 100, with the tables and the 4:2:0 subsampling of Pillow's
    /// `save(quality=...)`.
    Jpeg(u8),
    /// Lossy WebP of this quality, 0 to 100, as libwebp's default method encodes it.
    Webp(u8),
    /// Lossless WebP.
    WebpLossless,
    /// PNG.
    Png,
}

impl Encoding {
    /// The format of its bytes.
    pub fn format(self) -> Format {
        match self {
            Self::Jpeg(_) => Format::Jpeg,
            Self::Webp(_) | Self::WebpLossless => Format::Webp,
            Self::Png => Format::Png,
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jpeg(quality) => write!(f, "jpeg:{quality}"),
            Self::Webp(quality) => write!(f, "webp:{quality}"),
            Self::WebpLossless => f.write_str("lossless webp"),
            Self::Png => f.write_str("png"),
        }
    }
}

/// How an image is encoded again so that it keeps its own format: JPEG and lossy WebP with quality 95, lossless WebP
/// and PNG without loss. What cannot be written in its own format becomes PNG.
pub fn own_encoding(format: Format, bytes: &[u8]) -> Encoding {
    match format {
        Format::Jpeg => Encoding::Jpeg(OWN_QUALITY),
        Format::Webp if webp_is_lossless(bytes) => Encoding::WebpLossless,
        Format::Webp => Encoding::Webp(OWN_QUALITY),
        Format::Png | Format::Gif | Format::Bmp | Format::Tiff => Encoding::Png,
    }
}

/// Whether the chunk of the image, which the metadata of an extended file may precede, is a lossless one.
fn webp_is_lossless(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(12..).unwrap_or_default();
    while let Some((&[a, b, c, d, s0, s1, s2, s3], _)) = rest.split_first_chunk() {
        match &[a, b, c, d] {
            b"VP8L" => return true,
            b"VP8 " => return false,
            _ => {
                let size = u32::from_le_bytes([s0, s1, s2, s3]) as usize;
                rest = rest.get(8 + size + size % 2..).unwrap_or_default();
            }
        }
    }
    false
}

/// Encodes an image: the same pixels give the same bytes.
///
/// # Errors
/// [`Error::Encode`] if the format cannot hold an image of this size.
pub fn encode(image: &Rgb, encoding: Encoding) -> Result<Vec<u8>> {
    let failed = |problem: String| Error::Encode { encoding, problem };
    let Rgb { width, height, data } = image;
    if u64::from(*width) * u64::from(*height) * 3 != data.len() as u64 || data.is_empty() {
        return Err(failed(format!("{} bytes are no {width}x{height} image", data.len())));
    }
    match encoding {
        Encoding::Jpeg(quality) => Encoder::new(data, *width as usize, *height as usize, PixelFormat::Rgb)
            .quality(quality.clamp(1, 100))
            .subsampling(Subsampling::S420)
            .encode()
            .map_err(|error| failed(error.to_string())),
        Encoding::Webp(quality) => webp(image, Some(quality)).map_err(failed),
        Encoding::WebpLossless => webp(image, None).map_err(failed),
        Encoding::Png => {
            let mut bytes = Vec::new();
            PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive)
                .write_image(data, *width, *height, ExtendedColorType::Rgb8)
                .map_err(|error| failed(error.to_string()))?;
            Ok(bytes)
        }
    }
}

fn webp(image: &Rgb, quality: Option<u8>) -> Result<Vec<u8>, String> {
    /// Of a side: 14 bits.
    const MOST_PIXELS: u32 = 16_383;
    if image.width.max(image.height) > MOST_PIXELS {
        return Err(format!("it is {}x{}, expected sides of {MOST_PIXELS} at most", image.width, image.height));
    }
    let encoder = webp::Encoder::from_rgb(&image.data, image.width, image.height);
    // Without loss the quality is the effort: libwebp's default.
    let encoded = match quality {
        Some(quality) => encoder.encode_simple(false, f32::from(quality.min(100))),
        None => encoder.encode_simple(true, 75.0),
    };
    encoded.map(|bytes| bytes.to_vec()).map_err(|error| format!("{error:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode;

    fn ramp(width: u32, height: u32) -> Rgb {
        let data = (0..width * height).flat_map(|i| [(i % 256) as u8, (i / 7 % 256) as u8, 90]).collect();
        Rgb { width, height, data }
    }

    #[test]
    fn without_loss_the_pixels_come_back_and_lossy_ones_nearly() -> Result<()> {
        let image = ramp(61, 43);
        for encoding in [Encoding::Png, Encoding::WebpLossless] {
            let bytes = encode(&image, encoding)?;
            assert_eq!(decode(&bytes)?, image, "{encoding}");
            assert_eq!(Format::of(&bytes), Some(encoding.format()));
        }
        let smooth = Rgb { width: 64, height: 64, data: (0..64 * 64).flat_map(|i| [(i / 64 * 4) as u8; 3]).collect() };
        for encoding in [Encoding::Jpeg(95), Encoding::Webp(95)] {
            let bytes = encode(&smooth, encoding)?;
            assert_eq!(bytes, encode(&smooth, encoding)?, "{encoding} twice");
            assert_eq!(Format::of(&bytes), Some(encoding.format()));
            let worst = decode(&bytes)?.data.iter().zip(&smooth.data).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(worst <= Some(8), "{encoding}: {worst:?}");
        }
        Ok(())
    }

    #[test]
    fn lower_quality_is_smaller() -> Result<()> {
        let image = ramp(128, 128);
        for [low, high] in [[Encoding::Jpeg(30), Encoding::Jpeg(90)], [Encoding::Webp(30), Encoding::Webp(90)]] {
            assert!(encode(&image, low)?.len() < encode(&image, high)?.len(), "{low} and {high}");
        }
        Ok(())
    }

    #[test]
    fn what_a_format_cannot_hold_is_refused() {
        let wide = Rgb { width: 16_384, height: 1, data: vec![0; 16_384 * 3] };
        assert!(encode(&wide, Encoding::Webp(80)).unwrap_err().to_string().contains("16383"));
        assert!(encode(&wide, Encoding::Png).is_ok());
        let torn = Rgb { width: 4, height: 4, data: vec![0; 5] };
        for encoding in [Encoding::Jpeg(80), Encoding::Webp(80), Encoding::Png] {
            assert!(matches!(encode(&torn, encoding), Err(Error::Encode { .. })), "{encoding}");
        }
    }

    #[test]
    fn an_image_keeps_its_own_format_where_it_can() -> Result<()> {
        let image = ramp(20, 20);
        for (first, again) in [
            (Encoding::Jpeg(50), Encoding::Jpeg(95)),
            (Encoding::Webp(50), Encoding::Webp(95)),
            (Encoding::WebpLossless, Encoding::WebpLossless),
            (Encoding::Png, Encoding::Png),
        ] {
            assert_eq!(own_encoding(first.format(), &encode(&image, first)?), again);
        }
        assert_eq!(own_encoding(Format::Gif, b"GIF89a"), Encoding::Png);
        Ok(())
    }
}
