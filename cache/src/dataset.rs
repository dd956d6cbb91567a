//! A data set: its manifest, its tables, its splits in the making.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use retort_schemas::manifest::{
    AnswerVocabulary, DATASET_FILE, DATASET_VERSION, DatasetManifest, Shard, Split, TableFile,
};
use retort_schemas::parts::{PART_SHARDS, Runs};
use retort_schemas::{SchemaVersion, tables};

use crate::files::{holds_a_table, remove_file};
use crate::lock::WriterLock;
use crate::parts::{Parts, Shards, check_order, table_paths};
use crate::rows::RowTables;
use crate::seal::{read_sealed, write_sealed};
use crate::{Columns, Error, Result, RowsRead, read_table, remove_temporaries, write_table};

/// A data set opened for reading.
#[derive(Debug, Clone)]
pub struct Dataset {
    folder: PathBuf,
    manifest: DatasetManifest,
    parts: Parts,
    /// Shared by all clones.
    rows: Arc<RowTables>,
}

/// Files of a data set that [`Dataset::read_rows`] holds open: four tables of 64 shards.
const OPEN_FILES: usize = 256;

impl Dataset {
    /// Opens a data set by its folder. The parts of its manifest are read when a shard of theirs is wanted.
    ///
    /// # Errors
    /// [`Error::NotADataset`] if there is no manifest, [`Error::NoManifest`] if its tables are there; [`Error::Damaged`] or
    /// [`Error::Broken`] if it does not match its seal; [`Error::Manifest`] if its shards are not in order;
    /// [`Error::Schema`] if it is of another version.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(DATASET_FILE);
        if !path.is_file() {
            let (path, file) = (folder.to_owned(), DATASET_FILE);
            let own = [tables::images::NAME, tables::texts::NAME, tables::samples::NAME];
            let is_left = own.iter().any(|table| holds_a_table(&folder.join(table)));
            return Err(if is_left { Error::NoManifest { path, file } } else { Error::NotADataset { path, file } });
        }
        let mut manifest: DatasetManifest = read_sealed(&path, DATASET_VERSION)?;
        manifest.splits.iter().try_for_each(|split| check_order(&path, &split.name, &split.runs))?;
        manifest.schema = DATASET_VERSION.to_string();
        let (parts, rows) = (Parts::new(folder), Arc::new(RowTables::at_most(OPEN_FILES)));
        Ok(Self { folder: folder.to_owned(), manifest, parts, rows })
    }

    /// The folder it was opened from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it holds, the shards of its parts left out.
    pub fn manifest(&self) -> &DatasetManifest {
        &self.manifest
    }

    /// A split by name.
    ///
    /// # Errors
    /// [`Error::NoSplit`] naming those that there are.
    pub fn split(&self, name: &str) -> Result<&Split> {
        self.manifest.split(name).ok_or_else(|| Error::NoSplit {
            path: self.folder.clone(),
            split: name.to_owned(),
            known: names(self.manifest.splits.iter().map(|split| split.name.as_str())),
        })
    }

    /// All shards in order, one part of the manifest in memory at a time. A part that cannot be read is one error, as
    /// [`Dataset::shard`] has it.
    pub fn shards(&self) -> Shards<'_> {
        Shards::new(&self.parts, runs_of(&self.manifest))
    }

    /// The shards of a split in order, as [`Dataset::shards`].
    ///
    /// # Errors
    /// [`Error::NoSplit`].
    pub fn split_shards(&self, name: &str) -> Result<Shards<'_>> {
        let split = self.split(name)?;
        Ok(Shards::new(&self.parts, std::iter::once((split.name.as_str(), &split.runs))))
    }

    /// The shard of this name, if there is one.
    ///
    /// # Errors
    /// [`Error::Damaged`] and [`Error::Broken`] if the part of the manifest that it is in is not what was written;
    /// [`Error::Schema`] if that is of another version.
    pub fn shard(&self, name: &str) -> Result<Option<Shard>> {
        match self.manifest.split(Shard::split_of(name)) {
            Some(split) => self.parts.find(&split.name, &split.runs, name),
            None => Ok(None),
        }
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.manifest.shard_count()
    }

    pub(crate) const fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The answer vocabulary.
    ///
    /// # Errors
    /// [`Error::Manifest`] if the data set has none.
    pub fn answers(&self) -> Result<&AnswerVocabulary> {
        self.manifest.answers.as_ref().ok_or_else(|| Error::Manifest {
            path: self.folder.join(DATASET_FILE),
            problem: "it has no answer vocabulary".to_owned(),
        })
    }

    /// Reads columns of one table of a shard, checked.
    ///
    /// # Errors
    /// As [`read_table`].
    pub fn read(&self, shard: &Shard, table: &str, columns: Columns<'_>) -> Result<RecordBatch> {
        let (path, file) = self.file(shard, table)?;
        read_table(&path, file, version_of(table), columns)
    }

    /// As [`Dataset::read`], some rows only, in the order asked for. Only the pages that hold them are read and
    /// checked, each once a call; files stay open from call to call.
    ///
    /// # Errors
    /// As [`read_table`]; [`Error::Broken`] if there is no such row.
    pub fn read_rows(&self, shard: &Shard, table: &str, columns: Columns<'_>, rows: &[usize]) -> Result<RecordBatch> {
        let (path, file) = self.file(shard, table)?;
        self.rows.read(&path, file, version_of(table), columns, rows)
    }

    /// What [`Dataset::read_rows`] of this data set and of its clones has read so far.
    pub fn rows_read(&self) -> RowsRead {
        self.rows.rows_read()
    }

    fn file<'a>(&self, shard: &'a Shard, table: &str) -> Result<(PathBuf, &'a TableFile)> {
        let path = table_path(&self.folder, table, &shard.name);
        match shard.tables.get(table) {
            Some(file) => Ok((path, file)),
            None => {
                let problem = format!("the manifest has no table {table} in shard {}", shard.name);
                Err(Error::Broken { path, problem })
            }
        }
    }
}

/// The shards of each split, as [`Shards`] and [`Parts::sweep`] take them.
pub(crate) fn runs_of(manifest: &DatasetManifest) -> impl Iterator<Item = (&str, &Runs)> {
    manifest.splits.iter().map(|split| (split.name.as_str(), &split.runs))
}

/// Names for an error message.
pub(crate) fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The file of one table of a shard.
pub(crate) fn table_path(folder: &Path, table: &str, shard: &str) -> PathBuf {
    folder.join(table).join(format!("{shard}.parquet"))
}

pub(crate) fn version_of(table: &str) -> SchemaVersion {
    match table {
        tables::images::NAME => tables::images::VERSION,
        tables::texts::NAME => tables::texts::VERSION,
        tables::rejects::NAME => tables::rejects::VERSION,
        tables::regions::NAME => tables::regions::VERSION,
        _ => tables::samples::VERSION,
    }
}

/// A split that is about to be written.
#[derive(Debug, Clone)]
pub struct SplitPlan {
    /// Its name.
    pub name: String,
    /// The source kind, such as `vqa`.
    pub source: String,
    /// Everything that decides what is written; run again with other options, it is refused.
    pub options: serde_json::Value,
    /// The answer vocabulary that its labels use, if any: the same for all splits of a data set.
    pub answers: Option<AnswerVocabulary>,
}

/// Adds one split to a data set, shard by shard. Dropping it at any time keeps the shards committed so far.
#[derive(Debug)]
pub struct DatasetWriter {
    folder: PathBuf,
    manifest: DatasetManifest,
    parts: Parts,
    split: usize,
    /// Shards of a full run.
    run_shards: usize,
    _lock: WriterLock,
}

impl DatasetWriter {
    /// Starts a split, or continues one that was begun with the same options.
    ///
    /// # Errors
    /// [`Error::SplitExists`] if it was begun with other options or another answer vocabulary; [`Error::Locked`] if
    /// another process writes to this data set.
    pub fn begin(folder: &Path, plan: SplitPlan) -> Result<Self> {
        let lock = WriterLock::take(folder)?;
        Self::begin_locked(folder, plan, lock)
    }

    fn begin_locked(folder: &Path, plan: SplitPlan, lock: WriterLock) -> Result<Self> {
        let mut manifest = manifest_of(folder)?;
        let refuse =
            |problem: String| Error::SplitExists { path: folder.to_owned(), split: plan.name.clone(), problem };
        let options = sorted(plan.options);
        if plan.answers.is_some() && manifest.answers.is_some() && plan.answers != manifest.answers {
            return Err(refuse("needs another answer vocabulary than the data set has".to_owned()));
        }
        let split = match manifest.splits.iter().position(|split| split.name == plan.name) {
            Some(at) => {
                let begun = &manifest.splits[at];
                if begun.source != plan.source || begun.options != options {
                    let was = format!("exists with other options: {} {}", begun.source, begun.options);
                    return Err(refuse(was));
                }
                at
            }
            None => {
                manifest.splits.push(Split {
                    name: plan.name.clone(),
                    source: plan.source,
                    options,
                    complete: false,
                    runs: Runs::default(),
                });
                manifest.splits.len() - 1
            }
        };
        if manifest.answers.is_none() {
            manifest.answers = plan.answers;
        }
        for table in tables::all().map(|(table, _)| table).into_iter().chain([tables::regions::NAME]) {
            remove_temporaries(&folder.join(table))?;
        }
        remove_temporaries(folder)?;
        let parts = Parts::new(folder);
        parts.sweep(runs_of(&manifest))?;
        Ok(Self { folder: folder.to_owned(), manifest, parts, split, run_shards: PART_SHARDS, _lock: lock })
    }

    /// As [`DatasetWriter::begin`], but a split of this name that is complete, or was begun with other options, is taken
    /// out first, with the features that teachers made of it. One that was begun with these options is continued.
    ///
    /// # Errors
    /// As [`DatasetWriter::begin`].
    pub fn replace(folder: &Path, plan: SplitPlan) -> Result<Self> {
        let lock = WriterLock::take(folder)?;
        let mut manifest = manifest_of(folder)?;
        let obsolete = |split: &Split| {
            split.name == plan.name
                && (split.complete || split.source != plan.source || split.options != sorted(plan.options.clone()))
        };
        if let Some(at) = manifest.splits.iter().position(obsolete) {
            let removed = manifest.splits.remove(at);
            // Labels of no other split depend on a vocabulary that this one brought.
            if manifest.splits.is_empty() {
                manifest.answers = None;
            }
            // First what is said to be there, then what is there: a kill in between leaves files that nothing names.
            crate::teacher::forget(folder, &removed.name)?;
            write_sealed(&folder.join(DATASET_FILE), &manifest)?;
            for file in table_paths(folder, &removed.name, &removed.runs, |_| true) {
                remove_file(&file)?;
            }
        }
        Self::begin_locked(folder, plan, lock)
    }

    /// As it is, with runs of so many shards, for tests: a data set of few shards has parts then.
    #[doc(hidden)]
    #[must_use]
    pub fn in_runs_of(self, run_shards: usize) -> Self {
        Self { run_shards, ..self }
    }

    /// Shards committed so far: the index of the next.
    pub fn committed(&self) -> usize {
        self.manifest.splits[self.split].runs.shard_count()
    }

    /// Whether the split was finished before.
    pub fn is_complete(&self) -> bool {
        self.manifest.splits[self.split].complete
    }

    /// Writes the tables of the next shard and commits it.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Parquet`]; the shard is then not in the manifest.
    pub fn commit(&mut self, tables: &[(&str, RecordBatch)]) -> Result<()> {
        let split = &self.manifest.splits[self.split];
        let name = Shard::name_of(&split.name, split.runs.shard_count());
        let mut files = BTreeMap::new();
        for (table, batch) in tables {
            files.insert((*table).to_owned(), write_table(&table_path(&self.folder, table, &name), batch)?);
        }
        self.manifest.splits[self.split].runs.open.push(Shard { name, tables: files });
        self.write_manifest()
    }

    /// Marks the split as complete.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(mut self) -> Result<()> {
        self.manifest.splits[self.split].complete = true;
        self.write_manifest()
    }

    /// First the parts, then the manifest that names them.
    fn write_manifest(&mut self) -> Result<()> {
        for split in &mut self.manifest.splits {
            self.parts.settle(&split.name, &mut split.runs, self.run_shards, None)?;
        }
        write_sealed(&self.folder.join(DATASET_FILE), &self.manifest)
    }
}

/// The manifest of a data set, or an empty one.
fn manifest_of(folder: &Path) -> Result<DatasetManifest> {
    match Dataset::open(folder) {
        Ok(dataset) => Ok(dataset.manifest),
        // A writer that was killed in its first shard leaves tables alone.
        Err(Error::NotADataset { .. } | Error::NoManifest { .. }) => Ok(DatasetManifest::empty()),
        Err(error) => Err(error),
    }
}

/// JSON with the keys of every object in order, so that equal values have equal text.
pub(crate) fn sorted(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(map) => {
            let ordered: BTreeMap<String, serde_json::Value> =
                map.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            serde_json::Value::Object(ordered.into_iter().collect())
        }
        serde_json::Value::Array(items) => serde_json::Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
