//! The vector columns of a table as floats, whatever they are stored as: the one place that [`crate::manage`] and
//! [`crate::export()`] decode in.

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use half::{bf16, f16};
use retort_schemas::{DTYPE_KEY, Dtype, Layout, VectorType};

use crate::{Result, vectors};

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
    /// Which of them are a row's.
    rows: vectors::Rows,
}

impl Floats {
    /// The values of a row: `[width]`, or `[vectors, width]` where a row has a list of vectors.
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        let Range { start, end } = self.rows.of_row(row);
        &self.values[start * self.width..end * self.width]
    }
}

/// The vector columns of a table, in its order; all other columns are passed over.
///
/// # Errors
/// [`crate::Error::Column`] if a column says that it holds vectors and they cannot be understood.
pub(crate) fn vector_columns(batch: &RecordBatch) -> Result<Vec<Floats>> {
    let mut found = Vec::new();
    for field in batch.schema().fields() {
        let described = match field.data_type() {
            DataType::List(item) => item,
            _ => field,
        };
        if !described.metadata().contains_key(DTYPE_KEY) {
            continue;
        }
        let rows = vectors::Rows::of(batch, field.name())?;
        found.push(Floats {
            name: field.name().clone(),
            element: Element::holding(rows.layout()),
            width: rows.width(),
            values: rows.floats(),
            rows,
        });
    }
    Ok(found)
}

/// Element type of an exported tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F16,
    Bf16,
    F32,
}

impl Element {
    /// The smallest that holds stored values without loss: a code times its scale needs single precision.
    fn holding(layout: Layout) -> Self {
        match layout {
            Layout::Floats(VectorType { dtype: Dtype::F16, .. }) => Self::F16,
            Layout::Floats(VectorType { dtype: Dtype::Bf16, .. }) => Self::Bf16,
            Layout::Floats(_) | Layout::Codes { .. } => Self::F32,
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

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow::datatypes::Schema;

    use super::*;
    use crate::Error;

    #[test]
    fn vectors_of_a_type_that_this_build_does_not_know_are_no_other_column() -> Result<()> {
        let vector = VectorType { dtype: Dtype::F16, width: 2 };
        let stored = vectors::encode(vector, &[1.0, 2.0])?;
        let field = vector.field("embedding");
        let of = |field| RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(stored.clone())]);
        let batch = |field| of(field).map_err(Error::arrow("batch".as_ref()));
        assert_eq!(vector_columns(&batch(field.clone())?)?[0].row(0), [1.0, 2.0]);
        let bare = field.clone().with_metadata(HashMap::new());
        assert!(vector_columns(&batch(bare)?)?.is_empty());
        let mut metadata = field.metadata().clone();
        metadata.insert(DTYPE_KEY.to_owned(), "f8".to_owned());
        let unknown = vector_columns(&batch(field.with_metadata(metadata))?);
        assert!(matches!(unknown, Err(Error::Column { column, .. }) if column == "embedding"));
        Ok(())
    }
}
