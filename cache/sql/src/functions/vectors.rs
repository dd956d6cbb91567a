//! Vectors as rows of floats: what all functions over them share.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type};
use datafusion::common::{Result, exec_datafusion_err, plan_err};
use datafusion::logical_expr::ColumnarValue;
use pulp::Arch;

use super::as_stored::{StoredColumn, stored_type};
use crate::columns::vector_type;

/// Sums a term over two rows, in whatever vector instructions the processor has: the same sum in any.
pub(super) fn sum(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    Arch::new().dispatch(|| lanes(a, b, term))
}

/// In independent lanes, which the compiler turns into vector instructions.
#[inline(always)]
fn lanes(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    const LANES: usize = 8;
    let mut lanes = [0.0; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder());
    let rest: f64 = rest.map(|(x, y)| term(f64::from(*x), f64::from(*y))).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += term(f64::from(x[lane]), f64::from(y[lane]));
        }
    }
    lanes.iter().sum::<f64>() + rest
}

/// The cosine of two rows of equal length; none if one is all zero, and so has no direction, or is not finite.
pub(super) fn cosine(a: &[f32], b: &[f32]) -> Option<f64> {
    Direction::of(a).and_then(|a| a.cosine(b))
}

/// A vector to which others are compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Direction<'a> {
    floats: &'a [f32],
    square: f64,
}

impl<'a> Direction<'a> {
    /// None for a vector of zeros.
    pub(super) fn of(floats: &'a [f32]) -> Option<Self> {
        let square = sum(floats, floats, |x, y| x * y);
        (square > 0.0).then_some(Self { floats, square })
    }

    /// The vector itself.
    pub(super) fn floats(&self) -> &'a [f32] {
        self.floats
    }

    /// As [`cosine`].
    pub(super) fn cosine(&self, other: &[f32]) -> Option<f64> {
        Direction::of(other).and_then(|other| self.cosine_to(&other))
    }

    /// As [`cosine`], of two vectors whose lengths are known.
    pub(super) fn cosine_to(&self, other: &Direction) -> Option<f64> {
        let cosine = sum(self.floats, other.floats, |x, y| x * y) / (self.square * other.square).sqrt();
        (!cosine.is_nan()).then(|| cosine.clamp(-1.0, 1.0))
    }
}

/// The type in which a function of this name takes an argument of this type.
///
/// # Errors
/// If it is no vector of numbers.
pub(super) fn coerced(name: &str, found: &DataType) -> Result<DataType> {
    let numbers = |item: &Field| item.data_type().is_numeric() || item.data_type().is_null();
    let list = || DataType::List(Arc::new(Field::new_list_field(DataType::Float32, true)));
    match found {
        DataType::FixedSizeList(item, width) if numbers(item) => Ok(vector_type(usize::try_from(*width).unwrap_or(0))),
        DataType::List(item) | DataType::LargeList(item) if numbers(item) => Ok(list()),
        DataType::Null => Ok(list()),
        stored if *stored == stored_type() => Ok(stored.clone()),
        other => plan_err!("{name} takes vectors of numbers, it is given {other}"),
    }
}

/// What is wrong with two vectors.
pub(super) fn widths_differ(name: &str, a: impl std::fmt::Display, b: impl std::fmt::Display) -> String {
    format!("{name} takes vectors of equal width, it is given widths {a} and {b}")
}

/// As [`widths_differ`], of the arguments of a call, which are named.
pub(super) fn argument_widths_differ(name: &str, widths: [usize; 2], arguments: &[FieldRef]) -> String {
    /// Characters shown of an argument, which may be a literal of many numbers.
    const SHOWN: usize = 40;
    let alike = arguments.windows(2).any(|pair| pair[0].name() == pair[1].name());
    let short = |(field, place): (&FieldRef, &str)| {
        let name = match field.name().as_str() {
            // DataFusion's names for what has none, once the query runs.
            "lit" => "a literal",
            moved if moved.starts_with("__") => "a column",
            name => name,
        };
        let cut = name.char_indices().nth(SHOWN).map_or(name.to_owned(), |(cut, _)| format!("{}...", &name[..cut]));
        if alike { format!("{cut} ({place})") } else { cut }
    };
    let named: Vec<String> = arguments.iter().zip(["the first", "the second"]).map(short).collect();
    format!("{}: {}", widths_differ(name, widths[0], widths[1]), named.join(" and "))
}

/// An argument as rows of floats. A scalar is one row that stands for all.
pub(super) struct Vectors {
    rows: Rows,
    one: bool,
}

enum Rows {
    Lists { column: ArrayRef, floats: ScalarBuffer<f32>, nulls_inside: Option<NullBuffer> },
    Stored(Box<StoredColumn>),
}

impl Vectors {
    pub(super) fn of(argument: &ColumnarValue) -> Result<Self> {
        match argument {
            ColumnarValue::Array(column) => Self::of_column(column),
            ColumnarValue::Scalar(scalar) => Ok(Self { one: true, ..Self::of_column(&scalar.to_array()?)? }),
        }
    }

    /// A column of vectors.
    pub(super) fn of_column(column: &ArrayRef) -> Result<Self> {
        let items = match column.data_type() {
            DataType::FixedSizeList(..) => column.as_fixed_size_list().values(),
            DataType::List(_) => column.as_list::<i32>().values(),
            _ => return Ok(Self { rows: Rows::Stored(Box::new(StoredColumn::of(column)?)), one: false }),
        };
        let items = items.as_primitive_opt::<Float32Type>();
        let items = items.ok_or_else(|| exec_datafusion_err!("{} is not a vector", column.data_type()))?;
        let (floats, nulls_inside) = (items.values().clone(), items.nulls().cloned());
        Ok(Self { rows: Rows::Lists { column: column.clone(), floats, nulls_inside }, one: false })
    }

    /// A row; none if it is null, or a number of it is. One that is no list yet is decoded into `decoded`.
    pub(super) fn row<'a>(&'a self, row: usize, decoded: &'a mut Vec<f32>) -> Option<&'a [f32]> {
        let row = if self.one { 0 } else { row };
        let (column, floats, nulls_inside) = match &self.rows {
            Rows::Lists { column, floats, nulls_inside } => (column, floats, nulls_inside),
            Rows::Stored(column) => return Some(column.row(row)?.decode(decoded)),
        };
        if column.is_null(row) {
            return None;
        }
        let (from, to) = match column.data_type() {
            DataType::FixedSizeList(_, width) => {
                let width = usize::try_from(*width).unwrap_or(0);
                (row * width, (row + 1) * width)
            }
            _ => {
                let offsets = column.as_list::<i32>().value_offsets();
                (offsets[row] as usize, offsets[row + 1] as usize)
            }
        };
        let nulls = nulls_inside.as_ref().filter(|nulls| nulls.null_count() > 0);
        if nulls.is_some_and(|nulls| (from..to).any(|at| nulls.is_null(at))) {
            return None;
        }
        floats.get(from..to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_and_rest_are_both_summed() {
        for width in [0_usize, 1, 7, 8, 9, 31, 64] {
            let a: Vec<f32> = (0..width).map(|i| i as f32 + 0.5).collect();
            let b: Vec<f32> = (0..width).map(|i| 3.0 - i as f32).collect();
            let expected: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            assert_eq!(sum(&a, &b, |x, y| x * y), expected, "{width}");
        }
    }

    #[test]
    fn a_vector_of_zeros_or_without_end_has_no_cosine() {
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), None);
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 0.0]), None);
        assert_eq!(cosine(&[1.0, 0.0], &[f32::INFINITY, 0.0]), None);
        assert_eq!(cosine(&[1.0, 0.0], &[f32::NAN, 0.0]), None);
        assert_eq!(cosine(&[0.3, 0.7], &[0.3, 0.7]), Some(1.0));
    }
}
