#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Float64Array, StringArray, UInt64Array};
use parquet::arrow::ArrowWriter;
use retort_schemas::runs::metrics::{VERSION, schema};

use super::*;

/// Forty values of two tags, whose pages are compressed.
fn metrics() -> RecordBatch {
    let tags = (0..40).map(|row| ["loss/task", "data_wait"][row % 2]);
    let values = (0..40).map(|row| f64::from(row).sqrt());
    let columns: Vec<arrow::array::ArrayRef> = vec![
        Arc::new(UInt64Array::from_iter_values((0..40).map(|row| row * 10))),
        Arc::new(StringArray::from_iter_values(tags)),
        Arc::new(Float64Array::from_iter_values(values)),
        Arc::new(Float64Array::from_iter_values((0..40).map(|row| 1e9 + f64::from(row)))),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.parquet");
    (folder, path)
}

/// As files were written before they had a seal: where the pages end, too.
fn write_without_a_seal(path: &Path, batch: &RecordBatch) -> usize {
    let pages = pages_of(path, batch).unwrap();
    let metadata = with_checksums(pages.metadata, &pages.leaves, None);
    let mut bytes = Vec::new();
    let mut tracked = TrackedWrite::new(&mut bytes);
    tracked.write_all(&pages.bytes).unwrap();
    ParquetMetaDataWriter::new_with_tracked(tracked, &metadata).finish().unwrap();
    std::fs::write(path, bytes).unwrap();
    pages.bytes.len()
}

/// Flips one bit after the other of the first bytes of a file, and what is read each time.
fn flips(path: &Path, bytes: usize, mut look: impl FnMut(usize, Result<RecordBatch>)) {
    let mut file = std::fs::read(path).unwrap();
    // One bit a byte, another one from byte to byte.
    for at in 0..bytes {
        file[at] ^= 1 << (at % 8);
        std::fs::write(path, &file).unwrap();
        look(at, read_plain_table(path, VERSION));
        file[at] ^= 1 << (at % 8);
    }
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let (_folder, path) = place();
    write_plain_table(&path, &metrics()).unwrap();
    assert_eq!(read_plain_table(&path, VERSION).unwrap(), metrics(), "with what the schema says, and no more");
    let sound = std::fs::read(&path).unwrap();
    let digits = digits_of(&sound).unwrap();
    let words = digits.start - marker().len()..digits.start;
    flips(&path, sound.len(), |at, read| match read {
        Err(error @ Error::Damaged { .. }) => {
            let said = format!("{} is damaged: the file does not match its checksum", path.display());
            assert!(error.to_string().starts_with(&said), "byte {at}: {error}");
        }
        // Without the words the seal is not found, and the pages' checksums hold; or they are no words at all.
        Ok(read) => assert!(words.contains(&at) && read == metrics(), "byte {at}"),
        Err(error) => assert!(words.contains(&at) && matches!(error, Error::Broken { .. }), "byte {at}: {error}"),
    });
}

#[test]
fn a_cut_file_is_damaged() {
    let (_folder, path) = place();
    write_plain_table(&path, &metrics()).unwrap();
    let sound = std::fs::read(&path).unwrap();
    for cut in [0, 3, 100, sound.len() / 2, sound.len() - 1] {
        std::fs::write(&path, &sound[..cut]).unwrap();
        let error = read_plain_table(&path, VERSION).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. } | Error::Broken { .. }), "cut at {cut}: {error}");
        assert!(error.to_string().starts_with(&format!("{} is damaged: ", path.display())), "cut at {cut}: {error}");
    }
}

#[test]
fn a_file_without_a_seal_is_read_by_the_checksums_of_its_pages() {
    let (_folder, path) = place();
    let pages = write_without_a_seal(&path, &metrics());
    assert_eq!(digits_of(&std::fs::read(&path).unwrap()), None);
    assert_eq!(read_plain_table(&path, VERSION).unwrap(), metrics());
    let mut columns = std::collections::BTreeSet::new();
    flips(&path, pages, |at, read| match read {
        Err(Error::Damaged { path: found, what, .. }) if found == path => _ = columns.insert(what),
        // The magic, which nothing is read from.
        read => assert!(at < 4 && read.as_ref().unwrap() == &metrics(), "byte {at}: {read:?}"),
    });
    let expected = ["column step", "column tag", "column unix_secs", "column value"];
    assert_eq!(columns.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_file_of_another_writer_is_read_as_it_is() {
    let (_folder, path) = place();
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), schema(), None).unwrap();
    writer.write(&metrics()).unwrap();
    writer.close().unwrap();
    assert_eq!(read_plain_table(&path, VERSION).unwrap(), metrics());
}
