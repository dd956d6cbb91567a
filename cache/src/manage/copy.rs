//! Copies a teacher's cache beside another data set of the same rows.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use retort_schemas::manifest::{CACHE_FOLDER, Shard, TEACHER_FILE, TableFile, TeacherManifest};
use retort_schemas::parts::PART_SHARDS;
use retort_schemas::{features, tables};
use serde::Serialize;

use crate::dataset::table_path;
use crate::files::{NewFile, is_there, remove_file};
use crate::lock::WriterLock;
use crate::teacher::version_of;
use crate::{Columns, Dataset, Error, Interrupt, Progress, Result, TeacherCache, read_table, remove_temporaries};

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Copied {
    /// `name@fingerprint8`.
    pub name: String,
    /// Shards of which something was copied.
    pub copied: u64,
    /// Shards that were there already.
    pub kept: u64,
    /// Bytes copied.
    pub bytes: u64,
}

/// Copies a teacher of `from` into `to`, shard by shard; each file is read back against its checksums before the manifest
/// names it. Stopped at any time and called again, it goes on with the first shard that is missing.
///
/// # Errors
/// [`Error::Differs`] naming the shard if `to` has other rows, or has other features of this teacher already;
/// [`Error::Damaged`] and [`Error::Broken`] if a file is damaged: nothing of its shard is then in `to`;
/// [`Error::Locked`] if another process writes there.
pub fn copy_teacher(
    from: &Dataset,
    name: &str,
    to: &Dataset,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Copied> {
    let source = TeacherCache::open(from, name)?;
    check_same_rows(&source, from, to)?;
    let folder = to.folder().join(CACHE_FOLDER).join(source.folder_name());
    let _lock = WriterLock::take(&folder)?;
    let mut target = begin(&source, &folder)?;
    progress.begin("copy", source.runs().map(|(_, runs)| runs.bytes()).sum(), "bytes");
    let mut copied = Copied { name: source.folder_name().to_owned(), copied: 0, kept: 0, bytes: 0 };
    for shard in source.shards() {
        interrupt.check()?;
        let shard = shard?;
        let known = target.shard(&shard.name)?;
        let lacking = lacking(&source, &shard, known.as_ref(), &folder)?;
        let present: u64 = shard.tables.values().map(|file| file.bytes).sum();
        let sum: u64 = lacking.iter().map(|(_, file)| file.bytes).sum();
        progress.advance(present - sum);
        if lacking.is_empty() && known.is_some() {
            copied.kept += 1;
            continue;
        }
        for (table, file) in &lacking {
            copy_file(source.folder(), &folder, &shard.name, table, file)?;
            progress.advance(file.bytes);
        }
        target.add(&shard.name, lacking.iter().map(|(table, file)| ((*table).to_owned(), (*file).clone())))?;
        target.order_splits(to);
        target.save(PART_SHARDS, Some(&shard.name))?;
        copied.copied += 1;
        copied.bytes += sum;
    }
    target.finish(PART_SHARDS)?;
    progress.end();
    Ok(copied)
}

/// Compares, by the manifests, the ids of the rows that the features belong to.
fn check_same_rows(source: &TeacherCache, from: &Dataset, to: &Dataset) -> Result<()> {
    // A word is kept in the first shard that has it: with words, the shards before have to be the same, too.
    let words = source.manifest().has(features::words::NAME);
    let differs = |problem| Error::Differs { path: to.folder().to_owned(), other: from.folder().to_owned(), problem };
    for mine in from.shards() {
        let mine = mine?;
        if !words && source.shard(&mine.name)?.is_none() {
            continue;
        }
        let Some(theirs) = to.shard(&mine.name)? else {
            return Err(differs(format!("it has no shard {}", mine.name)));
        };
        let (at, place) = (place_of(from, &mine.name), place_of(to, &mine.name));
        if words && place != at {
            return Err(differs(format!(
                "shard {} is number {place} there and {at} here, and words follow",
                mine.name
            )));
        }
        for table in [tables::images::NAME, tables::texts::NAME] {
            let ids = |shard: &Shard| shard.tables.get(table).map(|file| (file.rows, file.ids.clone()));
            if ids(&mine) != ids(&theirs) {
                return Err(differs(format!("the {table} of shard {} are others", mine.name)));
            }
        }
    }
    Ok(())
}

/// The place of a shard among all shards of a data set.
fn place_of(dataset: &Dataset, shard: &str) -> usize {
    let splits = dataset.manifest().splits.iter().take_while(|split| split.name != Shard::split_of(shard));
    splits.map(|split| split.runs.shard_count()).sum::<usize>() + Shard::number_of(shard).unwrap_or(0)
}

/// The target's manifest: what an earlier copy finished, or the source's without shards.
fn begin(source: &TeacherCache, folder: &Path) -> Result<TeacherCache> {
    for table in features::ALL {
        remove_temporaries(&folder.join(table))?;
    }
    remove_temporaries(folder)?;
    let start = TeacherCache::new(folder, TeacherManifest { splits: Vec::new(), ..source.manifest().clone() });
    if !folder.join(TEACHER_FILE).is_file() {
        return Ok(start);
    }
    let there = TeacherCache::load(folder)?;
    // What was fetched from elsewhere may have the same numbers.
    let bare = |manifest: &TeacherManifest| TeacherManifest {
        splits: Vec::new(),
        origin: None,
        folder: None,
        settings: BTreeMap::new(),
        ..manifest.clone()
    };
    if bare(there.manifest()) == bare(start.manifest()) {
        there.parts().sweep(there.runs())?;
        return Ok(there);
    }
    let problem = "it has another fingerprint, name, or batch plan".to_owned();
    Err(Error::Differs { path: folder.to_owned(), other: source.folder().to_owned(), problem })
}

/// The tables of a shard that the target does not have, or of which the file is gone; those that it has must be the same to the
/// byte.
fn lacking<'a>(
    source: &TeacherCache,
    shard: &'a Shard,
    known: Option<&Shard>,
    folder: &Path,
) -> Result<Vec<(&'a str, &'a TableFile)>> {
    let mut lacking = Vec::new();
    for (table, file) in &shard.tables {
        match known.and_then(|known| known.tables.get(table)) {
            None => lacking.push((table.as_str(), file)),
            Some(there) if there == file => {
                if !is_there(&table_path(folder, table, &shard.name))? {
                    lacking.push((table.as_str(), file));
                }
            }
            Some(_) => {
                let problem = format!("it has other {table} of shard {}", shard.name);
                return Err(Error::Differs { path: folder.to_owned(), other: source.folder().to_owned(), problem });
            }
        }
    }
    Ok(lacking)
}

fn copy_file(from: &Path, to: &Path, shard: &str, table: &str, file: &TableFile) -> Result<()> {
    let (source, target) = (table_path(from, table, shard), table_path(to, table, shard));
    let mut input = File::open(&source).map_err(Error::io("read", &source))?;
    let (new, mut output) = NewFile::create(&target)?;
    std::io::copy(&mut input, &mut output).map_err(Error::io("copy", &source))?;
    new.commit(&output)?;
    let check = |path: &Path| read_table(path, file, version_of(table), Columns::All);
    let Err(error) = check(&target) else { return Ok(()) };
    remove_file(&target)?;
    // The copy is as damaged as what was copied, as a rule: name the source then.
    Err(check(&source).err().unwrap_or(error))
}
