//! Arrays in `.npy` files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use retort_ingest::fuzzing;

fuzz_target!(|bytes: &[u8]| {
    if let Some((numbers, product)) = fuzzing::npy(bytes) {
        assert_eq!(numbers, product, "numbers, and the product of the shape");
        assert!(numbers <= bytes.len(), "an element has a byte at least");
    }
});
