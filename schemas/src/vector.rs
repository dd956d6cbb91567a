//! How a vector lies in a Parquet column: `FixedSizeBinary(width x element bytes)`, little-endian, described by the
//! field's metadata so that any tool can view the bytes (`numpy.frombuffer`).
//!
//! The elements are floats, or integer codes with one scale a vector in a column of its own:
//!
//! ```text
//! embedding        FixedSizeBinary(width)   retort:dtype = i8, retort:width = width, retort:scale = embedding_scale
//! embedding_scale  Float32                  element j of row i = embedding[i][j] * embedding_scale[i]
//! tokens           List<FixedSizeBinary>    the same on the item: retort:scale = token_scales
//! token_scales     List<Float32>
//! ```

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Field metadata key of the element type: `f32`, `f16` or `bf16`.
pub const DTYPE_KEY: &str = "retort:dtype";
/// Field metadata key of the number of elements of a vector.
pub const WIDTH_KEY: &str = "retort:width";

/// Field metadata key, of codes alone, of the name of the column of their scales.
pub const SCALE_KEY: &str = "retort:scale";
/// Field metadata key, of codes alone, of the least cosine of a vector read back to the one written: one number a row
/// group, separated by commas, empty where a row group has no vector but zeros.
pub const WORST_COSINE_KEY: &str = "retort:worst_cosine";

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

/// Integer type of codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// One byte, -127 to 127; what nearly all features need.
    I8,
    /// Two bytes, -32767 to 32767: where a few elements of a vector are so large that the rest would drown in a byte.
    I16,
}

impl Code {
    /// Bytes of one code.
    pub const fn bytes(self) -> usize {
        match self {
            Self::I8 => 1,
            Self::I16 => 2,
        }
    }

    /// The greatest magnitude.
    pub const fn limit(self) -> i16 {
        match self {
            Self::I8 => i8::MAX as i16,
            Self::I16 => i16::MAX,
        }
    }

    /// The name used in metadata.
    pub const fn name(self) -> &'static str {
        match self {
            Self::I8 => "i8",
            Self::I16 => "i16",
        }
    }
}

/// What a vector column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Floats.
    Floats(VectorType),
    /// Codes, which a scale a vector turns into floats.
    Codes {
        /// Type of one code.
        code: Code,
        /// Codes of a vector.
        width: usize,
    },
}

impl From<VectorType> for Layout {
    fn from(vector: VectorType) -> Self {
        Self::Floats(vector)
    }
}

impl Layout {
    /// Elements of a vector.
    pub const fn width(&self) -> usize {
        match self {
            Self::Floats(vector) => vector.width,
            Self::Codes { width, .. } => *width,
        }
    }

    /// Bytes of one vector, without its scale.
    pub const fn bytes(&self) -> usize {
        match self {
            Self::Floats(vector) => vector.bytes(),
            Self::Codes { code, width } => code.bytes() * *width,
        }
    }

    /// The columns of one vector a row: the vectors, and with codes their scales.
    pub fn fields(&self, name: &str) -> Vec<Field> {
        match self {
            Self::Floats(vector) => vec![vector.field(name)],
            Self::Codes { .. } => {
                let scale = scale_column(name);
                vec![self.codes(name, &scale), Field::new(scale, DataType::Float32, false)]
            }
        }
    }

    /// The columns of a list of vectors a row: the vectors, and with codes a list of their scales.
    pub fn list_fields(&self, name: &str) -> Vec<Field> {
        let list = |name: &str, item: Field| Field::new(name, DataType::List(Arc::new(item)), false);
        match self {
            Self::Floats(vector) => vec![list(name, vector.field("item"))],
            Self::Codes { .. } => {
                let scale = scale_column(name);
                let scales = Field::new("item", DataType::Float32, false);
                vec![list(name, self.codes("item", &scale)), list(&scale, scales)]
            }
        }
    }

    fn codes(&self, name: &str, scale: &str) -> Field {
        let Self::Codes { code, width } = self else { return Field::new(name, DataType::Null, false) };
        let bytes = DataType::FixedSizeBinary(i32::try_from(self.bytes()).unwrap_or(i32::MAX));
        Field::new(name, bytes, false).with_metadata(HashMap::from([
            (DTYPE_KEY.to_owned(), code.name().to_owned()),
            (WIDTH_KEY.to_owned(), width.to_string()),
            (SCALE_KEY.to_owned(), scale.to_owned()),
        ]))
    }

    /// Reads the description of a vector column, or of the items of a list of vectors.
    ///
    /// # Errors
    /// [`Error::NotAVector`] if the metadata is absent or does not fit the bytes; [`Error::UnknownDtype`].
    pub fn of(field: &Field) -> Result<Self, Error> {
        let code = match field.metadata().get(DTYPE_KEY).map(String::as_str) {
            Some("i8") => Code::I8,
            Some("i16") => Code::I16,
            _ => return VectorType::of(field).map(Self::Floats),
        };
        let problem = |problem: String| Error::NotAVector { column: field.name().clone(), problem };
        let value = |key: &str| field.metadata().get(key).ok_or_else(|| problem(format!("its metadata has no {key}")));
        value(SCALE_KEY)?;
        let width = value(WIDTH_KEY)?;
        let width: usize =
            width.parse().map_err(|_| problem(format!("{WIDTH_KEY} is {width:?}, expected a number")))?;
        let layout = Self::Codes { code, width };
        match field.data_type() {
            DataType::FixedSizeBinary(bytes) if usize::try_from(*bytes) == Ok(layout.bytes()) => Ok(layout),
            other => Err(problem(format!("its type is {other}, which does not hold {width} codes of {}", code.name()))),
        }
    }

    /// The description of a vector column or of a list of vectors, and the field that carries it; `None` for any other
    /// column.
    pub fn of_column(field: &Field) -> Option<(Self, &Field)> {
        let described = match field.data_type() {
            DataType::List(item) => item.as_ref(),
            _ => field,
        };
        Self::of(described).ok().map(|layout| (layout, described))
    }
}

/// The name of the column of scales beside a column of codes: `embedding_scale`; of `tokens`, `token_scales`.
pub fn scale_column(name: &str) -> String {
    match name.strip_suffix('s') {
        Some(one) => format!("{one}_scales"),
        None => format!("{name}_scale"),
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

    #[test]
    fn a_field_tells_its_codes_and_their_scales() -> Result<(), Error> {
        for code in [Code::I8, Code::I16] {
            let layout = Layout::Codes { code, width: 384 };
            let fields = layout.fields("embedding");
            assert_eq!(Layout::of(&fields[0])?, layout);
            assert_eq!(fields[0].metadata()[SCALE_KEY], "embedding_scale");
            assert_eq!(fields[1].name(), "embedding_scale");
            let lists = layout.list_fields("tokens");
            let (found, item) = Layout::of_column(&lists[0]).unwrap();
            assert_eq!((found, item.metadata()[SCALE_KEY].as_str()), (layout, "token_scales"));
            assert_eq!(lists[1].name(), "token_scales");
            assert_eq!(Layout::of_column(&lists[1]), None);
        }
        Ok(())
    }

    /// A reader that knows floats alone must not take codes for them.
    #[test]
    fn codes_are_no_floats() {
        let field = &Layout::Codes { code: Code::I8, width: 8 }.fields("embedding")[0];
        assert!(matches!(VectorType::of(field), Err(Error::UnknownDtype { .. })));
        let mut scaleless = field.clone();
        scaleless.set_metadata(
            field.metadata().iter().filter(|(key, _)| *key != SCALE_KEY).map(|(k, v)| (k.clone(), v.clone())).collect(),
        );
        let refusal = Layout::of(&scaleless).unwrap_err().to_string();
        assert!(refusal.contains("retort:scale"), "{refusal}");
    }

    /// Written files hold these words for ever. A change here is a new major version, not an edit of this test.
    #[test]
    fn never_change_these_constants() {
        assert_eq!(
            [DTYPE_KEY, WIDTH_KEY, SCALE_KEY, WORST_COSINE_KEY],
            ["retort:dtype", "retort:width", "retort:scale", "retort:worst_cosine"]
        );
        assert_eq!([Code::I8, Code::I16].map(|code| (code.name(), code.limit())), [("i8", 127), ("i16", 32767)]);
    }
}
