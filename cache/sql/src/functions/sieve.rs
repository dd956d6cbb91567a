//! Which rows can still be among the best: cosines in single precision, and no nearer to the exact ones than they are.
//!
//! Sums in double precision take twice as long as those in single precision, and nearly all rows are far from the best.
//! So a row is first bounded from above, and only those that the bound does not rule out are compared exactly: the answer
//! is the same.

use pulp::Arch;

/// Sums side by side that the compiler turns into vector instructions: four registers of AVX2 for each sum.
const LANES: usize = 32;

/// A query that rules out rows.
#[derive(Debug, Clone)]
pub(super) struct Sieve {
    arch: Arch,
    /// At length 1.
    query: Vec<f32>,
    error: f64,
}

impl Sieve {
    /// A sieve for a query, which has a direction.
    pub(super) fn of(query: &[f32]) -> Self {
        let length = super::vectors::sum(query, query, |x, y| x * y).sqrt();
        let query: Vec<f32> = query.iter().map(|x| (f64::from(*x) / length) as f32).collect();
        // A sum of n products in any order is off by at most n u / (1 - n u) of the sum of their sizes (Higham,
        // Accuracy and Stability of Numerical Algorithms, 3.1), which is at most the product of the lengths; the square of
        // the row's length by as much of itself, its root by half of that; u more for each rounding of query and
        // quotient. Twice n u is above all of it together.
        let error = 2.0 * (query.len() + 16) as f64 * f64::from(f32::EPSILON / 2.0);
        Self { arch: Arch::new(), query, error }
    }

    /// What the exact cosine to a row is not above.
    pub(super) fn at_most(&self, row: &[f32]) -> f64 {
        let (dot, square) = self.arch.dispatch(|| sums(&self.query, row));
        // Beyond, squares of elements may have been lost or have become infinite: nothing is known.
        if !(1e-20..1e30).contains(&square) {
            return f64::INFINITY;
        }
        f64::from(dot) / f64::from(square).sqrt() + self.error
    }
}

/// The sum of products of two rows, and of the second one's squares.
#[inline(always)]
fn sums(query: &[f32], row: &[f32]) -> (f32, f32) {
    let (mut dots, mut squares) = ([0.0; LANES], [0.0; LANES]);
    let (queries, rows) = (query.chunks_exact(LANES), row.chunks_exact(LANES));
    let rest = queries.remainder().iter().zip(rows.remainder());
    let (mut dot, mut square) = rest.fold((0.0, 0.0), |(dot, square), (q, x)| (dot + q * x, square + x * x));
    for (query, row) in queries.zip(rows) {
        for lane in 0..LANES {
            dots[lane] += query[lane] * row[lane];
            squares[lane] += row[lane] * row[lane];
        }
    }
    dot += dots.iter().sum::<f32>();
    square += squares.iter().sum::<f32>();
    (dot, square)
}

#[cfg(test)]
mod tests {
    use super::super::vectors::cosine;
    use super::*;

    /// Numbers between -1 and 1 that look like chance.
    fn floats(seed: u64, count: usize) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / 8_388_608.0 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn no_cosine_is_above_its_bound_and_the_bound_is_near() {
        for width in [1, 2, 31, 32, 33, 384, 512, 4096] {
            let query = floats(1, width);
            let sieve = Sieve::of(&query);
            for seed in 2..50 {
                for scale in [1.0, 1e-6, 3e4] {
                    let row: Vec<f32> = floats(seed, width).iter().map(|x| x * scale).collect();
                    let (exact, bound) = (cosine(&query, &row).unwrap(), sieve.at_most(&row));
                    assert!((exact..exact + 1e-2).contains(&bound), "{width}, {seed}: {exact}, {bound}");
                }
            }
            assert!(sieve.at_most(&query) >= 1.0);
        }
    }

    #[test]
    fn of_what_single_precision_cannot_hold_nothing_is_known() {
        let sieve = Sieve::of(&[1.0, 2.0]);
        for row in [[0.0, 0.0], [1e-30, 1e-30], [1e25, 0.0], [f32::NAN, 1.0], [f32::INFINITY, 1.0]] {
            assert_eq!(sieve.at_most(&row), f64::INFINITY, "{row:?}");
        }
    }
}
