//! What stops an ingest. A bad record does not: it becomes a row of `rejects`.

use std::path::PathBuf;

use crate::plain::plain;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of reading a source and writing its shards.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read, or the data set not be written.
    #[error(transparent)]
    Cache(#[from] retort_cache::Error),
    /// A file is not JSON, or JSON of another structure.
    #[error("{}, line {line}, column {column}: expected {expected}, but {}", path.display(), plain(problem))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 1.
        column: usize,
        /// What the file should hold.
        expected: String,
        /// What was found instead.
        problem: String,
    },
    /// The image pattern needs a subtype, and neither the questions file nor any of its records names one.
    #[error(
        "the image pattern has {{subtype}}, but {} has neither data_subtype nor records with coco_split",
        path.display()
    )]
    NoSubtype {
        /// The questions file.
        path: PathBuf,
    },
    /// The image folder is not there.
    #[error("{} is not a folder of images", path.display())]
    NoImageFolder {
        /// The path given.
        path: PathBuf,
    },
    /// An archive has no member of the name, or several.
    #[error("{} has no {member}, or more than one; it has: {}", path.display(), plain(members))]
    NoMember {
        /// The archive.
        path: PathBuf,
        /// The member that is wanted.
        member: String,
        /// The names of those there are.
        members: String,
    },
    /// The data set should have an answer vocabulary already.
    #[error("the data set has no answer vocabulary to label the questions with")]
    NoVocabulary,
    /// No answer is frequent enough to be a class.
    #[error("no answer of {} is the truth of {min_count} questions or more: the vocabulary would be empty", path.display())]
    EmptyVocabulary {
        /// The annotations file.
        path: PathBuf,
        /// The threshold.
        min_count: usize,
    },
    /// A vocabulary file holds no numbering of distinct answers.
    #[error("{} is no answer vocabulary: {}", path.display(), plain(problem))]
    InvalidVocabulary {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The first row of a table names other columns than its records need.
    #[error("{}: expected {expected}, found the columns [{}]", path.display(), start_of(found))]
    NoColumns {
        /// The file.
        path: PathBuf,
        /// The columns it should have.
        expected: String,
        /// Its first row.
        found: String,
    },
    /// A file holds records in no known way.
    #[error("{}: expected {expected}, but it is {}", path.display(), plain(found))]
    UnknownLayout {
        /// The file.
        path: PathBuf,
        /// What it could be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A source says nothing: neither of a record nor of an image.
    #[error("{} holds nothing to ingest as {kind}: no record, good or bad, and no image", path.display())]
    NoRecords {
        /// The first of the files that were read.
        path: PathBuf,
        /// The kind of source.
        kind: &'static str,
    },
    /// No record belongs to the part that was asked for.
    #[error("{} has {records} records, none of them {}", path.display(), plain(part))]
    EmptyPart {
        /// The file.
        path: PathBuf,
        /// Records that were looked at.
        records: u64,
        /// The part, and what there is instead.
        part: String,
    },
    /// A mapping has a key that there is not.
    #[error(
        "{}: there is no key {key:?}{}",
        path.display(),
        near.as_ref().map_or_else(String::new, |near| format!(", did you mean {near:?}?"))
    )]
    UnknownMappingKey {
        /// The mapping.
        path: PathBuf,
        /// The key.
        key: String,
        /// The nearest that there is.
        near: Option<String>,
    },
    /// A mapping says nothing that records could be read by.
    #[error("{} is no mapping: {problem}", path.display())]
    InvalidMapping {
        /// The mapping.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// An archive is not there, or a pattern finds none.
    #[error("archive {archive:?}: {}", plain(problem))]
    NoArchive {
        /// The path or pattern as given.
        archive: String,
        /// What was found instead of it.
        problem: String,
    },
    /// None of the archives is a tar.
    #[error("{} is no tar archive, plain, gzip or zstd: {}", path.display(), plain(problem))]
    NotATar {
        /// The first of them.
        path: PathBuf,
        /// What it starts with.
        problem: String,
    },
    /// A folder holds no output of img2dataset.
    #[error("{} holds no shards of img2dataset: {}", path.display(), plain(problem))]
    NoShards {
        /// The folder.
        path: PathBuf,
        /// What was found instead.
        problem: String,
    },
    /// A file or folder holds no detections, or no class names.
    #[error("{} holds no regions: {}", path.display(), plain(problem))]
    NotRegions {
        /// The file or folder.
        path: PathBuf,
        /// What was found, and what was expected.
        problem: String,
    },
    /// An option has a value that means nothing.
    #[error("{option} {value:?} is not usable: {}", plain(problem))]
    InvalidOption {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// More records were lost than the caller accepts.
    #[error("split {split:?} lost {rejects} of {records} questions and images, more than {limit}: {reasons}")]
    TooManyRejects {
        /// The data set, whose `rejects` table tells each of them.
        path: PathBuf,
        /// The split.
        split: String,
        /// Rows of `rejects` so far.
        rejects: u64,
        /// Questions and source images of the whole split.
        records: u64,
        /// The limit.
        limit: String,
        /// How many for which reason, the commonest first.
        reasons: String,
    },
    /// A split is not one for a kind of shift.
    #[error("{} has split {split}, which cannot be shifted by {kind}: {}", path.display(), plain(problem))]
    NotShiftable {
        /// The data set.
        path: PathBuf,
        /// The split, or both.
        split: String,
        /// The kind of shift.
        kind: &'static str,
        /// Why not.
        problem: String,
    },
    /// A row of a table of scores is of no use.
    #[error("{}, sample {}, candidate {candidate}: {}", path.display(), plain(sample), plain(problem))]
    BadScore {
        /// The table.
        path: PathBuf,
        /// The sample that the row names.
        sample: String,
        /// The candidate that it names.
        candidate: u32,
        /// What was expected and what was found.
        problem: String,
    },
    /// The thread that commits shards died.
    #[error("the thread that writes shards failed: this is a bug in retort")]
    Committer,
    /// The encoded images or the texts of one shard are more than a Parquet column of one batch can hold.
    #[error("shard {shard} has {bytes} bytes of {table}, a shard can hold {}", i32::MAX)]
    ShardTooLarge {
        /// Name of the shard.
        shard: String,
        /// The table.
        table: &'static str,
        /// Bytes of its widest column.
        bytes: usize,
    },
    /// Arrow refused the columns of a table.
    #[error("cannot build the table {table}")]
    Table {
        /// The table.
        table: &'static str,
        /// What it said.
        source: arrow::error::ArrowError,
    },
}

/// The start of what a file holds, which may be anything.
fn start_of(text: &str) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", plain(&text[..end])),
        None => plain(text).into_owned(),
    }
}

impl Error {
    /// What the user can do about it, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Malformed { .. } => {
                "give the JSON file as published, plain or gzip; official files come in .zip archives: unpack them first"
                    .to_owned()
            }
            Self::NoSubtype { .. } => {
                "write the subtype into the image pattern, such as train2014/COCO_train2014_{id:012}.jpg".to_owned()
            }
            Self::NoImageFolder { .. } => "give the folder that holds the images or their subtype folders".to_owned(),
            Self::NoMember { .. } => "name one member by its path in the archive".to_owned(),
            Self::NoVocabulary => {
                "ingest the training split first, or build the vocabulary from this split, or give it as a file".to_owned()
            }
            Self::EmptyVocabulary { .. } => {
                "lower the least number of questions an answer needs, or give the vocabulary as a file".to_owned()
            }
            Self::InvalidVocabulary { .. } => {
                "give a JSON list of distinct answers, or an object from answer to class 0, 1, 2, ...".to_owned()
            }
            Self::NoColumns { .. } => "name the columns in the first row of the file".to_owned(),
            Self::UnknownLayout { .. } => "give the annotation file as published, plain or gzip".to_owned(),
            Self::NoRecords { kind: "webdataset" | "img2dataset", .. } => {
                "give archives whose members have a key and a suffix, such as 000012.jpg and 000012.txt; an empty one may \
                 be a download that failed"
                    .to_owned()
            }
            Self::NoRecords { .. } => {
                "give the file with the records of this split; an empty one may be a download that failed".to_owned()
            }
            Self::EmptyPart { .. } => "give the list or the name of the part that belongs to this file".to_owned(),
            Self::UnknownMappingKey { .. } | Self::InvalidMapping { .. } => {
                "a mapping says task, image and text or texts; retort ingest jsonl --help shows one".to_owned()
            }
            Self::NoArchive { .. } => {
                "give paths of archives, ranges such as data/{00000..00012}.tar, or patterns such as data/*.tar".to_owned()
            }
            Self::NotATar { .. } => {
                "give WebDataset archives; `retort ingest img2dataset` reads folders and Parquet files, `retort ingest \
                 folder` plain images"
                    .to_owned()
            }
            Self::NoShards { .. } => {
                "give the output folder of img2dataset, with 00000.tar, 00000.parquet or 00000/ in it; `retort ingest \
                 webdataset` reads archives of other names, `retort ingest folder` plain images"
                    .to_owned()
            }
            Self::NotRegions { .. } => {
                "give folders with a .npz or .npy file an image, or the .tsv files of bottom-up attention, and class names \
                 one a line"
                    .to_owned()
            }
            Self::InvalidOption { option, .. } => format!("give another {option}"),
            Self::TooManyRejects { path, split, .. } => format!(
                "the rejects table of {} says why for each (SELECT * FROM rejects); then correct the source and ingest \
                 into a new data set, or run split {split} again with a higher limit: it continues",
                path.display()
            ),
            Self::ShardTooLarge { .. } => "put fewer images into a shard".to_owned(),
            Self::NotShiftable { kind, .. } => {
                format!("`retort shift {kind} --help` says what data it is for and what it needs")
            }
            Self::BadScore { .. } => "give the word scores of this very data set".to_owned(),
            Self::Cache(error) => return error.hint(),
            Self::Table { .. } | Self::Committer => return None,
        };
        Some(hint)
    }
}
