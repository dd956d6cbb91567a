//! Question and annotation files, with a NUL byte between them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use retort_ingest::fuzzing;

fuzz_target!(|bytes: &[u8]| {
    // Packed files hold NUL bytes of their own.
    let packed = bytes.starts_with(&[0x1f, 0x8b]);
    match bytes.iter().position(|byte| *byte == 0).filter(|_| !packed) {
        Some(at) => fuzzing::vqa(&bytes[..at], Some(&bytes[at + 1..])),
        None => fuzzing::vqa(bytes, None),
    };
});
