//! The features of one teacher beside a data set.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use retort_schemas::manifest::{BatchPlan, CACHE_FOLDER, Shard, TEACHER_FILE, TEACHER_VERSION, TeacherManifest};
use retort_schemas::{SchemaVersion, Store, features, scale_column, tables};

use crate::dataset::{names, sorted, table_path};
use crate::files::{remove_file, remove_tables};
use crate::lock::WriterLock;
use crate::rows::RowTables;
use crate::seal::{read_sealed, write_sealed};
use crate::write::ids_digest;
use crate::{Columns, Dataset, Error, Result, RowsRead, read_table, remove_temporaries, take_ids, write_table};

/// blake3 over everything that decides a teacher's numbers, 32 hex digits.
pub fn fingerprint(identity: &serde_json::Value, store: impl Into<Store>) -> String {
    let text = format!("{}\n{}", sorted(identity.clone()), store.into());
    blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()
}

/// A teacher's cache opened for reading.
#[derive(Debug, Clone)]
pub struct TeacherCache {
    folder: PathBuf,
    manifest: TeacherManifest,
    /// Shared by all clones.
    rows: Arc<RowTables>,
}

/// Files of a teacher that [`TeacherCache::read_rows`] holds open: two tables of 64 shards.
const OPEN_FILES: usize = 128;

/// Every teacher of a data set, by folder name.
///
/// # Errors
/// As [`TeacherCache::open`].
pub fn teachers_of(dataset: &Dataset) -> Result<Vec<TeacherCache>> {
    teacher_folders(dataset.folder())?.iter().map(|folder| TeacherCache::load(folder)).collect()
}

/// The folders of a data set's teachers that have a manifest, by name. One without is a teacher of which nothing was
/// committed.
pub(crate) fn teacher_folders(dataset: &Path) -> Result<Vec<PathBuf>> {
    let cache = dataset.join(CACHE_FOLDER);
    let Ok(entries) = std::fs::read_dir(&cache) else {
        return Ok(Vec::new());
    };
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io("list", &cache))?.path();
        if path.join(TEACHER_FILE).is_file() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

impl TeacherCache {
    /// Opens a teacher by name (`clip`), or by name and fingerprint (`clip@1a2b3c4d`) where there are several.
    ///
    /// # Errors
    /// [`Error::NoTeacher`] and [`Error::AmbiguousTeacher`] listing those that there are; [`Error::ForeignCache`] if
    /// its rows belong to another data set; [`Error::Misaligned`] if they are in another order.
    pub fn open(dataset: &Dataset, name: &str) -> Result<Self> {
        let all = teachers_of(dataset)?;
        let known = || names(all.iter().map(|teacher| teacher.folder_name()));
        let mut found = all.iter().filter(|teacher| teacher.manifest.name == name || teacher.folder_name() == name);
        let path = dataset.folder().to_owned();
        let teacher = match (found.next(), found.next()) {
            (Some(teacher), None) => teacher.clone(),
            (None, _) => return Err(Error::NoTeacher { path, name: name.to_owned(), known: known() }),
            _ => return Err(Error::AmbiguousTeacher { path, name: name.to_owned(), known: known() }),
        };
        teacher.check_belongs(dataset)?;
        Ok(teacher)
    }

    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let manifest = read_sealed(&folder.join(TEACHER_FILE), TEACHER_VERSION)?;
        Ok(Self::of(folder.to_owned(), manifest))
    }

    fn of(folder: PathBuf, manifest: TeacherManifest) -> Self {
        Self { folder, manifest, rows: Arc::new(RowTables::at_most(OPEN_FILES)) }
    }

    /// What it holds.
    pub fn manifest(&self) -> &TeacherManifest {
        &self.manifest
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `name@fingerprint8`.
    pub fn folder_name(&self) -> &str {
        self.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// The teacher's files of a shard of the data set.
    pub fn shard(&self, name: &str) -> Option<&Shard> {
        self.manifest.shards.iter().find(|shard| shard.name == name)
    }

    /// Reads one table of a shard, checked, its rows matched by id to those of the data set.
    ///
    /// # Errors
    /// [`Error::Misaligned`] if a row belongs to another image or text; else as [`read_table`].
    pub fn read(&self, dataset: &Dataset, shard: &Shard, table: &str) -> Result<RecordBatch> {
        self.read_columns(dataset, shard, table, Columns::All)
    }

    /// As [`TeacherCache::read`], wanted columns only. The id column is always read, as the rows are matched by it, and so
    /// are the scales of wanted codes.
    ///
    /// # Errors
    /// As [`TeacherCache::read`].
    pub fn read_columns(
        &self,
        dataset: &Dataset,
        shard: &Shard,
        table: &str,
        columns: Columns<'_>,
    ) -> Result<RecordBatch> {
        self.read_matched(dataset, shard, table, columns, None)
    }

    /// As [`TeacherCache::read_columns`], some rows only, in the order asked for: as [`Dataset::read_rows`]. Each row's
    /// id is compared with that of the data set's row.
    ///
    /// # Errors
    /// As [`TeacherCache::read`]; [`Error::Broken`] if there is no such row.
    pub fn read_rows(
        &self,
        dataset: &Dataset,
        shard: &Shard,
        table: &str,
        columns: Columns<'_>,
        rows: &[usize],
    ) -> Result<RecordBatch> {
        self.read_matched(dataset, shard, table, columns, Some(rows))
    }

    fn read_matched(
        &self,
        dataset: &Dataset,
        shard: &Shard,
        table: &str,
        columns: Columns<'_>,
        rows: Option<&[usize]>,
    ) -> Result<RecordBatch> {
        let path = table_path(&self.folder, table, &shard.name);
        let file = self.shard(&shard.name).and_then(|shard| shard.tables.get(table)).ok_or_else(|| Error::Broken {
            path: path.clone(),
            problem: format!("teacher {} has no {table} of shard {}: run teach again", self.manifest.name, shard.name),
        })?;
        let owner = owner_table(table);
        // Where a column has no scales, the file has no column of that name, and nothing more is read.
        let scales: Vec<String> = match columns {
            Columns::All => Vec::new(),
            Columns::Named(names) => names.iter().map(|name| scale_column(name)).collect(),
        };
        let named = match columns {
            Columns::All => None,
            Columns::Named(names) => {
                let scales = scales.iter().map(String::as_str);
                Some(names.iter().copied().chain(scales).chain(owner.map(id_column)).collect::<Vec<_>>())
            }
        };
        let wanted = named.as_deref().map_or(Columns::All, Columns::Named);
        let Some(rows) = rows else {
            let batch = read_table(&path, file, version_of(table), wanted)?;
            if owner.and_then(|owner| shard.tables.get(owner)).is_some_and(|file| file.ids != ids_digest(&batch)) {
                return Err(self.mismatch(dataset, shard, table));
            }
            return Ok(batch);
        };
        let batch = self.rows.read(&path, file, version_of(table), wanted, rows)?;
        if let Some(owner) = owner {
            let theirs = dataset.read_rows(shard, owner, Columns::Named(&[id_column(owner)]), rows)?;
            if take_ids(&batch)? != take_ids(&theirs)? {
                return Err(self.mismatch(dataset, shard, table));
            }
        }
        Ok(batch)
    }

    /// What [`TeacherCache::read_rows`] of this teacher and of its clones has read of its own files so far.
    pub fn rows_read(&self) -> RowsRead {
        self.rows.rows_read()
    }

    /// Checks, from the manifests alone, that every shard's rows are those of the data set.
    ///
    /// # Errors
    /// [`Error::ForeignCache`], [`Error::Misaligned`].
    pub fn check_belongs(&self, dataset: &Dataset) -> Result<()> {
        for mine in &self.manifest.shards {
            let Some(theirs) = dataset.manifest().shards().find(|shard| shard.name == mine.name) else {
                let problem = format!("it has a shard {}, the data set has none", mine.name);
                return Err(Error::ForeignCache { path: self.folder.clone(), problem });
            };
            for (table, file) in &mine.tables {
                let owner = owner_table(table).and_then(|owner| theirs.tables.get(owner));
                if owner.is_some_and(|owner| owner.ids != file.ids || owner.rows != file.rows) {
                    return Err(self.mismatch(dataset, theirs, table));
                }
            }
        }
        Ok(())
    }

    /// Says how the ids of a table differ from the data set's: another order, or other rows.
    fn mismatch(&self, dataset: &Dataset, shard: &Shard, table: &str) -> Error {
        let compare = || -> Result<Error> {
            let owner = owner_table(table).unwrap_or(table);
            let path = table_path(&self.folder, table, &shard.name);
            let foreign = |problem| Error::ForeignCache { path: self.folder.clone(), problem };
            let Some(file) = self.shard(&shard.name).and_then(|shard| shard.tables.get(table)) else {
                return Ok(foreign(format!("it has no {table} of shard {}", shard.name)));
            };
            let mine = read_table(&path, file, version_of(table), Columns::All)?;
            let theirs = dataset.read(shard, owner, Columns::All)?;
            let (mine, theirs) = (hex_ids(&mine)?, hex_ids(&theirs)?);
            let row = mine.iter().zip(&theirs).position(|(a, b)| a != b).unwrap_or(mine.len().min(theirs.len()));
            let same_rows = mine.iter().collect::<HashSet<_>>() == theirs.iter().collect::<HashSet<_>>();
            let nothing = || "nothing".to_owned();
            let expected = theirs.get(row).cloned().unwrap_or_else(nothing);
            let found = mine.get(row).cloned().unwrap_or_else(nothing);
            if same_rows {
                let (table, shard) = (format!("{}/{table}", self.manifest.name), shard.name.clone());
                return Ok(Error::Misaligned { table, shard, row, expected, found });
            }
            let at = format!("shard {}, {table}, row {row}", shard.name);
            Ok(foreign(format!("{at} belongs to {found} there and to {expected} here")))
        };
        compare().unwrap_or_else(|error| error)
    }
}

/// Takes the features of these shards out of every teacher of a data set, which is about to lose the shards.
///
/// A word is kept in the shard it first appears in: taking that shard out takes its words from the later ones, too, so
/// every shard loses its words, and `teach` computes them anew.
pub(crate) fn forget(dataset: &Path, shards: &[Shard]) -> Result<()> {
    let gone: HashSet<&str> = shards.iter().map(|shard| shard.name.as_str()).collect();
    for folder in teacher_folders(dataset)? {
        let _lock = WriterLock::take(&folder)?;
        let mut cache = TeacherCache::load(&folder)?;
        if !cache.manifest.shards.iter().any(|shard| gone.contains(shard.name.as_str())) {
            continue;
        }
        let mut files = Vec::new();
        for shard in &mut cache.manifest.shards {
            let all = gone.contains(shard.name.as_str());
            let tables = std::mem::take(&mut shard.tables);
            let (lost, kept): (BTreeMap<_, _>, _) =
                tables.into_iter().partition(|(table, _)| all || table == features::words::NAME);
            files.extend(lost.keys().map(|table| table_path(&folder, table, &shard.name)));
            shard.tables = kept;
        }
        cache.manifest.shards.retain(|shard| !shard.tables.is_empty());
        write_sealed(&folder.join(TEACHER_FILE), &cache.manifest)?;
        files.iter().try_for_each(|file| remove_file(file))?;
    }
    Ok(())
}

/// The data set's table whose rows a feature table follows; words follow none.
fn owner_table(table: &str) -> Option<&'static str> {
    match table {
        features::images::NAME | features::patches::NAME => Some(tables::images::NAME),
        features::texts::NAME | features::tokens::NAME => Some(tables::texts::NAME),
        _ => None,
    }
}

/// The id column of a table of the data set, which its feature tables have too.
fn id_column(owner: &'static str) -> &'static str {
    if owner == tables::images::NAME { tables::images::IMAGE_ID } else { tables::texts::TEXT_ID }
}

pub(crate) fn version_of(table: &str) -> SchemaVersion {
    match table {
        features::images::NAME => features::images::VERSION,
        features::texts::NAME => features::texts::VERSION,
        features::tokens::NAME => features::tokens::VERSION,
        features::patches::NAME => features::patches::VERSION,
        _ => features::words::VERSION,
    }
}

fn hex_ids(batch: &RecordBatch) -> Result<Vec<String>> {
    let hex = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(take_ids(batch)?.iter().flatten().map(hex).collect())
}

/// Adds features of one teacher to a data set, shard by shard. Dropping it keeps the shards committed so far.
#[derive(Debug)]
pub struct TeacherWriter {
    cache: TeacherCache,
    order: Vec<String>,
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
                batch: plan,
                shards: Vec::new(),
            };
            TeacherCache::of(folder.clone(), manifest)
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
        let order = dataset.manifest().shards().map(|shard| shard.name.clone()).collect();
        Ok(Self { cache, order, _lock: lock })
    }

    /// The cache as committed so far.
    pub fn cache(&self) -> &TeacherCache {
        &self.cache
    }

    /// Whether a table of a shard is there.
    pub fn has(&self, shard: &str, table: &str) -> bool {
        self.cache.shard(shard).is_some_and(|shard| shard.tables.contains_key(table))
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
        let shards = &mut self.cache.manifest.shards;
        match shards.iter_mut().find(|known| known.name == shard) {
            Some(known) => known.tables.extend(files),
            None => shards.push(Shard { name: shard.to_owned(), tables: files }),
        }
        shards.sort_by_key(|shard| self.order.iter().position(|name| *name == shard.name));
        write_sealed(&self.cache.folder.join(TEACHER_FILE), &self.cache.manifest)
    }
}
