//! Files that ingest must survive, each broken or odd in one way, and what it says of each.
//!
//! `corpus/<kind>/<file>` is made by `tests/py/make_corpus.py`, but for `fuzz-*`, which a fuzzer found. Every file has
//! one row in [`KNOWN`]. A new kind is a folder, rows, and an arm in [`source`].

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, as tests do")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::AsArray;
use rayon::prelude::*;
use retort_cache::{Columns, Dataset, Interrupt, Quiet};
use retort_ingest::{
    AnswerPlan, DetectedRegions, IngestReport, Options, RegionFiles, Result, Source, Vqa, VqaFiles, ingest,
};
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
use known::KNOWN;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

/// The source that a file of this kind is a part of, with the options to ingest it; `folder` has room for the rest.
fn source(kind: &str, file: &Path, folder: &Path) -> Result<(Box<dyn Source>, Options)> {
    let name = file.file_name().unwrap().to_str().unwrap();
    let question =
        |id: u32, image: &str| serde_json::json!({ "question_id": id, "image_id": image, "question": "Is it?" });
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let ask = |images: &[&str]| {
        let rows: Vec<_> = (1..).zip(images).map(|(id, image)| question(id, image)).collect();
        write("questions.json", serde_json::json!(rows).to_string())
    };
    std::fs::create_dir(folder.join("images")).unwrap();
    let photo = corpus().join("image/png-whole.png");
    std::fs::copy(photo, folder.join("images/a.png")).unwrap();
    let mut files = VqaFiles {
        questions: PathBuf::new(),
        annotations: None,
        images: folder.join("images"),
        image_pattern: "{id}".to_owned(),
        answers: AnswerPlan::Build { min_count: 1 },
    };
    let mut options = Options::new("train");
    match (kind, name.split_once('-').map(|(part, _)| part)) {
        ("image", _) => {
            files.questions = ask(&[name]);
            files.images = corpus().join("image");
        }
        ("vqa", Some("questions")) => files.questions = file.to_owned(),
        ("vqa", Some("annotations")) => {
            files.questions = ask(&["a.png", "a.png"]);
            files.annotations = Some(file.to_owned());
        }
        ("vqa", Some("answers")) => {
            files.questions = ask(&["a.png"]);
            files.answers = AnswerPlan::File(file.to_owned());
        }
        ("regions", _) => {
            files.questions = ask(&["a.png"]);
            let given = match name.rsplit_once('.') {
                Some((_, "tsv")) => file.to_owned(),
                // In a folder, under the name of the image.
                Some((_, ending)) => {
                    std::fs::create_dir(folder.join("regions")).unwrap();
                    std::fs::copy(file, folder.join(format!("regions/a.{ending}"))).unwrap();
                    folder.join("regions")
                }
                None => panic!("{name} has no ending"),
            };
            let regions = DetectedRegions::open(&RegionFiles { paths: vec![given], classes: None, width: 2 })?;
            options.regions = Some(Arc::new(regions));
        }
        _ => panic!("no source is known for {kind}/{name}: add an arm"),
    }
    Ok((Box::new(Vqa::open(&files)?), options))
}

/// What becomes of a file: samples, and code and message of each reject; or an error's message.
fn outcome(kind: &str, file: &Path) -> Result<(IngestReport, Vec<(String, String)>), String> {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("dataset");
    let run = || {
        let (source, options) = source(kind, file, folder.path())?;
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
    for shard in dataset.manifest().shards() {
        let table = dataset.read(shard, rejects::NAME, Columns::All).unwrap();
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
    let known: BTreeSet<String> = KNOWN.iter().map(|(file, _)| (*file).to_owned()).collect();
    assert_eq!(known.len(), KNOWN.len(), "a file has two rows in KNOWN");
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
    let wrong: Vec<String> = KNOWN.par_iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "otherwise than known:\n{}", wrong.join("\n"));
}
