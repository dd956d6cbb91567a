//! The charts: accuracy beside its floors, accuracy by question type, learning curves.

use retort_schemas::runs::Score;

use crate::plot::{COLOURS, Frame, Line, lines};
use crate::svg::Svg;
use crate::text::{count, percent};

/// Points of a curve that are drawn: more cannot be told apart.
const POINTS: usize = 240;
/// A curve of at most so many points is drawn as it is, with dots.
const FEW: usize = 40;

/// Class that gives a run its colour, the same everywhere on the page; a run further down takes the first one again.
pub(crate) fn colour(run: usize) -> String {
    format!("c{}", run % COLOURS)
}

/// A share as a place on a drawing of full width.
fn across(share: f64) -> String {
    format!("{:.2}%", share.clamp(0.0, 1.0) * 100.0)
}

/// Words at a share of the width, held so that they stay inside.
fn text_across(svg: &mut Svg, share: f64, y: f64, class: &str, words: &str) {
    let anchor = match share {
        share if share < 0.06 => "start",
        share if share > 0.94 => "end",
        _ => "middle",
    };
    svg.text(across(share), y, &format!("{class} {anchor}"), words);
}

/// The axis from 0 to 100 %, from `top` to `bottom`.
fn share_axis(svg: &mut Svg, top: f64, bottom: f64) {
    for fifth in 0..=5 {
        let share = f64::from(fifth) / 5.0;
        svg.line((across(share), top), (across(share), bottom), "grid");
        text_across(svg, share, bottom + 15.0, "tick", &format!("{:.0}\u{202f}%", share * 100.0));
    }
}

/// Accuracy of each run as a bar, the two floors as lines through all of them. Items: run, name, score.
pub(crate) fn accuracy_bars(scores: &[(usize, &str, &Score)]) -> String {
    const TOP: f64 = 38.0;
    const ROW: f64 = 44.0;
    let mut svg = Svg::default();
    let bottom = TOP + ROW * scores.len() as f64;
    share_axis(&mut svg, TOP, bottom);
    for (at, (run, name, score)) in scores.iter().enumerate() {
        let y = TOP + ROW * at as f64;
        svg.text(2, y + 15.0, "label", name);
        svg.bar(0, y + 21.0, across(score.accuracy), 17.0, &format!("bar {}", colour(*run)));
        // Beside the bar, or inside where there is no room.
        let (class, gap) = if score.accuracy > 0.8 { ("inside end", "\u{2002}") } else { ("value start", "") };
        let words =
            if gap.is_empty() { format!("\u{2002}{}", percent(score.accuracy)) } else { percent(score.accuracy) + gap };
        svg.text(across(score.accuracy), y + 34.0, class, &words);
    }
    // Floors of runs on the same data are equal, and their pieces make one line.
    for (at, (_, _, score)) in scores.iter().enumerate() {
        let y = TOP + ROW * at as f64;
        svg.line((across(score.majority), y), (across(score.majority), y + ROW), "floor majority");
        svg.line((across(score.question_only), y), (across(score.question_only), y + ROW), "floor question");
    }
    if let Some((_, _, score)) = scores.first() {
        let floors = [
            (score.majority, "majority", "always the commonest answer"),
            (score.question_only, "question", "question alone"),
        ];
        for (line, (share, class, words)) in floors.into_iter().enumerate() {
            let y = 13.0 + 15.0 * line as f64;
            svg.line((across(share), y + 4.0), (across(share), TOP), &format!("floor {class}"));
            let anchor = if share > 0.5 { "end" } else { "start" };
            svg.text(across(share), y, &format!("mark {anchor}"), &format!("{words} {}", percent(share)));
        }
    }
    svg.wide(bottom + 22.0, "Accuracy by run, with the accuracies of two guessers as floors")
}

/// One question type: its name, its number of samples, and the score of each run that has one.
pub(crate) struct TypeRow<'a> {
    pub(crate) name: &'a str,
    pub(crate) samples: u64,
    pub(crate) scores: Vec<(usize, &'a str, &'a Score)>,
}

/// For each question type, every run's accuracy as a dot at the end of a line from what the question alone gives.
pub(crate) fn type_dots(rows: &[TypeRow<'_>]) -> String {
    const LABEL: f64 = 20.0;
    const RUN: f64 = 13.0;
    let mut svg = Svg::default();
    let height = |row: &TypeRow<'_>| LABEL + RUN * row.scores.len() as f64 + 8.0;
    let bottom: f64 = rows.iter().map(height).sum();
    share_axis(&mut svg, 0.0, bottom);
    let mut top = 0.0;
    for row in rows {
        svg.text(2, top + 15.0, "label", row.name);
        svg.text("100%", top + 15.0, "tick end", &format!("{} samples", count(row.samples)));
        for (at, (run, name, score)) in row.scores.iter().enumerate() {
            let (y, class) = (top + LABEL + RUN * (at as f64 + 0.5), colour(*run));
            svg.line((across(score.question_only), y), (across(score.accuracy), y), &format!("stem {class}"));
            let title = format!("{name}: {}, question alone {}", percent(score.accuracy), percent(score.question_only));
            svg.dot(across(score.accuracy), y, 5.0, &format!("dot {class}"), &title);
        }
        if let Some((_, _, score)) = row.scores.first() {
            let (from, to) = (top + LABEL, top + LABEL + RUN * row.scores.len() as f64);
            for (share, class) in [(score.majority, "majority"), (score.question_only, "question")] {
                svg.line((across(share), from), (across(share), to), &format!("floor {class}"));
            }
        }
        top += height(row);
    }
    svg.wide(bottom + 22.0, "Accuracy by question type and run, beside what the question alone gives")
}

/// A run's curve of one tag.
pub(crate) struct Curve<'a> {
    pub(crate) run: usize,
    pub(crate) points: &'a [(f64, f64)],
}

/// The curves of one tag: what was logged, faint, under its running mean.
pub(crate) fn curves(label: &str, curves: &[Curve<'_>]) -> String {
    let drawn: Vec<Line> = curves.iter().filter(|curve| !curve.points.is_empty()).map(line_of).collect();
    let steps = curves.iter().filter_map(|curve| curve.points.last()).map(|point| point.0).fold(1.0, f64::max);
    let frame = Frame { label, across: "step", x: (0.0, steps), y: range(&drawn), log_ticks: &[], percent: false };
    lines(frame, &drawn)
}

fn line_of(curve: &Curve<'_>) -> Line {
    let raw = thinned(curve.points);
    let few = raw.len() <= FEW;
    let (points, raw) = if few { (raw, Vec::new()) } else { (thinned(&smoothed(curve.points)), raw) };
    Line { colour: curve.run, points, raw, reach: Vec::new(), dots: few }
}

/// Lowest and highest value to show: all of the means, and all but the wildest of what was logged.
fn range(drawn: &[Line]) -> (f64, f64) {
    let mut shown: Vec<f64> = Vec::new();
    for curve in drawn {
        let mut values: Vec<f64> = curve.raw.iter().map(|point| point.1).collect();
        values.sort_by(f64::total_cmp);
        let wild = values.len() / 50;
        shown.extend(&values[wild..values.len() - wild]);
        shown.extend(curve.points.iter().map(|point| point.1));
    }
    let low = shown.iter().copied().fold(f64::INFINITY, f64::min);
    let high = shown.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !(low.is_finite() && high.is_finite()) {
        return (0.0, 1.0);
    }
    // Zero belongs to a scale that comes near it.
    let low = if low > 0.0 && low < 0.4 * high { 0.0 } else { low };
    let room = if high > low { 0.05 * (high - low) } else { 0.1 * high.abs().max(0.1) };
    (if low == 0.0 { 0.0 } else { low - room }, high + room)
}

/// The running mean over a twentieth of the points.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let reach = points.len() / 40;
    let mut sums = vec![0.0];
    for (_, value) in points {
        sums.push(sums[sums.len() - 1] + value);
    }
    let mean = |at: usize| {
        let (from, to) = (at.saturating_sub(reach), (at + reach + 1).min(points.len()));
        (sums[to] - sums[from]) / (to - from) as f64
    };
    points.iter().enumerate().map(|(at, (step, _))| (*step, mean(at))).collect()
}

/// At most [`POINTS`] points: the means of neighbours.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let each = points.len().div_ceil(POINTS).max(1);
    let mean = |chunk: &[(f64, f64)]| {
        let (steps, values) = chunk.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (steps / chunk.len() as f64, values / chunk.len() as f64)
    };
    points.chunks(each).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_curve_is_thinned_and_smoothed() {
        let points: Vec<(f64, f64)> = (0..1000).map(|step| (f64::from(step), f64::from(step % 2))).collect();
        assert_eq!(thinned(&points).len(), 200);
        let smooth = smoothed(&points);
        assert!((smooth[500].1 - 0.5).abs() < 0.02);
        assert_eq!(smoothed(&points[..3]), points[..3]);
    }

    #[test]
    fn odd_curves_draw_all_the_same() {
        for points in [vec![], vec![(0.0, 0.0)], vec![(5.0, -2.0), (5.0, -2.0)], vec![(1.0, 1e-9), (2.0, 1e9)]] {
            let svg = curves("odd", &[Curve { run: 9, points: &points }]);
            assert!(svg.starts_with("<svg") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
