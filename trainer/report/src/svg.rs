//! Just enough of SVG: scales, ticks, and shapes whose looks are left to the style sheet.

use std::fmt::Display;

use crate::text::escape;

/// Maps a range of values to a range of the drawing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) from: (f64, f64),
    pub(crate) to: (f64, f64),
}

impl Scale {
    /// The place of a value; what lies outside is drawn at the edge.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let span = self.from.1 - self.from.0;
        let share = if span == 0.0 { 0.5 } else { ((value - self.from.0) / span).clamp(0.0, 1.0) };
        self.to.0 + share * (self.to.1 - self.to.0)
    }
}

/// Round values in a range, and the step between them: 1, 2 or 5 times a power of ten, at most `most` of them.
pub(crate) fn ticks(low: f64, high: f64, most: usize) -> (Vec<f64>, f64) {
    let rough = (high - low) / most.max(1) as f64;
    if !rough.is_finite() || rough <= 0.0 {
        return (vec![low], 1.0);
    }
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let (first, last) = ((low / step).ceil() as i64, (high / step + 1e-9).floor() as i64);
    ((first..=last).map(|at| at as f64 * step).collect(), step)
}

/// A drawing in the making. Coordinates are numbers, or shares of the width such as `50%`.
#[derive(Debug, Default)]
pub(crate) struct Svg {
    body: String,
}

impl Svg {
    /// A straight line.
    pub(crate) fn line(&mut self, from: (impl Display, impl Display), to: (impl Display, impl Display), class: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.body += &format!("<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>");
    }

    /// A line through points.
    pub(crate) fn path(&mut self, points: &[(f64, f64)], class: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.body += &format!("<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "));
    }

    /// A box.
    pub(crate) fn bar(&mut self, x: impl Display, y: f64, width: impl Display, height: f64, class: &str) {
        self.body +=
            &format!("<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"2\"/>");
    }

    /// A dot, with words that appear when it is pointed at.
    pub(crate) fn dot(&mut self, x: impl Display, y: f64, radius: f64, class: &str, title: &str) {
        let title = if title.is_empty() { String::new() } else { format!("<title>{}</title>", escape(title)) };
        self.body += &format!("<circle class=\"{class}\" cx=\"{x}\" cy=\"{y:.1}\" r=\"{radius}\">{title}</circle>");
    }

    /// Words; `class` says at which end they are held.
    pub(crate) fn text(&mut self, x: impl Display, y: f64, class: &str, words: &str) {
        self.body += &format!("<text class=\"{class}\" x=\"{x}\" y=\"{y:.1}\">{}</text>", escape(words));
    }

    /// A drawing as wide as the page allows, of a fixed height, its words in their natural size.
    pub(crate) fn wide(self, height: f64, label: &str) -> String {
        let label = escape(label);
        format!(
            "<svg class=\"wide\" role=\"img\" aria-label=\"{label}\" width=\"100%\" height=\"{height}\">{}</svg>",
            self.body
        )
    }

    /// A drawing that grows and shrinks as a whole.
    pub(crate) fn boxed(self, width: f64, height: f64, label: &str) -> String {
        let label = escape(label);
        format!(
            "<svg class=\"boxed\" role=\"img\" aria-label=\"{label}\" viewBox=\"0 0 {width} {height}\">{}</svg>",
            self.body
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(0.0, 1.0, 5), (vec![0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0], 0.2));
        assert_eq!(ticks(0.0, 3000.0, 4), (vec![0.0, 1000.0, 2000.0, 3000.0], 1000.0));
        assert_eq!(ticks(2.0, 2.0, 4).0, vec![2.0]);
        assert_eq!(ticks(f64::NAN, 2.0, 4).0.len(), 1);
    }

    #[test]
    fn a_scale_keeps_outliers_at_its_edge() {
        let scale = Scale { from: (0.0, 10.0), to: (100.0, 0.0) };
        assert_eq!((scale.at(5.0), scale.at(20.0), scale.at(-1.0)), (50.0, 0.0, 100.0));
    }
}
