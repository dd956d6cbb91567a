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
    /// A field is missing or of another type, or the record is not UTF-8.
    BadRecord,
    /// An earlier record has the same question id.
    DuplicateQuestionId,
    /// An annotations file was given, and the question is not in it.
    NoAnnotation,
    /// An annotation whose question is not in the questions file, or was rejected.
    AnnotationWithoutQuestion,
    /// An earlier line has the same annot_id (VCR).
    DuplicateAnnotId,
    /// Not four answers or four rationales (VCR).
    WrongChoices,
    /// The label is none of the choices (VCR).
    LabelOutOfRange,
    /// A text refers to an object that the annotation does not have (VCR).
    ObjectOutOfRange,
    /// The annotation is about other objects than the metadata file of its image (VCR).
    ObjectsMismatch,
    /// There is no metadata file: the image has no regions, its samples stay (VCR).
    MetadataMissing,
    /// The metadata file is there and cannot be read: likewise (VCR).
    MetadataUnreadable,
    /// The metadata file is not JSON, or its boxes are not: likewise (VCR).
    MetadataCorrupt,
    /// The metadata file is about other objects than all annotations of its image: likewise (VCR).
    MetadataMismatch,
    /// There is no such file.
    ImageMissing,
    /// The file is there and cannot be read.
    ImageUnreadable,
    /// The bytes are no whole image, or one too large to decode or to encode again.
    ImageCorrupt,
    /// Only a part of the image could be decoded. The image is kept, as `--keep-truncated` asks.
    ImageTruncated,
    /// A record whose image was rejected.
    ImageRejected,
    /// A line or row has more or fewer columns than the file says.
    WrongColumnCount,
    /// A quote of a CSV row is never closed: the row swallowed those after it.
    UnclosedQuote,
    /// An earlier record has the same pair id.
    DuplicatePairId,
    /// An earlier record has the same caption id.
    DuplicateCaptionId,
    /// An earlier record has the same sample id.
    DuplicateSampleId,
    /// The annotators of the pair did not agree: its gold label is `-`.
    NoGoldLabel,
    /// A pair about an image of Visual Genome, which is not among the images of SNLI-VE.
    VisualGenomePair,
    /// The label is none of the classes, or not the index of a candidate text.
    UnknownLabel,
    /// A caption or region of an image that its file does not list.
    UnlistedImage,
    /// An archive ends early, or its bytes are not what they should be: what follows in it is lost.
    ArchiveBroken,
    /// A packed archive grows further than images can: what follows in it is lost.
    ArchiveBomb,
    /// A link, a device or another member that holds no bytes of its own.
    MemberNotAFile,
    /// A sparse member: an image has no holes.
    MemberSparse,
    /// A member whose sample has one of this suffix already.
    DuplicateMember,
    /// A name that is not UTF-8, has control characters, or leads out of its archive.
    BadName,
    /// A sample without a text.
    TextMissing,
    /// A text that is not UTF-8, or too long to be one.
    TextInvalid,
    /// The download of an image failed before the data set was published.
    DownloadFailed,
    /// An image was downloaded and could not be resized before the data set was published.
    ResizeFailed,
    /// The bytes of an image are not those that its metadata describe.
    ImageHashMismatch,
    /// A shard of the source that is unfinished, or has lost a part.
    ShardIncomplete,
    /// A link that leads back to a folder it is in.
    LinkLoop,
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
            Self::DuplicateAnnotId => "duplicate_annot_id",
            Self::WrongChoices => "wrong_choices",
            Self::LabelOutOfRange => "label_out_of_range",
            Self::ObjectOutOfRange => "object_out_of_range",
            Self::ObjectsMismatch => "objects_mismatch",
            Self::MetadataMissing => "metadata_missing",
            Self::MetadataUnreadable => "metadata_unreadable",
            Self::MetadataCorrupt => "metadata_corrupt",
            Self::MetadataMismatch => "metadata_mismatch",
            Self::ImageMissing => "image_missing",
            Self::ImageUnreadable => "image_unreadable",
            Self::ImageCorrupt => "image_corrupt",
            Self::ImageTruncated => "image_truncated",
            Self::ImageRejected => "image_rejected",
            Self::WrongColumnCount => "wrong_column_count",
            Self::UnclosedQuote => "unclosed_quote",
            Self::DuplicatePairId => "duplicate_pair_id",
            Self::DuplicateCaptionId => "duplicate_caption_id",
            Self::DuplicateSampleId => "duplicate_sample_id",
            Self::NoGoldLabel => "no_gold_label",
            Self::VisualGenomePair => "visual_genome_pair",
            Self::UnknownLabel => "unknown_label",
            Self::UnlistedImage => "unlisted_image",
            Self::ArchiveBroken => "archive_broken",
            Self::ArchiveBomb => "archive_bomb",
            Self::MemberNotAFile => "member_not_a_file",
            Self::MemberSparse => "member_sparse",
            Self::DuplicateMember => "duplicate_member",
            Self::BadName => "bad_name",
            Self::TextMissing => "text_missing",
            Self::TextInvalid => "text_invalid",
            Self::DownloadFailed => "download_failed",
            Self::ResizeFailed => "resize_failed",
            Self::ImageHashMismatch => "image_hash_mismatch",
            Self::ShardIncomplete => "shard_incomplete",
            Self::LinkLoop => "link_loop",
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
    /// The record: a path, or `question 262148000`. Control characters are escaped when it is stored, here and in the
    /// message.
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
