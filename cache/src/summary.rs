//! What is in a data set, told by its manifests alone: no table is opened.

use std::collections::BTreeMap;

use retort_schemas::manifest::{Norms, Shard, TableFile, VectorColumn};
use retort_schemas::{Code, Store, features, tables};
use serde::Serialize;

use crate::write::{PAGE_BYTES, VECTOR_PAGE_BYTES};
use crate::{Columns, Dataset, Result, column, teachers_of};

/// Counts, sizes and coverage of a data set.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
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
    /// Rejects by reason.
    pub rejects: Vec<RejectCount>,
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
    /// Rows.
    pub rows: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Nulls a column, where there are any.
    pub nulls: BTreeMap<String, u64>,
    /// Norms of each vector column.
    pub norms: BTreeMap<String, Norms>,
    /// What each vector column takes, and what it lost. Shards written before this was noted are missing.
    pub vectors: BTreeMap<String, VectorSummary>,
    /// Bytes read for each byte used, of a teacher's table that has vectors.
    pub read: Option<ReadSummary>,
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
    fn of(table: &TableSummary, files: u64, store: Store) -> Option<Self> {
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
        let rows_of_a_file = table.rows as f64 / files.max(1) as f64;
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
    /// Shards with all tables that this teacher has anywhere.
    pub shards: u64,
    /// Shards of the data set.
    pub shards_expected: u64,
    /// Its tables.
    pub tables: Vec<TableSummary>,
}

impl Summary {
    /// Sums up the manifests. Reject codes are read from the reject tables, where there are any.
    ///
    /// # Errors
    /// As opening the manifests, or reading a reject table.
    pub fn of(dataset: &Dataset) -> Result<Self> {
        let manifest = dataset.manifest();
        let mut all = BTreeMap::<String, Sums>::new();
        let mut splits = Vec::new();
        for split in &manifest.splits {
            let mut rejects = BTreeMap::new();
            for shard in dataset.split_shards(&split.name)? {
                let shard = shard?;
                add(&mut all, &shard);
                count_rejects(dataset, &shard, &mut rejects)?;
            }
            let rows = |table: &str| split.runs.total(table).rows;
            splits.push(SplitSummary {
                name: split.name.clone(),
                source: split.source.clone(),
                complete: split.complete,
                shards: split.runs.shard_count() as u64,
                images: rows(tables::images::NAME),
                texts: rows(tables::texts::NAME),
                samples: rows(tables::samples::NAME),
                rejects: rejects.into_iter().map(|(code, count)| RejectCount { code, count }).collect(),
            });
        }
        let mut teachers = Vec::new();
        for teacher in teachers_of(dataset)? {
            let manifest = teacher.manifest();
            let mut mine = BTreeMap::new();
            let mut whole = 0;
            for shard in teacher.shards() {
                let shard = shard?;
                add(&mut mine, &shard);
                let known = |table: &&&str| manifest.has(table);
                whole += u64::from(features::ALL.iter().filter(known).all(|table| shard.tables.contains_key(*table)));
            }
            teachers.push(TeacherSummary {
                name: teacher.folder_name().to_owned(),
                joint: manifest.joint,
                store: manifest.store,
                shards: whole,
                shards_expected: dataset.shard_count() as u64,
                tables: features::ALL
                    .iter()
                    .filter_map(|table| {
                        let sums = mine.remove(*table)?;
                        let files = sums.files;
                        let table = sums.summary(table);
                        Some(TableSummary { read: ReadSummary::of(&table, files, manifest.store), ..table })
                    })
                    .collect(),
            });
        }
        let names = tables::all().map(|(table, _)| table).into_iter().chain([tables::regions::NAME]);
        Ok(Self {
            splits,
            tables: names.filter_map(|table| Some(all.remove(table)?.summary(table))).collect(),
            answers: manifest.answers.as_ref().map(|answers| answers.answers.len()),
            teachers,
        })
    }
}

/// Adds the rejects of a shard by their codes.
fn count_rejects(dataset: &Dataset, shard: &Shard, counts: &mut BTreeMap<String, u64>) -> Result<()> {
    if shard.rows(tables::rejects::NAME) > 0 {
        let batch = dataset.read(shard, tables::rejects::NAME, Columns::Named(&[tables::rejects::CODE]))?;
        for code in column::<arrow::array::StringArray>(&batch, tables::rejects::CODE)?.iter().flatten() {
            *counts.entry(code.to_owned()).or_default() += 1;
        }
    }
    Ok(())
}

/// What is known of a table, shard by shard.
#[derive(Default)]
struct Sums {
    files: u64,
    rows: u64,
    bytes: u64,
    nulls: BTreeMap<String, u64>,
    norms: BTreeMap<String, Norms>,
    /// With the number of vectors, of which the manifest tells beside their norms.
    vectors: BTreeMap<String, (u64, VectorColumn)>,
}

/// Adds the tables of a shard to those known.
fn add(known: &mut BTreeMap<String, Sums>, shard: &Shard) {
    for (table, file) in &shard.tables {
        if let Some(sums) = known.get_mut(table) {
            sums.add(file);
        } else {
            known.entry(table.clone()).or_default().add(file);
        }
    }
}

impl Sums {
    fn add(&mut self, file: &TableFile) {
        self.files += 1;
        self.rows += file.rows;
        self.bytes += file.bytes;
        for (column, count) in &file.nulls {
            *self.nulls.entry(column.clone()).or_default() += count;
        }
        for (column, more) in &file.norms {
            self.norms.entry(column.clone()).and_modify(|known| *known = known.merge(*more)).or_insert(*more);
        }
        for (column, more) in &file.vectors {
            let count = file.norms.get(column).map_or(0, |norms| norms.vectors);
            let add = |known: &mut (u64, VectorColumn)| *known = (known.0 + count, known.1.merge(*more));
            self.vectors.entry(column.clone()).and_modify(add).or_insert((count, *more));
        }
    }

    fn summary(self, table: &str) -> TableSummary {
        let each = |(column, (count, taken))| (column, taken_by_each(count, taken));
        TableSummary {
            table: table.to_owned(),
            rows: self.rows,
            bytes: self.bytes,
            nulls: self.nulls,
            norms: self.norms,
            vectors: self.vectors.into_iter().map(each).collect(),
            read: None,
        }
    }
}

fn taken_by_each(vectors: u64, column: VectorColumn) -> VectorSummary {
    let bytes_per_vector = column.bytes as f64 / vectors.max(1) as f64;
    let bits_per_dimension = bytes_per_vector * 8.0 / column.width.max(1) as f64;
    VectorSummary { column, bytes_per_vector, bits_per_dimension }
}
