//! The page of a protocol: what is compared, condition by condition, and the seeds of an arm taken together as one run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::array::{Array, BooleanArray, Float64Array, RecordBatch, StringArray, UInt64Array};
use retort_cache::{Dataset, column, read_plain_table};
use retort_schemas::protocol::{FAILED_FILE, Failure, GAINS_FILE, RESULTS_FILE, RUNS_FOLDER, gains, runs};
use retort_schemas::runs::{Evaluation, Score};

use crate::load::{Prediction, Run, last_name, load_run, read_json};
use crate::page::{Page, Writer};
use crate::runs::learning;
use crate::text::{counted, escape};
use crate::{Result, changed, comparison, confusion, joint, samples, types, weights};

/// A row of `gains.parquet`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Compared {
    pub(crate) condition: String,
    pub(crate) split: String,
    pub(crate) shifted: bool,
    pub(crate) arm: String,
    /// Seeds that are done.
    pub(crate) seeds: u64,
    /// Mean score, 0 to 1.
    pub(crate) score: Option<f64>,
    /// Its standard deviation over seeds.
    pub(crate) deviation: Option<f64>,
    /// Gain over base with the ends of its interval.
    pub(crate) gain: Option<[f64; 3]>,
}

/// An arm in a condition: its runs, and what they were trained on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cell {
    pub(crate) condition: String,
    pub(crate) arm: String,
    /// Folders below `runs/`.
    pub(crate) folders: Vec<String>,
    /// Images trained on.
    pub(crate) images: u64,
    /// Floors by split.
    pub(crate) floors: BTreeMap<String, Floors>,
}

/// What can be had without an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Floors {
    /// The commonest training answer.
    pub(crate) majority: f64,
    /// The commonest training answer to the same question.
    pub(crate) question_only: f64,
    /// Classes by the text teacher's vectors alone.
    pub(crate) text_only: Option<f64>,
}

/// What a protocol's own files say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Protocol {
    pub(crate) compared: Vec<Compared>,
    pub(crate) cells: Vec<Cell>,
    /// Arms in the order of the protocol: the place of one is its colour.
    pub(crate) arms: Vec<String>,
    pub(crate) conditions: Vec<String>,
    /// How much of the protocol this is, where it is not all.
    pub(crate) part: Option<String>,
}

/// An arm in a condition, its seeds taken together.
#[derive(Debug)]
pub(crate) struct Arm {
    /// Means over seeds of what was logged and scored; predictions and selection are of the first seed.
    pub(crate) mean: Run,
    /// Predictions of the other seeds, by split.
    pub(crate) others: Vec<BTreeMap<String, Vec<Prediction>>>,
}

impl Arm {
    /// Predictions on a split, of each seed.
    pub(crate) fn predictions<'a>(&'a self, split: &'a str) -> impl Iterator<Item = &'a Vec<Prediction>> {
        std::iter::once(&self.mean.predictions).chain(&self.others).filter_map(move |seed| seed.get(split))
    }
}

/// Whether a folder has results of a protocol.
pub(crate) fn is_there(folder: &Path) -> bool {
    folder.join(RESULTS_FILE).is_file()
}

/// The page, how many runs it shows, and how many of them are scored.
///
/// # Errors
/// If a file of the protocol or of a run is damaged or of another version.
pub(crate) fn build(
    folder: &Path,
    open: &dyn Fn(&[Run]) -> retort_cache::Result<Dataset>,
) -> Result<(Page, usize, usize)> {
    let protocol = load(folder)?;
    let folders: BTreeSet<&String> = protocol.cells.iter().flat_map(|cell| &cell.folders).collect();
    let mut page = Writer::default();
    let title = format!("Protocol {}", last_name(folder));
    head(&mut page, &protocol, &title, folders.len());
    failures(&mut page, folder)?;
    if protocol.compared.is_empty() {
        page.miss(format!(
            "There is no {GAINS_FILE}, so nothing is compared: run `retort protocol` again, which makes it of the runs."
        ));
    }
    comparison::gains(&mut page, &protocol);
    comparison::low_shot(&mut page, &protocol);
    let mut images = 0;
    for (at, condition) in protocol.conditions.iter().enumerate() {
        let arms = arms_of(folder, &protocol, condition)?;
        if at == 0 {
            comparison::ladder(&mut page, &protocol, &arms);
        }
        let open_mark = if at == 0 { " open" } else { "" };
        page.html += &format!("<details{open_mark} class=\"part\"><summary>Condition {}</summary>", escape(condition));
        images += condition_part(&mut page, &protocol, condition, arms, open);
        page.html += "</details>";
    }
    Ok((page.finish(&title, images), folders.len(), folders.len()))
}

/// What one condition shows; returns the samples shown with their image.
fn condition_part(
    page: &mut Writer,
    protocol: &Protocol,
    condition: &str,
    arms: Vec<Arm>,
    open: &dyn Fn(&[Run]) -> retort_cache::Result<Dataset>,
) -> usize {
    let names: Vec<&str> = arms.iter().map(|arm| arm.mean.name.as_str()).collect();
    let first = condition == protocol.conditions.first().map_or("", String::as_str);
    let compared = protocol.compared.iter().find(|row| row.condition == condition).map(|row| row.split.clone());
    let split = compared.or_else(|| arms.iter().find_map(|arm| arm.mean.evaluations.keys().next().cloned()));
    let pair = split.as_deref().and_then(|split| comparison::best_beside_base(split, &arms));
    let dataset = open(arms.first().map_or(&[], |arm| std::slice::from_ref(&arm.mean)));
    let mut images = changed::write(page, &arms, pair, split.as_deref(), &dataset);
    let shown: Vec<usize> = pair.map_or(vec![0], |(base, best)| vec![base, best]);
    let tables = shown.iter().filter_map(|at| {
        let arm = arms.get(*at)?;
        let table = confusion::matrix(arm.predictions(split.as_deref()?).flatten())?;
        Some((*at, format!("{}, all seeds", names[*at]), table))
    });
    let tables: Vec<_> = tables.collect();
    let means: Vec<Run> = arms.into_iter().map(|arm| arm.mean).collect();
    joint::write(page, &means);
    types::write(page, &means);
    confusion::write(page, &tables);
    learning(page, &means, "What an arm logged, the mean over its seeds: faint, under its running mean.");
    weights::write(page, &means);
    if first {
        images += samples::write(page, &means, split.as_deref(), &dataset);
    }
    images
}

fn head(page: &mut Writer, protocol: &Protocol, title: &str, runs: usize) {
    let lead = format!(
        "{} in {}: {}. Scores are means over the seeds of an arm.",
        counted(protocol.arms.len() as u64, "arm", "arms"),
        counted(protocol.conditions.len() as u64, "condition", "conditions"),
        counted(runs as u64, "run is scored", "runs are scored"),
    );
    page.html += &format!("<h1>{}</h1><p class=\"lead\">{}</p>", escape(title), escape(&lead));
    if let Some(part) = &protocol.part {
        page.miss(format!("This is a part of the protocol: {part}."));
    }
    for row in protocol.compared.iter().filter(|row| row.score.is_none()) {
        page.miss(format!("No run of {} in condition {} is scored on {} yet.", row.arm, row.condition, row.split));
    }
}

/// Says which runs failed.
fn failures(page: &mut Writer, folder: &Path) -> Result<()> {
    let path = folder.join(FAILED_FILE);
    if path.is_file() {
        for failure in read_json::<Vec<Failure>>(&path)? {
            page.miss(format!(
                "A run of {} with seed {} failed ({}: {}) and is left out.",
                failure.arm, failure.seed, failure.doing, failure.how
            ));
        }
    }
    Ok(())
}

fn load(folder: &Path) -> Result<Protocol> {
    let results = read_plain_table(&folder.join(RESULTS_FILE), runs::VERSION)?;
    let part = results.schema().metadata().get(runs::PART_KEY).cloned();
    let cells = cells_of(&results)?;
    let path = folder.join(GAINS_FILE);
    let compared = if path.is_file() { compared_of(&read_plain_table(&path, gains::VERSION)?)? } else { Vec::new() };
    let mut seen = BTreeSet::new();
    let named = |row: &Compared| (row.condition.clone(), row.arm.clone());
    let all: Vec<(String, String)> =
        compared.iter().map(named).chain(cells.iter().map(|cell| (cell.condition.clone(), cell.arm.clone()))).collect();
    let conditions = all.iter().map(|(condition, _)| condition).filter(|name| seen.insert((*name).clone()));
    let conditions: Vec<String> = conditions.cloned().collect();
    let mut seen = BTreeSet::new();
    let arms = all.iter().map(|(_, arm)| arm).filter(|name| seen.insert((*name).clone())).cloned().collect();
    Ok(Protocol { compared, cells, arms, conditions, part })
}

fn compared_of(batch: &RecordBatch) -> Result<Vec<Compared>> {
    let text = |name| column::<StringArray>(batch, name);
    let known = |name| column::<Float64Array>(batch, name);
    let (conditions, splits, arms) = (text(gains::CONDITION)?, text(gains::SPLIT)?, text(gains::ARM)?);
    let shifted: &BooleanArray = column(batch, gains::SHIFTED)?;
    let seeds: &UInt64Array = column(batch, gains::SEEDS)?;
    let (scores, deviations) = (known(gains::SCORE)?, known(gains::DEVIATION)?);
    let gained = [known(gains::GAIN)?, known(gains::GAIN_LOW)?, known(gains::GAIN_HIGH)?];
    let value = |of: &Float64Array, row: usize| of.is_valid(row).then(|| of.value(row));
    let compared = |row: usize| Compared {
        condition: conditions.value(row).to_owned(),
        split: splits.value(row).to_owned(),
        shifted: shifted.value(row),
        arm: arms.value(row).to_owned(),
        seeds: seeds.value(row),
        score: value(scores, row),
        deviation: value(deviations, row),
        gain: gained.iter().all(|of| of.is_valid(row)).then(|| gained.map(|of| of.value(row))),
    };
    Ok((0..batch.num_rows()).map(compared).collect())
}

fn cells_of(batch: &RecordBatch) -> Result<Vec<Cell>> {
    let text = |name| column::<StringArray>(batch, name);
    let (folders, conditions, arms) = (text(runs::RUN)?, text(runs::CONDITION)?, text(runs::ARM)?);
    let splits = text(runs::SPLIT)?;
    let images: &UInt64Array = column(batch, runs::IMAGES)?;
    let majority: &Float64Array = column(batch, runs::MAJORITY)?;
    let question_only: &Float64Array = column(batch, runs::QUESTION_ONLY)?;
    // Results of version 1.0 have none.
    let text_only: Option<&Float64Array> = column(batch, runs::TEXT_ONLY).ok();
    let mut cells: Vec<Cell> = Vec::new();
    for row in 0..batch.num_rows() {
        let (condition, arm) = (conditions.value(row), arms.value(row));
        let known = cells.iter().position(|cell| cell.condition == condition && cell.arm == arm);
        let at = known.unwrap_or_else(|| {
            let (condition, arm) = (condition.to_owned(), arm.to_owned());
            let images = images.value(row);
            cells.push(Cell { condition, arm, folders: Vec::new(), images, floors: BTreeMap::new() });
            cells.len() - 1
        });
        let folder = folders.value(row).to_owned();
        if !cells[at].folders.contains(&folder) {
            cells[at].folders.push(folder);
        }
        let floors = Floors {
            majority: majority.value(row),
            question_only: question_only.value(row),
            text_only: text_only.filter(|known| known.is_valid(row)).map(|known| known.value(row)),
        };
        cells[at].floors.insert(splits.value(row).to_owned(), floors);
    }
    Ok(cells)
}

/// The arms of a condition in the order of the protocol, as far as they are scored.
fn arms_of(folder: &Path, protocol: &Protocol, condition: &str) -> Result<Vec<Arm>> {
    let mut arms = Vec::new();
    for name in &protocol.arms {
        let cell = protocol.cells.iter().find(|cell| cell.condition == condition && cell.arm == *name);
        let Some(cell) = cell else { continue };
        let runs = cell.folders.iter().map(|run| load_run(&folder.join(RUNS_FOLDER).join(run)));
        arms.extend(together(name, runs.collect::<Result<Vec<_>>>()?));
    }
    Ok(arms)
}

/// Runs that differ in their seed alone, as one; none of none.
fn together(name: &str, mut runs: Vec<Run>) -> Option<Arm> {
    let metrics = mean_metrics(&runs);
    let evaluations = mean_evaluations(&runs);
    let others = runs.iter_mut().skip(1).map(|run| std::mem::take(&mut run.predictions)).collect();
    let first = runs.into_iter().next()?;
    Some(Arm { mean: Run { name: name.to_owned(), metrics, evaluations, ..first }, others })
}

/// Of each tag and step, the mean over the runs that logged it.
fn mean_metrics(runs: &[Run]) -> BTreeMap<String, Vec<(f64, f64)>> {
    let mut sums: BTreeMap<&String, BTreeMap<u64, (f64, f64)>> = BTreeMap::new();
    for (tag, points) in runs.iter().flat_map(|run| &run.metrics) {
        for (step, value) in points {
            let sum = sums.entry(tag).or_default().entry(*step as u64).or_default();
            *sum = (sum.0 + value, sum.1 + 1.0);
        }
    }
    let mean = |points: BTreeMap<u64, (f64, f64)>| {
        points.into_iter().map(|(step, (sum, count))| (step as f64, sum / count)).collect()
    };
    sums.into_iter().map(|(tag, points)| (tag.clone(), mean(points))).collect()
}

fn mean_evaluations(runs: &[Run]) -> BTreeMap<String, Evaluation> {
    let mut means: BTreeMap<String, Evaluation> = BTreeMap::new();
    for (split, first) in runs.iter().flat_map(|run| &run.evaluations) {
        if means.contains_key(split) {
            continue;
        }
        let all: Vec<&Evaluation> = runs.iter().filter_map(|run| run.evaluations.get(split)).collect();
        let mean = |of: &Score, find: &dyn Fn(&Evaluation) -> Option<f64>| {
            let found: Vec<f64> = all.iter().filter_map(|evaluation| find(evaluation)).collect();
            Score { accuracy: found.iter().sum::<f64>() / found.len().max(1) as f64, ..of.clone() }
        };
        let by_type = |types: fn(&Evaluation) -> &[Score]| -> Vec<Score> {
            let of_type = |of: &Score| {
                let named = |score: &&Score| score.name == of.name;
                mean(of, &|evaluation| types(evaluation).iter().find(named).map(|score| score.accuracy))
            };
            types(first).iter().map(of_type).collect()
        };
        let mean = Evaluation {
            overall: mean(&first.overall, &|evaluation| Some(evaluation.overall.accuracy)),
            by_question_type: by_type(|evaluation| &evaluation.by_question_type),
            by_answer_type: by_type(|evaluation| &evaluation.by_answer_type),
            joint: joint::mean(all.iter().filter_map(|evaluation| evaluation.joint)),
            ..first.clone()
        };
        means.insert(split.clone(), mean);
    }
    means
}
