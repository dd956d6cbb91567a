//! The best rows of a search, in one order whatever the number of partitions.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Where a row of a table lies: its part, in the order of the table, and its row there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) part: u32,
    pub(super) row: u32,
}

impl Place {
    /// Shards are numbered by `u32` on disk and so are their rows.
    pub(super) fn new(part: usize, row: usize) -> Self {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self { part: number(part), row: number(row) }
    }
}

/// A row and its score; a greater hit is a better one. Of equal scores the earlier place is better, so that no two rows
/// are equal and the best are the same however the rows were divided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit {
    pub(super) score: f64,
    pub(super) place: Place,
}

impl Ord for Hit {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| other.place.cmp(&self.place))
    }
}

impl PartialOrd for Hit {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Hit {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Hit {}

/// The best hits so far, never more than wanted.
#[derive(Debug, Clone)]
pub(super) struct Best {
    wanted: usize,
    /// The worst on top.
    hits: BinaryHeap<Reverse<Hit>>,
}

impl Best {
    pub(super) fn of(wanted: usize) -> Self {
        Self { wanted, hits: BinaryHeap::new() }
    }

    /// What it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.hits.capacity() * size_of::<Hit>()
    }

    /// The least score, if there are as many as wanted: a lower one is not among the best.
    pub(super) fn least(&self) -> Option<f64> {
        self.hits.peek().filter(|_| self.hits.len() >= self.wanted).map(|worst| worst.0.score)
    }

    /// Keeps a hit if it is among the best.
    pub(super) fn offer(&mut self, hit: Hit) {
        if self.hits.len() < self.wanted {
            self.hits.push(Reverse(hit));
        } else if let Some(mut worst) = self.hits.peek_mut()
            && worst.0 < hit
        {
            *worst = Reverse(hit);
        }
    }

    /// Keeps the best of both.
    pub(super) fn merge(mut self, other: Self) -> Self {
        other.hits.into_iter().for_each(|Reverse(hit)| self.offer(hit));
        self
    }

    /// The best first.
    pub(super) fn ordered(self) -> Vec<Hit> {
        // Reversed, the smallest is the best.
        self.hits.into_sorted_vec().into_iter().map(|Reverse(hit)| hit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores with many ties, in an order that is none.
    fn hits() -> Vec<Hit> {
        let hit = |i: usize| Hit { score: f64::from((i * 7 % 5) as u8), place: Place::new(i / 10, i % 10) };
        (0..60).map(|i| hit(i * 37 % 60)).collect()
    }

    #[test]
    fn the_best_are_the_same_however_the_rows_are_divided() {
        let mut expected = hits();
        expected.sort_by(|a, b| b.cmp(a));
        for wanted in [0, 1, 7, 59, 60, 100] {
            for partitions in [1, 2, 7, 60] {
                let partition = |hits: &[Hit]| {
                    let mut best = Best::of(wanted);
                    hits.iter().for_each(|hit| best.offer(*hit));
                    best
                };
                let hits = hits();
                let best = hits.chunks(hits.len() / partitions).map(partition).fold(Best::of(wanted), Best::merge);
                let found = best.ordered();
                assert_eq!(found, expected[..wanted.min(60)], "{wanted} of {partitions} partitions");
            }
        }
    }

    #[test]
    fn of_equal_scores_the_first_place_wins() {
        let mut best = Best::of(1);
        for (part, row) in [(1, 0), (0, 9), (0, 2), (2, 0)] {
            best.offer(Hit { score: 0.5, place: Place::new(part, row) });
        }
        assert_eq!(best.ordered().first().map(|hit| hit.place), Some(Place::new(0, 2)));
    }
}
