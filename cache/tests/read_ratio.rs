//! What `Summary` says is read for each byte used, against the pages of the files.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use retort_cache::{Summary, TeacherWriter, vectors};
use retort_schemas::Store;
use retort_schemas::features::words;
use retort_schemas::manifest::BatchPlan;
use support::{Result, write_dataset};
use tempfile::tempdir;

mod support;

const ROWS: usize = 1000;

#[test]
fn a_random_row_reads_as_many_rows_as_its_page_has_and_a_shard_little_beside_its_vectors() -> Result {
    for (store, width) in [("f16", 384), ("f32", 64), ("cos:0.999", 384)] {
        let folder = tempdir()?;
        let dataset = write_dataset(folder.path(), 1, 0)?;
        let store: Store = store.parse()?;
        let floats: Vec<f32> = (0..ROWS * width).map(|at| ((at * 7919) % 2003) as f32 / 1000.0 - 1.0).collect();
        let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..ROWS).map(|row| format!("word{row}"))));
        let one = |name| vectors::store(store, name, width, &floats);
        let (isolated, prompt) = (one(words::ISOLATED)?, one(words::PROMPT)?);
        let schema = words::with(isolated.fields, prompt.fields);
        let batch = RecordBatch::try_new(schema, [vec![names], isolated.columns, prompt.columns].concat())?;
        let plan = BatchPlan::of_rows(1, 1);
        let mut writer = TeacherWriter::open(&dataset, "clip", true, store, serde_json::Value::Null, plan)?;
        writer.commit("train-00000", &[(words::NAME, batch)])?;
        let path = writer.cache().folder().join("words/train-00000.parquet");
        let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
        let metadata = reader.parse_and_finish(&File::open(&path)?)?;
        let group = metadata.row_group(0);
        let column = |name: &str| group.columns().iter().position(|chunk| chunk.column_path().string() == name);
        let at = column(words::ISOLATED).ok_or("no column")?;
        let pages = metadata.offset_index().ok_or("no pages")?[0][at].page_locations().len();
        let summary = Summary::of(&dataset)?;
        let read = summary.teachers[0].tables[0].read.ok_or("nothing is told")?;
        let rows_of_a_page = ROWS as f64 / pages as f64;
        assert!((read.random_rows / rows_of_a_page - 1.0).abs() < 0.15, "{store}: {read:?}, pages of {rows_of_a_page}");
        assert!((1.0..1.15).contains(&read.whole_shards), "{store}: {read:?}");
    }
    Ok(())
}
