//! Images that were decoded and fitted before, kept for the next sample or epoch that asks for them.
//!
//! Several questions ask about one image, and few shots are seen many times: what does not have to be decoded again leaves
//! the processor to the step. First come, first kept, up to a bound; what a batch holds does not depend on it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use retort_nn::pixels::Rgb;

use crate::Result;

/// Fitted images by id.
#[derive(Debug)]
pub(super) struct Fitted {
    images: RwLock<HashMap<[u8; 16], Arc<Rgb>>>,
    left_bytes: AtomicUsize,
}

impl Fitted {
    pub(super) fn new(most_bytes: usize) -> Self {
        Self { images: RwLock::default(), left_bytes: AtomicUsize::new(most_bytes) }
    }

    /// The image of this id, made where it is not kept.
    pub(super) fn get(&self, id: [u8; 16], make: impl FnOnce() -> Result<Rgb>) -> Result<Arc<Rgb>> {
        // A thread that panicked while it held the lock has left a map that is whole.
        let known = self.images.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(&id).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let image = Arc::new(make()?);
        let bytes = image.data.len();
        let take = |left: usize| left.checked_sub(bytes);
        if self.left_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            let mut images = self.images.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            if images.insert(id, image.clone()).is_some() {
                // Another thread was faster: its room is free again.
                self.left_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
        }
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_made_once_and_what_does_not_each_time() -> Result<()> {
        let fitted = Fitted::new(30);
        let mut made = Vec::new();
        for id in [1, 2, 1, 3, 2, 3, 1] {
            let image = fitted.get([id; 16], || {
                made.push(id);
                Ok(Rgb { width: 2, height: 2, data: vec![id; 12] })
            })?;
            assert_eq!(image.data, [id; 12]);
        }
        assert_eq!(made, [1, 2, 3, 3]);
        Ok(())
    }

    #[test]
    fn threads_that_ask_for_the_same_leave_room_for_others() -> Result<()> {
        let fitted = Fitted::new(24);
        let image = |id: u8| Rgb { width: 2, height: 2, data: vec![id; 12] };
        // The inner call comes first, as another thread's might.
        fitted.get([1; 16], || {
            fitted.get([1; 16], || Ok(image(1)))?;
            Ok(image(1))
        })?;
        fitted.get([2; 16], || Ok(image(2)))?;
        let never = || -> Result<Rgb> { unreachable!("both are kept") };
        assert_eq!(fitted.get([1; 16], never)?.data[0] + fitted.get([2; 16], never)?.data[0], 3);
        Ok(())
    }
}
