//! Vectors that are no number, infinite or zero are counted when they are written, and `Summary` tells of them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::buffer::OffsetBuffer;
use retort_cache::vectors::{self, Rows};
use retort_cache::{Columns, Dataset, Error, Summary, TeacherCache, TeacherWriter, take_ids};
use retort_schemas::features::{EMBEDDING, patches, texts, words};
use retort_schemas::manifest::{BatchPlan, Norms};
use retort_schemas::{Store, tables};
use support::{Result, write_dataset};
use tempfile::tempdir;

mod support;

const WIDTH: usize = 4;
const SOUND: [f32; WIDTH] = [1.0, -2.0, 2.0, 0.0];
/// Beyond what f16 holds.
const LARGE: [f32; WIDTH] = [1e6, 0.0, 0.0, 0.0];
const ODD: [[f32; WIDTH]; 7] = [
    SOUND,
    [0.0; WIDTH],
    [f32::NAN, 1.0, 1.0, 1.0],
    [1.0, f32::INFINITY, 1.0, 1.0],
    [1.0, 1.0, f32::NEG_INFINITY, 1.0],
    [f32::NAN, f32::INFINITY, 0.0, 0.0],
    LARGE,
];

/// Writes these vectors as words, as the texts' embeddings (the first four), and as lists of vectors of the images.
fn write(dataset: &Dataset, store: Store, rows: &[[f32; WIDTH]]) -> Result {
    let shard = dataset.shards().next().ok_or("no shard")??;
    let floats = rows.concat();
    let ids = |table, id| -> Result<ArrayRef> {
        Ok(Arc::new(take_ids(&dataset.read(&shard, table, Columns::Named(&[id]))?)?.clone()))
    };
    let plan = BatchPlan::of_rows(1, 1);
    let mut writer = TeacherWriter::open(dataset, "clip", true, store, serde_json::Value::Null, plan)?;
    let pooled = vectors::store(store, EMBEDDING, WIDTH, &floats[..4 * WIDTH])?;
    let columns = [vec![ids(tables::texts::NAME, tables::texts::TEXT_ID)?], pooled.columns].concat();
    let of_texts = RecordBatch::try_new(texts::with(pooled.fields), columns)?;
    let offsets = OffsetBuffer::from_lengths([0, 1, rows.len() - 1]);
    let lists = vectors::store_lists(store, patches::GRID, WIDTH, &floats, &offsets)?;
    let columns = [vec![ids(tables::images::NAME, tables::images::IMAGE_ID)?], lists.columns].concat();
    let of_images = RecordBatch::try_new(patches::with(lists.fields), columns)?;
    let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows.len()).map(|row| format!("word{row}"))));
    let [isolated, prompt] = [words::ISOLATED, words::PROMPT].map(|name| vectors::store(store, name, WIDTH, &floats));
    let (isolated, prompt) = (isolated?, prompt?);
    let schema = words::with(isolated.fields, prompt.fields);
    let of_words = RecordBatch::try_new(schema, [vec![names], isolated.columns, prompt.columns].concat())?;
    writer.commit(&shard.name, &[(texts::NAME, of_texts), (patches::NAME, of_images), (words::NAME, of_words)])?;
    Ok(())
}

/// What the summary tells of a column of the only teacher.
fn told(dataset: &Dataset, table: &str, column: &str) -> Result<Norms> {
    let summary = Summary::of(dataset)?;
    let tables = &summary.teachers.first().ok_or("no teacher")?.tables;
    let table = tables.iter().find(|found| found.table == table).ok_or("no such table")?;
    Ok(*table.norms.get(column).ok_or("no such column")?)
}

#[test]
fn what_has_no_norm_is_counted_in_every_store_of_floats() -> Result {
    for (store, too_large) in [("f32", 0), ("f16", 1), ("bf16", 0)] {
        let folder = tempdir()?;
        let dataset = write_dataset(folder.path(), 1, 0)?;
        write(&dataset, store.parse()?, &ODD)?;
        for (table, column) in [("words", "isolated"), ("words", "prompt"), ("patches", "grid")] {
            let norms = told(&dataset, table, column)?;
            let counts = (norms.vectors, norms.zero, norms.nan, norms.infinite, norms.finite());
            assert_eq!(counts, (7, 1, 2, 2 + too_large, 3 - too_large), "{store}: {table}");
            let greatest = if too_large > 0 { 3.0 } else { 1e6 };
            assert!(norms.min == 0.0 && (norms.max - greatest).abs() < greatest / 100.0, "{store}: {norms:?}");
            assert!(norms.mean.is_finite());
        }
        let norms = told(&dataset, "texts", EMBEDDING)?;
        assert_eq!((norms.vectors, norms.zero, norms.nan, norms.infinite), (4, 1, 1, 1), "{store}");
    }
    Ok(())
}

#[test]
fn codes_refuse_what_has_no_cosine_and_nothing_of_it_is_committed() -> Result {
    for bad in &ODD[2..6] {
        let folder = tempdir()?;
        let dataset = write_dataset(folder.path(), 1, 0)?;
        let refused = write(&dataset, "cos:0.99".parse()?, &[SOUND, SOUND, *bad, SOUND]).unwrap_err();
        assert!(matches!(refused.downcast_ref(), Some(Error::Inexpressible { row: 2, .. })), "{bad:?}: {refused}");
        assert!(Summary::of(&dataset)?.teachers.is_empty());
    }
    Ok(())
}

#[test]
fn codes_count_zeros_and_keep_the_bound_of_all_others_beside_them() -> Result {
    let folder = tempdir()?;
    let dataset = write_dataset(folder.path(), 1, 0)?;
    let rows = [SOUND, [0.0; WIDTH], LARGE, [3e-39, -1e-39, 0.0, 2e-39], [1e30, 1.0, -1e29, 7e29], [0.0; WIDTH]];
    write(&dataset, "cos:0.999".parse()?, &rows)?;
    let norms = told(&dataset, "words", "prompt")?;
    assert_eq!((norms.vectors, norms.zero, norms.nan, norms.infinite), (6, 2, 0, 0));
    let shard = dataset.shards().next().ok_or("no shard")??;
    let batch = TeacherCache::open(&dataset, "clip")?.read(&dataset, &shard, "words")?;
    let read = Rows::of(&batch, "prompt")?.floats();
    for (given, read) in rows.iter().zip(read.chunks_exact(WIDTH)) {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        if dot(given, given) == 0.0 {
            assert_eq!(read, given);
            continue;
        }
        let cosine = dot(given, read) / (dot(given, given) * dot(read, read)).sqrt();
        assert!(cosine >= 0.999 - 1e-12, "{cosine} of {given:?}");
    }
    Ok(())
}
