//! `retort ingest`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use retort_ingest::{AnswerPlan, VqaSource, ingest_vqa};

use super::{print, print_json};
use crate::cli::{IngestVqa, SummaryFormat};
use crate::progress::Terminal;

pub fn run(options: IngestVqa, terminal: &Terminal) -> Result<ExitCode> {
    let source = VqaSource {
        questions: options.questions,
        annotations: options.annotations,
        images: options.images,
        image_pattern: options.image_pattern,
        split: options.split,
        answers: match options.answers {
            Some(file) => AnswerPlan::File(file),
            None => AnswerPlan::Build { min_count: options.min_answer_count },
        },
        shard_images: options.shard_images,
        max_rejects: options.max_rejects.unwrap_or_default(),
    };
    let report = ingest_vqa(&source, &options.out, terminal, terminal.interrupt())?;
    if options.format == SummaryFormat::Json {
        print_json(&serde_json::to_value(&report).context("cannot print the counts")?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let state = if report.skipped_already { "is complete already" } else { "ingested" };
    let mut text = format!(
        "split {} {state}: {} samples, {} images, {} texts in {} shards\n",
        source.split, report.samples, report.images, report.texts, report.shards
    );
    for (code, count) in &report.rejects {
        text.push_str(&format!("rejected: {count} {code}\n"));
    }
    if report.unanswerable > 0 {
        text.push_str(&format!("{} questions have no answer in the vocabulary\n", report.unanswerable));
    }
    print(&text)?;
    if !report.rejects.is_empty() {
        let folder = options.out.display();
        terminal.say(&format!("hint: retort sql {folder} -c \"SELECT * FROM rejects LIMIT 10\" says which and why"));
    }
    Ok(ExitCode::SUCCESS)
}
