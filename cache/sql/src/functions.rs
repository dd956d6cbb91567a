//! Functions over vectors: `dot`, `norm`, `l2_distance` and `cosine_similarity`.
//!
//! A vector is a column of features or a literal such as `[1.0, 0.0]`. Sums are taken in double precision; a null
//! vector, or a null in a vector, gives null.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Float32Type};
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::columns::vector_type;

/// All of them, to be registered.
pub(crate) fn all() -> impl Iterator<Item = ScalarUDF> {
    [Kind::Cosine, Kind::Dot, Kind::Distance, Kind::Norm]
        .into_iter()
        .map(|kind| ScalarUDF::from(VectorFunction { kind, signature: Signature::user_defined(Volatility::Immutable) }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Cosine,
    Dot,
    Distance,
    Norm,
}

impl Kind {
    fn arguments(self) -> usize {
        if self == Self::Norm { 1 } else { 2 }
    }

    /// The value for one pair of rows of equal length; `b` is `a` for a function of one vector.
    fn value(self, a: &[f32], b: &[f32]) -> Option<f64> {
        match self {
            Self::Dot => Some(sum(a, b, |x, y| x * y)),
            Self::Norm => Some(sum(a, a, |x, y| x * y).sqrt()),
            Self::Distance => Some(sum(a, b, |x, y| (x - y) * (x - y)).sqrt()),
            Self::Cosine => {
                let norms = (sum(a, a, |x, y| x * y) * sum(b, b, |x, y| x * y)).sqrt();
                // A vector of zeros has no direction.
                (norms > 0.0).then(|| (sum(a, b, |x, y| x * y) / norms).clamp(-1.0, 1.0))
            }
        }
    }
}

/// Sums a term over two rows, in independent lanes that the compiler turns into vector instructions.
fn sum(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
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

#[derive(Debug, PartialEq, Eq, Hash)]
struct VectorFunction {
    kind: Kind,
    signature: Signature,
}

impl ScalarUDFImpl for VectorFunction {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Cosine => "cosine_similarity",
            Kind::Dot => "dot",
            Kind::Distance => "l2_distance",
            Kind::Norm => "norm",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn coerce_types(&self, found: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.name();
        let expected = self.kind.arguments();
        if found.len() != expected {
            let vectors = if expected == 1 { "1 vector" } else { "2 vectors" };
            return plan_err!("{name} takes {vectors}, it is given {} arguments", found.len());
        }
        let coerced = found.iter().map(|data_type| {
            let floats = |item: &Field| item.data_type().is_numeric() || item.data_type().is_null();
            match data_type {
                DataType::FixedSizeList(item, width) if floats(item) => {
                    Ok(vector_type(usize::try_from(*width).unwrap_or(0)))
                }
                DataType::List(item) | DataType::LargeList(item) if floats(item) => {
                    Ok(DataType::List(Arc::new(Field::new_list_field(DataType::Float32, true))))
                }
                DataType::Null => Ok(DataType::List(Arc::new(Field::new_list_field(DataType::Float32, true)))),
                other => plan_err!("{name} takes vectors of numbers, it is given {other}"),
            }
        });
        let coerced = coerced.collect::<Result<Vec<_>>>()?;
        if let [DataType::FixedSizeList(_, a), DataType::FixedSizeList(_, b)] = coerced[..]
            && a != b
        {
            return Err(DataFusionError::Plan(widths_differ(name, a, b)));
        }
        Ok(coerced)
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = call.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let vectors = call.args.iter().map(Vectors::of).collect::<Result<Vec<_>>>()?;
        let (Some(a), Some(b)) = (vectors.first(), vectors.last()) else {
            return exec_err!("{} is given no vector", self.name());
        };
        let rows = if scalar { 1 } else { call.number_rows };
        let value = |row: usize| -> Result<Option<f64>> {
            let (Some(a), Some(b)) = (a.row(row), b.row(row)) else { return Ok(None) };
            if a.len() != b.len() {
                return Err(exec_datafusion_err!("{}", widths_differ(self.name(), a.len(), b.len())));
            }
            Ok(self.kind.value(a, b))
        };
        let values = (0..rows).map(value).collect::<Result<Float64Array>>()?;
        if scalar {
            let value = datafusion::common::ScalarValue::Float64(values.is_valid(0).then(|| values.value(0)));
            return Ok(ColumnarValue::Scalar(value));
        }
        Ok(ColumnarValue::Array(Arc::new(values)))
    }
}

fn widths_differ(name: &str, a: impl std::fmt::Display, b: impl std::fmt::Display) -> String {
    format!("{name} takes vectors of equal width, it is given widths {a} and {b}")
}

/// An argument as rows of floats. A scalar is one row that stands for all.
struct Vectors {
    column: ArrayRef,
    floats: arrow::buffer::ScalarBuffer<f32>,
    nulls_inside: Option<NullBuffer>,
    one: bool,
}

impl Vectors {
    fn of(argument: &ColumnarValue) -> Result<Self> {
        let (column, one) = match argument {
            ColumnarValue::Array(column) => (column.clone(), false),
            ColumnarValue::Scalar(scalar) => (scalar.to_array()?, true),
        };
        let items = match column.data_type() {
            DataType::FixedSizeList(..) => column.as_fixed_size_list().values(),
            DataType::List(_) => column.as_list::<i32>().values(),
            other => return exec_err!("{other} is not a vector"),
        };
        let items = items.as_primitive_opt::<Float32Type>();
        let items = items.ok_or_else(|| exec_datafusion_err!("{} is not a vector", column.data_type()))?;
        let (floats, nulls_inside) = (items.values().clone(), items.nulls().cloned());
        Ok(Self { column, floats, nulls_inside, one })
    }

    fn row(&self, row: usize) -> Option<&[f32]> {
        let row = if self.one { 0 } else { row };
        if self.column.is_null(row) {
            return None;
        }
        let (from, to) = match self.column.data_type() {
            DataType::FixedSizeList(_, width) => {
                let width = usize::try_from(*width).unwrap_or(0);
                (row * width, (row + 1) * width)
            }
            _ => {
                let offsets = self.column.as_list::<i32>().value_offsets();
                (offsets[row] as usize, offsets[row + 1] as usize)
            }
        };
        let nulls = self.nulls_inside.as_ref().filter(|nulls| nulls.null_count() > 0);
        if nulls.is_some_and(|nulls| (from..to).any(|at| nulls.is_null(at))) {
            return None;
        }
        self.floats.get(from..to)
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
            assert_eq!(Kind::Dot.value(&a, &b), Some(expected), "{width}");
        }
    }

    #[test]
    fn a_vector_of_zeros_has_no_cosine() {
        assert_eq!(Kind::Cosine.value(&[0.0, 0.0], &[1.0, 0.0]), None);
        assert_eq!(Kind::Cosine.value(&[0.3, 0.7], &[0.3, 0.7]), Some(1.0));
    }
}
