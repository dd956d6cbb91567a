//! What shards add up to, by table.

use std::collections::BTreeMap;

use retort_schemas::features;
use retort_schemas::manifest::{Shard, TableFile};
use retort_schemas::parts::{Part, PartTable, Runs};
use retort_schemas::sums::TableSums;

use super::gone::Absent;
use crate::parts::{Parts, Piece, pieces};
use crate::{Result, TeacherCache};

/// What is known of a table.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// Shards that have it.
    pub(super) files: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// Of its columns.
    pub(super) columns: TableSums,
}

impl Sums {
    fn add_file(&mut self, file: &TableFile) {
        self.merge(Self { files: 1, rows: file.rows, bytes: file.bytes, columns: TableSums::of(file) });
    }

    fn add_part(&mut self, part: &PartTable) {
        let columns = part.sums.clone().unwrap_or_default();
        self.merge(Self { files: part.files as u64, rows: part.rows, bytes: part.bytes, columns });
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.files += other.files;
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.columns.merge(other.columns);
    }
}

/// Adds the shards of a split to what is known. Of parts that the manifest has no sums of, the files are read.
pub(super) fn sums_of(parts: &Parts, split: &str, runs: &Runs, known: &mut BTreeMap<String, Sums>) -> Result<()> {
    for piece in pieces(split, runs) {
        match piece {
            Piece::Part(_, part) if part.tables.values().all(|table| table.sums.is_some()) => {
                part.tables.iter().for_each(|(table, part)| of(known, table).add_part(part));
            }
            Piece::Part(_, part) => add_shards(known, &parts.load(split, part)?),
            Piece::Open(shards) => add_shards(known, shards),
        }
    }
    Ok(())
}

fn add_shards(known: &mut BTreeMap<String, Sums>, shards: &[Shard]) {
    for (table, file) in shards.iter().flat_map(|shard| &shard.tables) {
        of(known, table).add_file(file);
    }
}

fn of<'a>(known: &'a mut BTreeMap<String, Sums>, table: &str) -> &'a mut Sums {
    known.entry(table.to_owned()).or_default()
}

/// Shards with all tables that this teacher has anywhere, and all their files. A part is read only if some of its shards lack
/// one of the tables, and every table is there.
pub(super) fn whole_shards(teacher: &TeacherCache, absent: &Absent) -> Result<u64> {
    let mut wanted = features::ALL.to_vec();
    wanted.retain(|table| teacher.manifest().has(table));
    let is_whole = |shard: &&Shard| wanted.iter().all(|table| shard.tables.contains_key(*table));
    let files = |part: &Part, table: &str| part.tables.get(table).map_or(0, |table| table.files);
    let mut whole = 0;
    for (split, runs) in teacher.runs() {
        let gone = absent.shards(split);
        let is_there = |shard: &&Shard| shard.number().is_none_or(|number| gone.binary_search(&number).is_err());
        let count = |shards: &[Shard]| shards.iter().filter(is_whole).filter(is_there).count();
        let gone_of = |part: &Part| gone.iter().filter(|number| part.spans(**number)).count();
        for piece in pieces(split, runs) {
            whole += match piece {
                Piece::Open(shards) => count(shards),
                Piece::Part(_, part) => match wanted.iter().map(|table| files(part, table)).min() {
                    Some(least) if least > 0 && least < part.shards => count(&teacher.parts().load(split, part)?),
                    Some(least) if least > 0 => least - gone_of(part),
                    _ => 0,
                },
            };
        }
    }
    Ok(whole as u64)
}
