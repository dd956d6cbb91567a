//! The shapes in which the same annotations and images come, and files that are none of them.

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::sources::testing;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An archive of these members.
fn zipped(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::DEFLATE);
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn archives_give_what_their_unpacked_files_give() -> Result<()> {
    let fixture = Fixture::small();
    fixture.ingest(&fixture.files())?;
    let expected = files(&fixture.out());

    let text = std::fs::read(fixture.path("val.jsonl")).unwrap();
    fixture.write("annots.zip", &zipped(&[("README.md", b"?"), ("val.jsonl", &text)]));
    fixture.zip("vcr1images", "stored.zip", CompressionMethod::Stored);
    fixture.zip("vcr1images", "deflated.zip", CompressionMethod::DEFLATE);
    // Packed from inside the folder, as some do.
    let members = files(&fixture.path("vcr1images"));
    let members: Vec<_> = members.iter().map(|(path, bytes)| (path.to_str().unwrap(), bytes.as_slice())).collect();
    fixture.write("bare.zip", &zipped(&members));
    for (annotations, images) in [
        ("annots.zip", "vcr1images"),
        ("val.jsonl", ""),
        ("val.jsonl", "stored.zip"),
        ("annots.zip", "deflated.zip"),
        ("val.jsonl", "bare.zip"),
    ] {
        let files =
            VcrFiles { annotations: fixture.path(annotations), images: fixture.path(images), ..fixture.files() };
        std::fs::remove_dir_all(fixture.out()).unwrap();
        fixture.ingest(&files)?;
        assert!(testing::files(&fixture.out()) == expected, "{annotations} {images}");
    }
    Ok(())
}

#[test]
fn annotations_may_be_gzip_and_paths_may_have_the_folder_in_front() -> Result<()> {
    let fixture = Fixture::small();
    fixture.ingest(&fixture.files())?;
    let expected = fixture.samples(0);
    let inside = [
        ("img_fn", json!(format!("vcr1images/{IMAGE}"))),
        ("metadata_fn", json!(format!("vcr1images/{}", metadata_of(IMAGE)))),
    ];
    fixture.lines(&[with(annotation("val-0", IMAGE), &inside), annotation("val-1", IMAGE)]);
    fixture.write("val.jsonl.gz", &gzip(&std::fs::read(fixture.path("val.jsonl")).unwrap()));
    let files = VcrFiles { annotations: fixture.path("val.jsonl.gz"), ..fixture.files() };
    let report = fixture.ingest_as(&files, &Options { force: true, ..Options::new("val") })?;
    assert_eq!((report.images, report.rejected()), (1, 0));
    assert_eq!(fixture.samples(0), expected);
    assert_eq!(strings(&fixture.table(0, images::NAME), images::SOURCE), [IMAGE]);
    Ok(())
}

#[test]
fn a_member_is_named_by_its_path_or_its_file_name() {
    let fixture = Fixture::small();
    let text = std::fs::read(fixture.path("val.jsonl")).unwrap();
    let several: &[(&str, &[u8])] = &[("annots/val.jsonl", &text), ("annots/test.jsonl", b""), ("x.txt", b"")];
    fixture.write("several.zip", &zipped(several));
    fixture.write("single.zip", &zipped(&[several[0], ("__MACOSX/annots/._val.jsonl", b"?"), several[2]]));
    fixture.write("twice.zip", &zipped(&[several[0], ("old/val.jsonl", b"")]));
    let open = |archive: &str, member: Option<&str>| {
        let (annotations, member) = (fixture.path(archive), member.map(str::to_owned));
        Vcr::open(&VcrFiles { annotations, member, ..fixture.files() })
    };
    for (archive, member) in [
        ("several.zip", Some("val.jsonl")),
        ("several.zip", Some("annots/val.jsonl")),
        ("twice.zip", Some("annots/val.jsonl")),
        ("single.zip", None),
        ("val.jsonl", Some("not asked")),
    ] {
        assert_eq!(open(archive, member).unwrap().annotations.len(), 2, "{archive} {member:?}");
    }
    for (archive, member, found) in [
        ("several.zip", None, "has no single .jsonl, or more than one; it has: annots/val.jsonl, annots/test.jsonl"),
        ("several.zip", Some("train.jsonl"), "has no train.jsonl"),
        ("twice.zip", Some("val.jsonl"), "it has: annots/val.jsonl, old/val.jsonl"),
    ] {
        let error = open(archive, member).err().unwrap();
        assert!(matches!(error, Error::NoMember { .. }) && error.hint().is_some(), "{error}");
        assert!(error.to_string().contains(found), "{error}");
    }
}

#[test]
fn files_that_are_something_else_are_errors_that_name_them() {
    let fixture = Fixture::small();
    let mut archive = zipped(&[("val.jsonl", b"{}")]);
    let end = archive.len() - 22;
    archive.truncate(end);
    fixture.write("cut.zip", &archive);
    let good = fixture.files();
    for (files, found) in [
        (VcrFiles { annotations: fixture.path("none.jsonl"), ..good.clone() }, "none.jsonl"),
        (VcrFiles { annotations: fixture.path("cut.zip"), ..good.clone() }, "cut.zip"),
        (VcrFiles { images: fixture.path("none"), ..good.clone() }, "none is not a folder of images"),
        (VcrFiles { images: fixture.path("val.jsonl"), ..good.clone() }, "val.jsonl is damaged: it is no zip archive"),
    ] {
        let error = fixture.ingest(&files).unwrap_err();
        assert!(error.to_string().contains(found), "{error}");
    }
    for (text, problem) in [
        ("question,answer\nWhy?,So.\n", "it is not JSON"),
        ("\n{\"questions\": []}\n", "field img_fn is missing, expected a text"),
    ] {
        fixture.write("val.jsonl", text.as_bytes());
        let error = fixture.ingest(&good).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }) && error.hint().is_some(), "{error}");
        assert!(error.to_string().contains(problem) && error.to_string().contains("val.jsonl, line"), "{error}");
        assert!(!fixture.out().join("dataset.json").exists());
    }
}

#[test]
fn a_damaged_member_of_annotations_is_an_error_that_names_it() {
    let fixture = Fixture::small();
    let text = std::fs::read(fixture.path("val.jsonl")).unwrap();
    let mut archive = zipped(&[("val.jsonl", &text)]);
    archive[200] ^= 0xff;
    fixture.write("annots.zip", &archive);
    let files = VcrFiles { annotations: fixture.path("annots.zip"), ..fixture.files() };
    let error = fixture.ingest(&files).unwrap_err();
    assert!(error.to_string().contains("cannot unpack") && error.to_string().contains("val.jsonl"), "{error}");
}

#[test]
fn a_member_of_annotations_that_inflates_without_end_is_an_error_that_names_it() {
    let fixture = Fixture::small();
    let text = std::fs::read(fixture.path("val.jsonl")).unwrap();
    // What any file may unpack to, and a byte more.
    for (blanks, refused) in [((16 << 20) - text.len(), false), ((16 << 20) - text.len() + 1, true)] {
        let archive = zipped(&[("val.jsonl", &[text.as_slice(), &vec![b'\n'; blanks]].concat())]);
        fixture.write("annots.zip", &archive);
        let found = Vcr::open(&VcrFiles { annotations: fixture.path("annots.zip"), ..fixture.files() });
        let message =
            found.err().map(|error| (error.to_string(), std::error::Error::source(&error).unwrap().to_string()));
        assert_eq!(message.is_some(), refused);
        if let Some((message, cause)) = message {
            assert!(message.contains("cannot unpack") && message.contains("annots.zip/val.jsonl"), "{message}");
            assert!(cause.contains("bytes unpack to more than 16777216, expected an annotation file"), "{cause}");
        }
    }
}

#[test]
fn annotations_without_a_line_are_an_error_and_nothing_is_written() {
    let fixture = Fixture::small();
    for text in ["", "\n \r\n"] {
        fixture.write("val.jsonl", text.as_bytes());
        let error = fixture.ingest(&fixture.files()).unwrap_err();
        assert!(matches!(error, Error::NoRecords { kind: "vcr", .. }) && error.hint().is_some(), "{error}");
        assert!(error.to_string().contains("val.jsonl holds nothing to ingest as vcr"), "{error}");
        assert!(!fixture.out().join("dataset.json").exists());
        let source = Vcr::open(&fixture.files()).unwrap();
        let error = crate::dry_run(&source, &Options::new("val"), &fixture.out()).unwrap_err();
        assert!(matches!(error, Error::NoRecords { .. }), "{error}");
    }
    // Nor is a split given up for it.
    fixture.lines(&[annotation("val-0", IMAGE)]);
    fixture.ingest(&fixture.files()).unwrap();
    let before = files(&fixture.out());
    fixture.write("val.jsonl", b"");
    let error = fixture.ingest_as(&fixture.files(), &Options { force: true, ..Options::new("val") }).unwrap_err();
    assert!(matches!(error, Error::NoRecords { .. }), "{error}");
    assert!(files(&fixture.out()) == before);
}

#[test]
fn the_manifest_tells_rules_and_tasks() -> Result<()> {
    let fixture = Fixture::small();
    fixture.ingest(&VcrFiles { tasks: VcrTasks::Qa, ..fixture.files() })?;
    let dataset = Dataset::open(&fixture.out())?;
    let split = serde_json::to_value(dataset.split("val")?).unwrap();
    let options = &split["options"]["source"];
    assert_eq!((&options["names"], &options["joining"]), (&json!("retort-names/1"), &json!("retort-joining/1")));
    assert_eq!(options["tasks"], json!(["qa"]));
    let text = std::fs::read(fixture.path("val.jsonl")).unwrap();
    assert_eq!(options["annotations"]["blake3"], blake3::hash(&text).to_hex()[..32]);
    Ok(())
}

#[test]
fn an_image_that_its_archive_inflates_without_end_is_lost() -> Result<()> {
    let fixture = Fixture::small();
    fixture.image("b/2.jpg", 2);
    fixture.metadata("b/2.jpg", &OBJECTS);
    fixture.lines(&[annotation("val-0", IMAGE), annotation("val-1", "b/2.jpg")]);
    fixture.write(&format!("vcr1images/{IMAGE}"), &vec![0; 4 << 20]);
    fixture.zip("vcr1images", "images.zip", CompressionMethod::DEFLATE);
    let path = fixture.path("images.zip");
    let mut archive = std::fs::read(&path).unwrap();
    // The directory comes after all members: its entry of the image declares a kilobyte.
    let name = format!("vcr1images/{IMAGE}");
    let entry = archive.windows(name.len()).rposition(|window| window == name.as_bytes()).unwrap() - 46;
    archive[entry + 24..entry + 28].copy_from_slice(&1024_u32.to_le_bytes());
    std::fs::write(&path, archive).unwrap();
    let report = fixture.ingest(&VcrFiles { images: path, ..fixture.files() })?;
    assert_eq!((report.images, report.samples), (1, 2));
    let expected = [
        format!("{IMAGE} | read | image_unreadable"),
        "sample val-0:qa | read | image_rejected".to_owned(),
        "sample val-0:qar | read | image_rejected".to_owned(),
    ];
    assert_eq!(fixture.rejected(0), expected);
    let message = strings(&fixture.table(0, reject_table::NAME), reject_table::MESSAGE).remove(0);
    assert!(message.contains("more than the 1024 bytes"), "{message}");
    Ok(())
}
