//! Cells and runs: what has to be done, what of it is done, and whether the comparison is an honest one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::{Array, Float32Array, RecordBatch};
use retort_cache::{column, read_plain_table};
use retort_schemas::protocol::RUNS_FOLDER;
use retort_schemas::runs::{RunInfo, files, predictions};

use super::file::Protocol;
use crate::recipe::{AdaptMode, Arm, Control, Optim, Recipe};
use crate::record::WEIGHTS;
use crate::{Error, Result};

/// Fewest seeds of which a standard deviation says anything.
const FEWEST_SEEDS: usize = 3;

/// Everything that a protocol asks for.
#[derive(Debug, Clone)]
pub struct Plan {
    /// One for each arm in each condition, conditions first.
    pub cells: Vec<Cell>,
    /// The runs, each once, in the order in which they are made: all arms of a condition and seed, the next seed, the next
    /// condition.
    pub runs: Vec<PlannedRun>,
    /// What a reviewer would object to.
    pub warnings: Vec<String>,
}

/// An arm in a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Index of the condition in the protocol.
    pub condition: usize,
    /// Index of the arm.
    pub arm: usize,
    /// Index of the run of each seed.
    pub runs: Vec<usize>,
}

/// A run to be made, and the splits to be scored.
#[derive(Debug, Clone)]
pub struct PlannedRun {
    /// Its folder, below `runs/`: a pure function of the recipe.
    pub folder: String,
    /// Everything that decides it.
    pub recipe: Recipe,
    /// The arm's name.
    pub arm: String,
    /// Names of the conditions that it serves.
    pub conditions: Vec<String>,
    /// Splits that it is tested on.
    pub splits: Vec<String>,
}

/// What is still to be done for a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Missing {
    /// Whether training has to begin or go on.
    pub train: bool,
    /// Splits without scores.
    pub splits: Vec<String>,
}

impl Missing {
    /// Whether nothing is.
    pub fn is_nothing(&self) -> bool {
        !self.train && self.splits.is_empty()
    }
}

impl PlannedRun {
    /// Where the run is, in the output folder of the protocol.
    pub fn path(&self, out: &Path) -> PathBuf {
        out.join(RUNS_FOLDER).join(&self.folder)
    }

    /// What is still to be done.
    ///
    /// # Errors
    /// If `run.json` is there and cannot be understood.
    pub fn missing(&self, out: &Path) -> Result<Missing> {
        let path = self.path(out);
        if !is_trained(&path)? {
            return Ok(Missing { train: true, splits: self.splits.clone() });
        }
        let unscored = |split: &&String| {
            !path.join(files::evaluation(split)).is_file() && !is_predicted_without_truth(&path, split)
        };
        Ok(Missing { train: false, splits: self.splits.iter().filter(unscored).cloned().collect() })
    }
}

/// Whether a split has no labels, and its predictions are there: there is nothing to score. Predictions that cannot be read
/// are made again.
fn is_predicted_without_truth(run: &Path, split: &str) -> bool {
    let path = run.join(files::predictions(split));
    let known = |batch: &RecordBatch| -> retort_cache::Result<bool> {
        let scores: &Float32Array = column(batch, predictions::SCORE)?;
        Ok(scores.null_count() < scores.len())
    };
    path.is_file()
        && read_plain_table(&path, predictions::VERSION).and_then(|batch| known(&batch)).is_ok_and(|known| !known)
}

/// Whether a run is there and has reached its last step.
pub(super) fn is_trained(run: &Path) -> Result<bool> {
    Ok(run.join(files::RUN).is_file() && run.join(files::STUDENT).join(WEIGHTS).is_file() && read_info(run)?.complete)
}

/// `run.json` of a run.
pub(super) fn read_info(run: &Path) -> Result<RunInfo> {
    let text = retort_cache::read_text(&run.join(files::RUN))?;
    serde_json::from_str(&text)
        .map_err(|error| Error::Run { path: run.to_owned(), problem: format!("{}: {error}", files::RUN) })
}

impl Plan {
    /// Resolves the recipe of every run.
    ///
    /// # Errors
    /// Of a recipe; [`Error::Protocol`] if two arms of a condition are the same run.
    pub fn of(protocol: &Protocol) -> Result<Self> {
        let (mut runs, mut known): (Vec<PlannedRun>, BTreeMap<String, usize>) = (Vec::new(), BTreeMap::new());
        let mut cells: Vec<Cell> = Vec::new();
        for (at, condition) in protocol.conditions.iter().enumerate() {
            let first = cells.len();
            cells.extend((0..protocol.arms.len()).map(|arm| Cell { condition: at, arm, runs: Vec::new() }));
            for seed in &protocol.seeds {
                for (arm, entry) in protocol.arms.iter().enumerate() {
                    let recipe = protocol.recipe(entry, condition, *seed)?;
                    let folder = folder_of(&recipe)?;
                    let index = *known.entry(folder.clone()).or_insert(runs.len());
                    if index == runs.len() {
                        let (arm, none) = (entry.name.clone(), Vec::new());
                        runs.push(PlannedRun { folder, recipe, arm, conditions: none.clone(), splits: none });
                    }
                    let run = &mut runs[index];
                    if run.conditions.contains(&condition.name) {
                        let problem = format!(
                            "arms {:?} and {:?} are one and the same run in condition {:?}: leave one out",
                            run.arm, entry.name, condition.name
                        );
                        return Err(Error::Protocol { path: protocol.path.clone(), problem });
                    }
                    run.conditions.push(condition.name.clone());
                    for (split, _) in condition.splits() {
                        if !run.splits.iter().any(|known| known == split) {
                            run.splits.push(split.to_owned());
                        }
                    }
                    cells[first + arm].runs.push(index);
                }
            }
        }
        let warnings = objections(protocol, &cells, &runs);
        Ok(Self { cells, runs, warnings })
    }
}

/// `kd+ts-5%-seed1-0123abcd`: what it is for people, and a hash of everything that decides what it learns.
pub(super) fn folder_of(recipe: &Recipe) -> Result<String> {
    let hash = blake3::hash(recipe.deciding()?.as_bytes()).to_hex();
    Ok(format!("{}-{}-seed{}-{}", recipe.label(), recipe.data.shots, recipe.seed, &hash[..8]))
}

/// What a reviewer would object to.
fn objections(protocol: &Protocol, cells: &[Cell], runs: &[PlannedRun]) -> Vec<String> {
    let mut found = Vec::new();
    if protocol.seeds.len() < FEWEST_SEEDS {
        found.push(format!(
            "{} seed{}: a comparison needs at least {FEWEST_SEEDS}, or chance is taken for a difference",
            protocol.seeds.len(),
            if protocol.seeds.len() == 1 { "" } else { "s" }
        ));
    }
    for (at, condition) in protocol.conditions.iter().enumerate() {
        let of_cell = |cell: &Cell| cell.runs.first().map(|run| (&protocol.arms[cell.arm].name, &runs[*run].recipe));
        let arms: Vec<(&String, &Recipe)> =
            cells.iter().filter(|cell| cell.condition == at).filter_map(of_cell).collect();
        let Some((first, like)) = arms.first() else { continue };
        let name = &condition.name;
        for (arm, recipe) in &arms[1..] {
            for difference in differences(like, recipe) {
                found.push(format!("condition {name:?}: {arm} differs from {first} in {difference}"));
            }
        }
        if !arms.iter().any(|(_, recipe)| is_base(recipe)) {
            found.push(format!("condition {name:?}: no arm is base, so there are no gains to tell"));
        }
        for (arm, recipe) in &arms {
            if recipe.adaptation() != AdaptMode::Aft {
                continue;
            }
            let matched = |other: &Recipe| is_matched_base(other) && other.adapt.steps == recipe.adapt.steps;
            if !arms.iter().any(|(_, other)| matched(other)) {
                found.push(format!(
                    "condition {name:?}: {arm} has {} steps more than base: add the compute-matched baseline, \
                     {{ arm = \"base\", adapt.mode = \"mlm\" }} with as many",
                    recipe.adapt.steps
                ));
            }
        }
        if let Some((split, _)) = condition.splits().find(|(split, _)| *split == like.data.split) {
            found.push(format!("condition {name:?} is tested on {split}, which it is trained on"));
        }
    }
    found
}

/// In what two arms of a condition should not differ, and do.
fn differences(one: &Recipe, other: &Recipe) -> Vec<String> {
    let mut found = Vec::new();
    let (a, b) = (&one.optim, &other.optim);
    if a.steps != b.steps {
        found.push(format!("optim.steps: {} against {}", b.steps, a.steps));
    }
    if a.batch != b.batch {
        found.push(format!("optim.batch: {} against {}", b.batch, a.batch));
    }
    // What is left of it: everything that decides the schedule and the optimiser.
    let alike = Optim { steps: a.steps, batch: a.batch, accumulate: a.accumulate, recompute: a.recompute, ..b.clone() };
    if *a != alike {
        found.push("its schedule or optimiser ([optim])".to_owned());
    }
    if one.validate != other.validate {
        found.push("how a student is selected ([validate])".to_owned());
    }
    if one.data.dataset != other.data.dataset
        || one.data.split != other.data.split
        || one.data.shots != other.data.shots
    {
        found.push("what it is trained on ([data])".to_owned());
    }
    found
}

/// The arm that all others are compared with.
pub(super) fn is_base(recipe: &Recipe) -> bool {
    recipe.arm == Arm::Base && recipe.adaptation() == AdaptMode::None && recipe.control == Control::None
}

/// The compute-matched baseline of adaptive finetuning.
pub(super) fn is_matched_base(recipe: &Recipe) -> bool {
    recipe.arm == Arm::Base && recipe.adaptation() == AdaptMode::Mlm
}
