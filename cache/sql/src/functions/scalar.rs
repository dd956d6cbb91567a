//! Functions of rows: of vectors (`dot`, `norm`, `l2_distance`, `cosine_similarity`, `normalize`) and of hashes
//! (`hamming`).
//!
//! A vector is a column of features or a literal such as `[1.0, 0.0]`. Sums are taken in double precision; a null
//! vector, or a null in a vector, gives null.

use std::sync::Arc;

use arrow::array::builder::NullBufferBuilder;
use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, Float64Array, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, UInt64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExpressionPlacement, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::as_stored::wrapped;
use super::vectors::{Direction, Vectors, argument_widths_differ, coerced, cosine, sum};

/// All of them, to be registered.
pub(super) fn all() -> impl Iterator<Item = ScalarUDF> {
    let signature = || Signature::user_defined(Volatility::Immutable);
    [Kind::Cosine, Kind::Dot, Kind::Distance, Kind::Norm]
        .into_iter()
        .map(move |kind| ScalarUDF::from(VectorFunction { kind, signature: signature() }))
        .chain([
            ScalarUDF::from(Normalize { returns: None, signature: signature() }),
            ScalarUDF::from(Hamming { signature: signature() }),
        ])
}

/// A function of one vector or two that gives a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Cosine,
    Dot,
    Distance,
    Norm,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine_similarity",
            Self::Dot => "dot",
            Self::Distance => "l2_distance",
            Self::Norm => "norm",
        }
    }

    fn arguments(self) -> usize {
        if self == Self::Norm { 1 } else { 2 }
    }

    /// The value for one pair of rows of equal length; `b` is `a` for a function of one vector.
    fn value(self, a: &[f32], b: &[f32]) -> Option<f64> {
        match self {
            Self::Dot => Some(sum(a, b, |x, y| x * y)),
            Self::Norm => Some(sum(a, a, |x, y| x * y).sqrt()),
            Self::Distance => Some(sum(a, b, |x, y| (x - y) * (x - y)).sqrt()),
            Self::Cosine => cosine(a, b),
        }
    }

    /// As [`Kind::value`], of many rows and one other vector, whose direction is known; a function of one vector ignores it.
    pub(super) fn of_row(self, row: &[f32], other: &[f32], direction: Option<&Direction<'_>>) -> Option<f64> {
        match self {
            Self::Norm => self.value(row, row),
            Self::Cosine => direction?.cosine(row),
            Self::Dot | Self::Distance => self.value(row, other),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct VectorFunction {
    kind: Kind,
    signature: Signature,
}

impl VectorFunction {
    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }
}

impl ScalarUDFImpl for VectorFunction {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    /// Moved to the scan, which answers calls on one column from what is stored.
    fn placement(&self, arguments: &[ExpressionPlacement]) -> ExpressionPlacement {
        match arguments {
            [ExpressionPlacement::Column]
            | [ExpressionPlacement::Column, ExpressionPlacement::Literal]
            | [ExpressionPlacement::Literal, ExpressionPlacement::Column] => ExpressionPlacement::MoveTowardsLeafNodes,
            _ => ExpressionPlacement::KeepInPlace,
        }
    }

    /// Columns are taken as stored, unless the scan answers the whole call.
    fn simplify(&self, arguments: Vec<Expr>, of: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let placements: Vec<ExpressionPlacement> = arguments.iter().map(Expr::placement).collect();
        match self.placement(&placements) {
            ExpressionPlacement::MoveTowardsLeafNodes => Ok(ExprSimplifyResult::Original(arguments)),
            _ => with_stored(Self { kind: self.kind, signature: self.signature.clone() }, arguments, of),
        }
    }

    fn coerce_types(&self, found: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.name();
        let expected = self.kind.arguments();
        if found.len() != expected {
            let vectors = if expected == 1 { "1 vector" } else { "2 vectors" };
            return plan_err!("{name} takes {vectors}, it is given {} arguments", found.len());
        }
        found.iter().map(|found| coerced(name, found)).collect()
    }

    /// Checks widths here, not with the types: here the arguments have names.
    fn return_field_from_args(&self, call: ReturnFieldArgs) -> Result<FieldRef> {
        let width = |field: &FieldRef| match field.data_type() {
            DataType::FixedSizeList(_, width) => usize::try_from(*width).ok(),
            _ => None,
        };
        if let [a, b] = call.arg_fields
            && let (Some(x), Some(y)) = (width(a), width(b))
            && x != y
        {
            return Err(DataFusionError::Plan(argument_widths_differ(self.name(), [x, y], call.arg_fields)));
        }
        Ok(Arc::new(Field::new(self.name(), DataType::Float64, true)))
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = call.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let vectors = call.args.iter().map(Vectors::of).collect::<Result<Vec<_>>>()?;
        let (Some(a), Some(b)) = (vectors.first(), vectors.last()) else {
            return exec_err!("{} is given no vector", self.name());
        };
        let rows = if scalar { 1 } else { call.number_rows };
        let [mut decoded_a, mut decoded_b] = [Vec::new(), Vec::new()];
        let value = |row: usize| -> Result<Option<f64>> {
            let Some(a) = a.row(row, &mut decoded_a) else { return Ok(None) };
            let Some(b) = b.row(row, &mut decoded_b) else { return Ok(None) };
            if a.len() != b.len() {
                let widths = [a.len(), b.len()];
                return Err(DataFusionError::Execution(argument_widths_differ(self.name(), widths, &call.arg_fields)));
            }
            Ok(self.kind.value(a, b))
        };
        let values = (0..rows).map(value).collect::<Result<Float64Array>>()?;
        if scalar {
            let value = ScalarValue::Float64(values.is_valid(0).then(|| values.value(0)));
            return Ok(ColumnarValue::Scalar(value));
        }
        Ok(ColumnarValue::Array(Arc::new(values)))
    }
}

/// A call of this function with its columns as stored, if it has any that are not.
fn with_stored(
    function: impl ScalarUDFImpl + 'static,
    arguments: Vec<Expr>,
    of: &SimplifyContext,
) -> Result<ExprSimplifyResult> {
    Ok(match wrapped(&arguments, of)? {
        Some(stored) => {
            let call = ScalarFunction::new_udf(Arc::new(ScalarUDF::from(function)), stored);
            ExprSimplifyResult::Simplified(Expr::ScalarFunction(call))
        }
        None => ExprSimplifyResult::Original(arguments),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Normalize {
    /// The type of what is given as stored.
    returns: Option<DataType>,
    signature: Signature,
}

impl ScalarUDFImpl for Normalize {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let returns = self.returns.as_ref().or_else(|| arguments.first()).cloned();
        returns.ok_or_else(|| exec_datafusion_err!("normalize is given no vector"))
    }

    fn simplify(&self, arguments: Vec<Expr>, of: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let returns = arguments.first().filter(|_| self.returns.is_none());
        let Some(returns) = returns else { return Ok(ExprSimplifyResult::Original(arguments)) };
        let returns = Some(of.get_data_type(returns)?);
        with_stored(Self { returns, signature: self.signature.clone() }, arguments, of)
    }

    fn coerce_types(&self, found: &[DataType]) -> Result<Vec<DataType>> {
        match found {
            [found] => Ok(vec![coerced(self.name(), found)?]),
            _ => plan_err!("normalize takes 1 vector, it is given {} arguments", found.len()),
        }
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [argument] = call.args.as_slice() else { return exec_err!("normalize takes 1 vector") };
        let vectors = Vectors::of(argument)?;
        let one = matches!(argument, ColumnarValue::Scalar(_));
        let rows = if one { 1 } else { call.number_rows };
        let normalized = normalized(&vectors, rows, call.return_field.data_type())?;
        if one {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&normalized, 0)?));
        }
        Ok(ColumnarValue::Array(normalized))
    }
}

/// Vectors of length 1, as this type of list; null where there is no direction.
fn normalized(vectors: &Vectors, rows: usize, data_type: &DataType) -> Result<ArrayRef> {
    let (mut floats, mut lengths, mut nulls) = (Vec::new(), Vec::new(), NullBufferBuilder::new(rows));
    let mut decoded = Vec::new();
    // What takes the place of a null in lists that are all of one length.
    let zeros = match data_type {
        DataType::FixedSizeList(_, width) => usize::try_from(*width).unwrap_or(0),
        _ => 0,
    };
    for row in 0..rows {
        let from = floats.len();
        let vector = vectors.row(row, &mut decoded).map(|vector| (vector, sum(vector, vector, |x, y| x * y).sqrt()));
        let direction = vector.filter(|(_, norm)| *norm > 0.0 && norm.is_finite());
        match direction {
            Some((vector, norm)) => floats.extend(vector.iter().map(|x| (f64::from(*x) / norm) as f32)),
            None => floats.resize(from + zeros, 0.0),
        }
        lengths.push(floats.len() - from);
        nulls.append(direction.is_some());
    }
    let (values, nulls) = (Arc::new(Float32Array::from(floats)), nulls.finish());
    match data_type {
        DataType::FixedSizeList(item, width) => {
            Ok(Arc::new(FixedSizeListArray::try_new(item.clone(), *width, values, nulls)?))
        }
        DataType::List(item) => {
            Ok(Arc::new(ListArray::try_new(item.clone(), OffsetBuffer::from_lengths(lengths), values, nulls)?))
        }
        other => exec_err!("{other} is not a vector"),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Hamming {
    signature: Signature,
}

impl ScalarUDFImpl for Hamming {
    fn name(&self) -> &'static str {
        "hamming"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::UInt32)
    }

    fn coerce_types(&self, found: &[DataType]) -> Result<Vec<DataType>> {
        if found.len() != 2 {
            return plan_err!("hamming takes 2 hashes, it is given {} arguments", found.len());
        }
        match found.iter().find(|found| !found.is_integer() && !found.is_null()) {
            Some(other) => plan_err!("hamming takes hashes, which are whole numbers as phash, it is given {other}"),
            None => Ok(vec![DataType::UInt64; 2]),
        }
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let one = call.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let hashes = ColumnarValue::values_to_arrays(&call.args)?;
        let [a, b] = hashes.as_slice() else { return exec_err!("hamming takes 2 hashes") };
        let (Some(a), Some(b)) = (a.as_primitive_opt::<UInt64Type>(), b.as_primitive_opt::<UInt64Type>()) else {
            return exec_err!("hamming takes hashes of 64 bits");
        };
        let bits: UInt32Array = a.iter().zip(b.iter()).map(|(a, b)| Some((a? ^ b?).count_ones())).collect();
        if one {
            return Ok(ColumnarValue::Scalar(ScalarValue::UInt32(bits.iter().next().flatten())));
        }
        Ok(ColumnarValue::Array(Arc::new(bits)))
    }
}
