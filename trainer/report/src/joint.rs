//! VCR by question: the answer, the rationale, and both for one question.

use std::collections::BTreeSet;

use retort_schemas::runs::Joint;

use crate::load::Run;
use crate::page::Writer;
use crate::runs::name_cell;
use crate::text::{counted, escape, percent};

/// A table for each split on which a run answered both halves; nothing where none did.
pub(crate) fn write(page: &mut Writer, runs: &[Run]) {
    let of = |run: &Run, split: &str| run.evaluations.get(split)?.joint;
    let splits: BTreeSet<&String> = runs.iter().flat_map(|run| run.evaluations.keys()).collect();
    let joined = |split: &&&String| runs.iter().any(|run| of(run, split).is_some());
    let splits: Vec<&String> = splits.iter().filter(joined).copied().collect();
    if splits.is_empty() {
        return;
    }
    page.section(
        "Both halves of a question",
        "Q->A: the answer is right. QA->R: the rationale is right, picked given the right answer. Q->AR: both, for one question; \
         by chance 6.25 %.",
    );
    for split in splits {
        let scored = runs.iter().enumerate().filter_map(|(at, run)| Some((at, run, of(run, split)?)));
        let rows: String = scored.map(|(at, run, joint)| row(at, run, &joint)).collect();
        page.html += &format!(
            "<div class=\"card scroll\"><h3>Split {}</h3><table><tr><th>run</th><th>Q-&gt;A</th><th>QA-&gt;R</th><th>Q-&gt;AR</th>\
             <th>of</th></tr>{rows}</table></div>",
            escape(split)
        );
    }
}

fn row(at: usize, run: &Run, joint: &Joint) -> String {
    format!(
        "<tr>{}<td>{}</td><td>{}</td><td><strong>{}</strong></td><td>{}</td></tr>",
        name_cell(at, &run.name),
        percent(joint.answer),
        percent(joint.rationale),
        percent(joint.both),
        counted(joint.questions, "question", "questions")
    )
}

/// The mean over seeds, which answered the same questions; none of none.
pub(crate) fn mean(seeds: impl Iterator<Item = Joint>) -> Option<Joint> {
    let seeds: Vec<Joint> = seeds.collect();
    let first = *seeds.first()?;
    let of = |part: fn(&Joint) -> f64| seeds.iter().map(part).sum::<f64>() / seeds.len() as f64;
    Some(Joint { answer: of(|j| j.answer), rationale: of(|j| j.rationale), both: of(|j| j.both), ..first })
}
