//! A teacher's features in the layouts of other tools, read by others' readers where there are any.

use std::fs;
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use half::f16;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use retort_cache::{Dataset, Error, Export, ExportFormat, Exported, Interrupt, Quiet, TeacherCache, export};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use support::{Result, WIDTH, hex_id, values, write_dataset, write_features, write_split, write_teacher};
use tempfile::{TempDir, tempdir};

mod clip_retrieval;
#[path = "../support/mod.rs"]
mod support;
mod tensors;
mod webdataset;

fn dataset_with(tables: &[&str]) -> Result<(TempDir, Dataset)> {
    let folder = tempdir()?;
    let dataset = write_dataset(&folder.path().join("set"), 2, 0)?;
    write_features(&dataset, "clip", 1.0, tables)?;
    Ok((folder, dataset))
}

fn run(dataset: &Dataset, format: ExportFormat, out: &Path, force: bool) -> Result<Exported> {
    let teacher = TeacherCache::open(dataset, "clip")?;
    let options = Export { dataset, teacher: &teacher, split: None, tables: &[], format, out, force };
    Ok(export(&options, &Quiet, &Interrupt::default())?)
}

/// Ids of image and text of every pair of both shards, as the fixture's samples have them.
fn pairs() -> Vec<(u8, u8)> {
    let of = |shard: u8| {
        let samples = support::SAMPLES.iter();
        samples.flat_map(move |(image, texts)| {
            texts.iter().map(move |text| (16 * shard + *image as u8, 16 * shard + *text as u8))
        })
    };
    (0..2).flat_map(of).collect()
}

/// Header and elements of an `.npy` of f16.
fn npy(bytes: &[u8]) -> Result<(String, Vec<f32>)> {
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert!(header.is_multiple_of(64));
    let text = std::str::from_utf8(&bytes[10..header])?.trim_end().to_owned();
    let elements = bytes[header..].chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32());
    Ok((text, elements.collect()))
}

fn stored(id: u8, scale: f32) -> Vec<f32> {
    values(id, scale).iter().map(|x| f16::from_f32(*x).to_f32()).collect()
}

fn assert_normalised(row: &[f32], stored: &[f32]) {
    let norm = stored.iter().map(|x| x * x).sum::<f32>().sqrt();
    for (x, y) in row.iter().zip(stored) {
        assert!((x - y / norm).abs() < 1e-3, "{row:?} is not {stored:?} of norm 1");
    }
}

fn read_parquet(path: &Path) -> Result<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path)?)?.with_batch_size(1 << 20).build()?;
    let batches = reader.collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(arrow::compute::concat_batches(&batches[0].schema(), &batches)?)
}

fn strings(batch: &RecordBatch, name: &str) -> Vec<String> {
    let column = batch.column_by_name(name).map(|column| column.as_string::<i32>());
    column.into_iter().flat_map(|column| column.iter().flatten().map(str::to_owned)).collect()
}

#[test]
fn a_folder_that_holds_something_is_refused_and_force_replaces_an_export_alone() -> Result {
    let (folder, dataset) = dataset_with(&["images", "texts"])?;
    let out = folder.path().join("out");
    fs::create_dir(&out)?;
    fs::write(out.join("mine.txt"), "kept")?;
    let refused = run(&dataset, ExportFormat::Webdataset, &out, false).unwrap_err();
    assert!(refused.downcast_ref().is_some_and(|error| matches!(error, Error::NotEmpty { .. })), "{refused}");
    assert_eq!(fs::read_dir(&out)?.count(), 1);
    run(&dataset, ExportFormat::Webdataset, &out, true)?;
    run(&dataset, ExportFormat::Safetensors, &out, true)?;
    let mut names: Vec<_> = fs::read_dir(&out)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    names.sort();
    assert_eq!(names, ["export.json", "images.safetensors", "mine.txt", "texts.safetensors"]);
    Ok(())
}

#[test]
fn a_note_that_names_files_outside_the_folder_removes_nothing_there() -> Result {
    let (folder, dataset) = dataset_with(&["images", "texts"])?;
    let out = folder.path().join("out");
    fs::create_dir(&out)?;
    fs::write(folder.path().join("mine.txt"), "kept")?;
    fs::write(out.join("export.json"), r#"{"files": ["../mine.txt"]}"#)?;
    run(&dataset, ExportFormat::Safetensors, &out, true)?;
    assert!(folder.path().join("mine.txt").is_file());
    Ok(())
}

#[test]
fn an_interrupted_export_leaves_no_file_and_says_that_it_is_not_complete() -> Result {
    let (folder, dataset) = dataset_with(&["images", "texts"])?;
    let out = folder.path().join("out");
    let teacher = TeacherCache::open(&dataset, "clip")?;
    for format in [ExportFormat::ClipRetrieval, ExportFormat::Webdataset, ExportFormat::Safetensors] {
        let options = Export {
            dataset: &dataset,
            teacher: &teacher,
            split: Some("train"),
            tables: &[],
            format,
            out: &out,
            force: true,
        };
        let interrupt = Interrupt::default();
        interrupt.request();
        assert!(matches!(export(&options, &Quiet, &interrupt), Err(Error::Interrupted)));
        let note: Value = serde_json::from_slice(&fs::read(out.join("export.json"))?)?;
        assert_eq!(note["complete"], false);
        let left = fs::read_dir(&out)?.filter_map(|entry| entry.ok()).filter(|entry| entry.path().is_file());
        assert_eq!(left.count(), 1, "{format:?}");
        let done = export(&options, &Quiet, &Interrupt::default())?;
        assert!(done.files.iter().all(|file| out.join(file).is_file()));
        let note: Value = serde_json::from_slice(&fs::read(out.join("export.json"))?)?;
        assert_eq!(note["complete"], true);
    }
    Ok(())
}

#[test]
fn a_split_is_exported_alone_and_needs_no_features_of_the_others() -> Result {
    let (folder, dataset) = dataset_with(&["images", "texts"])?;
    let dataset = write_split(dataset.folder(), "val", 1, 100)?;
    let teacher = TeacherCache::open(&dataset, "clip")?;
    let out = folder.path().join("out");
    let options = |split| Export {
        dataset: &dataset,
        teacher: &teacher,
        split,
        tables: &[],
        format: ExportFormat::Webdataset,
        out: &out,
        force: true,
    };
    let run = |split| export(&options(split), &Quiet, &Interrupt::default());
    assert_eq!(run(Some("train"))?.files, ["train-00000.tar", "train-00001.tar"]);
    assert!(matches!(run(Some("val")), Err(Error::NotExportable { .. })));
    assert!(matches!(run(None), Err(Error::NotExportable { .. })));
    assert!(matches!(run(Some("test")), Err(Error::NoSplit { .. })));
    write_features(&dataset, "clip", 1.0, &["images", "texts"])?;
    let teacher = TeacherCache::open(&dataset, "clip")?;
    let done = export(&Export { teacher: &teacher, ..options(Some("val")) }, &Quiet, &Interrupt::default())?;
    assert_eq!((done.files, done.rows), (vec!["val-00000.tar".to_owned()], 5));
    assert!(!out.join("train-00000.tar").exists());
    Ok(())
}

#[test]
fn features_that_are_missing_stop_an_export_before_it_writes() -> Result {
    let (folder, dataset) = dataset_with(&["images", "texts"])?;
    let out = folder.path().join("out");
    let path = TeacherCache::open(&dataset, "clip")?.folder().join("texts/train-00001.parquet");
    fs::remove_file(&path)?;
    let found = retort_cache::verify(dataset.folder(), &Quiet, &Interrupt::default())?;
    retort_cache::quarantine(dataset.folder(), &found)?;
    let refused = run(&dataset, ExportFormat::ClipRetrieval, &out, false).unwrap_err();
    assert!(refused.to_string().contains("no texts of shard train-00001"), "{refused}");
    assert!(!out.exists());
    let none = write_dataset(&folder.path().join("none"), 1, 0)?;
    write_features(&none, "clip", 1.0, &["words"])?;
    let refused = run(&none, ExportFormat::ClipRetrieval, &out, false).unwrap_err();
    assert!(refused.to_string().contains("neither images nor texts"), "{refused}");
    Ok(())
}

#[test]
fn the_same_features_give_the_same_bytes() -> Result {
    let folder = tempdir()?;
    let dataset = write_dataset(&folder.path().join("set"), 2, 0)?;
    write_teacher(&dataset, "clip", 1.0)?;
    for format in [ExportFormat::ClipRetrieval, ExportFormat::Webdataset, ExportFormat::Safetensors] {
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let files = run(&dataset, format, &one, true)?.files;
        std::thread::sleep(std::time::Duration::from_millis(1100)); // another second: no time of day in any file
        run(&dataset, format, &two, true)?;
        for file in files {
            assert_eq!(fs::read(one.join(&file))?, fs::read(two.join(&file))?, "{file}");
        }
    }
    Ok(())
}

/// A data set with a teacher of every table in this store.
fn stored_as(store: &str) -> Result<(TempDir, Dataset)> {
    let folder = tempdir()?;
    let dataset = write_dataset(&folder.path().join("set"), 2, 0)?;
    support::stores::write_stored(&dataset, "clip", store.parse()?)?;
    Ok((folder, dataset))
}

/// Numbers of a tensor, `bytes` each.
fn numbers(file: &SafeTensors<'_>, name: &str, bytes: usize) -> Result<(Vec<usize>, Vec<u64>)> {
    let tensor = file.tensor(name)?;
    let number = |chunk: &[u8]| chunk.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    Ok((tensor.shape().to_vec(), tensor.data().chunks_exact(bytes).map(number).collect()))
}

/// Elements of a tensor of f16, or of f32.
fn elements(file: &SafeTensors<'_>, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
    let tensor = file.tensor(name)?;
    let elements = match tensor.dtype() {
        Dtype::F16 => tensor.data().chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::F32 => tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        other => return Err(format!("{other:?}").into()),
    };
    Ok((tensor.shape().to_vec(), elements))
}

/// Codes keep the direction to 0.999 and the length to 1 in 2,000: each of these few elements to a twentieth of the norm.
fn assert_close(found: &[f32], expected: &[f32], store: &str) {
    let norm = expected.iter().map(|x| x * x).sum::<f32>().sqrt();
    let close = |(x, y): (&f32, &f32)| if store == "f16" { x == y } else { (x - y).abs() <= 0.05 * norm };
    assert!(found.len() == expected.len() && found.iter().zip(expected).all(close), "{found:?} is not {expected:?}");
}

#[test]
fn tables_are_chosen_by_name_and_a_layout_without_a_place_says_why() -> Result {
    let (folder, dataset) = stored_as("f16")?;
    let out = folder.path().join("out");
    let teacher = TeacherCache::open(&dataset, "clip")?;
    let run = |format, tables: &[&str]| {
        let tables: Vec<String> = tables.iter().map(|table| (*table).to_owned()).collect();
        let options = Export {
            dataset: &dataset,
            teacher: &teacher,
            split: None,
            tables: &tables,
            format,
            out: &out,
            force: true,
        };
        export(&options, &Quiet, &Interrupt::default())
    };
    for (format, table, reason) in [
        (ExportFormat::ClipRetrieval, "tokens", "one vector a row"),
        (ExportFormat::ClipRetrieval, "patches", "one vector a row"),
        (ExportFormat::ClipRetrieval, "words", "a word belongs to none"),
        (ExportFormat::Webdataset, "words", "a word belongs to none"),
        (ExportFormat::Safetensors, "word", "the tables are images, patches, texts, tokens, words"),
    ] {
        let refused = run(format, &["images", table]).unwrap_err();
        assert!(matches!(refused, Error::NotExportable { .. }) && refused.to_string().contains(reason), "{refused}");
        assert!(!out.exists());
    }
    assert_eq!(run(ExportFormat::ClipRetrieval, &[])?.left_out, ["patches", "tokens", "words"]);
    assert_eq!(run(ExportFormat::Safetensors, &["words"])?.files, ["words.safetensors"]);
    let done = run(ExportFormat::Webdataset, &["tokens"])?;
    assert_eq!(done.rows, 8, "texts alone");
    let (_folder, plain) = dataset_with(&["images"])?;
    let teacher = TeacherCache::open(&plain, "clip")?;
    let tables = ["patches".to_owned()];
    let options = Export {
        dataset: &plain,
        teacher: &teacher,
        split: None,
        tables: &tables,
        format: ExportFormat::Safetensors,
        out: &out,
        force: true,
    };
    let refused = export(&options, &Quiet, &Interrupt::default()).unwrap_err();
    assert!(refused.to_string().contains("it has no patches"), "{refused}");
    Ok(())
}
