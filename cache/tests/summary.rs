//! What `Summary` tells, against numbers worked out by hand, of new data sets, of old ones, and of parts without their files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use retort_cache::vectors;
use retort_cache::{
    Columns, Dataset, DatasetWriter, Duplicates, Interrupt, Quiet, SplitPlan, Summary, TableSummary, TeacherWriter,
    convert, take_ids,
};
use retort_schemas::features::{EMBEDDING, texts};
use retort_schemas::manifest::{BatchPlan, Shard};
use retort_schemas::{Dtype, Store, tables};
use serde_json::{Value, json};
use support::{Result, write_dataset, write_features_in_runs, write_split_in_runs};
use tempfile::tempdir;

mod support;

const WIDTH: usize = 2;
/// The texts of two shards: of norms 5, 0, 1, 13 and 5, 2, 10, 0, which half precision holds.
const TEXTS: [[f32; WIDTH]; 8] =
    [[3.0, 4.0], [0.0, 0.0], [0.0, -1.0], [5.0, 12.0], [-4.0, 3.0], [2.0, 0.0], [-6.0, -8.0], [0.0, 0.0]];

fn open(dataset: &Dataset, store: Store) -> Result<TeacherWriter> {
    let identity = json!({ "compute": "f32" });
    Ok(TeacherWriter::open(dataset, "text", false, store, identity, BatchPlan::of_rows(1, 1))?)
}

fn teach(writer: &mut TeacherWriter, dataset: &Dataset, store: Store, shard: &Shard) -> Result {
    let number = shard.number().ok_or("no number")?;
    let pooled = vectors::store(store, EMBEDDING, WIDTH, &TEXTS.concat()[8 * number..8 * number + 8])?;
    let ids = dataset.read(shard, tables::texts::NAME, Columns::Named(&[tables::texts::TEXT_ID]))?;
    let ids: ArrayRef = Arc::new(take_ids(&ids)?.clone());
    let batch = RecordBatch::try_new(texts::with(pooled.fields), [vec![ids], pooled.columns].concat())?;
    Ok(writer.commit(&shard.name, &[(texts::NAME, batch)])?)
}

fn shards(dataset: &Dataset) -> Result<Vec<Shard>> {
    Ok(dataset.shards().collect::<retort_cache::Result<_>>()?)
}

fn table<'a>(summary: &'a Summary, teacher: &str) -> Result<&'a TableSummary> {
    let teacher = summary.teachers.iter().find(|found| found.name == teacher).ok_or("no such teacher")?;
    Ok(teacher.tables.first().ok_or("no table")?)
}

#[test]
fn norms_are_those_worked_out_by_hand_in_floats_and_in_codes_made_of_them() -> Result {
    let folder = tempdir()?;
    let dataset = write_dataset(folder.path(), 2, 0)?;
    let mut writer = open(&dataset, Dtype::F16.into())?;
    for shard in shards(&dataset)? {
        teach(&mut writer, &dataset, Dtype::F16.into(), &shard)?;
    }
    writer.finish()?;
    convert(&dataset, "text", "cos:0.999".parse()?, false, &Quiet, &Interrupt::default())?;
    let summary = Summary::of(&dataset)?;
    assert_eq!(summary.teachers.len(), 2);
    for teacher in &summary.teachers {
        let table = table(&summary, &teacher.name)?;
        let loss = if matches!(teacher.store, Store::Cos(_)) { 0.01 } else { 0.0 };
        let close = |told: f64, exact: f64, error: f64| (told - exact).abs() <= exact * (error + loss);
        let norms = table.norms[EMBEDDING];
        assert_eq!((norms.vectors, norms.zero, norms.nan, norms.infinite, norms.min), (8, 2, 0, 0, 0.0));
        assert!(close(norms.mean, 36.0 / 8.0, 1e-12) && close(norms.max, 13.0, 1e-12), "{norms:?}");
        let told = table.norm_quantiles[EMBEDDING].ok_or("they are not told")?;
        // In order: 0 0 1 2 5 5 10 13.
        let exact =
            [(told.p1, 0.0), (told.p5, 0.0), (told.p25, 0.0), (told.p50, 2.0), (told.p75, 5.0), (told.p95, 13.0)];
        assert!(exact.iter().all(|(told, exact)| close(*told, *exact, 1.0 / 128.0)), "{exact:?}");
        assert!(told.p99 <= norms.max && told.relative_error == 1.0 / 128.0);
        assert_eq!((table.shards, table.rows, teacher.missing.len()), (2, 8, 1));
        assert_eq!(table.vectors[EMBEDDING].column.worst_cosine.is_some(), loss > 0.0);
    }
    Ok(())
}

fn plan(name: &str) -> SplitPlan {
    SplitPlan { name: name.to_owned(), source: "test".to_owned(), options: Value::Null, answers: None }
}

fn rejects(codes: &[&str]) -> Result<RecordBatch> {
    let of = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; codes.len()])) };
    let codes: ArrayRef = Arc::new(StringArray::from(codes.to_vec()));
    Ok(RecordBatch::try_new(tables::rejects::schema(), vec![of("a file"), of("read"), codes, of("it is bad")])?)
}

#[test]
fn rejects_are_told_by_reason_without_their_tables_and_duplicates_by_shard() -> Result {
    let folder = tempdir()?;
    let shard = |first: u8| -> Result<[RecordBatch; 3]> {
        Ok([support::images(first)?, support::texts(first)?, support::samples(first)?])
    };
    let mut writer = DatasetWriter::begin(folder.path(), plan("train"))?.in_runs_of(2);
    for (number, codes) in
        [&["image_missing", "bad_label", "image_missing"][..], &[], &["bad_label"]].into_iter().enumerate()
    {
        let [images, texts, samples] = shard(16 * number as u8)?;
        // The same hash three times, of which one is of an image that is missing; in the last shard it is that of no edges.
        let hash = if number < 2 { 7 } else { 0 };
        let images = with_hashes(&images, [hash; 3], ["png", "png", "missing"])?;
        let named = [("images", images), ("texts", texts), ("samples", samples), ("rejects", rejects(codes)?)];
        writer.commit(&named)?;
    }
    writer.finish()?;
    fs::remove_dir_all(folder.path().join("rejects"))?;
    fs::remove_dir_all(folder.path().join("manifest"))?;
    let told = serde_json::to_value(&Summary::of(&Dataset::open(folder.path())?)?.splits)?;
    let expected = json!([{
        "name": "train", "source": "test", "complete": true, "shards": 3, "images": 9, "texts": 12, "samples": 15,
        // Of the five texts of a shard's samples, one is there before.
        "duplicates": { "images": 2, "texts": 3 },
        "rejected": 4,
        "rejects": [{ "code": "bad_label", "count": 2 }, { "code": "image_missing", "count": 2 }],
    }]);
    assert_eq!(told, expected);
    Ok(())
}

fn with_hashes(images: &RecordBatch, hashes: [u64; 3], formats: [&str; 3]) -> Result<RecordBatch> {
    let mut columns = images.columns().to_vec();
    columns[images.schema().index_of("phash")?] = Arc::new(arrow::array::UInt64Array::from(hashes.to_vec()));
    columns[images.schema().index_of("format")?] = Arc::new(StringArray::from(formats.to_vec()));
    Ok(RecordBatch::try_new(images.schema(), columns)?)
}

/// What scripts rely on: a key may be added, and none goes or is named otherwise.
#[test]
fn never_change_these_keys_of_the_json() -> Result {
    let folder = tempdir()?;
    let dataset = write_dataset(folder.path(), 1, 0)?;
    support::write_features(&dataset, "clip", 1.0, &["images"])?;
    let told = serde_json::to_value(Summary::of(&dataset)?)?;
    let keys = |value: &Value| value.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>().join(" "));
    let teacher = &told["teachers"][0];
    let table = &teacher["tables"][0];
    let missing = &teacher["missing"][0];
    let found = [
        &told,
        &told["splits"][0],
        &told["splits"][0]["duplicates"],
        &told["tables"][0],
        &told["tables"][0]["gone"],
        &told["tables"][0]["nulls"],
        teacher,
        table,
        &table["norms"]["embedding"],
        &table["norm_quantiles"]["embedding"],
        &table["vectors"]["embedding"],
        &table["read"],
        missing,
        &missing["tables"][0],
    ];
    let mut found: Vec<String> = found.into_iter().filter_map(keys).collect();
    found.iter_mut().for_each(|keys| {
        let mut words: Vec<&str> = keys.split(' ').collect();
        words.sort_unstable();
        *keys = words.join(" ");
    });
    let expected = [
        "answers retort:schema splits tables teachers",
        "complete duplicates images name rejected rejects samples shards source texts",
        "images texts",
        "bytes gone norm_quantiles norms nulls read rows shards table vectors",
        "files first",
        "bytes format height image_id phash source source_height source_width width",
        "joint missing name shards shards_expected store tables",
        "bytes gone norm_quantiles norms nulls read rows shards table vectors",
        "infinite max mean min nan vectors zero",
        "p1 p25 p5 p50 p75 p95 p99 relative_error",
        "bits_per_dimension bytes bytes_per_vector width",
        "random_rows whole_shards",
        "begun command note tables",
        "shards table",
    ];
    assert_eq!(found, expected);
    assert_eq!((&told["retort:schema"], &table["nulls"]), (&json!("summary/1.0"), &json!({ "embedding": 0 })));
    Ok(())
}

/// All but the means, whose last bits depend on what was added first.
fn told(dataset: &Dataset) -> Result<Value> {
    fn strip(value: &mut Value) {
        if let Value::Object(object) = value {
            object.remove("mean");
            object.values_mut().for_each(strip);
        } else if let Value::Array(items) = value {
            items.iter_mut().for_each(strip);
        }
    }
    let mut value = serde_json::to_value(Summary::of(dataset)?)?;
    strip(&mut value);
    Ok(value)
}

#[test]
fn parts_tell_what_their_shards_would_and_are_read_only_where_a_table_is_of_some_of_them() -> Result {
    let [whole, parted] = [tempdir()?, tempdir()?];
    for (folder, run) in [(&whole, 512), (&parted, 2)] {
        let dataset = write_split_in_runs(folder.path(), "train", 5, 0, run)?;
        write_features_in_runs(&dataset, "clip", 1.0, &support::ALL, run)?;
    }
    let (whole, dataset) = (Dataset::open(whole.path())?, Dataset::open(parted.path())?);
    let (expected, place) = (told(&whole)?, |dataset: &Dataset| dataset.folder().display().to_string());
    assert!(!dataset.manifest().splits[0].runs.parts.is_empty());
    let teacher = fs::read_dir(parted.path().join("cache"))?.next().ok_or("no teacher")??.path();
    for folder in [parted.path(), teacher.as_path()] {
        fs::remove_dir_all(folder.join("manifest"))?;
    }
    let found = told(&dataset)?.to_string().replace(&place(&dataset), &place(&whole));
    assert_eq!(found, expected.to_string());
    Ok(())
}

#[test]
fn what_old_data_sets_do_not_say_is_unknown_and_the_rest_is_told() -> Result {
    for version in ["2.0", "3.0"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/data/format-{version}"));
        let dataset = Dataset::open(&folder)?;
        let summary = Summary::of(&dataset)?;
        assert_eq!(summary.splits[0].duplicates, Duplicates::default(), "{version}");
        assert_eq!((summary.splits[0].images, summary.teachers.len()), (3 * dataset.shard_count() as u64, 2));
        for teacher in &summary.teachers {
            assert_eq!(teacher.shards, teacher.shards_expected);
            for table in &teacher.tables {
                assert!(!table.norms.is_empty() && table.norm_quantiles.len() == table.norms.len());
                assert!(table.norm_quantiles.values().all(Option::is_none), "{version}: {table:?}");
                assert!(table.vectors.values().all(|taken| taken.bits_per_dimension > 0.0));
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_missing_has_the_command_that_computes_it() -> Result {
    let folder = tempdir()?;
    let dataset = write_dataset(&folder.path().join("my data"), 2, 0)?;
    let (floats, codes): (Store, Store) = (Dtype::F16.into(), "cos:0.999".parse()?);
    let all = shards(&dataset)?;
    for (store, count) in [(floats, 2), (codes, 1)] {
        let mut writer = open(&dataset, store)?;
        all[..count].iter().try_for_each(|shard| teach(&mut writer, &dataset, store, shard))?;
        writer.finish()?;
    }
    let summary = Summary::of(&dataset)?;
    let place = dataset.folder().display();
    for teacher in &summary.teachers {
        let lack = |table: &str, shards: u64| json!({ "table": table, "shards": shards });
        let besides = json!({
            "begun": false, "tables": [lack("tokens", 2), lack("words", 2)],
            "command": format!("retort teach '{place}' --teacher text=FOLDER --dtype f32 --store {} --tokens --words", teacher.store),
            "note": "in the place of FOLDER goes the model's folder, or its id of the hub: this cache was made before that was noted",
        });
        let told = serde_json::to_value(&teacher.missing)?;
        if teacher.store == floats {
            assert_eq!(told, json!([besides]));
            continue;
        }
        let source = summary.teachers.iter().find(|other| other.store == floats).ok_or("no source")?;
        let command = format!("retort convert '{place}' --teacher {} --store cos:0.999", source.name);
        assert_eq!(
            told,
            json!([{ "begun": true, "tables": [lack("texts", 1)], "command": command, "note": null }, besides])
        );
        assert_eq!((teacher.shards, teacher.shards_expected), (1, 2));
    }
    Ok(())
}

/// The folder that the model was opened from last is said as long as it is there; a conversion keeps it.
#[test]
fn the_command_names_the_folder_that_the_model_was_opened_from() -> Result {
    let folder = tempdir()?;
    let dataset = write_dataset(&folder.path().join("set"), 2, 0)?;
    let models = ["old", "my model"].map(|name| folder.path().join(name).display().to_string());
    models.iter().try_for_each(fs::create_dir)?;
    let (floats, codes): (Store, Store) = (Dtype::F16.into(), "cos:0.999".parse()?);
    for (shard, model) in shards(&dataset)?.iter().zip(&models) {
        let mut writer = open(&dataset, floats)?.from_folder(Some(model.clone()));
        teach(&mut writer, &dataset, floats, shard)?;
        // What has nothing to say leaves what is there.
        writer.from_folder(None).finish()?;
    }
    convert(&dataset, "text", codes, false, &Quiet, &Interrupt::default())?;
    let told = || -> Result<Vec<(String, Option<String>)>> {
        let teachers = Summary::of(&dataset)?.teachers.into_iter();
        Ok(teachers.flat_map(|teacher| teacher.missing).map(|missing| (missing.command, missing.note)).collect())
    };
    let of_folder = format!(" --teacher 'text={}' ", models[1]);
    let found = told()?;
    assert!(found.len() == 2 && found.iter().all(|(command, note)| command.contains(&of_folder) && note.is_none()));
    fs::remove_dir(&models[1])?;
    for (command, note) in told()? {
        let note = note.ok_or("no note")?;
        assert!(
            command.contains(" --teacher text=FOLDER ") && note.ends_with(&format!("{}, which is gone", models[1]))
        );
    }
    Ok(())
}

/// Every file below a folder with its bytes.
fn tree(folder: &Path, at: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> Result {
    for entry in fs::read_dir(at)? {
        let path = entry?.path();
        if path.is_dir() {
            tree(folder, &path, files)?;
        } else {
            files.insert(path.strip_prefix(folder)?.to_owned(), fs::read(&path)?);
        }
    }
    Ok(())
}

#[test]
fn a_writer_that_was_stopped_after_every_shard_leaves_the_same_bytes() -> Result {
    let mut trees = Vec::new();
    for stops in [false, true] {
        let folder = tempdir()?;
        let mut writer = Some(DatasetWriter::begin(folder.path(), plan("train"))?.in_runs_of(2));
        for number in 0..2_u8 {
            let first = 16 * number;
            let named = [
                ("images", support::images(first)?),
                ("texts", support::texts(first)?),
                ("samples", support::samples(first)?),
                ("rejects", rejects(&["bad_label"])?),
            ];
            let mut open =
                writer.take().map_or_else(|| DatasetWriter::begin(folder.path(), plan("train")), Ok)?.in_runs_of(2);
            open.commit(&named)?;
            writer = (!stops).then_some(open);
        }
        writer.map_or_else(|| DatasetWriter::begin(folder.path(), plan("train")), Ok)?.in_runs_of(2).finish()?;
        let dataset = Dataset::open(folder.path())?;
        let store: Store = "cos:0.99".parse()?;
        let mut writer = None;
        for shard in shards(&dataset)? {
            let mut now = writer.take().map_or_else(|| open(&dataset, store), Ok)?.in_runs_of(2);
            teach(&mut now, &dataset, store, &shard)?;
            writer = (!stops).then_some(now);
        }
        writer.map_or_else(|| open(&dataset, store), Ok)?.in_runs_of(2).finish()?;
        let mut files = BTreeMap::new();
        tree(folder.path(), folder.path(), &mut files)?;
        assert!(
            files.keys().filter(|path| path.parent().is_some_and(|parent| parent.ends_with("manifest"))).count() == 2
        );
        trees.push(files);
    }
    assert_eq!(trees[0].keys().collect::<Vec<_>>(), trees[1].keys().collect::<Vec<_>>());
    assert!(trees[0] == trees[1]);
    Ok(())
}
