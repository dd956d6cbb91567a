//! Images as they stand on a page: decoded, made as small as they are shown, and inside it once.
//!
//! ```text
//! bytes of a row --> retort-pixels: the first frame, upright, without alpha --> 320 pixels --> WebP --\
//!                                                                                                     |
//! <svg><defs><image id="p0" href="data:image/webp;...">  at the end of the page: each image once  <--/
//! <svg role="img" aria-label="..."><use href="#p0">      wherever it is shown
//! ```
//!
//! So every format is shown that a data set can hold, however large its files are, and as teachers and students see it.

use std::collections::HashMap;

use arrow::array::{Array, BinaryArray, FixedSizeBinaryArray, StringArray, UInt32Array};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use retort_cache::{Columns, Dataset, Result, column};
use retort_pixels::{Decoding, Encoding, Error, decode_with, encode};
use retort_schemas::manifest::Shard;
use retort_schemas::tables::images;

use crate::text::escape;

/// Images up to this side are icons: stored without loss, and shown larger, with their pixels.
const SMALL: u32 = 96;
/// Pixels of the longer side of an image on the page: what the widest place for one takes on a sharp screen.
const LARGEST: u32 = 320;
/// Quality of WebP, of 100.
const QUALITY: u8 = 72;

/// A box to draw over an image, in pixels of its source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Frame {
    /// Number of its colour.
    pub(crate) colour: usize,
    /// Left, top, right, bottom.
    pub(crate) corners: [f32; 4],
}

/// An image as it stands on the page.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    /// Where the image comes from: what is said of it where nothing else is.
    name: String,
    shown: Shown,
}

#[derive(Debug, Clone, PartialEq)]
enum Shown {
    /// One of the gallery's.
    Image {
        number: usize,
        /// Width and height on the page, in pixels.
        size: [u32; 2],
        /// Of the source, whose pixels boxes are told in.
        source: [u32; 2],
    },
    /// Words in its place.
    Instead(&'static str),
}

impl Picture {
    /// The image in its frame.
    pub(crate) fn html(&self, alt: &str) -> String {
        self.html_with(alt, &[])
    }

    /// The image in its frame, with boxes over it.
    pub(crate) fn html_with(&self, alt: &str, frames: &[Frame]) -> String {
        let (number, [width, height], source) = match self.shown {
            Shown::Image { number, size, source } => (number, size, source),
            Shown::Instead(words) => {
                return format!("<div class=\"picture\"><span class=\"soft\">{words}</span></div>");
            }
        };
        let class = if width.max(height) <= SMALL { "small" } else { "shot" };
        let alt = if alt.trim().is_empty() { &self.name } else { alt };
        let frames: String = frames.iter().map(|frame| rectangle(frame, [width, height], source)).collect();
        format!(
            "<div class=\"picture\"><svg class=\"{class}\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {width} {height}\">\
             <use href=\"#p{number}\"/>{frames}</svg></div>",
            escape(alt)
        )
    }
}

/// A box, as far as it lies in the image.
fn rectangle(frame: &Frame, size: [u32; 2], source: [u32; 2]) -> String {
    let place = |at: usize| {
        let (side, of) = (f64::from(size[at % 2]), f64::from(source[at % 2].max(1)));
        (f64::from(frame.corners[at]) * side / of).clamp(0.0, side)
    };
    let [left, top, right, bottom] = [0, 1, 2, 3].map(place);
    if ![left, top, right, bottom].iter().all(|corner| corner.is_finite()) {
        return String::new();
    }
    let (width, height) = ((right - left).max(0.0), (bottom - top).max(0.0));
    format!(
        "<rect class=\"box c{}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>",
        frame.colour
    )
}

/// The images of a page, each once.
#[derive(Debug, Default)]
pub(crate) struct Gallery {
    known: HashMap<Vec<u8>, Picture>,
    /// The definitions, by number.
    images: Vec<String>,
}

impl Gallery {
    /// The images of some rows of a shard's images, in the order asked for.
    ///
    /// # Errors
    /// As [`Dataset::read_rows`]. An image that cannot be decoded has words in its place.
    pub(crate) fn read(&mut self, dataset: &Dataset, shard: &Shard, rows: &[usize]) -> Result<Vec<Picture>> {
        let wanted = [
            images::IMAGE_ID,
            images::SOURCE,
            images::BYTES,
            images::WIDTH,
            images::HEIGHT,
            images::SOURCE_WIDTH,
            images::SOURCE_HEIGHT,
        ];
        let batch = dataset.read_rows(shard, images::NAME, Columns::Named(&wanted), rows)?;
        let ids: &FixedSizeBinaryArray = column(&batch, images::IMAGE_ID)?;
        let names: &StringArray = column(&batch, images::SOURCE)?;
        let bytes: &BinaryArray = column(&batch, images::BYTES)?;
        let number = |name| column::<UInt32Array>(&batch, name);
        let (width, height) = (number(images::WIDTH)?, number(images::HEIGHT)?);
        let (source_width, source_height) = (number(images::SOURCE_WIDTH)?, number(images::SOURCE_HEIGHT)?);
        let picture = |at| {
            let size = [width.value(at), height.value(at)];
            let source = [source_width.value(at), source_height.value(at)];
            self.add(ids.value(at), names.value(at), bytes.value(at), size, source)
        };
        Ok((0..ids.len()).map(picture).collect())
    }

    fn add(&mut self, id: &[u8], name: &str, bytes: &[u8], size: [u32; 2], source: [u32; 2]) -> Picture {
        if let Some(known) = self.known.get(id) {
            return known.clone();
        }
        let shown = match small(bytes, size) {
            Ok((webp, [width, height])) => {
                let number = self.images.len();
                self.images.push(format!(
                    "<image id=\"p{number}\" width=\"{width}\" height=\"{height}\" href=\"data:image/webp;base64,{}\"/>",
                    STANDARD.encode(webp)
                ));
                Shown::Image { number, size: [width, height], source }
            }
            Err(Error::Missing) => Shown::Instead("no image"),
            Err(Error::TooLarge { .. }) => Shown::Instead("too large to be decoded"),
            Err(_) => Shown::Instead("cannot be decoded"),
        };
        let picture = Picture { name: name.to_owned(), shown };
        self.known.insert(id.to_vec(), picture.clone());
        picture
    }

    /// All of them, for the end of the page.
    pub(crate) fn html(&self) -> String {
        if self.images.is_empty() {
            return String::new();
        }
        let images = self.images.concat();
        format!("<svg class=\"gallery\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs>{images}</defs></svg>\n")
    }
}

/// An image of at most [`LARGEST`] pixels a side as WebP, and its width and height.
fn small(bytes: &[u8], [width, height]: [u32; 2]) -> retort_pixels::Result<(Vec<u8>, [u32; 2])> {
    let [wide, high] = fitted(width, height);
    let shrink_to = Some(wide.min(high));
    let decoded = decode_with(bytes, &Decoding { keep_truncated: true, shrink_to, ..Decoding::default() })?;
    let [width, height] = fitted(decoded.source_width, decoded.source_height);
    let image = match [decoded.image.width, decoded.image.height] == [width, height] {
        true => decoded.image,
        false => decoded.resized(width, height)?,
    };
    let encoding = if width.max(height) <= SMALL { Encoding::WebpLossless } else { Encoding::Webp(QUALITY) };
    Ok((encode(&image, encoding)?, [width, height]))
}

/// Width and height that fit the page, in proportion; none is 0.
fn fitted(width: u32, height: u32) -> [u32; 2] {
    let longest = u64::from(width.max(height).max(1));
    let most = longest.min(u64::from(LARGEST));
    [width, height].map(|side| ((u64::from(side) * most + longest / 2) / longest).max(1) as u32)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{ImageFormat, Rgb, RgbImage};
    use retort_pixels::decode;

    use super::*;

    /// A red image with a blue right half, in this format.
    fn halves(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let image =
            RgbImage::from_fn(width, height, |x, _| Rgb(if x * 2 < width { [200, 30, 30] } else { [30, 30, 200] }));
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn add(gallery: &mut Gallery, id: u8, bytes: &[u8], size: [u32; 2]) -> Picture {
        gallery.add(&[id; 16], "a \"b\".png", bytes, size, size)
    }

    /// The pixels of the definition of this number.
    fn defined(gallery: &Gallery, number: usize) -> retort_pixels::Rgb {
        let encoded = gallery.images[number].split_once("base64,").unwrap().1.trim_end_matches("\"/>");
        decode(&STANDARD.decode(encoded).unwrap()).unwrap()
    }

    #[test]
    fn an_image_is_defined_once_and_used_wherever_it_is_shown() {
        let mut gallery = Gallery::default();
        let bytes = halves(200, 100, ImageFormat::Png);
        let first = add(&mut gallery, 1, &bytes, [200, 100]).html("a <b>");
        let second = add(&mut gallery, 1, &bytes, [200, 100]).html("");
        let other = add(&mut gallery, 2, &bytes, [200, 100]).html("c");
        assert_eq!(
            first,
            "<div class=\"picture\"><svg class=\"shot\" role=\"img\" aria-label=\"a &lt;b&gt;\" viewBox=\"0 0 200 100\">\
             <use href=\"#p0\"/></svg></div>"
        );
        // Without words of its own an image is told by its name.
        assert!(second.contains("aria-label=\"a &quot;b&quot;.png\"") && second.contains("#p0\""), "{second}");
        assert!(other.contains("#p1\""), "{other}");
        assert_eq!(gallery.html().matches("<image id=").count(), 2);
        assert_eq!(Gallery::default().html(), "");
    }

    #[test]
    fn large_files_of_every_format_are_shown_small() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Tiff, ImageFormat::Bmp, ImageFormat::Gif] {
            let mut gallery = Gallery::default();
            let bytes = halves(1600, 1000, format);
            let html = add(&mut gallery, 1, &bytes, [1600, 1000]).html("");
            assert!(html.contains("viewBox=\"0 0 320 200\""), "{format:?}: {html}");
            assert!(gallery.images[0].len() < 8_000, "{format:?}: {} bytes", gallery.images[0].len());
            let shown = defined(&gallery, 0);
            assert_eq!((shown.width, shown.height), (320, 200));
            let pixel = |x: usize| &shown.data[(100 * 320 + x) * 3..][..3];
            assert!(pixel(20)[0] > 150 && pixel(20)[2] < 90, "{format:?}: {:?}", pixel(20));
            assert!(pixel(300)[2] > 150 && pixel(300)[0] < 90, "{format:?}: {:?}", pixel(300));
        }
    }

    #[test]
    fn icons_keep_their_pixels_and_a_strip_its_thickness() {
        let mut gallery = Gallery::default();
        let bytes = halves(64, 48, ImageFormat::Png);
        let html = add(&mut gallery, 1, &bytes, [64, 48]).html("");
        assert!(html.contains("<svg class=\"small\""), "{html}");
        assert_eq!(defined(&gallery, 0), decode(&bytes).unwrap());
        let html = add(&mut gallery, 2, &halves(4000, 2, ImageFormat::Png), [4000, 2]).html("");
        assert!(html.contains("viewBox=\"0 0 320 1\""), "{html}");
    }

    #[test]
    fn what_cannot_be_shown_is_told_in_its_place() {
        let mut gallery = Gallery::default();
        for (id, bytes, told) in [(0, &b""[..], "no image"), (1, b"not an image", "cannot be decoded")] {
            let html = add(&mut gallery, id, bytes, [0, 0]).html("");
            assert!(html.contains(told) && !html.contains("<svg"), "{html}");
        }
        assert_eq!(gallery.html(), "");
    }

    #[test]
    fn boxes_are_told_in_pixels_of_the_source_and_end_at_the_edge() {
        let mut gallery = Gallery::default();
        let bytes = halves(640, 320, ImageFormat::Png);
        // The data set has the image at half its size.
        let picture = gallery.add(&[1; 16], "", &bytes, [640, 320], [1280, 640]);
        let html = picture.html_with("", &[Frame { colour: 3, corners: [128.0, 64.0, 2000.0, 320.0] }]);
        assert!(
            html.contains("<rect class=\"box c3\" x=\"32.0\" y=\"16.0\" width=\"288.0\" height=\"64.0\"/>"),
            "{html}"
        );
        let nowhere = picture.html_with("", &[Frame { colour: 0, corners: [f32::NAN; 4] }]);
        assert!(!nowhere.contains("<rect"), "{nowhere}");
    }
}
