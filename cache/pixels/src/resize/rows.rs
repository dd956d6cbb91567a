//! The pass along the rows.

use super::{Weights, byte};

/// Pixels that are summed at once: windows are filled up with weights of zero to a multiple of this.
pub(super) const PIXELS: usize = 4;
/// Bytes that are read with them, of which the last four are not used.
#[cfg(target_arch = "x86_64")]
const READ: usize = 16;
/// Bytes beyond a window that are read with its last pixels.
const BEYOND: usize = 4;

/// Rows of `width` pixels.
pub(super) struct Rows<'a> {
    pub data: &'a [u8],
    pub width: usize,
    pub weights: &'a Weights,
}

impl Rows<'_> {
    pub(super) fn resize(&self) -> Vec<u8> {
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            return simd.vectorize(avx2::Resize { rows: self, weights: &avx2::split(self.weights), simd });
        }
        self.resize_portably()
    }

    fn resize_portably(&self) -> Vec<u8> {
        let Weights { stride, fixed, .. } = self.weights;
        self.resize_by(|window, at| {
            let pixels = window.as_chunks::<3>().0.iter().zip(&fixed[at * stride..][..*stride]);
            let sums = pixels.fold([0; 3], |sums: [i32; 3], (pixel, weight)| {
                [0, 1, 2].map(|channel| sums[channel].wrapping_add(i32::from(pixel[channel]).wrapping_mul(*weight)))
            });
            sums.map(byte)
        })
    }

    /// With a function of a window's bytes and the number of its pixel in the resized row.
    #[inline(always)]
    fn resize_by(&self, pixel: impl Fn(&[u8], usize) -> [u8; 3]) -> Vec<u8> {
        let Self { data, width, weights } = self;
        let (row, columns, window) = (width * 3, weights.windows.len(), weights.stride * 3 + BEYOND);
        let mut resized = vec![0; data.len() / row * columns * 3];
        // Beyond a row lies the next one, and its bytes are weighted with zero; behind the last rows nothing does.
        let mut padded = vec![0; row + window];
        for (y, resized) in resized.chunks_exact_mut(columns * 3).enumerate() {
            let bytes = match data[y * row..].get(..row + window) {
                Some(bytes) => bytes,
                None => {
                    padded[..row].copy_from_slice(&data[y * row..][..row]);
                    &padded
                }
            };
            let pixels = resized.as_chunks_mut::<3>().0.iter_mut().zip(&weights.windows);
            for (at, (resized, (first, _))) in pixels.enumerate() {
                *resized = pixel(&bytes[first * 3..][..window], at);
            }
        }
        resized
    }
}

/// The same with the vectors that all x86-64 processors of the last ten years have.
///
/// They multiply 16-bit numbers and add neighbours. So a weight is split, `w = 2048 * high + low`, and two pixels are
/// brought into an order in which the same channel of both is next to each other:
///
/// ```text
/// bytes    r0 g0 b0 r1 g1 b1 r2 g2 b2 r3 g3 b3 . . . .
/// shuffled r0 r1 g0 g1 b0 b1  0  0 | r2 r3 g2 g3 b2 b3  0  0     16 bits each
/// weights  w0 w1 w0 w1 w0 w1 w0 w1 | w2 w3 w2 w3 w2 w3 w2 w3
/// sums     r     g     b     0     | r     g     b     0         32 bits each
/// ```
///
/// Sums wrap, and are the same as those of the whole weights whatever the order.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use pulp::NullaryFnOnce;

    use super::super::{PRECISION, Weights};
    use super::{PIXELS, READ, Rows};

    /// Bits of the lower part of a weight.
    const LOW_BITS: i32 = 11;

    /// The weights of four pixels in the order of the shuffled bytes: high parts, low parts.
    pub(super) type Split = [[i16; 16]; 2];

    /// Splits the weights of all windows.
    pub(super) fn split(weights: &Weights) -> Vec<Split> {
        let high = |weight: i32| (weight >> LOW_BITS) as i16;
        let low = |weight: i32| (weight & ((1 << LOW_BITS) - 1)) as i16;
        let in_order = |[a, b, c, d]: [i16; PIXELS]| [a, b, a, b, a, b, a, b, c, d, c, d, c, d, c, d];
        let fours = weights.fixed.as_chunks::<PIXELS>().0.iter();
        fours.map(|four| [in_order(four.map(high)), in_order(four.map(low))]).collect()
    }

    pub(super) struct Resize<'a> {
        pub rows: &'a Rows<'a>,
        pub weights: &'a [Split],
        pub simd: pulp::x86::V3,
    }

    impl NullaryFnOnce for Resize<'_> {
        type Output = Vec<u8>;

        #[inline(always)]
        fn call(self) -> Vec<u8> {
            const SHUFFLE: [i8; 32] = [
                0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, //
                6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1,
            ];
            let pulp::x86::V3 { avx, avx2, sse2, .. } = self.simd;
            let shuffle = bytemuck::cast(SHUFFLE);
            let steps = self.rows.weights.stride / PIXELS;
            self.rows.resize_by(
                #[inline(always)]
                |window, at| {
                    let (mut high, mut low) = (avx._mm256_setzero_si256(), avx._mm256_setzero_si256());
                    let weights = &self.weights[at * steps..][..steps];
                    let mut rest = window;
                    for weights in weights {
                        let Some((bytes, _)) = rest.split_first_chunk::<READ>() else { break };
                        rest = &rest[3 * PIXELS..];
                        let bytes = avx2._mm256_broadcastsi128_si256(bytemuck::cast(*bytes));
                        let pairs = avx2._mm256_shuffle_epi8(bytes, shuffle);
                        let [by_high, by_low] =
                            weights.map(|weights| avx2._mm256_madd_epi16(pairs, bytemuck::cast(weights)));
                        high = avx2._mm256_add_epi32(high, by_high);
                        low = avx2._mm256_add_epi32(low, by_low);
                    }
                    let sums = avx2._mm256_add_epi32(avx2._mm256_slli_epi32::<LOW_BITS>(high), low);
                    let [even, odd] =
                        [avx2._mm256_extracti128_si256::<0>(sums), avx2._mm256_extracti128_si256::<1>(sums)];
                    let half = sse2._mm_set1_epi32(1 << (PRECISION - 1));
                    let sums = sse2._mm_add_epi32(sse2._mm_add_epi32(even, odd), half);
                    // Packing clips to the range of bytes, by way of that of 16 bits.
                    let values = sse2._mm_srai_epi32::<{ PRECISION as i32 }>(sums);
                    let words = sse2._mm_packs_epi32(values, values);
                    let [red, green, blue, _] =
                        sse2._mm_cvtsi128_si32(sse2._mm_packus_epi16(words, words)).to_le_bytes();
                    [red, green, blue]
                },
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Filter;
    use super::*;

    #[test]
    fn vectors_and_plain_loops_give_the_same_bytes() {
        let hash = |i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
        for (width, height, to) in [(64, 5, 20), (7, 3, 7), (1, 9, 3), (3, 1, 90), (501, 4, 1), (33, 2, 32)] {
            // Also the extremes, whose sums overshoot.
            for data in [(0..width * height * 3).map(hash).collect(), vec![255; width * height * 3]] {
                for filter in [Filter::Bicubic, Filter::Bilinear] {
                    let weights = Weights::new(width as u32, [0.25, width as f64], to, filter);
                    let rows = Rows { data: &data, width, weights: &weights };
                    assert_eq!(rows.resize(), rows.resize_portably(), "{width}x{height} to {to}, {filter:?}");
                }
            }
        }
    }
}
