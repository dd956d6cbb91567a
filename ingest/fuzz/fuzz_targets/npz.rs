//! Detections in `.npz` files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use retort_ingest::fuzzing;

fuzz_target!(|bytes: &[u8]| {
    if let Some((boxes, elements)) = fuzzing::npz(bytes) {
        assert!(boxes == 0 || elements == 2 * boxes, "{boxes} boxes, {elements} elements of vectors of 2");
    }
});
