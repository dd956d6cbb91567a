//! Vector columns as floats, and floats as vector columns.
//!
//! [`store`] turns floats into the columns that a [`Store`] makes of them, [`Rows`] turns the columns of a batch into
//! floats again, whatever the store. [`encode`] and [`decode`] are their parts for columns that hold floats for sure.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, Float32Array, ListArray, RecordBatch};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Float32Type};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use retort_schemas::{Dtype, Layout, SCALE_KEY, Store, VectorType, WORST_COSINE_KEY};

use crate::write::ROW_GROUP_ROWS;
use crate::{Error, Result, StoredVector, codes, halves};

/// A vector, or a list of vectors, a row: the vectors, and with codes their scales.
#[derive(Debug, Clone)]
pub struct Stored {
    /// What the columns say of themselves; the schema is made of it.
    pub fields: Vec<Field>,
    /// The columns, one a field.
    pub columns: Vec<ArrayRef>,
}

/// Stores rows of `width` floats, laid end to end, as columns of this name.
///
/// # Errors
/// [`Error::Column`] if the floats are no whole number of rows; [`Error::Inexpressible`] naming the first row that
/// `cos` cannot store, as one with a NaN.
pub fn store(store: Store, name: &str, width: usize, floats: &[f32]) -> Result<Stored> {
    let (layout, values, coded) = encode_as(store, width, floats)?;
    let mut fields = layout.fields(name);
    let mut columns: Vec<ArrayRef> = vec![Arc::new(values)];
    if let Some(coded) = coded {
        fields[0] = noted(&fields[0], worst_cosines(&coded.cosines, &(0..=coded.cosines.len()).collect::<Vec<_>>()));
        columns.push(Arc::new(Float32Array::from(coded.scales)));
    }
    Ok(Stored { fields, columns })
}

/// As [`store`], as lists: row i has the vectors from `offsets[i]` to `offsets[i + 1]`.
///
/// # Errors
/// As [`store`]; [`Error::Column`] if there are fewer vectors than the lists want.
pub fn store_lists(
    store: Store,
    name: &str,
    width: usize,
    floats: &[f32],
    offsets: &OffsetBuffer<i32>,
) -> Result<Stored> {
    let (layout, values, coded) = encode_as(store, width, floats)?;
    let starts: Vec<usize> = offsets.iter().map(|offset| usize::try_from(*offset).unwrap_or(0)).collect();
    let worst = coded.as_ref().map(|coded| worst_cosines(&coded.cosines, &starts));
    let mut all: Vec<ArrayRef> = vec![Arc::new(values)];
    all.extend(coded.map(|coded| Arc::new(Float32Array::from(coded.scales)) as ArrayRef));
    let (mut fields, mut columns) = (Vec::new(), Vec::<ArrayRef>::new());
    for (field, values) in layout.list_fields(name).into_iter().zip(all) {
        let DataType::List(item) = field.data_type() else { return Err(problem(name, "is no list")) };
        let item = match &worst {
            Some(worst) if fields.is_empty() => Arc::new(noted(item, worst.clone())),
            _ => item.clone(),
        };
        let lists = ListArray::try_new(item.clone(), offsets.clone(), values, None);
        columns.push(Arc::new(lists.map_err(|error| problem(name, &error.to_string()))?));
        fields.push(field.with_data_type(DataType::List(item)));
    }
    Ok(Stored { fields, columns })
}

/// A field that tells the worst cosine of each row group, and so the footer tells it.
fn noted(field: &Field, worst: String) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.insert(WORST_COSINE_KEY.to_owned(), worst);
    field.clone().with_metadata(metadata)
}

/// The least cosine of each row group, as [`WORST_COSINE_KEY`] wants it; row i has the cosines from `starts[i]`.
fn worst_cosines(cosines: &[f64], starts: &[usize]) -> String {
    let rows = starts.len().saturating_sub(1);
    let groups = (0..rows).step_by(ROW_GROUP_ROWS).map(|row| {
        let end = starts[(row + ROW_GROUP_ROWS).min(rows)];
        let group = cosines.get(starts[row]..end).unwrap_or_default();
        let worst = group.iter().copied().fold(f64::NAN, f64::min);
        if worst.is_nan() { String::new() } else { worst.to_string() }
    });
    groups.collect::<Vec<_>>().join(",")
}

/// The least of the cosines that a field's metadata tells.
pub(crate) fn worst_cosine(field: &Field) -> Option<f64> {
    let groups = field.metadata().get(WORST_COSINE_KEY)?.split(',');
    groups.filter_map(|worst| worst.parse().ok()).reduce(f64::min)
}

fn encode_as(
    store: Store,
    width: usize,
    floats: &[f32],
) -> Result<(Layout, FixedSizeBinaryArray, Option<codes::Codes>)> {
    let bound = match store {
        Store::Floats(dtype) => {
            let vector = VectorType { dtype, width };
            return Ok((vector.into(), encode(vector, floats)?, None));
        }
        Store::Cos(bound) => bound,
    };
    whole(width, floats)?;
    let mut coded = codes::encode(bound, width, floats)?;
    let layout = Layout::Codes { code: coded.code, width };
    let size = i32::try_from(layout.bytes()).unwrap_or(i32::MAX);
    let values = FixedSizeBinaryArray::try_new(size, Buffer::from_vec(std::mem::take(&mut coded.bytes)), None)
        .map_err(|error| problem("vector", &error.to_string()))?;
    Ok((layout, values, Some(coded)))
}

fn problem(column: &str, problem: &str) -> Error {
    Error::Column { column: column.to_owned(), problem: problem.to_owned() }
}

/// Whether floats are a whole number of vectors.
fn whole(width: usize, floats: &[f32]) -> Result<()> {
    if width == 0 || !floats.len().is_multiple_of(width) {
        let found = format!("is given {} floats, no whole number of vectors of {width}", floats.len());
        return Err(problem("vector", &found));
    }
    Ok(())
}

/// The vectors of a column of a batch, as stored: one a row, or a list of them a row.
#[derive(Debug, Clone)]
pub struct Rows {
    layout: Layout,
    values: FixedSizeBinaryArray,
    scales: Option<Float32Array>,
    /// Of lists: row i has the vectors from `offsets[i]` to `offsets[i + 1]`.
    offsets: Option<OffsetBuffer<i32>>,
}

impl Rows {
    /// Finds the vectors of a column, and with codes their scales.
    ///
    /// # Errors
    /// [`Error::Column`] if the column is missing, holds no vectors, or its scales are missing or do not fit.
    pub fn of(batch: &RecordBatch, name: &str) -> Result<Self> {
        let schema = batch.schema_ref();
        let (at, field) = schema.column_with_name(name).ok_or_else(|| problem(name, "is missing"))?;
        let described = match field.data_type() {
            DataType::List(item) => item.as_ref(),
            _ => field,
        };
        let layout = Layout::of(described).map_err(|error| problem(name, &error.to_string()))?;
        let (values, offsets) = parts(batch.column(at));
        let values = values.as_fixed_size_binary_opt().ok_or_else(|| problem(name, "holds no vectors"))?.clone();
        let mut rows = Self { layout, values, scales: None, offsets };
        if let Layout::Codes { .. } = layout {
            let scale = described.metadata().get(SCALE_KEY).map_or("", String::as_str);
            let column = batch.column_by_name(scale);
            let column =
                column.ok_or_else(|| problem(scale, &format!("is missing, without which {name} is no floats")))?;
            let (scales, offsets) = parts(column);
            let scales = scales.as_primitive_opt::<Float32Type>().ok_or_else(|| problem(scale, "holds no scales"))?;
            if scales.len() != rows.values.len() || offsets != rows.offsets {
                return Err(problem(scale, &format!("does not have one scale for each vector of {name}")));
            }
            rows.scales = Some(scales.clone());
        }
        Ok(rows)
    }

    /// How the vectors lie.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Elements of a vector.
    pub fn width(&self) -> usize {
        self.layout.width()
    }

    /// Vectors, of all rows together.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no vector.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which vectors belong to a row.
    pub fn of_row(&self, row: usize) -> Range<usize> {
        let offset = |at: usize| self.offsets.as_ref().and_then(|all| all.get(at)).map_or(0, |offset| *offset as usize);
        if self.offsets.is_some() { offset(row)..offset(row + 1) } else { row..row + 1 }
    }

    /// One of the vectors, as stored.
    pub fn vector(&self, vector: usize) -> StoredVector<'_> {
        // Floats have none.
        let scale = self.scales.as_ref().map_or(1.0, |scales| scales.value(vector));
        StoredVector::new(self.layout, self.bytes(&(vector..vector + 1)), scale)
    }

    /// Decodes vectors into `out`, which has room for `[vectors, width]`.
    pub fn decode(&self, vectors: Range<usize>, out: &mut [f32]) {
        let bytes = self.bytes(&vectors);
        match (self.layout, &self.scales) {
            (Layout::Floats(vector), _) => decode_into(vector.dtype, bytes, out),
            (Layout::Codes { code, width }, Some(scales)) => {
                codes::decode_into(code, bytes, &scales.values()[vectors], width, out);
            }
            (Layout::Codes { .. }, None) => {} // `of` does not make such
        }
    }

    /// As [`Rows::decode`], to half precision.
    pub fn decode_f16(&self, vectors: Range<usize>, out: &mut [f16]) {
        let bytes = self.bytes(&vectors);
        match (self.layout, &self.scales) {
            (Layout::Codes { code, width }, Some(scales)) => {
                codes::decode_into_f16(code, bytes, &scales.values()[vectors], width, out);
            }
            (Layout::Floats(VectorType { dtype: Dtype::F16, .. }), _) => {
                for (x, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *x = f16::from_le_bytes([pair[0], pair[1]]);
                }
            }
            _ => {
                let width = self.width().max(1);
                let mut floats = vec![0.0; width];
                for (vector, out) in vectors.zip(out.chunks_exact_mut(width)) {
                    self.decode(vector..vector + 1, &mut floats);
                    out.convert_from_f32_slice(&floats);
                }
            }
        }
    }

    /// All vectors as floats, `[vectors, width]`.
    pub fn floats(&self) -> Vec<f32> {
        let mut floats = vec![0.0; self.len() * self.width()];
        self.decode(0..self.len(), &mut floats);
        floats
    }

    /// Each vector as floats, `[width]`.
    pub fn each(&self) -> impl Iterator<Item = Vec<f32>> + '_ {
        (0..self.len()).map(|vector| {
            let mut floats = vec![0.0; self.width()];
            self.decode(vector..vector + 1, &mut floats);
            floats
        })
    }

    fn bytes(&self, vectors: &Range<usize>) -> &[u8] {
        let size = self.layout.bytes();
        &self.values.value_data()[vectors.start * size..vectors.end * size]
    }
}

/// The values of a column; those of a list column, with offsets that start at 0.
fn parts(column: &ArrayRef) -> (ArrayRef, Option<OffsetBuffer<i32>>) {
    let Some(lists) = column.as_list_opt::<i32>() else { return (column.clone(), None) };
    let offsets = lists.value_offsets();
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    let values = lists.values().slice(first as usize, (last - first) as usize);
    let lengths = offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize);
    (values, Some(OffsetBuffer::from_lengths(lengths)))
}

/// Encodes rows of `vector.width` floats, laid end to end, into a column.
///
/// # Errors
/// [`Error::Column`] if the floats are no whole number of rows.
pub fn encode(vector: VectorType, floats: &[f32]) -> Result<FixedSizeBinaryArray> {
    whole(vector.width, floats)?;
    let bytes: Vec<u8> = match vector.dtype {
        Dtype::F32 => floats.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Dtype::F16 => floats.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
        Dtype::Bf16 => floats.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
    };
    let size = i32::try_from(vector.bytes()).unwrap_or(i32::MAX);
    FixedSizeBinaryArray::try_new(size, Buffer::from_vec(bytes), None)
        .map_err(|error| problem("vector", &error.to_string()))
}

/// Decodes stored bytes into floats; `out` holds as many as `bytes` has elements.
pub fn decode_into(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    // Stored bytes are little-endian and of any alignment.
    match dtype {
        Dtype::F32 => {
            for (x, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *x = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
        Dtype::F16 => halves::widen(bytes, out),
        Dtype::Bf16 => {
            for (x, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *x = bf16::from_le_bytes([b[0], b[1]]).to_f32();
            }
        }
    }
}

/// All vectors of a column as floats, `[rows, width]` end to end.
pub fn decode(vector: VectorType, column: &FixedSizeBinaryArray) -> Vec<f32> {
    let mut floats = vec![0.0; column.len() * vector.width];
    decode_into(vector.dtype, column.value_data(), &mut floats);
    floats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_survive_within_their_type() -> Result<()> {
        let floats = [0.0, 1.0, -0.333_333_34, 65504.0, 1e-3, -2.5];
        for (dtype, tolerance) in [(Dtype::F32, 0.0), (Dtype::F16, 1.0 / 2048.0), (Dtype::Bf16, 1.0 / 256.0)] {
            let vector = VectorType { dtype, width: 3 };
            let column = encode(vector, &floats)?;
            for (back, x) in decode(vector, &column).iter().zip(floats) {
                assert!((back - x).abs() <= tolerance * x.abs(), "{dtype}: {x} came back as {back}");
            }
            assert_eq!(decode(vector, &column.slice(1, 1)), decode(vector, &column)[3..]);
        }
        Ok(())
    }

    #[test]
    fn a_part_of_a_vector_is_refused() {
        let refusal = encode(VectorType { dtype: Dtype::F16, width: 4 }, &[0.0; 6]).unwrap_err().to_string();
        assert!(refusal.contains("6 floats"), "{refusal}");
    }
}
