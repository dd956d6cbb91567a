//! Which way up an image is.

use image::metadata;

use crate::Rgb;

/// What has to be done to the stored pixels so that the image is upright: the eight values of EXIF.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Orientation {
    /// 1: nothing.
    #[default]
    Upright,
    /// 2: mirror left and right.
    FlipHorizontal,
    /// 3: turn by half.
    Rotate180,
    /// 4: mirror top and bottom.
    FlipVertical,
    /// 5: mirror along the diagonal from the top left.
    Transpose,
    /// 6: turn by a quarter clockwise.
    Rotate90,
    /// 7: mirror along the diagonal from the top right.
    Transverse,
    /// 8: turn by a quarter counter-clockwise.
    Rotate270,
}

/// Pixels of a side of the squares in which an image is turned: both of them stay in the cache.
const TILE: usize = 32;

impl Orientation {
    /// By the number that EXIF gives it.
    pub fn of_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Upright,
            2 => Self::FlipHorizontal,
            3 => Self::Rotate180,
            4 => Self::FlipVertical,
            5 => Self::Transpose,
            6 => Self::Rotate90,
            7 => Self::Transverse,
            8 => Self::Rotate270,
            _ => return None,
        })
    }

    /// As the metadata tell it: EXIF, else XMP, else upright. The order is Pillow's.
    pub(crate) fn of_metadata(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Self {
        let exif = exif.map(|exif| exif.strip_prefix(b"Exif\0\0").unwrap_or(exif));
        let number = exif.and_then(metadata::Orientation::from_exif_chunk).map(metadata::Orientation::to_exif);
        number.or_else(|| xmp.and_then(number_of_xmp)).and_then(Self::of_number).unwrap_or_default()
    }

    /// Whether width and height change places.
    pub fn swaps_sides(self) -> bool {
        matches!(self, Self::Transpose | Self::Rotate90 | Self::Transverse | Self::Rotate270)
    }

    /// Width and height of the upright image.
    pub fn upright_size(self, width: u32, height: u32) -> (u32, u32) {
        if self.swaps_sides() { (height, width) } else { (width, height) }
    }

    /// Where the top left part of this width and height of an image lies in the upright one: left, top, right, bottom.
    pub(crate) fn upright_part(self, [width, height]: [f64; 2], size: [u32; 2]) -> [f64; 4] {
        let size = size.map(f64::from);
        let from_right = [size[0] - width, size[0]];
        let from_bottom = [size[1] - height, size[1]];
        let ([left, right], [top, bottom]) = match self {
            Self::Upright => ([0.0, width], [0.0, height]),
            Self::FlipHorizontal => (from_right, [0.0, height]),
            Self::Rotate180 => (from_right, from_bottom),
            Self::FlipVertical => ([0.0, width], from_bottom),
            Self::Transpose => ([0.0, height], [0.0, width]),
            Self::Rotate90 => (from_bottom, [0.0, width]),
            Self::Transverse => (from_bottom, from_right),
            Self::Rotate270 => ([0.0, height], from_right),
        };
        [left, top, right, bottom]
    }

    /// The upright image.
    pub fn apply(self, image: Rgb) -> Rgb {
        if self == Self::Upright {
            return image;
        }
        let (from_width, from_height) = (image.width as usize, image.height as usize);
        let (width, height) = self.upright_size(image.width, image.height);
        let mut data = vec![0; image.data.len()];
        let (columns, rows) = (width as usize, height as usize);
        for top in (0..rows).step_by(TILE) {
            for left in (0..columns).step_by(TILE) {
                for y in top..rows.min(top + TILE) {
                    for x in left..columns.min(left + TILE) {
                        let (from_x, from_y) = match self {
                            Self::Upright => (x, y),
                            Self::FlipHorizontal => (from_width - 1 - x, y),
                            Self::Rotate180 => (from_width - 1 - x, from_height - 1 - y),
                            Self::FlipVertical => (x, from_height - 1 - y),
                            Self::Transpose => (y, x),
                            Self::Rotate90 => (y, from_height - 1 - x),
                            Self::Transverse => (from_width - 1 - y, from_height - 1 - x),
                            Self::Rotate270 => (from_width - 1 - y, x),
                        };
                        let (to, from) = ((y * columns + x) * 3, (from_y * from_width + from_x) * 3);
                        data[to..to + 3].copy_from_slice(&image.data[from..from + 3]);
                    }
                }
            }
        }
        Rgb { width, height, data }
    }
}

/// `tiff:Orientation="6"` or `<tiff:Orientation>6<`.
fn number_of_xmp(packet: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    let mut rest = packet;
    while let Some(at) = rest.windows(NAME.len()).position(|window| window == NAME) {
        rest = &rest[at + NAME.len()..];
        let value = rest.strip_prefix(b"=\"").or_else(|| rest.strip_prefix(b">"));
        if let Some(digit) = value.and_then(|value| value.first()).filter(|digit| digit.is_ascii_digit()) {
            return Some(digit - b'0');
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The letter F, 3 wide and 5 high, as rows of text.
    const F: [&str; 5] = ["###", "#..", "##.", "#..", "#.."];

    fn drawn(rows: &[&str]) -> Rgb {
        let data = rows.concat().bytes().flat_map(|dot| [dot; 3]).collect();
        Rgb { width: rows[0].len() as u32, height: rows.len() as u32, data }
    }

    #[test]
    fn all_eight_make_the_letter_upright() {
        let stored: [&[&str]; 8] = [
            &F,
            &["###", "..#", ".##", "..#", "..#"],
            &["..#", "..#", ".##", "..#", "###"],
            &["#..", "#..", "##.", "#..", "###"],
            &["#####", "#.#..", "#...."],
            &["#....", "#.#..", "#####"],
            &["....#", "..#.#", "#####"],
            &["#####", "..#.#", "....#"],
        ];
        for (number, stored) in (1..).zip(stored) {
            let orientation = Orientation::of_number(number).unwrap();
            assert_eq!(orientation.apply(drawn(stored)), drawn(&F), "{number}");
        }
        assert_eq!(Orientation::of_number(0), None);
        assert_eq!(Orientation::of_number(9), None);
    }

    #[test]
    fn a_large_image_is_turned_whole() {
        let (width, height) = (70_u32, 45_u32);
        let data = (0..width * height).flat_map(|i| [(i % 251) as u8, (i / 251) as u8, 7]).collect();
        let image = Rgb { width, height, data };
        let turned = Orientation::Rotate90.apply(image.clone());
        assert_eq!((turned.width, turned.height), (45, 70));
        assert_eq!(Orientation::Rotate270.apply(turned), image);
    }

    #[test]
    fn a_part_of_an_image_is_turned_with_it() {
        // A frame of one dot in a corner that the part leaves out.
        for number in 1..=8 {
            let orientation = Orientation::of_number(number).unwrap();
            let upright = orientation.apply(drawn(&["..+", "..+", "..+", "+++"]));
            let [left, top, right, bottom] = orientation.upright_part([2.0, 3.0], [3, 4]).map(|at| at as usize);
            let inside = |at: usize| {
                let (x, y) = (at % upright.width as usize, at / upright.width as usize);
                (left..right).contains(&x) && (top..bottom).contains(&y)
            };
            for (at, dot) in upright.data.chunks_exact(3).enumerate() {
                assert_eq!(dot[0] == b'.', inside(at), "{number}, dot {at}");
            }
        }
    }

    #[test]
    fn exif_goes_before_xmp() {
        let xmp: &[u8] = br#"<rdf:Description tiff:Orientation="3"/>"#;
        let element: &[u8] = b"<tiff:Orientation>8</tiff:Orientation>";
        // Little-endian TIFF, one entry: orientation, one short, 6.
        let exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        assert_eq!(Orientation::of_metadata(None, None), Orientation::Upright);
        assert_eq!(Orientation::of_metadata(None, Some(xmp)), Orientation::Rotate180);
        assert_eq!(Orientation::of_metadata(None, Some(element)), Orientation::Rotate270);
        assert_eq!(Orientation::of_metadata(Some(exif), Some(xmp)), Orientation::Rotate90);
        assert_eq!(Orientation::of_metadata(Some(b"Exif\0\0II"), None), Orientation::Upright);
    }
}
