//! Scores by what was asked: by question type, and by answer type where the data set tells any.

use std::collections::BTreeMap;

use retort_schemas::runs::{Evaluation, Score};

use crate::charts::{TypeRow, type_dots};
use crate::load::Run;
use crate::page::Writer;
use crate::runs::{legend, main_split};
use crate::text::counted;

/// Types shown: the commonest.
const TYPES: usize = 24;

/// The sections of the split that most runs were scored on.
pub(crate) fn write(page: &mut Writer, runs: &[Run]) {
    let scored = |split: &String| runs.iter().any(|run| run.evaluations.contains_key(split));
    let Some(split) = main_split(runs).filter(scored) else { return };
    let words =
        format!("On the split {split}. A line runs from what the question alone gives to what the run reaches.");
    page.section("By question type", &words);
    let rows = rows_of(runs, &split, |evaluation| &evaluation.by_question_type);
    if rows.is_empty() {
        page.miss("The data set tells no question types.".to_owned());
    } else {
        card(page, runs, &split, rows);
    }
    let rows = rows_of(runs, &split, |evaluation| &evaluation.by_answer_type);
    if !rows.is_empty() {
        page.section("By answer type", &words);
        card(page, runs, &split, rows);
    }
}

/// The types with the scores of each run, the commonest first.
fn rows_of<'a>(runs: &'a [Run], split: &str, types: fn(&Evaluation) -> &[Score]) -> Vec<TypeRow<'a>> {
    let mut rows: BTreeMap<&str, TypeRow<'a>> = BTreeMap::new();
    for (at, run) in runs.iter().enumerate() {
        for score in run.evaluations.get(split).into_iter().flat_map(types) {
            let empty = || TypeRow { name: &score.name, samples: score.samples, scores: Vec::new() };
            rows.entry(&score.name).or_insert_with(empty).scores.push((at, &run.name, score));
        }
    }
    let mut rows: Vec<TypeRow<'a>> = rows.into_values().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.samples));
    rows
}

fn card(page: &mut Writer, runs: &[Run], split: &str, mut rows: Vec<TypeRow<'_>>) {
    let rest = rows.split_off(rows.len().min(TYPES));
    let floors = "<li><span class=\"line\"></span>commonest answer</li><li><span class=\"line question\"></span>question alone</li>";
    page.html += &format!(
        "<div class=\"card\">{}{}</div>",
        legend(runs, |run| run.evaluations.contains_key(split), floors),
        type_dots(&rows)
    );
    if !rest.is_empty() {
        let samples = rest.iter().map(|row| row.samples).sum();
        let types = counted(rest.len() as u64, "rarer type is", "rarer types are");
        page.html += &format!(
            "<p class=\"soft\">{types} left out, with {} together.</p>",
            counted(samples, "sample", "samples")
        );
    }
}
