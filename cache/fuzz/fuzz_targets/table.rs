//! Tables of features: footers, page indexes, pages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use retort_cache::fuzzing;

fuzz_target!(|bytes: &[u8]| {
    if let Some((rest, table)) = bytes.split_first_chunk() {
        let _ = fuzzing::table(table, usize::from(u16::from_le_bytes(*rest)));
    }
});
