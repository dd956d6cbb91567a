//! `retort eval`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use retort_schemas::runs::{Evaluation, Joint, RunInfo, Score, files};
use retort_schemas::tables::samples::tasks;
use retort_trainer::{Evaluated, PredictionsFormat, WordScorer, WordsScored, evaluate_on, join_by_question};
use serde_json::{Value, json};

use retort::cli::{Eval, SummaryFormat};
use retort::commands::{print, print_json};
use retort::progress::Terminal;
use retort::tabulate::{percent, table};

/// Question types that are columns of the table; more of them are rows of one of their own.
const MOST_COLUMNS: usize = 6;

/// A run and what it says.
struct Tested {
    info: RunInfo,
    evaluated: Evaluated,
}

/// Two of the runs that answer VCR together: which chooses the answers, which the rationales.
struct Pair {
    places: [usize; 2],
    joint: Option<Joint>,
}

pub fn run(options: &Eval, terminal: &Terminal) -> Result<ExitCode> {
    let wanted = options.predictions.as_deref();
    let format = wanted.map(PredictionsFormat::of).transpose()?;
    if wanted.is_some() && options.runs.len() > 2 {
        bail!("--predictions takes one run, or the two that answer VCR together; found {}", options.runs.len());
    }
    let scorer = word_scorer(options)?;
    let mut tested = Vec::new();
    for run in &options.runs {
        let path = run.join(files::RUN);
        let info = serde_json::from_str(&retort_cache::read_text(&path)?)
            .with_context(|| format!("{} cannot be understood", path.display()))?;
        let device = options.device.as_deref();
        let evaluated = evaluate_on(run, &options.split, device, terminal, terminal.interrupt())?;
        tested.push(Tested { info, evaluated });
    }
    let pair = pair(&tested)?;
    match options.format {
        SummaryFormat::Json => print_json(&as_json(&tested, pair.as_ref()))?,
        SummaryFormat::Table => print(&text(&tested, pair.as_ref(), &options.split))?,
    }
    if let Some((path, format)) = wanted.zip(format) {
        if tested.len() == 2 && pair.is_none() {
            bail!("--predictions takes one run, or two of which one chooses the answers of VCR and one the rationales");
        }
        let all: Vec<&Evaluated> = tested.iter().map(|tested| &tested.evaluated).collect();
        format.write(&all, path)?;
        terminal.say(&format!("{} samples in {}", samples(&all), shown(path)));
    }
    if let Some((path, scorer)) = options.word_scores.as_deref().zip(scorer) {
        let scored = scorer.write(path, terminal, terminal.interrupt())?;
        terminal.say(&format!("{} in {}", told(&scored), shown(path)));
    }
    Ok(ExitCode::SUCCESS)
}

/// The run whose words are to be scored, opened before anything is worked out.
fn word_scorer(options: &Eval) -> Result<Option<WordScorer>> {
    if options.word_scores.is_none() {
        return Ok(None);
    }
    let [run] = options.runs.as_slice() else {
        bail!("--word-scores takes one run, found {}: of VCR one that answers both tasks", options.runs.len());
    };
    Ok(Some(WordScorer::open(run, &options.split, options.device.as_deref())?))
}

fn told(scored: &WordsScored) -> String {
    let rest = match scored.unlabelled {
        0 => String::new(),
        unlabelled => format!(" ({unlabelled} without a label left out)"),
    };
    format!("{} words of {} samples{rest}", scored.words, scored.samples)
}

fn samples(all: &[&Evaluated]) -> usize {
    all.iter().map(|evaluated| evaluated.predictions.num_rows()).sum()
}

fn shown(path: &Path) -> impl std::fmt::Display + '_ {
    path.display()
}

/// The one run that chooses answers of VCR alone, and the one that chooses rationales alone; none where there are others of
/// either kind.
fn pair(tested: &[Tested]) -> Result<Option<Pair>> {
    let only_one = |task: &str| -> Result<Option<usize>> {
        let mut found = Vec::new();
        for (place, tested) in tested.iter().enumerate() {
            if tested.evaluated.is_all(task)? {
                found.push(place);
            }
        }
        Ok(if let [place] = found[..] { Some(place) } else { None })
    };
    let (Some(answers), Some(rationales)) = (only_one(tasks::VCR_QA)?, only_one(tasks::VCR_QAR)?) else {
        return Ok(None);
    };
    let joint = join_by_question(&tested[answers].evaluated, &tested[rationales].evaluated)?;
    Ok(Some(Pair { places: [answers, rationales], joint }))
}

fn as_json(tested: &[Tested], pair: Option<&Pair>) -> Value {
    let value = |(place, tested): (usize, &Tested)| {
        let mut value = json!({"run": tested.info, "evaluation": tested.evaluated.evaluation});
        if let Some(joint) = pair.filter(|pair| pair.places.contains(&place)).and_then(|pair| pair.joint) {
            value["joint"] = json!(joint);
        }
        value
    };
    tested.iter().enumerate().map(value).collect()
}

fn text(tested: &[Tested], pair: Option<&Pair>, split: &str) -> String {
    let scored = |tested: &'_ Tested| Some((tested.info.clone(), tested.evaluated.evaluation.clone()?));
    let results: Vec<(RunInfo, Evaluation)> = tested.iter().filter_map(scored).collect();
    let mut text = String::new();
    if results.len() < tested.len() {
        let all: Vec<&Evaluated> = tested.iter().map(|tested| &tested.evaluated).collect();
        text += &format!(
            "{split} has no labels: {} samples are predicted, into predictions-{split}.parquet of the run, and no accuracy is known\n",
            samples(&all)
        );
    }
    // Runs of one task stand under one header; a pair has two tasks.
    let mut from = 0;
    while let Some((_, first)) = results.get(from) {
        let header = columns_of(first);
        let alike = |(_, evaluation): &&(RunInfo, Evaluation)| columns_of(evaluation) == header;
        let count = results[from..].iter().take_while(alike).count();
        text += &of_alike(&results[from..from + count]);
        from += count;
    }
    let own = results.iter().filter_map(|(info, evaluation)| Some((info.arm.as_str(), evaluation.joint?)));
    own.for_each(|(arm, joint)| text += &of_joint(arm, &joint));
    if let Some(pair) = pair {
        let arms = pair.places.map(|place| tested[place].info.arm.as_str()).join(" and ");
        match pair.joint {
            Some(joint) => text += &of_joint(&arms, &joint),
            None if !results.is_empty() => text += &format!("{arms}: no question is judged by both\n"),
            None => {}
        }
    }
    text
}

/// VCR over both halves of its questions.
fn of_joint(whose: &str, joint: &Joint) -> String {
    let Joint { questions, alone, .. } = joint;
    let rest = if *alone > 0 { format!(", {alone} samples without their other half left out") } else { String::new() };
    let [answer, rationale, both] = [joint.answer, joint.rationale, joint.both].map(percent);
    format!("{whose}: Q->A {answer}, QA->R {rationale}, Q->AR {both} of {questions} questions{rest}\n")
}

/// The columns of scores: answer types, and question types where they are few.
fn columns_of(evaluation: &Evaluation) -> Vec<String> {
    scores_of(evaluation).map(|score| score.name.clone()).collect()
}

fn scores_of(evaluation: &Evaluation) -> impl Iterator<Item = &Score> {
    let few = evaluation.by_question_type.len() <= MOST_COLUMNS;
    let question_types = evaluation.by_question_type.iter().filter(move |_| few);
    evaluation.by_answer_type.iter().chain(question_types)
}

/// A floor of a score, where it has it.
type Floor = fn(&Score) -> Option<f64>;

fn of_alike(results: &[(RunInfo, Evaluation)]) -> String {
    let mut rows = Vec::new();
    for (info, evaluation) in results {
        let mut row = vec![info.arm.clone(), info.seed.to_string(), percent(evaluation.overall.accuracy)];
        row.extend(scores_of(evaluation).map(|score| percent(score.accuracy)));
        rows.push(row);
    }
    let Some((_, first)) = results.first() else { return String::new() };
    let floors: [(&str, Floor); 3] = [
        ("floor: commonest answer", |score| Some(score.majority)),
        ("floor: question alone", |score| Some(score.question_only)),
        ("floor: text's vector alone", |score| score.text_only),
    ];
    for (name, of) in floors {
        let Some(overall) = of(&first.overall) else { continue };
        let mut row = vec![name.to_owned(), String::new(), percent(overall)];
        row.extend(scores_of(first).map(|score| of(score).map_or(String::new(), percent)));
        rows.push(row);
    }
    let columns = columns_of(first);
    let mut header = vec!["arm", "seed", "all"];
    header.extend(columns.iter().map(String::as_str));
    let right: Vec<usize> = (1..header.len()).collect();
    let samples = first.overall.samples;
    let text = format!("{} on {}, {samples} samples\n{}", first.metric, first.split, table(&header, &rows, &right));
    if first.by_question_type.len() > MOST_COLUMNS { text + &by_question_type(results) } else { text }
}

/// A row a question type, a column a run.
fn by_question_type(results: &[(RunInfo, Evaluation)]) -> String {
    let Some((_, first)) = results.first() else { return String::new() };
    let row = |score: &Score| {
        let of_run = |(_, evaluation): &(RunInfo, Evaluation)| {
            let found = evaluation.by_question_type.iter().find(|other| other.name == score.name);
            found.map_or(String::new(), |found| percent(found.accuracy))
        };
        let mut row = vec![score.name.clone(), score.samples.to_string()];
        row.extend(results.iter().map(of_run));
        row.extend([percent(score.majority), percent(score.question_only)]);
        row
    };
    let rows: Vec<Vec<String>> = first.by_question_type.iter().map(row).collect();
    let runs: Vec<String> = results.iter().map(|(info, _)| format!("{} {}", info.arm, info.seed)).collect();
    let mut header = vec!["question type", "samples"];
    header.extend(runs.iter().map(String::as_str));
    header.extend(["commonest", "question alone"]);
    let right: Vec<usize> = (1..header.len()).collect();
    format!("\n{}", table(&header, &rows, &right))
}
