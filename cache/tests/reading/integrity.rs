//! Damage of every kind is found by `verify`, and no reader makes a value of it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use retort_cache::{
    Bounds, Columns, Damage, Dataset, Interrupt, Position, Quiet, Rows, StreamOptions, TeacherCache, verify,
};
use retort_schemas::manifest::Shard;

use crate::set;

/// Bits flipped by the longest of these tests, unless `RETORT_FLIPS` tells another number.
const FLIPS: usize = 10_000;

fn flips() -> usize {
    std::env::var("RETORT_FLIPS").map_or(FLIPS, |flips| flips.parse().unwrap())
}

fn damages(folder: &Path) -> Vec<Damage> {
    verify(folder, &Quiet, &Interrupt::default()).unwrap().damages
}

/// Everything that can be read of a shard, by table, and its rows taken and streamed: each as it was, or an error.
struct Truth {
    tables: BTreeMap<PathBuf, RecordBatch>,
    taken: Rows,
}

/// Flips one bit of a file where it lies: writing it anew would wait for the disk.
fn flip(file: &Path, bit: usize) {
    let opened = std::fs::File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    opened.read_exact_at(&mut byte, bit as u64 / 8).unwrap();
    opened.write_all_at(&[byte[0] ^ 1 << (bit % 8)], bit as u64 / 8).unwrap();
}

fn read_file(dataset: &Dataset, teacher: &TeacherCache, file: &Path) -> retort_cache::Result<RecordBatch> {
    let (shard, table) = place_of(dataset, file);
    let shard = &shard;
    if file.starts_with("cache") {
        return teacher.read(dataset, shard, table);
    }
    dataset.read(shard, table, Columns::All)
}

fn read_row(dataset: &Dataset, teacher: &TeacherCache, file: &Path, row: usize) -> retort_cache::Result<RecordBatch> {
    let (shard, table) = place_of(dataset, file);
    let shard = &shard;
    if file.starts_with("cache") {
        return teacher.read_rows(dataset, shard, table, Columns::All, &[row]);
    }
    dataset.read_rows(shard, table, Columns::All, &[row])
}

/// Shard and table of a file.
fn place_of<'a>(dataset: &Dataset, file: &'a Path) -> (Shard, &'a str) {
    let name = file.file_stem().unwrap().to_str().unwrap();
    let shard = dataset.shard(name).unwrap().unwrap();
    (shard, file.parent().unwrap().file_name().unwrap().to_str().unwrap())
}

fn all_rows(dataset: &Dataset) -> Vec<u64> {
    (0..dataset.shards().map(|shard| shard.unwrap().rows("images")).sum()).collect()
}

impl Truth {
    fn of(folder: &Path) -> Self {
        let dataset = Dataset::open(folder).unwrap();
        let teacher = TeacherCache::open(&dataset, "clip").unwrap();
        let tables = set::files(folder).into_iter().filter(|file| file.extension().unwrap() == "parquet");
        let tables = tables.map(|file| (file.clone(), read_file(&dataset, &teacher, &file).unwrap())).collect();
        let mut taken = Rows::default();
        set::reader(&dataset).take(&all_rows(&dataset), &mut taken).unwrap();
        Self { tables, taken }
    }

    /// No reader gives another value than the true one.
    fn check_readers(&self, folder: &Path, file: &Path) -> Result<(), String> {
        let Ok(dataset) = Dataset::open(folder) else { return Ok(()) };
        if let Some(truth) = self.tables.get(file)
            && let Ok(teacher) = TeacherCache::open(&dataset, "clip")
            && read_file(&dataset, &teacher, file).is_ok_and(|read| read != *truth)
        {
            return Err("read_table gives a wrong value".to_owned());
        }
        if let Some(truth) = self.tables.get(file)
            && let Ok(teacher) = TeacherCache::open(&dataset, "clip")
            && read_row(&dataset, &teacher, file, 7).is_ok_and(|read| read != truth.slice(7, 1))
        {
            return Err("read_rows gives a wrong value".to_owned());
        }
        let Ok(source) = set::source(&dataset) else { return Ok(()) };
        let reader = std::sync::Arc::new(retort_cache::Reader::new(source));
        // Row by row: the rows of other pages are still there.
        let mut rows = Rows::default();
        let at = self.taken.rows.len() as u64 / 2;
        for wanted in [&self.taken.rows[..], &[at]] {
            if reader.take(wanted, &mut rows).is_ok() && !self.holds(&rows) {
                return Err(format!("take of {} rows gives a wrong value", wanted.len()));
            }
        }
        let bounds = Bounds { threads: 1, depth: 1, bytes: 0 };
        let options = StreamOptions { seed: 1, batch: 64, pool_shards: 1, bounds };
        let mut stream =
            reader.stream(options, Position { epoch: 0, batch: 0 }, 1).map_err(|error| error.to_string())?;
        while let Ok(Some(_)) = stream.next_into(&mut rows) {
            if !self.holds(&rows) {
                return Err("the stream gives a wrong value".to_owned());
            }
        }
        Ok(())
    }

    fn holds(&self, rows: &Rows) -> bool {
        rows.columns.iter().zip(&self.taken.columns).all(|(column, truth)| {
            rows.rows.iter().enumerate().all(|(at, row)| column.row(at) == truth.row(*row as usize))
        })
    }
}

/// A data set of many files, so that one call of `verify` looks at as many flips.
#[test]
fn thousands_of_flipped_bits_are_all_found_and_none_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    set::write(folder, &[12; 10]);
    let sound: Vec<(PathBuf, usize)> = set::files(folder)
        .into_iter()
        .filter(|file| file.extension().unwrap() == "parquet")
        .map(|file| (file.clone(), std::fs::read(folder.join(file)).unwrap().len()))
        .collect();
    assert_eq!(sound.len(), 40);
    let truth = Truth::of(folder);
    let dataset = Dataset::open(folder).unwrap();
    let teacher = TeacherCache::open(&dataset, "clip").unwrap();
    let mut columns = BTreeSet::new();
    for round in 0..flips() / sound.len() {
        let bit_of = |at: usize, bytes: usize| set::number((round * sound.len() + at) as u64) as usize % (bytes * 8);
        let mut flipped = BTreeSet::new();
        for (at, (file, bytes)) in sound.iter().enumerate() {
            let bit = bit_of(at, *bytes);
            flip(&folder.join(file), bit);
            flipped.insert(file.clone());
            let read = read_file(&dataset, &teacher, file);
            assert!(!read.is_ok_and(|read| read != truth.tables[file]), "bit {bit} of {}", file.display());
        }
        let found = damages(folder);
        assert_eq!(found.iter().map(|damage| damage.file.clone()).collect::<BTreeSet<_>>(), flipped);
        assert_eq!(found.len(), flipped.len(), "one flip is one damage");
        for damage in found {
            assert_eq!(damage.shard.as_deref(), damage.file.file_stem().unwrap().to_str());
            columns.extend(damage.column);
        }
        // Each shard by itself: a stream over all ends at the first damage.
        truth.check_readers(folder, &sound[round % sound.len()].0).unwrap();
        sound.iter().enumerate().for_each(|(at, (file, bytes))| flip(&folder.join(file), bit_of(at, *bytes)));
    }
    let expected = ["bytes", "embedding", "image_id", "text", "text_id", "tokens.list.item"];
    assert_eq!(columns.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn flips_in_one_file_at_a_time_reach_no_reader() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    set::write(folder, &[8]);
    let truth = Truth::of(folder);
    for file in set::files(folder) {
        let sound = std::fs::read(folder.join(&file)).unwrap();
        for round in 0..150 {
            let bit = set::number(round + sound.len() as u64) as usize % (sound.len() * 8);
            flip(&folder.join(&file), bit);
            let found = damages(folder);
            assert!(found.iter().any(|damage| damage.file == file), "bit {bit} of {}: {found:?}", file.display());
            truth.check_readers(folder, &file).unwrap();
            flip(&folder.join(&file), bit);
        }
        assert_eq!(std::fs::read(folder.join(&file)).unwrap(), sound);
    }
    assert_eq!(damages(folder), []);
}

#[test]
fn a_file_cut_anywhere_or_gone_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    set::write(folder, &[8]);
    let truth = Truth::of(folder);
    for file in set::files(folder) {
        let sound = std::fs::read(folder.join(&file)).unwrap();
        let cuts = (0..40).map(|cut| set::number(cut) as usize % sound.len()).chain([0, 4, sound.len() - 1]);
        for cut in cuts {
            std::fs::write(folder.join(&file), &sound[..cut]).unwrap();
            let found = damages(folder);
            assert!(found.iter().any(|damage| damage.file == file), "cut at {cut}: {found:?}");
            truth.check_readers(folder, &file).unwrap();
        }
        std::fs::write(folder.join(&file), [&sound[..], b"more"].concat()).unwrap();
        assert!(damages(folder).iter().any(|damage| damage.file == file));
        std::fs::remove_file(folder.join(&file)).unwrap();
        match verify(folder, &Quiet, &Interrupt::default()) {
            Ok(found) => assert!(found.damages.iter().any(|damage| damage.file == file), "{}", file.display()),
            Err(error) => panic!("{error}"),
        }
        truth.check_readers(folder, &file).unwrap();
        std::fs::write(folder.join(&file), &sound).unwrap();
    }
    assert_eq!(damages(folder), []);
}

/// Two shards' files of one table: of one length if there are such, as then their footers alone tell them apart.
fn pair(folder: &Path, table: &str) -> (bool, PathBuf, PathBuf) {
    let files: Vec<PathBuf> =
        set::files(folder).into_iter().filter(|file| file.parent() == Some(Path::new(table))).collect();
    let read = |file: &PathBuf| std::fs::read(folder.join(file)).unwrap();
    for (at, one) in files.iter().enumerate() {
        let (bytes, later) = (read(one), &files[at + 1..]);
        let alike = |two: &&PathBuf| read(two).len() == bytes.len() && read(two) != bytes;
        if let Some(two) = later.iter().find(alike) {
            return (true, one.clone(), two.clone());
        }
    }
    (false, files[0].clone(), files[1].clone())
}

#[test]
fn exchanged_files_and_older_files_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    set::write(folder, &[12; 14]);
    let truth = Truth::of(folder);
    let older = tempfile::tempdir().unwrap();
    set::write(older.path(), &[11; 14]);
    let files = set::files(folder);
    let manifest = files.iter().find(|file| file.ends_with("teacher.json")).unwrap();
    let teacher = manifest.parent().unwrap().to_str().unwrap().to_owned();
    let mut alike = 0;
    for table in ["images".to_owned(), "texts".to_owned(), format!("{teacher}/images"), format!("{teacher}/tokens")] {
        let (same_length, first, second) = pair(folder, &table);
        alike += usize::from(same_length);
        let read = |file: &Path| std::fs::read(folder.join(file)).unwrap();
        let (one, two) = (read(&first), read(&second));
        std::fs::write(folder.join(&first), &two).unwrap();
        std::fs::write(folder.join(&second), &one).unwrap();
        let found: BTreeSet<PathBuf> = damages(folder).into_iter().map(|damage| damage.file).collect();
        assert_eq!(found, BTreeSet::from([first.clone(), second.clone()]));
        truth.check_readers(folder, &first).unwrap();
        truth.check_readers(folder, &second).unwrap();
        std::fs::write(folder.join(&second), &two).unwrap();
        std::fs::copy(older.path().join(&first), folder.join(&first)).unwrap();
        let found = damages(folder);
        assert!(found.len() == 1 && found[0].file == first, "{found:?}");
        truth.check_readers(folder, &first).unwrap();
        std::fs::write(folder.join(&first), &one).unwrap();
    }
    assert!(alike >= 2, "files of one length in {alike} tables");
    for manifest in ["dataset.json".to_owned(), format!("{teacher}/teacher.json")] {
        let sound = std::fs::read(folder.join(&manifest)).unwrap();
        std::fs::copy(older.path().join(&manifest), folder.join(&manifest)).unwrap();
        assert!(!damages(folder).is_empty(), "an older {manifest}");
        truth.check_readers(folder, Path::new(&manifest)).unwrap();
        std::fs::write(folder.join(&manifest), sound).unwrap();
    }
    assert_eq!(damages(folder), []);
}
