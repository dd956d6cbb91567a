//! Mean, spread, and what chance may have done to a difference.

use rayon::prelude::*;

/// Resamples of a bootstrap.
pub(super) const RESAMPLES: usize = 10_000;
/// Share of the resamples within the interval.
pub(super) const COVERAGE: f64 = 0.95;

/// Mean of at least one value; NaN of none.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Sample standard deviation, of n - 1 degrees of freedom; none of fewer than two values.
pub(super) fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// The quantile of sorted values, between two neighbours in proportion (numpy's default, type 7 of Hyndman and Fan 1996).
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = share * last as f64;
    let low = (at.floor() as usize).min(last);
    let high = (low + 1).min(last);
    sorted[low] + (at - low as f64) * (sorted[high] - sorted[low])
}

/// Percentile bootstrap interval of the mean of these differences, one for each test sample: a paired test, as each
/// resample keeps both scores of a sample together (Efron 1979; Berg-Kirkpatrick et al. 2012 on its use here).
///
/// Draws are a pure function of the seed: draw k of a resample is sample (h(seed, k) x n) / 2^64, h being the k-th
/// output of SplitMix64 (Steele et al. 2014), k counting through all resamples.
pub(super) fn interval(differences: &[f64], resamples: usize, seed: u64) -> [f64; 2] {
    let count = differences.len();
    let mean_of = |resample: usize| {
        let first = (resample * count) as u64;
        let drawn = (first..first + count as u64).map(|k| {
            let at = (u128::from(split_mix(seed, k)) * count as u128) >> 64;
            differences[at as usize]
        });
        drawn.sum::<f64>() / count as f64
    };
    let mut means: Vec<f64> = (0..resamples).into_par_iter().map(mean_of).collect();
    means.sort_by(f64::total_cmp);
    let tail = (1.0 - COVERAGE) / 2.0;
    [quantile(&means, tail), quantile(&means, 1.0 - tail)]
}

/// Output `k` of the generator, from 0.
fn split_mix(seed: u64, k: u64) -> u64 {
    let mut bits = seed.wrapping_add(k.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    }

    #[test]
    fn they_are_those_that_numpy_works_out() {
        let all: Value = serde_json::from_str(include_str!("../../../tests/data/golden/statistics.json")).unwrap();
        let scores = numbers(&all["scores"]);
        assert!((mean(&scores) - all["mean"].as_f64().unwrap()).abs() < 1e-12);
        assert!((deviation(&scores).unwrap() - all["deviation"].as_f64().unwrap()).abs() < 1e-12);
        let mut sorted = scores.clone();
        sorted.sort_by(f64::total_cmp);
        for (share, expected) in numbers(&all["shares"]).into_iter().zip(numbers(&all["quantiles"])) {
            assert!((quantile(&sorted, share) - expected).abs() < 1e-12, "{share}");
        }
        let found = interval(
            &numbers(&all["differences"]),
            all["resamples"].as_u64().unwrap() as usize,
            all["seed"].as_u64().unwrap(),
        );
        for (found, expected) in found.iter().zip(numbers(&all["interval"])) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        // By another generator, of numpy's own, it is the same within the noise of resampling.
        for (found, expected) in found.iter().zip(numbers(&all["interval_of_numpy"])) {
            assert!((found - expected).abs() < 0.02, "{found} {expected}");
        }
    }

    #[test]
    fn of_one_value_there_is_no_spread_and_equals_have_none() {
        assert_eq!(deviation(&[0.5]), None);
        assert_eq!(deviation(&[0.5, 0.5]), Some(0.0));
        assert_eq!(interval(&[0.25; 9], 50, 1), [0.25, 0.25]);
    }
}
