//! Vectors on their way from a scan to a function: bytes as they are stored, not lists of floats.
//!
//! ```text
//! vec_mean(embedding)  -->  vec_mean(as_stored(embedding))  -->  ShardScan: ..., as_stored(embedding)
//!              simplified: `wrapped`                moved to the scan: `placement`
//! ```
//!
//! Such a column is a struct of [`BYTES`], [`SCALE`] and [`LAYOUT`], which all may differ from row to row, as the codes of
//! `cos:` stores do from shard to shard. It passes filters, joins and exchanges like any other; the function decodes a
//! vector at a time. Where no scan is below, as behind another function, floats are put into this form as they are.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Float32Builder, LargeBinaryArray, LargeBinaryBuilder, StructArray,
    UInt8Array, UInt8Builder,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float32Type, UInt8Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExpressionPlacement, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use retort_cache::StoredVector;
use retort_schemas::{Code, Dtype, Layout, VectorType};

use super::vectors::Vectors;

/// Elements or codes, little-endian.
const BYTES: &str = "bytes";
/// With codes: an element is a code times this; 1 with floats.
const SCALE: &str = "scale";
/// What the bytes are, by [`number_of`].
const LAYOUT: &str = "layout";

static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    let fields = [(BYTES, DataType::LargeBinary), (SCALE, DataType::Float32), (LAYOUT, DataType::UInt8)];
    fields.into_iter().map(|(name, data_type)| Field::new(name, data_type, true)).collect()
});

/// The type of such a column.
pub(super) fn stored_type() -> DataType {
    DataType::Struct(FIELDS.clone())
}

/// Arguments of a function of vectors with those columns as stored that hold lists; none if there is no such.
///
/// # Errors
/// If an argument has no type.
pub(super) fn wrapped(arguments: &[Expr], of: &SimplifyContext) -> Result<Option<Vec<Expr>>> {
    let is_list = |argument: &Expr| match argument {
        Expr::Column(_) => Ok(of.get_data_type(argument)? != stored_type()),
        _ => Ok(false),
    };
    let lists = arguments.iter().map(is_list).collect::<Result<Vec<bool>>>()?;
    if !lists.contains(&true) {
        return Ok(None);
    }
    let wrap = |(argument, list): (&Expr, bool)| match list {
        true => Expr::ScalarFunction(ScalarFunction::new_udf(AS_STORED.clone(), vec![argument.clone()])),
        false => argument.clone(),
    };
    Ok(Some(arguments.iter().zip(lists).map(wrap).collect()))
}

static AS_STORED: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(AsStored { signature: Signature::any(1, Volatility::Immutable) }.into()));

/// The function `as_stored`, which no query writes: [`wrapped`] puts it around columns.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct AsStored {
    signature: Signature,
}

impl AsStored {
    pub(super) const NAME: &str = "as_stored";
}

impl ScalarUDFImpl for AsStored {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(stored_type())
    }

    /// Named by what it is of, for whoever says what is wrong with it.
    fn return_field_from_args(&self, call: ReturnFieldArgs) -> Result<FieldRef> {
        let name = call.arg_fields.first().map_or(Self::NAME, |field| field.name().as_str());
        Ok(Arc::new(Field::new(name, stored_type(), true)))
    }

    /// Moved to the scan, which has the bytes.
    fn placement(&self, arguments: &[ExpressionPlacement]) -> ExpressionPlacement {
        match arguments {
            [ExpressionPlacement::Column] => ExpressionPlacement::MoveTowardsLeafNodes,
            _ => ExpressionPlacement::KeepInPlace,
        }
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [argument] = call.args.as_slice() else { return plan_err!("{} takes 1 vector", Self::NAME) };
        let one = matches!(argument, ColumnarValue::Scalar(_));
        let (vectors, mut rows) = (Vectors::of(argument)?, StoredBuilder::default());
        let mut floats = Vec::new();
        for row in 0..if one { 1 } else { call.number_rows } {
            match vectors.row(row, &mut floats) {
                Some(vector) => rows.push_floats(vector),
                None => rows.push_null(),
            }
        }
        let stored = rows.finish()?;
        if one {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&stored, 0)?));
        }
        Ok(ColumnarValue::Array(stored))
    }
}

/// Makes such a column.
#[derive(Debug, Default)]
pub(super) struct StoredBuilder {
    bytes: LargeBinaryBuilder,
    scales: Float32Builder,
    layouts: UInt8Builder,
}

impl StoredBuilder {
    pub(super) fn push(&mut self, vector: StoredVector<'_>) {
        self.bytes.append_value(vector.bytes());
        self.scales.append_value(vector.scale());
        self.layouts.append_value(number_of(vector.layout()));
    }

    fn push_floats(&mut self, floats: &[f32]) {
        self.bytes.append_value(floats.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
        self.scales.append_value(1.0);
        self.layouts.append_value(number_of(VectorType { dtype: Dtype::F32, width: floats.len() }.into()));
    }

    fn push_null(&mut self) {
        self.bytes.append_null();
        self.scales.append_null();
        self.layouts.append_null();
    }

    pub(super) fn len(&self) -> usize {
        self.layouts.values_slice().len()
    }

    /// What was pushed since the last time.
    pub(super) fn finish(&mut self) -> Result<ArrayRef> {
        let layouts = self.layouts.finish();
        let nulls = layouts.nulls().cloned();
        let columns: Vec<ArrayRef> =
            vec![Arc::new(self.bytes.finish()), Arc::new(self.scales.finish()), Arc::new(layouts)];
        Ok(Arc::new(StructArray::try_new(FIELDS.clone(), columns, nulls)?))
    }
}

/// Such a column, to be read.
pub(super) struct StoredColumn {
    bytes: LargeBinaryArray,
    scales: Float32Array,
    layouts: UInt8Array,
    nulls: Option<NullBuffer>,
}

impl StoredColumn {
    /// # Errors
    /// If it is another column.
    pub(super) fn of(column: &ArrayRef) -> Result<Self> {
        let parts = column.as_struct_opt().filter(|column| column.fields() == &*FIELDS).map(StructArray::columns);
        let Some([bytes, scales, layouts]) = parts else { return exec_err!("{} is not a vector", column.data_type()) };
        Ok(Self {
            bytes: bytes.as_binary::<i64>().clone(),
            scales: scales.as_primitive::<Float32Type>().clone(),
            layouts: layouts.as_primitive::<UInt8Type>().clone(),
            nulls: column.nulls().cloned(),
        })
    }

    /// A row; none if it is null.
    pub(super) fn row(&self, row: usize) -> Option<StoredVector<'_>> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return None;
        }
        let bytes = self.bytes.value(row);
        StoredVector::of(layout_of(self.layouts.value(row), bytes.len())?, bytes, self.scales.value(row))
    }
}

fn number_of(layout: Layout) -> u8 {
    match layout {
        Layout::Floats(VectorType { dtype: Dtype::F32, .. }) => 0,
        Layout::Floats(VectorType { dtype: Dtype::F16, .. }) => 1,
        Layout::Floats(VectorType { dtype: Dtype::Bf16, .. }) => 2,
        Layout::Codes { code: Code::I8, .. } => 3,
        Layout::Codes { code: Code::I16, .. } => 4,
    }
}

/// The layout of this number that takes so many bytes; none if there is no such.
fn layout_of(number: u8, bytes: usize) -> Option<Layout> {
    let floats = |dtype: Dtype| VectorType { dtype, width: bytes / dtype.bytes() }.into();
    let codes = |code: Code| Layout::Codes { code, width: bytes / code.bytes() };
    match number {
        0 => Some(floats(Dtype::F32)),
        1 => Some(floats(Dtype::F16)),
        2 => Some(floats(Dtype::Bf16)),
        3 => Some(codes(Code::I8)),
        4 => Some(codes(Code::I16)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_comes_back() {
        let floats = |dtype: Dtype| VectorType { dtype, width: 3 }.into();
        let codes = |code: Code| Layout::Codes { code, width: 3 };
        let layouts = [floats(Dtype::F32), floats(Dtype::F16), floats(Dtype::Bf16), codes(Code::I8), codes(Code::I16)];
        for layout in layouts {
            assert_eq!(layout_of(number_of(layout), layout.bytes()), Some(layout));
        }
        assert_eq!(layout_of(5, 12), None);
    }

    #[test]
    fn a_column_has_rows_of_any_store_and_nulls() {
        let mut rows = StoredBuilder::default();
        let codes = |code: Code| Layout::Codes { code, width: 2 };
        rows.push_floats(&[1.0, -2.5]);
        rows.push(StoredVector::of(codes(Code::I8), &[2, 0xff], 0.5).unwrap());
        rows.push_null();
        rows.push(StoredVector::of(codes(Code::I16), &[0, 1, 0xff, 0xff], 0.25).unwrap());
        rows.push_floats(&[]);
        assert_eq!(rows.len(), 5);
        let column = StoredColumn::of(&rows.finish().unwrap()).unwrap();
        let floats = |row: usize| column.row(row).map(|vector| vector.decode(&mut Vec::new()).to_vec());
        let expected = [Some(vec![1.0, -2.5]), Some(vec![1.0, -0.5]), None, Some(vec![64.0, -0.25]), Some(vec![])];
        assert_eq!((0..5).map(floats).collect::<Vec<_>>(), expected);
        assert_eq!(rows.len(), 0);
        assert!(StoredVector::of(codes(Code::I16), &[1, 2, 3], 1.0).is_none());
    }
}
