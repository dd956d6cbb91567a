//! Which share of all each of many things has, as bars.

use std::cmp::Reverse;

use crate::plot::{Bar, bars};
use crate::text::{count, counted, cut, percent};

/// Bars shown: of the commonest.
const SHOWN: usize = 30;
/// Characters of a name beside its bar; as many as fit are shown.
const LONGEST: usize = 60;
/// Colour of all that have no bar of their own.
const OTHERS: usize = 7;

/// A card with a bar for each of the commonest, and one for all others, which are called `other`: one of them, and several.
pub(crate) fn card(title: &str, mut counts: Vec<(&str, u64)>, other: [&str; 2]) -> String {
    counts.sort_by_key(|(name, count)| (Reverse(*count), *name));
    let all: u64 = counts.iter().map(|(_, count)| count).sum();
    let rest = counts.split_off(counts.len().min(SHOWN));
    let most = counts.first().map_or(0, |commonest| commonest.1).max(1) as f64;
    let bar = |colour, name: String, of: u64| Bar {
        colour,
        name,
        note: format!("{} \u{b7} {}", count(of), percent(of as f64 / all as f64)),
        value: of as f64,
    };
    let mut rows: Vec<Bar> = counts.iter().map(|(name, of)| bar(0, cut(name, LONGEST), *of)).collect();
    if !rest.is_empty() {
        let others = counted(rest.len() as u64, other[0], other[1]);
        rows.push(bar(OTHERS, others, rest.iter().map(|(_, of)| of).sum()));
    }
    format!("<div class=\"card\">{}</div>", bars(title, &rows, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commonest_come_first_and_the_rest_together() {
        let names: Vec<String> = (0..33).map(|at| format!("name{at:02}")).collect();
        let counts = names.iter().zip(1..).map(|(name, of)| (name.as_str(), of)).collect();
        let card = card("Names", counts, ["other name", "other names"]);
        let places = ["name32", "name31", "name03", "3 other names"].map(|name| card.find(name).unwrap());
        assert!(places.is_sorted(), "{card}");
        assert!(!card.contains("name02") && card.contains("6 \u{b7} 1.1"), "{card}");
    }
}
