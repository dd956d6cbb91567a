//! Scores a trained student on a split, beside what a blind guesser gets.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, RecordBatch, StringArray, UInt32Array};
use retort_cache::{Columns, Dataset, Interrupt, Progress, column, read_text, write_atomic, write_plain_table};
use retort_nn::{Checkpoint, TextTokenizer, Weights};
use retort_schemas::answers::accuracy;
use retort_schemas::manifest::Split;
use retort_schemas::runs::{EVALUATION_VERSION, Evaluation, Score, files, predictions as names};
use retort_schemas::tables;
use tch::{Device, Kind};

use crate::prepare::Preparer;
use crate::recipe::{Arm, Recipe};
use crate::record::{TOKENIZER, WEIGHTS};
use crate::students::{Input, Student, Vilt, ViltConfig};
use crate::zipped::{SampleRow, Sources, Zipped, samples};
use crate::{Error, Result};

/// Samples a batch; no gradient is kept, so it may be large.
const BATCH: usize = 256;

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

/// Evaluates a finished run on a split of its data set, and writes predictions and scores into the run folder.
///
/// # Errors
/// [`Error::Run`] if the run has no exported student; those of the data set and of libtorch.
pub fn evaluate(run: &Path, split: &str, progress: &dyn Progress, interrupt: &Interrupt) -> Result<Evaluation> {
    let recipe = Recipe::read(&run.join(files::RECIPE), &[])?;
    let dataset = Dataset::open(&recipe.data.dataset)?;
    let tested = dataset.split(split)?.clone();
    let guesser = Guesser::fit(&dataset, dataset.split(&recipe.data.split)?)?;
    let (student, tokenizer, answers) = open_student(run, &recipe, &dataset)?;
    // Evaluation is the student alone: no teacher's features, no augmentation.
    let preparer = Preparer {
        recipe: Recipe { arm: Arm::Base, ..recipe },
        tokenizer,
        answers: answers.len(),
        visual_words: None,
        semantic_words: None,
        confidence: None,
        device: Device::Cpu,
    };
    let sources = Sources { dataset: dataset.clone(), image_teacher: None, text_teacher: None, with_tokens: false };
    let total = tested.shards.iter().map(|shard| shard.rows(tables::samples::NAME)).sum();
    progress.begin(&format!("eval {split}"), total, "samples");
    let mut rows = Vec::new();
    for shard in &tested.shards {
        let zipped = sources.load(shard)?;
        let all: Vec<usize> = (0..zipped.samples.len()).collect();
        for chunk in all.chunks(BATCH) {
            interrupt.check()?;
            let batch: Vec<(&Zipped, usize)> = chunk.iter().map(|row| (&zipped, *row)).collect();
            for ((_, row), (class, confidence)) in batch.iter().zip(predict(student.as_ref(), &preparer, &batch)?) {
                rows.push(judge(&zipped, *row, &answers[class], confidence, &guesser));
            }
            progress.advance(chunk.len() as u64);
        }
    }
    progress.end();
    write_predictions(run, split, &rows)?;
    let evaluation = summarise(split, &rows);
    let text = serde_json::to_string_pretty(&evaluation)
        .map_err(|error| Error::Run { path: run.to_owned(), problem: error.to_string() })?;
    write_atomic(&run.join(files::evaluation(split)), format!("{text}\n").as_bytes())?;
    Ok(evaluation)
}

fn open_student(
    run: &Path,
    recipe: &Recipe,
    dataset: &Dataset,
) -> Result<(Box<dyn Student>, TextTokenizer, Vec<String>)> {
    let folder = run.join(files::STUDENT);
    let weights = folder.join(WEIGHTS);
    if !weights.is_file() {
        let problem = "has no exported student: is training finished?".to_owned();
        return Err(Error::Run { path: run.to_owned(), problem });
    }
    let path = folder.join("config.json");
    let malformed = |problem: String| Error::Run { path: path.clone(), problem };
    let json: serde_json::Value =
        serde_json::from_str(&read_text(&path)?).map_err(|error| malformed(error.to_string()))?;
    let config: ViltConfig = serde_json::from_value(json.clone()).map_err(|error| malformed(error.to_string()))?;
    let labels = json.get("id2label").and_then(serde_json::Value::as_object);
    let label = |id: usize| labels.and_then(|labels| labels.get(&id.to_string())?.as_str());
    let answers: Vec<String> = (0..).map_while(label).map(str::to_owned).collect();
    if answers != dataset.answers()?.answers {
        let problem = "its answers are not those of the data set, or in another order".to_owned();
        return Err(malformed(problem));
    }
    let weights = Weights::frozen(Checkpoint::open_file(&weights)?, Device::Cpu, Kind::Float);
    let student = Vilt::new(&weights.root(), config, answers.len() as i64)?;
    let tokenizer = TextTokenizer::open(&folder.join(TOKENIZER), recipe.student.text_tokens)?;
    Ok((Box::new(student), tokenizer, answers))
}

/// Class and probability of the student's best answers.
fn predict(student: &dyn Student, preparer: &Preparer, rows: &[(&Zipped, usize)]) -> Result<Vec<(usize, f32)>> {
    let _guard = tch::no_grad_guard();
    let batch = preparer.batch(rows, None)?;
    let views = student.forward(&Input { ids: &batch.ids, mask: &batch.mask, pixels: &batch.pixels })?;
    let (best, class) = views.logits.f_softmax(-1, Kind::Float)?.f_max_dim(1, false)?;
    let (best, class) = (Vec::<f32>::try_from(&best)?, Vec::<i64>::try_from(&class)?);
    Ok(class.into_iter().map(|class| class as usize).zip(best).collect())
}

fn judge(zipped: &Zipped, row: usize, prediction: &str, confidence: f32, guesser: &Guesser) -> Row {
    let sample = &zipped.samples[row];
    let text = zipped.texts.value(sample.text);
    let labelled = !sample.answers.is_empty();
    let score = |answer: &str| accuracy(answer, &sample.answers);
    Row {
        id: sample.id.clone(),
        shard: zipped.shard.clone(),
        row: row as u32,
        text: text.to_owned(),
        question_type: sample.question_type.clone(),
        prediction: prediction.to_owned(),
        truth: sample.label_text.clone(),
        confidence,
        scores: labelled.then(|| [score(prediction), score(&guesser.majority), score(guesser.answer(text))]),
    }
}

/// The two floors: what can be had without looking at the image.
struct Guesser {
    majority: String,
    by_text: HashMap<String, String>,
}

impl Guesser {
    /// Counts the answers of a split, all of it.
    fn fit(dataset: &Dataset, split: &Split) -> Result<Self> {
        let mut all: BTreeMap<String, u64> = BTreeMap::new();
        let mut by_text: HashMap<String, BTreeMap<String, u64>> = HashMap::new();
        for shard in &split.shards {
            let texts = dataset.read(shard, tables::texts::NAME, Columns::Named(&[tables::texts::TEXT]))?;
            let texts = column::<StringArray>(&texts, tables::texts::TEXT)?;
            for SampleRow { text, label_text, .. } in samples(dataset, shard)? {
                let Some(answer) = label_text else { continue };
                *all.entry(answer.clone()).or_default() += 1;
                *by_text.entry(texts.value(text).to_owned()).or_default().entry(answer).or_default() += 1;
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

fn summarise(split: &str, rows: &[Row]) -> Evaluation {
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
        metric: "VQA accuracy".to_owned(),
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
