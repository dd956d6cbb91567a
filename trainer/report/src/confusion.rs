//! What is taken for what: truths against answers.

use std::collections::BTreeMap;

use crate::charts::colour;
use crate::load::{Prediction, Run};
use crate::page::Writer;
use crate::text::{count, counted, escape};

/// Truths shown: the commonest.
const TRUTHS: usize = 12;

/// The matrix of every run that has predictions with truths on a split.
pub(crate) fn of_runs(page: &mut Writer, runs: &[Run], split: Option<&str>) {
    let split = split.unwrap_or_default();
    let of_run = |(at, run): (usize, &Run)| {
        let predictions = run.predictions.get(split)?;
        matrix(predictions.iter()).map(|table| (at, run.name.clone(), table))
    };
    let tables: Vec<_> = runs.iter().enumerate().filter_map(of_run).collect();
    write(page, &tables);
}

/// Writes named matrices, of which the first and the last are open.
pub(crate) fn write(page: &mut Writer, tables: &[(usize, String, String)]) {
    page.section(
        "Confusion",
        "Rows are truths, the commonest first; columns what was answered, in percent of the row. Answers that are no truth of \
         the table stand together in the last column.",
    );
    if tables.is_empty() {
        page.miss("No run has predictions beside truths, so what is taken for what is not known.".to_owned());
    }
    for (place, (at, name, table)) in tables.iter().enumerate() {
        let open = if place == 0 || place + 1 == tables.len() { " open" } else { "" };
        page.html += &format!(
            "<details{open}><summary><span class=\"key {}\"></span>{}</summary><div class=\"card scroll\">{table}</div></details>",
            colour(*at),
            escape(name),
        );
    }
}

/// The matrix as a table; none without truths.
pub(crate) fn matrix<'a>(predictions: impl Iterator<Item = &'a Prediction>) -> Option<String> {
    let mut counts: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    for prediction in predictions {
        if let Some(truth) = &prediction.truth {
            *counts.entry(truth).or_default().entry(&prediction.answer).or_default() += 1;
        }
    }
    let mut rows: Vec<(&str, u64)> = counts.iter().map(|(truth, answers)| (*truth, answers.values().sum())).collect();
    rows.sort_by_key(|(truth, samples)| (std::cmp::Reverse(*samples), *truth));
    let left_out = rows.split_off(rows.len().min(TRUTHS)).len();
    if rows.is_empty() {
        return None;
    }
    let head: String = rows.iter().map(|(truth, _)| format!("<th>{}</th>", escape(truth))).collect();
    let body: String = rows.iter().map(|(truth, samples)| row(&counts[truth], &rows, truth, *samples)).collect();
    let rest = if left_out == 0 {
        String::new()
    } else {
        let rarer = counted(left_out as u64, "rarer truth is", "rarer truths are");
        format!("<p class=\"soft\">{rarer} left out.</p>")
    };
    Some(format!(
        "<table class=\"confusion\"><tr><th>truth</th>{head}<th>\u{2026}</th><th>samples</th></tr>{body}</table>{rest}"
    ))
}

fn row(answers: &BTreeMap<&str, u64>, columns: &[(&str, u64)], truth: &str, samples: u64) -> String {
    let mut shown = 0;
    let mut cells = String::new();
    let mut cell = |answered: u64, class: &str| {
        let share = answered as f64 / samples as f64;
        let words = if answered == 0 { String::new() } else { format!("{:.0}", share * 100.0) };
        cells += &format!("<td class=\"{class}\" style=\"--p:{share:.2}\">{words}</td>");
    };
    for (column, _) in columns {
        let answered = answers.get(column).copied().unwrap_or(0);
        shown += answered;
        cell(answered, if *column == truth { "hit" } else { "miss" });
    }
    cell(samples - shown, "miss");
    format!("<tr><td>{}</td>{cells}<td>{}</td></tr>", escape(truth), count(samples))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Place;

    #[test]
    fn rows_are_shares_of_the_truth() {
        let prediction = |truth: Option<&str>, answer: &str| Prediction {
            place: Place { shard: String::new(), row: 0 },
            text: String::new(),
            answer: answer.to_owned(),
            truth: truth.map(str::to_owned),
            score: None,
            confidence: 0.5,
        };
        let all = [
            (Some("yes"), "yes"),
            (Some("yes"), "no"),
            (Some("yes"), "yes"),
            (Some("yes"), "<b>"),
            (Some("no"), "yes"),
            (None, "no"),
        ];
        let all = all.map(|(truth, answer)| prediction(truth, answer));
        let table = matrix(all.iter()).unwrap();
        let yes = "<td>yes</td><td class=\"hit\" style=\"--p:0.50\">50</td><td class=\"miss\" style=\"--p:0.25\">25</td>\
                   <td class=\"miss\" style=\"--p:0.25\">25</td><td>4</td>";
        assert!(table.contains(yes), "{table}");
        assert!(!table.contains("<b>"));
        assert!(matrix(all[5..].iter()).is_none());
    }
}
