//! Randomness as a pure function of where it is used: no generator is carried from step to step.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// A generator for one purpose at one place, such as `("augment", seed, epoch, sample)`.
pub(crate) fn generator(purpose: &str, seed: u64, epoch: u64, item: &str) -> StdRng {
    let hash = blake3::hash(format!("{purpose}/{seed}/{epoch}/{item}").as_bytes());
    StdRng::from_seed(*hash.as_bytes())
}

/// A permutation of `0..count` for one purpose at one place.
pub(crate) fn permutation(purpose: &str, seed: u64, epoch: u64, item: &str, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut generator(purpose, seed, epoch, item));
    order
}
