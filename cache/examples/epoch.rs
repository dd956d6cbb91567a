//! Writes and reads the set of `tests/peers/cache.py`: samples of one 512-d vector and 24 tokens of 384-d, f16.
//!
//! ```text
//! epoch write SAMPLES.npy DATASET SHARD_ROWS      SAMPLES.npy: f16 [samples, 512 + 24 x 384]
//! epoch read DATASET THREADS POOL_SHARDS BATCH    one line of JSON
//! ```
#![allow(clippy::print_stdout, reason = "an example prints what it measured")]

use std::error::Error;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, FixedSizeBinaryArray, ListArray, RecordBatch, StructArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Schema};
use retort_cache::{
    Bounds, Dataset, DatasetWriter, Position, Reader, Rows, Source, SplitPlan, StreamOptions, TeacherCache,
    TeacherWriter,
};
use retort_schemas::manifest::BatchPlan;
use retort_schemas::{Dtype, ID_BYTES, SCHEMA_KEY, VectorType, features, tables};

const POOLED: VectorType = VectorType { dtype: Dtype::F16, width: 512 };
const TOKEN: VectorType = VectorType { dtype: Dtype::F16, width: 384 };
const TOKENS: usize = 24;
const SAMPLE_BYTES: usize = 2 * (512 + TOKENS * 384);
const SPLIT: &str = "train";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["write", npy, out, rows] => write(Path::new(npy), Path::new(out), rows.parse()?),
        ["read", dataset, threads, pool, batch] => {
            read(Path::new(dataset), threads.parse()?, pool.parse()?, batch.parse()?)
        }
        _ => Err("epoch write SAMPLES.npy DATASET SHARD_ROWS | epoch read DATASET THREADS POOL_SHARDS BATCH".into()),
    }
}

fn fixed(width: usize, bytes: Vec<u8>) -> Result<ArrayRef> {
    Ok(Arc::new(FixedSizeBinaryArray::try_new(i32::try_from(width)?, bytes.into(), None)?))
}

fn ids(first: usize, rows: usize) -> Result<ArrayRef> {
    // Hashes of what they name, as everywhere: 16 bytes that nothing shortens.
    let id = |row: usize| u128::from_le_bytes(row_hash(first + row)).to_le_bytes();
    fixed(ID_BYTES as usize, (0..rows).flat_map(id).collect())
}

fn row_hash(row: usize) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&blake3::hash(&row.to_le_bytes()).as_bytes()[..16]);
    id
}

/// A table of the data set, with its ids only: the features are matched to them.
fn owner(schema: &Schema, ids: ArrayRef) -> Result<RecordBatch> {
    let metadata = [(SCHEMA_KEY.to_owned(), schema.metadata()[SCHEMA_KEY].clone())].into();
    let schema = Schema::new(vec![schema.field(0).clone()]).with_metadata(metadata);
    Ok(RecordBatch::try_new(Arc::new(schema), vec![ids])?)
}

fn token_table(ids: ArrayRef, rows: usize, tokens: Vec<u8>) -> Result<RecordBatch> {
    let schema = features::tokens::schema(TOKEN);
    let lengths = || OffsetBuffer::from_lengths(std::iter::repeat_n(TOKENS, rows));
    let item = |column: usize| match schema.field(column).data_type() {
        DataType::List(item) => Ok(item.clone()),
        other => Err(format!("{other} is no list")),
    };
    let starts = |shift: usize| -> ArrayRef {
        let starts =
            (0..rows).flat_map(|row| (0..TOKENS).map(move |token| (6 * token + (row + token) % 3 + shift) as u32));
        Arc::new(UInt32Array::from_iter_values(starts))
    };
    let spans = StructArray::try_new(features::tokens::span_fields(), vec![starts(0), starts(3)], None)?;
    let vectors = ListArray::try_new(item(1)?, lengths(), fixed(TOKEN.bytes(), tokens)?, None)?;
    let spans = ListArray::try_new(item(2)?, lengths(), Arc::new(spans), None)?;
    Ok(RecordBatch::try_new(schema, vec![ids, Arc::new(vectors), Arc::new(spans)])?)
}

fn write(npy: &Path, out: &Path, shard_rows: usize) -> Result<()> {
    let mut file = std::io::BufReader::new(std::fs::File::open(npy)?);
    let samples = (std::fs::metadata(npy)?.len() as usize) / SAMPLE_BYTES;
    // What is left over is NumPy's header.
    let mut header = vec![0; std::fs::metadata(npy)?.len() as usize - samples * SAMPLE_BYTES];
    file.read_exact(&mut header)?;
    let (images, texts) = (tables::images::schema(), tables::texts::schema());
    let plan =
        SplitPlan { name: SPLIT.to_owned(), source: "bench".to_owned(), options: shard_rows.into(), answers: None };
    let mut writer = DatasetWriter::begin(out, plan)?;
    let shards: Vec<(usize, usize)> =
        (0..samples).step_by(shard_rows).map(|first| (first, shard_rows.min(samples - first))).collect();
    for (first, rows) in &shards {
        let ids = ids(*first, *rows)?;
        let (images, texts) = (owner(&images, ids.clone())?, owner(&texts, ids)?);
        writer.commit(&[(tables::images::NAME, images), (tables::texts::NAME, texts)])?;
    }
    writer.finish()?;
    let dataset = Dataset::open(out)?;
    let plan = BatchPlan::of_rows(1, 1);
    let mut writer = TeacherWriter::open(&dataset, "bench", true, Dtype::F16, serde_json::json!({}), plan)?;
    let began = Instant::now();
    for (shard, (first, rows)) in dataset.shards().zip(&shards) {
        let shard = shard?;
        let (mut pooled, mut tokens) = (Vec::new(), Vec::new());
        let mut sample = vec![0; SAMPLE_BYTES];
        for _ in 0..*rows {
            file.read_exact(&mut sample)?;
            pooled.extend_from_slice(&sample[..POOLED.bytes()]);
            tokens.extend_from_slice(&sample[POOLED.bytes()..]);
        }
        let ids = ids(*first, *rows)?;
        let columns = vec![ids.clone(), fixed(POOLED.bytes(), pooled)?];
        let images = RecordBatch::try_new(features::images::schema(POOLED), columns)?;
        let tokens = token_table(ids, *rows, tokens)?;
        writer.commit(&shard.name, &[(features::images::NAME, images), (features::tokens::NAME, tokens)])?;
    }
    println!("{{\"write_samples_per_s\": {:.0}}}", samples as f64 / began.elapsed().as_secs_f64());
    Ok(())
}

fn open(folder: &Path) -> Result<Arc<Reader>> {
    let dataset = Dataset::open(folder)?;
    let teacher = TeacherCache::open(&dataset, "bench")?;
    let columns = [(features::images::NAME, features::EMBEDDING), (features::tokens::NAME, features::tokens::TOKENS)];
    Ok(Arc::new(Reader::new(Source::of_teacher(&dataset, &teacher, SPLIT, &columns)?)))
}

/// Reads an epoch, goes on from half of it, and takes 1,000 rows.
fn read(folder: &Path, threads: usize, pool_shards: usize, batch: usize) -> Result<()> {
    let bounds = Bounds { threads, depth: pool_shards.max(threads), bytes: 256 << 20 };
    let options = StreamOptions { seed: 1, batch, pool_shards, bounds };
    let began = Instant::now();
    let reader = open(folder)?;
    let mut stream = reader.stream(options, Position { epoch: 0, batch: 0 }, 1)?;
    let mut rows = Rows::default();
    let mut samples = 0;
    let mut first = 0.0;
    while stream.next_into(&mut rows)?.is_some() {
        if samples == 0 {
            first = began.elapsed().as_secs_f64();
        }
        samples += rows.rows.len();
    }
    let epoch = began.elapsed().as_secs_f64();
    let half = stream.batches() / 2;
    drop((stream, reader));
    let peak = peak_rss();

    let began = Instant::now();
    let reader = open(folder)?;
    let mut stream = reader.stream(options, Position { epoch: 0, batch: half }, 1)?;
    let resume = began.elapsed().as_secs_f64();
    stream.next_into(&mut rows)?;
    let resume_batch = began.elapsed().as_secs_f64();
    drop((stream, reader));

    let reader = open(folder)?;
    let wanted = |seed: u64| -> Vec<u64> {
        (0..1000)
            .map(|at| u64::from_le_bytes(row_hash((seed * 1000 + at) as usize)[..8].try_into().unwrap_or_default()))
            .map(|hash| hash % reader.source().rows())
            .collect()
    };
    let mut takes = Vec::new();
    for seed in 0..2 {
        let wanted = wanted(seed);
        let began = Instant::now();
        reader.take(&wanted, &mut rows)?;
        takes.push(began.elapsed().as_secs_f64());
    }
    let (cold, warm) = (takes[0], takes[1]);
    println!(
        "{{\"samples_per_s\": {:.0}, \"first_s\": {first:.4}, \"resume_s\": {resume:.5}, \"resume_first_s\": \
         {resume_batch:.4}, \"take_open_s\": {cold:.4}, \"take_s\": {warm:.4}, \"rss_mb\": {peak}}}",
        samples as f64 / epoch
    );
    Ok(())
}

/// Most memory that this process ever held, in MB; 0 where the kernel does not say.
fn peak_rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
