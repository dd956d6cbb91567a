//! How large an image may be, checked before anything is allocated: a file of a few bytes can claim to be huge.

use crate::{Error, Result};

/// Largest file that is read: an encoded image is smaller than a decoded one.
pub const LARGEST_FILE_BYTES: u64 = 512 << 20;

/// Decoded bytes that any file may claim, however small it is: 16 megapixels of RGB. An empty picture of that size is
/// a few hundred bytes of WebP.
const ALWAYS_BYTES: u64 = 48 << 20;

/// What an image may be at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Pixels of its longer side.
    pub longest_side: u32,
    /// Pixels in all. Pillow refuses images with more.
    pub pixels: u64,
    /// Decoded bytes a byte of the file, for images of more than 16 megapixels: neither JPEG nor PNG reaches more than
    /// about 1,030.
    pub expansion: u64,
    /// Memory that a decoder may take: the pixels, and the coefficients of a progressive JPEG, four times as much.
    pub memory_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Limits {
    /// Those of [`crate::decode()`].
    pub const DEFAULT: Self =
        Self { longest_side: 20_000, pixels: 178_956_970, expansion: 2_000, memory_bytes: 1 << 30 };

    /// Whether a file of this many bytes may hold an image of this size.
    pub(crate) fn check(&self, width: u32, height: u32, file_bytes: usize) -> Result<()> {
        let refuse = |problem: String| Err(Error::TooLarge { problem });
        if width.max(height) > self.longest_side {
            return refuse(format!("it is {width}x{height}, expected sides of {} at most", self.longest_side));
        }
        let pixels = u64::from(width) * u64::from(height);
        if pixels > self.pixels {
            return refuse(format!("it is {width}x{height}, expected {} pixels at most", self.pixels));
        }
        let decoded = pixels * 3;
        if decoded > ALWAYS_BYTES && decoded / self.expansion.max(1) > file_bytes as u64 {
            let ratio = self.expansion;
            return refuse(format!(
                "{file_bytes} bytes claim to be {width}x{height}, expected {ratio} decoded bytes a byte at most"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_the_pixels_and_the_expansion_are_limited() {
        let limits = Limits::default();
        assert!(limits.check(20_000, 8_947, 1 << 20).is_ok());
        assert!(limits.check(20_001, 1, 1 << 20).is_err());
        assert!(limits.check(20_000, 8_948, 1 << 20).is_err());
        assert!(limits.check(13_000, 13_000, 400).is_err(), "a few hundred bytes that claim 169 megapixels");
        assert!(limits.check(13_000, 13_000, 253_500).is_ok());
        assert!(limits.check(4096, 4096, 40).is_ok());
    }
}
