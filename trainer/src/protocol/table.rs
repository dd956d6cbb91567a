//! The comparison: every arm of a condition beside its base, on the same samples and seeds.

use std::collections::HashMap;

use arrow::array::{Array, Float32Array, StringArray};
use retort_cache::column;
use retort_schemas::runs::{Joint, predictions as names};

use super::file::Protocol;
use super::plan::{Cell, Plan, is_base, is_matched_base};
use super::results::ScoredRun;
use super::statistics::{RESAMPLES, deviation, interval, mean};
use crate::Result;
use crate::recipe::AdaptMode;

/// Seed of the bootstrap: the same for all cells, so that a table is the same however often it is made.
const BOOTSTRAP_SEED: u64 = 1;

/// A condition and a split, with a row for each arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// The condition.
    pub condition: String,
    /// The split tested on.
    pub split: String,
    /// Whether it is the shifted one.
    pub shifted: bool,
    /// Name of the metric; empty where nothing is scored yet.
    pub metric: String,
    /// Samples scored.
    pub test_samples: u64,
    /// Floor, 0 to 1: always the commonest training answer.
    pub majority: f64,
    /// Floor, 0 to 1: the commonest training answer to the same question.
    pub question_only: f64,
    /// Floor, 0 to 1: classes by the text teacher's vectors alone, where there is one.
    pub text_only: Option<f64>,
    /// The arms, in the order of the protocol.
    pub rows: Vec<Row>,
}

/// An arm in a condition, on a split.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The arm.
    pub arm: String,
    /// Scores, 0 to 1, of the seeds whose runs are done.
    pub scores: Vec<f64>,
    /// Seeds that the protocol asks for.
    pub seeds: usize,
    /// Sample standard deviation of the scores; none of fewer than two.
    pub deviation: Option<f64>,
    /// Gain over base; none of the base itself, or where no seed of both is done.
    pub gain: Option<Gain>,
    /// Gain over the compute-matched baseline, of arms with adaptive finetuning.
    pub matched: Option<Gain>,
    /// VCR by question, a mean over the runs that answer both halves; none where none does.
    pub joint: Option<Joint>,
    /// Samples that went through the student, a mean over the runs.
    pub samples_seen: f64,
    /// Seconds of training, a mean over the runs that say.
    pub wall_secs: Option<f64>,
}

impl Row {
    /// Mean of the scores, 0 to 1; none where no run is done.
    pub fn mean(&self) -> Option<f64> {
        (!self.scores.is_empty()).then(|| mean(&self.scores))
    }
}

/// What an arm gains over another, over the seeds that both have.
#[derive(Debug, Clone, PartialEq)]
pub struct Gain {
    /// Difference of the mean scores, -1 to 1.
    pub absolute: f64,
    /// The same as a share of the other's mean score; none where that is 0.
    pub relative: Option<f64>,
    /// Paired bootstrap interval of the difference, of 95 %, over test samples.
    pub interval: [f64; 2],
    /// Seeds that both have.
    pub seeds: usize,
}

/// Compares what is done.
///
/// # Errors
/// If predictions lack a column.
pub fn sections(protocol: &Protocol, plan: &Plan, scored: &[ScoredRun]) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    for (at, condition) in protocol.conditions.iter().enumerate() {
        let cells: Vec<&Cell> = plan.cells.iter().filter(|cell| cell.condition == at).collect();
        let recipe = |cell: &Cell| cell.runs.first().map(|run| &plan.runs[*run].recipe);
        for (split, shifted) in condition.splits() {
            let runs_of = |cell: &Cell| -> Vec<(usize, &ScoredRun)> {
                let of_seed = |(seed, run): (usize, &usize)| {
                    let found = scored.iter().find(|scored| scored.run == *run && scored.split == split)?;
                    Some((seed, found))
                };
                cell.runs.iter().enumerate().filter_map(of_seed).collect()
            };
            let find = |wanted: &dyn Fn(&Cell) -> bool| cells.iter().copied().find(|cell| wanted(cell));
            let base = find(&|cell| recipe(cell).is_some_and(is_base));
            let mut rows = Vec::new();
            for cell in &cells {
                let adapted = recipe(cell).filter(|recipe| recipe.adaptation() == AdaptMode::Aft);
                let matched = adapted.and_then(|adapted| {
                    let same = |steps: u64| steps == adapted.adapt.steps;
                    find(&|cell| recipe(cell).is_some_and(|other| is_matched_base(other) && same(other.adapt.steps)))
                });
                let own = runs_of(cell);
                let over = |other: Option<&Cell>| match other {
                    Some(other) if other != *cell => gain(&own, &runs_of(other)),
                    _ => Ok(None),
                };
                let runs = || own.iter().map(|(_, run)| run);
                let scores: Vec<f64> = runs().map(|run| run.evaluation.overall.accuracy).collect();
                let secs: Vec<f64> = runs().filter_map(|run| run.wall_secs).collect();
                rows.push(Row {
                    arm: protocol.arms[cell.arm].name.clone(),
                    deviation: if scores.is_empty() { None } else { deviation(&scores) },
                    scores,
                    seeds: protocol.seeds.len(),
                    gain: over(base)?,
                    matched: over(matched)?,
                    joint: joint(&runs().filter_map(|run| run.evaluation.joint).collect::<Vec<_>>()),
                    samples_seen: mean(&runs().map(|run| run.samples_seen() as f64).collect::<Vec<_>>()),
                    wall_secs: (!secs.is_empty()).then(|| mean(&secs)),
                });
            }
            let any = cells.iter().find_map(|cell| runs_of(cell).first().map(|(_, run)| *run));
            let floors = any.map(|run| &run.evaluation.overall);
            sections.push(Section {
                condition: condition.name.clone(),
                split: split.to_owned(),
                shifted,
                metric: any.map_or(String::new(), |run| run.evaluation.metric.clone()),
                test_samples: floors.map_or(0, |score| score.samples),
                majority: floors.map_or(0.0, |score| score.majority),
                question_only: floors.map_or(0.0, |score| score.question_only),
                text_only: floors.and_then(|score| score.text_only),
                rows,
            });
        }
    }
    Ok(sections)
}

/// The mean over runs on the same questions; none of none.
fn joint(of_runs: &[Joint]) -> Option<Joint> {
    let first = of_runs.first()?;
    let of = |part: fn(&Joint) -> f64| mean(&of_runs.iter().map(part).collect::<Vec<_>>());
    Some(Joint { answer: of(|j| j.answer), rationale: of(|j| j.rationale), both: of(|j| j.both), ..*first })
}

/// The gain of some runs over others, over the seeds that both have.
fn gain(own: &[(usize, &ScoredRun)], other: &[(usize, &ScoredRun)]) -> Result<Option<Gain>> {
    let pair = |(seed, run): &(usize, &ScoredRun)| -> Option<(ScoreOf, ScoreOf, f64, f64)> {
        let (_, beside) = other.iter().find(|(beside, _)| beside == seed)?;
        let accuracy = |run: &ScoredRun| run.evaluation.overall.accuracy;
        Some((scores_of(run), scores_of(beside), accuracy(run), accuracy(beside)))
    };
    let pairs: Vec<_> = own.iter().filter_map(pair).collect();
    if pairs.is_empty() {
        return Ok(None);
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // Of each sample the sum of the differences, and of how many seeds it is.
    let mut sums: HashMap<String, (f64, usize)> = HashMap::new();
    let seeds = pairs.len();
    for (of_run, of_other, own, other) in pairs {
        ours.push(own);
        theirs.push(other);
        let of_other: HashMap<String, f64> = of_other?.into_iter().collect();
        for (id, score) in of_run? {
            if let Some(beside) = of_other.get(&id) {
                let sum = sums.entry(id).or_default();
                *sum = (sum.0 + score - beside, sum.1 + 1);
            }
        }
    }
    let whole = sums.into_iter().filter(|(_, (_, count))| *count == seeds);
    let mut differences: Vec<(String, f64)> = whole.map(|(id, (sum, _))| (id, sum / seeds as f64)).collect();
    // Whatever the order of the map, the same draws.
    differences.sort_by(|a, b| a.0.cmp(&b.0));
    let differences: Vec<f64> = differences.into_iter().map(|(_, difference)| difference).collect();
    if differences.is_empty() {
        return Ok(None);
    }
    let (ours, theirs) = (mean(&ours), mean(&theirs));
    Ok(Some(Gain {
        absolute: ours - theirs,
        relative: (theirs > 0.0).then(|| (ours - theirs) / theirs),
        interval: interval(&differences, RESAMPLES, BOOTSTRAP_SEED),
        seeds,
    }))
}

/// Ids and scores of the samples whose truth is known.
type ScoreOf = Result<Vec<(String, f64)>>;

fn scores_of(run: &ScoredRun) -> ScoreOf {
    let ids: &StringArray = column(&run.predictions, names::SAMPLE_ID)?;
    let scores: &Float32Array = column(&run.predictions, names::SCORE)?;
    let known = (0..ids.len()).filter(|row| scores.is_valid(*row));
    Ok(known.map(|row| (ids.value(row).to_owned(), f64::from(scores.value(row)))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joint_scores_are_a_mean_over_runs() {
        let of = |answer, rationale, both| Joint { questions: 8, alone: 1, answer, rationale, both };
        assert_eq!(joint(&[of(0.5, 0.25, 0.25), of(0.75, 0.5, 0.375)]), Some(of(0.625, 0.375, 0.3125)));
        assert_eq!(joint(&[]), None);
    }
}
