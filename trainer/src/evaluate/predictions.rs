//! The table of predictions of a split, written and read again.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, ListArray, RecordBatch, StringArray, StructArray, UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, Float32Type};
use retort_cache::column;
use retort_schemas::runs::predictions as names;

use super::Row;
use crate::Result;

/// The table of these rows, whose choices are called so.
pub(super) fn table(path: &Path, rows: &[Row], choices: &[String]) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.id))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.shard))),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.row))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.text))),
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row.question_type.as_ref()))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.prediction))),
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row.truth.as_ref()))),
        Arc::new(Float32Array::from_iter(rows.iter().map(|row| row.scores.map(|score| score.own as f32)))),
        Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| row.confidence))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.task))),
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row.answer_type.as_ref()))),
        Arc::new(scores_of(rows, choices).map_err(retort_cache::Error::arrow(path))?),
    ];
    Ok(RecordBatch::try_new(names::schema(), columns).map_err(retort_cache::Error::arrow(path))?)
}

fn scores_of(rows: &[Row], choices: &[String]) -> arrow::error::Result<ListArray> {
    let each = rows.iter().flat_map(|row| row.said.iter());
    let name = |choice: u32| choices.get(choice as usize).map_or("", String::as_str);
    let (names_of, probabilities): (Vec<&str>, Vec<f32>) = each.map(|(choice, p)| (name(*choice), *p)).unzip();
    let columns: Vec<ArrayRef> =
        vec![Arc::new(StringArray::from(names_of)), Arc::new(Float32Array::from(probabilities))];
    let items = StructArray::try_new(names::score_fields(), columns, None)?;
    let item = Field::new_list_field(items.data_type().clone(), false);
    let lengths = OffsetBuffer::from_lengths(rows.iter().map(|row| row.said.len()));
    ListArray::try_new(Arc::new(item), lengths, Arc::new(items), None)
}

/// A row of such a table, as far as files for others need it.
pub(super) struct Prediction<'a> {
    pub(super) id: &'a str,
    pub(super) task: &'a str,
    pub(super) answer: &'a str,
    /// Where the truth is known.
    pub(super) score: Option<f64>,
    pub(super) scores: Vec<(String, f32)>,
}

/// The rows of a table of version 1.1 or newer.
///
/// # Errors
/// [`retort_cache::Error::Column`] if it lacks a column.
pub(super) fn rows(table: &RecordBatch) -> Result<Vec<Prediction<'_>>> {
    let ids: &StringArray = column(table, names::SAMPLE_ID)?;
    let tasks: &StringArray = column(table, names::TASK)?;
    let answers: &StringArray = column(table, names::PREDICTION)?;
    let scores: &Float32Array = column(table, names::SCORE)?;
    let lists: &ListArray = column(table, names::SCORES)?;
    Ok((0..table.num_rows())
        .map(|row| Prediction {
            id: ids.value(row),
            task: tasks.value(row),
            answer: answers.value(row),
            score: scores.is_valid(row).then(|| f64::from(scores.value(row))),
            scores: choices_of(&lists.value(row)),
        })
        .collect())
}

fn choices_of(list: &ArrayRef) -> Vec<(String, f32)> {
    let columns = list.as_struct_opt().and_then(|items| {
        Some((items.column(0).as_string_opt::<i32>()?, items.column(1).as_primitive_opt::<Float32Type>()?))
    });
    columns.map_or_else(Vec::new, |(choices, probabilities)| {
        let each = choices.iter().flatten().zip(probabilities.values());
        each.map(|(choice, probability)| (choice.to_owned(), *probability)).collect()
    })
}
