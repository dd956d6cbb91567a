//! Runs the questions and answers of `tests/slt`: files of sqllogictest, asked as the command line does.
//!
//! `functions.slt` and its neighbours ask one data set: nine images in three shards, the last of a split `val`, and
//! the teacher `clip` of the [fixture](crate::fixture); the teacher `wide`, whose vectors are of width 3, saw all.

use std::path::Path;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use retort_schemas::{Dtype, Store};
use retort_sql::{Error, Format};
use sqllogictest::{DB, DBOutput, DefaultColumnType, Runner, strict_column_validator};

use crate::fixture::{add_searched, ask_as, small_dataset};

/// Asks a folder.
struct Folder<'a>(&'a Path);

impl DB for Folder<'_> {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Error> {
        let answer = ask_as(self.0, sql, Format::Parquet)?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes_of(answer)).unwrap();
        let types = reader.schema().fields().iter().map(|field| type_of(field.data_type())).collect();
        let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
        let rows = |batch: &RecordBatch| -> Vec<Vec<String>> {
            let row = |row| batch.columns().iter().map(|column| word(column, row)).collect();
            (0..batch.num_rows()).map(row).collect()
        };
        Ok(DBOutput::Rows { types, rows: batches.iter().flat_map(rows).collect() })
    }
}

fn bytes_of(answer: Vec<u8>) -> bytes::Bytes {
    answer.into()
}

fn type_of(data_type: &DataType) -> DefaultColumnType {
    match data_type {
        DataType::Utf8 | DataType::Utf8View => DefaultColumnType::Text,
        number if number.is_integer() => DefaultColumnType::Integer,
        number if number.is_floating() => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Any,
    }
}

fn word(column: &dyn Array, row: usize) -> String {
    match array_value_to_string(column, row).unwrap() {
        _ if column.is_null(row) => "NULL".to_owned(),
        word if word.is_empty() => "(empty)".to_owned(),
        word => word,
    }
}

#[test]
fn questions_have_the_answers_that_are_written_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = small_dataset(folder.path());
    let vector = |what: &str, shard: u8, row: usize| {
        let up = if what == "prompt" { -1.0 } else { 1.0 };
        vec![1.0, f32::from(shard), up * row as f32]
    };
    add_searched(&dataset, "wide", Store::Floats(Dtype::F16), 3, &vector);
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let mut runner = Runner::new(async || Ok(Folder(folder.path())));
        runner.with_column_validator(strict_column_validator);
        runner.run_file(&file).unwrap_or_else(|error| panic!("{error}"));
    }
}
