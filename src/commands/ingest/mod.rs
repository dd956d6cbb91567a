//! `retort ingest`.

mod sources;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use retort_ingest::{DetectedRegions, DryRun, ImageOptions, Options, RegionFiles, Selection, Source, dry_run, ingest};

use self::sources::open;
use super::{print, print_json};
use crate::cli::{Ingest, IngestOptions, SummaryFormat};
use crate::progress::Terminal;

pub fn run(command: Ingest, terminal: &Terminal) -> Result<ExitCode> {
    let (source, options) = open(command)?;
    ingest_split(source.as_ref(), options, terminal)
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
        images: ImageOptions {
            size: arguments.image_size.0,
            format: arguments.image_format,
            mode: arguments.image_mode,
            keep_truncated: arguments.keep_truncated,
            allow_missing: arguments.allow_missing_images,
        },
        max_rejects: arguments.max_rejects.unwrap_or_default(),
        force: arguments.force,
    };
    if arguments.dry_run {
        return print_dry_run(&dry_run(source, &options, &arguments.out)?, arguments.format);
    }
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

fn print_dry_run(found: &DryRun, format: SummaryFormat) -> Result<ExitCode> {
    if format == SummaryFormat::Json {
        print_json(&serde_json::to_value(found).context("cannot print the counts")?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let DryRun { source, split, shards, images, samples, .. } = found;
    let mut text =
        format!("would ingest {source} as split {split}: {samples} samples of {images} images in {shards} shards\n");
    if found.shards_there > 0 {
        text.push_str(&format!("there already: {} shards of a split {split}\n", found.shards_there));
    }
    if let Some(classes) = found.classes {
        text.push_str(&format!("classes: {classes}\n"));
    }
    for path in &found.reads {
        text.push_str(&format!("reads:  {}\n", path.display()));
    }
    text.push_str(&format!("writes: {}\n", found.writes.display()));
    for (code, count) in &found.rejects {
        text.push_str(&format!("rejected: {count} {code}\n"));
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}
