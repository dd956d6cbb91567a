//! What is done to images on their way into the data set.

use std::fmt;
use std::str::FromStr;

use retort_pixels::{Decoding, Encoding, Format, own_encoding};
use serde_json::{Map, Value};

use crate::Error;

/// How images are stored. By default as they were found, byte for byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImageOptions {
    /// Pixels that the shorter side is brought down to; a smaller image is not enlarged.
    pub size: Option<u32>,
    /// What they are encoded as.
    pub format: ImageFormatOption,
    /// How exactly they are made smaller.
    pub mode: ImageMode,
    /// Keep an image that is cut short, as far as it goes, instead of rejecting it.
    pub keep_truncated: bool,
    /// Keep an image that is not there as a row without bytes, so that its samples stay.
    pub allow_missing: bool,
}

/// What an image is stored as. One that is not made smaller and has the format already keeps its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImageFormatOption {
    /// What it was found as. Made smaller, a JPEG or a lossy WebP is encoded again with quality 95, a lossless WebP and
    /// a PNG without loss; of other formats it becomes PNG.
    #[default]
    Original,
    /// JPEG of this quality, 1 to 100.
    Jpeg(u8),
    /// Lossy WebP of this quality, 0 to 100.
    Webp(u8),
    /// PNG.
    Png,
}

/// How an image is made smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImageMode {
    /// As Pillow does it, bit for bit.
    #[default]
    Exact,
    /// A JPEG is decoded at a half, a quarter or an eighth of its size first, as long as it stays at least as large as
    /// is wanted. On photos of COCO a pixel is then 1 to 2 levels off on average.
    Fast,
}

impl ImageOptions {
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.size {
            Some(0) => Err(invalid("image size", "0", "an image has a pixel at least")),
            _ => Ok(()),
        }
    }

    /// What of this decides the bytes, if anything.
    pub(crate) fn stored(&self) -> Option<Value> {
        let mut stored = Map::new();
        let mut put = |key: &str, value: Value| stored.insert(key.to_owned(), value);
        if let Some(size) = self.size {
            put("size", size.into());
            if self.mode != ImageMode::default() {
                put("mode", self.mode.to_string().into());
            }
        }
        if self.format != ImageFormatOption::default() {
            put("format", self.format.to_string().into());
        }
        for (key, value) in [("keep_truncated", self.keep_truncated), ("allow_missing", self.allow_missing)] {
            if value {
                put(key, true.into());
            }
        }
        (!stored.is_empty()).then_some(Value::Object(stored))
    }

    pub(crate) fn decoding(&self) -> Decoding {
        let shrink_to = self.size.filter(|_| self.mode == ImageMode::Fast);
        Decoding { keep_truncated: self.keep_truncated, shrink_to, ..Decoding::default() }
    }

    /// How an image that was found like this is encoded again.
    pub(crate) fn encoding(&self, found: Format, bytes: &[u8]) -> Encoding {
        match self.format {
            ImageFormatOption::Original => own_encoding(found, bytes),
            ImageFormatOption::Jpeg(quality) => Encoding::Jpeg(quality),
            ImageFormatOption::Webp(quality) => Encoding::Webp(quality),
            ImageFormatOption::Png => Encoding::Png,
        }
    }

    /// Whether an image has the format that is wanted.
    pub(crate) fn accepts(&self, found: Format) -> bool {
        match self.format {
            ImageFormatOption::Original => true,
            ImageFormatOption::Jpeg(_) => found == Format::Jpeg,
            ImageFormatOption::Webp(_) => found == Format::Webp,
            ImageFormatOption::Png => found == Format::Png,
        }
    }
}

fn invalid(option: &'static str, value: &str, problem: &str) -> Error {
    Error::InvalidOption { option, value: value.to_owned(), problem: problem.to_owned() }
}

impl fmt::Display for ImageFormatOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Original => f.write_str("original"),
            Self::Jpeg(quality) => write!(f, "jpeg:{quality}"),
            Self::Webp(quality) => write!(f, "webp:{quality}"),
            Self::Png => f.write_str("png"),
        }
    }
}

impl FromStr for ImageFormatOption {
    type Err = Error;

    /// Reads `original`, `jpeg:95`, `webp:80` or `png`.
    fn from_str(word: &str) -> Result<Self, Error> {
        let quality = |number: &str, least: u8| number.parse().ok().filter(|number| (least..=100).contains(number));
        let format = match word.split_once(':') {
            None if word == "original" => Some(Self::Original),
            None if word == "png" => Some(Self::Png),
            Some(("jpeg", number)) => quality(number, 1).map(Self::Jpeg),
            Some(("webp", number)) => quality(number, 0).map(Self::Webp),
            _ => None,
        };
        format.ok_or_else(|| invalid("image format", word, "expected original, jpeg:1 to 100, webp:0 to 100 or png"))
    }
}

impl fmt::Display for ImageMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "exact",
            Self::Fast => "fast",
        })
    }
}

impl FromStr for ImageMode {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        match word {
            "exact" => Ok(Self::Exact),
            "fast" => Ok(Self::Fast),
            _ => Err(invalid("image mode", word, "expected exact or fast")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn formats_and_modes_are_read_as_they_are_written() -> Result<(), Error> {
        for format in ["original", "jpeg:1", "jpeg:100", "webp:0", "webp:80", "png"] {
            assert_eq!(format.parse::<ImageFormatOption>()?.to_string(), format);
        }
        for word in ["", "jpeg", "jpeg:", "jpeg:0", "jpeg:101", "webp:101", "webp:-1", "png:9", "gif", "JPEG:95"] {
            assert!(word.parse::<ImageFormatOption>().is_err(), "{word}");
        }
        for mode in ["exact", "fast"] {
            assert_eq!(mode.parse::<ImageMode>()?.to_string(), mode);
        }
        assert!("quick".parse::<ImageMode>().is_err());
        Ok(())
    }

    #[test]
    fn only_what_decides_the_bytes_is_stored() {
        assert_eq!(ImageOptions::default().stored(), None);
        let fast = ImageOptions { mode: ImageMode::Fast, ..ImageOptions::default() };
        assert_eq!(fast.stored(), None, "without a size nothing is made smaller");
        let all = ImageOptions {
            size: Some(256),
            format: ImageFormatOption::Jpeg(90),
            mode: ImageMode::Fast,
            keep_truncated: true,
            allow_missing: true,
        };
        let expected = json!({
            "size": 256, "mode": "fast", "format": "jpeg:90", "keep_truncated": true, "allow_missing": true,
        });
        assert_eq!(all.stored(), Some(expected));
    }

    #[test]
    fn a_size_of_nothing_is_refused() {
        assert!(ImageOptions { size: Some(0), ..ImageOptions::default() }.check().is_err());
        assert!(ImageOptions { size: Some(1), ..ImageOptions::default() }.check().is_ok());
    }
}
