//! One stored vector, not decoded yet.

use retort_schemas::{Dtype, Layout, VectorType};

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

    /// Its floats, `[width]`: singles as they lie, if they lie aligned, and all else decoded into memory that is used again.
    pub fn decode<'o>(&self, out: &'o mut Vec<f32>) -> &'o [f32]
    where
        'a: 'o,
    {
        if let Layout::Floats(VectorType { dtype: Dtype::F32, .. }) = self.layout
            && cfg!(target_endian = "little")
            && let Ok(floats) = bytemuck::try_cast_slice(self.bytes)
        {
            return floats;
        }
        out.resize(self.layout.width(), 0.0);
        match self.layout {
            Layout::Floats(vector) => vectors::decode_into(vector.dtype, self.bytes, out),
            Layout::Codes { code, width } => codes::decode_into(code, self.bytes, &[self.scale], width, out),
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn singles_are_the_same_wherever_they_lie() {
        let floats = [1.5_f32, -2.0, f32::MIN_POSITIVE];
        let bytes: Vec<u8> = [0].into_iter().chain(floats.iter().flat_map(|x| x.to_le_bytes())).chain([0; 4]).collect();
        let layout = VectorType { dtype: Dtype::F32, width: 3 }.into();
        for at in 0..4 {
            let mut moved = bytes.clone();
            moved.rotate_right(at);
            let vector = StoredVector::of(layout, &moved[at + 1..at + 13], 1.0).unwrap();
            assert_eq!(vector.decode(&mut Vec::new()), floats, "{at}");
        }
    }
}
