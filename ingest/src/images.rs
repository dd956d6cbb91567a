//! One image: read, checked by decoding all of it, made smaller or encoded again where that is asked for, hashed.

pub(crate) use retort_pixels::LARGEST_FILE_BYTES as LARGEST_FILE;
use retort_pixels::{Encoding, Rgb, decode_with, difference_hash, encode, shortest_side};
use retort_schemas::ID_BYTES;
use retort_schemas::tables::images::MISSING;

use crate::image_options::ImageOptions;
use crate::rejects::{Code, Reject, Stage};
use crate::source::{ImageBytes, LostImage};

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

/// An image as it is stored: one that can be decoded, or a row that stands for a missing one.
#[derive(Debug)]
pub(crate) struct CheckedImage {
    /// Of the bytes as they were found.
    pub id: ContentId,
    /// Path relative to the image folder.
    pub source: String,
    pub bytes: Vec<u8>,
    /// `png`, `jpeg`, ...
    pub format: &'static str,
    /// Size of the stored image, upright.
    pub width: u32,
    pub height: u32,
    /// Size of the image as it was found, upright.
    pub source_width: u32,
    pub source_height: u32,
    pub phash: u64,
    /// What is wrong with an image that is kept although only a part of it could be decoded.
    pub truncated: Option<String>,
}

/// Reads and checks an image.
pub(crate) fn load(name: String, bytes: ImageBytes<'_>, options: &ImageOptions) -> Result<CheckedImage, Reject> {
    let found = match bytes {
        ImageBytes::Stored(store) => store.read(&name),
        ImageBytes::Here(bytes) => Ok((name.clone(), bytes)),
        ImageBytes::Later(read) => read().map(|bytes| (name.clone(), bytes)),
        ImageBytes::Lost(lost) => Err(lost),
    };
    let checked = match found {
        Ok((source, bytes)) => check(source, bytes, options).map_err(|message| LostImage {
            stage: Stage::Decode,
            code: Code::ImageCorrupt,
            message,
        }),
        Err(lost) if options.allow_missing && lost.code == Code::ImageMissing => return Ok(missing(name)),
        Err(lost) => Err(lost),
    };
    checked.map_err(|LostImage { stage, code, message }| Reject { source: name, stage, code, message })
}

/// A row without bytes. Its id is that of its name: images that are missing are not equal to each other.
fn missing(source: String) -> CheckedImage {
    CheckedImage {
        id: content_id(format!("{MISSING}:{source}").as_bytes()),
        source,
        bytes: Vec::new(),
        format: MISSING,
        width: 0,
        height: 0,
        source_width: 0,
        source_height: 0,
        phash: 0,
        truncated: None,
    }
}

/// The image as it is stored; or what is wrong with the bytes.
fn check(source: String, bytes: Vec<u8>, options: &ImageOptions) -> Result<CheckedImage, String> {
    if bytes.is_empty() {
        return Err("it has no bytes".to_owned());
    }
    let found = decode_with(&bytes, &options.decoding()).map_err(|error| error.to_string())?;
    let (source_width, source_height) = (found.source_width, found.source_height);
    let checked = CheckedImage {
        id: content_id(&bytes),
        source,
        bytes,
        format: found.format.name(),
        width: source_width,
        height: source_height,
        source_width,
        source_height,
        phash: difference_hash(&found.image),
        truncated: found.truncated.clone(),
    };
    let smaller = options.size.filter(|size| *size < source_width.min(source_height));
    // Readers decode whole images only.
    if smaller.is_none() && options.accepts(found.format) && checked.truncated.is_none() {
        found.reuse();
        return Ok(checked);
    }
    let encoding = options.encoding(found.format, &checked.bytes);
    let again = match smaller {
        Some(size) => {
            let (width, height) = shortest_side(source_width, source_height, size);
            found.resized(width, height).and_then(|smaller| encoded(&smaller, encoding, checked))
        }
        None => encoded(&found.image, encoding, checked),
    };
    found.reuse();
    again.map_err(|error| error.to_string())
}

/// With the bytes of another image.
fn encoded(image: &Rgb, encoding: Encoding, checked: CheckedImage) -> retort_pixels::Result<CheckedImage> {
    let Rgb { width, height, .. } = *image;
    Ok(CheckedImage { bytes: encode(image, encoding)?, format: encoding.format().name(), width, height, ..checked })
}

#[cfg(test)]
mod tests {
    use retort_pixels::{decode, resize};

    use super::*;
    use crate::image_options::{ImageFormatOption, ImageMode};

    fn noise(width: u32, height: u32) -> Rgb {
        let pixel = |i: u32| content_id(&i.to_le_bytes())[0] / 2 + (i / 3 % width) as u8;
        Rgb { width, height, data: (0..width * height * 3).map(pixel).collect() }
    }

    fn encoded(image: &Rgb, encoding: Encoding) -> Vec<u8> {
        encode(image, encoding).unwrap()
    }

    /// With an EXIF segment that says: turn by a quarter clockwise.
    fn turned(jpeg: &[u8]) -> Vec<u8> {
        let exif = b"\xff\xe1\0\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        [&jpeg[..2], exif, &jpeg[2..]].concat()
    }

    fn stored(bytes: &[u8], options: &ImageOptions) -> CheckedImage {
        check("a".to_owned(), bytes.to_vec(), options).unwrap()
    }

    #[test]
    fn by_default_the_bytes_stay_what_they_are() {
        for encoding in [Encoding::Png, Encoding::Jpeg(90), Encoding::Webp(80), Encoding::WebpLossless] {
            let bytes = encoded(&noise(33, 20), encoding);
            let found = stored(&bytes, &ImageOptions::default());
            assert_eq!(found.bytes, bytes);
            assert_eq!((found.format, found.width, found.height), (encoding.format().name(), 33, 20));
            assert_eq!(found.id, content_id(&bytes));
        }
        // Readers turn it: the bytes stay, the size is the upright one.
        let bytes = turned(&encoded(&noise(33, 20), Encoding::Jpeg(90)));
        let found = stored(&bytes, &ImageOptions::default());
        assert_eq!((&found.bytes, found.width, found.height), (&bytes, 20, 33));
        assert_eq!((found.source_width, found.source_height), (20, 33));
    }

    #[test]
    fn a_larger_image_is_made_smaller_in_its_own_format() {
        let options = ImageOptions { size: Some(16), ..ImageOptions::default() };
        let image = noise(64, 40);
        for encoding in [Encoding::Png, Encoding::Jpeg(90), Encoding::Webp(80), Encoding::WebpLossless] {
            let bytes = encoded(&image, encoding);
            let found = stored(&bytes, &options);
            assert_eq!((found.format, found.width, found.height), (encoding.format().name(), 25, 16));
            assert_eq!((found.source_width, found.source_height), (64, 40));
            assert_eq!(found.id, content_id(&bytes), "the id is the source's");
            let pixels = decode(&found.bytes).unwrap();
            assert_eq!((pixels.width, pixels.height), (25, 16));
        }
        let lossless = stored(&encoded(&image, Encoding::Png), &options);
        assert_eq!(decode(&lossless.bytes).unwrap(), resize(&image, 25, 16).unwrap());
        let upright = stored(&turned(&encoded(&image, Encoding::Jpeg(90))), &options);
        assert_eq!((upright.width, upright.height), (16, 25));
        let pixels = decode(&upright.bytes).unwrap();
        assert_eq!((pixels.width, pixels.height), (16, 25), "the orientation is applied once");
    }

    #[test]
    fn a_smaller_image_is_not_touched() {
        let bytes = encoded(&noise(64, 40), Encoding::Jpeg(90));
        for size in [40, 41, 1000] {
            let options = ImageOptions { size: Some(size), ..ImageOptions::default() };
            assert_eq!(stored(&bytes, &options).bytes, bytes);
        }
    }

    #[test]
    fn the_format_is_changed_where_it_is_another() {
        let jpeg = encoded(&noise(20, 20), Encoding::Jpeg(50));
        let png = encoded(&noise(20, 20), Encoding::Png);
        for (format, name) in [
            (ImageFormatOption::Jpeg(90), "jpeg"),
            (ImageFormatOption::Webp(90), "webp"),
            (ImageFormatOption::Png, "png"),
        ] {
            let options = ImageOptions { format, ..ImageOptions::default() };
            for bytes in [&jpeg, &png] {
                let found = stored(bytes, &options);
                assert_eq!(found.format, name);
                let same = retort_pixels::Format::of(bytes).map(|format| format.name()) == Some(name);
                assert_eq!(found.bytes == *bytes, same, "{name}");
            }
        }
    }

    #[test]
    fn fast_gives_the_same_size_and_nearly_the_same_image() {
        let smooth: Vec<u8> = (0..301 * 203 * 3).map(|i| (i / 903 + i / 3 % 301 / 4) as u8).collect();
        let bytes = encoded(&Rgb { width: 301, height: 203, data: smooth }, Encoding::Jpeg(95));
        let exact = ImageOptions { size: Some(40), format: ImageFormatOption::Png, ..ImageOptions::default() };
        let fast = ImageOptions { mode: ImageMode::Fast, ..exact };
        let (exact, fast) = (stored(&bytes, &exact), stored(&bytes, &fast));
        assert_eq!((fast.width, fast.height), (59, 40));
        assert_eq!((fast.source_width, fast.source_height), (301, 203));
        assert_eq!((exact.width, exact.height), (fast.width, fast.height));
        assert_ne!(fast.bytes, exact.bytes);
        let (exact, fast) = (decode(&exact.bytes).unwrap(), decode(&fast.bytes).unwrap());
        let total: u32 = exact.data.iter().zip(&fast.data).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        assert!(total < exact.data.len() as u32 * 3, "{total}");
    }

    #[test]
    fn a_truncated_image_is_lost_or_kept_as_far_as_it_goes() {
        let whole = encoded(&noise(64, 64), Encoding::Jpeg(90));
        let cut = &whole[..whole.len() / 2];
        let error = check("a".to_owned(), cut.to_vec(), &ImageOptions::default()).unwrap_err();
        assert!(error.contains("truncated"), "{error}");
        let found = stored(cut, &ImageOptions { keep_truncated: true, ..ImageOptions::default() });
        assert!(found.truncated.is_some());
        assert_eq!(found.id, content_id(cut));
        assert_eq!((found.format, found.width, found.height), ("jpeg", 64, 64));
        assert!(decode(&found.bytes).is_ok(), "readers find a whole image");
    }

    #[test]
    fn no_bytes_are_no_image() {
        let error = check("a".to_owned(), Vec::new(), &ImageOptions::default()).unwrap_err();
        assert_eq!(error, "it has no bytes");
    }

    #[test]
    fn a_missing_image_is_lost_or_a_row_without_bytes() {
        let lost = |code| ImageBytes::Lost(LostImage { stage: Stage::Read, code, message: "gone".to_owned() });
        let allow = ImageOptions { allow_missing: true, ..ImageOptions::default() };
        let reject = load("a.jpg".to_owned(), lost(Code::ImageMissing), &ImageOptions::default()).unwrap_err();
        assert_eq!(reject.code, Code::ImageMissing);
        let reject = load("a.jpg".to_owned(), lost(Code::ImageUnreadable), &allow).unwrap_err();
        assert_eq!(reject.code, Code::ImageUnreadable, "it is there");
        let row = load("a.jpg".to_owned(), lost(Code::ImageMissing), &allow).unwrap();
        assert_eq!(row.id, content_id(b"missing:a.jpg"));
        assert_eq!((row.format, row.width, row.height, row.source_width), ("missing", 0, 0, 0));
        let error = decode(&row.bytes).unwrap_err();
        assert!(error.to_string().contains("is missing: ingested with --allow-missing-images"), "{error}");
    }
}
