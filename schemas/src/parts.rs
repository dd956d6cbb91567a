//! Manifests in parts: a manifest names runs of shards by the seal of the file that describes them.
//!
//! ```text
//! dataset.json, its seal ----> manifest/train-00000-<seal>.json   shards 0 to 511 of the split
//!      |                 \---> manifest/train-00512-<seal>.json   shards 512 to 1,023
//!      \-- shards 1,024 and on: the open run
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::SchemaVersion;
use crate::manifest::Shard;
use crate::sums::TableSums;

/// Folder of the parts beside the manifest that names them.
pub const PARTS_FOLDER: &str = "manifest";
/// Version of [`PartFile`] written by this build.
pub const PART_VERSION: SchemaVersion = SchemaVersion::new("part", 1, 1);
/// Shards of a full run. Writers alone use it: a reader takes the bounds from each [`Part`].
pub const PART_SHARDS: usize = 512;

/// What a manifest says of one part: the shards of a split numbered `first` to `end`, `end` left out, as many of them as
/// there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Where its run begins.
    pub first: usize,
    /// Where the next one begins.
    pub end: usize,
    /// The last key of its file, 16 hex digits: xxh3-64 of every byte before them.
    pub seal: String,
    /// Shards that it describes.
    pub shards: usize,
    /// What they hold, by table name.
    pub tables: BTreeMap<String, PartTable>,
}

/// One table over the shards of a part.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PartTable {
    /// Shards that have it.
    pub files: usize,
    /// Rows.
    pub rows: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Where every shard has the table with ids: xxh3-64, 16 hex digits, over `<shard> <rows> <ids>` and a line feed a
    /// shard. Features belong to the rows of a part if theirs is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<String>,
    /// What the files say of their columns, added up: a summary of many shards reads no part for it. Since version 3.1 of
    /// manifests; parts named before have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sums: Option<TableSums>,
}

impl Part {
    /// Path of its file from the folder of the manifest.
    pub fn path(&self, split: &str) -> String {
        format!("{PARTS_FOLDER}/{}-{}.json", Shard::name_of(split, self.first), self.seal)
    }

    /// Whether a shard of this number would be in it.
    pub const fn spans(&self, number: usize) -> bool {
        self.first <= number && number < self.end
    }
}

/// A part's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartFile {
    /// Version, `part/<major>.<minor>`.
    #[serde(rename = "retort:schema")]
    pub schema: String,
    /// Its shards, by number.
    pub shards: Vec<Shard>,
}

/// The shards of one split, as a manifest has them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Runs {
    /// Those described by files of their own, by number. No two overlap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// The others, by number: the last run, and one that is being worked on. Manifests of version 2 have all of them here.
    #[serde(rename = "shards")]
    pub open: Vec<Shard>,
}

impl Runs {
    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.parts.iter().map(|part| part.shards).sum::<usize>() + self.open.len()
    }

    /// What all shards hold of a table.
    pub fn total(&self, table: &str) -> PartTable {
        let mut total = PartTable::default();
        let mut add = |files, rows, bytes| {
            total.files += files;
            total.rows += rows;
            total.bytes += bytes;
        };
        for part in self.parts.iter().filter_map(|part| part.tables.get(table)) {
            add(part.files, part.rows, part.bytes);
        }
        for file in self.open.iter().filter_map(|shard| shard.tables.get(table)) {
            add(1, file.rows, file.bytes);
        }
        total
    }

    /// Bytes of the files of all tables.
    pub fn bytes(&self) -> u64 {
        let parts = self.parts.iter().flat_map(|part| part.tables.values()).map(|table| table.bytes);
        let open = self.open.iter().flat_map(|shard| shard.tables.values()).map(|file| file.bytes);
        parts.chain(open).sum()
    }

    /// Whether any shard has a table.
    pub fn has(&self, table: &str) -> bool {
        self.parts.iter().any(|part| part.tables.contains_key(table))
            || self.open.iter().any(|shard| shard.tables.contains_key(table))
    }

    /// The part that a shard of this number would be in.
    pub fn part_of(&self, number: usize) -> Option<&Part> {
        let at = self.parts.partition_point(|part| part.first <= number).checked_sub(1)?;
        self.parts.get(at).filter(|part| part.spans(number))
    }

    /// The shard of this name and number among those without a part.
    pub fn open_shard(&self, name: &str, number: usize) -> Option<&Shard> {
        let at = self.open.partition_point(|shard| shard.number().is_some_and(|other| other < number));
        self.open.get(at).filter(|shard| shard.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written files hold these words for ever. A change here is a new major version, not an edit of this test.
    #[test]
    fn never_change_these_constants() {
        assert_eq!((PART_VERSION.to_string().as_str(), PARTS_FOLDER), ("part/1.1", "manifest"));
        let tables = BTreeMap::from([(
            "images".to_owned(),
            PartTable { files: 1, rows: 2, bytes: 3, ids: Some("b".to_owned()), sums: None },
        )]);
        let part = Part { first: 512, end: 1024, seal: "a".to_owned(), shards: 1, tables };
        assert_eq!(part.path("val-2014"), "manifest/val-2014-00512-a.json");
        let words = serde_json::json!({
            "first": 512, "end": 1024, "seal": "a", "shards": 1,
            "tables": {"images": {"files": 1, "rows": 2, "bytes": 3, "ids": "b"}},
        });
        assert_eq!(serde_json::to_value(&part).unwrap(), words);
        let file = PartFile { schema: PART_VERSION.to_string(), shards: Vec::new() };
        assert_eq!(
            serde_json::to_value(&file).unwrap(),
            serde_json::json!({"retort:schema": "part/1.1", "shards": []})
        );
    }

    #[test]
    fn a_shard_is_found_by_its_number() {
        let part = |first, end| Part { first, end, seal: String::new(), shards: 1, tables: BTreeMap::new() };
        let open = [4, 9].map(|at| Shard { name: Shard::name_of("all", at), tables: BTreeMap::new() });
        let runs = Runs { parts: vec![part(0, 4), part(6, 8)], open: open.to_vec() };
        let found = [0, 3, 4, 5, 6, 7, 8].map(|number| runs.part_of(number).map(|part| part.first));
        assert_eq!(found, [Some(0), Some(0), None, None, Some(6), Some(6), None]);
        let found = [4, 5, 9].map(|number| runs.open_shard(&Shard::name_of("all", number), number).is_some());
        assert_eq!((found, runs.shard_count()), ([true, false, true], 4));
    }
}
