//! Scores a trained student on a split, beside what a blind guesser gets.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, RecordBatch, StringArray, UInt32Array};
use retort_cache::{Columns, Dataset, Interrupt, Progress, TeacherCache, column, write_atomic, write_plain_table};
use retort_nn::TextTokenizer;
use retort_schemas::runs::{EVALUATION_VERSION, Evaluation, Score, files, predictions as names};
use retort_schemas::tables;
use tch::Device;

use crate::patches::Patches;
use crate::recipe::{Recipe, StudentKind};
use crate::record::{TOKENIZER, WEIGHTS};
use crate::scoring::{self, Asking, BATCH};
use crate::students::{self, Student};
use crate::tasks::{Objective, outputs_of};
use crate::zipped::{SampleRow, Sources, Zipped, samples};
use crate::{Error, Result};

/// What is known of one evaluated sample.
struct Row {
    id: String,
    shard: String,
    row: u32,
    text: String,
    question_type: Option<String>,
    prediction: String,
    truth: Option<String>,
    confidence: f32,
    /// Of the student, of the majority floor, of the question-only floor; none without truth.
    scores: Option<[f64; 3]>,
}

/// Evaluates a finished run on a split of its data set, on the device of its recipe, and writes predictions and scores
/// into the run folder.
///
/// # Errors
/// [`Error::Run`] if the run has no exported student; those of the data set and of libtorch.
pub fn evaluate(run: &Path, split: &str, progress: &dyn Progress, interrupt: &Interrupt) -> Result<Evaluation> {
    evaluate_on(run, split, None, progress, interrupt)
}

/// As [`evaluate()`], on another device than the recipe's where `device` names one: `auto`, `cpu`, `cuda` or `cuda:N`.
///
/// # Errors
/// As [`evaluate()`]; also if there is no such device.
pub fn evaluate_on(
    run: &Path,
    split: &str,
    device: Option<&str>,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Evaluation> {
    let recipe = Recipe::read(&run.join(files::RECIPE), &[])?;
    let device = retort_nn::device(device.unwrap_or(&recipe.device))?;
    let dataset = Dataset::open(&recipe.data.dataset)?;
    let tested = dataset.split(split)?;
    let guesser = Guesser::fit(&dataset, &recipe.data.split)?;
    let mut objective = None;
    for shard in dataset.split_shards(split)? {
        let found = Objective::of_all(samples(&dataset, &shard?)?.iter());
        let of_shard = found.map_err(|problem| Error::Data { path: dataset.folder().to_owned(), problem })?;
        objective = objective.or(of_shard);
    }
    let Some(objective) = objective else {
        let problem = format!("split {split} has no samples");
        return Err(Error::Data { path: dataset.folder().to_owned(), problem });
    };
    let (student, tokenizer, answers) = open_student(run, &recipe, objective, &dataset, device)?;
    let asking = Asking::new(&recipe, tokenizer, objective, answers, device);
    let sources = Sources {
        image_teacher: None,
        text_teacher: None,
        with_tokens: false,
        with_regions: recipe.student.kind.reads_regions(),
        random: None,
        grid_teacher: grid_teacher(run, &recipe, &dataset, split)?,
        dataset: dataset.clone(),
    };
    progress.begin(&format!("eval {split}"), tested.runs.total(tables::samples::NAME).rows, "samples");
    let mut rows = Vec::new();
    for shard in dataset.split_shards(split)? {
        let zipped = sources.load(&shard?)?;
        let all: Vec<usize> = (0..zipped.samples.len()).collect();
        for chunk in all.chunks(BATCH) {
            interrupt.check()?;
            let batch: Vec<(&Zipped, usize)> = chunk.iter().map(|row| (&zipped, *row)).collect();
            let (_, logits) = asking.ask(student.as_ref(), &batch)?;
            for ((_, row), (chosen, confidence)) in batch.iter().zip(scoring::best(&logits)?) {
                let said = (chosen, asking.name_of(chosen), confidence);
                rows.push(judge(&zipped, *row, objective, said, &guesser));
            }
            progress.advance(chunk.len() as u64);
        }
    }
    progress.end();
    write_predictions(run, split, &rows)?;
    let evaluation = summarise(split, objective, &rows);
    let text = serde_json::to_string_pretty(&evaluation)
        .map_err(|error| Error::Run { path: run.to_owned(), problem: error.to_string() })?;
    write_atomic(&run.join(files::evaluation(split)), format!("{text}\n").as_bytes())?;
    Ok(evaluation)
}

fn open_student(
    run: &Path,
    recipe: &Recipe,
    objective: Objective,
    dataset: &Dataset,
    device: Device,
) -> Result<(Box<dyn Student>, TextTokenizer, Vec<String>)> {
    let folder = run.join(files::STUDENT);
    let weights = folder.join(WEIGHTS);
    if !weights.is_file() {
        let problem = "has no exported student: is training finished?".to_owned();
        return Err(Error::Run { path: run.to_owned(), problem });
    }
    let (student, answers) = students::open(&folder, recipe.student.kind, &weights, device)?;
    if answers != outputs_of(objective, dataset)? {
        let problem = "its answers are not those of the data set, or in another order".to_owned();
        return Err(Error::Run { path: folder, problem });
    }
    let tokenizer = TextTokenizer::open(&folder.join(TOKENIZER), recipe.student.text_tokens)?;
    Ok((student, tokenizer, answers))
}

/// The teacher whose patch grid the student reads, which has to be the one that it was trained on and to have seen the
/// split; none where it reads something else.
fn grid_teacher(run: &Path, recipe: &Recipe, dataset: &Dataset, split: &str) -> Result<Option<TeacherCache>> {
    let Some(name) = recipe.teachers.image.as_ref().filter(|_| recipe.student.kind == StudentKind::ClipGrid) else {
        return Ok(None);
    };
    // By its full name: another teacher of the same name gives other vectors.
    let trained_on = students::grid_teacher(&run.join(files::STUDENT))?;
    let teacher = TeacherCache::open(dataset, trained_on.as_deref().unwrap_or(name))?;
    for shard in dataset.split_shards(split)? {
        Patches::check(&teacher, dataset, &shard?)?;
    }
    Ok(Some(teacher))
}

/// Holds what the student says of a sample, a class or a candidate text by number and name with its probability,
/// against the truth.
fn judge(
    zipped: &Zipped,
    row: usize,
    objective: Objective,
    (chosen, said, confidence): (usize, String, f32),
    guesser: &Guesser,
) -> Row {
    let sample = &zipped.samples[row];
    let candidate = |at: usize| sample.texts.get(at).map(|text| zipped.texts.value(*text));
    let text = candidate(0).unwrap_or_default();
    let shown = match objective {
        Objective::Choice(_) => [candidate(chosen), sample.label.and_then(|label| candidate(label as usize))],
        Objective::Answers | Objective::Class => [Some(said.as_str()), sample.label_text.as_deref()],
    };
    let score = |answer: &str| scoring::score(objective, sample, answer);
    let scores = score(&said).zip(score(&guesser.majority)).zip(score(guesser.answer(text)));
    let scores = scores.map(|((own, majority), question_only)| [own, majority, question_only]);
    Row {
        id: sample.id.clone(),
        shard: zipped.shard.clone(),
        row: row as u32,
        text: text.to_owned(),
        question_type: kind_of(objective, sample),
        prediction: shown[0].unwrap_or_default().to_owned(),
        truth: shown[1].map(str::to_owned),
        confidence,
        scores,
    }
}

/// By what scores are told apart: the source's question type, else the class of the truth, or the task.
fn kind_of(objective: Objective, sample: &SampleRow) -> Option<String> {
    sample.question_type.clone().or_else(|| match objective {
        Objective::Answers => None,
        Objective::Class => sample.label_text.clone(),
        Objective::Choice(_) => Some(sample.task.clone()),
    })
}

/// The two floors: what can be had without looking at the image.
struct Guesser {
    majority: String,
    by_text: HashMap<String, String>,
}

impl Guesser {
    /// Counts the answers of a split, all of it.
    fn fit(dataset: &Dataset, split: &str) -> Result<Self> {
        let mut all: BTreeMap<String, u64> = BTreeMap::new();
        let mut by_text: HashMap<String, BTreeMap<String, u64>> = HashMap::new();
        for shard in dataset.split_shards(split)? {
            let shard = shard?;
            let texts = dataset.read(&shard, tables::texts::NAME, Columns::Named(&[tables::texts::TEXT]))?;
            let texts = column::<StringArray>(&texts, tables::texts::TEXT)?;
            for sample in samples(dataset, &shard)? {
                let objective = Objective::of(&sample);
                let Some(answer) = objective.and_then(|objective| scoring::truth_of(objective, &sample)) else {
                    continue;
                };
                *all.entry(answer.clone()).or_default() += 1;
                // Which of several texts it is cannot be told from the first of them.
                if let (Some(text), false) = (sample.texts.first(), matches!(objective, Some(Objective::Choice(_)))) {
                    *by_text.entry(texts.value(*text).to_owned()).or_default().entry(answer).or_default() += 1;
                }
            }
        }
        let by_text = by_text.into_iter().map(|(text, counts)| (text, commonest(&counts))).collect();
        Ok(Self { majority: commonest(&all), by_text })
    }

    fn answer(&self, text: &str) -> &str {
        self.by_text.get(text).unwrap_or(&self.majority)
    }
}

/// The most frequent; of equals, the first in the alphabet.
fn commonest(counts: &BTreeMap<String, u64>) -> String {
    let best = counts.iter().rev().max_by_key(|(_, count)| **count);
    best.map(|(answer, _)| answer.clone()).unwrap_or_default()
}

fn summarise(split: &str, objective: Objective, rows: &[Row]) -> Evaluation {
    let mut by_type: BTreeMap<&str, Vec<[f64; 3]>> = BTreeMap::new();
    let mut all = Vec::new();
    for row in rows {
        if let Some(scores) = row.scores {
            all.push(scores);
            by_type.entry(row.question_type.as_deref().unwrap_or("unknown")).or_default().push(scores);
        }
    }
    let score = |name: &str, scores: &[[f64; 3]]| {
        let mean = |part: usize| scores.iter().map(|score| score[part]).sum::<f64>() / scores.len().max(1) as f64;
        Score {
            name: name.to_owned(),
            samples: scores.len() as u64,
            accuracy: mean(0),
            majority: mean(1),
            question_only: mean(2),
        }
    };
    Evaluation {
        schema: EVALUATION_VERSION.to_string(),
        split: split.to_owned(),
        metric: objective.metric().to_owned(),
        overall: score("all", &all),
        by_question_type: by_type.iter().map(|(name, scores)| score(name, scores)).collect(),
    }
}

fn write_predictions(run: &Path, split: &str, rows: &[Row]) -> Result<()> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.id))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.shard))),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.row))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.text))),
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row.question_type.as_ref()))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.prediction))),
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row.truth.as_ref()))),
        Arc::new(Float32Array::from_iter(rows.iter().map(|row| row.scores.map(|score| score[0] as f32)))),
        Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| row.confidence))),
    ];
    let path = run.join(files::predictions(split));
    let batch = RecordBatch::try_new(names::schema(), columns).map_err(retort_cache::Error::arrow(&path))?;
    Ok(write_plain_table(&path, &batch)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commonest_answer_breaks_ties_by_the_alphabet() {
        let counts = |pairs: &[(&str, u64)]| pairs.iter().map(|(a, n)| ((*a).to_owned(), *n)).collect();
        assert_eq!(commonest(&counts(&[("no", 3), ("yes", 3), ("red", 1)])), "no");
        assert_eq!(commonest(&counts(&[("no", 3), ("yes", 4)])), "yes");
        assert_eq!(commonest(&BTreeMap::new()), "");
    }
}
