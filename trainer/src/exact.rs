//! Floats in the text of a checkpoint, to the last bit: JSON's decimal numbers may come back as their neighbours.

use serde::{Deserialize, Deserializer, Serializer};

/// Writes the bits of a float as a whole number.
pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(value.to_bits())
}

/// Reads what [`serialize`] wrote.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(f64::from_bits(u64::deserialize(deserializer)?))
}
