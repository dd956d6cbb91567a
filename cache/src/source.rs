//! What is read row by row: columns of several tables side by side, shard after shard.

use std::path::PathBuf;
use std::sync::Arc;

use retort_schemas::SchemaVersion;
use retort_schemas::manifest::{Shard, TableFile};

use crate::dataset::table_path;
use crate::{Dataset, Error, Result, TeacherCache};

/// Columns of tables whose rows belong together: row i of each is row i of all. Rows are counted through all shards.
///
/// ```text
/// shard train-00000   images.embedding | tokens.tokens     rows 0 .. 1024
/// shard train-00001   images.embedding | tokens.tokens     rows 1024 .. 2048
/// ```
#[derive(Debug, Clone)]
pub struct Source {
    pub(crate) shards: Vec<SourceShard>,
    pub(crate) columns: Vec<String>,
    /// First row of each shard, and behind the last one the number of all rows.
    pub(crate) starts: Vec<u64>,
}

/// One shard of a source.
#[derive(Debug, Clone)]
pub(crate) struct SourceShard {
    pub(crate) name: String,
    pub(crate) rows: usize,
    /// The file of each column.
    pub(crate) files: Vec<Arc<SourceFile>>,
}

/// One table of a shard.
#[derive(Debug)]
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    pub(crate) file: TableFile,
    pub(crate) version: SchemaVersion,
}

impl SourceShard {
    /// Compressed bytes of its columns.
    pub(crate) fn bytes(&self, columns: &[String]) -> u64 {
        let bytes =
            |(file, column): (&Arc<SourceFile>, &String)| file.file.column_bytes.get(column).copied().unwrap_or(0);
        self.files.iter().zip(columns).map(bytes).sum()
    }
}

impl Source {
    /// Columns, each as (table, column), of a split of a data set.
    ///
    /// # Errors
    /// [`Error::NoSplit`]; [`Error::Broken`] if a shard lacks a table, or tables of a shard differ in their rows.
    pub fn of_dataset(dataset: &Dataset, split: &str, columns: &[(&str, &str)]) -> Result<Self> {
        let shards = dataset.split_shards(split)?;
        Self::build(dataset.folder().to_owned(), shards, columns, crate::dataset::version_of)
    }

    /// Columns, each as (table, column), of a teacher's features of a split of its data set.
    ///
    /// # Errors
    /// As [`Source::of_dataset`]; [`Error::ForeignCache`] and [`Error::Misaligned`] if the features are of other rows.
    pub fn of_teacher(
        dataset: &Dataset,
        teacher: &TeacherCache,
        split: &str,
        columns: &[(&str, &str)],
    ) -> Result<Self> {
        // What a manifest says of the ids holds for the files: a reader takes no page that another file's footer names.
        teacher.check_belongs(dataset)?;
        let broken = |shard: &Shard| Error::Broken {
            path: teacher.folder().to_owned(),
            problem: format!("it has no shard {}: run teach again", shard.name),
        };
        let mine = dataset.split_shards(split)?.map(|shard| {
            let shard = shard?;
            teacher.shard(&shard.name)?.ok_or_else(|| broken(&shard))
        });
        Self::build(teacher.folder().to_owned(), mine, columns, crate::teacher::version_of)
    }

    fn build(
        folder: PathBuf,
        shards: impl Iterator<Item = Result<Shard>>,
        columns: &[(&str, &str)],
        version_of: fn(&str) -> SchemaVersion,
    ) -> Result<Self> {
        let shards = shards.map(|shard| {
            let shard = shard?;
            let files = columns.iter().map(|(table, _)| {
                let path = table_path(&folder, table, &shard.name);
                let Some(file) = shard.tables.get(*table).cloned() else {
                    let problem = format!("the manifest has no table {table} of shard {}", shard.name);
                    return Err(Error::Broken { path, problem });
                };
                Ok(Arc::new(SourceFile { path, file, version: version_of(table) }))
            });
            let files: Vec<_> = files.collect::<Result<_>>()?;
            let rows = files.first().map_or(0, |file| file.file.rows as usize);
            Ok(SourceShard { name: shard.name.clone(), rows, files })
        });
        let columns = columns.iter().map(|(_, column)| (*column).to_owned()).collect();
        Self { shards: shards.collect::<Result<_>>()?, columns, starts: Vec::new() }.counted()
    }

    /// Columns of another source behind these: of a teacher, beside those of the data set or of another teacher.
    ///
    /// # Errors
    /// [`Error::Broken`] if it has other shards or other rows.
    pub fn beside(mut self, other: Self) -> Result<Self> {
        let mut theirs = other.shards.into_iter();
        for mine in &mut self.shards {
            let shard = theirs.next().filter(|shard| shard.name == mine.name).ok_or_else(|| Error::Broken {
                path: PathBuf::from(&mine.name),
                problem: "the sources side by side have different shards".to_owned(),
            })?;
            mine.files.extend(shard.files);
        }
        self.columns.extend(other.columns);
        self.counted()
    }

    /// Counts the rows, which are as many in each table of a shard.
    fn counted(mut self) -> Result<Self> {
        self.starts = vec![0];
        let mut rows = 0;
        for shard in &self.shards {
            if let Some(other) = shard.files.iter().find(|file| file.file.rows != shard.rows as u64) {
                let problem = format!("it has {} rows, the table beside it {}", other.file.rows, shard.rows);
                return Err(Error::Broken { path: other.path.clone(), problem });
            }
            rows += shard.rows as u64;
            self.starts.push(rows);
        }
        Ok(self)
    }

    /// Rows of all shards.
    pub fn rows(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Names of the columns, in the order asked for.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Shard, and row in it, of a row.
    pub(crate) fn place(&self, row: u64) -> Option<(usize, usize)> {
        let shard = self.starts.partition_point(|start| *start <= row).checked_sub(1)?;
        (row < self.rows()).then(|| (shard, (row - self.starts[shard]) as usize))
    }
}

/// Rows in the caller's memory, which every call uses again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// Which rows these are, counted through all shards.
    pub rows: Vec<u64>,
    /// Their values, by column of the source.
    pub columns: Vec<RowBytes>,
}

/// The values of one column, row after row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowBytes {
    /// As stored: vectors and numbers little-endian, those of a list end to end.
    pub bytes: Vec<u8>,
    /// Where the bytes of each row end.
    pub ends: Vec<usize>,
}

impl RowBytes {
    /// The bytes of one row; none behind the last.
    pub fn row(&self, row: usize) -> &[u8] {
        let from = row.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        let range = from.and_then(|from| Some(from..*self.ends.get(row)?));
        range.and_then(|range| self.bytes.get(range)).unwrap_or_default()
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
    }
}

impl Rows {
    pub(crate) fn clear(&mut self, columns: usize) {
        self.rows.clear();
        self.columns.resize_with(columns, RowBytes::default);
        for column in &mut self.columns {
            column.bytes.clear();
            column.ends.clear();
        }
    }
}
