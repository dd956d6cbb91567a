//! How a vector lies in a Parquet column: `FixedSizeBinary(width x element bytes)`, little-endian, described by the
//! field's metadata so that any tool can view the bytes (`numpy.frombuffer`).

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use arrow::datatypes::{DataType, Field};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Field metadata key of the element type: `f32`, `f16` or `bf16`.
pub const DTYPE_KEY: &str = "retort:dtype";
/// Field metadata key of the number of elements of a vector.
pub const WIDTH_KEY: &str = "retort:width";

/// Element type of a stored vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision; what `teach` stores unless told otherwise.
    F16,
    /// The upper half of a single: eight bits of exponent, seven of fraction.
    Bf16,
}

impl Dtype {
    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// The name used in metadata and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dtype {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        match word {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "bf16" => Ok(Self::Bf16),
            _ => Err(Error::UnknownDtype { found: word.to_owned() }),
        }
    }
}

/// Element type and width of a vector column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VectorType {
    /// Type of one element.
    pub dtype: Dtype,
    /// Elements of a vector.
    pub width: usize,
}

impl VectorType {
    /// Bytes of one vector.
    pub const fn bytes(&self) -> usize {
        self.width * self.dtype.bytes()
    }

    /// The Arrow type that holds one vector.
    pub fn data_type(&self) -> DataType {
        DataType::FixedSizeBinary(i32::try_from(self.bytes()).unwrap_or(i32::MAX))
    }

    /// A column of one vector a row.
    pub fn field(&self, name: &str) -> Field {
        Field::new(name, self.data_type(), false).with_metadata(HashMap::from([
            (DTYPE_KEY.to_owned(), self.dtype.name().to_owned()),
            (WIDTH_KEY.to_owned(), self.width.to_string()),
        ]))
    }

    /// Reads the description of a vector column, or of the items of a list of vectors.
    ///
    /// # Errors
    /// [`Error::NotAVector`] if the metadata is absent or does not fit the bytes.
    pub fn of(field: &Field) -> Result<Self, Error> {
        let problem = |problem: String| Error::NotAVector { column: field.name().clone(), problem };
        let DataType::FixedSizeBinary(bytes) = field.data_type() else {
            return Err(problem(format!("its type is {}, expected FixedSizeBinary", field.data_type())));
        };
        let value = |key: &str| field.metadata().get(key).ok_or_else(|| problem(format!("its metadata has no {key}")));
        let dtype: Dtype = value(DTYPE_KEY)?.parse()?;
        let width = value(WIDTH_KEY)?;
        let width: usize =
            width.parse().map_err(|_| problem(format!("{WIDTH_KEY} is {width:?}, expected a number")))?;
        let vector = Self { dtype, width };
        if usize::try_from(*bytes) == Ok(vector.bytes()) {
            Ok(vector)
        } else {
            Err(problem(format!("{bytes} bytes do not hold {width} elements of {dtype}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_tells_its_vector_type() -> Result<(), Error> {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            let vector = VectorType { dtype, width: 384 };
            assert_eq!(VectorType::of(&vector.field("embedding"))?, vector);
        }
        Ok(())
    }

    #[test]
    fn metadata_that_does_not_fit_the_bytes_is_refused() {
        let mut field = VectorType { dtype: Dtype::F16, width: 8 }.field("embedding");
        let metadata =
            HashMap::from([(DTYPE_KEY.to_owned(), "f32".to_owned()), (WIDTH_KEY.to_owned(), "8".to_owned())]);
        field.set_metadata(metadata);
        let refusal = VectorType::of(&field).unwrap_err().to_string();
        assert!(refusal.contains("16 bytes do not hold 8 elements of f32"), "{refusal}");
    }
}
