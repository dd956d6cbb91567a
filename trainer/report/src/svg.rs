//! Shapes on drawings as wide as the page, whose looks are left to the style sheet; what keeps its proportions is `plot`'s.

use std::fmt::Display;

use crate::text::escape;

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
}
