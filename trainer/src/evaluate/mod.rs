//! Scores a trained student on a split, beside what a blind guesser gets.

mod floors;
mod formats;
#[cfg(test)]
mod official_tests;
mod predictions;
mod summary;
#[cfg(test)]
mod tests;
mod text_only;
#[cfg(test)]
mod text_only_tests;

use std::path::Path;

use arrow::array::RecordBatch;
use retort_cache::{Dataset, Interrupt, Progress, TeacherCache, write_atomic, write_plain_table};
use retort_nn::TextTokenizer;
use retort_schemas::runs::{Evaluation, Joint, files, predictions as names};
use retort_schemas::tables;
use tch::Device;

use self::floors::{Guesser, TextOnly};
pub use self::formats::PredictionsFormat;
use self::summary::{Scores, summarise};
pub use self::text_only::{TextOnlyFound, TextProbe};
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
    task: String,
    text: String,
    question_type: Option<String>,
    answer_type: Option<String>,
    prediction: String,
    truth: Option<String>,
    confidence: f32,
    /// Choices by their numbers, with their probabilities.
    said: Vec<(u32, f32)>,
    /// None without truth.
    scores: Option<Scores>,
}

/// What a run says of a split, and how good that is.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// The scores; none where the truth of no sample is known.
    pub evaluation: Option<Evaluation>,
    /// A row a sample, as [`names`] has them.
    pub predictions: RecordBatch,
}

impl Evaluated {
    /// Whether all samples are of this task, one of [`tables::samples::tasks`].
    ///
    /// # Errors
    /// If the predictions lack a column.
    pub fn is_all(&self, task: &str) -> Result<bool> {
        Ok(predictions::rows(&self.predictions)?.iter().all(|row| row.task == task))
    }
}

/// Q->AR of VCR, joined by question, where one run chose the answers and another the rationales; none without a question
/// of which both are judged.
///
/// # Errors
/// If predictions lack a column.
pub fn join_by_question(answers: &Evaluated, rationales: &Evaluated) -> Result<Option<Joint>> {
    let (answers, rationales) = (predictions::rows(&answers.predictions)?, predictions::rows(&rationales.predictions)?);
    let judged = answers.iter().chain(&rationales).filter_map(|row| Some((row.task, row.id, row.score?)));
    Ok(summary::join(judged))
}

/// Evaluates a finished run on a split of its data set, on the device of its recipe, and writes predictions and scores
/// into the run folder.
///
/// # Errors
/// [`Error::Run`] if the run has no exported student; [`Error::Data`] if the split has no labels; those of the data set
/// and of libtorch.
pub fn evaluate(run: &Path, split: &str, progress: &dyn Progress, interrupt: &Interrupt) -> Result<Evaluation> {
    let evaluated = evaluate_on(run, split, None, progress, interrupt)?;
    let path = || Recipe::read(&run.join(files::RECIPE), &[]).map(|recipe| recipe.data.dataset);
    match evaluated.evaluation {
        Some(evaluation) => Ok(evaluation),
        None => Err(Error::Data { path: path()?, problem: format!("split {split} has no labels to score against") }),
    }
}

/// As [`evaluate()`], on another device than the recipe's where `device` names one: `auto`, `cpu`, `cuda` or `cuda:N`. A
/// split without labels is predicted and not scored.
///
/// # Errors
/// As [`evaluate()`]; also if there is no such device.
pub fn evaluate_on(
    run: &Path,
    split: &str,
    device: Option<&str>,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Evaluated> {
    let recipe = Recipe::read(&run.join(files::RECIPE), &[])?;
    let device = retort_nn::device(device.unwrap_or(&recipe.device))?;
    let dataset = Dataset::open(&recipe.data.dataset)?;
    let tested = dataset.split(split)?;
    let guesser = Guesser::fit(&dataset, &recipe.data.split)?;
    let objective = objective_of(&dataset, split)?;
    let (student, tokenizer, answers) = open_student(run, &recipe, objective, &dataset, device)?;
    let choices = match objective {
        Objective::Choice(texts) => (0..texts).map(|text| text.to_string()).collect(),
        Objective::Answers | Objective::Class => answers.clone(),
    };
    let text_only = TextOnly::fit(&dataset, &recipe, split, objective, &choices)?;
    let asking = Asking::new(&recipe, tokenizer, objective, answers, device);
    let sources = Sources {
        image_teacher: None,
        text_teacher: text_only.as_ref().map(|floor| floor.teacher.clone()),
        with_tokens: false,
        with_pixels: recipe.student.kind.reads_pixels(),
        with_regions: recipe.student.kind.reads_regions(),
        random: None,
        grid_teacher: grid_teacher(run, &recipe, &dataset, split)?,
        dataset: dataset.clone(),
    };
    progress.begin(&format!("eval {split}"), tested.runs.total(tables::samples::NAME).rows, "samples");
    let mut rows = Vec::new();
    for shard in dataset.split_shards(split)? {
        let zipped = sources.load(&shard?)?;
        let by_text = text_only.as_ref().map(|floor| floor.answers(&zipped)).transpose()?;
        let all: Vec<usize> = (0..zipped.samples.len()).collect();
        for chunk in all.chunks(BATCH) {
            interrupt.check()?;
            let batch: Vec<(&Zipped, usize)> = chunk.iter().map(|row| (&zipped, *row)).collect();
            let (_, logits) = asking.ask(student.as_ref(), &batch)?;
            let most = (objective == Objective::Answers).then_some(names::MOST_ANSWERS);
            let said = scoring::best(&logits)?.into_iter().zip(scoring::said(&logits, most)?);
            for ((_, row), ((chosen, confidence), said)) in batch.iter().zip(said) {
                let by_text = by_text.as_ref().and_then(|answers| answers.get(*row).copied());
                let chosen = (chosen, asking.name_of(chosen));
                rows.push(Row { confidence, said, ..judge(&zipped, *row, objective, chosen, &guesser, by_text) });
            }
            progress.advance(chunk.len() as u64);
        }
    }
    progress.end();
    let evaluation = summarise(split, objective, &rows);
    let path = run.join(files::predictions(split));
    let predictions = predictions::table(&path, &rows, &choices)?;
    write_plain_table(&path, &predictions)?;
    if let Some(evaluation) = &evaluation {
        let text = serde_json::to_string_pretty(evaluation)
            .map_err(|error| Error::Run { path: run.to_owned(), problem: error.to_string() })?;
        write_atomic(&run.join(files::evaluation(split)), format!("{text}\n").as_bytes())?;
    }
    Ok(Evaluated { evaluation, predictions })
}

/// What is asked of all samples of a split.
pub(crate) fn objective_of(dataset: &Dataset, split: &str) -> Result<Objective> {
    let unusable = |problem: String| Error::Data { path: dataset.folder().to_owned(), problem };
    let mut objective = None;
    for shard in dataset.split_shards(split)? {
        let of_shard = Objective::of_all(samples(dataset, &shard?)?.iter()).map_err(unusable)?;
        objective = objective.or(of_shard);
    }
    objective.ok_or_else(|| unusable(format!("split {split} has no samples")))
}

pub(crate) fn open_student(
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
pub(crate) fn grid_teacher(
    run: &Path,
    recipe: &Recipe,
    dataset: &Dataset,
    split: &str,
) -> Result<Option<TeacherCache>> {
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

/// Holds what the student chose for a sample, a class or a candidate text by number and name, against the truth; beside
/// it the floors, of which `by_text` is the answer of the text alone.
fn judge(
    zipped: &Zipped,
    row: usize,
    objective: Objective,
    (chosen, name): (usize, String),
    guesser: &Guesser,
    by_text: Option<&str>,
) -> Row {
    let sample = &zipped.samples[row];
    let candidate = |at: usize| sample.texts.get(at).map(|text| zipped.texts.value(*text));
    let text = candidate(0).unwrap_or_default();
    let shown = match objective {
        Objective::Choice(_) => [candidate(chosen), sample.label.and_then(|label| candidate(label as usize))],
        Objective::Answers | Objective::Class => [Some(name.as_str()), sample.label_text.as_deref()],
    };
    let score = |answer: &str| scoring::score(objective, sample, answer);
    let scores = score(&name).zip(score(&guesser.majority)).zip(score(guesser.answer(text)));
    let text_only = by_text.and_then(score);
    let scores = scores.map(|((own, majority), question_only)| Scores { own, majority, question_only, text_only });
    Row {
        id: sample.id.clone(),
        shard: zipped.shard.clone(),
        row: row as u32,
        task: sample.task.clone(),
        text: text.to_owned(),
        question_type: kind_of(objective, sample),
        answer_type: sample.answer_type.clone(),
        prediction: shown[0].unwrap_or_default().to_owned(),
        truth: shown[1].map(str::to_owned),
        confidence: 0.0,
        said: Vec::new(),
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
