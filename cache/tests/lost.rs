//! Manifests that are missing, and names that fit several teachers: what is said of them, and what the next writer does.

use std::fs;
use std::path::{Path, PathBuf};

use retort_cache::{Damage, Dataset, Error, Interrupt, Quiet, TeacherCache, convert, teachers_of, verify};
use support::{Result, open_writer, write_dataset, write_features, write_teacher};
use tempfile::tempdir;

mod support;

fn damages(folder: &Path) -> Result<Vec<Damage>> {
    Ok(verify(folder, &Quiet, &Interrupt::default())?.damages)
}

#[test]
fn a_name_of_several_teachers_is_answered_with_what_to_type() -> Result {
    let folder = tempdir()?;
    let dataset = write_dataset(&folder.path().join("set"), 1, 0)?;
    write_teacher(&dataset, "clip", 1.0)?;
    write_teacher(&dataset, "bert", 1.0)?;
    convert(&dataset, "clip", "cos:0.99".parse()?, false, &Quiet, &Interrupt::default())?;
    let refused = TeacherCache::open(&dataset, "clip").unwrap_err();
    assert!(matches!(refused, Error::AmbiguousTeacher { .. }), "{refused}");
    let hint = refused.hint().unwrap_or_default();
    let all = teachers_of(&dataset)?;
    let (mine, others): (Vec<_>, Vec<_>) = all.iter().partition(|teacher| teacher.manifest().name == "clip");
    assert_eq!((mine.len(), others.len()), (2, 1));
    let named: Vec<&str> = mine.iter().map(|teacher| teacher.folder_name()).collect();
    assert!(hint.contains(&named.join(" or ")), "{hint}");
    assert!(!hint.contains(others[0].folder_name()), "{hint}");
    for name in named {
        assert_eq!(TeacherCache::open(&dataset, name)?.folder_name(), name);
    }
    Ok(())
}

#[test]
fn a_data_set_without_its_manifest_is_damaged_and_an_empty_folder_is_none() -> Result {
    let folder = tempdir()?;
    let set = folder.path().join("set");
    fs::create_dir_all(set.join("images"))?;
    assert!(matches!(Dataset::open(&set), Err(Error::NotADataset { .. })));
    write_dataset(&set, 2, 0)?;
    let manifest = fs::read(set.join("dataset.json"))?;
    fs::remove_file(set.join("dataset.json"))?;
    let error = Dataset::open(&set).unwrap_err();
    assert!(matches!(error, Error::NoManifest { .. }) && error.to_string().contains("damaged"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("restore")));
    let found = damages(&set)?;
    assert_eq!(found.iter().map(|damage| damage.file.clone()).collect::<Vec<_>>(), [PathBuf::from("dataset.json")]);
    // As after a kill in the first shard.
    write_dataset(&set, 2, 0)?;
    assert_eq!(fs::read(set.join("dataset.json"))?, manifest);
    assert_eq!(damages(&set)?, []);
    Ok(())
}

#[test]
fn tables_without_a_teachers_manifest_are_named_and_the_next_writer_sweeps_them() -> Result {
    let folder = tempdir()?;
    let dataset = write_dataset(&folder.path().join("set"), 2, 0)?;
    write_teacher(&dataset, "clip", 1.0)?;
    let teacher = TeacherCache::open(&dataset, "clip")?.folder().to_owned();
    fs::remove_file(teacher.join("teacher.json"))?;
    let found = damages(dataset.folder())?;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].file.ends_with("teacher.json") && found[0].problem.contains("killed in its first shard"));
    drop(open_writer(&dataset, "clip")?);
    assert!(!teacher.join("words/train-00001.parquet").exists(), "tables that this run may never write");
    assert_eq!(damages(dataset.folder())?, []);
    write_features(&dataset, "clip", 1.0, &["images"])?;
    assert_eq!(damages(dataset.folder())?, []);
    // Tables that a manifest names stay.
    drop(open_writer(&dataset, "clip")?);
    assert_eq!(damages(dataset.folder())?, []);
    assert!(teacher.join("images/train-00001.parquet").exists());
    Ok(())
}
