//! Detections in tab-separated files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use retort_ingest::fuzzing;

fuzz_target!(|bytes: &[u8]| {
    for (boxes, elements) in fuzzing::table(bytes).into_iter().flatten().flatten() {
        assert_eq!(elements, 2 * boxes, "elements of vectors of 2");
    }
});
