//! Tables of features: footers, page indexes, pages.
#![no_main]

use libfuzzer_sys::fuzz_target;
use retort_cache::fuzzing;

fuzz_target!(
    init: {
        // A decoder's panic is an error of that file: the crate catches it. The fuzzer's own hook would stop there.
        std::panic::set_hook(Box::new(|_| {}));
    },
    |bytes: &[u8]| {
        if let Some((rest, table)) = bytes.split_first_chunk() {
            let _ = fuzzing::table(table, usize::from(u16::from_le_bytes(*rest)));
        }
    }
);
