//! Plots, drawn by `plotters` and dressed by the page: no colour or size is fixed, so that they are at home in light and dark
//! and shrink with the window.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::text::{escape, short};

/// Width of a plot in units of its own; about what a phone has pixels for, so that words keep their size there.
const WIDTH: u32 = 360;
/// Height of a plot with curves.
const HEIGHT: u32 = 210;
/// Size of words as plotters counts, which is 1.24 of what it draws.
const WORDS: f64 = 15.0;
/// Points beyond which they are drawn smaller.
const CROWD: usize = 500;
/// Columns of bars side by side, where there is room.
const COLUMNS: usize = 3;
/// Colours of the style sheet; what is further down takes the first one again.
pub(crate) const COLOURS: usize = 12;

/// What stands for `--ink`, `--soft` and `--faint` of the style sheet until the drawing is dressed.
const INK: RGBColor = RGBColor(1, 2, 100);
const SOFT: RGBColor = RGBColor(1, 2, 101);
const FAINT: RGBColor = RGBColor(1, 2, 102);

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// What stands for the `at`-th colour of the style sheet.
fn colour(at: usize) -> RGBColor {
    RGBColor(1, 2, (at % COLOURS) as u8)
}

/// A line through points, with how far each may be off.
#[derive(Debug, Default, Clone)]
pub(crate) struct Line {
    /// Place in the colours of the page.
    pub(crate) colour: usize,
    /// x and y.
    pub(crate) points: Vec<(f64, f64)>,
    /// What was measured, under its mean: drawn faintly.
    pub(crate) raw: Vec<(f64, f64)>,
    /// Half lengths of the bars at the points; none or one a point.
    pub(crate) reach: Vec<f64>,
    /// Whether the points are marked.
    pub(crate) dots: bool,
}

/// How a plot of lines is laid out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    /// What a screen reader says.
    pub(crate) label: &'a str,
    /// Words under the axis.
    pub(crate) across: &'a str,
    pub(crate) x: (f64, f64),
    pub(crate) y: (f64, f64),
    /// Values on a logarithmic axis, at which alone there are ticks; none where the axis is even.
    pub(crate) log_ticks: &'a [f64],
    /// Whether y is a share, to be told in percent.
    pub(crate) percent: bool,
}

/// Lines over a common axis.
pub(crate) fn lines(frame: Frame<'_>, lines: &[Line]) -> String {
    draw(frame.label, HEIGHT, |canvas| {
        let log = !frame.log_ticks.is_empty();
        let place = |x: f64| if log { x.max(f64::MIN_POSITIVE).log10() } else { x };
        let mut chart = ChartBuilder::on(canvas)
            .margin_top(8)
            .margin_right(14)
            .x_label_area_size(38)
            .y_label_area_size(44)
            .build_cartesian_2d(place(frame.x.0)..place(frame.x.1), frame.y.0..frame.y.1)?;
        let words = |colour: &RGBColor| ("sans-serif", WORDS).into_font().color(colour);
        let value = |y: &f64| if frame.percent { format!("{}\u{202f}%", short(y * 100.0)) } else { short(*y) };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(SOFT)
            .label_style(words(&SOFT))
            .x_labels(if log { 0 } else { 5 })
            .y_labels(5)
            .x_desc(frame.across)
            .axis_desc_style(words(&SOFT))
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&value)
            .draw()?;
        for tick in frame.log_ticks {
            let (x, y) = chart.backend_coord(&(place(*tick), frame.y.0));
            let style = words(&SOFT).pos(Pos::new(HPos::Center, VPos::Top));
            canvas.draw(&PathElement::new(vec![(x, y), (x, y + 4)], SOFT))?;
            canvas.draw(&Text::new(short(*tick), (x, y + 6), style))?;
        }
        for line in lines {
            let ink = colour(line.colour);
            let at = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
                points.iter().map(|(x, y)| (place(*x), y.clamp(frame.y.0, frame.y.1))).collect()
            };
            chart.draw_series(LineSeries::new(at(&line.raw), ink.mix(0.35)))?;
            chart.draw_series(LineSeries::new(at(&line.points), ink.stroke_width(2)))?;
            for (at, reach) in at(&line.points).into_iter().zip(&line.reach) {
                let ends = vec![(at.0, at.1 - reach), (at.0, at.1 + reach)];
                chart.draw_series([PathElement::new(ends, ink.stroke_width(2))])?;
            }
            if line.dots {
                chart.draw_series(at(&line.points).into_iter().map(|at| Circle::new(at, 3, ink.filled())))?;
            }
        }
        Ok(())
    })
}

/// A row of a plot of intervals.
#[derive(Debug, Clone)]
pub(crate) struct Interval {
    pub(crate) colour: usize,
    /// Words above it, at the left and at the right.
    pub(crate) name: String,
    pub(crate) note: String,
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// A dot and its interval a row, over a common axis whose values `tick` words; `zero` is marked.
pub(crate) fn intervals(label: &str, rows: &[Interval], zero: f64, tick: fn(f64) -> String) -> String {
    const ROW: u32 = 42;
    const FOOT: u32 = 24;
    let ends = rows.iter().flat_map(|row| [row.low, row.high, row.value]).chain([zero]).filter(|end| end.is_finite());
    let (low, high) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), end| (low.min(end), high.max(end)));
    let room = 0.06 * (high - low).max(1e-3);
    draw(label, ROW * rows.len() as u32 + FOOT, |canvas| {
        let bottom = (ROW as usize * rows.len()) as f64;
        let mut chart = ChartBuilder::on(canvas)
            .margin_left(8)
            .margin_right(8)
            .x_label_area_size(FOOT)
            .build_cartesian_2d(low - room..high + room, bottom..0.0)?;
        let words = |colour: &RGBColor| ("sans-serif", WORDS).into_font().color(colour);
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(FAINT)
            .label_style(words(&SOFT))
            .x_labels(5)
            .x_label_formatter(&|x| tick(*x))
            .draw()?;
        chart.draw_series([PathElement::new(vec![(zero, 0.0), (zero, bottom)], SOFT)])?;
        for (at, row) in rows.iter().enumerate() {
            let (top, ink) = (f64::from(ROW) * at as f64, colour(row.colour));
            let y = top + 28.0;
            chart.draw_series([PathElement::new(vec![(row.low, y), (row.high, y)], ink.stroke_width(3))])?;
            chart.draw_series([Circle::new((row.value, y), 5, ink.filled())])?;
            let line = (ROW as usize * at + 4) as i32;
            let left = words(&INK).pos(Pos::new(HPos::Left, VPos::Top));
            let right = words(&SOFT).pos(Pos::new(HPos::Right, VPos::Top));
            canvas.draw(&Text::new(row.name.clone(), (8, line), left))?;
            canvas.draw(&Text::new(row.note.clone(), (WIDTH as i32 - 8, line), right))?;
        }
        Ok(())
    })
}

/// How many values lie in each of equal parts of a range, and how many of these are of a kind; what the values are, and what is
/// counted.
pub(crate) fn histogram(label: &str, (across, up): (&str, &str), range: (f64, f64), bins: &[(u64, u64)]) -> String {
    let most = bins.iter().map(|bin| bin.0).max().unwrap_or(0).max(1) as f64;
    draw(label, HEIGHT, |canvas| {
        let mut chart = ChartBuilder::on(canvas)
            .margin_top(24)
            .margin_right(14)
            .x_label_area_size(38)
            .y_label_area_size(44)
            .build_cartesian_2d(range.0..range.1, 0.0..most * 1.05)?;
        let words = |colour: &RGBColor| ("sans-serif", WORDS).into_font().color(colour);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(SOFT)
            .label_style(words(&SOFT))
            .x_labels(6)
            .y_labels(5)
            .x_desc(across)
            .axis_desc_style(words(&SOFT))
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| short(*y))
            .draw()?;
        let top = words(&SOFT).pos(Pos::new(HPos::Left, VPos::Top));
        canvas.draw(&Text::new(up, (4, 2), top))?;
        let wide = (range.1 - range.0) / bins.len().max(1) as f64;
        let bar = |at: usize, from: u64, to: u64, ink: usize| {
            let left = range.0 + at as f64 * wide;
            let corners = [(left + 0.06 * wide, from as f64), (left + 0.94 * wide, to as f64)];
            Rectangle::new(corners, colour(ink).filled())
        };
        let all = bins.iter().enumerate();
        chart.draw_series(all.clone().map(|(at, (_, kind))| bar(at, 0, *kind, 0)))?;
        chart.draw_series(all.map(|(at, (count, kind))| bar(at, *kind, *count, 1)))?;
        Ok(())
    })
}

/// A row of a plot of bars.
#[derive(Debug, Clone)]
pub(crate) struct Bar {
    pub(crate) colour: usize,
    /// Words above it, at the left and at the right.
    pub(crate) name: String,
    pub(crate) note: String,
    pub(crate) value: f64,
}

/// A bar a row under its words; one of the value `most` is as long as there is room. No drawing: words take the size of the
/// page, and those that are too long for their row are cut off by the browser, which knows how wide they are.
pub(crate) fn bars(label: &str, rows: &[Bar], most: f64) -> String {
    let row = |row: &Bar| {
        let share = (row.value / most.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
        format!(
            "<li><span class=\"name\" title=\"{0}\" dir=\"auto\">{0}</span> <span class=\"value\">{1}</span>\
             <span class=\"rail c{2}\" style=\"--p:{share:.4}\"></span></li>",
            escape(&row.name),
            escape(&row.note),
            row.colour % COLOURS,
        )
    };
    let rows_html: String = rows.iter().map(row).collect();
    let columns = rows.len().clamp(1, COLUMNS);
    format!("<ul class=\"bars\" aria-label=\"{}\" style=\"columns:{columns} 15rem\">{rows_html}</ul>", escape(label))
}

/// A point of a plot of points: its colour, x and y.
pub(crate) type Point = (usize, (f64, f64));

/// Points over two axes that have words and no values.
pub(crate) fn scatter(label: &str, across: &str, up: &str, points: &[Point]) -> String {
    let range = |of: fn(&(f64, f64)) -> f64| {
        let all = points.iter().map(|(_, point)| of(point)).filter(|value| value.is_finite());
        let (low, high) =
            all.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let room = 0.04 * (high - low).max(1e-9);
        if low <= high { low - room..high + room } else { 0.0..1.0 }
    };
    let radius = if points.len() > CROWD { 2 } else { 3 };
    draw(label, WIDTH * 4 / 5, |canvas| {
        let words = ("sans-serif", WORDS).into_font().color(&SOFT);
        let mut chart = ChartBuilder::on(canvas)
            .margin(4)
            .margin_top(22)
            .x_label_area_size(22)
            .build_cartesian_2d(range(|point| point.0), range(|point| point.1))?;
        chart.configure_mesh().disable_mesh().axis_style(FAINT).disable_y_axis().x_labels(0).draw()?;
        let (left, right) = (Pos::new(HPos::Left, VPos::Top), Pos::new(HPos::Right, VPos::Bottom));
        canvas.draw(&Text::new(up, (4, 2), words.pos(left)))?;
        let corner = (WIDTH as i32 - 4, (WIDTH * 4 / 5) as i32 - 2);
        canvas.draw(&Text::new(across, corner, words.pos(right)))?;
        chart.draw_series(points.iter().map(|(ink, at)| Circle::new(*at, radius, colour(*ink).mix(0.7).filled())))?;
        Ok(())
    })
}

/// Draws, and takes out of the drawing what the page decides. What cannot be drawn is told in its place.
fn draw(label: &str, height: u32, paint: impl FnOnce(&Canvas<'_>) -> Drawn) -> String {
    let mut svg = String::new();
    let painted = {
        let canvas = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        paint(&canvas).and_then(|()| canvas.present())
    };
    if let Err(error) = painted {
        return format!("<p class=\"note\">{} cannot be drawn: {}.</p>", escape(label), escape(&error.to_string()));
    }
    dress(&svg, label, height)
}

/// Colours become those of the style sheet, sizes those of the window, fonts those of the page.
fn dress(svg: &str, label: &str, height: u32) -> String {
    let body = svg.split_once('>').map_or("", |(_, body)| body);
    let mut body = body.replace(" font-family=\"sans-serif\"", "").replace(" opacity=\"1\"", "").replace(">\n", ">");
    for at in 0..COLOURS {
        body = body.replace(&hex(colour(at)), &format!("var(--c{at})"));
    }
    for (stand_in, name) in [(INK, "ink"), (SOFT, "soft"), (FAINT, "faint")] {
        body = body.replace(&hex(stand_in), &format!("var(--{name})"));
    }
    format!(
        "<svg class=\"boxed\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {WIDTH} {height}\">{body}",
        escape(label)
    )
}

fn hex(colour: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(log_ticks: &[f64]) -> Frame<'_> {
        Frame { label: "a & b", across: "step", x: (1.0, 100.0), y: (0.0, 1.0), log_ticks, percent: true }
    }

    #[test]
    fn a_plot_has_no_colour_and_no_size_of_its_own() {
        let line =
            Line { points: vec![(1.0, 0.2), (100.0, 0.9)], reach: vec![0.1, 0.1], dots: true, ..Line::default() };
        for ticks in [&[][..], &[1.0, 100.0]] {
            let svg = lines(frame(ticks), &[Line { colour: COLOURS + 1, ..line.clone() }]);
            assert!(
                svg.starts_with("<svg class=\"boxed\" role=\"img\" aria-label=\"a &amp; b\" viewBox=")
                    && svg.contains("</svg>")
            );
            assert!(svg.contains("var(--c1)") && svg.contains("var(--soft)"), "{svg}");
            for fixed in ["\"#", "font-family", "http", "NaN", "inf"] {
                assert!(!svg.contains(fixed), "{fixed}: {svg}");
            }
        }
    }

    #[test]
    fn names_cannot_be_mistaken_for_markup() {
        let row = Interval { colour: 0, name: "<b>&".into(), note: "+1".into(), value: 0.1, low: 0.0, high: 0.2 };
        let svg = intervals("gains", &[row], 0.0, short);
        assert!(svg.contains("&lt;b&gt;&amp;") && !svg.contains("<b>"), "{svg}");
    }

    #[test]
    fn equal_and_empty_values_are_drawn_all_the_same() {
        let row = Interval { colour: 0, name: String::new(), note: String::new(), value: 0.0, low: 0.0, high: 0.0 };
        let bar = Bar { colour: 0, name: String::new(), note: String::new(), value: 0.0 };
        let same = [(0, (1.0, 1.0)); 2];
        for html in [bars("x", &[bar], 0.0), bars("x", &[], 1.0)] {
            assert!(html.starts_with("<ul") && !html.contains("NaN"), "{html}");
        }
        for svg in [scatter("x", "a", "b", &[]), scatter("x", "a", "b", &same)] {
            assert!(svg.starts_with("<svg") && !svg.contains("NaN"), "{svg}");
        }
        for svg in [
            intervals("x", &[row], 0.0, short),
            histogram("x", ("y", "n"), (0.0, 1.0), &[]),
            histogram("x", ("y", "n"), (2.0, 3.0), &[(0, 0); 4]),
        ] {
            assert!(svg.starts_with("<svg") && !svg.contains("NaN"), "{svg}");
        }
    }
}
