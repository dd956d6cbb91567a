//! What the tests of sources share: files in a temporary folder, an ingest of them, and the tables it wrote.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, UInt32Type};
use retort_cache::{Columns, Dataset, Interrupt, Quiet};
use retort_schemas::tables::{rejects, samples, texts};
use tempfile::TempDir;

use crate::sources::testing::{files, jpeg, strings};
use crate::{IngestReport, Options, Result, Source, ingest};

/// A folder with the files of a source, and a data set beside them.
pub(crate) struct Fixture {
    folder: TempDir,
}

/// A sample with its texts, as a reader of the data set finds it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub id: String,
    pub task: String,
    pub image: u32,
    pub texts: Vec<String>,
    pub label: Option<u32>,
    pub label_text: Option<String>,
    pub answers: Vec<String>,
    pub targets: Vec<(u32, f32)>,
}

impl Fixture {
    /// A folder `images` with these photos.
    pub(crate) fn with_photos(names: &[&str]) -> Self {
        let fixture = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(fixture.path("images")).unwrap();
        for (seed, name) in (0..).zip(names) {
            fixture.photo(name, seed);
        }
        fixture
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn photo(&self, path: &str, seed: u8) {
        self.write(&format!("images/{path}"), jpeg(seed));
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.path("dataset")
    }

    pub(crate) fn ingest(&self, source: &dyn Source, split: &str) -> Result<IngestReport> {
        ingest(source, &Options::new(split), &self.out(), &Quiet, &Interrupt::default())
    }

    /// Reads a table of a shard.
    pub(crate) fn table(&self, shard: usize, table: &str) -> RecordBatch {
        let dataset = Dataset::open(&self.out()).unwrap();
        let shard = &dataset.shards().nth(shard).unwrap().unwrap();
        dataset.read(shard, table, Columns::All).unwrap()
    }

    /// The samples of all shards.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        let shards = Dataset::open(&self.out()).unwrap().shard_count();
        (0..shards)
            .flat_map(|shard| samples_of(&self.table(shard, samples::NAME), &self.table(shard, texts::NAME)))
            .collect()
    }

    /// Source, code and message of each reject of all shards.
    pub(crate) fn rejects(&self) -> Vec<(String, String, String)> {
        let shards = Dataset::open(&self.out()).unwrap().shard_count();
        let columns = [rejects::SOURCE, rejects::CODE, rejects::MESSAGE];
        let rows = (0..shards).flat_map(|shard| {
            let table = self.table(shard, rejects::NAME);
            let [source, code, message] = columns.map(|name| strings(&table, name));
            source.into_iter().zip(code).zip(message)
        });
        rows.map(|((source, code), message)| (source, code, message)).collect()
    }

    /// Asserts source, code and a part of the message of each reject.
    pub(crate) fn assert_rejects(&self, expected: &[(&str, &str, &str)]) {
        let found = self.rejects();
        for (at, (source, code, message)) in found.iter().enumerate() {
            let Some(expected) = expected.get(at) else { panic!("one more: {source}, {code}: {message}") };
            assert_eq!((source.as_str(), code.as_str()), (expected.0, expected.1), "{message}");
            assert!(message.contains(expected.2), "{source}: {message}");
        }
        assert_eq!(found.len(), expected.len());
    }

    /// The tables without the manifest, whose options name the input files.
    pub(crate) fn tables(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = files(&self.out());
        assert!(found.remove(Path::new("dataset.json")).is_some());
        found
    }
}

fn samples_of(rows: &RecordBatch, table: &RecordBatch) -> Vec<Sample> {
    let column = |name: &str| rows.column_by_name(name).unwrap();
    let number = |name: &str, row: usize| {
        let column = column(name).as_primitive::<UInt32Type>();
        column.is_valid(row).then(|| column.value(row))
    };
    let all_texts = strings(table, texts::TEXT);
    let (ids, tasks) = (strings(rows, samples::SAMPLE_ID), strings(rows, samples::TASK));
    let sample = |row: usize| {
        let of_texts = column(samples::TEXTS).as_list::<i32>().value(row);
        let of_texts = of_texts.as_primitive::<UInt32Type>().values();
        let answers = column(samples::ANSWERS).as_list::<i32>().value(row);
        let targets = column(samples::TARGETS).as_list::<i32>().value(row);
        let classes = targets.as_struct().column(0).as_primitive::<UInt32Type>().values().to_vec();
        let scores = targets.as_struct().column(1).as_primitive::<Float32Type>().values().to_vec();
        let label_text = column(samples::LABEL_TEXT).as_string::<i32>();
        Sample {
            id: ids[row].clone(),
            task: tasks[row].clone(),
            image: number(samples::IMAGE, row).unwrap(),
            texts: of_texts.iter().map(|text| all_texts[*text as usize].clone()).collect(),
            label: number(samples::LABEL, row),
            label_text: label_text.is_valid(row).then(|| label_text.value(row).to_owned()),
            answers: answers.as_string::<i32>().iter().flatten().map(str::to_owned).collect(),
            targets: classes.into_iter().zip(scores).collect(),
        }
    };
    (0..rows.num_rows()).map(sample).collect()
}
