//! Tar archives, and the samples of WebDataset in them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use retort_ingest::fuzzing;

const BLOCK: usize = 512;

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // Nearly every change to a header ends the walk at its checksum: what lies behind it is seen with that put right.
    if !is_packed(bytes) {
        let mended = with_checksums(bytes);
        if mended != bytes {
            check(&mended);
        }
    }
});

fn check(bytes: &[u8]) {
    // A bit of the content decides, so that a kept input stays what it was.
    let json_texts = bytes.iter().fold(0, |sum, byte| sum ^ byte) & 1 == 1;
    let Some(found) = fuzzing::tar(bytes, json_texts) else { return };
    assert!(found.images <= found.members, "{found:?}: an image is a member");
    assert!(is_packed(bytes) || found.image_bytes <= bytes.len() as u64, "{found:?}: images do not overlap");
}

fn is_packed(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b]) || bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
}

/// Right checksums for the headers of a plain archive, as far as their sizes lead from one to the next.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut mended = bytes.to_vec();
    let mut at = 0_usize;
    while let Some(header) =
        mended.get_mut(at..at.saturating_add(BLOCK)).filter(|header| header.iter().any(|byte| *byte != 0))
    {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = std::str::from_utf8(&header[124..136]).unwrap_or_default();
        let size = usize::from_str_radix(size.trim_matches([' ', '\0']), 8).unwrap_or(0);
        at = at.saturating_add(BLOCK).saturating_add(size.div_ceil(BLOCK).saturating_mul(BLOCK));
    }
    mended
}
