//! What is made of archives, from files in a temporary folder.

mod hostile;

use image::ImageFormat;
use retort_schemas::tables::images;
use serde_json::json;

use super::*;
use crate::IngestReport;
use crate::formats::tar::tests::{archive_of, gzip, zstd};
use crate::sources::testing::{Place, assert_resumes, jpeg, photo, strings};

fn source(place: &Place, archives: &[&str]) -> WebDatasetFiles {
    WebDatasetFiles::new(archives.iter().map(|name| place.input(name)).collect())
}

/// Ingests archives, as `change` wants them read.
fn ingest(place: &Place, archives: &[&str], change: impl FnOnce(&mut WebDatasetFiles)) -> Result<IngestReport> {
    let mut files = source(place, archives);
    change(&mut files);
    place.ingest(&WebDataset::open(&files)?)
}

/// Pairs of a photo and a text under keys 0 to `pairs` - 1.
fn pairs(from: u8, pairs: u8) -> Vec<u8> {
    let photos: Vec<Vec<u8>> = (from..from + pairs).map(jpeg).collect();
    let names: Vec<[String; 2]> = (from..from + pairs).map(|at| [format!("{at}.jpg"), format!("{at}.txt")]).collect();
    let texts: Vec<String> = (from..from + pairs).map(|at| format!("Photo {}\n", at % 4)).collect();
    let members: Vec<(&str, &[u8])> = (names.iter().zip(&photos).zip(&texts))
        .flat_map(|(([image, text], photo), caption)| {
            [(image.as_str(), photo.as_slice()), (text.as_str(), caption.as_bytes())]
        })
        .collect();
    archive_of(&members)
}

#[test]
fn archives_without_a_sample_are_an_error_and_nothing_is_written() {
    let place = Place::new();
    place.write("a.tar", &archive_of(&[]));
    place.write("b.tar", &archive_of(&[("README", b"no dot, no sample"), (".hidden.jpg", b"")]));
    for archives in [&["*.tar"][..], &["a.tar"], &["b.tar", "a.tar"]] {
        let error = ingest(&place, archives, |_| {}).unwrap_err();
        assert!(matches!(error, Error::NoRecords { kind: "webdataset", .. }), "{error}");
        let first = format!("{} holds nothing to ingest as webdataset", place.input(&archives[0].replace('*', "a")));
        assert!(error.to_string().contains(&first), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("a key and a suffix")), "{error}");
        assert!(!place.path("out").join("dataset.json").exists());
    }
    // A sample that is lost is something: the split says why.
    place.write("c.tar", &archive_of(&[("a.txt", b"no image")]));
    let report = ingest(&place, &["a.tar", "c.tar"], |_| {}).unwrap();
    assert_eq!((report.samples, report.rejected()), (0, 1));
}

#[test]
fn a_run_of_members_of_one_key_is_a_sample() -> Result<()> {
    let place = Place::new();
    let (first, second, third) = (jpeg(1), photo(2, ImageFormat::Png), jpeg(3));
    let archive = archive_of(&[
        ("README", b"no dot, no sample"),
        ("./a/1.JPG", &first),
        ("./a/1.txt", b" A dog.\n"),
        ("./a/1.seg.png", b"a mask"),
        ("b.d/2.caption", b"second choice"),
        ("b.d/2.txt", b"first choice"),
        ("b.d/2.png", &second),
        ("b.d/2.jpg", b"the image is the first"),
        ("a/1.txt", b"Later."),
        ("a/1.jpg", &third),
        ("__meta__/x.jpg", b""),
        ("._a.jpg", b""),
        ("a/.hidden.jpg", b""),
    ]);
    place.write("x.tar", &archive);
    let report = ingest(&place, &["x.tar"], |_| {})?;
    assert_eq!((report.samples, report.images, report.texts, report.rejected()), (3, 3, 3, 0));
    assert_eq!(
        place.samples(),
        [
            "x/a/1 | caption | A dog. | null | null",
            "x/b.d/2 | caption | first choice | null | null",
            "x/a/1~2 | caption | Later. | null | null",
        ]
    );
    let sources = strings(&place.table(0, images::NAME), images::SOURCE);
    assert_eq!(sources, ["x/a/1.JPG", "x/b.d/2.png", "x/a/1.jpg"]);
    Ok(())
}

#[test]
fn keys_end_at_the_first_dot_of_the_base_name() {
    for (name, expected) in [
        ("a.jpg", Some(("a", "jpg"))),
        ("a.seg.PNG", Some(("a", "seg.png"))),
        ("x.y/b.jpg", Some(("x.y/b", "jpg"))),
        ("a.", Some(("a", ""))),
        ("a", None),
        ("x.y/a", None),
        (".jpg", None),
        ("x/.a.jpg", None),
        ("__index__/a.jpg", None),
        ("____.jpg", Some(("____", "jpg"))),
    ] {
        let found = samples::split_name(name);
        assert_eq!(found.as_ref().map(|(key, suffix)| (key.as_str(), suffix.as_str())), expected, "{name}");
    }
}

#[test]
fn suffixes_are_what_they_are_said_to_be() -> Result<()> {
    let place = Place::new();
    let (photo, mask) = (jpeg(1), jpeg(2));
    let meta = json!({ "en": "A dog.", "all": ["One.", "Two."], "class": 3 }).to_string();
    let members: &[(&str, &[u8])] =
        &[("1.jpg", &photo), ("1.seg.jpg", &mask), ("1.meta", meta.as_bytes()), ("1.alt", b"Alt.\nOther.")];
    place.write("x.tar", &archive_of(members));
    let read = |change: &dyn Fn(&mut WebDatasetFiles)| -> Result<Vec<String>> {
        std::fs::remove_dir_all(place.path("out")).unwrap_or_default();
        ingest(&place, &["x.tar"], change)?;
        Ok(place.samples())
    };
    let texts = read(&|files| files.text_suffixes = vec![".ALT".to_owned()])?;
    assert_eq!(texts, ["x/1 | caption | Alt.\nOther. | null | null"]);
    let lines = read(&|files| {
        files.text_suffixes = vec!["alt".to_owned()];
        files.text_lines = true;
    })?;
    assert_eq!(lines, ["x/1#0 | caption | Alt. | null | null", "x/1#1 | caption | Other. | null | null"]);
    let json = read(&|files| {
        files.json_suffix = "meta".to_owned();
        files.json_texts = ["en", "none", "all"].map(str::to_owned).to_vec();
        files.json_label = Some("class".to_owned());
        files.text_suffixes = vec!["alt".to_owned()];
    })?;
    let expected = [(0, "A dog."), (1, "One."), (2, "Two.")];
    assert_eq!(json, expected.map(|(at, text)| format!("x/1#{at} | classification | {text} | 3 | 3")));
    let bare = read(&|files| files.texts = TextRule::Ignored)?;
    assert_eq!(bare, ["x/1 | caption |  | null | null"]);
    let masks = read(&|files| {
        files.texts = TextRule::Optional;
        files.image_suffixes = vec!["seg.jpg".to_owned()];
    })?;
    assert_eq!(masks, ["x/1 | caption |  | null | null"]);
    assert_eq!(strings(&place.table(0, images::NAME), images::SOURCE), ["x/1.seg.jpg"]);
    Ok(())
}

#[test]
fn labels_are_numbers_or_names_of_classes() -> Result<()> {
    let place = Place::new();
    let photos: Vec<Vec<u8>> = (0..5).map(jpeg).collect();
    place.write(
        "x.tar",
        &archive_of(&[
            ("1.cls", b"1\n"),
            ("1.jpg", &photos[0]),
            ("2.jpg", &photos[1]),
            ("2.cls", b"cat"),
            ("3.jpg", &photos[2]),
            ("3.cls", b"-1"),
            ("4.jpg", &photos[3]),
            ("4.cls", b"2"),
            ("4.txt", b"A bird."),
        ]),
    );
    ingest(&place, &["x.tar"], |_| {})?;
    assert_eq!(place.samples(), ["x/1 | classification |  | 1 | 1", "x/4 | classification | A bird. | 2 | 2"]);
    let rejects = ["sample x/2 | annotation | unknown_label", "sample x/3 | annotation | unknown_label"];
    assert_eq!(place.rejected(), rejects);
    assert_eq!(place.messages()[0], "2.cls is \"cat\", expected a whole number");

    std::fs::remove_dir_all(place.path("out")).unwrap();
    place.write("classes.json", br#"["cat", "dog"]"#);
    ingest(&place, &["x.tar"], |files| files.classes = Some(place.path("in/classes.json")))?;
    assert_eq!(place.samples(), ["x/1 | classification |  | 1 | dog", "x/2 | classification |  | 0 | cat"]);
    assert_eq!(place.messages()[1], "4.cls is \"2\", expected a class from 0 to 1 or its name");
    Ok(())
}

#[test]
fn the_packing_changes_no_byte() -> Result<()> {
    let mut tables = Vec::new();
    for (name, pack) in [
        ("x.tar", (|bytes| bytes.to_vec()) as fn(&[u8]) -> Vec<u8>),
        ("x.tar.gz", gzip),
        ("x.tgz", gzip),
        ("x.tar.zst", zstd),
        // Endings say nothing.
        ("x.tar", zstd),
    ] {
        let place = Place::new();
        place.write(name, &pack(&pairs(0, 10)));
        let report = ingest(&place, &[name], |_| {})?;
        assert_eq!((report.samples, report.images, report.texts, report.rejected()), (10, 10, 4, 0), "{name}");
        tables.push(place.tables());
    }
    for other in &tables[1..] {
        assert_eq!(other, &tables[0]);
    }
    Ok(())
}

#[test]
fn an_interrupted_run_continues_to_the_same_bytes() -> Result<()> {
    let rejects = [("image_missing".to_owned(), 1), ("archive_broken".to_owned(), 1)].into();
    let expected = IngestReport { samples: 10, images: 10, texts: 7, shards: 4, rejects, ..IngestReport::default() };
    for pack in [(|bytes| bytes.to_vec()) as fn(&[u8]) -> Vec<u8>, gzip, zstd] {
        let place = Place::new();
        place.write("9.tar", &pack(&[&pairs(0, 4)[..], b"end"].concat()));
        let cut = [&pairs(4, 6)[..], &[]].concat();
        let cut = &cut[..cut.len() - 1024];
        place.write("10.tar", &pack(&[cut, &crate::formats::tar::tests::file("z.txt", b"alone")].concat()));
        let source = WebDataset::open(&source(&place, &["*.tar"]))?;
        assert_resumes(&source, &IngestReport { texts: 10, ..expected.clone() });
    }
    Ok(())
}

#[test]
fn archives_are_named_by_what_tells_them_apart() -> Result<()> {
    let place = Place::new();
    for (name, from) in [("a/0.tar", 0), ("b/0.tar", 1)] {
        place.write(name, &pairs(from, 1));
    }
    place.write("b/0.tar.gz", &gzip(&pairs(2, 1)));
    let ids = |archives: &[&str]| -> Result<Vec<String>> {
        std::fs::remove_dir_all(place.path("out")).unwrap_or_default();
        ingest(&place, archives, |_| {})?;
        Ok(place.samples().iter().map(|row| row.split(' ').next().unwrap().to_owned()).collect())
    };
    assert_eq!(ids(&["b/0.tar"])?, ["0/1"]);
    assert_eq!(ids(&["{b,a}/0.tar"])?, ["b/0/1", "a/0/0"]);
    assert_eq!(ids(&["b/0.*"])?, ["0.tar/1", "0.tar.gz/2"]);
    let error = ids(&["a/0.tar", "a/../a/0.tar"]).unwrap_err();
    assert!(error.to_string().contains("it is given twice"), "{error}");
    Ok(())
}

#[test]
fn what_is_no_tar_at_all_is_an_error() -> Result<()> {
    let place = Place::new();
    place.write("a.tar", b"<html>not found</html>");
    place.write("b.tar", b"");
    let error = ingest(&place, &["{a,b}.tar"], |_| {}).unwrap_err();
    assert!(matches!(error, Error::NotATar { .. }) && error.hint().is_some(), "{error}");
    assert!(error.to_string().contains("a.tar is no tar archive"), "{error}");
    let error = ingest(&place, &["{a,b,c}.tar"], |_| {}).unwrap_err();
    assert!(error.to_string().contains("c.tar\": there is no such file") && error.hint().is_some(), "{error}");
    // Beside one that is, they are lost alone.
    place.write("c.tar", &pairs(0, 2));
    let report = ingest(&place, &["{a,b,c}.tar"], |_| {})?;
    assert_eq!((report.samples, report.rejects["archive_broken"]), (2, 2));
    Ok(())
}

#[test]
fn another_content_or_option_is_another_split() -> Result<()> {
    let place = Place::new();
    place.write("x.tar", &pairs(0, 2));
    ingest(&place, &["x.tar"], |_| {})?;
    assert!(ingest(&place, &["x.tar"], |_| {})?.skipped_already);
    let refused = |change: &dyn Fn(&mut WebDatasetFiles)| {
        let error = ingest(&place, &["x.tar"], change).unwrap_err();
        assert!(matches!(error, Error::Cache(retort_cache::Error::SplitExists { .. })), "{error}");
    };
    refused(&|files| files.text_lines = true);
    refused(&|files| files.texts = TextRule::Optional);
    place.write("x.tar", &pairs(1, 2));
    refused(&|_| {});
    Ok(())
}
