//! Copies a teacher's cache beside another data set of the same rows.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use retort_schemas::manifest::{CACHE_FOLDER, Shard, TEACHER_FILE, TableFile, TeacherManifest};
use retort_schemas::{features, tables};
use serde::Serialize;

use crate::dataset::table_path;
use crate::files::{NewFile, remove_file};
use crate::lock::WriterLock;
use crate::seal::write_sealed;
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
    let mut manifest = begin(&source, &folder)?;
    let order: HashMap<&str, usize> = to.manifest().shards().enumerate().map(|(at, it)| (&*it.name, at)).collect();
    let bytes = source.manifest().shards.iter().map(|shard| shard.tables.values().map(|file| file.bytes).sum::<u64>());
    progress.begin("copy", bytes.sum(), "bytes");
    let mut copied = Copied { name: source.folder_name().to_owned(), copied: 0, kept: 0, bytes: 0 };
    for shard in &source.manifest().shards {
        interrupt.check()?;
        let lacking = lacking(&source, shard, &manifest, &folder)?;
        let present: u64 = shard.tables.values().map(|file| file.bytes).sum();
        let sum: u64 = lacking.iter().map(|(_, file)| file.bytes).sum();
        progress.advance(present - sum);
        if lacking.is_empty() && manifest.shards.iter().any(|known| known.name == shard.name) {
            copied.kept += 1;
            continue;
        }
        for (table, file) in &lacking {
            copy_file(source.folder(), &folder, &shard.name, table, file)?;
            progress.advance(file.bytes);
        }
        commit(&mut manifest, shard, &lacking, &order);
        write_sealed(&folder.join(TEACHER_FILE), &manifest)?;
        copied.copied += 1;
        copied.bytes += sum;
    }
    progress.end();
    Ok(copied)
}

/// Compares, by the manifests, the ids of the rows that the features belong to.
fn check_same_rows(source: &TeacherCache, from: &Dataset, to: &Dataset) -> Result<()> {
    // A word is kept in the first shard that has it: with words, the shards before have to be the same, too.
    let words = source.manifest().shards.iter().any(|shard| shard.tables.contains_key(features::words::NAME));
    let theirs: HashMap<&str, (usize, &Shard)> =
        to.manifest().shards().enumerate().map(|(at, shard)| (&*shard.name, (at, shard))).collect();
    let differs = |problem| Error::Differs { path: to.folder().to_owned(), other: from.folder().to_owned(), problem };
    for (at, mine) in from.manifest().shards().enumerate() {
        if !words && source.shard(&mine.name).is_none() {
            continue;
        }
        let Some((place, theirs)) = theirs.get(mine.name.as_str()) else {
            return Err(differs(format!("it has no shard {}", mine.name)));
        };
        if words && *place != at {
            return Err(differs(format!(
                "shard {} is number {place} there and {at} here, and words follow",
                mine.name
            )));
        }
        for table in [tables::images::NAME, tables::texts::NAME] {
            let ids = |shard: &Shard| shard.tables.get(table).map(|file| (file.rows, file.ids.clone()));
            if ids(mine) != ids(theirs) {
                return Err(differs(format!("the {table} of shard {} are others", mine.name)));
            }
        }
    }
    Ok(())
}

/// The target's manifest: what an earlier copy finished, or the source's without shards.
fn begin(source: &TeacherCache, folder: &Path) -> Result<TeacherManifest> {
    for table in features::ALL {
        remove_temporaries(&folder.join(table))?;
    }
    remove_temporaries(folder)?;
    let start = TeacherManifest { shards: Vec::new(), ..source.manifest().clone() };
    if !folder.join(TEACHER_FILE).is_file() {
        return Ok(start);
    }
    let manifest = TeacherCache::load(folder)?.manifest().clone();
    if (TeacherManifest { shards: Vec::new(), ..manifest.clone() }) == start {
        return Ok(manifest);
    }
    let problem = "it has another fingerprint, name, or batch plan".to_owned();
    Err(Error::Differs { path: folder.to_owned(), other: source.folder().to_owned(), problem })
}

/// The tables of a shard that the target does not have; those that it has must be the same to the byte.
fn lacking<'a>(
    source: &TeacherCache,
    shard: &'a Shard,
    target: &TeacherManifest,
    folder: &Path,
) -> Result<Vec<(&'a str, &'a TableFile)>> {
    let known = target.shards.iter().find(|known| known.name == shard.name);
    let mut lacking = Vec::new();
    for (table, file) in &shard.tables {
        match known.and_then(|known| known.tables.get(table)) {
            None => lacking.push((table.as_str(), file)),
            Some(there) if there == file => {}
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

fn commit(manifest: &mut TeacherManifest, shard: &Shard, lacking: &[(&str, &TableFile)], order: &HashMap<&str, usize>) {
    let files = lacking.iter().map(|(table, file)| ((*table).to_owned(), (*file).clone()));
    match manifest.shards.iter_mut().find(|known| known.name == shard.name) {
        Some(known) => known.tables.extend(files),
        None => manifest.shards.push(Shard { name: shard.name.clone(), tables: files.collect() }),
    }
    manifest.shards.sort_by_key(|shard| order.get(shard.name.as_str()).copied());
}
