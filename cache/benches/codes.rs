//! How fast codes are made and read, a core: `cargo bench -p retort-cache`. Bytes are those of the floats given or made.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use half::f16;
use retort_cache::codes::{Codes, decode_into, decode_into_f16, encode};
use retort_cache::vectors;
use retort_schemas::{Bound, Code, Dtype};

const WIDTH: usize = 384;
const ROWS: usize = 4096;

fn main() {
    // One core: encoding spreads over rayon's threads.
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build_global();
    assert!(one.is_ok(), "no other pool was made");
    divan::main();
}

/// Sums of uniform numbers: normal enough.
fn floats() -> Vec<f32> {
    let mut state = 1_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    };
    (0..ROWS * WIDTH).map(|_| (0..12).map(|_| uniform()).sum()).collect()
}

fn codes() -> Option<Codes> {
    encode(Bound::new(0.999)?, WIDTH, &floats()).ok()
}

#[divan::bench(args = [0.999, 0.99])]
fn encode_rows(bencher: Bencher<'_, '_>, bound: f64) {
    let floats = floats();
    let bencher = bencher.counter(BytesCount::of_slice(&floats));
    bencher.bench(|| Bound::new(bound).map(|bound| encode(bound, WIDTH, black_box(&floats))));
}

#[divan::bench]
fn decode_to_f32(bencher: Bencher<'_, '_>) {
    let Some(Codes { code: Code::I8, bytes, scales, .. }) = codes() else { return };
    let mut out = vec![0.0; ROWS * WIDTH];
    let bencher = bencher.counter(BytesCount::of_many::<f32>(ROWS * WIDTH));
    bencher.bench_local(|| decode_into(Code::I8, black_box(&bytes), &scales, WIDTH, black_box(&mut out)));
}

#[divan::bench]
fn decode_to_f16(bencher: Bencher<'_, '_>) {
    let Some(Codes { code: Code::I8, bytes, scales, .. }) = codes() else { return };
    let mut out = vec![f16::ZERO; ROWS * WIDTH];
    let bencher = bencher.counter(BytesCount::of_many::<f16>(ROWS * WIDTH));
    bencher.bench_local(|| decode_into_f16(Code::I8, black_box(&bytes), &scales, WIDTH, black_box(&mut out)));
}

/// For comparison: half precision as stored, to floats.
#[divan::bench]
fn decode_f16_to_f32(bencher: Bencher<'_, '_>) {
    let bytes: Vec<u8> = floats().iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
    let mut out = vec![0.0; ROWS * WIDTH];
    let bencher = bencher.counter(BytesCount::of_many::<f32>(ROWS * WIDTH));
    bencher.bench_local(|| vectors::decode_into(Dtype::F16, black_box(&bytes), black_box(&mut out)));
}
