//! Images, checked by decoding them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use retort_ingest::fuzzing;

fuzz_target!(
    init: {
        // A decoder's panic loses the image and not the run: ingest catches it. The fuzzer's own hook would stop there.
        std::panic::set_hook(Box::new(|_| {}));
    },
    |bytes: &[u8]| {
        if let Some((width, height)) = fuzzing::image(bytes) {
            assert!(width > 0 && height > 0);
        }
    }
);
