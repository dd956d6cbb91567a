//! What a run leaves behind besides metrics and checkpoints.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float32Array, RecordBatch, StringArray, UInt32Array};
use retort_cache::{Dataset, column, read_plain_table, write_atomic, write_plain_table};
use retort_nn::{TextTokenizer, save};
use retort_schemas::runs::{
    RunInfo, confidence as confidence_names, drawn as drawn_names, files, selection as selection_names,
};
use tch::Tensor;

use crate::confidence::zero_shot;
use crate::prepare::{ConfidenceOf, Preparer, image_feature, text_features};
use crate::probe::{self, Choices, Observation, Verdict};
use crate::recipe::{ConfidenceSource, Recipe};
use crate::stream::Part;
use crate::students::Student;
use crate::tasks::Objective;
use crate::zipped::{Sources, samples};
use crate::{Error, Result};

/// The student's tokenizer, beside its weights.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// The student's weights.
pub(crate) const WEIGHTS: &str = "model.safetensors";

pub(crate) fn write_info(run: &Path, info: &RunInfo) -> Result<()> {
    let text = serde_json::to_string_pretty(info)
        .map_err(|error| Error::Run { path: run.to_owned(), problem: error.to_string() })?;
    Ok(write_atomic(&run.join(files::RUN), format!("{text}\n").as_bytes())?)
}

/// Of what was trained, the student alone.
pub(crate) fn exported(student: &dyn Student, trained: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    trained.into_iter().filter(|(name, _)| student.exports(name)).collect()
}

/// Exports the student with these weights, in Hugging Face layout.
pub(crate) fn export(
    run: &Path,
    student: &dyn Student,
    weights: &BTreeMap<String, Tensor>,
    tokenizer: &TextTokenizer,
    answers: &[String],
) -> Result<()> {
    let folder = run.join(files::STUDENT);
    // transformers asks for this word before it opens a safetensors file.
    write_atomic(&folder.join(WEIGHTS), &save(weights, "format", "pt")?)?;
    write_atomic(&folder.join(TOKENIZER), tokenizer.to_json()?.as_bytes())?;
    student.write_config(&folder, answers)
}

/// Writes down which samples the run is trained on and which of the drawn ones it holds out, each in the order of the
/// data set, unless an earlier start has.
pub(crate) fn write_drawn(run: &Path, dataset: &Dataset, trained: &[Part], held_out: &[Part]) -> Result<()> {
    if run.join(format!("{}.parquet", drawn_names::NAME)).is_file() {
        return Ok(());
    }
    let (mut ids, mut shards, mut rows, mut apart) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (parts, is_held_out) in [(trained, false), (held_out, true)] {
        for part in parts {
            let samples = samples(dataset, &part.shard)?;
            for row in &part.rows {
                ids.push(samples[*row].id.clone());
                shards.push(part.shard.name.as_str());
                rows.push(*row as u32);
                apart.push(is_held_out);
            }
        }
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(ids)),
        Arc::new(StringArray::from(shards)),
        Arc::new(UInt32Array::from(rows)),
        Arc::new(BooleanArray::from(apart)),
    ];
    write(run, drawn_names::NAME, drawn_names::schema(), columns)
}

/// Finds c_T on the training part in use and writes it down, unless an earlier start has: of a choice, where a joint
/// teacher has read the texts too, by that teacher alone; otherwise by a probe.
pub(crate) fn fit_confidence(
    recipe: &Recipe,
    run: &Path,
    sources: &Sources,
    parts: &[Part],
    objective: Objective,
    classes: usize,
) -> Result<ConfidenceOf> {
    if let Some(known) = read_confidence(run)? {
        return Ok(known);
    }
    let sources = &sources.without_pictures();
    let possible =
        matches!(objective, Objective::Choice(_)) && sources.has_joint_texts(parts.iter().map(|p| &p.shard))?;
    let zero_shot = match recipe.confidence.source {
        ConfidenceSource::Auto => possible,
        ConfidenceSource::Probe => false,
        ConfidenceSource::ZeroShot if possible => true,
        ConfidenceSource::ZeroShot => {
            let problem = "zero-shot needs a choice among texts and a joint image teacher (CLIP) that has read them";
            return Err(Error::Setting { key: "confidence.source", problem: problem.to_owned() });
        }
    };
    let (ids, verdicts) = if zero_shot {
        judge_zero_shot(sources, parts)?
    } else {
        let choices = match objective {
            Objective::Choice(texts) => Choices::Texts(texts),
            Objective::Answers | Objective::Class => Choices::Classes(classes),
        };
        let (ids, observations) = observe(sources, parts)?;
        (ids, probe::cross_fit(&observations, choices, recipe.confidence.folds, recipe.seed)?)
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(&ids)),
        Arc::new(UInt32Array::from_iter_values(verdicts.iter().map(|v| v.fold))),
        Arc::new(Float32Array::from_iter_values(verdicts.iter().map(|v| v.confidence))),
        Arc::new(BooleanArray::from_iter(verdicts.iter().map(|v| Some(v.correct)))),
    ];
    write(run, confidence_names::NAME, confidence_names::schema(), columns)?;
    Ok(ids.into_iter().zip(verdicts.iter().map(|v| (v.confidence, v.correct))).collect())
}

/// c_T as an earlier start of this run has written it down.
fn read_confidence(run: &Path) -> Result<Option<ConfidenceOf>> {
    let path = run.join(format!("{}.parquet", confidence_names::NAME));
    if !path.is_file() {
        return Ok(None);
    }
    let batch = read_plain_table(&path, confidence_names::VERSION)?;
    let ids = column::<StringArray>(&batch, confidence_names::SAMPLE_ID)?;
    let confidences = column::<Float32Array>(&batch, confidence_names::CONFIDENCE)?;
    let correct = column::<BooleanArray>(&batch, confidence_names::CORRECT)?;
    let of = |row: usize| (ids.value(row).to_owned(), (confidences.value(row), correct.value(row)));
    Ok(Some((0..batch.num_rows()).map(of).collect()))
}

/// The labelled samples as a probe sees them.
fn observe(sources: &Sources, parts: &[Part]) -> Result<(Vec<String>, Vec<Observation>)> {
    let (mut ids, mut observations) = (Vec::new(), Vec::new());
    for part in parts {
        let zipped = sources.load(&part.shard)?;
        for row in &part.rows {
            let sample = &zipped.samples[*row];
            let Some(label) = sample.label else { continue };
            let z_v = image_feature(&zipped, *row);
            let features = text_features(&zipped, *row).flat_map(|z_t| probe::features(z_v, z_t)).collect();
            ids.push(sample.id.clone());
            observations.push(Observation { features, label, group: sample.group });
        }
    }
    Ok((ids, observations))
}

/// What a joint teacher says of the candidate texts of each labelled sample. It was fitted on none of them: fold 0.
fn judge_zero_shot(sources: &Sources, parts: &[Part]) -> Result<(Vec<String>, Vec<Verdict>)> {
    let (mut ids, mut verdicts) = (Vec::new(), Vec::new());
    for part in parts {
        let zipped = sources.load(&part.shard)?;
        let (Some(z_v), Some(z_t)) = (&zipped.z_v, sources.joint_texts(&part.shard)?) else { continue };
        for row in &part.rows {
            let sample = &zipped.samples[*row];
            let Some(label) = sample.label else { continue };
            let candidates: Vec<&[f32]> = sample.texts.iter().map(|text| z_t.row(*text)).collect();
            let p = zero_shot(z_v.row(sample.image), &candidates);
            let best = (0..p.len()).fold(0, |best, k| if p[k] > p[best] { k } else { best });
            let confidence = p.get(label as usize).copied().unwrap_or(0.0);
            ids.push(sample.id.clone());
            verdicts.push(Verdict { fold: 0, confidence, correct: best == label as usize });
        }
    }
    Ok((ids, verdicts))
}

/// Writes down what selection sees and chooses on a few samples, spread over the training part, unless an earlier start
/// has.
pub(crate) fn write_selection(
    recipe: &Recipe,
    run: &Path,
    sources: &Sources,
    parts: &[Part],
    preparer: &Preparer,
) -> Result<()> {
    if run.join(format!("{}.parquet", selection_names::NAME)).is_file() {
        return Ok(());
    }
    let sources = sources.without_pictures();
    let total: usize = parts.iter().map(|part| part.rows.len()).sum();
    let stride = (total / recipe.log.selection_samples.max(1)).max(1);
    let (mut ids, mut shards, mut rows, mut texts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut candidates = Vec::new();
    let mut at = 0_usize;
    for part in parts {
        let zipped = sources.load(&part.shard)?;
        for row in &part.rows {
            at += 1;
            if !at.is_multiple_of(stride) {
                continue;
            }
            let sample = &zipped.samples[*row];
            for (place, text) in sample.texts.iter().enumerate() {
                for candidate in preparer.candidates(&zipped, sample, place, Some(0)) {
                    ids.push(sample.id.clone());
                    shards.push(zipped.shard.clone());
                    rows.push(*row as u32);
                    texts.push(zipped.texts.value(*text).to_owned());
                    candidates.push(candidate);
                }
            }
        }
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(ids)),
        Arc::new(StringArray::from(shards)),
        Arc::new(UInt32Array::from(rows)),
        Arc::new(StringArray::from(texts)),
        Arc::new(UInt32Array::from_iter_values(candidates.iter().map(|c| c.word.start as u32))),
        Arc::new(UInt32Array::from_iter_values(candidates.iter().map(|c| c.word.end as u32))),
        Arc::new(Float32Array::from_iter(candidates.iter().map(|c| c.visual))),
        Arc::new(Float32Array::from_iter_values(candidates.iter().map(|c| c.semantic))),
        Arc::new(Float32Array::from_iter_values(candidates.iter().map(|c| c.probability))),
        Arc::new(BooleanArray::from_iter(candidates.iter().map(|c| Some(c.selected)))),
    ];
    write(run, selection_names::NAME, selection_names::schema(), columns)
}

fn write(run: &Path, name: &str, schema: arrow::datatypes::SchemaRef, columns: Vec<ArrayRef>) -> Result<()> {
    let path = run.join(format!("{name}.parquet"));
    let batch = RecordBatch::try_new(schema, columns).map_err(retort_cache::Error::arrow(&path))?;
    Ok(write_plain_table(&path, &batch)?)
}
