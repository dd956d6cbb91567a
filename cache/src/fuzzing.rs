//! What the fuzz targets (`cache/fuzz`) call: manifests and tables from bytes alone, with checksums that hold, so that what
//! comes behind them is reached.
//!
//! No part of the crate's interface.

use std::collections::BTreeMap;
use std::path::Path;

use retort_schemas::features;
use retort_schemas::manifest::{
    DATASET_VERSION, DatasetManifest, MAGIC_BYTES, TEACHER_VERSION, TableFile, TeacherManifest,
};
use xxhash_rust::xxh3::xxh3_64;

use crate::seal::{hex64, sealed_anyhow, unsealed};
use crate::{Columns, read_table};

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
        nulls: BTreeMap::new(),
        norms: BTreeMap::new(),
        vectors: BTreeMap::new(),
    };
    let batch = read_table(&path, &description, features::images::VERSION, Columns::All).ok()?;
    Some(batch.num_rows())
}
