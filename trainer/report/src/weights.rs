//! How sure the teachers are of the training samples: what confidence weighting goes by.

use crate::charts::colour;
use crate::load::Run;
use crate::page::Writer;
use crate::plot::histogram;
use crate::text::{count, escape, percent};

/// Bars from 0 to 1.
const BINS: usize = 20;

/// A histogram for each run that wrote its confidences down.
pub(crate) fn write(page: &mut Writer, runs: &[Run]) {
    page.section(
        "Confidence of the teachers",
        "Confidence weighting goes by the probability that a cross-fitted probe on the teachers' features gives to the truth \
         of a training sample. What the probe would answer wrongly stands on top.",
    );
    let panels: Vec<String> = runs.iter().enumerate().filter_map(|(at, run)| panel(at, run)).collect();
    if panels.is_empty() {
        page.miss("No run wrote down how sure the teachers are: its arm may not weigh samples.".to_owned());
        return;
    }
    page.html += &format!(
        "<ul class=\"legend\"><li><span class=\"key c0\"></span>probe is right</li><li><span class=\"key c1\"></span>probe \
         is wrong</li></ul><div class=\"panels\">{}</div>",
        panels.concat()
    );
}

fn panel(at: usize, run: &Run) -> Option<String> {
    let samples = run.confidence.len();
    if samples == 0 {
        return None;
    }
    let bins = bins(&run.confidence);
    let right = bins.iter().map(|bin| bin.1).sum::<u64>() as f64 / samples as f64;
    Some(format!(
        "<div class=\"card\"><h3><span class=\"key {}\"></span>{}</h3><p class=\"soft\">{} samples, {} right</p>{}</div>",
        colour(at),
        escape(&run.name),
        count(samples as u64),
        percent(right),
        histogram("Samples by confidence of the teachers", ("probability of the truth", "samples"), (0.0, 1.0), &bins),
    ))
}

/// Samples of each bar, and how many of them the probe has right.
fn bins(confidence: &[(f32, bool)]) -> Vec<(u64, u64)> {
    let mut bins = vec![(0, 0); BINS];
    for (sure, right) in confidence {
        // A probability of 1 belongs to the last bar; what is no number, to the first.
        let at = ((f64::from(*sure) * BINS as f64) as usize).min(BINS - 1);
        bins[at] = (bins[at].0 + 1, bins[at].1 + u64::from(*right));
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_the_scale_have_their_bars() {
        let bins = bins(&[(0.0, false), (1.0, true), (0.96, false), (0.5, true), (f32::NAN, false)]);
        assert_eq!((bins[0], bins[10], bins[19]), ((2, 0), (1, 1), (2, 1)));
    }
}
