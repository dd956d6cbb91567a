//! What a protocol leaves behind: a row a run, a row a prediction, and the table for people.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float32Array, Float64Array, RecordBatch, StringArray, UInt64Array};
use arrow::compute::concat_batches;
use retort_cache::{column, read_plain_table, read_text, write_atomic, write_plain_table};
use retort_schemas::protocol::{Failure, PREDICTIONS_FILE, RESULTS_FILE, TABLE_FILE, predictions, runs as columns};
use retort_schemas::runs::{EVALUATION_VERSION, Evaluation, RunInfo, files, predictions as of_run};

use super::estimate::wall_secs;
use super::file::Protocol;
use super::plan::{Plan, is_trained, read_info};
use super::statistics::RESAMPLES;
use super::table::{Gain, Row, Section};
use crate::{Error, Result};

/// A finished run, scored on a split.
#[derive(Debug, Clone)]
pub struct ScoredRun {
    /// Index of the run in the plan.
    pub run: usize,
    /// The split.
    pub split: String,
    /// What it is.
    pub info: RunInfo,
    /// Its scores and the floors.
    pub evaluation: Evaluation,
    /// Seconds of training, where they were written down.
    pub wall_secs: Option<f64>,
    /// Its predictions on the split, as [`of_run`] has them.
    pub predictions: RecordBatch,
}

impl ScoredRun {
    /// Samples that went through the student.
    pub fn samples_seen(&self) -> u64 {
        (self.info.steps + self.info.adapt_steps) * self.info.batch
    }
}

/// Reads what is done of a plan, in its order.
///
/// # Errors
/// If a file of a run is damaged or of another version.
pub fn gather(plan: &Plan, out: &Path) -> Result<Vec<ScoredRun>> {
    let mut scored = Vec::new();
    for (at, run) in plan.runs.iter().enumerate() {
        let path = run.path(out);
        if !is_trained(&path)? {
            continue;
        }
        let malformed = |problem: String| Error::Run { path: path.clone(), problem };
        for split in &run.splits {
            let scores = path.join(files::evaluation(split));
            if !scores.is_file() {
                continue;
            }
            let evaluation: Evaluation = serde_json::from_str(&read_text(&scores)?)
                .map_err(|error| malformed(format!("{}: {error}", files::evaluation(split))))?;
            EVALUATION_VERSION.accept(&evaluation.schema).map_err(|error| malformed(error.to_string()))?;
            scored.push(ScoredRun {
                run: at,
                split: split.clone(),
                info: read_info(&path)?,
                evaluation,
                wall_secs: wall_secs(&path)?,
                predictions: read_plain_table(&path.join(files::predictions(split)), of_run::VERSION)?,
            });
        }
    }
    Ok(scored)
}

/// Writes `results.parquet` and `predictions.parquet`.
///
/// # Errors
/// If they cannot be written, or predictions lack a column.
pub fn write_tables(protocol: &Protocol, plan: &Plan, scored: &[ScoredRun], out: &Path) -> Result<()> {
    let path = out.join(RESULTS_FILE);
    let batch = rows_of_runs(protocol, plan, scored)?;
    write_plain_table(&path, &batch)?;
    let path = out.join(PREDICTIONS_FILE);
    let arrow = retort_cache::Error::arrow(&path);
    let parts = scored.iter().map(|scored| rows_of_predictions(&plan.runs[scored.run].folder, scored));
    let parts = parts.collect::<Result<Vec<_>>>()?;
    let batch = concat_batches(&predictions::schema(), &parts).map_err(arrow)?;
    Ok(write_plain_table(&path, &batch)?)
}

/// A run in a condition.
struct Placed<'a> {
    condition: &'a str,
    arm: &'a str,
    shifted: bool,
    run: &'a ScoredRun,
}

fn rows_of_runs(protocol: &Protocol, plan: &Plan, scored: &[ScoredRun]) -> Result<RecordBatch> {
    // One row for each condition that a run serves with this split.
    let mut rows: Vec<Placed<'_>> = Vec::new();
    for cell in &plan.cells {
        let (condition, arm) = (&protocol.conditions[cell.condition], &protocol.arms[cell.arm]);
        for (split, shifted) in condition.splits() {
            for run in &cell.runs {
                let found = scored.iter().find(|scored| scored.run == *run && scored.split == split);
                rows.extend(found.map(|run| Placed { condition: &condition.name, arm: &arm.name, shifted, run }));
            }
        }
    }
    let text = |of: &dyn Fn(&Placed<'_>) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(of)))
    };
    let count = |of: &dyn Fn(&ScoredRun) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| of(row.run))))
    };
    let share = |of: &dyn Fn(&ScoredRun) -> Option<f64>| -> ArrayRef {
        Arc::new(Float64Array::from_iter(rows.iter().map(|row| of(row.run))))
    };
    let overall = |of: fn(&retort_schemas::runs::Score) -> f64| share(&|run| Some(of(&run.evaluation.overall)));
    let held_out = |run: &ScoredRun| run.info.validation.clone();
    let all: Vec<ArrayRef> = vec![
        text(&|row| plan.runs[row.run.run].folder.clone()),
        text(&|row| row.condition.to_owned()),
        text(&|row| row.arm.to_owned()),
        count(&|run| run.info.seed),
        text(&|row| row.run.split.clone()),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.shifted)))),
        text(&|row| row.run.evaluation.metric.clone()),
        overall(|score| score.accuracy),
        overall(|score| score.majority),
        overall(|score| score.question_only),
        share(&|run| run.evaluation.overall.text_only),
        share(&|run| Some(run.evaluation.joint?.answer)),
        share(&|run| Some(run.evaluation.joint?.rationale)),
        share(&|run| Some(run.evaluation.joint?.both)),
        count(&|run| run.evaluation.overall.samples),
        count(&|run| run.info.images),
        count(&|run| run.info.samples),
        count(&|run| run.info.steps),
        count(&|run| run.info.adapt_steps),
        count(&|run| run.info.batch),
        count(&ScoredRun::samples_seen),
        share(&|run| run.wall_secs),
        count(&|run| run.info.parameters),
        share(&|run| held_out(run)?.best_score),
        Arc::new(UInt64Array::from_iter(rows.iter().map(|row| held_out(row.run)?.best_step))),
    ];
    let arrow = retort_cache::Error::arrow(Path::new(RESULTS_FILE));
    let schema = columns::schema();
    let mut metadata = schema.metadata().clone();
    metadata.extend(protocol.part().map(|part| (columns::PART_KEY.to_owned(), part)));
    let schema = Arc::new(schema.as_ref().clone().with_metadata(metadata));
    Ok(RecordBatch::try_new(schema, all).map_err(arrow)?)
}

fn rows_of_predictions(folder: &str, scored: &ScoredRun) -> Result<RecordBatch> {
    let count = scored.predictions.num_rows();
    let same = |word: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(word, count))) };
    let text = |name: &str| -> Result<ArrayRef> {
        let column: &StringArray = column(&scored.predictions, name)?;
        Ok(Arc::new(column.clone()))
    };
    let scores: &Float32Array = column(&scored.predictions, of_run::SCORE)?;
    let all: Vec<ArrayRef> = vec![
        same(folder),
        same(&scored.split),
        text(of_run::SAMPLE_ID)?,
        text(of_run::PREDICTION)?,
        text(of_run::TRUTH)?,
        Arc::new(scores.clone()),
    ];
    let arrow = retort_cache::Error::arrow(Path::new(PREDICTIONS_FILE));
    Ok(RecordBatch::try_new(predictions::schema(), all).map_err(arrow)?)
}

/// Writes `results.md`, and gives its text.
///
/// # Errors
/// If it cannot be written.
pub fn write_markdown(
    protocol: &Protocol,
    plan: &Plan,
    sections: &[Section],
    failures: &[Failure],
    out: &Path,
) -> Result<String> {
    let text = markdown(protocol, plan, sections, failures);
    write_atomic(&out.join(TABLE_FILE), text.as_bytes())?;
    Ok(text)
}

fn markdown(protocol: &Protocol, plan: &Plan, sections: &[Section], failures: &[Failure]) -> String {
    let mut text = format!(
        "# {}\n\n{} arms, {} conditions, seeds {}: {} runs.\n",
        protocol.name,
        protocol.arms.len(),
        protocol.conditions.len(),
        protocol.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
        plan.runs.len()
    );
    if let Some(part) = protocol.part() {
        text += &format!(
            "\n**A part of the protocol:** {part}. Without `--arms`, `--conditions` and `--seeds`, `retort protocol` goes on \
             with the rest.\n"
        );
    }
    let mut list = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            text += &format!("\n{title}\n\n");
            lines.iter().for_each(|line| text += &format!("- {line}\n"));
        }
    };
    list("**To be held against this table:**", plan.warnings.clone());
    let failed = failures.iter().map(|failure| {
        let last = failure.stderr.iter().rfind(|line| line.starts_with("error:")).or(failure.stderr.last());
        format!("{} ({}): {}: {}", failure.run, failure.doing, failure.how, last.map_or("", String::as_str))
    });
    list("**Failed, and not in this table:**", failed.collect());
    for section in sections {
        text += &format!(
            "\n## {}, on {}{}\n\n",
            cell(&section.condition),
            section.split,
            if section.shifted { " (shifted)" } else { "" }
        );
        if section.test_samples == 0 {
            text +=
                "Nothing is scored: no run is done yet, or the split has no labels and there are predictions alone.\n";
            continue;
        }
        text += &format!("{}, {} samples; in per cent.\n\n", section.metric, section.test_samples);
        text += "| arm | score | seeds | gain | relative | 95 % interval of the gain | over base+mlm | samples seen | wall time |\n\
                 |---|---:|---:|---:|---:|---:|---:|---:|---:|\n";
        section.rows.iter().for_each(|row| text += &row_of(row));
        let text_only = section.text_only.map(|score| ("floor: text's vector alone", score));
        let floors = [("floor: commonest answer", section.majority), ("floor: question alone", section.question_only)];
        for (floor, value) in floors.into_iter().chain(text_only) {
            text += &format!("| {floor} | {:.1} | | | | | | | |\n", value * 100.0);
        }
        text += &by_question(&section.rows);
    }
    text + &format!(
        "\nScore: mean and sample standard deviation over seeds. Gain: over base, of the same condition and seeds, in points; \
         relative: as a share of base's score. Interval: paired bootstrap over test samples, {RESAMPLES} resamples, scores of a \
         sample averaged over seeds: it tells what other test samples might have given, the standard deviation what other \
         seeds might. Over base+mlm: over base with as many steps of masked-language modelling before the task. Wall time: \
         of training one run.\n"
    )
}

fn row_of(row: &Row) -> String {
    let points = |share: f64| format!("{:+.1}", share * 100.0);
    let range = |gain: &Gain| format!("{} to {}", points(gain.interval[0]), points(gain.interval[1]));
    let Some(mean) = row.mean() else {
        return format!("| {} | | 0/{} | | | | | | |\n", cell(&row.arm), row.seeds);
    };
    let mut text = format!("| {} | {:.1}", cell(&row.arm), mean * 100.0);
    if let Some(deviation) = row.deviation {
        let _ = write!(text, " ± {:.1}", deviation * 100.0);
    }
    let _ = write!(text, " | {}/{} |", row.scores.len(), row.seeds);
    match &row.gain {
        Some(gain) => {
            let relative = gain.relative.map_or(String::new(), |relative| format!("{} %", points(relative)));
            let _ = write!(text, " {} | {relative} | {} |", points(gain.absolute), range(gain));
        }
        None => text += " | | |",
    }
    let matched = row.matched.as_ref().map(|gain| format!("{} ({})", points(gain.absolute), range(gain)));
    let wall = row.wall_secs.map_or(String::new(), duration);
    let _ = writeln!(text, " {} | {:.0} | {wall} |", matched.unwrap_or_default(), row.samples_seen);
    text
}

/// VCR by question, where arms answer both of its halves.
fn by_question(rows: &[Row]) -> String {
    let joint: Vec<_> = rows.iter().filter_map(|row| Some((row, row.joint?))).collect();
    let Some((_, first)) = joint.first() else { return String::new() };
    let mut text = format!(
        "\nBy question, {} of them, means over seeds:\n\n| arm | Q->A | QA->R | Q->AR |\n|---|---:|---:|---:|\n",
        first.questions
    );
    for (row, joint) in &joint {
        let [answer, rationale, both] = [joint.answer, joint.rationale, joint.both].map(|share| share * 100.0);
        let _ = writeln!(text, "| {} | {answer:.1} | {rationale:.1} | {both:.1} |", cell(&row.arm));
    }
    text
}

/// A name within a table of Markdown.
fn cell(name: &str) -> String {
    name.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// Seconds for people.
pub fn duration(secs: f64) -> String {
    match secs {
        secs if secs < 99.5 => format!("{secs:.0} s"),
        secs if secs < 5970.0 => format!("{:.0} min", secs / 60.0),
        secs => format!("{:.1} h", secs / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use retort_schemas::runs::Joint;

    use super::*;

    #[test]
    fn arms_that_answer_both_halves_of_vcr_have_a_table_of_questions() {
        let row = |arm: &str, joint| Row {
            arm: arm.to_owned(),
            scores: Vec::new(),
            seeds: 3,
            deviation: None,
            gain: None,
            matched: None,
            joint,
            samples_seen: 0.0,
            wall_secs: None,
        };
        let joint = Joint { questions: 40, alone: 0, answer: 0.5, rationale: 0.625, both: 0.375 };
        let text = by_question(&[row("base", Some(joint)), row("kd|t", None)]);
        assert_eq!(
            text,
            "\nBy question, 40 of them, means over seeds:\n\n| arm | Q->A | QA->R | Q->AR |\n|---|---:|---:|---:|\n\
             | base | 50.0 | 62.5 | 37.5 |\n"
        );
        assert_eq!(by_question(&[row("base", None)]), "");
    }
}
