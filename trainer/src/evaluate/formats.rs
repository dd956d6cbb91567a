//! Predictions as a file for others, by its ending: `.parquet`, `.json` as VQA's evaluation reads it, `.csv`.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use arrow::compute::concat_batches;
use retort_cache::{write_atomic, write_plain_table};
use retort_schemas::runs::predictions as names;
use retort_schemas::tables::samples::tasks;
use serde_json::json;

use super::Evaluated;
use super::predictions::{Prediction, rows};
use super::summary::question_of;
use crate::{Error, Result};

/// A format of files of predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PredictionsFormat {
    /// The table of [`names`], of any task.
    Parquet,
    /// The results file of VQA: `[{"question_id": 1, "answer": "yes"}]`.
    Json,
    /// Of VCR the file of its leaderboard, of other choices and of classes a row a sample: id, prediction, and a probability a
    /// choice.
    Csv,
}

impl PredictionsFormat {
    /// What a file's ending asks for.
    ///
    /// # Errors
    /// [`Error::Predictions`] if it is none of the three.
    pub fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("parquet") => Ok(Self::Parquet),
            Some("json") => Ok(Self::Json),
            Some("csv") => Ok(Self::Csv),
            _ => {
                let advice =
                    "the ending says the format: .parquet for any task, .json for VQA, .csv for VCR and classes";
                Err(misfit(path, "expected a file that ends in .parquet, .json or .csv", advice))
            }
        }
    }

    /// Writes what a run says of a split, or, of VCR, what one run says of the answers and another of the rationales.
    ///
    /// # Errors
    /// [`Error::Predictions`] if the format does not fit the task; those of writing.
    pub fn write(self, evaluated: &[&Evaluated], path: &Path) -> Result<()> {
        if self == Self::Parquet {
            let parts = evaluated.iter().map(|evaluated| &evaluated.predictions);
            let all = concat_batches(&names::schema(), parts).map_err(retort_cache::Error::arrow(path))?;
            return Ok(write_plain_table(path, &all)?);
        }
        let mut all = Vec::new();
        for evaluated in evaluated {
            all.extend(rows(&evaluated.predictions)?);
        }
        let found: BTreeSet<&str> = all.iter().map(|row| row.task).collect();
        let text = match (self, found.iter().all(|task| *task == tasks::VQA)) {
            (Self::Csv, false) if found.iter().all(|task| matches!(*task, tasks::VCR_QA | tasks::VCR_QAR)) => {
                leaderboard(path, &all)?
            }
            (Self::Csv, false) => plain_csv(&all),
            (Self::Csv, true) => {
                let advice = "take .json, the results file of its evaluation server, or .parquet";
                return Err(misfit(path, "VQA has no CSV of predictions", advice));
            }
            (_, true) => vqa_results(path, &all)?,
            (_, false) => {
                let tasks = found.into_iter().collect::<Vec<_>>().join(", ");
                let problem = format!("expected samples of the task vqa for .json, found {tasks}");
                return Err(misfit(path, &problem, "take .csv or .parquet"));
            }
        };
        Ok(write_atomic(path, text.as_bytes())?)
    }
}

fn misfit(path: &Path, problem: &str, advice: &str) -> Error {
    Error::Predictions { path: PathBuf::from(path), problem: problem.to_owned(), advice: advice.to_owned() }
}

/// The results file of VQA, a line an answer.
fn vqa_results(path: &Path, rows: &[Prediction<'_>]) -> Result<String> {
    let mut lines = Vec::with_capacity(rows.len());
    for Prediction { id, answer, .. } in rows {
        let question: u64 = id.parse().map_err(|_| {
            let problem = format!("sample {id:?} has no number for an id, as the results of VQA need");
            misfit(path, &problem, "take .parquet; ids of `retort ingest vqa` are numbers")
        })?;
        lines.push(json!({"question_id": question, "answer": answer}).to_string());
    }
    Ok(format!("[\n{}\n]\n", lines.join(",\n")))
}

/// Candidates of VCR, answers as well as rationales.
const CANDIDATES: usize = 4;

/// The columns of the leaderboard of VCR after `annot_id`: 4 answers, and 4 rationales for each of them.
fn leaderboard_columns() -> Vec<String> {
    let answers = (0..CANDIDATES).map(|answer| format!("answer_{answer}"));
    let given =
        |answer: usize| (0..CANDIDATES).map(move |rationale| format!("rationale_conditioned_on_a{answer}_{rationale}"));
    answers.chain((0..CANDIDATES).flat_map(given)).collect()
}

/// Which group of four columns a sample of VCR fills; `Err` of one whose rationales go with the right answer alone.
fn group_of(id: &str) -> Result<usize, ()> {
    if id.ends_with(":qa") {
        return Ok(0);
    }
    let answer = id.rsplit_once(":qar:a").and_then(|(_, answer)| answer.parse::<usize>().ok());
    answer.filter(|answer| *answer < CANDIDATES).map(|answer| answer + 1).ok_or(())
}

/// The file of VCR's leaderboard: a row a question in the order in which they come first, a probability a candidate.
fn leaderboard(path: &Path, rows: &[Prediction<'_>]) -> Result<String> {
    let columns = leaderboard_columns();
    let mut order: Vec<&str> = Vec::new();
    let mut cells: HashMap<&str, Vec<Option<f32>>> = HashMap::new();
    for row in rows {
        let group = group_of(row.id).map_err(|()| {
            let problem = format!("sample {} has the rationales of the right answer, not of each answer", row.id);
            let advice =
                "the leaderboard's file is made of a split without labels, as the test split; take .parquet for this";
            misfit(path, &problem, advice)
        })?;
        if row.scores.len() != CANDIDATES {
            let problem = format!("sample {}: expected {CANDIDATES} candidates, found {}", row.id, row.scores.len());
            return Err(misfit(path, &problem, "take .parquet"));
        }
        let question = question_of(row.id);
        let cells = cells.entry(question).or_insert_with(|| {
            order.push(question);
            vec![None; columns.len()]
        });
        for (at, (_, probability)) in row.scores.iter().enumerate() {
            cells[group * CANDIDATES + at] = Some(*probability);
        }
    }
    let mut text = format!("annot_id,{}\n", columns.join(","));
    for question in order {
        let cells = cells.get(question).map(Vec::as_slice).unwrap_or_default();
        if let Some(at) = cells.iter().position(Option::is_none) {
            let problem = format!("question {question} has nothing for {}", columns[at]);
            let advice = "give the run that chooses answers and the one that chooses rationales, and a split with both: \
                          retort eval QA_RUN QAR_RUN";
            return Err(misfit(path, &problem, advice));
        }
        let cells: Vec<String> = cells.iter().flatten().map(f32::to_string).collect();
        text += &format!("{},{}\n", quoted(question), cells.join(","));
    }
    Ok(text)
}

/// A row a sample: id, prediction, and the probability of each choice.
fn plain_csv(rows: &[Prediction<'_>]) -> String {
    let choices = rows.first().map(|row| row.scores.as_slice()).unwrap_or_default();
    let header: Vec<String> = choices.iter().map(|(choice, _)| quoted(choice)).collect();
    let mut text = format!("id,prediction,{}\n", header.join(","));
    for row in rows {
        let scores: Vec<String> = row.scores.iter().map(|(_, probability)| probability.to_string()).collect();
        text += &format!("{},{},{}\n", quoted(row.id), quoted(row.answer), scores.join(","));
    }
    text
}

/// A field of a CSV, in quotes where it has to be.
fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}
