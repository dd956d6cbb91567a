//! Writes and asks the set of `tests/peers/sql.py`: images without pixels, with one vector each.
//!
//! ```text
//! search write VECTORS.npy WIDTHS.npy DATASET STORE     VECTORS.npy: f32 [rows, width]; WIDTHS.npy: u32 [rows]
//! search ask DATASET QUERY       for each line of stdin one of JSON: the answer, and the seconds that it took
//! ```
#![allow(clippy::print_stdout, reason = "an example prints what it measured")]

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, BinaryArray, FixedSizeBinaryArray, RecordBatch, StringArray, UInt32Array, UInt64Array};
use retort_cache::{Dataset, DatasetWriter, SplitPlan, TeacherWriter, vectors};
use retort_schemas::manifest::BatchPlan;
use retort_schemas::{ID_BYTES, Store, features, tables};
use retort_sql::{Format, open, run_blocking};
use serde_json::{Value, json};

const SPLIT: &str = "train";
const SHARD_ROWS: usize = 1024;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["write", vectors, widths, out, store] => {
            write(Path::new(vectors), Path::new(widths), Path::new(out), store.parse()?)
        }
        ["ask", dataset, query] => ask(Path::new(dataset), query),
        _ => Err("search write VECTORS.npy WIDTHS.npy DATASET STORE | search ask DATASET QUERY".into()),
    }
}

/// The numbers of an array that numpy wrote, in little-endian, four bytes each.
struct Npy {
    file: BufReader<File>,
    numbers: usize,
}

impl Npy {
    fn open(path: &Path) -> Result<Self> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
        let mut start = [0; 10];
        file.read_exact(&mut start)?;
        let mut header = vec![0; usize::from(u16::from_le_bytes([start[8], start[9]]))];
        file.read_exact(&mut header)?;
        let numbers = (file.get_ref().metadata()?.len() as usize - start.len() - header.len()) / 4;
        Ok(Self { file, numbers })
    }

    fn take(&mut self, count: usize) -> Result<Vec<[u8; 4]>> {
        let mut bytes = Vec::new();
        self.file.by_ref().take(4 * count as u64).read_to_end(&mut bytes)?;
        Ok(bytes.chunks_exact(4).map(|word| [word[0], word[1], word[2], word[3]]).collect())
    }
}

fn write(floats: &Path, widths: &Path, out: &Path, store: Store) -> Result<()> {
    let (mut floats, mut widths) = (Npy::open(floats)?, Npy::open(widths)?);
    let rows = widths.numbers;
    let width = floats.numbers / rows;
    let options = json!({});
    let plan = SplitPlan { name: SPLIT.to_owned(), source: "search".to_owned(), options, answers: None };
    let mut writer = DatasetWriter::begin(out, plan)?;
    let mut first = 0;
    loop {
        let widths: Vec<u32> = widths.take(SHARD_ROWS)?.into_iter().map(u32::from_le_bytes).collect();
        if widths.is_empty() {
            break;
        }
        writer.commit(&tables_of(first, &widths)?)?;
        first += widths.len();
    }
    writer.finish()?;
    let dataset = Dataset::open(out)?;
    let plan = BatchPlan::of_rows(1, 1);
    let mut teacher = TeacherWriter::open(&dataset, "clip", true, store, json!({}), plan)?;
    let mut first = 0;
    for shard in dataset.shards() {
        let shard = shard?;
        let rows = SHARD_ROWS.min(rows - first);
        let floats: Vec<f32> = floats.take(rows * width)?.into_iter().map(f32::from_le_bytes).collect();
        let stored = vectors::store(store, features::EMBEDDING, width, &floats)?;
        let columns = [vec![ids(first, rows)?], stored.columns].concat();
        let images = RecordBatch::try_new(features::images::with(stored.fields), columns)?;
        teacher.commit(&shard.name, &[(features::images::NAME, images)])?;
        first += rows;
    }
    Ok(())
}

/// Row numbers as ids.
fn ids(first: usize, rows: usize) -> Result<ArrayRef> {
    let bytes: Vec<u8> = (first..first + rows).flat_map(|row| (row as u128).to_be_bytes()).collect();
    Ok(Arc::new(FixedSizeBinaryArray::try_new(ID_BYTES, bytes.into(), None)?))
}

fn tables_of(first: usize, widths: &[u32]) -> Result<Vec<(&'static str, RecordBatch)>> {
    let rows = widths.len();
    let words = |word: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(std::iter::repeat_n(word, rows))) };
    let widths: ArrayRef = Arc::new(UInt32Array::from(widths.to_vec()));
    let images = vec![
        ids(first, rows)?,
        words("none"),
        Arc::new(BinaryArray::from_iter_values(std::iter::repeat_n([], rows))) as ArrayRef,
        words("png"),
        widths.clone(),
        widths.clone(),
        widths.clone(),
        widths,
        Arc::new(UInt64Array::from(vec![0; rows])),
    ];
    Ok(vec![
        (tables::images::NAME, RecordBatch::try_new(tables::images::schema(), images)?),
        (tables::texts::NAME, RecordBatch::new_empty(tables::texts::schema())),
        (tables::samples::NAME, RecordBatch::new_empty(tables::samples::schema())),
        (tables::rejects::NAME, RecordBatch::new_empty(tables::rejects::schema())),
    ])
}

fn ask(folder: &Path, query: &str) -> Result<()> {
    let context = open(folder)?;
    for line in std::io::stdin().lines() {
        line?;
        let (start, mut answer) = (Instant::now(), Vec::new());
        run_blocking(&context, query, Format::Json, &mut answer)?;
        let secs = start.elapsed().as_secs_f64();
        println!("{}", json!({ "answer": serde_json::from_slice::<Value>(&answer)?, "secs": secs }));
    }
    Ok(())
}
