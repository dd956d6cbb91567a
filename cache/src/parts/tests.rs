use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{FixedSizeBinaryArray, RecordBatch, StringArray};
use proptest::prelude::*;
use retort_schemas::manifest::{BatchPlan, DATASET_FILE, Shard, TEACHER_FILE};
use retort_schemas::{Dtype, VectorType, features, tables};
use tempfile::tempdir;

use crate::{
    Dataset, DatasetWriter, Error, Interrupt, Quiet, Result, SplitPlan, Summary, TeacherCache, TeacherWriter,
    list_teachers, quarantine, vectors, verify,
};

const VECTOR: VectorType = VectorType { dtype: Dtype::F16, width: 2 };
const IMAGES: &str = features::images::NAME;
const WORDS: &str = features::words::NAME;

fn ids(shard: usize) -> FixedSizeBinaryArray {
    FixedSizeBinaryArray::try_from_iter([[shard as u8; 16], [shard as u8 + 100; 16]].into_iter()).unwrap()
}

/// Two images, of their columns the id alone.
fn rows(shard: usize) -> RecordBatch {
    let schema = tables::images::schema().project(&[0]).unwrap();
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids(shard))]).unwrap()
}

fn feature(table: &str, shard: usize) -> RecordBatch {
    let stored = || Arc::new(vectors::encode(VECTOR, &[shard as f32, 1.0, 2.0, 3.0]).unwrap());
    if table == IMAGES {
        return RecordBatch::try_new(features::images::schema(VECTOR), vec![Arc::new(ids(shard)), stored()]).unwrap();
    }
    let words = Arc::new(StringArray::from_iter_values([format!("a{shard}"), format!("b{shard}")]));
    RecordBatch::try_new(features::words::schema(VECTOR), vec![words, stored(), stored()]).unwrap()
}

fn plan(split: &str) -> SplitPlan {
    SplitPlan { name: split.to_owned(), source: "test".to_owned(), options: serde_json::Value::Null, answers: None }
}

/// Adds shards to a split whose manifest is in runs of so many.
fn grow(folder: &Path, split: &str, shards: usize, run: usize) -> Result<Dataset> {
    let mut writer = DatasetWriter::begin(folder, plan(split))?.in_runs_of(run);
    for _ in 0..shards {
        let number = writer.committed();
        writer.commit(&[(tables::images::NAME, rows(number))])?;
    }
    Dataset::open(folder)
}

fn teacher(dataset: &Dataset, run: usize) -> Result<TeacherWriter> {
    let batch = BatchPlan::of_rows(1, 1);
    Ok(TeacherWriter::open(dataset, "clip", true, Dtype::F16, serde_json::Value::Null, batch)?.in_runs_of(run))
}

/// Adds a table of the shards that are wanted and lack it, as `teach` does.
fn teach(dataset: &Dataset, table: &str, run: usize, wanted: impl Fn(usize) -> bool) -> Result<()> {
    let mut writer = teacher(dataset, run)?;
    for shard in dataset.shards() {
        let name = shard?.name;
        let number = Shard::number_of(&name).unwrap();
        if wanted(number) && !writer.has(&name, table)? {
            writer.commit(&name, &[(table, feature(table, number))])?;
        }
    }
    writer.finish()
}

/// Every file below a folder with its bytes.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(tree(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

/// The files of parts in a folder's `manifest/`, by name.
fn parts_of(folder: &Path) -> Vec<PathBuf> {
    tree(&folder.join("manifest")).into_keys().collect()
}

fn names(dataset: &Dataset) -> Vec<String> {
    dataset.shards().map(|shard| shard.unwrap().name).collect()
}

#[test]
fn shards_of_parts_are_found_by_name_and_in_order() -> Result<()> {
    let folder = tempdir().unwrap();
    grow(folder.path(), "train", 10, 4)?;
    let dataset = grow(folder.path(), "val", 3, 4)?;
    let counts: Vec<_> =
        dataset.manifest().splits.iter().map(|split| (split.runs.parts.len(), split.runs.open.len())).collect();
    assert_eq!(counts, [(2, 2), (0, 3)]);
    let all: Vec<Shard> = dataset.shards().collect::<Result<_>>()?;
    let expected = (0..10).map(|at| Shard::name_of("train", at)).chain((0..3).map(|at| Shard::name_of("val", at)));
    assert!(expected.eq(all.iter().map(|shard| shard.name.clone())) && dataset.shard_count() == 13);
    for shard in &all {
        assert_eq!(dataset.shard(&shard.name)?.as_ref(), Some(shard));
    }
    for none in ["train-00010", "train-4", "test-00000", "train", ""] {
        assert_eq!(dataset.shard(none)?, None, "{none}");
    }
    let summary = Summary::of(&dataset)?;
    assert_eq!((summary.splits[0].shards, summary.splits[0].images, summary.tables[0].rows), (10, 20, 26));
    Ok(())
}

#[test]
fn a_part_is_written_once_and_the_manifest_grows_by_its_name_alone() -> Result<()> {
    let folder = tempdir().unwrap();
    grow(folder.path(), "train", 8, 4)?;
    let size = || fs::metadata(folder.path().join(DATASET_FILE)).unwrap().len();
    let (first, before) = (parts_of(folder.path()), size());
    let modified = |path: &PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    let written: Vec<_> = first.iter().map(modified).collect();
    grow(folder.path(), "train", 32, 4)?;
    assert_eq!((first.len(), parts_of(folder.path()).len()), (2, 10));
    assert_eq!(first.iter().map(modified).collect::<Vec<_>>(), written);
    assert!(size() - before < 8 * 400, "{} bytes for eight parts", size() - before);
    Ok(())
}

#[test]
fn a_kill_between_part_and_manifest_leaves_what_the_next_writer_sweeps() -> Result<()> {
    let folder = tempdir().unwrap();
    let dataset = grow(folder.path(), "train", 3, 4)?;
    teach(&dataset, IMAGES, 4, |_| true)?;
    let home = TeacherCache::open(&dataset, "clip")?.folder().to_owned();
    let old = [folder.path().join(DATASET_FILE), home.join(TEACHER_FILE)].map(|file| (fs::read(&file).unwrap(), file));
    let dataset = grow(folder.path(), "train", 1, 4)?;
    teach(&dataset, IMAGES, 4, |_| true)?;
    let whole = tree(folder.path());
    let made = [parts_of(folder.path()), parts_of(&home)];
    assert_eq!([made[0].len(), made[1].len()], [1, 1]);
    // Killed before the manifests were renamed into place; of one part, half was written.
    for (bytes, file) in &old {
        fs::write(file, bytes).unwrap();
    }
    fs::write(folder.path().join("manifest/train-00004-0.json.partial"), "half").unwrap();
    let dataset = Dataset::open(folder.path())?;
    assert_eq!((dataset.shard_count(), TeacherCache::open(&dataset, "clip")?.shard_count()), (3, 3));
    assert!(verify(folder.path(), &Quiet, &Interrupt::default())?.damages.is_empty());
    drop(DatasetWriter::begin(folder.path(), plan("train"))?);
    drop(teacher(&dataset, 4)?);
    assert!(parts_of(folder.path()).is_empty() && parts_of(&home).is_empty());
    let dataset = grow(folder.path(), "train", 1, 4)?;
    teach(&dataset, IMAGES, 4, |_| true)?;
    assert_eq!(tree(folder.path()), whole);
    Ok(())
}

/// What is wrong with the one damaged file, and which it is.
fn only_damage(folder: &Path) -> (PathBuf, String) {
    let found = verify(folder, &Quiet, &Interrupt::default()).unwrap();
    assert_eq!(found.damages.len(), 1, "{:?}", found.damages);
    (folder.join(&found.damages[0].file), found.damages[0].problem.clone())
}

#[test]
fn every_flipped_bit_of_a_part_is_found_and_named() -> Result<()> {
    let folder = tempdir().unwrap();
    let dataset = grow(folder.path(), "train", 3, 2)?;
    let [part] = &parts_of(folder.path())[..] else { panic!("one part") };
    let whole = fs::read(part).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(part, &damaged).unwrap();
        let dataset = Dataset::open(folder.path())?;
        let error = dataset.shard("train-00001").unwrap_err();
        assert!(error.to_string().contains(&part.display().to_string()), "byte {at}: {error}");
        assert!(dataset.shard("train-00002")?.is_some(), "the others are there");
    }
    assert_eq!(only_damage(folder.path()).0, *part);
    // What was read and checked before stays in use.
    assert_eq!(dataset.shards().filter(Result::is_err).count(), 1);
    Ok(())
}

#[test]
fn exchanged_older_and_missing_parts_are_found_and_named() -> Result<()> {
    let folder = tempdir().unwrap();
    let dataset = grow(folder.path(), "train", 9, 4)?;
    teach(&dataset, IMAGES, 4, |_| true)?;
    let home = TeacherCache::open(&dataset, "clip")?.folder().to_owned();
    let older = fs::read(&parts_of(&home)[0]).unwrap();
    teach(&dataset, WORDS, 4, |_| true)?;
    let [first, second] = &parts_of(&home)[..] else { panic!("two parts") };
    let (one, two) = (fs::read(first).unwrap(), fs::read(second).unwrap());
    for (bytes, problem) in [
        (Some(&two), "another part"),
        (Some(&older), "another part"),
        (None, "missing"),
        (Some(&Vec::new()), "does not end"),
    ] {
        match bytes {
            Some(bytes) => fs::write(first, bytes).unwrap(),
            None => fs::remove_file(first).unwrap(),
        }
        // Opening compares digests alone.
        let cache = TeacherCache::open(&dataset, "clip")?;
        let error = cache.shard("train-00003").unwrap_err();
        assert!(matches!(&error, Error::Broken { path, .. } if path == first), "{error}");
        assert!(cache.shard("train-00004")?.is_some());
        let (file, said) = only_damage(folder.path());
        assert!(file == *first && said.contains(problem), "{file:?}: {said}");
    }
    // Taken out, its shards are computed again, and everything is as it was.
    let found = verify(folder.path(), &Quiet, &Interrupt::default())?;
    let moved = quarantine(folder.path(), &found)?.moved;
    assert_eq!((moved.len(), folder.path().join(&moved[0].from)), (1, first.clone()));
    assert_eq!(TeacherCache::open(&dataset, "clip")?.shard_count(), 5);
    teach(&dataset, IMAGES, 4, |_| true)?;
    teach(&dataset, WORDS, 4, |_| true)?;
    assert_eq!((fs::read(first).unwrap(), fs::read(second).unwrap()), (one, two));
    assert!(verify(folder.path(), &Quiet, &Interrupt::default())?.damages.is_empty());
    Ok(())
}

#[test]
fn a_cache_of_other_rows_is_foreign_whatever_is_in_parts() -> Result<()> {
    let folder = tempdir().unwrap();
    let dataset = grow(folder.path(), "train", 4, 2)?;
    let mut writer = teacher(&dataset, 2)?;
    for number in 0..4 {
        let of = if number == 1 { 9 } else { number };
        writer.commit(&Shard::name_of("train", number), &[(IMAGES, feature(IMAGES, of))])?;
    }
    writer.finish()?;
    let error = TeacherCache::open(&dataset, "clip").unwrap_err();
    assert!(matches!(error, Error::ForeignCache { .. }) && error.to_string().contains("train-00001"), "{error}");
    Ok(())
}

/// A reader that knows a part which a writer has replaced since goes on.
#[test]
fn a_reader_outlives_a_writer_that_adds_tables() -> Result<()> {
    let folder = tempdir().unwrap();
    let dataset = grow(folder.path(), "train", 6, 2)?;
    teach(&dataset, IMAGES, 2, |_| true)?;
    let reader = TeacherCache::open(&dataset, "clip")?;
    teach(&dataset, WORDS, 2, |_| true)?;
    for shard in dataset.shards() {
        assert_eq!(reader.read(&dataset, &shard?, IMAGES)?.num_rows(), 2);
    }
    Ok(())
}

/// One thing that is done to a data set and its teacher.
#[derive(Debug, Clone)]
enum Step {
    Grow(bool, usize),
    Replace(bool, usize),
    Teach(bool, u8),
    TakeOut(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (any::<bool>(), 1..4_usize).prop_map(|(split, shards)| Step::Grow(split, shards)),
        1 => (any::<bool>(), 0..4_usize).prop_map(|(split, shards)| Step::Replace(split, shards)),
        3 => (any::<bool>(), any::<u8>()).prop_map(|(words, which)| Step::Teach(words, which)),
        1 => (0..9_usize, any::<bool>()).prop_map(|(at, words)| Step::TakeOut(at, words)),
    ]
}

/// What ought to be there: shards by split in order, and tables of the teacher by shard.
#[derive(Default)]
struct Model {
    splits: Vec<(&'static str, usize)>,
    taught: BTreeMap<String, BTreeSet<&'static str>>,
}

impl Model {
    fn names(&self) -> Vec<String> {
        self.splits.iter().flat_map(|(split, shards)| (0..*shards).map(|at| Shard::name_of(split, at))).collect()
    }

    fn grow(&mut self, split: &'static str, shards: usize) {
        match self.splits.iter_mut().find(|known| known.0 == split) {
            Some(known) => known.1 += shards,
            None => self.splits.push((split, shards)),
        }
    }

    fn take(&mut self, folder: &Path, run: usize, step: &Step) -> Result<()> {
        let split = |first: bool| if first { "train" } else { "val-2014" };
        let table = |words: bool| if words { WORDS } else { IMAGES };
        match *step {
            Step::Grow(first, shards) => {
                grow(folder, split(first), shards, run)?;
                self.grow(split(first), shards);
            }
            Step::Replace(first, shards) => {
                let name = split(first);
                DatasetWriter::begin(folder, plan(name))?.in_runs_of(run).finish()?;
                let mut writer = DatasetWriter::replace(folder, plan(name))?.in_runs_of(run);
                for number in 0..shards {
                    writer.commit(&[(tables::images::NAME, rows(number))])?;
                }
                writer.finish()?;
                self.splits.retain(|known| known.0 != name);
                self.splits.push((name, shards));
                let mine = |shard: &String| Shard::split_of(shard) == name;
                if self.taught.keys().any(mine) {
                    self.taught.values_mut().for_each(|tables| _ = tables.remove(WORDS));
                    self.taught.retain(|shard, tables| !mine(shard) && !tables.is_empty());
                }
            }
            Step::Teach(words, which) => {
                if self.splits.is_empty() {
                    return Ok(());
                }
                let wanted = |number: usize| which >> (number % 8) & 1 == 1;
                teach(&Dataset::open(folder)?, table(words), run, wanted)?;
                for name in self.names().into_iter().filter(|name| wanted(Shard::number_of(name).unwrap())) {
                    self.taught.entry(name).or_default().insert(table(words));
                }
            }
            Step::TakeOut(at, words) => {
                let Some(name) = self.taught.keys().nth(at).cloned() else { return Ok(()) };
                let mut writer = teacher(&Dataset::open(folder)?, run)?;
                writer.take_out(&name, table(words))?;
                writer.finish()?;
                self.taught.entry(name).or_default().remove(table(words));
                self.taught.retain(|_, tables| !tables.is_empty());
            }
        }
        Ok(())
    }

    fn check(&self, folder: &Path, run: usize) -> Result<()> {
        if self.splits.is_empty() {
            return Ok(());
        }
        let dataset = Dataset::open(folder)?;
        assert_eq!(names(&dataset), self.names());
        for name in self.names() {
            assert_eq!(dataset.shard(&name)?.map(|shard| shard.name), Some(name));
        }
        let named = |runs: &retort_schemas::parts::Runs| (runs.parts.len(), runs.open.len());
        let counts: Vec<_> = dataset.manifest().splits.iter().map(|split| named(&split.runs)).collect();
        let expected: Vec<_> = self.splits.iter().map(|(_, shards)| (shards / run, shards % run)).collect();
        assert_eq!(counts, expected);
        assert_eq!(parts_of(folder).len(), counts.iter().map(|count| count.0).sum::<usize>());
        assert!(verify(folder, &Quiet, &Interrupt::default())?.damages.is_empty());
        let Ok(teacher) = TeacherCache::open(&dataset, "clip") else {
            assert!(self.taught.is_empty(), "{:?}", self.taught);
            return Ok(());
        };
        let found = teacher.shards().map(|shard| shard.unwrap());
        let found: Vec<_> = found.map(|shard| (shard.name, shard.tables.into_keys().collect::<Vec<_>>())).collect();
        let in_order = self.names().into_iter().filter_map(|name| {
            let tables = self.taught.get(&name)?.iter().map(|table| (*table).to_owned()).collect::<Vec<_>>();
            Some((name, tables))
        });
        assert_eq!(found, in_order.collect::<Vec<_>>());
        let parts: usize = teacher.manifest().splits.iter().map(|split| split.runs.parts.len()).sum();
        assert_eq!(parts_of(teacher.folder()).len(), parts);
        assert!(teacher.manifest().splits.iter().all(|split| split.runs.open.len() < run), "only the last run is open");
        let listed = &list_teachers(&dataset)?[0];
        let files = |table: &str| self.taught.values().filter(|tables| tables.contains(table)).count() as u64;
        assert!(listed.tables.iter().all(|listing| listing.shards == files(&listing.table)), "{listed:?}");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Commits, replacements and features that come and go, in any order, read back as they were done.
    #[test]
    fn what_is_read_back_is_what_was_done(run in 1..5_usize, steps in prop::collection::vec(step(), 1..9)) {
        let folder = tempdir().unwrap();
        let mut model = Model::default();
        for step in &steps {
            model.take(folder.path(), run, step).unwrap();
            model.check(folder.path(), run).unwrap();
        }
    }
}
