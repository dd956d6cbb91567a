//! What the tests of sources of files have in common: a folder with a data set in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::UInt32Type;
use image::{ImageFormat, RgbImage};
use retort_cache::{Columns, Dataset, Interrupt, Progress, Quiet};
use retort_schemas::tables::{rejects, samples, texts};
use tempfile::TempDir;

use crate::{Error, IngestReport, Options, Result, Source, ingest};

/// A folder of inputs, with the data set beside it.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(place.path("in")).unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path of the inputs.
    pub(crate) fn input(&self, name: &str) -> String {
        self.path("in").join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path("in").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub(crate) fn ingest(&self, source: &dyn Source) -> Result<IngestReport> {
        ingest(source, &Options::new("train"), &self.path("out"), &Quiet, &Interrupt::default())
    }

    pub(crate) fn table(&self, shard: usize, table: &str) -> RecordBatch {
        let dataset = Dataset::open(&self.path("out")).unwrap();
        let shard = &dataset.shards().nth(shard).unwrap().unwrap();
        dataset.read(shard, table, Columns::All).unwrap()
    }

    /// Source, stage and code of each reject of the first shard.
    pub(crate) fn rejected(&self) -> Vec<String> {
        let table = self.table(0, rejects::NAME);
        let columns = [rejects::SOURCE, rejects::STAGE, rejects::CODE].map(|name| strings(&table, name));
        (0..table.num_rows()).map(|row| columns.each_ref().map(|column| column[row].clone()).join(" | ")).collect()
    }

    pub(crate) fn messages(&self) -> Vec<String> {
        strings(&self.table(0, rejects::NAME), rejects::MESSAGE)
    }

    /// Id, task, texts, label and label text of each sample of the first shard.
    pub(crate) fn samples(&self) -> Vec<String> {
        let (table, texts_table) = (self.table(0, samples::NAME), self.table(0, texts::NAME));
        let known = strings(&texts_table, texts::TEXT);
        let [ids, tasks, label_texts] =
            [samples::SAMPLE_ID, samples::TASK, samples::LABEL_TEXT].map(|name| strings(&table, name));
        let lists = table.column_by_name(samples::TEXTS).unwrap().as_list::<i32>();
        let labels = table.column_by_name(samples::LABEL).unwrap().as_primitive::<UInt32Type>();
        let row = |row: usize| {
            let rows = lists.value(row);
            let texts: Vec<&str> =
                rows.as_primitive::<UInt32Type>().values().iter().map(|text| known[*text as usize].as_str()).collect();
            let label = if labels.is_valid(row) { labels.value(row).to_string() } else { "null".to_owned() };
            [&ids[row], &tasks[row], &texts.join(" + "), &label, &label_texts[row]].map(String::as_str).join(" | ")
        };
        (0..table.num_rows()).map(row).collect()
    }

    /// The tables without the manifest, whose options name the input files.
    pub(crate) fn tables(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = files(&self.path("out"));
        assert!(found.remove(Path::new("dataset.json")).is_some());
        found
    }

    /// Nothing lies where nothing was put: neither beside the inputs nor above them.
    pub(crate) fn assert_nothing_else(&self, inputs: &[&str]) {
        let mut found: Vec<String> = files(self.folder.path())
            .into_keys()
            .filter(|path| !path.starts_with("out"))
            .map(|path| path.to_str().unwrap().to_owned())
            .collect();
        found.sort();
        let mut expected: Vec<String> = inputs.iter().map(|name| format!("in/{name}")).collect();
        expected.sort();
        assert_eq!(found, expected);
    }
}

/// A small photo that differs from those of other seeds.
pub(crate) fn photo(seed: u8, format: ImageFormat) -> Vec<u8> {
    let image = RgbImage::from_fn(16, 12, |x, y| image::Rgb([seed.wrapping_mul(37), x as u8 * 9, y as u8 * 9]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub(crate) fn jpeg(seed: u8) -> Vec<u8> {
    photo(seed, ImageFormat::Jpeg)
}

pub(crate) fn strings(batch: &RecordBatch, name: &str) -> Vec<String> {
    let column = batch.column_by_name(name).unwrap().as_string::<i32>();
    column.iter().map(|value| value.unwrap_or("null").to_owned()).collect()
}

/// A folder of data that is not part of the project. Without it a test says so and passes.
pub(crate) fn shared_data(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(folder);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: {} is absent", path.display());
    None
}

/// Every file below a folder, by its path.
pub(crate) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap_or_default();
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), bytes);
            }
        }
    }
    found
}

/// Asks to stop once this many images were read.
struct StopAfter {
    images: AtomicU64,
    most: u64,
    interrupt: Interrupt,
}

impl Progress for StopAfter {
    fn begin(&self, _: &str, _: u64, _: &'static str) {}

    fn advance(&self, units: u64) {
        if self.images.fetch_add(units, Ordering::Relaxed) + units >= self.most {
            self.interrupt.request();
        }
    }

    fn note(&self, _: &str) {}

    fn end(&self) {}
}

/// Ingests in shards of three images, once in one go and once interrupted again and again: the same bytes.
pub(crate) fn assert_resumes(source: &dyn Source, expected: &IngestReport) {
    let options = Options { shard_images: 3, ..Options::new("train") };
    let whole = Place::new();
    let report = ingest(source, &options, &whole.path("out"), &Quiet, &Interrupt::default()).unwrap();
    assert_eq!(&report, expected);

    let killed = Place::new();
    let mut committed = Vec::new();
    for most in [2, 5, 8] {
        let interrupt = Interrupt::default();
        let progress = StopAfter { images: AtomicU64::new(0), most, interrupt: interrupt.clone() };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let stopped = pool.install(|| ingest(source, &options, &killed.path("out"), &progress, &interrupt));
        let error = stopped.unwrap_err();
        assert!(matches!(error, Error::Cache(retort_cache::Error::Interrupted)), "{error}");
        committed.push(Dataset::open(&killed.path("out")).map_or(0, |dataset| dataset.shard_count()));
    }
    assert_eq!(committed, [0, 1, 2]);
    let report = ingest(source, &options, &killed.path("out"), &Quiet, &Interrupt::default()).unwrap();
    assert_eq!(&report, expected);
    assert_eq!(files(&killed.path("out")), files(&whole.path("out")));
}
