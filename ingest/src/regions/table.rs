//! The tab-separated files of bottom-up attention: a line an image, arrays in base64.
//!
//! | columns | layout |
//! |---|---|
//! | 6, without a header | `image_id image_w image_h num_boxes boxes features` |
//! | 10, without a header | `img_id img_h img_w objects_id objects_conf attrs_id attrs_conf num_boxes boxes features` |
//! | any | a header whose first word is `image_id` or `img_id` names the columns |
//!
//! Boxes (left, top, right, bottom in pixels), features and `objects_conf` are little-endian f32; `objects_id` i64 or
//! i32. Only where the lines lie and the hashes of their ids are held, so that 40 GB of features cost megabytes.

use std::path::Path;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::detections::{Boxes, Classes, Detections, Lost, MOST_REGIONS, Matrix, Unit};
use crate::formats::lines::Lines;
use crate::rejects::Code;
use crate::{Error, Result};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const BOTTOM_UP: [&str; 6] = ["image_id", "image_w", "image_h", "num_boxes", "boxes", "features"];
const LXMERT: [&str; 10] = [
    "img_id",
    "img_h",
    "img_w",
    "objects_id",
    "objects_conf",
    "attrs_id",
    "attrs_conf",
    "num_boxes",
    "boxes",
    "features",
];

/// A file, its lines found.
#[derive(Debug)]
pub(crate) struct Table {
    lines: Lines,
    layout: Layout,
}

/// Which column is which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    id: usize,
    size: Option<[usize; 2]>,
    count: usize,
    boxes: usize,
    features: usize,
    classes: Option<usize>,
    scores: Option<usize>,
}

impl Layout {
    fn of(names: &[&str]) -> Option<Self> {
        let find = |wanted: &[&str]| names.iter().position(|name| wanted.contains(name));
        Some(Self {
            id: find(&["image_id", "img_id"])?,
            size: find(&["image_w", "img_w"]).zip(find(&["image_h", "img_h"])).map(|(width, height)| [width, height]),
            count: find(&["num_boxes"])?,
            boxes: find(&["boxes"])?,
            features: find(&["features"])?,
            classes: find(&["objects_id"]),
            scores: find(&["objects_conf"]),
        })
    }
}

impl Table {
    /// Opens a file, plain or gzip, and names the image of each line that has one, and the line's index.
    pub(crate) fn open(path: &Path, each: impl FnMut(&str, usize)) -> Result<Self> {
        Self::index(path, |line| Lines::open_each(path, line), each)
    }

    /// What a file of these bytes holds.
    pub(crate) fn from_bytes(path: &Path, bytes: &[u8], each: impl FnMut(&str, usize)) -> Result<Self> {
        Self::index(path, |line| Lines::from_bytes(path, bytes, line), each)
    }

    fn index(
        path: &Path,
        open: impl FnOnce(&mut dyn FnMut(&[u8])) -> Result<Lines>,
        mut each: impl FnMut(&str, usize),
    ) -> Result<Self> {
        let mut layout = None;
        let mut line = 0;
        let lines = open(&mut |bytes| {
            let layout = layout.get_or_insert_with(|| layout_of(bytes));
            if let Ok((layout, header)) = layout
                && !(*header && line == 0)
                && let Some(id) = bytes.split(|byte| *byte == b'\t').nth(layout.id)
                && let Ok(id) = std::str::from_utf8(id.trim_ascii())
                && !id.is_empty()
            {
                each(id, line);
            }
            line += 1;
        })?;
        let layout = layout.unwrap_or_else(|| Err("it is empty".to_owned()));
        let (layout, _) = layout.map_err(|problem| Error::NotRegions { path: path.to_owned(), problem })?;
        Ok(Self { lines, layout })
    }

    /// What the file is, wherever it lies.
    pub(crate) fn fingerprint(&self) -> &serde_json::Value {
        &self.lines.fingerprint
    }

    /// Reads a line.
    pub(crate) fn read(&self, line: usize, width: usize) -> Result<Detections, Lost> {
        let number = self.lines.number(line);
        let bytes = self.lines.read(line).map_err(|error| Lost::new(Code::RegionsUnreadable, error.to_string()))?;
        let name = self.lines.path.file_name().unwrap_or_default().to_string_lossy();
        self.layout
            .parse(&bytes, width)
            .map_err(|Lost { code, message }| Lost { code, message: format!("{name}, line {number}: {message}") })
    }
}

/// The layout of a file by its first line, and whether that is a header.
fn layout_of(line: &[u8]) -> Result<(Layout, bool), String> {
    let columns: Vec<_> = line.split(|byte| *byte == b'\t').map(String::from_utf8_lossy).collect();
    let names: Vec<&str> = columns.iter().map(|name| name.trim()).collect();
    let layout = match names.as_slice() {
        ["image_id" | "img_id", ..] => Layout::of(&names).map(|layout| (layout, true)),
        // The last columns of an image without regions are empty, and not told from the end of the line.
        [_, _, _, _] | [_, _, _, _, _, _] => Layout::of(&BOTTOM_UP).map(|layout| (layout, false)),
        other if other.len() == LXMERT.len() => Layout::of(&LXMERT).map(|layout| (layout, false)),
        _ => None,
    };
    layout.ok_or_else(|| {
        let found = match names.first() {
            Some(first @ &("image_id" | "img_id")) => format!("a header of {} names from {first}", names.len()),
            _ => format!("{} columns", names.len()),
        };
        format!("its first line has {found}, expected {} or {}, tab-separated", BOTTOM_UP.join(" "), LXMERT.join(" "))
    })
}

impl Layout {
    fn parse(&self, line: &[u8], width: usize) -> Result<Detections, Lost> {
        let columns: Vec<&[u8]> = line.split(|byte| *byte == b'\t').map(<[u8]>::trim_ascii).collect();
        let column = |at: usize| columns.get(at).copied().unwrap_or_default();
        let number = |name: &str, at: usize| -> Result<f32, Lost> {
            let text = String::from_utf8_lossy(column(at));
            text.parse().map_err(|_| corrupt(format!("{name} is {:?}, expected a number", excerpt(&text))))
        };
        let count = number("num_boxes", self.count)?;
        if !(count >= 0.0 && count.fract() == 0.0 && count <= MOST_REGIONS as f32) {
            let problem = format!("num_boxes is {count}, expected a number up to {MOST_REGIONS}");
            return Err(Lost::new(Code::RegionsCount, problem));
        }
        let count = count as usize;
        let seen = match self.size {
            Some([width, height]) => Some([number("image_w", width)?, number("image_h", height)?]),
            None => None,
        };
        let boxes = floats(&decode("boxes", column(self.boxes), count, 4 * size_of::<f32>())?);
        let features = self.features(column(self.features), count, width)?;
        let given = |at: Option<usize>| at.map(column).filter(|column| !column.is_empty());
        let classes = given(self.classes).map(|text| ids(text, count).map(Classes::Ids)).transpose()?;
        let scores =
            given(self.scores).map(|text| decode("objects_conf", text, count, size_of::<f32>())).transpose()?;
        Ok(Detections {
            features: Matrix { rows: count, columns: width, floats: features },
            boxes: Some(Boxes { corners: Matrix { rows: count, columns: 4, floats: boxes }, unit: Unit::Pixels(seen) }),
            count: Some(count),
            classes,
            scores: scores.map(|scores| floats(&scores)),
        })
    }

    fn features(&self, text: &[u8], count: usize, width: usize) -> Result<Vec<f32>, Lost> {
        let bytes = decoded_bytes(strip(text));
        let vector = count * size_of::<f32>();
        // A whole number of floats a region, and another one than asked for: vectors of another width.
        if count > 0 && bytes != vector * width && bytes > 0 && bytes.is_multiple_of(vector) {
            let problem = format!("its feature vectors have {} elements, expected {width}", bytes / vector);
            return Err(Lost::new(Code::RegionsWidth, problem));
        }
        Ok(floats(&decode("features", text, count, width * size_of::<f32>())?))
    }
}

fn ids(text: &[u8], count: usize) -> Result<Vec<f32>, Lost> {
    if decoded_bytes(strip(text)) == count * size_of::<i64>() {
        let bytes = decode("objects_id", text, count, size_of::<i64>())?;
        return Ok(bytes.as_chunks::<8>().0.iter().map(|id| i64::from_le_bytes(*id) as f32).collect());
    }
    let bytes = decode("objects_id", text, count, size_of::<i32>())?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|id| i32::from_le_bytes(*id) as f32).collect())
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|float| f32::from_le_bytes(*float)).collect()
}

/// Decodes one column: `count` regions of so many bytes each.
fn decode(name: &str, text: &[u8], count: usize, region_bytes: usize) -> Result<Vec<u8>, Lost> {
    let text = strip(text);
    let expected = count * region_bytes;
    let found = decoded_bytes(text);
    if found != expected {
        let code = match found.is_multiple_of(region_bytes) && found > 0 {
            true => Code::RegionsCount,
            false => Code::RegionsCorrupt,
        };
        let problem = format!("{name} has {found} bytes, expected {expected}: {count} regions of {region_bytes}");
        return Err(Lost::new(code, problem));
    }
    BASE64.decode(text).map_err(|error| corrupt(format!("{name} is not base64: {error}")))
}

/// Bytes that a text of base64 decodes to.
fn decoded_bytes(text: &[u8]) -> usize {
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    (text.len() - padding) * 3 / 4
}

/// Without the b'...' that Python 3 writes around bytes that were not made text first.
fn strip(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"b'").and_then(|text| text.strip_suffix(b"'")).unwrap_or(text)
}

fn corrupt(problem: impl Into<String>) -> Lost {
    Lost::new(Code::RegionsCorrupt, problem)
}

fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}
