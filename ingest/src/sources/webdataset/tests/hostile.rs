//! Archives that are broken or made to do harm: each loses what it must, says why, and leaves nothing behind.

use tar::EntryType;

use super::*;
use crate::formats::tar::tests::{file, member, old_sparse};

/// Ingests one archive, plain and packed, beside a good one; the rejects must be the same.
fn rejected(archive: &[u8]) -> (Vec<String>, Vec<String>, IngestReport) {
    let mut found = Vec::new();
    for pack in [(|bytes| bytes.to_vec()) as fn(&[u8]) -> Vec<u8>, gzip, zstd] {
        let place = Place::new();
        place.write("bad.tar", &pack(archive));
        place.write("good.tar", &pairs(7, 1));
        let report = ingest(&place, &["bad.tar", "good.tar"], |_| {}).unwrap();
        assert_eq!(place.samples().last().unwrap(), "good/7 | caption | Photo 3 | null | null");
        place.assert_nothing_else(&["bad.tar", "good.tar"]);
        found.push((place.rejected(), place.messages(), report));
    }
    assert_eq!(found[0].0, found[1].0);
    assert_eq!(found[0].0, found[2].0);
    found.swap_remove(0)
}

fn pair(key: &str, seed: u8) -> Vec<u8> {
    [file(&format!("{key}.jpg"), &jpeg(seed)), file(&format!("{key}.txt"), b"A text.")].concat()
}

const END: [u8; 1024] = [0; 1024];

#[test]
fn names_that_lead_out_of_the_archive() {
    let archive = [pair("../evil", 1), pair("/tmp/evil", 2), pair("a/../../evil", 3), pair("fine", 4), END.to_vec()];
    let (rejects, messages, report) = rejected(&archive.concat());
    let names = ["../evil", "/tmp/evil", "a/../../evil"];
    let expected = names.map(|name| [".jpg", ".txt"].map(|end| format!("bad/{name}{end} | annotation | bad_name")));
    assert_eq!(rejects, expected.concat());
    assert_eq!(messages[0], "its name leads out of the archive");
    assert_eq!(report.samples, 2);
}

#[test]
fn names_that_are_no_text() {
    let mut latin = file("caf_.jpg", &jpeg(1));
    latin[3] = 0xe9;
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&latin[..512]);
    header.set_cksum();
    latin[..512].copy_from_slice(header.as_bytes());
    let (rejects, messages, _) = rejected(&[latin, pair("a\nb", 2), END.to_vec()].concat());
    assert_eq!(
        rejects,
        [
            "bad/caf\u{fffd}.jpg | annotation | bad_name",
            "bad/a\\nb.jpg | annotation | bad_name",
            "bad/a\\nb.txt | annotation | bad_name",
        ]
    );
    assert_eq!(messages[..2], ["its name is no UTF-8", "its name has control characters"]);
}

#[test]
fn members_that_are_no_files() {
    let link = |kind, name: &str| {
        let mut bytes = member(kind, name, 0, b"");
        bytes[157..168].copy_from_slice(b"/etc/passwd");
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes().copy_from_slice(&bytes);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let archive = [
        link(EntryType::Symlink, "a.jpg"),
        file("a.txt", b"A text."),
        link(EntryType::Link, "b.jpg"),
        member(EntryType::Block, "c.jpg", 0, b""),
        member(EntryType::Directory, "d.jpg/", 0, b""),
        old_sparse("e.jpg"),
        END.to_vec(),
    ];
    let (rejects, messages, report) = rejected(&archive.concat());
    assert_eq!(
        rejects,
        [
            "bad/a.jpg | annotation | member_not_a_file",
            "sample bad/a | annotation | image_missing",
            "bad/b.jpg | annotation | member_not_a_file",
            "sample bad/b | annotation | image_missing",
            "bad/c.jpg | annotation | member_not_a_file",
            "sample bad/c | annotation | image_missing",
            "bad/e.jpg | annotation | member_sparse",
            "sample bad/e | annotation | image_missing",
        ]
    );
    assert_eq!(messages[0], "it is a symbolic link, expected a file");
    assert!(messages[1].contains("expected an image with the suffix jpg, jpeg") && messages[1].contains("found [txt]"));
    assert_eq!(report.samples, 1);
}

#[test]
fn samples_that_lack_or_repeat_a_part() {
    let archive = [
        pair("a", 1),
        file("a.JPG", &jpeg(2)),
        file("b.jpg", &jpeg(3)),
        file("c.txt", b"No image."),
        file("d.jpg", &jpeg(4)),
        file("d.txt", b" \n"),
        file("e.jpg", &jpeg(5)),
        file("e.txt", b"\xff\xfe"),
        file("f.jpg", b""),
        file("f.txt", b"Of no bytes."),
        file("g.jpg", &jpeg(6)),
        file("g.txt", &vec![b'a'; 2 << 20]),
        END.to_vec(),
    ];
    let (rejects, messages, report) = rejected(&archive.concat());
    assert_eq!(
        rejects,
        [
            "bad/a.JPG | annotation | duplicate_member",
            "sample bad/b | annotation | text_missing",
            "sample bad/c | annotation | image_missing",
            "sample bad/d | annotation | text_missing",
            "sample bad/e | annotation | text_invalid",
            "sample bad/g | annotation | text_invalid",
            "bad/f.jpg | decode | image_corrupt",
            "sample bad/f | decode | image_rejected",
        ]
    );
    assert!(messages[1].contains("expected a member with the suffix txt or caption"), "{}", messages[1]);
    assert_eq!(report.samples, 2);
}

#[test]
fn json_that_is_none() -> Result<()> {
    let place = Place::new();
    let photos: Vec<Vec<u8>> = (0..4).map(jpeg).collect();
    let archive = archive_of(&[
        ("a.jpg", &photos[0]),
        ("a.json", b"{"),
        ("b.jpg", &photos[1]),
        ("b.json", b"{\"caption\": 5}"),
        ("c.jpg", &photos[2]),
        ("c.json", b"{\"text\": \"other field\"}"),
        ("d.jpg", &photos[3]),
        ("d.json", b"{\"caption\": \"Good.\"}"),
    ]);
    place.write("x.tar", &archive);
    ingest(&place, &["x.tar"], |files| files.json_texts = vec!["caption".to_owned()])?;
    assert_eq!(place.samples(), ["x/d | caption | Good. | null | null"]);
    let codes = [("a", "bad_record"), ("b", "bad_record"), ("c", "text_missing")];
    assert_eq!(place.rejected(), codes.map(|(key, code)| format!("sample x/{key} | annotation | {code}")));
    assert!(place.messages()[2].contains("a .json member with the field caption"), "{}", place.messages()[2]);
    Ok(())
}

#[test]
fn an_archive_that_breaks_in_the_middle_keeps_what_is_before() {
    let mut flipped = [pair("a", 1), pair("b", 2), END.to_vec()].concat();
    let second = pair("a", 1).len();
    flipped[second] ^= 1;
    let huge = [pair("a", 1), member(EntryType::Regular, "b.jpg", 1 << 28, b"")].concat();
    let no_end = pair("a", 1);
    for (archive, message) in [
        (flipped, "expected a header with the checksum"),
        (huge, "bytes"),
        (no_end, "expected a header or the end mark of the archive, but it ends"),
    ] {
        let (rejects, messages, report) = rejected(&archive);
        assert_eq!(report.samples, 2, "{message}");
        assert_eq!(rejects, ["bad | read | archive_broken"]);
        let last = messages.last().unwrap();
        assert!(last.contains(message) && last.starts_with("at offset "), "{last}");
    }
}

#[test]
fn an_image_too_large_to_be_one_is_passed_over() {
    // The file has a hole: it takes no space, and no memory either.
    let place = Place::new();
    place.write("x.tar", &member(EntryType::Regular, "a.jpg", LARGEST + 1, b""));
    let path = place.path("in/x.tar");
    let rest = [file("a.txt", b"Too large."), pair("b", 1), END.to_vec()].concat();
    let archive = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let start = 512 + (LARGEST + 1).next_multiple_of(512);
    std::os::unix::fs::FileExt::write_all_at(&archive, &rest, start).unwrap();
    let report = ingest(&place, &["x.tar"], |_| {}).unwrap();
    assert_eq!(report.samples, 1);
    assert_eq!(place.rejected()[0], "x/a.jpg | read | image_unreadable");
    assert!(place.messages()[0].contains("536870913 bytes, expected 536870912 at most"));
}

const LARGEST: u64 = crate::images::LARGEST_FILE;

#[test]
fn a_bomb_loses_what_follows_in_it() {
    use std::io::Write;
    let place = Place::new();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&pair("a", 1)).unwrap();
    encoder.write_all(&member(EntryType::Regular, "b.jpg", 1 << 40, b"")).unwrap();
    let zeros = vec![0; 1 << 20];
    (0..400).for_each(|_| encoder.write_all(&zeros).unwrap());
    place.write("bad.tar", &encoder.finish().unwrap());
    place.write("good.tar", &pairs(7, 1));
    ingest(&place, &["bad.tar", "good.tar"], |_| {}).unwrap();
    assert_eq!(place.samples().len(), 2);
    let rejects = place.rejected();
    assert_eq!(rejects, ["sample bad/b | annotation | text_missing", "bad | read | archive_bomb"]);
    place.assert_nothing_else(&["bad.tar", "good.tar"]);
}
