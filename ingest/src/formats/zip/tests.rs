//! Archives in all their states.

use std::io::{Cursor, Write};

use ::zip::ZipWriter;
use ::zip::write::SimpleFileOptions;
use tempfile::TempDir;

use super::*;

/// An archive of a stored and a deflated member in a folder, and one beside it.
fn small() -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    // For a large file, a member's own header has an extra field, and the directory has none.
    let options = |method| SimpleFileOptions::default().compression_method(method).large_file(true);
    writer.add_directory("vcr1images/", SimpleFileOptions::default()).unwrap();
    for (name, method, content) in [
        ("vcr1images/a@0.jpg", CompressionMethod::Stored, b"stored content".to_vec()),
        ("vcr1images/a@0.json", CompressionMethod::DEFLATE, vec![b'x'; 100_000]),
        ("beside.jpg", CompressionMethod::DEFLATE, b"beside".to_vec()),
    ] {
        writer.start_file(name, options(method)).unwrap();
        writer.write_all(&content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

struct Fixture {
    folder: TempDir,
}

impl Fixture {
    fn of(bytes: &[u8]) -> Self {
        let fixture = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::write(fixture.path(), bytes).unwrap();
        fixture
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("images.zip")
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, LostImage> {
        let (found, bytes) = ImageZip::open(&self.path(), "vcr1images/").unwrap().read(name)?;
        assert_eq!(found, name);
        Ok(bytes)
    }

    /// Why a member cannot be read.
    fn unreadable(&self, name: &str) -> String {
        let lost = self.read(name).unwrap_err();
        assert_eq!((lost.stage, lost.code), (Stage::Read, Code::ImageUnreadable), "{}", lost.message);
        assert!(lost.message.contains(name) && lost.message.contains("images.zip"), "{}", lost.message);
        lost.message
    }
}

/// Writes over the number at an offset of the directory's entry of a member.
fn patch_directory(bytes: &mut [u8], name: &str, offset: usize, number: &[u8]) {
    // The name stands in the member's own header and then in the directory, 46 bytes after the entry's start.
    let place = bytes.windows(name.len()).rposition(|window| window == name.as_bytes()).unwrap();
    let at = place - 46 + offset;
    bytes[at..at + number.len()].copy_from_slice(number);
}

#[test]
fn members_are_found_in_the_folder_and_beside_it() {
    let fixture = Fixture::of(&small());
    assert_eq!(fixture.read("a@0.jpg").unwrap(), b"stored content");
    assert_eq!(fixture.read("a@0.json").unwrap(), vec![b'x'; 100_000]);
    assert_eq!(fixture.read("vcr1images/a@0.jpg").unwrap(), b"stored content");
    assert_eq!(fixture.read("beside.jpg").unwrap(), b"beside");
    let lost = fixture.read("b.jpg").unwrap_err();
    assert_eq!((lost.stage, lost.code), (Stage::Read, Code::ImageMissing));
    assert_eq!(lost.message, "images.zip has no member vcr1images/b.jpg");
    let names = Zip::open(&fixture.path()).unwrap().names().unwrap();
    assert_eq!(names, ["vcr1images/a@0.jpg", "vcr1images/a@0.json", "beside.jpg"]);
}

#[test]
fn many_threads_read_one_archive() {
    let fixture = Fixture::of(&small());
    let images = ImageZip::open(&fixture.path(), "vcr1images/").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(images.read("a@0.jpg").unwrap().1, b"stored content");
                    assert_eq!(images.read("a@0.json").unwrap().1.len(), 100_000);
                }
            });
        }
    });
}

#[test]
fn bytes_before_the_archive_shift_it() {
    let fixture = Fixture::of(&[b"a loader of its own".as_slice(), &small()].concat());
    assert_eq!(fixture.read("a@0.jpg").unwrap(), b"stored content");
}

#[test]
fn a_member_that_unpacks_to_more_than_is_declared_is_lost() {
    let mut bytes = small();
    patch_directory(&mut bytes, "vcr1images/a@0.json", 24, &99_999_u32.to_le_bytes());
    let fixture = Fixture::of(&bytes);
    let message = fixture.unreadable("a@0.json");
    assert!(message.contains("more than the 99999 bytes"), "{message}");
    assert_eq!(fixture.read("a@0.jpg").unwrap(), b"stored content");
}

#[test]
fn a_member_that_is_declared_larger_than_any_image_is_not_unpacked() {
    let mut bytes = small();
    patch_directory(&mut bytes, "vcr1images/a@0.json", 24, &(LARGEST_FILE as u32 + 1).to_le_bytes());
    let message = Fixture::of(&bytes).unreadable("a@0.json");
    assert!(message.contains("it has 536870913 bytes, expected 536870912 at most"), "{message}");
}

#[test]
fn a_member_that_unpacks_to_less_than_is_declared_is_lost() {
    let mut bytes = small();
    patch_directory(&mut bytes, "vcr1images/a@0.json", 24, &100_001_u32.to_le_bytes());
    let message = Fixture::of(&bytes).unreadable("a@0.json");
    assert!(message.contains("ends after 100000 of 100001 bytes"), "{message}");
}

#[test]
fn damage_is_noticed() {
    let mut bytes = small();
    let place = bytes.windows(14).position(|window| window == b"stored content").unwrap();
    bytes[place] = b'S';
    let message = Fixture::of(&bytes).unreadable("a@0.jpg");
    assert!(message.contains("do not match the checksum"), "{message}");

    // The directory points into the middle of a member.
    let mut bytes = small();
    patch_directory(&mut bytes, "vcr1images/a@0.jpg", 42, &3_u32.to_le_bytes());
    let message = Fixture::of(&bytes).unreadable("a@0.jpg");
    assert!(message.contains("points at no member"), "{message}");

    // Or behind the end of the file.
    let mut bytes = small();
    patch_directory(&mut bytes, "vcr1images/a@0.jpg", 42, &0x00ff_ffff_u32.to_le_bytes());
    Fixture::of(&bytes).unreadable("a@0.jpg");
}

#[test]
fn methods_that_are_not_read_are_named() {
    let mut bytes = small();
    patch_directory(&mut bytes, "vcr1images/a@0.json", 10, &12_u16.to_le_bytes());
    let message = Fixture::of(&bytes).unreadable("a@0.json");
    assert!(message.contains("Bzip2, expected stored or deflated"), "{message}");

    let mut bytes = small();
    patch_directory(&mut bytes, "vcr1images/a@0.jpg", 8, &1_u16.to_le_bytes());
    let message = Fixture::of(&bytes).unreadable("a@0.jpg");
    assert!(message.contains("encrypted"), "{message}");
}

#[test]
fn a_file_that_is_no_archive_is_an_error_that_names_it() {
    let whole = small();
    for bytes in [b"".as_slice(), b"PK\x03\x04", b"<html>not found</html>", &whole[..whole.len() - 30]] {
        let fixture = Fixture::of(bytes);
        let error = Zip::open(&fixture.path()).unwrap_err().to_string();
        assert!(error.contains("images.zip") && error.contains("no zip archive"), "{error}");
    }
    assert!(Zip::is_one(&Fixture::of(&whole).path()).unwrap());
    assert!(!Zip::is_one(&Fixture::of(b"{}").path()).unwrap());
}
