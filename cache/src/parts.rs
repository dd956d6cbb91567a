//! Parts of manifests: read when a shard of theirs is wanted, the seal checked first; written once, under their seal.
//!
//! A run of shards that is full, or that another run follows, becomes a part. Its file is written before the manifest that
//! names it, and removed after the manifest that does not: a kill in between leaves a file that nothing names, and the
//! next writer [sweeps](Parts::sweep) it.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use retort_schemas::manifest::Shard;
use retort_schemas::parts::{PART_VERSION, PARTS_FOLDER, Part, PartFile, PartTable, Runs};
use retort_schemas::sums::TableSums;
use xxhash_rust::xxh3::xxh3_64;

use crate::dataset::table_path;
use crate::files::remove_file;
use crate::seal::{hex64, sealed_line, unsealed_with};
use crate::{Error, Result, write_atomic};

/// Parts held in memory, a few megabytes each.
const HELD: usize = 8;

/// Path of a part, and its shards.
type HeldPart = (String, Arc<Vec<Shard>>);

/// The parts that lie beside one manifest; those read last are held.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    folder: PathBuf,
    /// By path, those used last at the back.
    held: Arc<Mutex<VecDeque<HeldPart>>>,
}

impl Parts {
    /// Those beside the manifest in a folder.
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), held: Arc::default() }
    }

    /// The shards of a part.
    pub(crate) fn load(&self, split: &str, part: &Part) -> Result<Arc<Vec<Shard>>> {
        let name = part.path(split);
        if let Some(known) = self.known(&name) {
            return Ok(known);
        }
        let shards = Arc::new(read(&self.folder.join(&name), split, part)?);
        self.hold(name, shards.clone());
        Ok(shards)
    }

    fn known(&self, name: &str) -> Option<Arc<Vec<Shard>>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let at = held.iter().position(|(known, _)| known == name)?;
        let found = held.remove(at)?;
        let shards = found.1.clone();
        held.push_back(found);
        Some(shards)
    }

    fn hold(&self, name: String, shards: Arc<Vec<Shard>>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= HELD {
            held.pop_front();
        }
        held.push_back((name, shards));
    }

    /// A shard by name; no more than one part is read.
    pub(crate) fn find(&self, split: &str, runs: &Runs, name: &str) -> Result<Option<Shard>> {
        let Some(number) = Shard::number_of(name) else { return Ok(None) };
        if let Some(open) = runs.open_shard(name, number) {
            return Ok(Some(open.clone()));
        }
        let Some(part) = runs.part_of(number) else { return Ok(None) };
        let shards = self.load(split, part)?;
        Ok(shards.binary_search_by_key(&Some(number), Shard::number).ok().map(|at| shards[at].clone()))
    }

    /// Writes a part.
    pub(crate) fn write(&self, split: &str, bounds: Range<usize>, shards: Vec<Shard>) -> Result<Part> {
        let file = PartFile { schema: PART_VERSION.to_string(), shards };
        let (text, seal) = sealed_line(&self.folder.join(PARTS_FOLDER), &file)?;
        let part = describe(bounds, seal, &file.shards);
        let name = part.path(split);
        write_atomic(&self.folder.join(&name), text.as_bytes())?;
        self.hold(name, Arc::new(file.shards));
        Ok(part)
    }

    /// Makes parts of the runs of `size` shards that are full, or that are not the last; the run of `working` stays open.
    /// Tells whether there were any.
    pub(crate) fn settle(&self, split: &str, runs: &mut Runs, size: usize, working: Option<usize>) -> Result<bool> {
        let mut any = false;
        while let Some((open, bounds)) = next_settled(runs, size.max(1), working) {
            let part = self.write(split, bounds, runs.open[open.clone()].to_vec())?;
            runs.open.drain(open);
            let at = runs.parts.partition_point(|other| other.first < part.first);
            runs.parts.insert(at, part);
            any = true;
        }
        Ok(any)
    }

    /// Takes the part that a shard of this number would be in, if it is in one, among the open shards.
    pub(crate) fn reopen(&self, split: &str, runs: &mut Runs, number: usize) -> Result<()> {
        let Some(at) = runs.parts.iter().position(|part| part.spans(number)) else { return Ok(()) };
        let shards = self.load(split, &runs.parts[at])?;
        let part = runs.parts.remove(at);
        let place = runs.open.partition_point(|shard| shard.number() < Some(part.first));
        runs.open.splice(place..place, shards.iter().cloned());
        Ok(())
    }

    /// Takes a table out of all shards; one that has no other is gone.
    pub(crate) fn drop_table(&self, split: &str, runs: &mut Runs, table: &str) -> Result<()> {
        let without = |shard: &Shard| {
            let mut shard = shard.clone();
            shard.tables.remove(table);
            (!shard.tables.is_empty()).then_some(shard)
        };
        let mut parts = Vec::new();
        for part in &runs.parts {
            if !part.tables.contains_key(table) {
                parts.push(part.clone());
                continue;
            }
            let kept: Vec<Shard> = self.load(split, part)?.iter().filter_map(without).collect();
            if !kept.is_empty() {
                parts.push(self.write(split, part.first..part.end, kept)?);
            }
        }
        let open = runs.open.iter().filter_map(without).collect();
        *runs = Runs { parts, open };
        Ok(())
    }

    /// Removes the files of parts that are not named, and what killed writers left. Call it only while holding the lock.
    pub(crate) fn sweep<'a>(&self, named: impl Iterator<Item = (&'a str, &'a Runs)>) -> Result<()> {
        let folder = self.folder.join(PARTS_FOLDER);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(Error::io("list", &folder))?,
        };
        let named: HashSet<PathBuf> = named
            .flat_map(|(split, runs)| runs.parts.iter().map(move |part| part.path(split)))
            .map(|name| self.folder.join(name))
            .collect();
        for entry in entries {
            let path = entry.map_err(Error::io("list", &folder))?.path();
            let is_ours = path.extension().is_some_and(|ending| ending == "json" || ending == "partial");
            if is_ours && !named.contains(&path) {
                remove_file(&path)?;
            }
        }
        Ok(())
    }
}

/// What a manifest says of these shards.
fn describe(bounds: Range<usize>, seal: String, shards: &[Shard]) -> Part {
    let mut tables: BTreeMap<String, PartTable> = BTreeMap::new();
    let mut ids: BTreeMap<&str, String> = BTreeMap::new();
    for shard in shards {
        for (table, file) in &shard.tables {
            let known = tables.entry(table.clone()).or_default();
            known.files += 1;
            known.rows += file.rows;
            known.bytes += file.bytes;
            known.sums.get_or_insert_default().merge(TableSums::of(file));
            if let Some(of_file) = &file.ids {
                // Writing to a string does not fail.
                let _ = writeln!(ids.entry(table).or_default(), "{} {} {of_file}", shard.name, file.rows);
            }
        }
    }
    for (table, text) in ids {
        // Of every shard, or the digest would say nothing of the others.
        if let Some(known) = tables.get_mut(table).filter(|_| text.lines().count() == shards.len()) {
            known.ids = Some(hex64(xxh3_64(text.as_bytes())));
        }
    }
    Part { first: bounds.start, end: bounds.end, seal, shards: shards.len(), tables }
}

/// Reads a part's file: it is used if it has the seal that is named, the seal holds, and it says what was said of it.
fn read(path: &Path, split: &str, part: &Part) -> Result<Vec<Shard>> {
    let broken = |problem: String| Error::Broken { path: path.to_owned(), problem };
    let bytes = fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => broken(
            "it is missing, and the manifest names it for shards that exist: another process may have written since"
                .to_owned(),
        ),
        _ => Error::io("read", path)(error),
    })?;
    let (file, seal): (PartFile, String) = unsealed_with(path, &bytes, PART_VERSION)?;
    if seal != part.seal {
        return Err(broken(format!(
            "it is another part than the manifest names, of seal {seal}, expected {}",
            part.seal
        )));
    }
    let is_placed = |shard: &Shard| {
        shard.number().is_some_and(|number| part.spans(number)) && Shard::split_of(&shard.name) == split
    };
    let ordered = file.shards.is_sorted_by(|one, two| one.number() < two.number());
    let mut described = describe(part.first..part.end, seal, &file.shards);
    for (table, known) in &mut described.tables {
        // What a manifest did not say yet is no contradiction.
        known.sums.take_if(|_| part.tables.get(table).is_some_and(|said| said.sums.is_none()));
    }
    if !ordered || !file.shards.iter().all(is_placed) || described != *part {
        return Err(broken("it does not hold what the manifest says of it".to_owned()));
    }
    Ok(file.shards)
}

/// The next open shards that are to become a part, and its bounds.
fn next_settled(runs: &Runs, size: usize, working: Option<usize>) -> Option<(Range<usize>, Range<usize>)> {
    let mut at = 0;
    while let Some(number) = runs.open.get(at).and_then(Shard::number) {
        let below = runs.parts.partition_point(|part| part.first <= number);
        let begun = number / size * size;
        let first = below.checked_sub(1).map_or(begun, |below| begun.max(runs.parts[below].end));
        let end =
            runs.parts.get(below).map_or(begun.saturating_add(size), |next| next.first.min(begun.saturating_add(size)));
        let stop = runs.open.partition_point(|shard| shard.number() < Some(end));
        let is_last = stop == runs.open.len() && below == runs.parts.len();
        let is_full = stop - at == end - first;
        if (is_full || !is_last) && working.is_none_or(|working| !(first..end).contains(&working)) {
            return Some((at..stop, first..end));
        }
        at = stop;
    }
    None
}

/// Refuses runs of which a reader could find a shard twice, or not at all.
pub(crate) fn check_order(path: &Path, split: &str, runs: &Runs) -> Result<()> {
    let refuse = |problem: String| Err(Error::Manifest { path: path.to_owned(), problem });
    let apart = |one: &Part, two: &Part| one.end <= two.first;
    if !runs.parts.is_sorted_by(apart) || runs.parts.iter().any(|part| part.first >= part.end) {
        return refuse(format!("the parts of split {split} overlap, or are not in order"));
    }
    if !runs.open.is_sorted_by(|one, two| one.number() < two.number()) {
        return refuse(format!("the shards of split {split} are not in order"));
    }
    for shard in &runs.open {
        let number = shard.number().filter(|_| Shard::split_of(&shard.name) == split);
        if number.is_none_or(|number| runs.part_of(number).is_some()) {
            return refuse(format!(
                "it has a shard {:?} of split {split}, which is no name or is in a part",
                shard.name
            ));
        }
    }
    Ok(())
}

/// Where the tables of a split may lie, told without reading a part.
pub(crate) fn table_paths(folder: &Path, split: &str, runs: &Runs, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let parts = runs.parts.iter().flat_map(|part| {
        let names = (part.first..part.end).map(|number| Shard::name_of(split, number));
        names.flat_map(|name| part.tables.keys().map(move |table| (table, name.clone())))
    });
    let open = runs.open.iter().flat_map(|shard| shard.tables.keys().map(|table| (table, shard.name.clone())));
    let wanted = parts.chain(open).filter(|(table, _)| wanted(table));
    wanted.map(|(table, shard)| table_path(folder, table, &shard)).collect()
}

/// Shards that lie together: a part, or shards of no part.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Piece<'a> {
    /// Of this split.
    Part(&'a str, &'a Part),
    Open(&'a [Shard]),
}

/// The pieces of a split in order.
pub(crate) fn pieces<'a>(split: &'a str, runs: &'a Runs) -> Vec<Piece<'a>> {
    let mut open = runs.open.as_slice();
    let mut pieces = Vec::new();
    for part in &runs.parts {
        let (before, behind) = open.split_at(open.partition_point(|shard| shard.number() < Some(part.first)));
        pieces.extend((!before.is_empty()).then_some(Piece::Open(before)));
        pieces.push(Piece::Part(split, part));
        open = behind;
    }
    pieces.extend((!open.is_empty()).then_some(Piece::Open(open)));
    pieces
}

/// Shards of a data set or of a teacher in order, of which one part is in hand at a time. A part that cannot be read is
/// one error; the shards behind it follow.
#[derive(Debug)]
pub struct Shards<'a> {
    parts: &'a Parts,
    pieces: std::vec::IntoIter<Piece<'a>>,
    at_hand: AtHand<'a>,
    next: usize,
}

#[derive(Debug)]
enum AtHand<'a> {
    Part(Arc<Vec<Shard>>),
    Open(&'a [Shard]),
}

impl<'a> Shards<'a> {
    pub(crate) fn new(parts: &'a Parts, splits: impl Iterator<Item = (&'a str, &'a Runs)>) -> Self {
        let pieces: Vec<_> = splits.flat_map(|(split, runs)| pieces(split, runs)).collect();
        Self { parts, pieces: pieces.into_iter(), at_hand: AtHand::Open(&[]), next: 0 }
    }
}

impl Iterator for Shards<'_> {
    type Item = Result<Shard>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let shards = match &self.at_hand {
                AtHand::Part(shards) => shards.as_slice(),
                AtHand::Open(shards) => shards,
            };
            if let Some(shard) = shards.get(self.next) {
                self.next += 1;
                return Some(Ok(shard.clone()));
            }
            self.next = 0;
            self.at_hand = match self.pieces.next()? {
                Piece::Open(shards) => AtHand::Open(shards),
                Piece::Part(split, part) => match self.parts.load(split, part) {
                    Ok(shards) => AtHand::Part(shards),
                    Err(error) => {
                        self.at_hand = AtHand::Open(&[]);
                        return Some(Err(error));
                    }
                },
            };
        }
    }
}

#[cfg(test)]
#[path = "parts/tests.rs"]
mod tests;
