//! The bound holds for every row, whatever the row.

use proptest::prelude::*;

use super::*;

/// Computed anew, from what a reader gets, in another way than the encoder does.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn read_back(codes: &Codes, width: usize) -> Vec<f32> {
    let mut floats = vec![f32::NAN; codes.scales.len() * width];
    decode_into(codes.code, &codes.bytes, &codes.scales, width, &mut floats);
    floats
}

/// Encodes, and checks every promise for every row.
fn check(bound: f64, width: usize, floats: &[f32]) -> Codes {
    let codes = encode(Bound::new(bound).unwrap(), width, floats).unwrap();
    assert_eq!(codes.bytes.len(), floats.len() * codes.code.bytes());
    let read = read_back(&codes, width);
    for (row, (given, read)) in floats.chunks_exact(width).zip(read.chunks_exact(width)).enumerate() {
        assert!(read.iter().all(|x| x.is_finite()), "row {row}: {read:?}");
        if given.iter().all(|x| *x == 0.0) {
            assert!(read.iter().all(|x| *x == 0.0) && codes.cosines[row].is_nan(), "row {row}: {read:?}");
            continue;
        }
        let cosine = cosine(given, read);
        assert!(cosine >= bound - 1e-12, "row {row}: {cosine} < {bound}: {given:?} came back as {read:?}");
        assert!((cosine - codes.cosines[row]).abs() < 1e-12, "row {row}: {cosine}, told {}", codes.cosines[row]);
    }
    codes
}

/// Normal numbers from a seed.
fn normal(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    };
    let one = |_| (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
    (0..count).map(one).map(|x| x as f32).collect()
}

/// Rows as they come: normal, mostly zero, with heavy tails, shifted with a few giant dimensions as CLIP has them.
fn rows() -> impl Strategy<Value = (usize, Vec<f32>)> {
    let kind = 0..5_u8;
    (1..200_usize, 0..6_usize, any::<u64>(), kind, -30..30_i32).prop_map(|(width, rows, seed, kind, exponent)| {
        let size = 2.0_f32.powi(exponent);
        let floats = normal(seed, width * rows).into_iter().enumerate().map(|(at, x)| {
            size * match kind {
                0 => x,
                1 if x.abs() < 1.5 => 0.0,
                1 => x,
                2 => x.powi(9),
                3 if at % width == width / 2 => 40.0 + x,
                3 => 0.3 * x + 0.1,
                _ => x.signum() * x.exp2(),
            }
        });
        (width, floats.collect())
    })
}

fn bounds() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.999), Just(0.99), Just(0.9), Just(0.99999), Just(0.5), 0.01..0.9999]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_row_keeps_the_bound((width, floats) in rows(), bound in bounds()) {
        check(bound, width, &floats);
    }

    /// Any bits that are a finite number: subnormals, giants and both in one row.
    #[test]
    fn every_row_of_any_floats_keeps_the_bound(bits in prop::collection::vec(any::<u32>(), 1..40), bound in bounds()) {
        let floats: Vec<f32> = bits.into_iter().map(f32::from_bits).map(|x| if x.is_finite() { x } else { 0.0 }).collect();
        check(bound, floats.len(), &floats);
    }

    #[test]
    fn both_decoders_agree((width, floats) in rows(), bound in bounds()) {
        let codes = check(bound, width, &floats);
        let mut halves = vec![f16::NAN; floats.len()];
        decode_into_f16(codes.code, &codes.bytes, &codes.scales, width, &mut halves);
        let rounded: Vec<f16> = read_back(&codes, width).into_iter().map(f16::from_f32).collect();
        prop_assert_eq!(halves, rounded);
    }

    /// The scale has 11 bits, so a row is as long as it was to one part in 2,000.
    #[test]
    fn rows_keep_their_length((width, floats) in rows(), bound in bounds()) {
        let read = read_back(&check(bound, width, &floats), width);
        let norm = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        for (given, read) in floats.chunks_exact(width).zip(read.chunks_exact(width)) {
            prop_assert!((norm(given) - norm(read)).abs() <= norm(given) * 0.0005, "{} {}", norm(given), norm(read));
        }
    }
}

#[test]
fn rows_at_the_ends_of_the_floats_keep_the_bound() {
    let least = f32::from_bits(1);
    for bound in [0.5, 0.99, 0.99999] {
        check(bound, 1, &[3.0, -2e-45, f32::MAX, f32::MIN, 0.0, -0.0]);
        check(bound, 3, &[least, 0.0, -least, f32::MAX, f32::MAX, f32::MIN, f32::MAX, 1.0, least, 1e-39, 3e-39, 1e-44]);
        check(bound, 4, &[0.0; 8]);
        check(bound, 4, &[]);
    }
}

/// 4,000 elements of 0.4 beside one of 127: a code of one byte has a step of 1, and all of them would be 0.
#[test]
fn a_giant_element_takes_two_bytes_a_code_and_nothing_else_does() {
    let mut row = vec![0.4; 4000];
    row[7] = 127.0;
    assert_eq!(check(0.999, 4000, &row).code, Code::I16);
    assert_eq!(check(0.999, 400, &normal(1, 4000)).code, Code::I8);
}

/// A step half as long costs a bit a dimension: a search that stops early must not pass for one that works.
#[test]
fn the_step_is_as_coarse_as_the_bound_allows() {
    for (bound, bits) in [(0.999, 4.8), (0.99, 3.15)] {
        let codes = check(bound, 384, &normal(5, 384 * 100));
        let mut counts = [0.0_f64; 256];
        codes.bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1.0);
        let total = codes.bytes.len() as f64;
        let entropy: f64 = counts.iter().filter(|count| **count > 0.0).map(|n| -n / total * (n / total).log2()).sum();
        assert!(entropy < bits, "{entropy} bits a dimension at {bound}");
        let worst = codes.cosines.iter().copied().fold(1.0, f64::min);
        assert!(worst < bound + (1.0 - bound) * 0.05, "{worst} at {bound}");
    }
}

#[test]
fn a_row_without_a_cosine_is_refused_by_its_number() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let floats = [1.0, 2.0, 3.0, bad, 5.0, bad];
        let refusal = encode(Bound::new(0.9).unwrap(), 2, &floats).unwrap_err().to_string();
        assert!(refusal.contains("row 1 ") && refusal.contains("element 1"), "{refusal}");
    }
}

/// What two lines of numpy make of the columns: code times scale.
#[test]
fn an_element_is_its_code_times_the_scale() {
    let codes = check(0.99, 2, &[3.0, -4.0, 0.0, 8.0]);
    let by_hand: Vec<f32> = codes
        .bytes
        .chunks_exact(2)
        .zip(&codes.scales)
        .flat_map(|(row, scale)| row.iter().map(move |byte| f32::from(*byte as i8) * scale))
        .collect();
    assert_eq!(by_hand, read_back(&codes, 2));
}
