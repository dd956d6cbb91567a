//! What was prepared before, kept for the next sample or epoch that asks for it: fitted images, encoded texts.
//!
//! Several questions ask about one image, many images are asked the same question, and few shots are seen many times: what
//! does not have to be made again leaves the processor to the step. First come, first kept, up to a bound; what a batch
//! holds does not depend on it.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::Result;

/// Things by key, up to a number of bytes.
#[derive(Debug)]
pub(super) struct Kept<K, V> {
    things: RwLock<HashMap<K, Arc<V>>>,
    left_bytes: AtomicUsize,
    bytes_of: fn(&V) -> usize,
}

impl<K: Hash + Eq, V> Kept<K, V> {
    /// `bytes_of` says what a thing and its key take.
    pub(super) fn new(most_bytes: usize, bytes_of: fn(&V) -> usize) -> Self {
        Self { things: RwLock::default(), left_bytes: AtomicUsize::new(most_bytes), bytes_of }
    }

    /// The thing of this key, made where it is not kept.
    pub(super) fn get<Q>(&self, key: &Q, make: impl FnOnce() -> Result<V>) -> Result<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        // A thread that panicked while it held the lock has left a map that is whole.
        let known = self.things.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let thing = Arc::new(make()?);
        let bytes = (self.bytes_of)(&thing);
        let take = |left: usize| left.checked_sub(bytes);
        if self.left_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            let mut things = self.things.write().unwrap_or_else(PoisonError::into_inner);
            if things.insert(key.to_owned(), thing.clone()).is_some() {
                // Another thread was faster: its room is free again.
                self.left_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
        }
        Ok(thing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeping(most_bytes: usize) -> Kept<String, Vec<u8>> {
        Kept::new(most_bytes, Vec::len)
    }

    #[test]
    fn what_fits_is_made_once_and_what_does_not_each_time() -> Result<()> {
        let kept = keeping(30);
        let mut made = Vec::new();
        for key in ["a", "b", "a", "c", "b", "c", "a"] {
            let thing = kept.get(key, || {
                made.push(key);
                Ok(key.repeat(12).into_bytes())
            })?;
            assert_eq!(*thing, key.repeat(12).into_bytes());
        }
        assert_eq!(made, ["a", "b", "c", "c"]);
        Ok(())
    }

    #[test]
    fn threads_that_ask_for_the_same_leave_room_for_others() -> Result<()> {
        let kept = keeping(24);
        let thing = |byte: u8| vec![byte; 12];
        // The inner call comes first, as another thread's might.
        kept.get("a", || {
            kept.get("a", || Ok(thing(1)))?;
            Ok(thing(1))
        })?;
        kept.get("b", || Ok(thing(2)))?;
        let never = || -> Result<Vec<u8>> { unreachable!("both are kept") };
        assert_eq!(kept.get("a", never)?[0] + kept.get("b", never)?[0], 3);
        Ok(())
    }
}
