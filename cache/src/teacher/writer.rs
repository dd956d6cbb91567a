//! The one writer of a teacher's features.

use std::collections::BTreeMap;

use super::{TeacherCache, fingerprint};
use crate::dataset::{sorted, table_path};
use crate::files::{is_there, remove_tables};
use crate::lock::WriterLock;
use crate::{Dataset, Error, Result, remove_temporaries, write_table};
use arrow::array::RecordBatch;
use retort_schemas::manifest::{BatchPlan, CACHE_FOLDER, Origin, TEACHER_FILE, TEACHER_VERSION, TeacherManifest};
use retort_schemas::parts::PART_SHARDS;
use retort_schemas::{Store, features};

/// Adds features of one teacher to a data set, shard by shard. Dropping it keeps the shards committed so far.
#[derive(Debug)]
pub struct TeacherWriter {
    cache: TeacherCache,
    dataset: Dataset,
    /// Shards of a full run.
    run_shards: usize,
    _lock: WriterLock,
}

impl TeacherWriter {
    /// Opens or creates `cache/<name>@<fingerprint8>` and takes its lock.
    ///
    /// `plan` is kept only by a new cache: an existing one goes on with the batches it was begun with.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process writes there; [`Error::ForeignCache`] if its rows are not this data set's.
    pub fn open(
        dataset: &Dataset,
        name: &str,
        joint: bool,
        store: impl Into<Store>,
        identity: serde_json::Value,
        plan: BatchPlan,
    ) -> Result<Self> {
        let store = store.into();
        let fingerprint = fingerprint(&identity, store);
        let folder = dataset.folder().join(CACHE_FOLDER).join(format!("{name}@{}", &fingerprint[..8]));
        let lock = WriterLock::take(&folder)?;
        let cache = if folder.join(TEACHER_FILE).is_file() {
            TeacherCache::load(&folder)?
        } else {
            // Of a writer that was killed in its first shard, or of a manifest that was lost.
            features::ALL.iter().try_for_each(|table| remove_tables(&folder.join(table)))?;
            let manifest = TeacherManifest {
                schema: TEACHER_VERSION.to_string(),
                name: name.to_owned(),
                fingerprint: fingerprint.clone(),
                joint,
                store,
                identity: sorted(identity),
                origin: None,
                folder: None,
                settings: BTreeMap::new(),
                batch: plan,
                splits: Vec::new(),
                shards: Vec::new(),
            };
            TeacherCache::new(&folder, manifest)
        };
        if cache.manifest.fingerprint != fingerprint {
            let problem = format!("its fingerprint is {}, expected {fingerprint}", cache.manifest.fingerprint);
            return Err(Error::Manifest { path: folder.join(TEACHER_FILE), problem });
        }
        cache.check_belongs(dataset)?;
        for table in features::ALL {
            remove_temporaries(&folder.join(table))?;
        }
        remove_temporaries(&folder)?;
        cache.parts.sweep(cache.runs())?;
        Ok(Self { cache, dataset: dataset.clone(), run_shards: PART_SHARDS, _lock: lock })
    }

    /// Says where the teacher's model was fetched from, with what is committed next. A model that was not fetched leaves what is
    /// said there: its numbers are the same.
    #[must_use]
    pub fn from_origin(mut self, origin: Option<Origin>) -> Self {
        if origin.is_some() {
            self.cache.manifest.origin = origin;
        }
        self
    }

    /// Says which folder the teacher's model was opened from, with what is committed next, so that `retort summary` can say it
    /// again. A model of the hub leaves what is said there.
    #[must_use]
    pub fn from_folder(mut self, folder: Option<String>) -> Self {
        if folder.is_some() {
            self.cache.manifest.folder = folder;
        }
        self
    }

    /// Says what was said over what the teacher's folder says, with what is committed next; where nothing was, what is there
    /// stays: its numbers are the same.
    #[must_use]
    pub fn with_settings(mut self, settings: BTreeMap<String, String>) -> Self {
        if !settings.is_empty() {
            self.cache.manifest.settings = settings;
        }
        self
    }

    /// Whether nothing was ever committed, so that the batches are not settled.
    pub fn is_new(&self) -> bool {
        !self.cache.folder.join(TEACHER_FILE).is_file()
    }

    /// As it is, with other batches. A cache that was begun goes on with its own.
    #[must_use]
    pub fn with_batches(mut self, plan: BatchPlan) -> Self {
        if self.is_new() {
            self.cache.manifest.batch = plan;
        }
        self
    }

    /// As it is, with runs of so many shards, for tests: a data set of few shards has parts then.
    #[doc(hidden)]
    #[must_use]
    pub fn in_runs_of(self, run_shards: usize) -> Self {
        Self { run_shards, ..self }
    }

    /// The cache as committed so far.
    pub fn cache(&self) -> &TeacherCache {
        &self.cache
    }

    /// Whether a table of a shard is there: named by the manifest, and not gone.
    ///
    /// # Errors
    /// As [`TeacherWriter::tables`].
    pub fn has(&self, shard: &str, table: &str) -> Result<bool> {
        Ok(self.tables(shard)?.get(table).copied().unwrap_or(false))
    }

    /// The tables of a shard that the manifest names, and of each whether its file is there. One that is gone is as good as one that
    /// never was: what is committed takes its place, and is the same to the byte. One that is damaged is there, as it may be worth
    /// keeping: `retort verify --quarantine` sets it aside, and it is in no manifest then.
    ///
    /// # Errors
    /// As [`TeacherCache::shard`]; [`Error::Io`] if nobody can tell whether a file is there.
    pub fn tables(&self, shard: &str) -> Result<BTreeMap<String, bool>> {
        let Some(known) = self.cache.shard(shard)? else { return Ok(BTreeMap::new()) };
        let named = known.tables.into_keys();
        named.map(|table| Ok((table.clone(), is_there(&table_path(&self.cache.folder, &table, shard))?))).collect()
    }

    /// Writes tables of a shard and commits them.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Parquet`]; nothing of it is then in the manifest.
    pub fn commit(&mut self, shard: &str, tables: &[(&str, RecordBatch)]) -> Result<()> {
        let mut files = BTreeMap::new();
        for (table, batch) in tables {
            files.insert((*table).to_owned(), write_table(&table_path(&self.cache.folder, table, shard), batch)?);
        }
        self.cache.add(shard, files)?;
        self.cache.order_splits(&self.dataset);
        self.cache.save(self.run_shards, Some(shard))
    }

    /// Takes a table of a shard out of the manifest.
    #[cfg(test)]
    pub(crate) fn take_out(&mut self, shard: &str, table: &str) -> Result<()> {
        self.cache.take_out(shard, table)?;
        self.cache.save(self.run_shards, Some(shard))
    }

    /// Leaves the manifest as it would be had everything been committed in one go. What was committed is there without it;
    /// it is for the end of a piece of work, done or found done.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(mut self) -> Result<()> {
        self.cache.finish(self.run_shards)
    }
}
