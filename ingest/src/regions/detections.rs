//! What a detector said of one image, checked against the image and turned into regions.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::npy::transposed;
use crate::rejects::Code;
use crate::{Region, RegionFeatures, Regions};

/// Most regions of an image: detectors keep up to a hundred, grids of features have some thousand cells.
pub(crate) const MOST_REGIONS: usize = 4096;
/// How far a box may be beyond its image, or from the box it should be: a share of the image's side, for boxes in half
/// precision, and pixels, for rounding.
const SLACK_SHARE: f32 = 0.01;
const SLACK_PIXELS: f32 = 2.0;

/// Why an image has no regions; the image itself is kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub code: Code,
    pub message: String,
}

impl Lost {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Numbers in rows and columns.
#[derive(Debug, Default)]
pub(crate) struct Matrix {
    pub rows: usize,
    pub columns: usize,
    pub floats: Vec<f32>,
}

/// What a detector said, as it was stored.
#[derive(Debug, Default)]
pub(crate) struct Detections {
    pub features: Matrix,
    pub boxes: Option<Boxes>,
    /// How many of the rows are regions, where that is told: the rest is padding.
    pub count: Option<usize>,
    pub classes: Option<Classes>,
    pub scores: Option<Vec<f32>>,
}

/// Boxes: left, top, right, bottom are the first of the columns.
#[derive(Debug)]
pub(crate) struct Boxes {
    pub corners: Matrix,
    pub unit: Unit,
}

/// What the corners of boxes are measured in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Unit {
    /// Pixels of the image that the detector saw, and its width and height where they are told.
    Pixels(Option<[f32; 2]>),
    /// Shares of its width and height.
    Shares,
}

/// What was found, by number.
#[derive(Debug)]
pub(crate) enum Classes {
    /// A class a region.
    Ids(Vec<f32>),
    /// A score a region and class.
    Scores(Matrix),
}

/// Name and score of a class, as far as they are known.
type Named = (Option<String>, Option<f32>);

/// What every image's detections are checked against.
#[derive(Debug)]
pub(crate) struct Expected {
    /// Elements of a feature vector.
    pub width: usize,
    /// Names of the classes, if they were given.
    pub classes: Option<Vec<String>>,
}

impl Expected {
    /// The regions of an image of this size. `own` are those that its source has already: texts refer to them by index,
    /// so they stay what they are, and the features must be theirs.
    pub(crate) fn check(&self, found: Detections, size: [u32; 2], own: Option<&Regions>) -> Result<Regions, Lost> {
        let Detections { features, boxes, count, classes, scores } = found;
        let features = self.oriented(features, boxes.as_ref().map(|boxes| boxes.corners.rows).or(count))?;
        let rows = features.rows;
        if rows > MOST_REGIONS {
            return Err(Lost::new(
                Code::RegionsCount,
                format!("it has {rows} regions, expected {MOST_REGIONS} at most"),
            ));
        }
        let same = |what: &str, found: usize| match found == rows {
            true => Ok(()),
            false => Err(Lost::new(Code::RegionsCount, format!("it has {rows} feature vectors and {found} {what}"))),
        };
        let count = match count {
            Some(count) if count > rows => return Err(count_differs(count, rows)),
            count => count.unwrap_or(rows),
        };
        let halves = halves(&features.floats[..count * self.width])?;
        let corners = match boxes {
            Some(boxes) => {
                same("boxes", boxes.corners.rows)?;
                boxes.in_pixels(size.map(|side| side as f32), count)?
            }
            None => Vec::new(),
        };
        let mut named: Vec<Named> = vec![(None, None); count];
        if let Some(classes) = classes {
            same("classes", classes.rows())?;
            if let Some(known) = &self.classes {
                named = classes.named(known, count)?;
            }
        }
        if let Some(scores) = scores {
            same("scores", scores.len())?;
            named.iter_mut().zip(scores).for_each(|((_, score), given)| *score = Some(given));
        }
        if named.iter().filter_map(|(_, score)| *score).any(|score| !score.is_finite()) {
            return Err(Lost::new(Code::RegionsNotFinite, "a score is no finite number"));
        }
        let boxes = match own.filter(|own| !own.boxes.is_empty()) {
            Some(own) => fitted(&own.boxes, &corners, count, size)?,
            None => {
                let region = |(corners, (class, score))| Region { corners, class, score };
                corners.into_iter().zip(named).map(region).collect()
            }
        };
        Ok(Regions { boxes, features: Some(RegionFeatures { width: self.width, halves }) })
    }

    /// Feature vectors as rows: some extractions store them as columns.
    fn oriented(&self, features: Matrix, regions: Option<usize>) -> Result<Matrix, Lost> {
        let Matrix { rows, columns, floats } = features;
        if columns == self.width || rows == 0 {
            return Ok(Matrix { rows, columns: self.width, floats });
        }
        if rows == self.width && regions.is_none_or(|regions| regions == columns) {
            return Ok(Matrix { rows: columns, columns: rows, floats: transposed(&floats, rows, columns) });
        }
        let message = format!("its feature vectors have {columns} elements, expected {}", self.width);
        Err(Lost::new(Code::RegionsWidth, message))
    }
}

fn count_differs(told: usize, found: usize) -> Lost {
    Lost::new(Code::RegionsCount, format!("it tells of {told} regions and has {found} feature vectors"))
}

/// Features as they are stored.
fn halves(floats: &[f32]) -> Result<Vec<f16>, Lost> {
    let mut halves = vec![f16::ZERO; floats.len()];
    halves.convert_from_f32_slice(floats);
    match halves.iter().position(|half| !half.is_finite()) {
        None => Ok(halves),
        Some(at) => {
            let problem = format!("a feature is {}, expected a number within half precision (65504)", floats[at]);
            Err(Lost::new(Code::RegionsNotFinite, problem))
        }
    }
}

impl Boxes {
    /// The corners of the first `count` boxes in pixels of the image of this size.
    fn in_pixels(self, size: [f32; 2], count: usize) -> Result<Vec<[f32; 4]>, Lost> {
        let [width, height] = size;
        let scale = match self.unit {
            Unit::Shares => size,
            Unit::Pixels(None) => [1.0, 1.0],
            Unit::Pixels(Some([seen_width, seen_height])) => {
                if !(seen_width >= 1.0 && seen_height >= 1.0) {
                    let problem = format!("the detector saw an image of {seen_width} x {seen_height} pixels");
                    return Err(Lost::new(Code::RegionsBox, problem));
                }
                // The same image resized has the same boxes; one that was turned has not.
                if width != height && [seen_width, seen_height] == [height, width] {
                    let problem = format!(
                        "the detector saw {seen_width} x {seen_height} pixels, the image has {width} x {height}: it was turned"
                    );
                    return Err(Lost::new(Code::RegionsBox, problem));
                }
                [width / seen_width, height / seen_height]
            }
        };
        let Matrix { rows, columns, floats } = self.corners;
        if columns < 4 && rows > 0 {
            return Err(Lost::new(Code::RegionsBox, format!("its boxes have {columns} numbers, expected 4 or more")));
        }
        let corners = floats.chunks_exact(columns.max(1)).take(count);
        corners.map(|row| placed([row[0], row[1], row[2], row[3]], scale, size)).collect()
    }
}

/// A box in pixels, inside its image.
fn placed(corners: [f32; 4], scale: [f32; 2], size: [f32; 2]) -> Result<[f32; 4], Lost> {
    if corners.iter().any(|corner| !corner.is_finite()) {
        return Err(Lost::new(Code::RegionsNotFinite, format!("a box is {corners:?}")));
    }
    let mut found = corners;
    for (at, corner) in found.iter_mut().enumerate() {
        let (scale, side) = (scale[at % 2], size[at % 2]);
        *corner *= scale;
        let slack = slack(side);
        if *corner < -slack || *corner > side + slack {
            let [width, height] = size;
            let problem = format!("a box is {corners:?}, which is not inside the image of {width} x {height} pixels");
            return Err(Lost::new(Code::RegionsBox, problem));
        }
        *corner = corner.clamp(0.0, side);
    }
    match found {
        [left, top, right, bottom] if left <= right && top <= bottom => Ok(found),
        _ => Err(Lost::new(Code::RegionsBox, format!("a box is {corners:?}, expected left, top, right, bottom"))),
    }
}

fn slack(side: f32) -> f32 {
    (side * SLACK_SHARE).max(SLACK_PIXELS)
}

/// The source's own boxes, if the features are theirs.
fn fitted(own: &[Region], found: &[[f32; 4]], count: usize, size: [u32; 2]) -> Result<Vec<Region>, Lost> {
    if own.len() != count {
        let problem = format!("it has {count} feature vectors, the source has {} boxes", own.len());
        return Err(Lost::new(Code::RegionsCount, problem));
    }
    let near = |(at, (a, b)): (usize, (&f32, &f32))| (a - b).abs() <= slack(size[at % 2] as f32);
    for (index, (own, found)) in own.iter().zip(found).enumerate() {
        if !own.corners.iter().zip(found).enumerate().all(near) {
            let problem = format!("box {index} is {found:?}, that of the source is {:?}", own.corners);
            return Err(Lost::new(Code::RegionsBox, problem));
        }
    }
    Ok(own.to_vec())
}

impl Classes {
    fn rows(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.len(),
            Self::Scores(scores) => scores.rows,
        }
    }

    /// The names of the first `count` classes; and their scores, where there are scores of every class.
    fn named(&self, known: &[String], count: usize) -> Result<Vec<Named>, Lost> {
        let name = |class: usize| known.get(class).cloned();
        match self {
            Self::Ids(ids) => {
                let named = ids.iter().take(count).map(|id| {
                    let class = (*id >= 0.0 && id.fract() == 0.0).then_some(*id as usize);
                    class.and_then(name).map(|name| (Some(name), None)).ok_or_else(|| {
                        let last = known.len().saturating_sub(1);
                        Lost::new(Code::RegionsClass, format!("a class is {id}, expected one of 0 to {last}"))
                    })
                });
                named.collect()
            }
            Self::Scores(Matrix { columns, floats, .. }) => {
                // Detectors put the background first; lists of names do not have it.
                let background = match columns.checked_sub(known.len()) {
                    Some(background @ (0 | 1)) => background,
                    _ => {
                        let problem = format!("it has scores of {columns} classes, {} have names", known.len());
                        return Err(Lost::new(Code::RegionsClass, problem));
                    }
                };
                let best = |row: &[f32]| {
                    let scores = row.iter().copied().enumerate().skip(background);
                    let best = scores.reduce(|best, other| if other.1 > best.1 { other } else { best });
                    best.map_or((None, None), |(column, score)| (name(column - background), Some(score)))
                };
                Ok(floats.chunks_exact((*columns).max(1)).take(count).map(best).collect())
            }
        }
    }
}
