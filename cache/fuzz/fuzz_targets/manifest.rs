//! Manifests of data sets and teachers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use retort_cache::fuzzing;

fuzz_target!(|body: &str| {
    let _ = fuzzing::manifest(body);
});
