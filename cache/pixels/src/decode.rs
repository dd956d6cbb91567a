//! Bytes of any known format to RGB.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::{ImageDecoder, ImageFormat, ImageReader};

use crate::resize::resize_part;
use crate::{Error, Limits, Orientation, Result, Rgb, gif, jpeg, memory, rgb};

/// What an image is encoded as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Format {
    Jpeg,
    Png,
    Webp,
    Gif,
    Bmp,
    Tiff,
}

impl Format {
    const ALL: [Self; 6] = [Self::Jpeg, Self::Png, Self::Webp, Self::Gif, Self::Bmp, Self::Tiff];

    /// As the first bytes tell it.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match image::guess_format(bytes).ok()? {
            ImageFormat::Jpeg => Some(Self::Jpeg),
            ImageFormat::Png => Some(Self::Png),
            ImageFormat::WebP => Some(Self::Webp),
            ImageFormat::Gif => Some(Self::Gif),
            ImageFormat::Bmp => Some(Self::Bmp),
            ImageFormat::Tiff => Some(Self::Tiff),
            _ => None,
        }
    }

    /// `jpeg`, `png`, ...
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Webp => "webp",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::Tiff => "tiff",
        }
    }

    pub(crate) fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

/// How an image is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decoding {
    /// What is too large.
    pub limits: Limits,
    /// Decode a damaged image as far as it goes instead of refusing it. The rest of a JPEG is grey, of others black.
    /// A WebP or TIFF that is cut short is refused all the same.
    pub keep_truncated: bool,
    /// Let a JPEG be decoded at a half, a quarter or an eighth of its size, the smallest whose shorter side is still at
    /// least this: for an image whose shorter side is resized to it next, by [`Decoded::resized`]. No longer exact: over
    /// the photos of COCO that this shrinks (100 for 64, 98 for 128, 43 for 224 pixels), the mean difference to the exact
    /// way is 1.3, 1.1 and 1.8 levels (41, 41 and 37 dB; 4.3 levels in the worst photo), the largest of any value 73.
    pub shrink_to: Option<u32>,
}

/// An image with what its file says about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Upright, perhaps shrunk.
    pub image: Rgb,
    /// As the first bytes tell it.
    pub format: Format,
    /// Width of the upright image before it was shrunk.
    pub source_width: u32,
    /// Height of the upright image before it was shrunk.
    pub source_height: u32,
    /// What was done to make it upright.
    pub orientation: Orientation,
    /// What is wrong with it, if only a part could be decoded.
    pub truncated: Option<String>,
    /// What the shrunk image shows of the source, in its own pixels: the last ones may be cut by the edge.
    visible: [f64; 4],
}

impl Decoded {
    /// The image in another size, as Pillow's `BICUBIC`: also a shrunk one, whose last pixels may lie half beyond the
    /// edge of the source.
    ///
    /// # Errors
    /// [`Error::Resize`] if a side is 0.
    pub fn resized(&self, width: u32, height: u32) -> Result<Rgb> {
        resize_part(&self.image, self.visible, width, height)
    }

    /// Gives the memory of the pixels to the next JPEG that this thread decodes.
    pub fn reuse(self) {
        memory::give(self.image.data);
    }
}

/// The pixels of a whole image, whatever its format: the first frame, upright, as Pillow's `convert("RGB")` after
/// `exif_transpose` gives them.
///
/// # Errors
/// [`Error::Missing`], [`Error::UnknownFormat`], [`Error::TooLarge`], [`Error::Truncated`] or [`Error::Corrupt`].
pub fn decode(bytes: &[u8]) -> Result<Rgb> {
    decode_with(bytes, &Decoding::default()).map(|decoded| decoded.image)
}

/// The same, with options.
///
/// # Errors
/// As [`decode()`].
pub fn decode_with(bytes: &[u8], decoding: &Decoding) -> Result<Decoded> {
    if bytes.is_empty() {
        return Err(Error::Missing);
    }
    let format = Format::of(bytes).ok_or(Error::UnknownFormat { bytes: bytes.len() })?;
    let decode = || match format {
        Format::Jpeg => jpeg::decode(bytes, decoding),
        Format::Gif => gif::decode(bytes, decoding),
        Format::Png | Format::Webp | Format::Bmp | Format::Tiff => other(bytes, format, decoding),
    };
    // A decoder's panic on a malformed file loses that image, not the run.
    let stored = catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(Error::Corrupt { format, problem: "the decoder failed on it".to_owned() }))?;
    // Whatever a decoder makes of a damaged header, an image has pixels.
    if stored.width == 0 || stored.height == 0 {
        let problem = format!("it has {} x {} pixels, expected one at least", stored.width, stored.height);
        return Err(Error::Corrupt { format, problem });
    }
    let (source_width, source_height) = stored.orientation.upright_size(stored.width, stored.height);
    let visible = stored.orientation.upright_part(stored.visible, [stored.image.width, stored.image.height]);
    Ok(Decoded {
        visible,
        image: stored.orientation.apply(stored.image),
        format,
        source_width,
        source_height,
        orientation: stored.orientation,
        truncated: stored.truncated,
    })
}

/// What a format's decoder gives: pixels as they lie in the file.
pub(crate) struct Stored {
    pub image: Rgb,
    /// Of the file, not of the shrunk image.
    pub width: u32,
    pub height: u32,
    /// Width and height of what the image shows, in its own pixels.
    pub visible: [f64; 2],
    pub orientation: Orientation,
    pub truncated: Option<String>,
}

impl Stored {
    /// An image as large as the file says.
    pub(crate) fn full(image: Rgb, orientation: Orientation, truncated: Option<String>) -> Self {
        let (width, height) = (image.width, image.height);
        Self { image, width, height, visible: [width.into(), height.into()], orientation, truncated }
    }
}

/// The formats of the crate `image`.
fn other(bytes: &[u8], format: Format, decoding: &Decoding) -> Result<Stored> {
    let corrupt = |error: image::ImageError| Error::Corrupt { format, problem: error.to_string() };
    let kind = match format {
        Format::Webp => ImageFormat::WebP,
        Format::Bmp => ImageFormat::Bmp,
        Format::Tiff => ImageFormat::Tiff,
        _ => ImageFormat::Png,
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), kind);
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(decoding.limits.memory_bytes);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(corrupt)?;
    let (width, height) = decoder.dimensions();
    decoding.limits.check(width, height, bytes.len())?;
    // TIFF keeps its orientation in a tag of its own; a damaged piece of metadata is none.
    let orientation = if format == Format::Tiff {
        decoder.orientation().ok().and_then(|orientation| Orientation::of_number(orientation.to_exif()))
    } else {
        let (exif, xmp) = (decoder.exif_metadata().ok().flatten(), decoder.xmp_metadata().ok().flatten());
        Some(Orientation::of_metadata(exif.as_deref(), xmp.as_deref()))
    };
    let colour = decoder.color_type();
    let size = usize::try_from(decoder.total_bytes())
        .map_err(|_| Error::TooLarge { problem: format!("it is {width}x{height}") })?;
    let mut samples = vec![0; size];
    let mut truncated = None;
    if let Err(error) = decoder.read_image(&mut samples) {
        if !decoding.keep_truncated || !matches!(format, Format::Png | Format::Bmp) {
            return Err(corrupt(error));
        }
        truncated = Some(error.to_string());
        // The decoder of PNG brings 16-bit samples into the machine's order after the last row.
        if format == Format::Png && colour.bytes_per_pixel() / colour.channel_count() == 2 {
            samples.as_chunks_mut().0.iter_mut().for_each(|pair| *pair = u16::from_be_bytes(*pair).to_ne_bytes());
        }
    }
    let data = rgb::from_samples(colour, samples)
        .ok_or_else(|| Error::Corrupt { format, problem: format!("its pixels are {colour:?}, expected integers") })?;
    let image = Rgb { width, height, data };
    Ok(Stored::full(image, orientation.unwrap_or_default(), truncated))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Encoding, encode};

    fn ramp(width: u32, height: u32) -> Rgb {
        let data = (0..width * height).flat_map(|i| [(i % 256) as u8, (i / 7 % 256) as u8, 90]).collect();
        Rgb { width, height, data }
    }

    const KEEP: Decoding = Decoding { limits: Limits::DEFAULT, keep_truncated: true, shrink_to: None };

    #[test]
    fn format_and_size_come_from_the_content() -> Result<()> {
        for encoding in [Encoding::Png, Encoding::Jpeg(90), Encoding::Webp(80), Encoding::WebpLossless] {
            let found = decode_with(&encode(&ramp(33, 20), encoding)?, &Decoding::default())?;
            assert_eq!((found.format, found.source_width, found.source_height), (encoding.format(), 33, 20));
        }
        Ok(())
    }

    #[test]
    fn what_is_no_image_is_refused() {
        assert_eq!(decode(b"this is no image"), Err(Error::UnknownFormat { bytes: 16 }));
        assert!(decode(b"").unwrap_err().to_string().contains("--allow-missing-images"));
        // Known to the crate image, but not read here.
        assert_eq!(Format::of(b"P6 1 1 255 abc"), None);
    }

    #[test]
    fn a_truncated_image_is_refused_wherever_it_is_cut() -> Result<()> {
        for encoding in [Encoding::Png, Encoding::Jpeg(90), Encoding::Webp(80), Encoding::WebpLossless] {
            let whole = encode(&ramp(64, 64), encoding)?;
            assert!(decode(&whole).is_ok());
            for parts in 1..16 {
                let cut = whole.len() * parts / 16;
                assert!(decode(&whole[..cut]).is_err(), "{encoding} of {} bytes cut to {cut}", whole.len());
            }
        }
        Ok(())
    }

    #[test]
    fn what_is_there_of_a_truncated_png_is_kept() -> Result<()> {
        let image = ramp(64, 64);
        let whole = encode(&image, Encoding::Png)?;
        let found = decode_with(&whole[..whole.len() / 2], &KEEP)?;
        assert!(found.truncated.is_some());
        assert_eq!(found.image.data[..300], image.data[..300]);
        assert_eq!(found.image.data[64 * 63 * 3..], [0; 64 * 3]);
        assert_eq!(decode_with(&whole, &KEEP)?.truncated, None);
        Ok(())
    }

    #[test]
    fn a_small_file_that_claims_to_be_huge_is_refused() -> Result<()> {
        let mut png = encode(&ramp(8, 8), Encoding::Png)?;
        png[16..20].copy_from_slice(&13_000_u32.to_be_bytes());
        png[20..24].copy_from_slice(&13_000_u32.to_be_bytes());
        // The header's checksum.
        let crc = png_crc(&png[12..29]);
        png[29..33].copy_from_slice(&crc.to_be_bytes());
        let error = decode(&png).unwrap_err();
        assert!(matches!(&error, Error::TooLarge { .. }), "{error}");
        let mut jpeg = encode(&ramp(8, 8), Encoding::Jpeg(50))?;
        let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0x32, 0xc8, 0x32, 0xc8]);
        let error = decode(&jpeg).unwrap_err();
        assert!(matches!(&error, Error::TooLarge { .. }), "{error}");
        Ok(())
    }

    fn png_crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
        })
    }
}
