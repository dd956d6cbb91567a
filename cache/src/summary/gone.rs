//! Files that a manifest names and that are not there. A folder of a table is listed once, and no file is opened: one that is
//! damaged or empty is there for all that is told here, and `retort verify` is who finds it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use rayon::prelude::*;
use retort_schemas::manifest::Shard;
use retort_schemas::parts::Runs;
use serde::Serialize;

use crate::parts::{Parts, Piece, pieces};
use crate::{Error, Result};

/// Files of a table that the manifest names and that are gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Gone {
    /// How many.
    pub files: u64,
    /// The first of them, from the data set's folder, if there are any.
    pub first: Option<String>,
}

/// Numbers of shards, in order, by split and table.
#[derive(Debug, Default)]
pub(super) struct Absent {
    /// In the order of the manifest.
    splits: Vec<(String, BTreeMap<String, Vec<usize>>)>,
}

impl Absent {
    /// Of the splits of one manifest, in its folder. A part is read only if some of its shards lack a table.
    ///
    /// # Errors
    /// [`Error::Io`] if a folder is there and cannot be listed; damage of the parts that are read.
    pub(super) fn find<'a>(
        folder: &Path,
        parts: &Parts,
        splits: impl Iterator<Item = (&'a str, &'a Runs)>,
    ) -> Result<Self> {
        let splits: Vec<_> = splits.collect();
        let mut absent =
            Self { splits: splits.iter().map(|(split, _)| ((*split).to_owned(), BTreeMap::new())).collect() };
        let tables: BTreeSet<&str> = splits.iter().flat_map(|(_, runs)| tables_of(runs)).collect();
        // Nearly all of the time is the system's, and each folder has its own.
        let tables: Vec<&str> = tables.into_iter().collect();
        let listed: Vec<_> = tables.par_iter().map(|table| list(&folder.join(table))).collect::<Result<_>>()?;
        for (table, listed) in tables.into_iter().zip(listed) {
            for (at, (split, runs)) in splits.iter().enumerate() {
                let there = listed.get(*split).map_or(&[][..], Vec::as_slice);
                let gone = gone_of(parts, split, runs, table, there)?;
                if !gone.is_empty() {
                    absent.splits[at].1.insert(table.to_owned(), gone);
                }
            }
        }
        Ok(absent)
    }

    /// The files of a table, in a folder that is called so from the data set's.
    pub(super) fn of(&self, folder: &str, table: &str) -> Gone {
        let gone = || self.splits.iter().filter_map(|(split, tables)| Some((split, tables.get(table)?)));
        let first = gone().find_map(|(split, numbers)| Some(Shard::name_of(split, *numbers.first()?)));
        Gone {
            files: gone().map(|(_, numbers)| numbers.len() as u64).sum(),
            first: first.map(|shard| format!("{folder}{table}/{shard}.parquet")),
        }
    }

    /// The shards of a split of which the file of any table is gone, in order.
    pub(super) fn shards(&self, split: &str) -> Vec<usize> {
        let tables = self.splits.iter().filter(|(name, _)| name == split).flat_map(|(_, tables)| tables.values());
        tables.flatten().copied().collect::<BTreeSet<usize>>().into_iter().collect()
    }
}

/// The tables that any shard has.
fn tables_of(runs: &Runs) -> impl Iterator<Item = &str> {
    let parts = runs.parts.iter().flat_map(|part| part.tables.keys());
    let open = runs.open.iter().flat_map(|shard| shard.tables.keys());
    parts.chain(open).map(String::as_str)
}

/// Shards of a split that have a table of which the file is not among those that are there, in order.
fn gone_of(parts: &Parts, split: &str, runs: &Runs, table: &str, there: &[usize]) -> Result<Vec<usize>> {
    let is_gone = |number: &usize| there.binary_search(number).is_err();
    let of_shards = |shards: &[Shard]| {
        let named = shards.iter().filter(|shard| shard.tables.contains_key(table)).filter_map(Shard::number);
        named.filter(is_gone).collect::<Vec<_>>()
    };
    let mut gone = Vec::new();
    for piece in pieces(split, runs) {
        match piece {
            Piece::Open(shards) => gone.extend(of_shards(shards)),
            Piece::Part(_, part) => {
                let (span, below) = (part.first..part.end, |end: usize| there.partition_point(|number| *number < end));
                let files = part.tables.get(table).map_or(0, |table| table.files);
                if files == 0 || below(span.end) - below(span.start) == span.len() {
                    continue;
                }
                match files == span.len() {
                    true => gone.extend(span.filter(is_gone)),
                    false => gone.extend(of_shards(&parts.load(split, part)?)),
                }
            }
        }
    }
    Ok(gone)
}

/// Numbers of the shards that have a file in a folder, in order, by split. A folder that is not there has none.
fn list(folder: &Path) -> Result<BTreeMap<String, Vec<usize>>> {
    let mut listed: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(listed),
        entries => entries.map_err(Error::io("list", folder))?,
    };
    for entry in entries {
        let name = entry.map_err(Error::io("list", folder))?.file_name();
        let shard = name.to_str().and_then(|name| name.strip_suffix(".parquet")).and_then(split_and_number);
        let Some((split, number)) = shard else { continue };
        match listed.get_mut(split) {
            Some(known) => known.push(number),
            None => {
                listed.insert(split.to_owned(), vec![number]);
            }
        }
    }
    listed.values_mut().for_each(|numbers| numbers.sort_unstable());
    Ok(listed)
}

/// As [`Shard::split_of`] and [`Shard::number_of`], without a string of its own for each of many files.
fn split_and_number(name: &str) -> Option<(&str, usize)> {
    let (split, digits) = name.rsplit_once('-')?;
    let is_number = digits.len() == 5 || digits.len() > 5 && !digits.starts_with('0');
    (is_number && digits.bytes().all(|digit| digit.is_ascii_digit())).then_some(())?;
    Some((split, digits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_as_shards_are_named() {
        let names =
            ["val-2014-00012", "a-123456", "a-012345", "a-12", "a-+0012", "00012", "a-00001.x", "-00003", "a-99999"];
        for name in names {
            let expected = Shard::number_of(name).map(|number| (Shard::split_of(name), number));
            assert_eq!(split_and_number(name), expected, "{name}");
        }
    }
}
