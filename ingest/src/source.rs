//! The seam between formats and the engine: what a source says before any image is read.
//!
//! ```text
//! annotation files, archives --> Source::items --> Item::Image    an image and every record about it
//!                                                  Item::Reject   a record that is lost already
//!                                                       |
//!                                                       v   in order, nothing held that is not needed yet
//!                                                  the engine (ingest.rs): selection, shards, images, commit
//! ```

use std::borrow::Cow;
use std::path::PathBuf;

use half::f16;
use retort_schemas::manifest::AnswerVocabulary;

use crate::rejects::{Code, Reject, Stage};
use crate::{Result, Vocabulary};

/// A data set in its published form, opened.
pub trait Source: Sync {
    /// What kind of source it is, such as `vqa`; kept in the manifest.
    fn kind(&self) -> &'static str;

    /// Files and folders that it reads.
    fn reads(&self) -> Vec<PathBuf>;

    /// Everything that decides what is written, wherever the files lie; kept in the manifest.
    fn options(&self) -> serde_json::Value;

    /// The classes of the labels of this split: those that the data set has already, or the source's own.
    ///
    /// # Errors
    /// If the source's own classes cannot be told.
    fn vocabulary(&self, split: &str, existing: Option<&AnswerVocabulary>) -> Result<Option<Vocabulary>>;

    /// What there is, in source order: the same at every call.
    ///
    /// # Errors
    /// If a file cannot be read or has another structure.
    fn items<'a>(&'a self, vocabulary: Option<&'a Vocabulary>) -> Result<Items<'a>>;
}

/// What a source says, in order.
pub struct Items<'a> {
    /// Source images, where that is known beforehand.
    pub images: Option<u64>,
    /// Records and source images together, good or bad, where that is known beforehand: a percentage of rejects is of
    /// these.
    pub records: Option<u64>,
    /// Whether its images come with regions: the split then has the table.
    pub regions: bool,
    /// An error ends the run; the shards before it stay.
    pub items: Box<dyn Iterator<Item = Result<Item<'a>>> + Send + 'a>,
}

/// One thing that a source says.
pub enum Item<'a> {
    /// A source image with every record about it.
    Image(SourceImage<'a>),
    /// A record that is lost before any image is read. It goes into the shard of the image before it; what comes before
    /// all images goes into the first.
    Reject(Reject),
}

/// A source image, not read yet, with what is said about it.
pub struct SourceImage<'a> {
    /// Its name in the source: a path relative to the image folder, or a member of an archive. Selection goes by it.
    pub name: String,
    /// Where its bytes are.
    pub bytes: ImageBytes<'a>,
    /// Detected objects, where the source has them.
    pub regions: Option<Regions>,
    /// Records about it, in source order.
    pub records: Vec<Record<'a>>,
}

/// Where the bytes of an image are.
pub enum ImageBytes<'a> {
    /// To be read by name.
    Stored(&'a dyn ImageStore),
    /// Here: of a source that can only be read from front to back.
    Here(Vec<u8>),
    /// To be read when its shard is, from a place that only the source knows: an offset in an archive.
    Later(Box<dyn FnOnce() -> Result<Vec<u8>, LostImage> + Send + 'a>),
    /// Lost: the source says why.
    Lost(LostImage),
}

/// A place that images are read from by name, from many threads at once.
pub trait ImageStore: Sync {
    /// The encoded bytes, and the name under which they were found.
    ///
    /// # Errors
    /// [`LostImage`]: that image is lost, not the run.
    fn read(&self, name: &str) -> Result<(String, Vec<u8>), LostImage>;
}

/// Why an image cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostImage {
    /// Where it was lost.
    pub stage: Stage,
    /// The reason code.
    pub code: Code,
    /// The reason for a reader.
    pub message: String,
}

/// Objects that a detector or an annotator found in an image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Regions {
    /// In the source's order: an object reference is an index into them.
    pub boxes: Vec<Region>,
    /// One vector a region, or none at all. Where a detector's boxes were not stored, there are vectors and no boxes.
    pub features: Option<RegionFeatures>,
}

/// One object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Region {
    /// Left, top, right and bottom, in pixels of the source image.
    pub corners: [f32; 4],
    /// What it is.
    pub class: Option<String>,
    /// How sure the detector was.
    pub score: Option<f32>,
}

/// Features of regions, as a detector gave them.
#[derive(Debug, Clone, PartialEq)]
pub struct RegionFeatures {
    /// Elements of a vector.
    pub width: usize,
    /// `[regions, width]`, end to end, as they are stored.
    pub halves: Vec<f16>,
}

/// A sample in the making; what a source does not have stays at its default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record<'a> {
    /// The source's own id, unique in its split.
    pub id: Cow<'a, str>,
    /// One of [`retort_schemas::tables::samples::tasks`].
    pub task: &'static str,
    /// Candidate texts: four for VCR, one otherwise.
    pub texts: Vec<Text<'a>>,
    /// Class of the truth, or the index of the right candidate.
    pub label: Option<u32>,
    /// The truth as the source words it.
    pub label_text: Option<Cow<'a, str>>,
    /// The human answers of VQA.
    pub answers: Vec<Cow<'a, str>>,
    /// Soft targets: class and score.
    pub targets: Vec<(u32, f32)>,
    /// The source's question type.
    pub question_type: Option<Cow<'a, str>>,
    /// The source's answer type.
    pub answer_type: Option<Cow<'a, str>>,
}

/// A text as the text teacher is given it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Text<'a> {
    /// The whole of it.
    pub text: Cow<'a, str>,
    /// Byte offsets at which its second and further parts begin: the answer after the question, the rationale after
    /// the answer.
    pub parts: Vec<u32>,
    /// Where it names detected objects.
    pub objects: Vec<ObjectReference>,
}

impl<'a> From<Cow<'a, str>> for Text<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self { text, ..Self::default() }
    }
}

/// A stretch of a text that names a detected object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectReference {
    /// First byte in the text.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
    /// Index of the object among the regions of the image.
    pub object: u32,
}
