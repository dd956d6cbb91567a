//! `retort ingest`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use retort_ingest::{
    AnswerPlan, CaptionFiles, Captions, Jsonl, JsonlFiles, Options, Selection, SnliVe, SnliVeFiles, SnliVePart, Source,
    Vqa, VqaFiles, ingest,
};

use super::{print, print_json};
use crate::cli::{Ingest, IngestOptions, SummaryFormat, TrainOrDev};
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
        Ingest::SnliVe(snli_ve) => {
            let part = match (snli_ve.ids, snli_ve.train_val_list, snli_ve.part) {
                (Some(list), ..) => SnliVePart::Listed(list),
                (None, Some(list), Some(TrainOrDev::Train)) => SnliVePart::Train(list),
                (None, Some(list), Some(TrainOrDev::Dev)) => SnliVePart::Dev(list),
                // Neither of the two goes without the other.
                (None, ..) => SnliVePart::All,
            };
            let files = SnliVeFiles { pairs: snli_ve.pairs, images: snli_ve.images, part, id_map: snli_ve.id_map };
            (Box::new(SnliVe::open(&files)?), snli_ve.options)
        }
        Ingest::Captions(captions) => {
            let files = CaptionFiles {
                file: captions.file,
                images: captions.images,
                layout: captions.layout.map(Into::into),
                parts: captions.parts,
                ids: captions.ids,
                instances: captions.instances,
                image_column: captions.image_column,
                caption_column: captions.caption_column,
            };
            (Box::new(Captions::open(&files)?), captions.options)
        }
        Ingest::Jsonl(jsonl) => {
            let files =
                JsonlFiles { file: jsonl.file, mapping: jsonl.mapping, images: jsonl.images, parts: jsonl.parts };
            (Box::new(Jsonl::open(&files)?), jsonl.options)
        }
    })
}

fn ingest_split(source: &dyn Source, arguments: IngestOptions, terminal: &Terminal) -> Result<ExitCode> {
    let selection = Selection { limit: arguments.limit, share: arguments.sample, seed: arguments.seed };
    let options = Options {
        split: arguments.split,
        shard_images: arguments.shard_images,
        selection,
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
