//! What each teacher of a data set holds, from the manifests alone.

use retort_schemas::features;
use retort_schemas::manifest::TeacherManifest;
use serde::Serialize;

use crate::teacher::teacher_folders;
use crate::{Dataset, Result, TeacherCache};

/// One teacher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// `name@fingerprint8`.
    pub name: String,
    /// Why its manifest cannot be read; all else is then empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Such as `clip`.
    pub architecture: String,
    /// What its vectors are stored as, such as `f16`.
    pub store: String,
    /// Whether images and texts share one space.
    pub joint: bool,
    /// Shards with every table that this teacher has anywhere.
    pub shards: u64,
    /// Shards of the data set.
    pub shards_expected: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// Bytes of all tables.
    pub bytes: u64,
    /// Its tables.
    pub tables: Vec<TableListing>,
}

/// One table of a teacher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableListing {
    /// Its name.
    pub table: String,
    /// Shards that have it.
    pub shards: u64,
    /// Rows.
    pub rows: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// Lists the teachers of a data set by folder name. One whose manifest cannot be read is listed with its problem.
///
/// # Errors
/// [`crate::Error::Io`] if the cache folder cannot be listed.
pub fn list_teachers(dataset: &Dataset) -> Result<Vec<Listing>> {
    let expected = dataset.shard_count() as u64;
    let listing = |folder: &std::path::PathBuf| {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        match TeacherCache::load(folder).and_then(|teacher| of(&name, &teacher, expected)) {
            Ok(listing) => listing,
            Err(error) => Listing { problem: Some(error.to_string()), ..empty(name, expected) },
        }
    };
    Ok(teacher_folders(dataset.folder())?.iter().map(listing).collect())
}

fn empty(name: String, shards_expected: u64) -> Listing {
    Listing {
        name,
        problem: None,
        architecture: String::new(),
        store: String::new(),
        joint: false,
        shards: 0,
        shards_expected,
        rows: 0,
        bytes: 0,
        tables: Vec::new(),
    }
}

fn of(name: &str, teacher: &TeacherCache, expected: u64) -> Result<Listing> {
    let manifest = teacher.manifest();
    let tables: Vec<TableListing> = features::ALL.iter().filter_map(|table| table_of(manifest, table)).collect();
    let architecture = manifest.identity.get("architecture").and_then(serde_json::Value::as_str);
    Ok(Listing {
        architecture: architecture.unwrap_or("unknown").to_owned(),
        store: manifest.store.to_string(),
        joint: manifest.joint,
        shards: whole_shards(teacher, &tables)?,
        rows: tables.iter().map(|table| table.rows).sum(),
        bytes: tables.iter().map(|table| table.bytes).sum(),
        tables,
        ..empty(name.to_owned(), expected)
    })
}

/// Shards that have all these tables. Where no shard lacks one, the manifest tells without its parts.
fn whole_shards(teacher: &TeacherCache, tables: &[TableListing]) -> Result<u64> {
    let all = teacher.shard_count() as u64;
    if tables.iter().all(|table| table.shards == all) {
        return Ok(all);
    }
    let mut whole = 0;
    for shard in teacher.shards() {
        let shard = shard?;
        whole += u64::from(tables.iter().all(|table| shard.tables.contains_key(&table.table)));
    }
    Ok(whole)
}

fn table_of(manifest: &TeacherManifest, table: &str) -> Option<TableListing> {
    let mut listing = TableListing { table: table.to_owned(), shards: 0, rows: 0, bytes: 0 };
    for total in manifest.splits.iter().map(|split| split.runs.total(table)) {
        listing.shards += total.files as u64;
        listing.rows += total.rows;
        listing.bytes += total.bytes;
    }
    (listing.shards > 0).then_some(listing)
}
