//! The example of `docs/format.md`, read back by its words alone, and by the crate.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use half::f16;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use retort_cache::{
    Dataset, DatasetWriter, Interrupt, Quiet, SplitPlan, TeacherCache, fuzzing, teachers_of, vectors, verify,
};
use retort_schemas::manifest::{DATASET_VERSION, TEACHER_VERSION};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

mod support;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A manifest, or a part of one, whose seal was checked by hand, and the seal.
fn sealed(path: &Path) -> Result<(Value, String)> {
    let text = fs::read_to_string(path)?;
    let at = text.rfind("\"xxh3\": \"").ok_or("no seal")? + "\"xxh3\": \"".len();
    let seal = format!("{:016x}", xxh3_64(&text.as_bytes()[..at]));
    assert_eq!(text[at..], format!("{seal}\"\n}}\n"), "{}", path.display());
    Ok((serde_json::from_str(&text)?, seal))
}

/// The shards of a split: those of its parts, checked, and those beside them, in the order of their names.
fn shards_of(folder: &Path, split: &Value, said: &mut String) -> Result<Vec<Value>> {
    let mut all = split["shards"].as_array().ok_or("no shards")?.clone();
    for part in split["parts"].as_array().into_iter().flatten() {
        let (first, seal) = (part["first"].as_u64().ok_or("no first")?, part["seal"].as_str().ok_or("no seal")?);
        let name = format!("manifest/{}-{first:05}-{seal}.json", split["name"].as_str().ok_or("no name")?);
        let (file, found) = sealed(&folder.join(&name))?;
        assert_eq!((file["retort:schema"].as_str(), found.as_str()), (Some("part/1.1"), seal));
        let shards = file["shards"].as_array().ok_or("no shards")?;
        assert_eq!(part["shards"], shards.len());
        for (table, told) in part["tables"].as_object().ok_or("no tables")? {
            let files: Vec<_> = shards.iter().filter(|shard| shard["tables"].get(table).is_some()).collect();
            let sum = |key: &str| files.iter().filter_map(|shard| shard["tables"][table][key].as_u64()).sum::<u64>();
            assert_eq!(
                (&told["files"], &told["rows"], &told["bytes"]),
                (&files.len().into(), &sum("rows").into(), &sum("bytes").into())
            );
            let mut lines = String::new();
            for shard in files {
                let file = &shard["tables"][table];
                if let (Some(name), Some(ids)) = (shard["name"].as_str(), file["ids"].as_str()) {
                    writeln!(lines, "{name} {} {ids}", file["rows"])?;
                }
            }
            let whole = lines.lines().count() == shards.len();
            assert_eq!(told["ids"].as_str(), whole.then(|| format!("{:016x}", xxh3_64(lines.as_bytes()))).as_deref());
        }
        writeln!(said, "{name}: {} shards, {} bytes of images", shards.len(), part["tables"]["images"]["bytes"])?;
        all.extend(shards.iter().cloned());
    }
    all.sort_by_key(|shard| shard["name"].as_str().map(str::to_owned));
    Ok(all)
}

/// Checks the footer of a file against its manifest's entry, and every page against the footer: how many there are.
fn pages_of(path: &Path, file: &Value) -> Result<usize> {
    let bytes = fs::read(path)?;
    assert_eq!(file["bytes"], bytes.len());
    let pages: u64 = file["column_bytes"].as_object().ok_or("no columns")?.values().filter_map(Value::as_u64).sum();
    let mut at = 4 + pages as usize;
    assert_eq!((&bytes[..4], file["rest"].as_str()), (&b"PAR1"[..], Some(&*format!("{:016x}", xxh3_64(&bytes[at..])))));
    let metadata = ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Required)
        .parse_and_finish(&bytes::Bytes::from(bytes.clone()))?;
    let notes = metadata.file_metadata().key_value_metadata().ok_or("no metadata")?;
    let sums = notes.iter().find(|note| note.key == "retort:checksums").and_then(|note| note.value.as_deref());
    let sums = STANDARD.decode(sums.and_then(|sums| sums.strip_prefix("xxh3:")).ok_or("no checksums")?)?;
    let mut sums = sums.as_chunks::<8>().0.iter().map(|sum| u64::from_le_bytes(*sum));
    let (mut count, end) = (0, at);
    at = 4;
    for (group, leaves) in metadata.row_groups().iter().zip(metadata.offset_index().ok_or("no offset index")?) {
        for (chunk, leaf) in group.columns().iter().zip(leaves) {
            let dictionary = chunk.dictionary_page_offset().map(|_| chunk.data_page_offset() as usize - at);
            let data = leaf.page_locations().iter().map(|page| page.compressed_page_size as usize);
            for length in dictionary.into_iter().chain(data) {
                assert_eq!(sums.next(), Some(xxh3_64(&bytes[at..at + length])), "{} at {at}", path.display());
                at += length;
                count += 1;
            }
        }
    }
    assert_eq!((at, sums.next()), (end, None), "{}", path.display());
    Ok(count)
}

fn row(path: &Path, at: usize) -> Result<Row> {
    Ok(SerializedFileReader::new(fs::File::open(path)?)?.get_row_iter(None)?.nth(at).ok_or("no such row")??)
}

fn value<'a>(row: &'a Row, name: &str) -> Result<&'a Field> {
    row.get_column_iter().find(|(column, _)| *column == name).map(|(_, value)| value).ok_or_else(|| name.into())
}

fn bytes(row: &Row, name: &str) -> Result<Vec<u8>> {
    match value(row, name)? {
        Field::Bytes(bytes) => Ok(bytes.data().to_vec()),
        other => Err(format!("{name} is {other}").into()),
    }
}

#[test]
fn the_example_is_what_the_page_says() -> Result {
    let folder = repository().join("tests/data/format-3.1");
    let (dataset, seal) = sealed(&folder.join("dataset.json"))?;
    assert_eq!(dataset["retort:schema"], DATASET_VERSION.to_string());
    let mut said = format!("dataset.json: seal {seal}\n");
    let mut teachers: Vec<PathBuf> = fs::read_dir(folder.join("cache"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::result::Result<_, _>>()?;
    teachers.sort();
    let mut all = vec![(folder.clone(), shards_of(&folder, &dataset["splits"][0], &mut said)?)];
    for teacher in &teachers {
        let (manifest, seal) = sealed(&teacher.join("teacher.json"))?;
        TEACHER_VERSION.accept(manifest["retort:schema"].as_str().ok_or("no version")?)?;
        let name = teacher.file_name().and_then(|name| name.to_str()).ok_or("no name")?;
        writeln!(said, "cache/{name}: store {}, seal {seal}", manifest["store"].as_str().ok_or("no store")?)?;
        all.push((teacher.clone(), shards_of(teacher, &manifest["splits"][0], &mut said)?));
    }
    for (place, shards) in &all {
        assert_eq!(shards.len(), 3);
        for shard in shards {
            for (table, file) in shard["tables"].as_object().ok_or("no tables")? {
                let path = place.join(table).join(format!("{}.parquet", shard["name"].as_str().ok_or("no name")?));
                let pages = pages_of(&path, file)?;
                let name = path.strip_prefix(&folder)?.display().to_string();
                if name.ends_with("images/train-00000.parquet") {
                    let (bytes, rest) = (&file["bytes"], file["rest"].as_str().ok_or("no rest")?);
                    writeln!(said, "{name}: {bytes} bytes, {pages} pages, rest {rest}")?;
                }
            }
        }
    }
    for teacher in &teachers {
        let row = row(&teacher.join("images/train-00000.parquet"), 0)?;
        let stored = bytes(&row, "embedding")?;
        match value(&row, "embedding_scale") {
            Ok(Field::Float(scale)) => {
                let codes: Vec<i8> = stored.iter().map(|code| *code as i8).collect();
                let floats: Vec<f32> = codes.iter().map(|code| f32::from(*code) * scale).collect();
                writeln!(said, "embedding of its row 0, as codes: {codes:?} * {scale} = {floats:?}")?;
            }
            _ => {
                let halves = stored.as_chunks::<2>().0.iter().map(|pair| f16::from_le_bytes(*pair).to_f32());
                writeln!(said, "embedding of its row 0, as f16: {:?}", halves.collect::<Vec<_>>())?;
            }
        }
    }
    let page = fs::read_to_string(repository().join("docs/format.md"))?;
    let example = page.rsplit("```text\n").next().and_then(|rest| rest.split("```").next()).unwrap_or_default();
    assert_eq!(example, said, "what docs/format.md says is not what is read:\n{said}");
    Ok(())
}

/// A fixture of each version of manifests: every later build must read them.
#[test]
fn the_examples_are_whole_for_this_build() -> Result {
    for (version, files) in [("2.0", 25), ("3.0", 38), ("3.1", 38)] {
        let folder = repository().join(format!("tests/data/format-{version}"));
        let found = verify(&folder, &Quiet, &Interrupt::default())?;
        assert!(found.damages.is_empty(), "{:?}", found.damages);
        assert_eq!(found.files, files);
        let dataset = Dataset::open(&folder)?;
        let stores: Vec<String> =
            teachers_of(&dataset)?.iter().map(|teacher| teacher.manifest().store.to_string()).collect();
        assert_eq!(stores, ["f16", "cos:0.99"]);
        assert!(dataset.shards().count() == dataset.shard_count() && dataset.shard_count() >= 2);
        for shard in dataset.shards() {
            let shard = &shard?;
            let [floats, codes] = ["clip@6a642054", "clip@c2bf163e"].map(|name| -> Result<Vec<f32>> {
                let batch = TeacherCache::open(&dataset, name)?.read(&dataset, shard, "images")?;
                Ok(vectors::Rows::of(&batch, "embedding")?.floats())
            });
            let (floats, codes) = (floats?, codes?);
            let cosine = |a: &[f32], b: &[f32]| {
                let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
                dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
            };
            assert_eq!((floats.len(), codes.len()), (12, 12));
            assert!(floats.chunks(4).zip(codes.chunks(4)).all(|(a, b)| cosine(a, b) >= 0.99), "{floats:?} {codes:?}");
        }
    }
    Ok(())
}

/// What version 2 wrote is continued, and is of version 3 then.
#[test]
fn what_version_2_wrote_is_continued() -> Result {
    let folder = tempfile::tempdir()?;
    copy_folder(&repository().join("tests/data/format-2.0"), folder.path())?;
    let (name, source, options) = ("train".to_owned(), "test".to_owned(), Value::Null);
    let writer = DatasetWriter::begin(folder.path(), SplitPlan { name, source, options, answers: None })?;
    assert_eq!(writer.committed(), 2);
    writer.in_runs_of(2).finish()?;
    let dataset = Dataset::open(folder.path())?;
    support::write_features_in_runs(&dataset, "clip", 1.0, &support::ALL, 2)?;
    let names: Vec<String> =
        dataset.shards().map(|shard| shard.map(|shard| shard.name)).collect::<std::result::Result<_, _>>()?;
    assert_eq!(names, ["train-00000", "train-00001"]);
    assert_eq!(dataset.split("train")?.runs.parts.len(), 1);
    let (manifest, _) = sealed(&folder.path().join("dataset.json"))?;
    assert_eq!(manifest["retort:schema"], DATASET_VERSION.to_string());
    assert!(verify(folder.path(), &Quiet, &Interrupt::default())?.damages.is_empty());
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Footers whose checksums hold and that say nonsense, as fuzzing found them: errors, no panic.
#[test]
fn footers_that_say_nonsense_are_refused() -> Result {
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nonsense"))? {
        let bytes = fs::read(entry?.path())?;
        let (rest, table) = bytes.split_first_chunk().ok_or("too short")?;
        assert_eq!(fuzzing::table(table, usize::from(u16::from_le_bytes(*rest))), None);
    }
    Ok(())
}
