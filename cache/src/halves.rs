//! Half precision to single, in whatever vector instructions the processor has.
//!
//! Converting is what a search over half-precision vectors spends most of its time on; an instruction that converts eight at
//! a time does not help where each eight are a call, which they are unless the whole program is built for that processor.

use pulp::Arch;

/// Two to the 112th: what the exponents of the two formats differ by, and a half's bits at the place of a single's are off by.
const REBIAS: f32 = f32::from_bits(0x7780_0000);

/// Converts little-endian halves; `out` holds as many as `bytes` has, what is beyond the shorter is left alone.
pub(crate) fn widen(bytes: &[u8], out: &mut [f32]) {
    Arch::new().dispatch(|| {
        for (x, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
            *x = single(u16::from_le_bytes([pair[0], pair[1]]));
        }
    });
}

/// One half, without branches. Exact: a single holds every half, and subnormal halves are scaled to normal singles.
#[inline(always)]
fn single(half: u16) -> f32 {
    let scaled = f32::from_bits(u32::from(half & 0x7fff) << 13) * REBIAS;
    // Infinity and NaN: all ones in the exponent, in both.
    let special = if half & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(scaled.to_bits() | special | u32::from(half & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    #[test]
    fn every_half_is_the_single_that_it_is() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        // From an odd address too: pages lie anywhere.
        for skipped in [0, 1] {
            let moved = [vec![0; skipped], bytes.clone()].concat();
            let mut floats = vec![0.0; 1 << 16];
            widen(&moved[skipped..], &mut floats);
            for (bits, float) in (0..=u16::MAX).zip(floats) {
                let exact = f16::from_bits(bits).to_f32();
                assert!(float.to_bits() == exact.to_bits() || float.is_nan() && exact.is_nan(), "{bits:#x}: {float}");
            }
        }
    }
}
