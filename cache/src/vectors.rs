//! Vector columns as floats, and floats as vector columns.

use arrow::array::{Array, FixedSizeBinaryArray};
use arrow::buffer::Buffer;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use retort_schemas::{Dtype, VectorType};

use crate::{Error, Result};

/// Encodes rows of `vector.width` floats, laid end to end, into a column.
///
/// # Errors
/// [`Error::Column`] if the floats are no whole number of rows.
pub fn encode(vector: VectorType, floats: &[f32]) -> Result<FixedSizeBinaryArray> {
    if vector.width == 0 || !floats.len().is_multiple_of(vector.width) {
        let problem = format!("is given {} floats, no whole number of vectors of {}", floats.len(), vector.width);
        return Err(Error::Column { column: "vector".to_owned(), problem });
    }
    let bytes: Vec<u8> = match vector.dtype {
        Dtype::F32 => floats.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Dtype::F16 => floats.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
        Dtype::Bf16 => floats.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
    };
    let size = i32::try_from(vector.bytes()).unwrap_or(i32::MAX);
    FixedSizeBinaryArray::try_new(size, Buffer::from_vec(bytes), None)
        .map_err(|error| Error::Column { column: "vector".to_owned(), problem: error.to_string() })
}

/// Decodes stored bytes into floats; `out` holds as many as `bytes` has elements.
pub fn decode_into(dtype: Dtype, bytes: &[u8], out: &mut [f32]) {
    // Stored bytes are little-endian and of any alignment; aligned ones, the usual case, convert in bulk.
    match dtype {
        Dtype::F32 => {
            for (x, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *x = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
        Dtype::F16 => match bytemuck::try_cast_slice::<u8, f16>(bytes) {
            Ok(halves) if halves.len() == out.len() && cfg!(target_endian = "little") => {
                halves.convert_to_f32_slice(out)
            }
            _ => {
                for (x, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *x = f16::from_le_bytes([b[0], b[1]]).to_f32();
                }
            }
        },
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
