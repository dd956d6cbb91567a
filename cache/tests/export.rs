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
fn safetensors_hold_patches_tokens_and_words_too() -> Result {
    for store in ["f16", "cos:0.999"] {
        let (folder, dataset) = stored_as(store)?;
        let out = folder.path().join("out");
        let exported = run(&dataset, ExportFormat::Safetensors, &out, false)?;
        let files = ["images", "patches", "texts", "tokens", "words"].map(|table| format!("{table}.safetensors"));
        assert_eq!((exported.files, exported.rows), (files.to_vec(), 6 + 6 + 8 + 8 + 4));
        assert!(exported.left_out.is_empty());
        let images: Vec<u8> = [0..3, 16..19].into_iter().flatten().collect();
        let texts: Vec<(u8, usize)> =
            [0, 16].into_iter().flat_map(|first| (0..4).map(move |at| (first + at, at as usize))).collect();

        let bytes = fs::read(out.join("patches.safetensors"))?;
        let file = SafeTensors::deserialize(&bytes)?;
        let (shape, grid) = elements(&file, "grid")?;
        assert_eq!(shape, [6, support::stores::PATCHES, WIDTH]);
        for (at, vector) in grid.chunks_exact(WIDTH).enumerate() {
            assert_close(vector, &stored(images[at / 2] + (at % 2) as u8, 1.0), store);
        }
        let (shape, ids) = numbers(&file, "ids", 1)?;
        assert_eq!((shape, ids[16 * 5]), (vec![6, 16], 18));

        let bytes = fs::read(out.join("tokens.safetensors"))?;
        let file = SafeTensors::deserialize(&bytes)?;
        let (shape, tokens) = elements(&file, "tokens")?;
        let count: usize = texts.iter().map(|(_, length)| length).sum();
        assert_eq!(shape, [count, WIDTH]);
        let (shape, spans) = numbers(&file, "spans", 4)?;
        assert_eq!(shape, [count, 2]);
        let (shape, offsets) = numbers(&file, "offsets", 8)?;
        assert_eq!((shape, offsets[0]), (vec![9], 0));
        for (row, (id, length)) in texts.iter().enumerate() {
            let (from, to) = (offsets[row] as usize, offsets[row + 1] as usize);
            assert_eq!(to - from, *length);
            for (token, span) in support::stores::spans(*id, *length).iter().enumerate() {
                let at = from + token;
                assert_close(&tokens[at * WIDTH..(at + 1) * WIDTH], &stored(id + token as u8, 1.0), store);
                assert_eq!((spans[2 * at], spans[2 * at + 1]), (u64::from(span.0), u64::from(span.1)));
            }
        }
        assert_eq!(numbers(&file, "ids", 1)?.1[16 * 4], 16);

        let bytes = fs::read(out.join("words.safetensors"))?;
        let file = SafeTensors::deserialize(&bytes)?;
        let (_, offsets) = numbers(&file, "offsets", 8)?;
        let text = file.tensor("words")?.data();
        let words: Vec<_> = offsets.windows(2).map(|ends| &text[ends[0] as usize..ends[1] as usize]).collect();
        let expected = ["red-train-00000", "shape-train-00000", "red-train-00001", "shape-train-00001"];
        assert_eq!(words, expected.map(str::as_bytes));
        for (name, id) in [("isolated", 3), ("prompt", 5)] {
            let (shape, vectors) = elements(&file, name)?;
            assert_eq!(shape, [4, WIDTH]);
            assert_close(&vectors[3 * WIDTH..], &stored(id + 1, 1.0), store);
        }
    }
    Ok(())
}

#[test]
fn webdataset_members_hold_patches_and_tokens_with_their_spans() -> Result {
    let (folder, dataset) = stored_as("f16")?;
    let out = folder.path().join("out");
    let exported = run(&dataset, ExportFormat::Webdataset, &out, false)?;
    assert_eq!((exported.rows, &exported.left_out[..]), (10, &["words"][..]));
    let mut members = std::collections::BTreeMap::new();
    for entry in tar::Archive::new(fs::File::open(out.join("train-00001.tar"))?).entries()? {
        let mut entry = entry?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes)?;
        members.insert(entry.path()?.to_string_lossy().into_owned(), bytes);
    }
    assert_eq!(members.len(), 6 * 5);
    for (row, (image, text)) in pairs()[5..].iter().enumerate() {
        let of = |ending: &str| members.get(&format!("train-00001-{row:06}.{ending}")).ok_or(ending.to_owned());
        let (header, patches) = npy(of("patches.npy")?)?;
        assert!(header.contains("(2,4,)"), "{header}");
        assert_eq!(patches, [stored(*image, 1.0), stored(image + 1, 1.0)].concat());
        let length = usize::from(text - 16);
        let (header, tokens) = npy(of("tokens.npy")?)?;
        assert!(header.contains(&format!("({length},4,)")), "{header}");
        assert_eq!(tokens, (0..length as u8).flat_map(|at| stored(text + at, 1.0)).collect::<Vec<_>>());
        let spans = of("spans.npy")?;
        let expected = support::stores::spans(*text, length).into_iter().flat_map(|(start, end)| [start, end]);
        assert_eq!(spans[128..], expected.flat_map(u32::to_le_bytes).collect::<Vec<_>>());
        assert!(spans.starts_with(b"\x93NUMPY") && String::from_utf8_lossy(&spans[..128]).contains("<u4"));
    }
    Ok(())
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
