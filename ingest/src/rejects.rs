//! Records that could not be used: why, and how many are too many.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// Where a record was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reading and matching the annotation files.
    Annotation,
    /// Reading an image file.
    Read,
    /// Decoding an image.
    Decode,
    /// Reading what a detector found in an image: the image is kept, without regions.
    Regions,
}

impl Stage {
    /// The name as stored.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Annotation => "annotation",
            Self::Read => "read",
            Self::Decode => "decode",
            Self::Regions => "regions",
        }
    }
}

/// Why a record was lost. The names are stored and stay what they are across releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// A field is missing or of another type.
    BadRecord,
    /// An earlier record has the same question id.
    DuplicateQuestionId,
    /// An annotations file was given, and the question is not in it.
    NoAnnotation,
    /// An annotation whose question is not in the questions file, or was rejected.
    AnnotationWithoutQuestion,
    /// There is no such file.
    ImageMissing,
    /// The file is there and cannot be read.
    ImageUnreadable,
    /// The bytes are no whole image, or one too large to decode.
    ImageCorrupt,
    /// A question whose image was rejected.
    ImageRejected,
    /// No detections are stored under the image's name or id.
    RegionsMissing,
    /// Several are, in folders of which the image's path names none.
    RegionsAmbiguous,
    /// The file with the detections cannot be read.
    RegionsUnreadable,
    /// The detections are cut, or no arrays.
    RegionsCorrupt,
    /// Feature vectors of another width than the data set's.
    RegionsWidth,
    /// Features, boxes, classes and scores are not equally many, or not as many as the source's own boxes.
    RegionsCount,
    /// A feature, a corner or a score is not a finite number that half precision can hold.
    RegionsNotFinite,
    /// A box is not inside the image, or not the source's own.
    RegionsBox,
    /// A class that has no name, where names were given.
    RegionsClass,
}

impl Code {
    /// The name as stored.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRecord => "bad_record",
            Self::DuplicateQuestionId => "duplicate_question_id",
            Self::NoAnnotation => "no_annotation",
            Self::AnnotationWithoutQuestion => "annotation_without_question",
            Self::ImageMissing => "image_missing",
            Self::ImageUnreadable => "image_unreadable",
            Self::ImageCorrupt => "image_corrupt",
            Self::ImageRejected => "image_rejected",
            Self::RegionsMissing => "regions_missing",
            Self::RegionsAmbiguous => "regions_ambiguous",
            Self::RegionsUnreadable => "regions_unreadable",
            Self::RegionsCorrupt => "regions_corrupt",
            Self::RegionsWidth => "regions_width",
            Self::RegionsCount => "regions_count",
            Self::RegionsNotFinite => "regions_not_finite",
            Self::RegionsBox => "regions_box",
            Self::RegionsClass => "regions_class",
        }
    }
}

/// A row of `rejects`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The record: a path, or `question 262148000`.
    pub source: String,
    /// Where it was lost.
    pub stage: Stage,
    /// The reason code.
    pub code: Code,
    /// The reason for a reader.
    pub message: String,
}

impl Reject {
    /// A record lost before any image was read.
    pub(crate) fn annotation(source: String, code: Code, message: impl Into<String>) -> Self {
        Self { source, stage: Stage::Annotation, code, message: message.into() }
    }
}

/// How many rows of `rejects` a split may have. It is checked after each shard, which stays; raising the limit and
/// running again continues.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum RejectLimit {
    /// Any number.
    #[default]
    None,
    /// This many.
    Count(u64),
    /// This percentage of the split's questions and source images together.
    Percent(f64),
}

impl RejectLimit {
    /// Whether this many rejects of a split of this many records are too many.
    pub(crate) fn is_exceeded(self, rejects: u64, records: u64) -> bool {
        match self {
            Self::None => false,
            Self::Count(most) => rejects > most,
            Self::Percent(percent) => rejects as f64 * 100.0 > percent * records as f64,
        }
    }
}

impl fmt::Display for RejectLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Count(most) => write!(f, "{most}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for RejectLimit {
    type Err = Error;

    /// Reads `100` or `2.5%`.
    fn from_str(word: &str) -> Result<Self, Error> {
        let limit = match word.strip_suffix('%') {
            Some(number) => number.parse().ok().filter(|percent| (0.0..=100.0).contains(percent)).map(Self::Percent),
            None => word.parse().ok().map(Self::Count),
        };
        limit.ok_or_else(|| Error::InvalidOption {
            option: "limit of rejects",
            value: word.to_owned(),
            problem: "it is neither a number nor a percentage from 0% to 100%".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_or_a_percentage() -> Result<(), Error> {
        assert_eq!("12".parse::<RejectLimit>()?, RejectLimit::Count(12));
        assert_eq!("2.5%".parse::<RejectLimit>()?, RejectLimit::Percent(2.5));
        for word in ["", "%", "-1", "-1%", "101%", "NaN%", "a few"] {
            assert!(word.parse::<RejectLimit>().is_err(), "{word}");
        }
        Ok(())
    }

    #[test]
    fn a_limit_is_exceeded_by_one_more() {
        assert!(!RejectLimit::Count(3).is_exceeded(3, 10));
        assert!(RejectLimit::Count(3).is_exceeded(4, 10));
        assert!(!RejectLimit::Percent(30.0).is_exceeded(3, 10));
        assert!(RejectLimit::Percent(30.0).is_exceeded(4, 10));
        assert!(RejectLimit::Count(0).is_exceeded(1, 10));
        assert!(!RejectLimit::None.is_exceeded(10, 10));
    }
}
