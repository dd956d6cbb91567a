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

mod support;

fn dataset_with(tables: &[&str]) -> Result<(TempDir, Dataset)> {
    let folder = tempdir()?;
    let dataset = write_dataset(&folder.path().join("set"), 2, 0)?;
    write_features(&dataset, "clip", 1.0, tables)?;
    Ok((folder, dataset))
}

fn run(dataset: &Dataset, format: ExportFormat, out: &Path, force: bool) -> Result<Exported> {
    let teacher = TeacherCache::open(dataset, "clip")?;
    let options = Export { dataset, teacher: &teacher, split: None, format, out, force };
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
fn row_i_of_everything_that_clip_retrieval_reads_is_one_pair() -> Result {
    let (folder, dataset) = dataset_with(&["images", "texts"])?;
    let out = folder.path().join("out");
    let exported = run(&dataset, ExportFormat::ClipRetrieval, &out, false)?;
    let files = ["img_emb/img_emb_0.npy", "text_emb/text_emb_0.npy", "metadata/metadata_0.parquet"];
    assert_eq!(exported.files, files);
    assert_eq!((exported.rows, exported.skipped), (10, 2));
    let (header, images) = npy(&fs::read(out.join(files[0]))?)?;
    assert_eq!(header, "{'descr': '<f2', 'fortran_order': False, 'shape': (10,4,), }");
    let (_, texts) = npy(&fs::read(out.join(files[1]))?)?;
    let metadata = read_parquet(&out.join(files[2]))?;
    let pairs = pairs();
    assert_eq!((images.len(), texts.len(), metadata.num_rows()), (10 * WIDTH, 10 * WIDTH, pairs.len()));
    for (row, (image, text)) in pairs.iter().enumerate() {
        let at = row * WIDTH..(row + 1) * WIDTH;
        assert_normalised(&images[at.clone()], &stored(*image, 1.0));
        assert_normalised(&texts[at], &stored(*text, -1.0));
        assert_eq!(strings(&metadata, "image_path")[row], format!("photos/{image}.png"));
        assert_eq!(strings(&metadata, "caption")[row], format!("text number {text}"));
        assert_eq!(strings(&metadata, "image_id")[row], hex_id(*image));
        assert_eq!(strings(&metadata, "text_id")[row], hex_id(*text));
    }
    assert_eq!(strings(&metadata, "sample_id")[2..4], ["sample.0/2", "sample.0/2"]);
    Ok(())
}

#[test]
fn a_teacher_of_texts_alone_is_exported_text_by_text() -> Result {
    let (folder, dataset) = dataset_with(&["texts"])?;
    let out = folder.path().join("out");
    let exported = run(&dataset, ExportFormat::ClipRetrieval, &out, false)?;
    assert_eq!(exported.files, ["text_emb/text_emb_0.npy", "metadata/metadata_0.parquet"]);
    let captions = strings(&read_parquet(&out.join("metadata/metadata_0.parquet"))?, "caption");
    assert_eq!(captions[3..5], ["text number 3", "text number 16"]);
    assert_eq!(exported.rows, 8);
    Ok(())
}

#[test]
fn webdataset_members_of_one_key_are_one_pair_as_stored() -> Result {
    let (folder, dataset) = dataset_with(&["images", "texts"])?;
    let out = folder.path().join("out");
    let exported = run(&dataset, ExportFormat::Webdataset, &out, false)?;
    assert_eq!(exported.files, ["train-00000.tar", "train-00001.tar"]);
    let mut members = Vec::new();
    for entry in tar::Archive::new(fs::File::open(out.join("train-00001.tar"))?).entries()? {
        let mut entry = entry?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes)?;
        members.push((entry.path()?.to_string_lossy().into_owned(), bytes));
    }
    assert_eq!(members.len(), 3 * 5);
    for (row, (image, text)) in pairs()[5..].iter().enumerate() {
        let [one, two, three] = &members[3 * row..3 * row + 3] else { return Err("too few members".into()) };
        let key = format!("train-00001-{row:06}");
        let names = [&one.0, &two.0, &three.0];
        assert_eq!(names, [&format!("{key}.image.npy"), &format!("{key}.text.npy"), &format!("{key}.json")]);
        assert_eq!(npy(&one.1)?.1, stored(*image, 1.0));
        assert_eq!(npy(&two.1)?.1, stored(*text, -1.0));
        let json: Value = serde_json::from_slice(&three.1)?;
        assert_eq!(json["caption"], format!("text number {text}"));
        assert_eq!(json["image_path"], format!("photos/{image}.png"));
    }
    Ok(())
}

#[test]
fn safetensors_hold_every_row_as_stored_with_its_id() -> Result {
    let (folder, dataset) = dataset_with(&["images", "texts"])?;
    let out = folder.path().join("out");
    let exported = run(&dataset, ExportFormat::Safetensors, &out, false)?;
    assert_eq!(exported.files, ["images.safetensors", "texts.safetensors"]);
    let bytes = fs::read(out.join("texts.safetensors"))?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let (embedding, ids) = (tensors.tensor("embedding")?, tensors.tensor("ids")?);
    assert_eq!((embedding.dtype(), embedding.shape()), (Dtype::F16, &[8, WIDTH][..]));
    assert_eq!((ids.dtype(), ids.shape()), (Dtype::U8, &[8, 16][..]));
    for (row, id) in [0, 1, 2, 3, 16, 17, 18, 19].into_iter().enumerate() {
        let bytes = &embedding.data()[row * 2 * WIDTH..(row + 1) * 2 * WIDTH];
        let floats: Vec<f32> = bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect();
        assert_eq!(floats, stored(id, -1.0));
        assert_eq!(ids.data()[16 * row..16 * row + 16], [id; 16]);
    }
    Ok(())
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
        let options =
            Export { dataset: &dataset, teacher: &teacher, split: Some("train"), format, out: &out, force: true };
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
    let refused = run(&none, ExportFormat::Safetensors, &out, false).unwrap_err();
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
