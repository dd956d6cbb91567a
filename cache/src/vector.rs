//! One stored vector, not decoded yet.

use retort_schemas::Layout;

use crate::{codes, vectors};

/// A vector as it is stored: its bytes, and with codes its scale.
#[derive(Debug, Clone, Copy)]
pub struct StoredVector<'a> {
    layout: Layout,
    bytes: &'a [u8],
    scale: f32,
}

impl<'a> StoredVector<'a> {
    /// `bytes` holds [`Layout::bytes`] of them; floats have no scale, and ignore it.
    pub(crate) fn new(layout: Layout, bytes: &'a [u8], scale: f32) -> Self {
        Self { layout, bytes, scale }
    }

    /// A vector of these bytes; none if they are more or fewer than [`Layout::bytes`]. Floats have no scale, and ignore it.
    pub fn of(layout: Layout, bytes: &'a [u8], scale: f32) -> Option<Self> {
        (bytes.len() == layout.bytes()).then_some(Self { layout, bytes, scale })
    }

    /// How it lies.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Its elements or codes, little-endian and of any alignment.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// With codes: an element is a code times this.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// Decodes it into memory that is used again, `[width]`.
    pub fn decode<'o>(&self, out: &'o mut Vec<f32>) -> &'o [f32] {
        out.resize(self.layout.width(), 0.0);
        match self.layout {
            Layout::Floats(vector) => vectors::decode_into(vector.dtype, self.bytes, out),
            Layout::Codes { code, width } => codes::decode_into(code, self.bytes, &[self.scale], width, out),
        }
        out
    }
}
