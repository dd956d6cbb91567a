//! One image: read, checked by decoding all of it, hashed.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageFormat, ImageReader, Limits};
use retort_schemas::ID_BYTES;

use crate::rejects::{Code, Reject, Stage};
use crate::source::{ImageBytes, LostImage};

/// Longest side of an image in pixels.
const LONGEST_SIDE: u32 = 20_000;
/// Most memory that decoding one image may take. A small file can claim to be a huge image.
const MOST_MEMORY: u64 = 512 << 20;
/// Largest file: an encoded image is smaller than a decoded one.
pub(crate) const LARGEST_FILE: u64 = MOST_MEMORY;

/// Id of an image or a text.
pub(crate) type ContentId = [u8; ID_BYTES as usize];

/// The first 16 bytes of the blake3 hash.
pub(crate) fn content_id(bytes: &[u8]) -> ContentId {
    let mut id = ContentId::default();
    id.copy_from_slice(&blake3::hash(bytes).as_bytes()[..ID_BYTES as usize]);
    id
}

/// The same in 32 hex digits, as manifests write it.
pub(crate) fn hash_text(bytes: &[u8]) -> String {
    hash_digits(&blake3::hash(bytes))
}

/// A hash as manifests write it.
pub(crate) fn hash_digits(hash: &blake3::Hash) -> String {
    hash.to_hex()[..2 * ID_BYTES as usize].to_owned()
}

/// An image that can be decoded, encoded as it was found.
#[derive(Debug)]
pub(crate) struct CheckedImage {
    pub id: ContentId,
    /// Path relative to the image folder.
    pub source: String,
    pub bytes: Vec<u8>,
    /// `png`, `jpeg`, ...
    pub format: &'static str,
    /// Size as stored: an EXIF orientation is not applied.
    pub width: u32,
    pub height: u32,
    pub phash: u64,
}

/// Reads and checks an image.
pub(crate) fn load(name: String, bytes: ImageBytes<'_>) -> Result<CheckedImage, Reject> {
    let found = match bytes {
        ImageBytes::Stored(store) => store.read(&name),
        ImageBytes::Here(bytes) => Ok((name.clone(), bytes)),
        ImageBytes::Lost(lost) => Err(lost),
    };
    let checked = found.and_then(|(source, bytes)| {
        // A decoder's panic on a malformed file loses that image, not the run.
        let (format, width, height, phash) = catch_unwind(AssertUnwindSafe(|| decode(&bytes)))
            .unwrap_or_else(|_| Err("the decoder failed on it".to_owned()))
            .map_err(|message| LostImage { stage: Stage::Decode, code: Code::ImageCorrupt, message })?;
        Ok(CheckedImage { id: content_id(&bytes), source, bytes, format, width, height, phash })
    });
    checked.map_err(|LostImage { stage, code, message }| Reject { source: name, stage, code, message })
}

/// Format, width, height and difference hash; or what is wrong with the bytes.
fn decode(bytes: &[u8]) -> Result<(&'static str, u32, u32, u64), String> {
    let format = image::guess_format(bytes)
        .map_err(|_| format!("it is no image of a known format: it has {} bytes", bytes.len()))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits.max_alloc = Some(MOST_MEMORY);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let image = reader.decode().map_err(|error| error.to_string())?;
    // A GIF's frame may be decoded onto a screen without rows.
    if image.width() == 0 || image.height() == 0 {
        return Err(format!("it has {} x {} pixels, expected one at least", image.width(), image.height()));
    }
    // The decoder fills what is missing of a JPEG with grey and says nothing.
    if format == ImageFormat::Jpeg && !jpeg_is_complete(bytes) {
        return Err("it is truncated: the JPEG has no end marker".to_owned());
    }
    let name = format.to_mime_type();
    let name = name.strip_prefix("image/").unwrap_or(name);
    Ok((name, image.width(), image.height(), difference_hash(&image)))
}

/// Whether the end marker follows the first scan. Before the scan it may belong to a thumbnail; inside scan data
/// the encoder never lets these two bytes follow each other.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xd9;
    const START_OF_SCAN: u8 = 0xda;
    let mut at = 2;
    while let Some(&[first, marker]) = bytes.get(at..at + 2) {
        match (first, marker) {
            (0xff, START_OF_SCAN) => return bytes[at..].windows(2).rev().any(|pair| *pair == [0xff, END_OF_IMAGE]),
            // Fill bytes, stray bytes that decoders skip, and markers that stand alone.
            (..0xff, _) | (0xff, 0xff) => at += 1,
            (0xff, 0x01 | 0xd0..=0xd8) => at += 2,
            (0xff, _) => match bytes.get(at + 2..at + 4) {
                Some(&[high, low]) => at += 2 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
        }
    }
    false
}

/// 64 bits, row by row from the most significant: whether a pixel of the 9 x 8 grey image is darker than the one on
/// its right. Near duplicates differ in few bits.
fn difference_hash(image: &DynamicImage) -> u64 {
    let small = imageops::resize(&image.to_luma8(), 9, 8, FilterType::Triangle);
    small.rows().fold(0, |hash, row| {
        let row: Vec<u8> = row.map(|pixel| pixel.0[0]).collect();
        row.windows(2).fold(hash, |hash, pair| hash << 1 | u64::from(pair[0] < pair[1]))
    })
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma, RgbImage};

    use super::*;

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn noise(width: u32, height: u32) -> DynamicImage {
        RgbImage::from_fn(width, height, |x, y| {
            let hash = content_id(&[x.to_le_bytes(), y.to_le_bytes()].concat());
            image::Rgb([hash[0], hash[1], hash[2]])
        })
        .into()
    }

    #[test]
    fn format_and_size_come_from_the_content() {
        for (format, name) in [
            (ImageFormat::Png, "png"),
            (ImageFormat::Jpeg, "jpeg"),
            (ImageFormat::WebP, "webp"),
            (ImageFormat::Gif, "gif"),
        ] {
            let (found, width, height, _) = decode(&encoded(&noise(33, 20), format)).unwrap();
            assert_eq!((found, width, height), (name, 33, 20));
        }
    }

    #[test]
    fn a_truncated_image_is_corrupt_wherever_it_is_cut() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let whole = encoded(&noise(64, 64), format);
            assert!(decode(&whole).is_ok());
            for parts in 1..16 {
                let cut = whole.len() * parts / 16;
                assert!(decode(&whole[..cut]).is_err(), "{format:?} of {} bytes cut to {cut}", whole.len());
            }
        }
        let jpeg = encoded(&noise(64, 64), ImageFormat::Jpeg);
        assert!(decode(&jpeg[..jpeg.len() - 2]).unwrap_err().contains("truncated"));
        assert!(decode(&[jpeg, b"a camera's appendix".to_vec()].concat()).is_ok());
    }

    #[test]
    fn the_end_of_a_thumbnail_is_not_the_end_of_the_image() {
        let whole = encoded(&noise(16, 16), ImageFormat::Jpeg);
        // An APP1 segment whose payload is a thumbnail's scan and end.
        let thumbnail = [0xff, 0xe1, 0x00, 0x08, 0xff, 0xda, 0x00, 0x00, 0xff, 0xd9];
        let with_thumbnail = [&whole[..2], &thumbnail[..], &whole[2..]].concat();
        assert!(decode(&with_thumbnail).is_ok());
        assert!(!jpeg_is_complete(&with_thumbnail[..with_thumbnail.len() - 2]));
    }

    #[test]
    fn a_small_file_that_claims_to_be_huge_is_refused() {
        let mut bomb = encoded(&GrayImage::new(2, 2).into(), ImageFormat::Bmp);
        bomb[18..22].copy_from_slice(&20_001_u32.to_le_bytes());
        assert!(decode(&bomb).is_err());
        bomb[18..22].copy_from_slice(&19_999_u32.to_le_bytes());
        bomb[22..26].copy_from_slice(&19_999_u32.to_le_bytes());
        assert!(decode(&bomb).is_err());
    }

    #[test]
    fn the_hash_tells_the_direction_of_a_gradient() {
        let gradient = |from_left: bool| {
            let grey = GrayImage::from_fn(90, 80, |x, _| Luma([if from_left { x * 2 } else { 255 - x * 2 } as u8]));
            difference_hash(&grey.into())
        };
        assert_eq!(gradient(true), u64::MAX);
        assert_eq!(gradient(false), 0);
        // Only the top row of the small image grows brighter to the right.
        let top = GrayImage::from_fn(90, 80, |x, y| Luma([if y < 8 { x * 2 } else { 0 } as u8]));
        assert_eq!(difference_hash(&top.into()) >> 56, 0xff);
    }

    #[test]
    fn near_duplicates_differ_in_few_bits() {
        let photo = DynamicImage::from(RgbImage::from_fn(120, 90, |x, y| {
            image::Rgb([(x * 2) as u8, (y * 2) as u8, ((x * y) % 251) as u8])
        }));
        let hash = |bytes: &[u8]| decode(bytes).unwrap().3;
        let original = hash(&encoded(&photo, ImageFormat::Png));
        let lossy = hash(&encoded(&photo, ImageFormat::Jpeg));
        let mirrored = hash(&encoded(&photo.fliph(), ImageFormat::Png));
        assert!((original ^ lossy).count_ones() <= 6, "{}", (original ^ lossy).count_ones());
        assert!((original ^ mirrored).count_ones() > 20, "{}", (original ^ mirrored).count_ones());
    }
}
