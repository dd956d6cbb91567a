//! The sections that compare the arms of a protocol: gains over base, low-shot curves, the ladder of the method's parts.

use std::collections::BTreeSet;

use crate::charts::colour;
use crate::page::Writer;
use crate::plot::{Frame, Interval, Line, intervals, lines};
use crate::protocol::{Arm, Compared, Protocol};
use crate::text::{escape, percent, points, short};

/// The arms of the method, each with more of it than those before.
const LADDER: [&str; 7] = ["base", "kd-v", "kd-t", "kd", "kd+ts", "kd+ts+cw", "mad"];

/// A condition and a split, in the order of the protocol.
fn sections(protocol: &Protocol) -> Vec<(&Compared, Vec<&Compared>)> {
    let same = |a: &Compared, b: &Compared| (&a.condition, &a.split) == (&b.condition, &b.split);
    let mut sections: Vec<(&Compared, Vec<&Compared>)> = Vec::new();
    for row in &protocol.compared {
        match sections.iter_mut().find(|(first, _)| same(first, row)) {
            Some((_, rows)) => rows.push(row),
            None => sections.push((row, vec![row])),
        }
    }
    sections
}

fn place_of(protocol: &Protocol, arm: &str) -> usize {
    protocol.arms.iter().position(|name| name == arm).unwrap_or(0)
}

fn title(row: &Compared) -> String {
    let shifted = if row.shifted { ", shifted" } else { "" };
    format!("{}, on {}{shifted}", row.condition, row.split)
}

/// Mean and deviation, as `61.5 ± 0.4 %`.
fn score(row: &Compared) -> String {
    match (row.score, row.deviation) {
        (Some(score), Some(deviation)) => {
            format!("{:.1} \u{b1} {:.1}\u{202f}%", score * 100.0, deviation * 100.0)
        }
        (Some(score), None) => percent(score),
        _ => "not scored".to_owned(),
    }
}

/// Gains over base by condition, with their intervals.
pub(crate) fn gains(page: &mut Writer, protocol: &Protocol) {
    page.section(
        "Gains over base",
        "Points above the base arm of the same condition and seeds, with 95 % intervals: a paired bootstrap over test samples. The \
         interval tells what other test samples might have given, not what other seeds might; that is told by the deviations \
         further down. An interval that leaves 0 out is not enough where those are as large as the gain.",
    );
    let panels: String =
        sections(protocol).into_iter().filter_map(|(first, rows)| gain_panel(protocol, first, &rows)).collect();
    if panels.is_empty() {
        page.miss("No arm is scored beside a base arm, so there are no gains to show.".to_owned());
        return;
    }
    page.html += &format!("<div class=\"panels\">{panels}</div>");
}

fn gain_panel(protocol: &Protocol, first: &Compared, rows: &[&Compared]) -> Option<String> {
    let row = |row: &&Compared| {
        let [value, low, high] = row.gain?;
        let note = format!("{} ({} to {})", points(value), points(low), points(high));
        Some(Interval { colour: place_of(protocol, &row.arm), name: row.arm.clone(), note, value, low, high })
    };
    let drawn: Vec<Interval> = rows.iter().filter_map(row).collect();
    if drawn.is_empty() {
        return None;
    }
    let base = rows.iter().find(|row| row.gain.is_none() && row.score.is_some());
    let base = base.map_or(String::new(), |row| format!("{}: {}", row.arm, score(row)));
    let cell = protocol.cells.iter().find(|cell| cell.condition == first.condition);
    let floors = cell.and_then(|cell| cell.floors.get(&first.split)).map_or(String::new(), |floors| {
        let text_only = floors.text_only.map(|text| format!(", text's vector alone {}", percent(text)));
        format!(
            "; floors: commonest answer {}, question alone {}{}",
            percent(floors.majority),
            percent(floors.question_only),
            text_only.unwrap_or_default()
        )
    });
    let label = format!("Gains over base: {}", title(first));
    Some(format!(
        "<div class=\"card\"><h3>{}</h3><p class=\"soft\">{}{floors}</p>{}</div>",
        escape(&title(first)),
        escape(&base),
        intervals(&label, &drawn, 0.0, signed)
    ))
}

/// A tick of differences in points: `+5`.
fn signed(difference: f64) -> String {
    let sign = if difference > 0.0 { "+" } else { "" };
    format!("{sign}{}", short(difference * 100.0))
}

/// Score against the images trained on, a line an arm.
pub(crate) fn low_shot(page: &mut Writer, protocol: &Protocol) {
    page.section(
        "Scores by size of the training data",
        "Mean score over seeds against the images trained on, which are on a logarithmic axis. Bars reach one standard \
         deviation over seeds.",
    );
    let mut seen = BTreeSet::new();
    let splits = protocol.compared.iter().filter(|row| seen.insert((&row.split, row.shifted)));
    let panels: String = splits.filter_map(|row| low_shot_panel(protocol, &row.split, row.shifted)).collect();
    if panels.is_empty() {
        page.miss("Fewer than two sizes of training data are scored on a split, so there is no curve.".to_owned());
        return;
    }
    let items: String = protocol
        .arms
        .iter()
        .enumerate()
        .map(|(at, arm)| format!("<li><span class=\"key {}\"></span>{}</li>", colour(at), escape(arm)))
        .collect();
    page.html += &format!("<ul class=\"legend\">{items}</ul><div class=\"panels\">{panels}</div>");
}

fn low_shot_panel(protocol: &Protocol, split: &str, shifted: bool) -> Option<String> {
    let mut drawn = Vec::new();
    for (at, arm) in protocol.arms.iter().enumerate() {
        let point = |row: &Compared| {
            let same = |cell: &&crate::protocol::Cell| cell.condition == row.condition && cell.arm == *arm;
            let images = protocol.cells.iter().find(same)?.images;
            Some((images as f64, row.score?, row.deviation.unwrap_or(0.0)))
        };
        let rows =
            protocol.compared.iter().filter(|row| row.arm == *arm && row.split == split && row.shifted == shifted);
        let mut all: Vec<(f64, f64, f64)> = rows.filter_map(point).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        drawn.push(Line {
            colour: at,
            points: all.iter().map(|point| (point.0, point.1)).collect(),
            reach: all.iter().map(|point| point.2).collect(),
            dots: true,
            ..Line::default()
        });
    }
    let places = || drawn.iter().flat_map(|line| &line.points);
    let sizes: BTreeSet<u64> = places().map(|point| point.0 as u64).collect();
    let sizes: Vec<f64> = sizes.into_iter().map(|size| size as f64).collect();
    let (least, most) = (sizes.first()?, sizes.last()?);
    if sizes.len() < 2 {
        return None;
    }
    let ends = || drawn.iter().flat_map(|line| line.points.iter().zip(&line.reach));
    let low = ends().map(|(point, reach)| point.1 - reach).fold(f64::INFINITY, f64::min);
    let high = ends().map(|(point, reach)| point.1 + reach).fold(f64::NEG_INFINITY, f64::max);
    let room = 0.05 * (high - low).max(0.01);
    let title = format!("On {split}{}", if shifted { ", shifted" } else { "" });
    let frame = Frame {
        label: &title,
        across: "training images",
        x: (least * 0.85, most * 1.15),
        y: (low - room, high + room),
        log_ticks: &sizes,
        percent: true,
    };
    Some(format!("<div class=\"card\"><h3>{}</h3>{}</div>", escape(&title), lines(frame, &drawn)))
}

/// The parts of the method one after another, condition by condition.
pub(crate) fn ladder(page: &mut Writer, protocol: &Protocol, arms: &[Arm]) {
    page.section(
        "What each part of the method adds",
        "Mean score of each arm of the method, and in brackets the points over the arm above it. Bars reach one standard deviation \
         over seeds.",
    );
    let rung = |arm: &Arm| {
        let place = LADDER.iter().position(|name| *name == arm.mean.info.arm)?;
        (arm.mean.info.control == "none").then(|| (place, arm.mean.name.clone()))
    };
    let mut rungs: Vec<(usize, String)> = arms.iter().filter_map(rung).collect();
    // Of arms that differ in other things than these parts, the first.
    rungs.sort_by_key(|rung| rung.0);
    rungs.dedup_by_key(|rung| rung.0);
    let panel = |(first, rows): (&Compared, Vec<&Compared>)| {
        let rows: Vec<&Compared> = rungs
            .iter()
            .filter_map(|(_, arm)| rows.iter().copied().find(|row| row.arm == *arm && row.score.is_some()))
            .collect();
        (rows.len() > 1).then(|| ladder_panel(protocol, first, &rows))
    };
    let panels: String = sections(protocol).into_iter().filter_map(panel).collect();
    if panels.is_empty() {
        page.miss("Fewer than two arms of the method are scored, so there is no ladder.".to_owned());
        return;
    }
    page.html += &format!("<div class=\"panels\">{panels}</div>");
}

fn ladder_panel(protocol: &Protocol, first: &Compared, rows: &[&Compared]) -> String {
    let mut above: Option<f64> = None;
    let mut drawn = Vec::new();
    for row in rows {
        let Some(value) = row.score else { continue };
        let step = above.map_or(String::new(), |above| format!(" ({})", points(value - above)));
        let reach = row.deviation.unwrap_or(0.0);
        drawn.push(Interval {
            colour: place_of(protocol, &row.arm),
            name: row.arm.clone(),
            note: score(row) + &step,
            value,
            low: value - reach,
            high: value + reach,
        });
        above = Some(value);
    }
    let base = drawn.first().map_or(0.0, |row| row.value);
    let label = format!("Parts of the method: {}", title(first));
    let tick = |share: f64| short(share * 100.0);
    format!("<div class=\"card\"><h3>{}</h3>{}</div>", escape(&title(first)), intervals(&label, &drawn, base, tick))
}

/// Places of the base arm and of the best distilled arm without a control, by their mean scores on a split.
pub(crate) fn best_beside_base(split: &str, arms: &[Arm]) -> Option<(usize, usize)> {
    let plain = |arm: &Arm| arm.mean.info.control == "none";
    let base = arms.iter().position(|arm| arm.mean.info.arm == "base" && plain(arm))?;
    let distilled = |arm: &Arm| arm.mean.info.arm.starts_with("kd") || arm.mean.info.arm.starts_with("mad");
    let scored = arms.iter().enumerate().filter(|(_, arm)| distilled(arm) && plain(arm));
    let scored = scored.filter_map(|(at, arm)| Some((at, arm.mean.evaluations.get(split)?.overall.accuracy)));
    // Of equals the first.
    scored.rev().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(at, _)| (base, at))
}
