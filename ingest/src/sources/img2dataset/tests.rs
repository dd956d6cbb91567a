//! What is made of each of the three formats, as img2dataset writes them.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use retort_schemas::tables::images;
use serde_json::json;
use sha2::Digest as _;

use super::*;
use crate::IngestReport;
use crate::formats::tar::tests::{archive_of, file, gzip};
use crate::sources::testing::{Place, assert_resumes, jpeg, strings};

/// A download: its key, the seed of its photo unless it failed, and its caption.
struct Row {
    key: String,
    status: &'static str,
    error: Option<&'static str>,
    photo: Option<Vec<u8>>,
    caption: String,
}

fn row(key: u64) -> Row {
    let (status, error) = match key % 10_000 {
        2 => ("failed_to_download", Some("HTTP Error 404: Not Found")),
        4 => ("failed_to_resize", Some("Image decoding error")),
        _ => ("success", None),
    };
    let photo = error.is_none().then(|| jpeg(key as u8));
    Row { key: format!("{key:09}"), status, error, photo, caption: format!("Photo {}.", key % 10_000 % 4) }
}

/// The rows of a shard in the order in which they were downloaded.
fn rows(shard: u64, count: u64) -> Vec<Row> {
    (0..count).rev().map(|at| row(shard * 10_000 + at)).collect()
}

fn digest(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn meta(row: &Row) -> String {
    let sha256 = row.photo.as_deref().map(digest);
    json!({ "caption": row.caption, "TEXT_DE": "Foto.", "key": row.key, "status": row.status, "sha256": sha256 })
        .to_string()
}

/// The table of a shard, with the images or without.
fn table(rows: &[Row], images: Option<&str>) -> Vec<u8> {
    let texts =
        |of: &dyn Fn(&Row) -> Option<String>| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<StringArray>()) };
    let mut columns = vec![
        ("URL", texts(&|row| Some(format!("http://host/{}", row.key)))),
        ("TEXT", texts(&|row| Some(row.caption.clone()))),
        ("key", texts(&|row| Some(row.key.clone()))),
        ("status", texts(&|row| Some(row.status.to_owned()))),
        ("error_message", texts(&|row| row.error.map(str::to_owned))),
        ("sha256", texts(&|row| row.photo.as_deref().map(digest))),
    ];
    if let Some(name) = images {
        let images: BinaryArray = rows.iter().map(|row| row.photo.as_deref()).collect();
        columns.push((name, Arc::new(images)));
    }
    parquet_of(columns)
}

fn parquet_of(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
            .unwrap();
    let mut bytes = Vec::new();
    // As pyarrow packs unless told otherwise.
    let snappy = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(snappy)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// The files of a shard's successes.
fn files(rows: &[Row]) -> Vec<(String, Vec<u8>)> {
    let successes = rows.iter().filter_map(|row| Some((row, row.photo.clone()?)));
    let files = successes.map(|(row, photo)| {
        [("jpg", photo), ("txt", row.caption.clone().into_bytes()), ("json", meta(row).into_bytes())]
            .map(|(suffix, bytes)| (format!("{}.{suffix}", row.key), bytes))
    });
    files.flatten().collect()
}

fn tar(rows: &[Row]) -> Vec<u8> {
    let files = files(rows);
    archive_of(&files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect::<Vec<_>>())
}

fn stats(successes: usize) -> Vec<u8> {
    json!({ "count": 5, "successes": successes }).to_string().into_bytes()
}

/// Writes a shard in one of the three formats.
fn write(place: &Place, format: &str, shard: u64, count: u64) {
    let rows = rows(shard, count);
    let name = format!("{shard:05}");
    match format {
        "webdataset" => place.write(&format!("{name}.tar"), &tar(&rows)),
        "files" => files(&rows).iter().for_each(|(file, bytes)| place.write(&format!("{name}/{file}"), bytes)),
        _ => {}
    }
    let images = (format == "parquet").then_some("jpg");
    place.write(&format!("{name}.parquet"), &table(&rows, images));
    let successes = rows.iter().filter(|row| row.photo.is_some()).count();
    place.write(&format!("{name}_stats.json"), &stats(successes));
}

fn open(place: &Place, change: impl FnOnce(&mut Img2DatasetFiles)) -> Result<Img2Dataset> {
    let mut files = Img2DatasetFiles::new(place.path("in"));
    change(&mut files);
    Img2Dataset::open(&files)
}

fn ingest(place: &Place, change: impl FnOnce(&mut Img2DatasetFiles)) -> Result<IngestReport> {
    place.ingest(&open(place, change)?)
}

#[test]
fn archives_and_folders_give_the_same_tables_in_the_order_of_keys() -> Result<()> {
    let mut tables = Vec::new();
    for format in ["webdataset", "files"] {
        let place = Place::new();
        write(&place, format, 0, 5);
        write(&place, format, 1, 2);
        let report = ingest(&place, |_| {})?;
        assert_eq!((report.samples, report.images, report.texts, report.rejected()), (5, 5, 3, 2), "{format}");
        assert_eq!(
            place.samples(),
            [
                "00000/000000000 | caption | Photo 0. | null | null",
                "00000/000000001 | caption | Photo 1. | null | null",
                "00000/000000003 | caption | Photo 3. | null | null",
                "00001/000010000 | caption | Photo 0. | null | null",
                "00001/000010001 | caption | Photo 1. | null | null",
            ]
        );
        assert_eq!(strings(&place.table(0, images::NAME), images::SOURCE)[4], "00001/000010001.jpg");
        let rejects = [("000000002", "download_failed"), ("000000004", "resize_failed")];
        assert_eq!(place.rejected(), rejects.map(|(key, code)| format!("sample 00000/{key} | read | {code}")));
        let messages =
            ["HTTP Error 404: Not Found: http://host/000000002", "Image decoding error: http://host/000000004"];
        assert_eq!(place.messages(), messages);
        tables.push(place.tables());
    }
    assert_eq!(tables[0], tables[1]);
    Ok(())
}

#[test]
fn a_table_with_images_is_read_in_its_own_order() -> Result<()> {
    for column in ["jpg", "png", "WEBP"] {
        let place = Place::new();
        let rows = rows(0, 5);
        place.write("00000.parquet", &table(&rows, Some(column)));
        let report = ingest(&place, |files| files.check_hashes = true)?;
        assert_eq!((report.samples, report.images, report.rejected()), (3, 3, 2));
        let keys = ["000000003", "000000001", "000000000"];
        let texts = ["Photo 3.", "Photo 1.", "Photo 0."];
        let expected: Vec<String> =
            keys.iter().zip(texts).map(|(key, text)| format!("00000/{key} | caption | {text} | null | null")).collect();
        assert_eq!(place.samples(), expected);
        let rejects = [("000000004", "resize_failed"), ("000000002", "download_failed")];
        assert_eq!(place.rejected(), rejects.map(|(key, code)| format!("sample 00000/{key} | read | {code}")));
        let source = &strings(&place.table(0, images::NAME), images::SOURCE)[0];
        assert_eq!(source, &format!("00000/000000003.{}", column.to_lowercase()));
    }
    Ok(())
}

#[test]
fn an_interrupted_run_continues_to_the_same_bytes() -> Result<()> {
    let rejects = [("download_failed".to_owned(), 2), ("resize_failed".to_owned(), 2)].into();
    for format in ["webdataset", "files", "parquet"] {
        let place = Place::new();
        write(&place, format, 0, 8);
        write(&place, format, 1, 6);
        // Equal texts of a shard are one; tables have another order.
        let texts = if format == "parquet" { 9 } else { 10 };
        let report = IngestReport { samples: 10, images: 10, texts, shards: 4, ..IngestReport::default() };
        assert_resumes(&open(&place, |_| {})?, &IngestReport { rejects: Clone::clone(&rejects), ..report });
    }
    Ok(())
}

#[test]
fn texts_come_from_the_column_that_is_named() -> Result<()> {
    for format in ["webdataset", "parquet"] {
        let place = Place::new();
        write(&place, format, 0, 2);
        let name = if format == "parquet" { "Url" } else { "text_de" };
        ingest(&place, |files| files.caption = Some(name.to_owned()))?;
        let text = if format == "parquet" { "http://host/000000001" } else { "Foto." };
        assert!(place.samples().contains(&format!("00000/000000001 | caption | {text} | null | null")));
    }
    // Without caption files the metadata have the caption.
    let place = Place::new();
    write(&place, "files", 0, 2);
    std::fs::remove_file(place.path("in/00000/000000001.txt")).unwrap();
    ingest(&place, |_| {})?;
    assert_eq!(place.samples()[1], "00000/000000001 | caption | Photo 1. | null | null");
    Ok(())
}

#[test]
fn images_without_texts_are_rejected_unless_they_may_be() -> Result<()> {
    let place = Place::new();
    place.write("00000/000000000.jpg", &jpeg(1));
    ingest(&place, |_| {})?;
    assert_eq!(place.rejected(), ["sample 00000/000000000 | annotation | text_missing"]);
    std::fs::remove_dir_all(place.path("out")).unwrap();
    ingest(&place, |files| files.texts = TextRule::Optional)?;
    assert_eq!(place.samples(), ["00000/000000000 | caption |  | null | null"]);
    Ok(())
}

#[test]
fn hashes_are_checked_where_that_is_asked_for() -> Result<()> {
    for format in ["webdataset", "files", "parquet"] {
        let place = Place::new();
        let mut rows = rows(0, 2);
        let whole = rows[0].photo.clone();
        match format {
            "parquet" => {
                let digests = StringArray::from(vec![digest(b"other"), digest(rows[1].photo.as_deref().unwrap())]);
                let photos: BinaryArray = rows.iter().map(|row| row.photo.as_deref()).collect();
                let keys = StringArray::from_iter_values(rows.iter().map(|row| &row.key));
                place.write(
                    "00000.parquet",
                    &parquet_of(vec![
                        ("key", Arc::new(keys.clone())),
                        ("caption", Arc::new(keys)),
                        ("sha256", Arc::new(digests)),
                        ("jpg", Arc::new(photos)),
                    ]),
                );
            }
            _ => {
                let mut files = files(&rows);
                rows[0].photo = Some(b"other".to_vec());
                files[2].1 = meta(&rows[0]).into_bytes();
                rows[0].photo = whole;
                if format == "files" {
                    files.iter().for_each(|(name, bytes)| place.write(&format!("00000/{name}"), bytes));
                } else {
                    let members: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
                    place.write("00000.tar", &archive_of(&members));
                }
            }
        }
        let report = ingest(&place, |files| files.check_hashes = true)?;
        assert_eq!(report.samples, 1, "{format}");
        assert_eq!(place.rejected()[0], "00000/000000001.jpg | read | image_hash_mismatch", "{format}");
        assert!(place.messages()[0].contains("expected bytes with the sha256"), "{}", place.messages()[0]);
        std::fs::remove_dir_all(place.path("out")).unwrap();
        assert_eq!(ingest(&place, |_| {})?.samples, 2);
    }
    Ok(())
}

#[test]
fn unfinished_and_broken_shards_give_what_they_have() -> Result<()> {
    let place = Place::new();
    // 0 is whole. 1 was killed: no stats, no end of the archive, no footer of the table.
    write(&place, "webdataset", 0, 2);
    let (archive, metadata) = (tar(&rows(1, 2)), table(&rows(1, 2), None));
    place.write("00001.tar", &archive[..archive.len() - 1024]);
    place.write("00001.parquet", &metadata[..metadata.len() / 2]);
    // 2 has lost an image that its metadata and stats know of.
    write(&place, "files", 2, 2);
    std::fs::remove_file(place.path("in/00002/000020001.jpg")).unwrap();
    // 3 has metadata alone, 4 is a table without its end, 5 is packed.
    place.write("00003.parquet", &table(&rows(3, 2), None));
    place.write("00003_stats.json", &stats(2));
    let images = table(&rows(4, 2), Some("jpg"));
    place.write("00004.parquet", &images[..images.len() / 2]);
    place.write("00004_stats.json", &stats(2));
    place.write("00005.tar", &gzip(&tar(&rows(5, 1))));
    place.write("00005_stats.json", b"no JSON");
    place.write("notes.txt", b"not numbered");
    place.write("_tmp/0.feather", b"");
    let report = ingest(&place, |_| {})?;
    assert_eq!(report.samples, 5);
    assert_eq!(
        place.rejected(),
        [
            "shard 00001 | read | shard_incomplete",
            "shard 00001 | read | archive_broken",
            "shard 00001 | read | shard_incomplete",
            "shard 00002 | read | shard_incomplete",
            "sample 00002/000020001 | annotation | image_missing",
            "shard 00003 | read | shard_incomplete",
            "shard 00004 | read | archive_broken",
            "shard 00005 | read | archive_broken",
        ]
    );
    let messages = place.messages();
    for (at, found) in [
        (0, "expected 00001_stats.json"),
        (1, "expected a header or the end mark"),
        (2, "its failures are not known: 00001.parquet: "),
        (3, "its stats tell of 2 images, found 1"),
        (5, "it has metadata alone"),
        (7, "expected a plain tar"),
    ] {
        assert!(messages[at].contains(found), "{}", messages[at]);
    }
    Ok(())
}

#[test]
fn what_metadata_call_a_success_and_nothing_has_is_missing() -> Result<()> {
    let place = Place::new();
    let mut unknown = rows(0, 2);
    unknown[0].status = "paused";
    unknown[0].photo = None;
    place.write("00000.tar", &archive_of(&[]));
    place.write("00000.parquet", &table(&unknown, None));
    ingest(&place, |_| {})?;
    assert_eq!(
        place.rejected(),
        ["000000000", "000000001"].map(|key| format!("sample 00000/{key} | read | image_missing"))
    );
    assert!(place.messages()[0].contains("the metadata say success"), "{}", place.messages()[0]);
    assert!(place.messages()[1].contains("status \"paused\""), "{}", place.messages()[1]);
    Ok(())
}

#[test]
fn members_that_are_no_files_are_refused() -> Result<()> {
    use tar::EntryType;

    use crate::formats::tar::tests::{member, old_sparse};
    let place = Place::new();
    let photo = jpeg(1);
    let archive = [
        member(EntryType::Symlink, "000000000.jpg", 0, b""),
        old_sparse("000000001.jpg"),
        file("../000000002.jpg", &photo),
        file("000000002.jpg", &photo),
        file("000000002.txt", b"Twice."),
        vec![0; 1024],
    ];
    place.write("00000.tar", &archive.concat());
    ingest(&place, |_| {})?;
    assert_eq!(
        place.rejected(),
        [
            "00000/000000000.jpg | annotation | member_not_a_file",
            "00000/000000001.jpg | annotation | member_sparse",
            "00000/000000002.jpg | annotation | duplicate_member",
        ]
    );
    // A folder in a name means nothing: keys are unique, and nothing is written by name.
    assert_eq!(place.samples(), ["00000/000000002 | caption | Twice. | null | null"]);
    place.assert_nothing_else(&["00000.tar"]);
    Ok(())
}

#[test]
fn keys_of_old_releases_are_numbers() -> Result<()> {
    let place = Place::new();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("key", Arc::new(Int64Array::from(vec![7]))),
        ("txt", Arc::new(StringArray::from(vec![" Seven. "]))),
        ("jpg", Arc::new(BinaryArray::from_vec(vec![&jpeg(7)]))),
    ];
    place.write("00000.parquet", &parquet_of(columns));
    ingest(&place, |_| {})?;
    assert_eq!(place.samples(), ["00000/7 | caption | Seven. | null | null"]);
    Ok(())
}

#[test]
fn a_folder_without_shards_or_images_is_an_error() {
    let place = Place::new();
    place.write("photo.jpg", &jpeg(1));
    let error = ingest(&place, |_| {}).unwrap_err();
    assert!(matches!(error, Error::NoShards { .. }) && error.hint().is_some(), "{error}");
    place.write("00000.parquet", &table(&rows(0, 2), None));
    let error = ingest(&place, |_| {}).unwrap_err();
    assert!(error.to_string().contains("they are metadata alone"), "{error}");
    let error = ingest(&place, |files| files.folder.push("none")).unwrap_err();
    assert!(error.to_string().contains("cannot read"), "{error}");
}
