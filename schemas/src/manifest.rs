//! The manifests: what exists, and the checksums that everything else hangs on. A shard exists when the manifest says so,
//! itself or by one of its [parts](crate::parts).
//!
//! ```text
//! dataset.json, its own seal ----> rest: the footer of each file ----> retort:checksums: each page of each column
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;
use crate::parts::Runs;
use crate::{SchemaVersion, Store};

/// File name of a data set's manifest.
pub const DATASET_FILE: &str = "dataset.json";
/// File name of a teacher's manifest.
pub const TEACHER_FILE: &str = "teacher.json";
/// Folder of the teachers inside a data set.
pub const CACHE_FOLDER: &str = "cache";
/// Version of [`DatasetManifest`] written by this build; version 2, which had no parts, is read.
pub const DATASET_VERSION: SchemaVersion = SchemaVersion::new("dataset", 3, 1).reading_since(2);
/// Version of [`TeacherManifest`] written by this build; version 2, which had no parts, is read.
pub const TEACHER_VERSION: SchemaVersion = SchemaVersion::new("teacher", 3, 3).reading_since(2);

/// `dataset.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetManifest {
    /// Version, `dataset/<major>.<minor>`.
    #[serde(rename = "retort:schema")]
    pub schema: String,
    /// The classes of `label` and `targets`, where the task has an answer vocabulary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<AnswerVocabulary>,
    /// Splits in the order they were added.
    pub splits: Vec<Split>,
}

impl DatasetManifest {
    /// A data set with nothing in it.
    pub fn empty() -> Self {
        Self { schema: DATASET_VERSION.to_string(), answers: None, splits: Vec::new() }
    }

    /// The split of this name.
    pub fn split(&self, name: &str) -> Option<&Split> {
        self.splits.iter().find(|split| split.name == name)
    }

    /// Shards of all splits.
    pub fn shard_count(&self) -> usize {
        self.splits.iter().map(|split| split.runs.shard_count()).sum()
    }
}

/// Answer strings in class order. Published vocabularies hold the same strings in different orders: the order is the
/// meaning of every class id, so it is stored with the data and hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerVocabulary {
    /// How it came about: `built from train, at least 9 questions`, or `file answers.json`.
    pub origin: String,
    /// blake3 of the answers joined by line feeds, 32 hex digits.
    pub hash: String,
    /// Class i is `answers[i]`.
    pub answers: Vec<String>,
}

/// One split of a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// Its name, such as `train`; shards are named after it.
    pub name: String,
    /// The source kind, such as `vqa`.
    pub source: String,
    /// The options it was ingested with; ingesting again with others is refused.
    pub options: serde_json::Value,
    /// Whether every shard is there.
    pub complete: bool,
    /// Shards in source order, numbered from 0 without a gap.
    #[serde(flatten)]
    pub runs: Runs,
}

/// The files of one shard, by table name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// `<split>-<five digits>`; the files are `<table>/<name>.parquet`.
    pub name: String,
    /// Files by table name.
    pub tables: BTreeMap<String, TableFile>,
}

impl Shard {
    /// Name of shard `index` of a split.
    pub fn name_of(split: &str, index: usize) -> String {
        format!("{split}-{index:05}")
    }

    /// The split that a shard belongs to, from its name.
    pub fn split_of(name: &str) -> &str {
        name.rsplit_once('-').map_or(name, |(split, _)| split)
    }

    /// Its number in its split, from its name; none if that is no name of a shard.
    pub fn number(&self) -> Option<usize> {
        Self::number_of(&self.name)
    }

    /// The number of a shard in its split, from its name; none if that is no name of a shard.
    pub fn number_of(name: &str) -> Option<usize> {
        let (split, digits) = name.rsplit_once('-')?;
        let number = digits.parse().ok()?;
        (Self::name_of(split, number) == name).then_some(number)
    }

    /// Rows of a table of this shard; 0 where there is no such table.
    pub fn rows(&self, table: &str) -> u64 {
        self.tables.get(table).map_or(0, |file| file.rows)
    }
}

/// Key, in the metadata of a Parquet footer, of the checksums of the file's pages: `xxh3:` and, in base64, eight bytes a
/// page (xxh3-64, little-endian) in the order row group, leaf column, page. A dictionary page is its chunk's first. The
/// pages, each with its header, cover a file from byte 4 to the page indexes without a gap.
pub const CHECKSUMS_KEY: &str = "retort:checksums";

/// Key, in the metadata of the footer of a table that no manifest describes (a run's or a protocol's), of the checksum of the
/// whole file: `retort:whole=xxh3:` and 16 hex digits, which count as zeros in it.
pub const WHOLE_KEY: &str = "retort:whole";

/// Bytes before the first page of a Parquet file: `PAR1`.
pub const MAGIC_BYTES: u64 = 4;

/// One Parquet file: its size and the checksum of its footer, in which every page has one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TableFile {
    /// Rows.
    pub rows: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// xxh3 over the id column, by which feature files are matched to the rows they belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<String>,
    /// xxh3-64, 16 hex digits, of every byte behind the last page: page indexes and footer.
    pub rest: String,
    /// Compressed bytes of the pages of each column: together with the magic and the rest, the whole file.
    pub column_bytes: BTreeMap<String, u64>,
    /// Nulls a column, where there are any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nulls: BTreeMap<String, u64>,
    /// Norms of the vectors of a column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub norms: BTreeMap<String, Norms>,
    /// How the vectors of a column are stored, and what they take.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vectors: BTreeMap<String, VectorColumn>,
    /// How the norms of a vector column are spread. Since 3.1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub norm_counts: BTreeMap<String, Histogram>,
    /// How often each value of a column of few is there: the reason codes of rejects. Since 3.1.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, BTreeMap<String, u64>>,
    /// Values of a column that are equal to an earlier one of the file, 0 where there are none: the `phash` of images by which
    /// [they are compared](crate::tables::images::compared_hash), and the rows of texts that samples name. Since 3.1; the first files
    /// that say so count images of hash 0, too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub repeats: BTreeMap<String, u64>,
}

/// What the vectors of a column take on disk, and what was lost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct VectorColumn {
    /// Elements of a vector.
    pub width: u64,
    /// Bytes on disk, those of scales included.
    pub bytes: u64,
    /// Of codes: the least cosine of a vector read back to the one written. None if all are zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_cosine: Option<f64>,
}

impl VectorColumn {
    /// Puts two files of a column together.
    pub fn merge(self, other: Self) -> Self {
        let worst_cosine = match (self.worst_cosine, other.worst_cosine) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        Self { width: self.width, bytes: self.bytes + other.bytes, worst_cosine }
    }
}

impl TableFile {
    /// Where the pages end and the bytes of `rest` begin.
    pub fn rest_offset(&self) -> u64 {
        self.column_bytes.values().fold(MAGIC_BYTES, |at, bytes| at.saturating_add(*bytes))
    }
}

/// Euclidean norms of the vectors of a column, as stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Norms {
    /// Vectors.
    pub vectors: u64,
    /// Vectors of norm zero.
    pub zero: u64,
    /// Vectors with an element that is not a number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub nan: u64,
    /// Vectors with an infinite element, and none that is not a number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub infinite: u64,
    /// Least norm of the finite vectors; 0 if there are none.
    pub min: f64,
    /// Mean norm of the finite vectors.
    pub mean: f64,
    /// Greatest norm of the finite vectors.
    pub max: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Norms {
    /// Vectors that have a norm.
    pub const fn finite(&self) -> u64 {
        self.vectors - self.nan - self.infinite
    }

    /// Puts two sets of vectors together.
    pub fn merge(self, other: Self) -> Self {
        let (mine, theirs) = (self.finite(), other.finite());
        let sum = self.mean * mine as f64 + other.mean * theirs as f64;
        Self {
            vectors: self.vectors + other.vectors,
            zero: self.zero + other.zero,
            nan: self.nan + other.nan,
            infinite: self.infinite + other.infinite,
            min: if mine == 0 || theirs > 0 && other.min < self.min { other.min } else { self.min },
            mean: sum / (mine + theirs).max(1) as f64,
            max: self.max.max(other.max),
        }
    }
}

/// `teacher.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TeacherManifest {
    /// Version, `teacher/<major>.<minor>`.
    #[serde(rename = "retort:schema")]
    pub schema: String,
    /// The name the user gave, such as `clip`.
    pub name: String,
    /// blake3 over `identity` and `store`, 32 hex digits; the folder is named by the first eight.
    pub fingerprint: String,
    /// Whether images and texts are embedded into one space (CLIP).
    pub joint: bool,
    /// How the vectors are stored.
    pub store: Store,
    /// Everything that decides the numbers: architecture, hashes of weights and tokenizer, preprocessing, pooling,
    /// compute type, longest text.
    pub identity: serde_json::Value,
    /// The repository that its model was fetched from, if it was; it decides no number. Since 3.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The absolute path of the folder that its model was opened from last, if it was one; it decides no number, and what lies
    /// there now may be another model, or nothing. Since 3.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// What was said over what its folder says (`retort teach --set`), where anything was: the identity tells what came of it,
    /// this how to say it again. Since 3.2.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// How the rows of a shard were put into batches.
    pub batch: BatchPlan,
    /// Finished shards by split, in the order of the data set.
    #[serde(default)]
    pub splits: Vec<TeacherSplit>,
    /// Finished shards of all splits, in manifests of version 2 alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<Shard>,
}

/// The shards of one split of which a teacher has features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TeacherSplit {
    /// The split's name.
    pub name: String,
    /// Its shards; some may be missing.
    #[serde(flatten)]
    pub runs: Runs,
}

impl TeacherManifest {
    /// The shards of a split.
    pub fn runs(&self, split: &str) -> Option<&Runs> {
        self.splits.iter().find(|known| known.name == split).map(|known| &known.runs)
    }

    /// Shards of all splits.
    pub fn shard_count(&self) -> usize {
        self.splits.iter().map(|split| split.runs.shard_count()).sum()
    }

    /// Whether any shard has a table.
    pub fn has(&self, table: &str) -> bool {
        self.splits.iter().any(|split| split.runs.has(table))
    }
}

/// A revision of a repository of the Hugging Face hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// `org/name`, or `name` alone.
    pub repository: String,
    /// What the user asked for: a branch, a tag or a commit.
    pub revision: String,
    /// The commit that this was, 40 hex digits.
    pub commit: String,
}

/// How `teach` forms batches: a pure function of a shard and of these numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchPlan {
    /// Images a batch.
    pub images: usize,
    /// Texts a batch at most, taken in order of length.
    pub texts: usize,
    /// Tokens of texts a batch at most, padding included; one text is always allowed. Without it, which is how caches
    /// were made before 3.2, only texts are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<usize>,
}

impl BatchPlan {
    /// So many images or texts a batch, whatever their length.
    pub const fn of_rows(images: usize, texts: usize) -> Self {
        Self { images, texts, tokens: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_name_tells_its_split() {
        assert_eq!(Shard::name_of("train", 7), "train-00007");
        assert_eq!(Shard::split_of("val-2014-00012"), "val-2014");
        let numbers = ["val-2014-00012", "a-123456", "a-012345", "a-12", "a-+0012", "00012"].map(Shard::number_of);
        assert_eq!(numbers, [Some(12), Some(123_456), None, None, None, None]);
    }

    /// Written files hold these words for ever. A change here is a new major version, not an edit of this test.
    #[test]
    fn never_change_these_constants() {
        assert_eq!(
            [DATASET_VERSION.to_string(), TEACHER_VERSION.to_string(), CHECKSUMS_KEY.to_owned(), WHOLE_KEY.to_owned()],
            ["dataset/3.1", "teacher/3.3", "retort:checksums", "retort:whole"]
        );
        let file = TableFile {
            rows: 1,
            bytes: 2,
            ids: Some("a".to_owned()),
            rest: "b".to_owned(),
            column_bytes: BTreeMap::from([("c".to_owned(), 3)]),
            ..TableFile::default()
        };
        let mut words = serde_json::json!({"rows": 1, "bytes": 2, "ids": "a", "rest": "b", "column_bytes": {"c": 3}});
        assert_eq!(serde_json::to_value(&file).unwrap(), words);
        let mut spread = Histogram::default();
        spread.add(1.0);
        let told = TableFile {
            norm_counts: BTreeMap::from([("d".to_owned(), spread)]),
            values: BTreeMap::from([("e".to_owned(), BTreeMap::from([("f".to_owned(), 4)]))]),
            repeats: BTreeMap::from([("g".to_owned(), 0)]),
            ..file.clone()
        };
        words["norm_counts"] = serde_json::json!({"d": "65472:1"});
        words["values"] = serde_json::json!({"e": {"f": 4}});
        words["repeats"] = serde_json::json!({"g": 0});
        assert_eq!(serde_json::to_value(&told).unwrap(), words);
        assert_eq!(file.rest_offset(), 7);
    }

    #[test]
    fn version_2_is_read_and_version_1_refused_naming_both_versions() {
        assert!(DATASET_VERSION.accept("dataset/2.0").is_ok() && TEACHER_VERSION.accept("teacher/2.3").is_ok());
        for (version, older) in [(DATASET_VERSION, "dataset/1.0"), (TEACHER_VERSION, "teacher/1.0")] {
            let refusal = version.accept(older).unwrap_err().to_string();
            assert!(refusal.contains(older) && refusal.contains(&version.to_string()), "{refusal}");
        }
    }

    /// A cache that was begun without a budget of tokens says nothing of one, read and written again.
    #[test]
    fn a_batch_plan_without_a_budget_stays_as_it_was() {
        let old = serde_json::json!({"images": 32, "texts": 64});
        let plan: BatchPlan = serde_json::from_value(old.clone()).unwrap();
        assert_eq!(plan, BatchPlan::of_rows(32, 64));
        assert_eq!(serde_json::to_value(plan).unwrap(), old);
        let new = serde_json::json!({"images": 32, "texts": 256, "tokens": 2048});
        let plan: BatchPlan = serde_json::from_value(new.clone()).unwrap();
        assert_eq!((plan.tokens, serde_json::to_value(plan).unwrap()), (Some(2048), new));
    }

    #[test]
    fn norms_of_two_shards_merge_to_the_norms_of_all() {
        let one = Norms { vectors: 1, min: 1.0, mean: 1.0, max: 1.0, ..Norms::default() };
        let three = Norms { vectors: 3, zero: 1, min: 0.0, mean: 3.0, max: 5.0, ..Norms::default() };
        let all = Norms { vectors: 4, zero: 1, min: 0.0, mean: 2.5, max: 5.0, ..Norms::default() };
        assert_eq!(one.merge(three), all);
    }

    #[test]
    fn vectors_without_a_norm_are_counted_and_weigh_nothing() {
        let one = Norms { vectors: 1, min: 1.0, mean: 1.0, max: 1.0, ..Norms::default() };
        let none = Norms { vectors: 3, nan: 1, infinite: 2, ..Norms::default() };
        let all = Norms { vectors: 4, nan: 1, infinite: 2, ..one };
        assert_eq!([one.merge(none), none.merge(one)], [all; 2]);
    }
}
