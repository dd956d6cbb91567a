//! How stored columns look in SQL: ids as hex words, vectors as lists of floats, everything else as it is.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, FixedSizeListArray, Float32Array, ListArray};
use arrow::array::{RecordBatch, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef};
use retort_cache::vectors;
use retort_schemas::{ID_BYTES, VectorType};

/// What a stored column holds.
enum Stored {
    Id,
    Vector(VectorType),
    Vectors(VectorType),
    Plain,
}

impl Stored {
    fn of(field: &Field) -> Self {
        match field.data_type() {
            DataType::FixedSizeBinary(bytes) => match VectorType::of(field) {
                Ok(vector) => Self::Vector(vector),
                Err(_) if *bytes == ID_BYTES => Self::Id,
                Err(_) => Self::Plain,
            },
            DataType::List(item) => VectorType::of(item).map_or(Self::Plain, Self::Vectors),
            _ => Self::Plain,
        }
    }
}

/// The type of one vector in SQL: `FixedSizeList<Float32>`.
pub(crate) fn vector_type(width: usize) -> DataType {
    DataType::FixedSizeList(float_item(), list_size(width))
}

fn float_item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Float32, true))
}

fn list_size(width: usize) -> i32 {
    i32::try_from(width).unwrap_or(i32::MAX)
}

/// The field that SQL shows for a stored one.
pub(crate) fn shown_field(field: &Field) -> Field {
    let data_type = match Stored::of(field) {
        Stored::Id => DataType::Utf8,
        Stored::Vector(vector) => vector_type(vector.width),
        Stored::Vectors(vector) => DataType::List(Arc::new(Field::new_list_field(vector_type(vector.width), true))),
        Stored::Plain => field.data_type().clone(),
    };
    Field::new(field.name(), data_type, field.is_nullable())
}

/// A stored column as SQL shows it.
pub(crate) fn shown_column(field: &Field, column: &ArrayRef) -> ArrayRef {
    match Stored::of(field) {
        Stored::Id => Arc::new(hex(column.as_fixed_size_binary())),
        Stored::Vector(vector) => Arc::new(floats(vector, column.as_fixed_size_binary())),
        Stored::Vectors(vector) => {
            let lists = column.as_list::<i32>();
            let offsets = lists.value_offsets();
            let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
            let items = lists.values().slice(first as usize, (last - first) as usize);
            let item = Field::new_list_field(vector_type(vector.width), true);
            Arc::new(ListArray::new(
                Arc::new(item),
                OffsetBuffer::from_lengths(offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize)),
                Arc::new(floats(vector, items.as_fixed_size_binary())),
                lists.nulls().cloned(),
            ))
        }
        Stored::Plain => column.clone(),
    }
}

/// A column of a batch by name, as SQL shows it.
pub(crate) fn shown_by_name(batch: &RecordBatch, name: &str) -> Option<ArrayRef> {
    let (at, field) = batch.schema_ref().column_with_name(name)?;
    Some(shown_column(field, batch.column(at)))
}

fn floats(vector: VectorType, column: &FixedSizeBinaryArray) -> FixedSizeListArray {
    let values = Float32Array::from(vectors::decode(vector, column));
    FixedSizeListArray::new(float_item(), list_size(vector.width), Arc::new(values), column.nulls().cloned())
}

fn hex(ids: &FixedSizeBinaryArray) -> StringArray {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |id: &[u8]| -> String {
        id.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
    };
    ids.iter().map(|id| id.map(digits)).collect()
}
