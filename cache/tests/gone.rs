//! Files that a manifest names and that are gone: told by `Summary`, and made again by whoever writes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use retort_cache::{
    Dataset, Gone, Interrupt, Quiet, Summary, TeacherCache, TeacherSummary, convert, copy_teacher, quarantine, verify,
};
use retort_schemas::manifest::Shard;
use support::{ALL, Result, write_dataset, write_features_in_runs, write_split_in_runs, write_teacher};
use tempfile::tempdir;

mod support;

const SHARDS: u8 = 5;
/// Shards of a part: two are of parts, the last is not.
const RUN: usize = 2;

/// A data set and a teacher `clip` of all tables; both in parts.
fn parted(folder: &Path) -> Result<(Dataset, PathBuf)> {
    let dataset = write_split_in_runs(folder, "train", SHARDS, 0, RUN)?;
    write_features_in_runs(&dataset, "clip", 1.0, &ALL, RUN)?;
    let cache = TeacherCache::open(&dataset, "clip")?.folder().to_owned();
    Ok((dataset, cache))
}

fn file(folder: &Path, table: &str, shard: usize) -> PathBuf {
    folder.join(table).join(format!("{}.parquet", Shard::name_of("train", shard)))
}

/// Of each table, the shards that it is there of, and how many files are gone.
fn told(teacher: &TeacherSummary) -> Vec<(&str, u64, u64)> {
    teacher.tables.iter().map(|table| (table.table.as_str(), table.shards, table.gone.files)).collect()
}

/// Every file below a folder with its bytes.
fn tree(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(tree(&path)?);
        } else {
            files.insert(path.clone(), fs::read(&path)?);
        }
    }
    Ok(files)
}

#[test]
fn what_is_gone_is_told_with_its_first_file_and_the_command_that_computes_it() -> Result {
    let folder = tempdir()?;
    let (dataset, cache) = parted(folder.path())?;
    let whole = Summary::of(&dataset)?;
    assert_eq!(whole.teachers[0].shards, 5);
    assert!(whole.tables.iter().chain(&whole.teachers[0].tables).all(|table| table.gone == Gone::default()));
    for (table, shard) in [("tokens", 1), ("tokens", 3), ("texts", 3), ("words", 4)] {
        fs::remove_file(file(&cache, table, shard))?;
    }
    // Not a shard that the manifest knows, and not a table.
    fs::write(file(&cache, "tokens", 7), "")?;
    fs::write(cache.join("tokens/notes.txt"), "")?;
    // Of full parts, the files are known without reading them.
    fs::rename(cache.join("manifest"), cache.join("aside"))?;
    let summary = Summary::of(&dataset)?;
    let teacher = &summary.teachers[0];
    assert_eq!(told(teacher), [("images", 5, 0), ("texts", 4, 1), ("tokens", 3, 2), ("words", 4, 1)]);
    // Shards 0 and 2 have all.
    assert_eq!((teacher.shards, teacher.shards_expected), (2, 5));
    let first = teacher.tables[2].gone.first.clone().ok_or("no first file")?;
    assert_eq!(folder.path().join(first), file(&cache, "tokens", 1));
    let missing = &teacher.missing[0];
    let lacks: Vec<_> = missing.tables.iter().map(|lack| (lack.table, lack.shards)).collect();
    assert_eq!((missing.begun, lacks), (true, vec![("texts", 1), ("tokens", 2), ("words", 1)]));
    assert!(missing.command.ends_with(" --tokens --words"), "{}", missing.command);
    Ok(())
}

#[test]
fn a_folder_that_is_gone_is_one_entry_of_all_its_files() -> Result {
    let folder = tempdir()?;
    let (dataset, cache) = parted(folder.path())?;
    for table in ALL {
        fs::remove_dir_all(cache.join(table))?;
    }
    fs::remove_dir_all(folder.path().join("texts"))?;
    let summary = Summary::of(&dataset)?;
    let teacher = &summary.teachers[0];
    assert_eq!(told(teacher), [("images", 0, 5), ("texts", 0, 5), ("tokens", 0, 5), ("words", 0, 5)]);
    // It is not as if they had never been asked for.
    assert_eq!((teacher.shards, teacher.missing[0].begun, teacher.missing[0].tables.len()), (0, true, 4));
    let own: Vec<_> = summary.tables.iter().map(|table| (table.table.as_str(), table.gone.files)).collect();
    assert_eq!(own, [("images", 0), ("texts", 5), ("samples", 0)]);
    assert_eq!(summary.tables[1].gone.first.as_deref(), Some("texts/train-00000.parquet"));
    Ok(())
}

/// Where some shards of a part lack a table, only the part's file tells which files there should be.
#[test]
fn of_a_part_that_lacks_tables_only_what_is_named_is_gone() -> Result {
    let folder = tempdir()?;
    let (dataset, cache) = parted(folder.path())?;
    let quarantined = file(&cache, "tokens", 0);
    fs::remove_file(&quarantined)?;
    let found = verify(folder.path(), &Quiet, &Interrupt::default())?;
    quarantine(folder.path(), &found)?;
    let part = TeacherCache::open(&dataset, "clip")?.manifest().splits[0].runs.parts[0].clone();
    assert_eq!((part.shards, part.tables["tokens"].files), (2, 1));
    // Shards that have the tokens, files of them that are gone, whole shards.
    let sums = || -> Result<[u64; 3]> {
        let summary = Summary::of(&Dataset::open(folder.path())?)?;
        let teacher = &summary.teachers[0];
        let (_, shards, gone) = told(teacher)[2];
        Ok([shards, gone, teacher.shards])
    };
    assert_eq!(sums()?, [4, 0, 4]);
    // A file that a killed writer left does not stand for the one that is gone.
    fs::rename(file(&cache, "tokens", 1), &quarantined)?;
    assert_eq!(sums()?, [3, 1, 3]);
    Ok(())
}

#[test]
fn a_conversion_and_a_copy_make_again_what_is_gone() -> Result {
    let folder = tempdir()?;
    let dataset = write_dataset(&folder.path().join("one"), 3, 0)?;
    write_teacher(&dataset, "clip", 1.0)?;
    let store = "cos:0.99".parse()?;
    let convert = || convert(&dataset, "clip", store, false, &Quiet, &Interrupt::default());
    let done = convert()?;
    assert_eq!((done.converted, done.kept), (3, 0));
    let cache = dataset.folder().join("cache").join(&done.to);
    let expected = tree(&cache)?;
    fs::remove_file(file(&cache, "tokens", 1))?;
    let done = convert()?;
    assert_eq!((done.converted, done.kept), (1, 2));
    assert!(tree(&cache)? == expected);
    let other = write_dataset(&folder.path().join("two"), 3, 0)?;
    let copy = || copy_teacher(&dataset, &done.to, &other, &Quiet, &Interrupt::default());
    assert_eq!(copy()?.copied, 3);
    let target = other.folder().join("cache").join(&done.to);
    let expected = tree(&target)?;
    fs::remove_file(file(&target, "images", 2))?;
    let copied = copy()?;
    assert_eq!((copied.copied, copied.kept), (1, 2));
    assert!(tree(&target)? == expected);
    Ok(())
}
