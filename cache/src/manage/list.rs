//! What each teacher of a data set holds, from the manifests alone.

use retort_schemas::features;
use retort_schemas::manifest::Shard;
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

/// Lists the teachers of a data set by folder name. One with an unreadable manifest is listed with its problem.
///
/// # Errors
/// [`crate::Error::Io`] if the cache folder cannot be listed.
pub fn list_teachers(dataset: &Dataset) -> Result<Vec<Listing>> {
    let expected = dataset.manifest().shards().count() as u64;
    let listing = |folder: &std::path::PathBuf| {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        match TeacherCache::load(folder) {
            Ok(teacher) => of(name, &teacher, expected),
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

fn of(name: String, teacher: &TeacherCache, expected: u64) -> Listing {
    let manifest = teacher.manifest();
    let names = features::ALL;
    let tables: Vec<TableListing> = names.iter().filter_map(|table| table_of(&manifest.shards, table)).collect();
    let whole = |shard: &&Shard| tables.iter().all(|table| shard.tables.contains_key(&table.table));
    let architecture = manifest.identity.get("architecture").and_then(serde_json::Value::as_str);
    Listing {
        architecture: architecture.unwrap_or("unknown").to_owned(),
        store: manifest.store.to_string(),
        joint: manifest.joint,
        shards: manifest.shards.iter().filter(whole).count() as u64,
        rows: tables.iter().map(|table| table.rows).sum(),
        bytes: tables.iter().map(|table| table.bytes).sum(),
        tables,
        ..empty(name, expected)
    }
}

fn table_of(shards: &[Shard], table: &str) -> Option<TableListing> {
    let files: Vec<_> = shards.iter().filter_map(|shard| shard.tables.get(table)).collect();
    (!files.is_empty()).then(|| TableListing {
        table: table.to_owned(),
        shards: files.len() as u64,
        rows: files.iter().map(|file| file.rows).sum(),
        bytes: files.iter().map(|file| file.bytes).sum(),
    })
}
