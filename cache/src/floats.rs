//! The vector columns of a table as floats, whatever they are stored as: the one place that [`crate::manage`]
//! decodes in.

use arrow::array::{AsArray, RecordBatch};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;
use retort_schemas::VectorType;

use crate::vectors;

/// One vector column of a table.
pub(crate) struct Floats {
    /// The column's name.
    pub(crate) name: String,
    /// Elements of a vector.
    pub(crate) width: usize,
    /// All vectors end to end.
    values: Vec<f32>,
    /// Where a row has a list of vectors: in vectors.
    offsets: Option<OffsetBuffer<i32>>,
}

impl Floats {
    /// The values of a row: `[width]`, or `[vectors, width]` where a row has a list of vectors.
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        let (from, to) = match &self.offsets {
            Some(offsets) => (offsets[row] as usize, offsets[row + 1] as usize),
            None => (row, row + 1),
        };
        &self.values[from * self.width..to * self.width]
    }
}

/// The vector columns of a table, in its order; all other columns are passed over.
pub(crate) fn vector_columns(batch: &RecordBatch) -> Vec<Floats> {
    let schema = batch.schema();
    let mut found = Vec::new();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let (vector, stored, offsets) = match field.data_type() {
            DataType::List(item) => {
                let lists = column.as_list::<i32>();
                (VectorType::of(item), lists.values(), Some(lists.offsets().clone()))
            }
            _ => (VectorType::of(field), column, None),
        };
        if let (Ok(vector), Some(stored)) = (vector, stored.as_fixed_size_binary_opt()) {
            found.push(Floats {
                name: field.name().clone(),
                width: vector.width,
                values: vectors::decode(vector, stored),
                offsets,
            });
        }
    }
    found
}
