//! The vector columns of a table as floats, whatever they are stored as: the one place that [`crate::manage`] and
//! [`crate::export`] decode in.

use arrow::array::{AsArray, RecordBatch};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;
use half::{bf16, f16};
use retort_schemas::{Dtype, VectorType};

use crate::vectors;

/// One vector column of a table.
pub(crate) struct Floats {
    /// The column's name.
    pub(crate) name: String,
    /// What holds the values without loss.
    pub(crate) element: Element,
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
                element: Element::holding(vector.dtype),
                width: vector.width,
                values: vectors::decode(vector, stored),
                offsets,
            });
        }
    }
    found
}

/// Element type of an exported tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F16,
    Bf16,
    F32,
}

impl Element {
    /// The smallest that holds stored values without loss.
    fn holding(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F16 => Self::F16,
            Dtype::Bf16 => Self::Bf16,
            _ => Self::F32,
        }
    }

    /// Bytes of one element.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Appends floats, little-endian.
    pub(crate) fn put(self, floats: &[f32], out: &mut Vec<u8>) {
        match self {
            Self::F16 => out.extend(floats.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes())),
            Self::Bf16 => out.extend(floats.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes())),
            Self::F32 => out.extend(floats.iter().flat_map(|x| x.to_le_bytes())),
        }
    }
}
