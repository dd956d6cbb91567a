//! `retort ingest`.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use retort_ingest::{AnswerPlan, DetectedRegions, Options, RegionFiles, Selection, Source, Vqa, VqaFiles, ingest};

use super::{print, print_json};
use crate::cli::{Ingest, IngestOptions, SummaryFormat};
use crate::progress::Terminal;

pub fn run(command: Ingest, terminal: &Terminal) -> Result<ExitCode> {
    let (source, options) = open(command)?;
    ingest_split(source.as_ref(), options, terminal)
}

/// The source of a command, with the options that all of them share.
fn open(command: Ingest) -> Result<(Box<dyn Source>, IngestOptions)> {
    Ok(match command {
        Ingest::Vqa(vqa) => {
            let answers = match vqa.answers {
                Some(file) => AnswerPlan::File(file),
                None => AnswerPlan::Build { min_count: vqa.min_answer_count },
            };
            let files = VqaFiles {
                questions: vqa.questions,
                annotations: vqa.annotations,
                images: vqa.images,
                image_pattern: vqa.image_pattern,
                answers,
            };
            (Box::new(Vqa::open(&files)?), vqa.options)
        }
    })
}

fn ingest_split(source: &dyn Source, arguments: IngestOptions, terminal: &Terminal) -> Result<ExitCode> {
    let selection = Selection { limit: arguments.limit, share: arguments.sample, seed: arguments.seed };
    let regions = match arguments.regions.is_empty() {
        true => None,
        false => Some(Arc::new(DetectedRegions::open(&RegionFiles {
            paths: arguments.regions,
            classes: arguments.region_classes,
            width: arguments.region_width,
        })?)),
    };
    let options = Options {
        split: arguments.split,
        shard_images: arguments.shard_images,
        selection,
        regions,
        max_rejects: arguments.max_rejects.unwrap_or_default(),
        force: arguments.force,
    };
    let report = ingest(source, &options, &arguments.out, terminal, terminal.interrupt())?;
    if arguments.format == SummaryFormat::Json {
        print_json(&serde_json::to_value(&report).context("cannot print the counts")?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let state = if report.skipped_already { "is complete already" } else { "ingested" };
    let mut text = format!(
        "split {} {state}: {} samples, {} images, {} texts in {} shards\n",
        options.split, report.samples, report.images, report.texts, report.shards
    );
    for (code, count) in &report.rejects {
        text.push_str(&format!("rejected: {count} {code}\n"));
    }
    if report.unanswerable > 0 {
        text.push_str(&format!("{} questions have no answer in the vocabulary\n", report.unanswerable));
    }
    print(&text)?;
    if !report.rejects.is_empty() {
        let folder = arguments.out.display();
        terminal.say(&format!("hint: retort sql {folder} -c \"SELECT * FROM rejects LIMIT 10\" says which and why"));
    }
    Ok(ExitCode::SUCCESS)
}
