//! `retort eval`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use retort_schemas::runs::{Evaluation, RunInfo, files};
use retort_trainer::evaluate_on;
use serde_json::json;

use retort::cli::{Eval, SummaryFormat};
use retort::commands::{print, print_json};
use retort::progress::Terminal;
use retort::tabulate::{percent, table};

pub fn run(options: &Eval, terminal: &Terminal) -> Result<ExitCode> {
    let mut results: Vec<(RunInfo, Evaluation)> = Vec::new();
    for run in &options.runs {
        let path = run.join(files::RUN);
        let info = serde_json::from_str(&retort_cache::read_text(&path)?)
            .with_context(|| format!("{} cannot be understood", path.display()))?;
        let device = options.device.as_deref();
        results.push((info, evaluate_on(run, &options.split, device, terminal, terminal.interrupt())?));
    }
    match options.format {
        SummaryFormat::Json => {
            let values = results.iter().map(|(info, evaluation)| json!({"run": info, "evaluation": evaluation}));
            print_json(&values.collect())?;
        }
        SummaryFormat::Table => print(&text(&results))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(results: &[(RunInfo, Evaluation)]) -> String {
    let mut rows = Vec::new();
    for (info, evaluation) in results {
        let scores = evaluation.by_question_type.iter().map(|score| percent(score.accuracy));
        let mut row = vec![info.arm.clone(), info.seed.to_string(), percent(evaluation.overall.accuracy)];
        row.extend(scores);
        rows.push(row);
    }
    let Some((_, first)) = results.first() else { return String::new() };
    let floors = [("floor: commonest answer", false), ("floor: question alone", true)];
    for (name, question) in floors {
        let of = |score: &retort_schemas::runs::Score| if question { score.question_only } else { score.majority };
        let mut row = vec![name.to_owned(), String::new(), percent(of(&first.overall))];
        row.extend(first.by_question_type.iter().map(|score| percent(of(score))));
        rows.push(row);
    }
    let mut header = vec!["arm", "seed", "all"];
    header.extend(first.by_question_type.iter().map(|score| score.name.as_str()));
    let right: Vec<usize> = (1..header.len()).collect();
    let samples = first.overall.samples;
    format!("{} on {}, {samples} samples\n{}", first.metric, first.split, table(&header, &rows, &right))
}
