//! Archives built member by member, also such as no tool writes.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

use super::*;

/// An archive of these files, with its end mark.
pub(crate) fn archive_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive: Vec<u8> = files.iter().flat_map(|(name, content)| file(name, content)).collect();
    archive.extend([0; 1024]);
    archive
}

/// A file with its header.
pub(crate) fn file(name: &str, content: &[u8]) -> Vec<u8> {
    member(EntryType::Regular, name, content.len() as u64, content)
}

/// Any member: header, content, padding. Nothing keeps the size to the content.
pub(crate) fn member(kind: EntryType, name: &str, size: u64, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(bytes, 3).unwrap()
}

fn pax(records: &str) -> Vec<u8> {
    member(EntryType::XHeader, "pax", records.len() as u64, records.as_bytes())
}

/// Name, kind and content.
type Found = (String, Kind, Vec<u8>);

/// Names and contents, or the fault after them, of the same archive in each packing: they must not differ.
fn read(bytes: &[u8]) -> (Vec<Found>, Option<Fault>) {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str, bytes: &[u8], packing| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let archive = Archive::open(&path).unwrap();
        assert_eq!(archive.packing, packing);
        let mut members = archive.members().unwrap();
        let mut found = Vec::new();
        loop {
            match members.next() {
                Ok(Some(member)) => match members.content() {
                    Ok(content) => {
                        if packing == Packing::Plain {
                            let stored = OpenArchive::default().read(&path, member.start, member.bytes).unwrap();
                            assert_eq!(stored, content);
                        }
                        found.push((String::from_utf8_lossy(&member.name).into_owned(), member.kind, content));
                    }
                    Err(fault) => return (found, Some(fault)),
                },
                Ok(None) => return (found, None),
                Err(fault) => {
                    assert_eq!(members.next(), Ok(None), "a fault is the end");
                    return (found, Some(fault));
                }
            }
        }
    };
    let plain = read("a", bytes, Packing::Plain);
    for (packing, packed) in [(Packing::Gzip, gzip(bytes)), (Packing::Zstd, zstd(bytes))] {
        let (found, fault) = read("b", &packed, packing);
        assert_eq!(found, plain.0);
        assert_eq!(fault.is_some(), plain.1.is_some());
    }
    plain
}

fn names(bytes: &[u8]) -> Vec<String> {
    let (found, fault) = read(bytes);
    assert_eq!(fault, None);
    found.into_iter().map(|(name, ..)| name).collect()
}

#[test]
fn long_names_are_read_in_every_dialect() {
    let long = format!("{}/{}.jpg", "folder".repeat(20), "name".repeat(30));
    let mut builder = Builder::new(Vec::new());
    builder.append_data(&mut header_of(3), &long, &b"gnu"[..]).unwrap();
    builder.append_pax_extensions([("path", long.as_bytes()), ("comment", b"a\nb")]).unwrap();
    builder.append_data(&mut header_of(3), "short", &b"pax"[..]).unwrap();
    let mut ustar = Header::new_ustar();
    ustar.set_path(format!("{}/{}", "p".repeat(120), "n".repeat(90))).unwrap();
    ustar.set_size(5);
    ustar.set_cksum();
    builder.append(&ustar, &b"ustar"[..]).unwrap();
    let (found, fault) = read(&builder.into_inner().unwrap());
    assert_eq!(fault, None);
    let contents: Vec<&[u8]> = found.iter().map(|(.., content)| content.as_slice()).collect();
    assert_eq!(contents, [&b"gnu"[..], b"pax", b"ustar"]);
    assert_eq!((found[0].0.as_str(), found[1].0.as_str()), (long.as_str(), long.as_str()));
    assert_eq!(found[2].0.len(), 211);
}

fn header_of(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

#[test]
fn a_size_of_pax_records_overrules_the_header() {
    let mut bytes = pax("9 size=5\n");
    bytes.extend(member(EntryType::Regular, "a", 0, b"12345"));
    bytes.extend(archive_of(&[("b", b"b")]));
    let (found, fault) = read(&bytes);
    assert_eq!(fault, None);
    assert_eq!(found[0], ("a".to_owned(), Kind::File, b"12345".to_vec()));
    assert_eq!(found[1].0, "b");
}

#[test]
fn every_kind_of_member_is_told() {
    let mut bytes = member(EntryType::Directory, "folder/", 0, b"");
    bytes.extend(member(EntryType::Regular, "old folder/", 0, b""));
    bytes.extend(member(EntryType::Symlink, "soft", 0, b""));
    // The size is that of the target; there is no content.
    bytes.extend(member(EntryType::Link, "hard", 700, b""));
    bytes.extend(member(EntryType::Char, "device", 0, b""));
    bytes.extend(member(EntryType::Fifo, "pipe", 0, b""));
    bytes.extend(member(EntryType::XGlobalHeader, "global", 13, b"13 comment=a\n"));
    bytes.extend(member(EntryType::new(b'V'), "label", 0, b""));
    bytes.extend(pax("22 GNU.sparse.major=1\n"));
    bytes.extend(file("pax sparse", b"map and data"));
    bytes.extend(old_sparse("old sparse"));
    bytes.extend(archive_of(&[("file", b"x")]));
    let (found, fault) = read(&bytes);
    assert_eq!(fault, None);
    let found: Vec<_> = found.iter().map(|(name, kind, _)| (name.as_str(), *kind)).collect();
    assert_eq!(
        found,
        [
            ("folder/", Kind::Folder),
            ("old folder/", Kind::Folder),
            ("soft", Kind::Other("a symbolic link")),
            ("hard", Kind::Other("a hard link")),
            ("device", Kind::Other("a device")),
            ("pipe", Kind::Other("a pipe")),
            ("label", Kind::Other("of a type that is not known")),
            ("pax sparse", Kind::Sparse),
            ("old sparse", Kind::Sparse),
            ("file", Kind::File),
        ]
    );
}

/// An old GNU sparse member with two maps behind its header.
pub(crate) fn old_sparse(name: &str) -> Vec<u8> {
    let mut bytes = member(EntryType::GNUSparse, name, 512, b"");
    bytes[482] = 1;
    let mut header = Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&bytes);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    let mut map = [b'0'; 512];
    bytes.extend(map);
    map[504] = 0;
    bytes.extend(map);
    bytes.extend([7; 512]);
    bytes
}

#[test]
fn a_break_is_located_and_what_is_before_it_kept() {
    let whole = archive_of(&[("a", &[1; 600]), ("b", &[2; 600])]);
    let mut flipped = whole.clone();
    flipped[1536] ^= 1;
    let mut endless = file("a", &[1; 600]);
    endless.extend(member(EntryType::Regular, "b", 1 << 40, &[2; 600]));
    let mut long_name = file("a", &[1; 600]);
    long_name.extend(member(EntryType::GNULongName, "././@LongLink", 1 << 21, &vec![b'x'; 1 << 21]));
    let mut bad_record = file("a", &[1; 600]);
    bad_record.extend(pax("999 path=a\n"));
    let mut no_size = file("a", &[1; 600]);
    let mut header = Header::new_gnu();
    header.as_mut_bytes()[124..136].copy_from_slice(b"not a number");
    header.set_cksum();
    no_size.extend(header.as_bytes());
    for (bytes, kept, offset, message) in [
        (&whole[..1536], 1, 1536, "expected a header or the end mark of the archive, but it ends"),
        (&whole[..1600], 1, 1536, "but it ends after 64 bytes of one"),
        (&whole[..2100], 1, 1536, "the member here has 600 bytes, but the archive ends before"),
        (&flipped, 1, 1536, "expected a header with the checksum"),
        (&endless, 1, 1536, "the member here has 1099511627776 bytes"),
        (&long_name, 1, 1536, "a header extends over 2097152 bytes, expected 1048576 at most"),
        (&bad_record, 1, 1536, "expected a PAX record, found \"999 path=a"),
        (&no_size, 1, 1536, "expected the size of a member"),
        (b"<html>not found</html>", 0, 0, "it ends after 22 bytes of one"),
        (&[b'<'; 600], 0, 0, "no tar, or damaged"),
        (b"", 0, 0, "but it ends"),
    ] {
        let (found, fault) = read(bytes);
        let fault = fault.unwrap();
        assert_eq!((found.len(), fault.offset, fault.code), (kept, offset, Code::ArchiveBroken), "{message}");
        assert!(fault.message.contains(message), "{message}: {}", fault.message);
    }
    // The last block may be cut where nothing is lost: at the end mark, which need be one block only.
    assert_eq!(names(&whole[..whole.len() - 512]), ["a", "b"]);
}

/// Members, and the code of the fault after them.
fn walk(packed: &[u8]) -> (usize, Option<Code>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    std::fs::write(&path, packed).unwrap();
    let mut members = Archive::open(&path).unwrap().members().unwrap();
    let mut found = 0;
    loop {
        match members.next() {
            Ok(Some(_)) => found += 1,
            Ok(None) => return (found, None),
            Err(fault) => return (found, Some(fault.code)),
        }
    }
}

#[test]
fn damage_to_the_packing_is_noticed() {
    let noise: Vec<u8> =
        (0..300_000_u32).flat_map(|i| blake3::hash(&i.to_le_bytes()).as_bytes()[..4].to_vec()).collect();
    let whole = archive_of(&[("a", &noise[..100_000]), ("b", &noise)]);
    for packed in [gzip(&whole), zstd(&whole)] {
        assert_eq!(walk(&packed), (2, None));
        let (found, code) = walk(&packed[..packed.len() / 2]);
        assert!(found >= 1 && code == Some(Code::ArchiveBroken), "{found} {code:?}");
    }
    // All members can be read, and yet they are not what was packed.
    let mut packed = gzip(&whole);
    let checksum = packed.len() - 8;
    packed[checksum] ^= 1;
    assert_eq!(walk(&packed), (2, Some(Code::ArchiveBroken)));
}

#[test]
fn a_bomb_is_left_before_it_has_gone_off() {
    // 4 GB of zeros in one member that is skipped, 1,000 times smaller.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&file("a.jpg", b"a")).unwrap();
    encoder.write_all(&member(EntryType::Regular, "b.jpg", 4 << 30, b"")).unwrap();
    let piece = vec![0; 1 << 20];
    for _ in 0..600 {
        encoder.write_all(&piece).unwrap();
    }
    assert_eq!(walk(&encoder.finish().unwrap()), (2, Some(Code::ArchiveBomb)));
}
