//! Which rows can still be among the best: cosines in single precision, or of integers, and no nearer to the exact ones than
//! they are.
//!
//! Sums in double precision take twice as long as those in single precision, those of bytes as they are stored half as
//! long, and nearly all rows are far from the best. So a row is first bounded from above, and only those that the bound
//! does not rule out are decoded and compared exactly: the answer is the same.

use pulp::Arch;
use retort_cache::StoredVector;
use retort_schemas::{Code, Layout};

use super::vectors::sum;

/// Sums side by side that the compiler turns into vector instructions: four registers of AVX2 for each sum.
const LANES: usize = 32;

/// Elements of a row up to which its squares are sure to have room in 32 bits, whatever its codes.
const MOST_WHOLE: usize = 1 << 16;

/// A query that rules out rows.
#[derive(Debug, Clone)]
pub(super) struct Sieve {
    arch: Arch,
    /// At length 1.
    query: Vec<f32>,
    error: f64,
    whole: Whole,
    /// A decoded row.
    floats: Vec<f32>,
}

impl Sieve {
    /// A sieve for a query, which has a direction.
    pub(super) fn of(query: &[f32]) -> Self {
        let length = sum(query, query, |x, y| x * y).sqrt();
        let query: Vec<f32> = query.iter().map(|x| (f64::from(*x) / length) as f32).collect();
        // A sum of n products in any order is off by at most n u / (1 - n u) of the sum of their sizes (Higham,
        // Accuracy and Stability of Numerical Algorithms, 3.1), which is at most the product of the lengths; the square of
        // the row's length by as much of itself, its root by half of that; u more for each rounding of query and
        // quotient. Twice n u is above all of it together.
        let error = 2.0 * (query.len() + 16) as f64 * f64::from(f32::EPSILON / 2.0);
        Self { arch: Arch::new(), whole: Whole::of(&query), query, error, floats: Vec::new() }
    }

    /// What the exact cosine to a row is not above.
    pub(super) fn at_most(&mut self, row: StoredVector<'_>) -> f64 {
        match row.layout() {
            Layout::Codes { code: Code::I8, width } if width <= MOST_WHOLE => self.whole.at_most(self.arch, row),
            _ => {
                let row = row.decode(&mut self.floats);
                let (dot, square) = self.arch.dispatch(|| sums(&self.query, row));
                // Beyond, squares of elements may have been lost or have become infinite: nothing is known.
                if !(1e-20..1e30).contains(&square) {
                    return f64::INFINITY;
                }
                f64::from(dot) / f64::from(square).sqrt() + self.error
            }
        }
    }
}

/// A query in whole numbers: `element = number * step`, nearly. A row's scale is no part of its direction, so that its codes
/// are compared as they are, and the sums are exact.
#[derive(Debug, Clone)]
struct Whole {
    numbers: Vec<i16>,
    step: f64,
    error: f64,
}

impl Whole {
    /// For a query of length 1.
    fn of(query: &[f32]) -> Self {
        let greatest = query.iter().fold(0.0_f64, |greatest, x| greatest.max(f64::from(x.abs())));
        let sizes: f64 = query.iter().map(|x| f64::from(x.abs())).sum();
        // No sum of products with codes of a byte may be beyond 32 bits, whatever the codes; each number is rounded by
        // half at most.
        let room = (f64::from(i32::MAX) / 128.0 - query.len() as f64) * greatest / sizes;
        let most = room.min(f64::from(i16::MAX));
        let step = greatest / most.floor();
        let numbers: Vec<i16> = query.iter().map(|x| (f64::from(*x) / step).round() as i16).collect();
        // What is left of the query, times the row at length 1, is at most as long as what is left (Cauchy-Schwarz). A row
        // that is read back has its elements, and a query its own, rounded to single precision: u each.
        let left = query.iter().zip(&numbers).map(|(x, number)| (f64::from(*x) - f64::from(*number) * step).powi(2));
        let error = left.sum::<f64>().sqrt() + 4.0 * f64::from(f32::EPSILON);
        Self { numbers, step, error }
    }

    fn at_most(&self, arch: Arch, row: StoredVector<'_>) -> f64 {
        let (dot, square) = arch.dispatch(|| whole_sums(&self.numbers, row.bytes()));
        // Products with a subnormal scale lose bits, zeros have no direction, and of more room than there is nothing is known.
        if square == 0 || !row.scale().is_normal() || !self.step.is_normal() {
            return f64::INFINITY;
        }
        f64::from(dot) * self.step / f64::from(square).sqrt() + self.error
    }
}

/// The sum of products of numbers and codes of a byte, and of the codes' squares.
#[inline(always)]
fn whole_sums(numbers: &[i16], codes: &[u8]) -> (i32, i32) {
    numbers.iter().zip(codes).fold((0, 0), |(dot, square), (number, code)| {
        let code = i16::from(code.cast_signed());
        (dot + i32::from(*number) * i32::from(code), square + i32::from(code) * i32::from(code))
    })
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
    use std::sync::Arc;

    use arrow::array::RecordBatch;
    use arrow::datatypes::Schema;
    use retort_cache::vectors::{self, Rows};

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

    /// Rows of this width, as this store has them.
    fn stored(store: &str, width: usize, floats: &[f32]) -> Rows {
        let stored = vectors::store(store.parse().unwrap(), "v", width, floats).unwrap();
        Rows::of(&RecordBatch::try_new(Arc::new(Schema::new(stored.fields)), stored.columns).unwrap(), "v").unwrap()
    }

    #[test]
    fn no_cosine_is_above_its_bound_and_the_bound_is_near() {
        for (store, near) in [("f32", 1e-3), ("bf16", 1e-3), ("cos:0.9", 1e-4), ("cos:0.9999", 1e-4)] {
            for width in [1, 2, 31, 32, 33, 384, 512, 4096] {
                let query = floats(1, width);
                let mut sieve = Sieve::of(&query);
                for scale in [1.0, 1e-6, 3e4] {
                    let rows: Vec<f32> = (2..50).flat_map(|seed| floats(seed, width)).map(|x| x * scale).collect();
                    let rows = stored(
                        store,
                        width,
                        &[&rows[..], &query, &query.iter().map(|x| -x).collect::<Vec<_>>()].concat(),
                    );
                    for (at, row) in rows.each().enumerate() {
                        let (exact, bound) = (cosine(&query, &row).unwrap(), sieve.at_most(rows.vector(at)));
                        assert!((exact..exact + near).contains(&bound), "{store}, {width}, {at}: {exact}, {bound}");
                    }
                }
            }
        }
    }

    /// Where every number and every code is as great as it can be, no sum of 32 bits may end beyond.
    #[test]
    fn whole_numbers_have_room() {
        for width in [1, 4096, 1 << 16, (1 << 16) + 1] {
            for (query, row) in [(1.0, 1.0), (1.0, -1.0)] {
                let (query, rows) = (vec![query; width], stored("cos:0.99999", width, &vec![row; width]));
                let (exact, bound) = (f64::from(query[0] * row), Sieve::of(&query).at_most(rows.vector(0)));
                let known = if width > MOST_WHOLE { f64::INFINITY } else { exact + 1e-2 };
                assert!((exact - 1e-9..=known).contains(&bound), "{width}: {exact}, {bound}");
            }
        }
    }

    #[test]
    fn of_what_single_precision_cannot_hold_nothing_is_known() {
        let mut sieve = Sieve::of(&[1.0, 2.0]);
        for row in [[0.0, 0.0], [1e-30, 1e-30], [1e25, 0.0], [f32::NAN, 1.0], [f32::INFINITY, 1.0]] {
            assert_eq!(sieve.at_most(stored("f32", 2, &row).vector(0)), f64::INFINITY, "{row:?}");
        }
        // A row of zeros, and one whose elements are no product of code and scale any more.
        for row in [[0.0, 0.0], [1e-44, 3e-45]] {
            assert_eq!(sieve.at_most(stored("cos:0.9", 2, &row).vector(0)), f64::INFINITY, "{row:?}");
        }
    }
}
