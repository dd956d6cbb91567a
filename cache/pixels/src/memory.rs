//! The memory of decoded images, used again: tens of megabytes that the system would have to clear page by page for
//! every photo.

use std::cell::RefCell;

/// What a thread keeps at most: the pixels of a photo of 22 megapixels.
const KEPT_BYTES: usize = 64 << 20;

thread_local! {
    static KEPT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// That many bytes, whatever is in them.
pub(crate) fn take(bytes: usize) -> Vec<u8> {
    let mut kept = KEPT.take();
    kept.resize(bytes, 0);
    kept
}

/// Keeps the bytes for the next image of this thread.
pub(crate) fn give(bytes: Vec<u8>) {
    if bytes.capacity() <= KEPT_BYTES {
        KEPT.set(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_unless_it_is_large() {
        give(vec![7; 1000]);
        assert_eq!(take(3), [7; 3]);
        assert_eq!(take(2), [0; 2], "it was taken");
        give(vec![7; KEPT_BYTES + 1]);
        assert_eq!(take(1), [0]);
    }
}
