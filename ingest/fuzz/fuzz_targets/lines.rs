//! Files of one record a line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use retort_ingest::fuzzing;

fuzz_target!(|bytes: &[u8]| {
    let Some(lines) = fuzzing::lines(bytes) else { return };
    for pair in lines.windows(2) {
        assert!(pair[0].0 < pair[1].0, "line numbers go up");
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return;
    }
    // Taken apart in the plainest way, they are the same.
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let plain = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let plain = (1..).zip(plain).filter(|(_, line)| !line.is_empty());
    assert!(plain.eq(lines.iter().map(|(number, line)| (*number, line.as_slice()))), "lines of {text:?}");
});
