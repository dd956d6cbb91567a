//! What is made of folders of images, with texts beside them and without.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use image::ImageFormat;
use retort_schemas::tables::images;

use super::*;
use crate::IngestReport;
use crate::sources::testing::{Place, assert_resumes, jpeg, photo, strings};

fn open(place: &Place, change: impl FnOnce(&mut FolderFiles)) -> Result<Folder> {
    let mut files = FolderFiles::new(place.path("in"));
    change(&mut files);
    Folder::open(&files)
}

fn ingest(place: &Place, change: impl FnOnce(&mut FolderFiles)) -> Result<IngestReport> {
    place.ingest(&open(place, change)?)
}

#[test]
fn images_are_found_in_order_with_the_texts_beside_them() -> Result<()> {
    let place = Place::new();
    place.write("b/2.v1.PNG", &photo(1, ImageFormat::Png));
    place.write("b/2.v1.txt", b"First line.\nSecond line.\n");
    place.write("b/2.v1.caption", b"Not read.");
    place.write("b/10.jpg", &jpeg(2));
    place.write("b/10.caption", b"Ten.");
    place.write("a.webp", &photo(3, ImageFormat::WebP));
    place.write("a.json", br#"{"text": ["One.", "Two."], "caption": null, "other": 1}"#);
    place.write("c.jpg", &jpeg(4));
    place.write("c.txt", b"See.");
    for junk in ["README.txt", ".hidden.jpg", ".cache/a.jpg", "b/notes.md"] {
        place.write(junk, b"");
    }
    let report = ingest(&place, |_| {})?;
    assert_eq!((report.samples, report.images, report.rejected()), (5, 4, 0));
    assert_eq!(
        place.samples(),
        [
            "a.webp#0 | caption | One. | null | null",
            "a.webp#1 | caption | Two. | null | null",
            "b/10.jpg | caption | Ten. | null | null",
            "b/2.v1.PNG | caption | First line.\nSecond line. | null | null",
            "c.jpg | caption | See. | null | null",
        ]
    );
    let sources = strings(&place.table(0, images::NAME), images::SOURCE);
    assert_eq!(sources, ["a.webp", "b/10.jpg", "b/2.v1.PNG", "c.jpg"]);

    std::fs::remove_dir_all(place.path("out")).unwrap();
    ingest(&place, |files| files.text_lines = true)?;
    assert_eq!(place.samples()[4], "b/2.v1.PNG#1 | caption | Second line. | null | null");
    Ok(())
}

#[test]
fn images_without_texts_are_rejected_unless_they_may_be() -> Result<()> {
    let place = Place::new();
    place.write("a.jpg", &jpeg(1));
    place.write("b.jpg", &jpeg(2));
    place.write("b.txt", b"Bee.");
    let read = |texts: TextRule| -> Result<Vec<String>> {
        std::fs::remove_dir_all(place.path("out")).unwrap_or_default();
        ingest(&place, |files| files.texts = texts)?;
        Ok(place.samples())
    };
    assert_eq!(read(TextRule::Required)?, ["b.jpg | caption | Bee. | null | null"]);
    assert_eq!(place.rejected(), ["a.jpg | annotation | text_missing"]);
    let optional = ["a.jpg | caption |  | null | null", "b.jpg | caption | Bee. | null | null"];
    assert_eq!(read(TextRule::Optional)?, optional);
    let ignored = ["a.jpg | caption |  | null | null", "b.jpg | caption |  | null | null"];
    assert_eq!(read(TextRule::Ignored)?, ignored);
    Ok(())
}

#[test]
fn what_cannot_be_used_is_a_row_that_says_why() -> Result<()> {
    let place = Place::new();
    place.write("a.jpg", b"<html>");
    place.write("b\nb.jpg", &jpeg(1));
    let latin = std::ffi::OsStr::from_bytes(b"caf\xe9.jpg");
    std::fs::write(place.path("in").join(latin), jpeg(1)).unwrap();
    place.write("d.jpg", &jpeg(1));
    place.write("d.txt", b"\xff");
    place.write("e.jpg", &jpeg(1));
    place.write("e.json", b"[]");
    place.write("f.jpg", &jpeg(1));
    place.write("f.json", br#"{"caption": 5}"#);
    symlink("nowhere", place.path("in/g.jpg")).unwrap();
    symlink("/dev/zero", place.path("in/h.jpg")).unwrap();
    std::fs::create_dir(place.path("in/i.jpg")).unwrap();
    for name in ["a", "g", "h"] {
        place.write(&format!("{name}.txt"), b"A text.");
    }
    ingest(&place, |_| {})?;
    assert_eq!(
        place.rejected(),
        [
            "b\\nb.jpg | read | bad_name",
            "caf\u{fffd}.jpg | read | bad_name",
            "d.jpg | annotation | text_invalid",
            "e.jpg | annotation | bad_record",
            "f.jpg | annotation | bad_record",
            "a.jpg | decode | image_corrupt",
            "g.jpg | read | image_missing",
            "h.jpg | read | image_unreadable",
            "sample a.jpg | decode | image_rejected",
            "sample g.jpg | read | image_rejected",
            "sample h.jpg | read | image_rejected",
        ]
    );
    let messages = place.messages();
    for (at, found) in [(0, "control"), (1, "no UTF-8"), (2, "d.txt is no UTF-8"), (3, "e.json is []"), (7, "no file")]
    {
        assert!(messages[at].contains(found), "{}", messages[at]);
    }
    Ok(())
}

#[test]
fn links_to_folders_are_followed_where_that_is_asked_for_and_never_in_circles() -> Result<()> {
    let place = Place::new();
    place.write("a/1.jpg", &jpeg(1));
    place.write("../beside/2.jpg", &jpeg(2));
    symlink("..", place.path("in/a/up")).unwrap();
    symlink(place.path("beside"), place.path("in/b")).unwrap();
    symlink("1.jpg", place.path("in/a/3.jpg")).unwrap();
    let read = |follow_links: bool| -> Result<Vec<String>> {
        std::fs::remove_dir_all(place.path("out")).unwrap_or_default();
        ingest(&place, |files| {
            files.texts = TextRule::Ignored;
            files.follow_links = follow_links;
        })?;
        Ok(place.samples().iter().map(|row| row.split(' ').next().unwrap().to_owned()).collect())
    };
    assert_eq!(read(false)?, ["a/1.jpg", "a/3.jpg"]);
    assert_eq!(place.rejected(), [""; 0]);
    assert_eq!(read(true)?, ["a/1.jpg", "a/3.jpg", "b/2.jpg"]);
    assert_eq!(place.rejected(), ["a/up | read | link_loop"]);
    assert_eq!(place.messages(), ["it is a link that leads back to the folder itself"]);
    Ok(())
}

#[test]
fn an_interrupted_run_continues_to_the_same_bytes() -> Result<()> {
    let place = Place::new();
    for at in 0..11 {
        place.write(&format!("{}/{at}.jpg", at % 3), &jpeg(at));
        place.write(&format!("{}/{at}.txt", at % 3), if at == 4 { b"" } else { b"A photo." });
    }
    let rejects = [("text_missing".to_owned(), 1)].into();
    let expected = IngestReport { samples: 10, images: 10, texts: 4, shards: 4, rejects, ..IngestReport::default() };
    assert_resumes(&open(&place, |_| {})?, &expected);
    Ok(())
}

#[test]
fn another_image_or_option_is_another_split() -> Result<()> {
    let place = Place::new();
    place.write("a.jpg", &jpeg(1));
    let optional = |files: &mut FolderFiles| files.texts = TextRule::Optional;
    ingest(&place, optional)?;
    assert!(ingest(&place, optional)?.skipped_already);
    let error = ingest(&place, |_| {}).unwrap_err();
    assert!(matches!(error, Error::Cache(retort_cache::Error::SplitExists { .. })), "{error}");
    for (name, bytes) in [("b.jpg", jpeg(2)), ("a.txt", b"A text.".to_vec())] {
        place.write(name, &bytes);
        let error = ingest(&place, optional).unwrap_err();
        assert!(matches!(error, Error::Cache(retort_cache::Error::SplitExists { .. })), "{error}");
        std::fs::remove_file(place.path("in").join(name)).unwrap();
    }
    Ok(())
}

#[test]
fn what_is_no_folder_is_an_error() {
    let place = Place::new();
    place.write("a.jpg", &jpeg(1));
    let error = ingest(&place, |files| files.folder.push("a.jpg")).unwrap_err();
    assert!(matches!(error, Error::NoImageFolder { .. }), "{error}");
}
