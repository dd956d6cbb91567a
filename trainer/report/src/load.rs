//! Reads runs: what they are, what they logged, how they scored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::{
    Array, BooleanArray, Float32Array, Float64Array, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use retort_cache::{column, read_plain_table, read_text};
use retort_schemas::SchemaVersion;
use retort_schemas::runs::{
    EVALUATION_VERSION, Evaluation, RUN_VERSION, RunInfo, confidence, files, metrics, predictions, selection,
};
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// Where a sample lies in its data set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) shard: String,
    pub(crate) row: u32,
}

/// One run, as far as it went.
#[derive(Debug)]
pub(crate) struct Run {
    /// Name of its folder; with the folder above it where two runs share a name.
    pub(crate) name: String,
    pub(crate) info: RunInfo,
    /// Step and value by tag.
    pub(crate) metrics: BTreeMap<String, Vec<(f64, f64)>>,
    /// By split.
    pub(crate) evaluations: BTreeMap<String, Evaluation>,
    /// By split, in file order.
    pub(crate) predictions: BTreeMap<String, Vec<Prediction>>,
    pub(crate) selection: Vec<Selection>,
    /// Of each training sample, how sure the teachers' probe is of the truth, and whether it would say it.
    pub(crate) confidence: Vec<(f32, bool)>,
}

/// What a run answered to one sample.
#[derive(Debug)]
pub(crate) struct Prediction {
    pub(crate) place: Place,
    pub(crate) text: String,
    pub(crate) answer: String,
    pub(crate) truth: Option<String>,
    pub(crate) score: Option<f32>,
    pub(crate) confidence: f32,
}

/// What token selection saw in one sample.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) place: Place,
    pub(crate) text: String,
    pub(crate) words: Vec<Word>,
}

/// A candidate word: byte offsets into the text, and its scores.
#[derive(Debug)]
pub(crate) struct Word {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) visual: Option<f32>,
    pub(crate) semantic: f32,
    pub(crate) probability: f32,
    pub(crate) selected: bool,
}

/// Reads all runs and gives them distinct names.
pub(crate) fn load(folders: &[PathBuf]) -> Result<Vec<Run>> {
    if folders.is_empty() {
        return Err(Error::NoRuns);
    }
    if let Some(gone) = folders.iter().find(|folder| !folder.exists()) {
        return Err(Error::NotThere { path: gone.clone() });
    }
    let mut runs = folders.iter().map(|folder| load_run(folder)).collect::<Result<Vec<_>>>()?;
    for (at, folder) in folders.iter().enumerate() {
        let shared = folders.iter().filter(|other| last_name(other) == last_name(folder)).count() > 1;
        let parent = folder.parent().map(last_name).filter(|parent| shared && !parent.is_empty());
        runs[at].name = match parent {
            Some(parent) => format!("{parent}/{}", last_name(folder)),
            None => last_name(folder),
        };
    }
    Ok(runs)
}

/// The last component of a path, also of `.` and `runs/..`.
pub(crate) fn last_name(path: &Path) -> String {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Reads one run; its name is left to the caller.
pub(crate) fn load_run(folder: &Path) -> Result<Run> {
    let path = folder.join(files::RUN);
    if !path.is_file() {
        return Err(Error::NotARun { path: folder.to_owned(), file: files::RUN });
    }
    let info: RunInfo = read_json(&path)?;
    accept(RUN_VERSION, &path, &info.schema)?;
    let mut evaluations = BTreeMap::new();
    for (split, path) in by_split(folder, &files::evaluation("*"))? {
        let evaluation: Evaluation = read_json(&path)?;
        accept(EVALUATION_VERSION, &path, &evaluation.schema)?;
        evaluations.insert(split, evaluation);
    }
    let mut predictions = BTreeMap::new();
    for (split, path) in by_split(folder, &files::predictions("*"))? {
        predictions.insert(split, predictions_of(&read_plain_table(&path, predictions::VERSION)?)?);
    }
    let table = |name: &str, version| -> Result<Option<RecordBatch>> {
        let path = folder.join(format!("{name}.parquet"));
        if path.is_file() { Ok(Some(read_plain_table(&path, version)?)) } else { Ok(None) }
    };
    let metrics = table(metrics::NAME, metrics::VERSION)?;
    let selection = table(selection::NAME, selection::VERSION)?;
    let confidence = table(confidence::NAME, confidence::VERSION)?;
    Ok(Run {
        name: String::new(),
        info,
        metrics: metrics.as_ref().map(metrics_of).transpose()?.unwrap_or_default(),
        evaluations,
        predictions,
        selection: selection.as_ref().map(selection_of).transpose()?.unwrap_or_default(),
        confidence: confidence.as_ref().map(confidence_of).transpose()?.unwrap_or_default(),
    })
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_str(&read_text(path)?).map_err(|source| Error::Json { path: path.to_owned(), source })
}

fn accept(version: SchemaVersion, path: &Path, found: &str) -> Result<()> {
    let wrong = |source| retort_cache::Error::Schema { path: path.to_owned(), source };
    Ok(version.accept(found).map_err(wrong)?)
}

/// Files whose names fit a pattern with one `*`, by what stands in its place.
fn by_split(folder: &Path, pattern: &str) -> Result<BTreeMap<String, PathBuf>> {
    let (before, after) = pattern.split_once('*').unwrap_or((pattern, ""));
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(retort_cache::Error::io("list", folder))? {
        let path = entry.map_err(retort_cache::Error::io("list", folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(split) = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)) {
            found.insert(split.to_owned(), path.clone());
        }
    }
    Ok(found)
}

fn metrics_of(batch: &RecordBatch) -> Result<BTreeMap<String, Vec<(f64, f64)>>> {
    let steps: &UInt64Array = column(batch, metrics::STEP)?;
    let tags: &StringArray = column(batch, metrics::TAG)?;
    let values: &Float64Array = column(batch, metrics::VALUE)?;
    let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for row in 0..batch.num_rows() {
        if values.value(row).is_finite() {
            let point = (steps.value(row) as f64, values.value(row));
            series.entry(tags.value(row).to_owned()).or_default().push(point);
        }
    }
    for points in series.values_mut() {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    Ok(series)
}

fn predictions_of(batch: &RecordBatch) -> Result<Vec<Prediction>> {
    let shards: &StringArray = column(batch, predictions::SHARD)?;
    let rows: &UInt32Array = column(batch, predictions::ROW)?;
    let texts: &StringArray = column(batch, predictions::TEXT)?;
    let answers: &StringArray = column(batch, predictions::PREDICTION)?;
    let truths: &StringArray = column(batch, predictions::TRUTH)?;
    let scores: &Float32Array = column(batch, predictions::SCORE)?;
    let confidences: &Float32Array = column(batch, predictions::CONFIDENCE)?;
    let prediction = |row: usize| Prediction {
        place: Place { shard: shards.value(row).to_owned(), row: rows.value(row) },
        text: texts.value(row).to_owned(),
        answer: answers.value(row).to_owned(),
        truth: truths.is_valid(row).then(|| truths.value(row).to_owned()),
        score: scores.is_valid(row).then(|| scores.value(row)),
        confidence: confidences.value(row),
    };
    Ok((0..batch.num_rows()).map(prediction).collect())
}

fn confidence_of(batch: &RecordBatch) -> Result<Vec<(f32, bool)>> {
    let sure: &Float32Array = column(batch, confidence::CONFIDENCE)?;
    let correct: &BooleanArray = column(batch, confidence::CORRECT)?;
    Ok((0..batch.num_rows()).map(|row| (sure.value(row), correct.value(row))).collect())
}

fn selection_of(batch: &RecordBatch) -> Result<Vec<Selection>> {
    let shards: &StringArray = column(batch, selection::SHARD)?;
    let rows: &UInt32Array = column(batch, selection::ROW)?;
    let texts: &StringArray = column(batch, selection::TEXT)?;
    let starts: &UInt32Array = column(batch, selection::START)?;
    let ends: &UInt32Array = column(batch, selection::END)?;
    let visual: &Float32Array = column(batch, selection::VISUAL)?;
    let semantic: &Float32Array = column(batch, selection::SEMANTIC)?;
    let probability: &Float32Array = column(batch, selection::PROBABILITY)?;
    let selected: &BooleanArray = column(batch, selection::SELECTED)?;
    let mut samples: BTreeMap<Place, Selection> = BTreeMap::new();
    for row in 0..batch.num_rows() {
        let place = Place { shard: shards.value(row).to_owned(), row: rows.value(row) };
        let text = || texts.value(row).to_owned();
        let sample = samples.entry(place.clone());
        sample.or_insert_with(|| Selection { place, text: text(), words: Vec::new() }).words.push(Word {
            start: starts.value(row) as usize,
            end: ends.value(row) as usize,
            visual: visual.is_valid(row).then(|| visual.value(row)),
            semantic: semantic.value(row),
            probability: probability.value(row),
            selected: selected.value(row),
        });
    }
    let mut samples: Vec<Selection> = samples.into_values().collect();
    for sample in &mut samples {
        sample.words.sort_by_key(|word| word.start);
    }
    Ok(samples)
}
