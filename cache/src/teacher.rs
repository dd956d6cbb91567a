//! The features of one teacher beside a data set.

mod change;
mod writer;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use retort_schemas::manifest::{CACHE_FOLDER, Shard, TEACHER_FILE, TEACHER_VERSION, TableFile, TeacherManifest};
use retort_schemas::parts::{Part, Runs};
use retort_schemas::{SchemaVersion, Store, features, scale_column, tables};

pub(crate) use self::change::forget;
use self::change::runs_mut;
pub use self::writer::TeacherWriter;
use crate::dataset::{names, sorted, table_path};
use crate::parts::{Parts, Piece, Shards, check_order, pieces};
use crate::rows::RowTables;
use crate::seal::read_sealed;
use crate::table::Table;
use crate::{Columns, Dataset, Error, Result, RowsRead, read_table, take_ids};

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
    parts: Parts,
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
        let path = folder.join(TEACHER_FILE);
        let mut manifest: TeacherManifest = read_sealed(&path, TEACHER_VERSION)?;
        // Version 2 has the shards of all splits in one list.
        for shard in std::mem::take(&mut manifest.shards) {
            runs_mut(&mut manifest.splits, Shard::split_of(&shard.name)).open.push(shard);
        }
        manifest.splits.iter().try_for_each(|split| check_order(&path, &split.name, &split.runs))?;
        manifest.schema = TEACHER_VERSION.to_string();
        Ok(Self::new(folder, manifest))
    }

    pub(crate) fn new(folder: &Path, manifest: TeacherManifest) -> Self {
        let rows = Arc::new(RowTables::at_most(OPEN_FILES));
        Self { folder: folder.to_owned(), manifest, parts: Parts::new(folder), rows }
    }

    /// What it holds, the shards of its parts left out.
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

    /// The teacher's files of all shards, in the order of the data set, one part of the manifest in memory at a time. A part
    /// that cannot be read is one error.
    pub fn shards(&self) -> Shards<'_> {
        Shards::new(&self.parts, self.runs())
    }

    /// The teacher's files of a shard of the data set, if it has any.
    ///
    /// # Errors
    /// [`Error::Damaged`] and [`Error::Broken`] if the part of the manifest that it is in is not what was written;
    /// [`Error::Schema`] if that is of another version.
    pub fn shard(&self, name: &str) -> Result<Option<Shard>> {
        match self.find(name) {
            // A writer adds tables to a shard by putting another part in the place of the one known here.
            Err(error) => match Self::load(&self.folder) {
                Ok(now) if now.manifest != self.manifest => now.find(name),
                _ => Err(error),
            },
            found => found,
        }
    }

    fn find(&self, name: &str) -> Result<Option<Shard>> {
        let split = Shard::split_of(name);
        self.manifest.runs(split).map_or(Ok(None), |runs| self.parts.find(split, runs, name))
    }

    /// How many shards it has features of.
    pub fn shard_count(&self) -> usize {
        self.manifest.shard_count()
    }

    pub(crate) const fn parts(&self) -> &Parts {
        &self.parts
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = (&str, &Runs)> {
        self.manifest.splits.iter().map(|split| (split.name.as_str(), &split.runs))
    }

    /// Reads one table of a shard, checked, its rows matched to those of the data set by what the manifests say of their ids.
    ///
    /// # Errors
    /// [`Error::Misaligned`] if a row belongs to another image or text; else as [`read_table`].
    pub fn read(&self, dataset: &Dataset, shard: &Shard, table: &str) -> Result<RecordBatch> {
        self.read_columns(dataset, shard, table, Columns::All)
    }

    /// As [`TeacherCache::read`], wanted columns only, and the scales of wanted codes: ids are read where they are wanted.
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

    /// As [`TeacherCache::read_columns`], some rows only, in the order asked for: as [`Dataset::read_rows`].
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

    /// Opens the file of a table of a shard, whose rows are the data set's by the manifests.
    pub(crate) fn open_table(&self, dataset: &Dataset, shard: &Shard, table: &str) -> Result<Arc<Table>> {
        let mine = self.shard(&shard.name)?;
        let (path, file) = self.matched_file(mine.as_ref(), dataset, shard, table)?;
        Ok(Arc::new(Table::open(&path, file, version_of(table))?))
    }

    /// Where a table of a shard lies, and what the manifest says of it, if its rows are the data set's.
    fn matched_file<'a>(
        &self,
        mine: Option<&'a Shard>,
        dataset: &Dataset,
        shard: &Shard,
        table: &str,
    ) -> Result<(PathBuf, &'a TableFile)> {
        let path = table_path(&self.folder, table, &shard.name);
        let owner = owner_table(table).and_then(|owner| shard.tables.get(owner));
        match mine.and_then(|mine| mine.tables.get(table)) {
            Some(file) if owner.is_some_and(|owner| owner.ids != file.ids) => Err(self.mismatch(dataset, shard, table)),
            Some(file) => Ok((path, file)),
            None => Err(Error::Broken {
                path,
                problem: format!(
                    "teacher {} has no {table} of shard {}: run teach again",
                    self.manifest.name, shard.name
                ),
            }),
        }
    }

    /// What the manifests say of the ids holds for the file: its bytes are those that they describe, or an error.
    fn read_matched(
        &self,
        dataset: &Dataset,
        shard: &Shard,
        table: &str,
        columns: Columns<'_>,
        rows: Option<&[usize]>,
    ) -> Result<RecordBatch> {
        let mine = self.shard(&shard.name)?;
        let (path, file) = self.matched_file(mine.as_ref(), dataset, shard, table)?;
        // Where a column has no scales, the file has no column of that name, and nothing more is read.
        let scales: Vec<String> = match columns {
            Columns::All => Vec::new(),
            Columns::Named(names) => names.iter().map(|name| scale_column(name)).collect(),
        };
        let named = match columns {
            Columns::All => None,
            Columns::Named(names) => {
                Some(names.iter().copied().chain(scales.iter().map(String::as_str)).collect::<Vec<_>>())
            }
        };
        let wanted = named.as_deref().map_or(Columns::All, Columns::Named);
        match rows {
            None => read_table(&path, file, version_of(table), wanted),
            Some(rows) => self.rows.read(&path, file, version_of(table), wanted, rows),
        }
    }

    /// What [`TeacherCache::read_rows`] of this teacher and of its clones has read of its own files so far.
    pub fn rows_read(&self) -> RowsRead {
        self.rows.rows_read()
    }

    /// Checks, from the manifests alone, that every shard's rows are those of the data set. A part is read only if its
    /// digests are not those of the data set's part.
    ///
    /// # Errors
    /// [`Error::ForeignCache`], [`Error::Misaligned`]; damage as [`TeacherCache::shard`].
    pub fn check_belongs(&self, dataset: &Dataset) -> Result<()> {
        for (split, runs) in self.runs() {
            let theirs = dataset.manifest().split(split);
            let is_theirs = |mine: &Part| {
                theirs.and_then(|split| split.runs.part_of(mine.first)).is_some_and(|theirs| same_rows(mine, theirs))
            };
            for piece in pieces(split, runs) {
                match piece {
                    Piece::Part(_, part) if is_theirs(part) => {}
                    Piece::Part(_, part) => self.check_shards(dataset, &self.parts.load(split, part)?)?,
                    Piece::Open(shards) => self.check_shards(dataset, shards)?,
                }
            }
        }
        Ok(())
    }

    fn check_shards(&self, dataset: &Dataset, shards: &[Shard]) -> Result<()> {
        for mine in shards {
            let Some(theirs) = dataset.shard(&mine.name)? else {
                let problem = format!("it has a shard {}, the data set has none", mine.name);
                return Err(Error::ForeignCache { path: self.folder.clone(), problem });
            };
            for (table, file) in &mine.tables {
                let owner = owner_table(table).and_then(|owner| theirs.tables.get(owner));
                if owner.is_some_and(|owner| owner.ids != file.ids || owner.rows != file.rows) {
                    return Err(self.mismatch(dataset, &theirs, table));
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
            let Some(file) = self.shard(&shard.name)?.and_then(|mut mine| mine.tables.remove(table)) else {
                return Ok(foreign(format!("it has no {table} of shard {}", shard.name)));
            };
            let mine = read_table(&path, &file, version_of(table), Columns::All)?;
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

/// Whether the digests alone tell that a teacher's part is of the rows of the data set's.
fn same_rows(mine: &Part, theirs: &Part) -> bool {
    let owned = mine.tables.iter().filter_map(|(table, mine)| Some((mine, theirs.tables.get(owner_table(table)?)?)));
    let mut same = owned.map(|(mine, owner)| mine.ids.is_some() && mine.ids == owner.ids).peekable();
    (mine.first, mine.end) == (theirs.first, theirs.end) && same.peek().is_some() && same.all(|same| same)
}

/// The data set's table whose rows a feature table follows; words follow none.
fn owner_table(table: &str) -> Option<&'static str> {
    match table {
        features::images::NAME | features::patches::NAME => Some(tables::images::NAME),
        features::texts::NAME | features::tokens::NAME => Some(tables::texts::NAME),
        _ => None,
    }
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
