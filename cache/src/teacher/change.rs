//! Changes to a teacher's manifest: shards and tables come and go, runs of shards become parts.

use std::collections::HashMap;
use std::path::Path;

use super::{TeacherCache, teacher_folders};
use crate::files::remove_file;
use crate::lock::WriterLock;
use crate::parts::table_paths;
use crate::seal::write_sealed;
use crate::{Dataset, Error, Result};
use retort_schemas::features;
use retort_schemas::manifest::{Shard, TEACHER_FILE, TableFile, TeacherSplit};
use retort_schemas::parts::{PART_SHARDS, Part, Runs};

impl TeacherCache {
    /// Adds files to a shard, whose run is open then. Nothing is written before [`TeacherCache::save`].
    pub(crate) fn add(&mut self, shard: &str, files: impl IntoIterator<Item = (String, TableFile)>) -> Result<()> {
        let number = Shard::number_of(shard).ok_or_else(|| Error::Manifest {
            path: self.folder.join(TEACHER_FILE),
            problem: format!("{shard:?} is no name of a shard: expected SPLIT-NUMBER, the number of five digits"),
        })?;
        let split = Shard::split_of(shard);
        let runs = runs_mut(&mut self.manifest.splits, split);
        self.parts.reopen(split, runs, number)?;
        match runs.open.binary_search_by_key(&Some(number), Shard::number) {
            Ok(at) => runs.open[at].tables.extend(files),
            Err(at) => {
                runs.open.insert(at, Shard { name: shard.to_owned(), tables: files.into_iter().collect() });
            }
        }
        Ok(())
    }

    /// Takes a table out of a shard, whose run is open then. Nothing is written before [`TeacherCache::save`].
    pub(crate) fn take_out(&mut self, shard: &str, table: &str) -> Result<()> {
        self.add(shard, [])?;
        let runs = runs_mut(&mut self.manifest.splits, Shard::split_of(shard));
        if let Some(at) = runs.open.iter().position(|known| known.name == shard) {
            runs.open[at].tables.remove(table);
            if runs.open[at].tables.is_empty() {
                runs.open.remove(at);
            }
        }
        Ok(())
    }

    /// The part of this path from the folder, and its split.
    pub(crate) fn part_at(&self, path: &Path) -> Option<(String, Part)> {
        self.runs().find_map(|(split, runs)| {
            let part = runs.parts.iter().find(|part| Path::new(&part.path(split)) == path)?;
            Some((split.to_owned(), part.clone()))
        })
    }

    /// Takes the shards of a part out of the manifest. Nothing is written before [`TeacherCache::save`].
    pub(crate) fn remove_part(&mut self, split: &str, part: &Part) {
        runs_mut(&mut self.manifest.splits, split).parts.retain(|known| known != part);
    }

    /// Puts the splits in the order of the data set.
    pub(crate) fn order_splits(&mut self, dataset: &Dataset) {
        let place: HashMap<&str, usize> =
            dataset.manifest().splits.iter().enumerate().map(|(at, split)| (split.name.as_str(), at)).collect();
        self.manifest.splits.sort_by_key(|split| place.get(split.name.as_str()).copied());
    }

    /// Makes parts of runs that are done; the run of the shard `working` stays open. Tells whether there were any.
    fn settle(&mut self, run_shards: usize, working: Option<&str>) -> Result<bool> {
        self.manifest.splits.retain(|split| split.runs.shard_count() > 0);
        let mut any = false;
        for split in &mut self.manifest.splits {
            let working = working.filter(|shard| Shard::split_of(shard) == split.name).and_then(Shard::number_of);
            any |= self.parts.settle(&split.name, &mut split.runs, run_shards, working)?;
        }
        Ok(any)
    }

    /// Writes the manifest, its parts first. The run of the shard `working` stays open, so that what is added to shards one
    /// by one makes a part once.
    pub(crate) fn save(&mut self, run_shards: usize, working: Option<&str>) -> Result<()> {
        self.settle(run_shards, working)?;
        write_sealed(&self.folder.join(TEACHER_FILE), &self.manifest)
    }

    /// Leaves the manifest as its shards alone decide it, and nothing that it does not name.
    pub(crate) fn finish(&mut self, run_shards: usize) -> Result<()> {
        if self.settle(run_shards, None)? {
            write_sealed(&self.folder.join(TEACHER_FILE), &self.manifest)?;
        }
        self.parts.sweep(self.runs())
    }
}

/// Takes the features of a split out of every teacher of a data set, which is about to lose the split.
///
/// A word is kept in the shard it first appears in: taking that shard out takes its words from the later ones, too, so
/// every shard loses its words, and `teach` computes them anew.
pub(crate) fn forget(dataset: &Path, split: &str) -> Result<()> {
    let is_words = |table: &str| table == features::words::NAME;
    for folder in teacher_folders(dataset)? {
        let _lock = WriterLock::take(&folder)?;
        let mut cache = TeacherCache::load(&folder)?;
        let Some(at) = cache.manifest.splits.iter().position(|known| known.name == split) else { continue };
        let gone = cache.manifest.splits.remove(at);
        let mut files = table_paths(&folder, split, &gone.runs, |_| true);
        for kept in &mut cache.manifest.splits {
            files.extend(table_paths(&folder, &kept.name, &kept.runs, is_words));
            cache.parts.drop_table(&kept.name, &mut kept.runs, features::words::NAME)?;
        }
        cache.save(PART_SHARDS, None)?;
        cache.parts.sweep(cache.runs())?;
        files.iter().try_for_each(|file| remove_file(file))?;
    }
    Ok(())
}

/// The shards of a split, which is begun if need be.
pub(super) fn runs_mut<'a>(splits: &'a mut Vec<TeacherSplit>, name: &str) -> &'a mut Runs {
    let at = splits.iter().position(|split| split.name == name).unwrap_or_else(|| {
        splits.push(TeacherSplit { name: name.to_owned(), runs: Runs::default() });
        splits.len() - 1
    });
    &mut splits[at].runs
}
