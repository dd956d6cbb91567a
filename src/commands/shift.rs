//! `retort shift`.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use retort_ingest::{ShiftKind, ShiftReport, shift, shifted_names};

use super::{print, print_json};
use crate::cli::{Shift, ShiftByScores, ShiftKeepTop, ShiftOptions, SummaryFormat};
use crate::progress::Terminal;

pub fn run(command: Shift, terminal: &Terminal) -> Result<ExitCode> {
    let (kind, options) = kind_of(command);
    let most = if matches!(kind, ShiftKind::Prior { .. }) { 2 } else { 1 };
    if options.from.len() > most {
        bail!("{} makes a split of {most} at most, found {} with --from", kind.name(), options.from.len());
    }
    let to = shifted_names(&kind, &options.to);
    let names = [options.from.as_slice(), to.as_slice()];
    let reports = shift(&kind, &options.dataset, names, options.force, terminal, terminal.interrupt())?;
    match options.format {
        SummaryFormat::Json => print_json(&serde_json::to_value(&reports).context("cannot print the counts")?)?,
        SummaryFormat::Table => print(&text(&reports))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(reports: &[ShiftReport]) -> String {
    let mut text = String::new();
    for report in reports {
        let state = if report.skipped_already { "is complete already" } else { "made" };
        text.push_str(&format!(
            "split {} {state}: {} samples, {} images, {} texts in {} shards\n",
            report.split, report.samples, report.images, report.texts, report.shards
        ));
    }
    // All splits of one command come of the same counts.
    if let Some(report) = reports.first() {
        report.counts.iter().for_each(|(name, count)| text.push_str(&format!("{name}: {count}\n")));
        report.shares.iter().for_each(|(name, share)| text.push_str(&format!("{name}: {share:.4}\n")));
        for found in &report.question_types {
            text.push_str(&format!(
                "total variation of {:?}: {:.4} before, {:.4} after ({} samples)\n",
                found.question_type, found.before, found.after, found.samples
            ));
        }
    }
    text
}

fn kind_of(command: Shift) -> (ShiftKind, ShiftOptions) {
    match command {
        Shift::RuleSingular(options) => (ShiftKind::RuleSingular, options),
        Shift::RulePlural(options) => (ShiftKind::RulePlural, options),
        Shift::RemoveTop1(ShiftByScores { scores, options }) => (ShiftKind::RemoveTop1 { scores }, options),
        Shift::KeepTop(ShiftKeepTop { keep, by: ShiftByScores { scores, options } }) => {
            (ShiftKind::KeepTop { keep, scores }, options)
        }
        Shift::Prior(prior) => {
            let kind = ShiftKind::Prior { share: prior.test_share, seed: prior.seed, strict: prior.strict };
            (kind, prior.options)
        }
        Shift::Hard(hard) => {
            let by_words = ShiftKind::Hard { folds: hard.folds, seed: hard.seed };
            let kind = hard.predictions.map_or(by_words, |predictions| ShiftKind::HardBy { predictions });
            (kind, hard.options)
        }
        Shift::Relabel(relabel) => (ShiftKind::Relabel { pairs: relabel.pairs }, relabel.options),
    }
}
