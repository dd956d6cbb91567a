//! What the fuzz targets (`cache/fuzz`) call: manifests and tables from bytes alone, with checksums that hold, so that what
//! comes behind them is reached. And what `examples/shards.rs` calls: manifests without tables.
//!
//! No part of the crate's interface.

use std::collections::BTreeMap;
use std::path::Path;

use retort_schemas::manifest::{
    BatchPlan, CACHE_FOLDER, DATASET_FILE, DATASET_VERSION, DatasetManifest, MAGIC_BYTES, Shard, Split, TEACHER_FILE,
    TEACHER_VERSION, TableFile, TeacherManifest, TeacherSplit,
};
use retort_schemas::parts::{PART_SHARDS, Runs};
use retort_schemas::{Dtype, features};
use xxhash_rust::xxh3::xxh3_64;

use crate::parts::Parts;
use crate::seal::{hex64, sealed_anyhow, unsealed, write_sealed};
use crate::{Columns, Result, read_table};

/// Shards of a data set's manifest, and of a teacher's, made of this body: where it can be understood as either.
pub fn manifest(body: &str) -> [Option<usize>; 2] {
    let text = sealed_anyhow(body);
    let path = Path::new("manifest");
    let dataset: Option<DatasetManifest> = unsealed(path, text.as_bytes(), DATASET_VERSION).ok();
    let teacher: Option<TeacherManifest> = unsealed(path, text.as_bytes(), TEACHER_VERSION).ok();
    [dataset.map(|dataset| dataset.shard_count()), teacher.map(|teacher| teacher.shard_count() + teacher.shards.len())]
}

/// Rows of a table of image features whose pages end at `rest`, if it is one: its footer is what follows.
pub fn table(bytes: &[u8], rest: usize) -> Option<usize> {
    let pages = (rest as u64).checked_sub(MAGIC_BYTES)?;
    // One file a process, written over again and again.
    let path = std::env::temp_dir().join(format!("retort-fuzz-{}.parquet", std::process::id()));
    std::fs::write(&path, bytes).ok()?;
    let description = TableFile {
        rows: 3,
        bytes: bytes.len() as u64,
        ids: None,
        rest: hex64(xxh3_64(bytes.get(rest..)?)),
        column_bytes: BTreeMap::from([("all".to_owned(), pages)]),
        ..TableFile::default()
    };
    let batch = read_table(&path, &description, features::images::VERSION, Columns::All).ok()?;
    Some(batch.num_rows())
}

/// The tables of a shard, by its number.
pub type Tables = fn(usize) -> BTreeMap<String, TableFile>;

/// Writes the manifests of a data set with one split, `train`, of so many shards, and of a teacher `clip` that has seen all of
/// them. What they name is not there.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn manifests(folder: &Path, shards: usize, own: Tables, features: Tables) -> Result<()> {
    let name = "train".to_owned();
    let teacher = folder.join(CACHE_FOLDER).join("clip@00000000");
    let runs = runs(folder, &name, shards, own)?;
    let options = serde_json::Value::Null;
    let split = Split { name: name.clone(), source: "none".to_owned(), options, complete: true, runs };
    write_sealed(&folder.join(DATASET_FILE), &DatasetManifest { splits: vec![split], ..DatasetManifest::empty() })?;
    let runs = self::runs(&teacher, &name, shards, features)?;
    let manifest = TeacherManifest {
        schema: TEACHER_VERSION.to_string(),
        name: "clip".to_owned(),
        fingerprint: "0".repeat(32),
        joint: true,
        store: Dtype::F16.into(),
        identity: serde_json::Value::Null,
        origin: None,
        folder: None,
        settings: BTreeMap::new(),
        batch: BatchPlan::of_rows(1, 1),
        splits: vec![TeacherSplit { name, runs }],
        shards: Vec::new(),
    };
    write_sealed(&teacher.join(TEACHER_FILE), &manifest)
}

fn runs(folder: &Path, split: &str, shards: usize, tables: Tables) -> Result<Runs> {
    let parts = Parts::new(folder);
    let mut runs = Runs::default();
    for number in 0..shards {
        runs.open.push(Shard { name: Shard::name_of(split, number), tables: tables(number) });
        parts.settle(split, &mut runs, PART_SHARDS, None)?;
    }
    Ok(runs)
}
