//! Files that ingest must survive, each broken or odd in one way, and what it says of each.
//!
//! `corpus/<kind>/<file>` is made by `tests/py/make_corpus.py`, but for `fuzz-*`, which a fuzzer found. Every file has
//! one row in [`KNOWN`]. A new kind is a folder, rows, and an arm in [`sources`].

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, as tests do")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use arrow::array::AsArray;
use rayon::prelude::*;
use retort_cache::{Columns, Dataset, Interrupt, Quiet};
use retort_ingest::{IngestReport, ingest};
use retort_schemas::tables::rejects;
use tempfile::TempDir;

/// What becomes of a file.
enum Outcome {
    /// So many samples, and nothing is lost.
    Kept(u64),
    /// So many samples, and the code of each row of `rejects` with a part of its message.
    Lost(u64, &'static [(&'static str, &'static str)]),
    /// The code of the only image, and a part of the message; its sample is lost with it.
    ImageLost(&'static str, &'static str),
    /// The whole run ends, with a message that says this.
    Refused(&'static str),
}

#[path = "corpus/known.rs"]
mod known;
#[path = "corpus/known_captions.rs"]
mod known_captions;
#[path = "corpus/known_img2dataset.rs"]
mod known_img2dataset;
#[path = "corpus/known_jsonl.rs"]
mod known_jsonl;
#[path = "corpus/known_snli_ve.rs"]
mod known_snli_ve;
#[path = "corpus/known_vcr.rs"]
mod known_vcr;
#[path = "corpus/known_webdataset.rs"]
mod known_webdataset;
#[path = "corpus/sources.rs"]
mod sources;

/// What is known of each file, by kind.
const KNOWN: [&[(&str, Outcome)]; 7] = [
    known::KNOWN,
    known_captions::CAPTIONS,
    known_img2dataset::IMG2DATASET,
    known_jsonl::JSONL,
    known_snli_ve::SNLI_VE,
    known_vcr::VCR,
    known_webdataset::WEBDATASET,
];

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// What becomes of a file: samples, and code and message of each reject; or an error's message.
fn outcome(kind: &str, file: &Path) -> Result<(IngestReport, Vec<(String, String)>), String> {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("dataset");
    let run = || {
        let (source, options) = sources::source(kind, file, folder.path())?;
        ingest(source.as_ref(), &options, &out, &Quiet, &Interrupt::default())
    };
    let report = run().map_err(|error| {
        // As the binary prints it.
        let mut text = error.to_string();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(next) = cause.source() {
            text.push_str(&format!(": {next}"));
            cause = next;
        }
        text
    })?;
    let dataset = Dataset::open(&out).unwrap();
    let mut lost = Vec::new();
    for shard in dataset.shards() {
        let table = dataset.read(&shard.unwrap(), rejects::NAME, Columns::All).unwrap();
        let column = |name: &str| table.column_by_name(name).unwrap().as_string::<i32>().clone();
        let (codes, messages) = (column(rejects::CODE), column(rejects::MESSAGE));
        lost.extend(codes.iter().flatten().map(str::to_owned).zip(messages.iter().flatten().map(str::to_owned)));
    }
    Ok((report, lost))
}

/// Every entry of a kind's folder.
fn files() -> BTreeSet<String> {
    let names = |folder: &Path| -> Vec<(String, PathBuf)> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path)).collect()
    };
    let kinds = names(&corpus()).into_iter().filter(|(_, path)| path.is_dir());
    kinds.flat_map(|(kind, path)| names(&path).into_iter().map(move |(name, _)| format!("{kind}/{name}"))).collect()
}

#[test]
fn every_file_is_known_and_every_known_file_is_there() {
    let rows = KNOWN.iter().map(|rows| rows.len()).sum::<usize>();
    let known: BTreeSet<String> = KNOWN.iter().copied().flatten().map(|(file, _)| (*file).to_owned()).collect();
    assert_eq!(known.len(), rows, "a file has two rows in KNOWN");
    let files = files();
    let unknown: Vec<_> = files.difference(&known).collect();
    let absent: Vec<_> = known.difference(&files).collect();
    assert!(unknown.is_empty() && absent.is_empty(), "without a row in KNOWN: {unknown:?}; without a file: {absent:?}");
}

#[test]
fn ingest_says_of_each_what_is_known() {
    let wrong = |(file, expected): &(&str, Outcome)| {
        let (kind, _) = file.split_once('/').unwrap();
        let found = outcome(kind, &corpus().join(file));
        let right = match (expected, &found) {
            (Outcome::Kept(samples), Ok((report, lost))) => report.samples == *samples && lost.is_empty(),
            (Outcome::Lost(samples, expected), Ok((report, lost))) => {
                let same = |((code, part), (found, message)): (&(&str, &str), &(String, String))| {
                    code == found && message.contains(part)
                };
                report.samples == *samples && lost.len() == expected.len() && expected.iter().zip(lost).all(same)
            }
            (Outcome::ImageLost(code, part), Ok((report, lost))) => match lost.as_slice() {
                [(found, message), (sample, _)] => {
                    report.samples == 0 && found == code && message.contains(part) && sample == "image_rejected"
                }
                _ => false,
            },
            (Outcome::Refused(part), Err(message)) => message.contains(part),
            _ => false,
        };
        let found = found.map(|(report, lost)| (report.samples, lost));
        (!right).then(|| format!("{file}: {found:?}"))
    };
    let wrong: Vec<String> = KNOWN.par_iter().flat_map(|rows| rows.par_iter()).filter_map(wrong).collect();
    assert!(wrong.is_empty(), "otherwise than known:\n{}", wrong.join("\n"));
}
