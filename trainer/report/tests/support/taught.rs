//! Two teachers of a made-up data set: `clip`, of images and texts, and `text`.

use std::collections::BTreeSet;
use std::f32::consts::TAU;
use std::path::Path;

use arrow::array::{ArrayRef, RecordBatch};
use retort_cache::{Dataset, TeacherWriter, vectors};
use retort_schemas::manifest::BatchPlan;
use retort_schemas::{Dtype, Store, features};

use super::{SAMPLES, ids, question, words};

/// Elements of a vector.
pub const WIDTH: usize = 5;

/// Image `row`: four directions, one a colour, in which the images of a colour lie by their number; of norm 3.
pub fn image_vector(row: usize) -> Vec<f32> {
    let angle = TAU * ((row % 4) as f32 / 4.0 + row as f32 / 2000.0);
    let vector = [angle.cos(), angle.sin(), 0.2, 0.0, 0.0];
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter().map(|x| 3.0 * x / norm).collect()
}

/// Numbers that a text decides, of no meaning.
pub fn text_vector(text: &str) -> Vec<f32> {
    let hash = |at: usize| text.bytes().fold(at as u32 * 77 + 5, |hash, byte| hash.wrapping_mul(31) ^ u32::from(byte));
    (0..WIDTH).map(|at| (hash(at) % 1000) as f32 / 500.0 - 1.0).collect()
}

fn table(
    schema: impl Fn(Vec<arrow::datatypes::Field>) -> arrow::datatypes::SchemaRef,
    first: ArrayRef,
    rows: &[Vec<f32>],
) -> RecordBatch {
    let stored = vectors::store(Store::Floats(Dtype::F32), features::EMBEDDING, WIDTH, &rows.concat()).unwrap();
    let columns = [vec![first], stored.columns].concat();
    RecordBatch::try_new(schema(stored.fields), columns).unwrap()
}

/// All words of the questions.
fn word_table() -> RecordBatch {
    let all: BTreeSet<String> = (0..SAMPLES)
        .flat_map(|row| retort_schemas::words::words(&question(row)))
        .map(|word| word.lower)
        .filter(|word| word != "picture")
        .collect();
    let all: Vec<String> = all.into_iter().collect();
    let stored = |name: &str| {
        let rows: Vec<f32> = all.iter().flat_map(|word| text_vector(&format!("{name} {word}"))).collect();
        vectors::store(Store::Floats(Dtype::F32), name, WIDTH, &rows).unwrap()
    };
    let (isolated, prompt) = (stored(features::words::ISOLATED), stored(features::words::PROMPT));
    let schema = features::words::with(isolated.fields, prompt.fields);
    RecordBatch::try_new(schema, [vec![words(&all)], isolated.columns, prompt.columns].concat()).unwrap()
}

/// Teaches the shards of a data set whose splits `split` wrote, but for those of `but`.
pub fn teach(folder: &Path, but: &str) {
    teach_tables(folder, but, &features::ALL);
}

/// As [`teach`], some tables only.
pub fn teach_tables(folder: &Path, but: &str, tables: &[&str]) {
    teach_as(folder, but, tables, image_vector);
}

/// As [`teach`] of all shards; the image tower gives zeros.
pub fn teach_zeros(folder: &Path) {
    teach_as(folder, "none", &features::ALL, |_| vec![0.0; WIDTH]);
}

fn teach_as(folder: &Path, but: &str, wanted: &[&str], image_vector: impl Fn(usize) -> Vec<f32>) {
    let dataset = Dataset::open(folder).unwrap();
    for (name, joint) in [("clip", true), ("text", false)] {
        let batch = BatchPlan::of_rows(4, 4);
        let mut writer =
            TeacherWriter::open(&dataset, name, joint, Dtype::F32, serde_json::json!(name), batch).unwrap();
        for shard in dataset.shards().map(Result::unwrap).filter(|shard| !shard.name.starts_with(but)) {
            let images: Vec<Vec<f32>> = (0..SAMPLES).map(&image_vector).collect();
            let texts: Vec<Vec<f32>> = (0..SAMPLES).map(|row| text_vector(&question(row))).collect();
            let mut tables = vec![
                (features::texts::NAME, table(features::texts::with, ids(SAMPLES), &texts)),
                (features::words::NAME, word_table()),
            ];
            if joint {
                tables.push((features::images::NAME, table(features::images::with, ids(SAMPLES), &images)));
            }
            tables.retain(|(table, _)| wanted.contains(table) && !writer.has(&shard.name, table).unwrap());
            writer.commit(&shard.name, &tables).unwrap();
        }
    }
}
