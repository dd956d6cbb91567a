//! What is in a data set, told by its manifests and by one listing of each table's folder: no table is opened, and no part of a
//! manifest that has its sums.

use std::collections::BTreeMap;

use retort_schemas::histogram::Histogram;
use retort_schemas::manifest::{CACHE_FOLDER, Norms, VectorColumn};
use retort_schemas::sums::VectorSums;
use retort_schemas::{Code, SchemaVersion, Store, features, tables};
use serde::{Serialize, Serializer};

use crate::dataset::runs_of;
use crate::summary::gone::Absent;
use crate::summary::missing::missing;
use crate::summary::sums::{Sums, sums_of, whole_shards};
use crate::write::{PAGE_BYTES, VECTOR_PAGE_BYTES};
use crate::{Dataset, Result, TeacherCache, teachers_of};

mod gone;
mod missing;
mod sums;

pub use gone::Gone;
pub use missing::{MODEL_PLACEHOLDER, Missing, MissingTable};

/// Version of [`Summary`] in JSON: a new minor has more keys, a new major others.
const SUMMARY_VERSION: SchemaVersion = SchemaVersion::new("summary", 1, 0);

/// Counts, sizes and coverage of a data set.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Version, `summary/<major>.<minor>`.
    #[serde(rename = "retort:schema")]
    pub schema: String,
    /// Splits in the order they were added.
    pub splits: Vec<SplitSummary>,
    /// The data set's own tables.
    pub tables: Vec<TableSummary>,
    /// Classes of the answer vocabulary, if there is one.
    pub answers: Option<usize>,
    /// Teachers by folder name.
    pub teachers: Vec<TeacherSummary>,
}

/// One split.
#[derive(Debug, Clone, Serialize)]
pub struct SplitSummary {
    /// Its name.
    pub name: String,
    /// The source kind.
    pub source: String,
    /// Whether ingest finished it.
    pub complete: bool,
    /// Shards.
    pub shards: u64,
    /// Distinct images a shard, added up.
    pub images: u64,
    /// Distinct texts a shard, added up.
    pub texts: u64,
    /// Samples.
    pub samples: u64,
    /// What is there more than once.
    pub duplicates: Duplicates,
    /// Rejects.
    pub rejected: u64,
    /// Rejects by reason, those of shards that were written before this was noted left out.
    pub rejects: Vec<RejectCount>,
}

impl SplitSummary {
    /// Rejects of which the manifests do not tell the reason.
    pub fn rejects_unknown(&self) -> u64 {
        self.rejects.iter().fold(self.rejected, |left, reject| left.saturating_sub(reject.count))
    }
}

/// What is there more than once in a shard; over the bounds of shards, only the tables can tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Duplicates {
    /// Images with the perceptual hash of an earlier one of their shard, those [without one to compare](tables::images::compared_hash)
    /// left out. None if some shards do not say.
    pub images: Option<u64>,
    /// Texts of samples that their shard had before, and has once. None if some shards do not say.
    pub texts: Option<u64>,
}

/// Rejects of one reason code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RejectCount {
    /// The reason code.
    pub code: String,
    /// How many.
    pub count: u64,
}

/// One table over all shards.
#[derive(Debug, Clone, Serialize)]
pub struct TableSummary {
    /// Its name.
    pub table: String,
    /// Shards that have it, and its file.
    pub shards: u64,
    /// Files that the manifest names and that are gone: of further shards.
    pub gone: Gone,
    /// Rows, those of files that are gone among them.
    pub rows: u64,
    /// Bytes on disk, as the manifest has them.
    pub bytes: u64,
    /// Nulls a column: of every column of the data set's own tables, and of every vector column of a teacher's.
    pub nulls: BTreeMap<String, u64>,
    /// Norms of each vector column.
    #[serde(serialize_with = "whole_norms")]
    pub norms: BTreeMap<String, Norms>,
    /// Quantiles of the finite norms of each of these columns. None if some shards were written before they were noted.
    pub norm_quantiles: BTreeMap<String, Option<NormQuantiles>>,
    /// What each vector column takes, and what it lost. Shards written before this was noted are missing.
    pub vectors: BTreeMap<String, VectorSummary>,
    /// Bytes read for each byte used, of a teacher's table that has vectors.
    pub read: Option<ReadSummary>,
}

/// Quantiles of norms, those of zero vectors among them: the least norm that so many in a hundred are not above.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct NormQuantiles {
    /// The most that one is wrong by, as a share of it.
    pub relative_error: f64,
    pub p1: f64,
    pub p5: f64,
    pub p25: f64,
    pub p50: f64,
    pub p75: f64,
    pub p95: f64,
    pub p99: f64,
}

impl NormQuantiles {
    /// None if the histogram is not of all finite norms, or there are none.
    fn of(norms: &Norms, spread: Option<&Histogram>) -> Option<Self> {
        let spread = spread.filter(|spread| spread.total() == norms.finite())?;
        let at = |share| Some(spread.quantile(share)?.max(norms.min).min(norms.max));
        Some(Self {
            relative_error: Histogram::RELATIVE_ERROR,
            p1: at(0.01)?,
            p5: at(0.05)?,
            p25: at(0.25)?,
            p50: at(0.5)?,
            p75: at(0.75)?,
            p95: at(0.95)?,
            p99: at(0.99)?,
        })
    }
}

/// What a step of training reads of a teacher's table for each byte of vectors that it uses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReadSummary {
    /// Where whole shards are read and every row is used, as the trainer does: the bytes of the files over those of their
    /// vectors, as ids, spans, page headers and footers are read too.
    pub whole_shards: f64,
    /// Where rows are taken one by one: a row's whole pages are read, so this is the rows of a page.
    pub random_rows: f64,
}

impl ReadSummary {
    /// Worked out from the sizes in the manifests and the bytes that the writer gives a page.
    fn of(table: &TableSummary, store: Store) -> Option<Self> {
        let element_bytes = match store {
            Store::Floats(dtype) => dtype.bytes(),
            Store::Cos(_) => Code::I8.bytes(),
        };
        let vectors: u64 = table.vectors.values().map(|vectors| vectors.column.bytes).sum();
        let (column, first) = table.vectors.first_key_value()?;
        if vectors == 0 || table.rows == 0 {
            return None;
        }
        let is_list = matches!(table.table.as_str(), features::tokens::NAME | features::patches::NAME);
        let page_bytes = if is_list { PAGE_BYTES } else { VECTOR_PAGE_BYTES };
        let count = table.norms.get(column).map_or(0, |norms| norms.vectors);
        let row_bytes = (count * first.column.width * element_bytes as u64) as f64 / table.rows as f64;
        let rows_of_a_file = table.rows as f64 / table.shards.max(1) as f64;
        let rows = (page_bytes as f64 / row_bytes.max(1.0)).min(rows_of_a_file).max(1.0);
        Some(Self { whole_shards: table.bytes as f64 / vectors as f64, random_rows: rows })
    }
}

/// What the vectors of a column take on disk.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct VectorSummary {
    /// Width, bytes, worst cosine.
    #[serde(flatten)]
    pub column: VectorColumn,
    /// Bytes a vector, its scale included.
    pub bytes_per_vector: f64,
    /// Bits a dimension, the scale included.
    pub bits_per_dimension: f64,
}

/// One teacher.
#[derive(Debug, Clone, Serialize)]
pub struct TeacherSummary {
    /// `name@fingerprint8`.
    pub name: String,
    /// Whether images and texts share one space.
    pub joint: bool,
    /// How its features are stored.
    pub store: Store,
    /// Shards with all tables that this teacher has anywhere, and all their files.
    pub shards: u64,
    /// Shards of the data set.
    pub shards_expected: u64,
    /// Its tables.
    pub tables: Vec<TableSummary>,
    /// What its tables lack, and what they could have besides, each with the command that would compute it.
    pub missing: Vec<Missing>,
}

impl Summary {
    /// Sums up the manifests, and lists the folders of the tables. Of a part of a manifest, its file is read only if the manifest
    /// does not tell enough of it.
    ///
    /// # Errors
    /// As opening the manifests; [`crate::Error::Io`] if a table's folder is there and cannot be listed.
    pub fn of(dataset: &Dataset) -> Result<Self> {
        let manifest = dataset.manifest();
        let mut all = BTreeMap::new();
        let mut splits = Vec::new();
        for split in &manifest.splits {
            let mut mine = BTreeMap::new();
            sums_of(dataset.parts(), &split.name, &split.runs, &mut mine)?;
            splits.push(SplitSummary {
                name: split.name.clone(),
                source: split.source.clone(),
                complete: split.complete,
                shards: split.runs.shard_count() as u64,
                ..split_summary(&mine)
            });
            mine.into_iter().for_each(|(table, sums)| all.entry(table).or_insert_with(Sums::default).merge(sums));
        }
        let known = teachers_of(dataset)?;
        let mut teachers = known.iter().map(|teacher| teacher_summary(dataset, teacher)).collect::<Result<Vec<_>>>()?;
        for at in 0..teachers.len() {
            teachers[at].missing = missing(dataset, &known, &teachers, at);
        }
        let absent = Absent::find(dataset.folder(), dataset.parts(), runs_of(manifest))?;
        let names = tables::all().into_iter().chain([(tables::regions::NAME, tables::regions::schema(None))]);
        let own = names.filter_map(|(table, schema)| {
            let columns = schema.fields().iter().map(|field| field.name().clone());
            Some(table_summary(table, all.remove(table)?, columns).without(absent.of("", table)))
        });
        Ok(Self {
            schema: SUMMARY_VERSION.to_string(),
            splits,
            tables: own.collect(),
            answers: manifest.answers.as_ref().map(|answers| answers.answers.len()),
            teachers,
        })
    }
}

/// What the tables of a split add up to; the split's own fields are left empty.
fn split_summary(tables: &BTreeMap<String, Sums>) -> SplitSummary {
    let rows = |table: &str| tables.get(table).map_or(0, |sums| sums.rows);
    let rejects = tables.get(tables::rejects::NAME).and_then(|sums| sums.columns.values.get(tables::rejects::CODE));
    let again = |table: &str, column: &str| match tables.get(table) {
        Some(sums) => {
            sums.columns.repeats.get(column).filter(|known| known.files == sums.files).map(|known| known.count)
        }
        None => Some(0),
    };
    SplitSummary {
        name: String::new(),
        source: String::new(),
        complete: false,
        shards: 0,
        images: rows(tables::images::NAME),
        texts: rows(tables::texts::NAME),
        samples: rows(tables::samples::NAME),
        duplicates: Duplicates {
            images: again(tables::images::NAME, tables::images::PHASH),
            texts: again(tables::samples::NAME, tables::samples::TEXTS),
        },
        rejected: rows(tables::rejects::NAME),
        rejects: rejects
            .into_iter()
            .flatten()
            .map(|(code, count)| RejectCount { code: code.clone(), count: *count })
            .collect(),
    }
}

/// What a teacher has; what it lacks is left empty.
fn teacher_summary(dataset: &Dataset, teacher: &TeacherCache) -> Result<TeacherSummary> {
    let manifest = teacher.manifest();
    let mut mine = BTreeMap::new();
    for (split, runs) in teacher.runs() {
        sums_of(teacher.parts(), split, runs, &mut mine)?;
    }
    let absent = Absent::find(teacher.folder(), teacher.parts(), teacher.runs())?;
    let folder = format!("{CACHE_FOLDER}/{}/", teacher.folder_name());
    let table = |table: &&str| {
        let sums = mine.remove(*table)?;
        let columns = sums.columns.norms.keys().cloned().collect::<Vec<_>>();
        let summary = table_summary(table, sums, columns);
        let read = ReadSummary::of(&summary, manifest.store);
        Some(TableSummary { read, ..summary.without(absent.of(&folder, table)) })
    };
    Ok(TeacherSummary {
        name: teacher.folder_name().to_owned(),
        joint: manifest.joint,
        store: manifest.store,
        shards: whole_shards(teacher, &absent)?,
        shards_expected: dataset.shard_count() as u64,
        tables: features::ALL.iter().filter_map(table).collect(),
        missing: Vec::new(),
    })
}

/// Of a table with these columns, as the manifest has it.
fn table_summary(table: &str, sums: Sums, columns: impl IntoIterator<Item = String>) -> TableSummary {
    let mut nulls: BTreeMap<String, u64> = columns.into_iter().map(|column| (column, 0)).collect();
    let columns = sums.columns;
    nulls.extend(columns.nulls);
    let quantiles = columns.norms.iter().map(|(column, norms)| {
        let spread = columns.norm_counts.get(column);
        (column.clone(), NormQuantiles::of(norms, spread))
    });
    TableSummary {
        table: table.to_owned(),
        shards: sums.files,
        gone: Gone::default(),
        rows: sums.rows,
        bytes: sums.bytes,
        nulls,
        norm_quantiles: quantiles.collect(),
        norms: columns.norms,
        vectors: columns.vectors.into_iter().map(|(column, taken)| (column, taken_by_each(taken))).collect(),
        read: None,
    }
}

impl TableSummary {
    /// As it is, but for files that are gone.
    fn without(self, gone: Gone) -> Self {
        Self { shards: self.shards.saturating_sub(gone.files), gone, ..self }
    }
}

/// Norms of columns with every key: manifests leave out what is 0 of those that came later.
fn whole_norms<S: Serializer>(norms: &BTreeMap<String, Norms>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Whole {
        vectors: u64,
        zero: u64,
        nan: u64,
        infinite: u64,
        min: f64,
        mean: f64,
        max: f64,
    }
    let whole = |Norms { vectors, zero, nan, infinite, min, mean, max }: Norms| Whole {
        vectors,
        zero,
        nan,
        infinite,
        min,
        mean,
        max,
    };
    serializer.collect_map(norms.iter().map(|(column, norms)| (column, whole(*norms))))
}

fn taken_by_each(VectorSums { count, column }: VectorSums) -> VectorSummary {
    let bytes_per_vector = column.bytes as f64 / count.max(1) as f64;
    let bits_per_dimension = bytes_per_vector * 8.0 / column.width.max(1) as f64;
    VectorSummary { column, bytes_per_vector, bits_per_dimension }
}
