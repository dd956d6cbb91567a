//! What each store option takes and how fast it is read, on the features of a data set's teachers, stored as f32.
//!
//! ```text
//! cargo run --release -p retort-cache --example stores -- DATASET
//! ```
//!
//! A line for each vector column and store: bits a dimension in the Parquet file, scales and page headers included; the
//! worst cosine; MB/s of floats encoded and written; GB/s of f16 made from the file, one thread, from memory. Below
//! them, what was tried beside the stores: dimensions centred first, and the planes of each byte of a float in columns
//! of their own.

#![allow(clippy::print_stdout, reason = "stdout is what it is for")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, FixedSizeBinaryArray, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{Field, Schema};
use half::{bf16, f16};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use retort_cache::vectors::{self, Rows, Stored};
use retort_cache::{Columns, Dataset, TeacherCache, teachers_of, write_plain_table};
use retort_schemas::{SCHEMA_KEY, Store, WORST_COSINE_KEY, features};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const STORES: [&str; 6] = ["f32", "f16", "bf16", "cos:0.9999", "cos:0.999", "cos:0.99"];
const COLUMNS: [(&str, &str); 3] = [
    (features::images::NAME, features::EMBEDDING),
    (features::texts::NAME, features::EMBEDDING),
    (features::tokens::NAME, features::tokens::TOKENS),
];

/// Vectors `[rows, width]`.
struct Table {
    width: usize,
    floats: Vec<f32>,
}

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).ok_or("usage: stores DATASET")?;
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global()?;
    let dataset = Dataset::open(Path::new(&folder))?;
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("table.parquet");
    for teacher in teachers_of(&dataset)?.iter().filter(|teacher| teacher.manifest().store == Store::F32) {
        for (name, column) in COLUMNS {
            let Some(table) = load(&dataset, teacher, name, column)? else { continue };
            println!("\n{} {name}: {} vectors of {}", teacher.folder_name(), table.rows(), table.width);
            for store in STORES {
                table.measure(store.parse()?, &file)?;
            }
            table.alternatives(&file)?;
        }
    }
    Ok(())
}

/// All shards of a column; `None` if the teacher has no such table.
fn load(dataset: &Dataset, teacher: &TeacherCache, name: &str, column: &str) -> Result<Option<Table>> {
    let mut table = Table { width: 0, floats: Vec::new() };
    for shard in dataset.shards() {
        let shard = &shard?;
        if teacher.shard(&shard.name)?.is_some_and(|mine| mine.tables.contains_key(name)) {
            let rows = Rows::of(&teacher.read_columns(dataset, shard, name, Columns::Named(&[column]))?, column)?;
            table.width = rows.width();
            table.floats.extend(rows.floats());
        }
    }
    Ok((!table.floats.is_empty()).then_some(table))
}

impl Table {
    fn rows(&self) -> usize {
        self.floats.len() / self.width
    }

    fn measure(&self, store: Store, file: &Path) -> Result<()> {
        let start = Instant::now();
        let stored = vectors::store(store, "vector", self.width, &self.floats)?;
        let worst = stored.fields[0].metadata().get(WORST_COSINE_KEY).cloned().unwrap_or_default();
        write(stored, file)?;
        let written = start.elapsed().as_secs_f64();
        let bytes = bytes::Bytes::from(std::fs::read(file)?);
        let mut halves = vec![f16::ZERO; self.floats.len()];
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let start = Instant::now();
            let mut at = 0;
            for batch in ParquetRecordBatchReaderBuilder::try_new(bytes.clone())?.with_batch_size(4096).build()? {
                let rows = Rows::of(&batch?, "vector")?;
                let end = at + rows.len() * self.width;
                rows.decode_f16(0..rows.len(), &mut halves[at..end]);
                at = end;
            }
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!(
            "  {:10} {:6.2} bits  write {:5.0} MB/s  read to f16 {:5.2} GB/s  worst {worst}",
            store.to_string(),
            self.bits(bytes.len()),
            self.floats.len() as f64 * 4.0 / written / 1e6,
            self.floats.len() as f64 * 2.0 / best / 1e9,
        );
        Ok(())
    }

    fn bits(&self, bytes: usize) -> f64 {
        bytes as f64 * 8.0 / self.floats.len() as f64
    }

    fn alternatives(&self, file: &Path) -> Result<()> {
        for bound in [0.999, 0.99] {
            // The cosine is then one of centred vectors: the bits are right if its bound is that of the whole vector,
            // whose noise may be longer by the ratio of the lengths.
            let centred = self.centred();
            let ratio = squares(&self.floats) / squares(&centred);
            let bound_of_centred = 1.0 - (1.0 - bound) * ratio;
            let stored = vectors::store(Store::cos(bound_of_centred.max(0.01))?, "vector", self.width, &centred)?;
            println!("  cos:{bound} of centred dimensions: {:.2} bits", self.bits(write(stored, file)?));
        }
        let halves: Vec<u8> = self.floats.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
        let brains: Vec<u8> = self.floats.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect();
        for (name, bytes) in [("f16", halves), ("bf16", brains)] {
            let mut planes = Vec::new();
            for plane in 0..2 {
                let bytes: Vec<u8> = bytes.iter().skip(plane).step_by(2).copied().collect();
                let column = FixedSizeBinaryArray::try_new(i32::try_from(self.width)?, Buffer::from_vec(bytes), None)?;
                let field = Field::new("vector", column.data_type().clone(), false);
                let stored = Stored { fields: vec![field], columns: vec![Arc::new(column) as ArrayRef] };
                planes.push(self.bits(write(stored, file)?));
            }
            println!("  {name} as planes of bytes: {:.2} + {:.2} bits", planes[0], planes[1]);
        }
        Ok(())
    }

    /// The vectors less their mean.
    fn centred(&self) -> Vec<f32> {
        let mut mean = vec![0.0_f64; self.width];
        for row in self.floats.chunks_exact(self.width) {
            mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += f64::from(*x) / self.rows() as f64);
        }
        let rows = self.floats.chunks_exact(self.width);
        rows.flat_map(|row| row.iter().zip(&mean).map(|(x, mean)| (f64::from(*x) - mean) as f32)).collect()
    }
}

fn squares(floats: &[f32]) -> f64 {
    floats.iter().map(|x| f64::from(*x).powi(2)).sum()
}

/// Writes columns to a file; the bytes of its column chunks.
fn write(stored: Stored, file: &Path) -> Result<usize> {
    let version = features::images::VERSION.to_string();
    let schema = Schema::new(stored.fields).with_metadata([(SCHEMA_KEY.to_owned(), version)].into());
    write_plain_table(file, &RecordBatch::try_new(Arc::new(schema), stored.columns)?)?;
    let metadata = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file)?)?.metadata().clone();
    Ok(metadata.row_groups().iter().map(|group| group.compressed_size() as usize).sum())
}
