//! Whole caches: listed, removed, copied, compared and set aside.

use std::fs;
use std::path::{Path, PathBuf};

use retort_cache::{
    Dataset, Error, Interrupt, Progress, Quiet, TeacherCache, compare_teachers, copy_teacher, list_teachers,
    quarantine, remove_teacher, verify,
};
use support::{Result, hex_id, open_writer, write_dataset, write_features, write_split, write_teacher};
use tempfile::{TempDir, tempdir};

mod support;

/// A data set of two shards with a teacher `clip`, in a folder that goes with it.
fn dataset_with_teacher() -> Result<(TempDir, Dataset)> {
    let folder = tempdir()?;
    let dataset = write_dataset(&folder.path().join("set"), 2, 0)?;
    write_teacher(&dataset, "clip", 1.0)?;
    Ok((folder, dataset))
}

fn teacher_folder(dataset: &Dataset, name: &str) -> Result<PathBuf> {
    Ok(TeacherCache::open(dataset, name)?.folder().to_owned())
}

/// Every file of a folder with its bytes, by relative path.
fn tree(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push((path.strip_prefix(folder)?.to_owned(), fs::read(&path)?));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Flips a bit in the middle of a file.
fn damage(path: &Path) -> Result {
    let mut bytes = fs::read(path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    Ok(fs::write(path, bytes)?)
}

#[test]
fn the_list_tells_what_each_teacher_holds() -> Result {
    let (_folder, dataset) = dataset_with_teacher()?;
    write_features(&dataset, "other", 1.0, &["images"])?;
    fs::write(teacher_folder(&dataset, "other")?.join("teacher.json"), "{}")?;
    let list = list_teachers(&dataset)?;
    assert_eq!(list.len(), 2);
    let clip = &list[0];
    assert!(clip.name.starts_with("clip@") && clip.name.len() == 13, "{}", clip.name);
    assert_eq!((clip.architecture.as_str(), clip.store.as_str(), clip.joint), ("clip", "f16", true));
    assert_eq!((clip.shards, clip.shards_expected, clip.rows), (2, 2, 2 * (3 + 4 + 4 + 2)));
    let tables: Vec<(&str, u64, u64)> = clip.tables.iter().map(|t| (t.table.as_str(), t.shards, t.rows)).collect();
    assert_eq!(tables, [("images", 2, 6), ("texts", 2, 8), ("tokens", 2, 8), ("words", 2, 4)]);
    let stored = tree(&dataset.folder().join("cache").join(&clip.name))?;
    let parquet = stored.iter().filter(|(path, _)| path.extension().is_some_and(|ending| ending == "parquet"));
    assert_eq!(clip.bytes, parquet.map(|(_, bytes)| bytes.len() as u64).sum::<u64>());
    assert!(list[1].problem.as_ref().is_some_and(|problem| problem.contains("checksum")), "{:?}", list[1]);
    Ok(())
}

#[test]
fn a_removed_teacher_is_gone_and_the_others_stay() -> Result {
    let (_folder, dataset) = dataset_with_teacher()?;
    write_features(&dataset, "text", 1.0, &["texts"])?;
    let folder = teacher_folder(&dataset, "clip")?;
    let files = tree(&folder)?;
    let removed = remove_teacher(dataset.folder(), "clip")?;
    assert_eq!(removed.name, folder.file_name().unwrap_or_default().to_string_lossy());
    assert_eq!(removed.files, 9);
    assert_eq!(removed.bytes, files.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>());
    assert!(!folder.exists());
    assert!(matches!(TeacherCache::open(&dataset, "clip"), Err(Error::NoTeacher { .. })));
    assert!(TeacherCache::open(&dataset, "text").is_ok());
    let error = remove_teacher(dataset.folder(), "clip").unwrap_err();
    assert!(error.to_string().contains("it has text@"), "{error}");
    Ok(())
}

#[test]
fn a_teacher_that_is_being_written_is_not_removed() -> Result {
    let (_folder, dataset) = dataset_with_teacher()?;
    let writer = open_writer(&dataset, "clip")?;
    assert!(matches!(remove_teacher(dataset.folder(), "clip"), Err(Error::Locked { .. })));
    drop(writer);
    assert!(TeacherCache::open(&dataset, "clip").is_ok());
    Ok(())
}

#[test]
fn what_a_killed_removal_leaves_is_not_believed_and_can_be_removed() -> Result {
    let (_folder, dataset) = dataset_with_teacher()?;
    let folder = teacher_folder(&dataset, "clip")?;
    // The first step of a removal.
    fs::remove_file(folder.join("teacher.json"))?;
    assert!(matches!(TeacherCache::open(&dataset, "clip"), Err(Error::NoTeacher { .. })));
    assert_eq!(remove_teacher(dataset.folder(), "clip")?.files, 8);
    assert!(!folder.exists());
    Ok(())
}

/// Asks to stop as soon as anything is done.
struct StopAtOnce(Interrupt);

impl Progress for StopAtOnce {
    fn begin(&self, _: &str, _: u64, _: &'static str) {}
    fn advance(&self, units: u64) {
        if units > 0 {
            self.0.request();
        }
    }
    fn note(&self, _: &str) {}
    fn end(&self) {}
}

#[test]
fn a_copy_is_the_same_to_the_byte_and_goes_on_where_it_stopped() -> Result {
    let (folder, dataset) = dataset_with_teacher()?;
    let other = write_dataset(&folder.path().join("other"), 2, 0)?;
    let interrupt = Interrupt::default();
    let stopped = copy_teacher(&dataset, "clip", &other, &StopAtOnce(interrupt.clone()), &interrupt);
    assert!(matches!(stopped, Err(Error::Interrupted)), "{stopped:?}");
    assert_eq!(TeacherCache::open(&other, "clip")?.shard_count(), 1);
    let copied = copy_teacher(&dataset, "clip", &other, &Quiet, &Interrupt::default())?;
    assert_eq!((copied.copied, copied.kept), (1, 1));
    assert_eq!(tree(&teacher_folder(&dataset, "clip")?)?, tree(&teacher_folder(&other, "clip")?)?);
    assert_eq!(verify(other.folder(), &Quiet, &Interrupt::default())?.damages, []);
    let again = copy_teacher(&dataset, "clip", &other, &Quiet, &Interrupt::default())?;
    assert_eq!((again.copied, again.kept, again.bytes), (0, 2, 0));
    Ok(())
}

#[test]
fn a_copy_to_other_rows_is_refused_and_names_the_shard() -> Result {
    let (folder, dataset) = dataset_with_teacher()?;
    let copy = |other: &Dataset| copy_teacher(&dataset, "clip", other, &Quiet, &Interrupt::default());
    let fewer = write_dataset(&folder.path().join("fewer"), 1, 0)?;
    let error = copy(&fewer).unwrap_err();
    assert!(error.to_string().ends_with("it has no shard train-00001"), "{error}");
    let others = write_dataset(&folder.path().join("others"), 2, 1)?;
    let error = copy(&others).unwrap_err();
    assert!(error.to_string().ends_with("the images of shard train-00000 are others"), "{error}");
    assert!(!others.folder().join("cache").exists());
    Ok(())
}

#[test]
fn words_are_copied_only_where_the_shards_before_are_the_same() -> Result {
    let folder = tempdir()?;
    let dataset = write_dataset(&folder.path().join("set"), 2, 0)?;
    write_features(&dataset, "plain", 1.0, &["images"])?;
    write_features(&dataset, "words", 1.0, &["words"])?;
    // The same shards after another split: a word that is in both is kept in that split's shard there.
    write_split(&folder.path().join("other"), "val", 1, 100)?;
    let other = write_dataset(&folder.path().join("other"), 2, 0)?;
    let copy = |name: &str| copy_teacher(&dataset, name, &other, &Quiet, &Interrupt::default());
    assert_eq!(copy("plain")?.copied, 2);
    let error = copy("words").unwrap_err();
    assert!(matches!(&error, Error::Differs { problem, .. } if problem.contains("shard train-00000")), "{error}");
    Ok(())
}

#[test]
fn other_features_of_the_same_teacher_are_not_overwritten() -> Result {
    let (folder, dataset) = dataset_with_teacher()?;
    let other = write_dataset(&folder.path().join("other"), 2, 0)?;
    write_teacher(&other, "clip", 2.0)?;
    let before = tree(other.folder())?;
    let error = copy_teacher(&dataset, "clip", &other, &Quiet, &Interrupt::default()).unwrap_err();
    assert!(matches!(&error, Error::Differs { problem, .. } if problem.contains("train-00000")), "{error}");
    assert_eq!(tree(other.folder())?, before);
    Ok(())
}

#[test]
fn a_damaged_file_is_not_copied() -> Result {
    let (folder, dataset) = dataset_with_teacher()?;
    let other = write_dataset(&folder.path().join("other"), 2, 0)?;
    let path = teacher_folder(&dataset, "clip")?.join("texts/train-00001.parquet");
    damage(&path)?;
    let error = copy_teacher(&dataset, "clip", &other, &Quiet, &Interrupt::default()).unwrap_err();
    assert!(matches!(&error, Error::Damaged { path: found, .. } if *found == path), "{error}");
    assert!(TeacherCache::open(&other, "clip")?.shard("train-00001")?.is_none());
    assert!(!teacher_folder(&other, "clip")?.join("texts/train-00001.parquet").exists());
    Ok(())
}

#[test]
fn equal_teachers_compare_the_same_and_a_changed_row_is_named() -> Result {
    let (folder, dataset) = dataset_with_teacher()?;
    let other = write_dataset(&folder.path().join("other"), 2, 0)?;
    write_teacher(&other, "clip", 1.0)?;
    let compare = |other: &Dataset, name: &str| -> Result<_> {
        let (a, b) = (TeacherCache::open(&dataset, "clip")?, TeacherCache::open(other, name)?);
        Ok(compare_teachers((&dataset, &a), (other, &b), &Quiet, &Interrupt::default())?)
    };
    let same = compare(&other, "clip")?;
    assert!(same.same(1.0), "{same:?}");
    let columns: Vec<_> =
        same.columns.iter().map(|c| (c.table.as_str(), c.column.as_str(), c.rows, c.vectors)).collect();
    let expected = [
        ("images", "embedding", 6, 6),
        ("texts", "embedding", 8, 8),
        ("tokens", "tokens", 8, 12),
        ("words", "isolated", 4, 4),
        ("words", "prompt", 4, 4),
    ];
    assert_eq!(columns, expected);

    // A scale is no change of direction; the largest difference sees it.
    write_features(&dataset, "twice", 2.0, &["images"])?;
    let twice = compare(&dataset, "twice")?;
    assert!(twice.columns[0].lowest_cosine > 0.999_999 && twice.columns[0].largest_difference > 1.0, "{twice:?}");
    assert_eq!(twice.only_a.len(), 6);
    assert!(!twice.same(0.9), "tables that only one has are a difference");
    Ok(())
}

#[test]
fn the_worst_row_is_found_with_its_cosine_and_difference() -> Result {
    let folder = tempdir()?;
    let one = write_dataset(&folder.path().join("one"), 1, 0)?;
    write_features(&one, "clip", 1.0, &["images"])?;
    let two = write_dataset(&folder.path().join("two"), 1, 0)?;
    let shard = &one.shards().next().ok_or("no shard")??;
    let a = TeacherCache::open(&one, "clip")?;
    let table = a.read(&one, shard, "images")?;
    // The image of id 1 is turned round.
    let vector = retort_schemas::VectorType { dtype: retort_schemas::Dtype::F16, width: support::WIDTH };
    let floats: Vec<f32> =
        [(0, 1.0), (1, -1.0), (2, 1.0)].iter().flat_map(|(id, scale)| support::values(*id, *scale)).collect();
    let changed =
        vec![table.column(0).clone(), std::sync::Arc::new(retort_cache::vectors::encode(vector, &floats)?) as _];
    let changed = arrow::array::RecordBatch::try_new(retort_schemas::features::images::schema(vector), changed)?;
    open_writer(&two, "clip")?.commit(&shard.name, &[("images", changed)])?;
    let b = TeacherCache::open(&two, "clip")?;
    let found = compare_teachers((&one, &a), (&two, &b), &Quiet, &Interrupt::default())?;
    let column = &found.columns[0];
    assert_eq!(column.worst, hex_id(1));
    assert!((column.lowest_cosine + 1.0).abs() < 1e-9, "{column:?}");
    assert!((column.mean_cosine - 1.0 / 3.0).abs() < 1e-9, "{column:?}");
    let largest = support::values(1, 1.0).iter().fold(0.0_f32, |most, x| most.max(2.0 * x.abs()));
    assert!((column.largest_difference - f64::from(largest)).abs() < 1e-2, "{column:?}");
    assert!(!found.same(0.9999) && found.same(-1.0));
    Ok(())
}

#[test]
fn vectors_that_cannot_be_compared_are_a_difference() -> Result {
    let folder = tempdir()?;
    let one = write_dataset(&folder.path().join("one"), 1, 0)?;
    write_features(&one, "clip", 1.0, &["images"])?;
    let shard = &one.shards().next().ok_or("no shard")??;
    let a = TeacherCache::open(&one, "clip")?;
    let ids = a.read(&one, shard, "images")?.column(0).clone();
    // Another width, and another column.
    let narrow = retort_schemas::VectorType { dtype: retort_schemas::Dtype::F16, width: 2 };
    for column in ["embedding", "other"] {
        let two = write_dataset(&folder.path().join(column), 1, 0)?;
        let vectors = retort_cache::vectors::encode(narrow, &[1.0; 6])?;
        let like = retort_schemas::features::images::schema(narrow);
        let fields = vec![like.field(0).clone(), narrow.field(column)];
        let schema = arrow::datatypes::Schema::new_with_metadata(fields, like.metadata().clone());
        let table = arrow::array::RecordBatch::try_new(schema.into(), vec![ids.clone(), std::sync::Arc::new(vectors)])?;
        open_writer(&two, "clip")?.commit(&shard.name, &[("images", table)])?;
        let b = TeacherCache::open(&two, "clip")?;
        let found = compare_teachers((&one, &a), (&two, &b), &Quiet, &Interrupt::default())?;
        assert!(found.columns.iter().all(|column| (column.rows, column.unlike) == (0, 3)), "{found:?}");
        assert_eq!(found.columns.len(), if column == "other" { 2 } else { 1 });
        assert!(!found.same(-1.0));
    }
    Ok(())
}

#[test]
fn other_rows_are_a_difference() -> Result {
    let (folder, dataset) = dataset_with_teacher()?;
    let other = write_dataset(&folder.path().join("other"), 2, 1)?;
    write_features(&other, "clip", 1.0, &["images"])?;
    let (a, b) = (TeacherCache::open(&dataset, "clip")?, TeacherCache::open(&other, "clip")?);
    let found = compare_teachers((&dataset, &a), (&other, &b), &Quiet, &Interrupt::default())?;
    assert_eq!(found.other_rows, ["images/train-00000", "images/train-00001"]);
    assert!(!found.same(-1.0));
    Ok(())
}

#[test]
fn damaged_features_are_set_aside_and_only_they_are_made_again() -> Result {
    let (_folder, dataset) = dataset_with_teacher()?;
    let folder = teacher_folder(&dataset, "clip")?;
    let before = tree(&folder)?;
    damage(&folder.join("texts/train-00000.parquet"))?;
    let damaged = fs::read(folder.join("texts/train-00000.parquet"))?;
    fs::remove_file(folder.join("images/train-00001.parquet"))?;
    let check = || verify(dataset.folder(), &Quiet, &Interrupt::default());
    let done = quarantine(dataset.folder(), &check()?)?;
    assert_eq!(done.left, []);
    let moved: Vec<_> = done
        .moved
        .iter()
        .map(|moved| (moved.from.ends_with("images/train-00001.parquet"), moved.to.is_some()))
        .collect();
    assert_eq!(moved, [(true, false), (false, true)]);
    assert_eq!(fs::read(folder.join("quarantine/texts/train-00000.parquet"))?, damaged);
    assert_eq!(check()?.damages, []);
    let cache = TeacherCache::open(&dataset, "clip")?;
    for shard in dataset.shards() {
        let shard = &shard?;
        for (table, gone) in [("images", "train-00001"), ("texts", "train-00000"), ("tokens", ""), ("words", "")] {
            assert_eq!(cache.read(&dataset, shard, table).is_err(), shard.name == gone, "{table} of {}", shard.name);
        }
    }
    // A second time in the same place: the first is kept.
    write_teacher(&dataset, "clip", 1.0)?;
    let again: Vec<_> = tree(&folder)?.into_iter().filter(|(path, _)| !path.starts_with("quarantine")).collect();
    assert_eq!(again, before);
    damage(&folder.join("texts/train-00000.parquet"))?;
    quarantine(dataset.folder(), &check()?)?;
    assert_eq!(fs::read(folder.join("quarantine/texts/train-00000.parquet"))?, damaged);
    assert!(folder.join("quarantine/texts/train-00000.parquet.1").is_file());
    Ok(())
}

#[test]
fn a_teacher_with_a_damaged_manifest_is_set_aside_as_a_whole() -> Result {
    let (_folder, dataset) = dataset_with_teacher()?;
    let folder = teacher_folder(&dataset, "clip")?;
    damage(&folder.join("teacher.json"))?;
    let before = tree(&folder)?;
    let check = || verify(dataset.folder(), &Quiet, &Interrupt::default());
    let done = quarantine(dataset.folder(), &check()?)?;
    let to = done.moved[0].to.clone().ok_or("not moved")?;
    assert!(!folder.exists());
    assert_eq!(tree(&dataset.folder().join(&to))?, before);
    assert_eq!(check()?.damages, []);
    assert_eq!(list_teachers(&dataset)?, []);
    Ok(())
}

#[test]
fn what_cannot_be_computed_again_stays_and_advice_is_given() -> Result {
    let (_folder, dataset) = dataset_with_teacher()?;
    let texts = dataset.folder().join("texts/train-00001.parquet");
    damage(&texts)?;
    damage(&teacher_folder(&dataset, "clip")?.join("texts/train-00001.parquet"))?;
    let before = tree(dataset.folder())?;
    let _writer = open_writer(&dataset, "clip")?;
    let done = quarantine(dataset.folder(), &verify(dataset.folder(), &Quiet, &Interrupt::default())?)?;
    assert_eq!(done.moved, []);
    let advice: Vec<&str> = done.left.iter().map(|left| left.advice.as_str()).collect();
    assert!(advice[0].contains("split train again with --force"), "{advice:?}");
    assert!(advice[1].contains("is being written by process"), "{advice:?}");
    let after: Vec<_> = tree(dataset.folder())?.into_iter().filter(|(path, _)| !path.ends_with(".writer")).collect();
    assert_eq!(after, before);
    Ok(())
}
