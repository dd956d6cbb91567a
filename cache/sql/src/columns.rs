//! How stored columns look in SQL: ids as hex words, vectors as lists of floats, everything else as it is.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, FixedSizeListArray, Float32Array, ListArray};
use arrow::array::{RecordBatch, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};
use retort_cache::vectors::Rows;
use retort_cache::{Error, Result};
use retort_schemas::{ID_BYTES, Layout};

/// What a stored column holds.
enum Stored {
    Id,
    Vector(Layout),
    Vectors(Layout),
    Plain,
}

impl Stored {
    fn of(field: &Field) -> Self {
        match field.data_type() {
            DataType::FixedSizeBinary(bytes) => match Layout::of(field) {
                Ok(vector) => Self::Vector(vector),
                Err(_) if *bytes == ID_BYTES => Self::Id,
                Err(_) => Self::Plain,
            },
            DataType::List(item) => Layout::of(item).map_or(Self::Plain, Self::Vectors),
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
        Stored::Vector(layout) => vector_type(layout.width()),
        Stored::Vectors(layout) => DataType::List(Arc::new(Field::new_list_field(vector_type(layout.width()), true))),
        Stored::Plain => field.data_type().clone(),
    };
    Field::new(field.name(), data_type, field.is_nullable())
}

/// A column of a batch by name, as SQL shows it; `None` if there is none of that name.
pub(crate) fn shown_by_name(batch: &RecordBatch, name: &str) -> Option<Result<ArrayRef>> {
    let (at, field) = batch.schema_ref().column_with_name(name)?;
    let column = batch.column(at);
    Some(match Stored::of(field) {
        Stored::Id => Ok(Arc::new(hex(column.as_fixed_size_binary()))),
        Stored::Vector(_) => Rows::of(batch, name).and_then(|rows| vectors_shown(name, &rows, column.nulls().cloned())),
        Stored::Vectors(layout) => Rows::of(batch, name).and_then(|rows| {
            let item = Arc::new(Field::new_list_field(vector_type(layout.width()), true));
            let offsets = OffsetBuffer::from_lengths((0..column.len()).map(|row| rows.of_row(row).len()));
            let vectors = vectors_shown(name, &rows, None)?;
            let lists = ListArray::try_new(item, offsets, vectors, column.nulls().cloned());
            lists.map(|lists| Arc::new(lists) as ArrayRef).map_err(|error| broken(name, &error.to_string()))
        }),
        Stored::Plain => Ok(column.clone()),
    })
}

/// Vectors as lists of floats, whatever their store.
fn vectors_shown(name: &str, rows: &Rows, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    let values = Arc::new(Float32Array::from(rows.floats()));
    let lists = FixedSizeListArray::try_new(float_item(), list_size(rows.width()), values, nulls);
    lists.map(|lists| Arc::new(lists) as ArrayRef).map_err(|error| broken(name, &error.to_string()))
}

fn broken(column: &str, problem: &str) -> Error {
    Error::Column { column: column.to_owned(), problem: problem.to_owned() }
}

fn hex(ids: &FixedSizeBinaryArray) -> StringArray {
    ids.iter().map(|id| id.map(hex_word)).collect()
}

/// An id as SQL shows it.
pub(crate) fn hex_word(id: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    id.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}
