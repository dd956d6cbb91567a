//! Low-shot sampling: by group, stratified by label, nested across sizes, by seed.

use std::collections::{BTreeMap, BTreeSet};

use crate::seeds::permutation;

/// A sample as sampling sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The image that it belongs to: drawn whole or not at all.
    pub group: [u8; 16],
    /// Its label, by which the draw is stratified.
    pub label: Option<u32>,
}

/// The labels of a group: places among all labels, and how often.
type Histogram = BTreeMap<usize, f64>;

/// Which groups are drawn: `count` of them, so that labels are as frequent as in the whole, by greedy choice.
///
/// Groups are visited in an order seeded by `seed`; each step takes, of the next few in that order, the one that
/// brings the labels drawn so far nearest to their share of the whole:
///
/// ```text
/// miss = sum over labels l of ( n_l / n - s_l )^2 / s_l,  n_l of n drawn have label l, s_l its share of the whole
/// ```
/// The choice does not depend on `count`, so a smaller draw is always part of a larger one of the same seed.
pub fn draw(candidates: &[Candidate], count: usize, seed: u64) -> Vec<[u8; 16]> {
    let labels: BTreeSet<u32> = candidates.iter().filter_map(|candidate| candidate.label).collect();
    let places: BTreeMap<u32, usize> = labels.into_iter().zip(0..).collect();
    let mut histograms: BTreeMap<[u8; 16], Histogram> = BTreeMap::new();
    let mut whole = vec![0.0; places.len()];
    for candidate in candidates {
        let histogram = histograms.entry(candidate.group).or_default();
        if let Some(place) = candidate.label.and_then(|label| places.get(&label)) {
            *histogram.entry(*place).or_default() += 1.0;
            whole[*place] += 1.0;
        }
    }
    let labelled = whole.iter().sum::<f64>().max(1.0);
    let shares: Vec<f64> = whole.iter().map(|all| all / labelled).collect();
    let groups: Vec<(&[u8; 16], &Histogram)> = histograms.iter().collect();
    let mut waiting: Vec<usize> = permutation("low-shot", seed, 0, "groups", groups.len());
    waiting.reverse(); // the next in order is the last
    let mut drawn = vec![0.0; whole.len()];
    let mut chosen = Vec::new();
    while chosen.len() < count.min(groups.len()) {
        let window = waiting.len().saturating_sub(LOOK_AHEAD)..waiting.len();
        // Ties go to the next in order, so that the order alone decides among equals.
        let misses = window.rev().map(|at| (miss(&mut drawn, groups[waiting[at]].1, &shares), at));
        let Some((_, at)) = misses.reduce(|a, b| if b.0 < a.0 { b } else { a }) else { break };
        let (group, histogram) = groups[waiting.remove(at)];
        add(&mut drawn, histogram, 1.0);
        chosen.push(*group);
    }
    chosen
}

/// How far the labels would be from their shares with one group more; `drawn` is as before afterwards.
fn miss(drawn: &mut [f64], more: &Histogram, shares: &[f64]) -> f64 {
    add(drawn, more, 1.0);
    let total = drawn.iter().sum::<f64>().max(1.0);
    let miss = drawn.iter().zip(shares).map(|(have, share)| (have / total - share).powi(2) / share).sum();
    add(drawn, more, -1.0);
    miss
}

/// Counts are whole numbers, which floats add and take away exactly.
fn add(drawn: &mut [f64], more: &Histogram, times: f64) {
    more.iter().for_each(|(place, count)| drawn[*place] += times * count);
}

/// Which of the groups that [`draw`] gave are held out for validation: of the first n, in their order, always the whole
/// part of `share` n. What a smaller draw holds out, a larger one of the same seed holds out too; and as the order
/// keeps labels at their shares, so does every part of it that is taken evenly.
pub fn held_out(drawn: &[[u8; 16]], share: f64) -> BTreeSet<[u8; 16]> {
    // A share of 0.1 is a little more or less than a tenth: the tenth of ten counts.
    let whole = |count: usize| (count as f64 * share + 1e-9).floor();
    drawn.iter().enumerate().filter(|(at, _)| whole(at + 1) > whole(*at)).map(|(_, group)| *group).collect()
}

/// Groups among which the next is chosen.
const LOOK_AHEAD: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// 400 groups of 1 to 5 samples with labels of very different frequency.
    fn candidates() -> Vec<Candidate> {
        let mut all = Vec::new();
        for group in 0..400_u32 {
            for sample in 0..=(group % 5) {
                let mut id = [0; 16];
                id[..4].copy_from_slice(&group.to_le_bytes());
                let label = match (group * 7 + sample * 13) % 20 {
                    0 => 2,
                    1..=5 => 1,
                    _ => 0,
                };
                all.push(Candidate { group: id, label: Some(label) });
            }
        }
        all
    }

    #[test]
    fn a_smaller_draw_is_part_of_a_larger_one() {
        let all = candidates();
        let (small, large) = (draw(&all, 20, 3), draw(&all, 80, 3));
        assert_eq!((small.len(), large.len()), (20, 80));
        assert!(small.iter().all(|group| large.contains(group)));
        assert_ne!(draw(&all, 20, 4), small);
        assert_eq!(draw(&all, 1000, 3).len(), 400);
    }

    /// The groups as the formula says, label by label.
    fn drawn_plainly(all: &[Candidate], count: usize, seed: u64) -> Vec<[u8; 16]> {
        let groups: Vec<[u8; 16]> = all.iter().map(|c| c.group).collect::<BTreeSet<_>>().into_iter().collect();
        let labels: BTreeSet<u32> = all.iter().filter_map(|c| c.label).collect();
        let shares = |of: &BTreeSet<[u8; 16]>| -> Vec<f64> {
            let inside: Vec<u32> = all.iter().filter(|c| of.contains(&c.group)).filter_map(|c| c.label).collect();
            let count = |label: &u32| inside.iter().filter(|found| *found == label).count() as f64;
            labels.iter().map(|label| count(label) / inside.len().max(1) as f64).collect()
        };
        let whole = shares(&groups.iter().copied().collect());
        let miss = |of: &[[u8; 16]]| -> f64 {
            let of = shares(&of.iter().copied().collect());
            of.iter().zip(&whole).map(|(of, whole)| (of - whole).powi(2) / whole).sum()
        };
        let mut waiting = permutation("low-shot", seed, 0, "groups", groups.len());
        let mut chosen = Vec::new();
        while chosen.len() < count {
            let with = |at: usize| [&chosen[..], &[groups[waiting[at]]]].concat();
            let misses = (0..waiting.len().min(LOOK_AHEAD)).map(|at| (miss(&with(at)), at));
            let (_, at) = misses.reduce(|a, b| if b.0 < a.0 { b } else { a }).unwrap();
            chosen.push(groups[waiting.remove(at)]);
        }
        chosen
    }

    #[test]
    fn each_group_is_the_one_that_the_formula_takes() {
        let mut all = candidates();
        all.iter_mut().step_by(7).for_each(|candidate| candidate.label = None);
        for seed in [1, 5] {
            assert_eq!(draw(&all, 40, seed), drawn_plainly(&all, 40, seed), "{seed}");
        }
    }

    #[test]
    fn labels_keep_their_shares() {
        let all = candidates();
        let groups = draw(&all, 40, 1);
        let share = |label: u32, of: &dyn Fn(&Candidate) -> bool| {
            let chosen: Vec<&Candidate> = all.iter().filter(|c| of(c)).collect();
            chosen.iter().filter(|c| c.label == Some(label)).count() as f64 / chosen.len() as f64
        };
        for label in 0..3 {
            let (drawn, whole) = (share(label, &|c| groups.contains(&c.group)), share(label, &|_| true));
            assert!((drawn - whole).abs() < 0.02, "label {label}: {drawn} drawn, {whole} in all");
        }
    }

    #[test]
    fn what_is_held_out_of_a_smaller_draw_is_held_out_of_a_larger_one() {
        let all = candidates();
        let (small, large) = (draw(&all, 80, 3), draw(&all, 400, 3));
        for share in [0.1, 0.25, 0.29] {
            let (held_small, held_large) = (held_out(&small, share), held_out(&large, share));
            assert_eq!(held_small.len(), (80.0 * share) as usize, "{share}");
            assert!(held_small.is_subset(&held_large));
            assert!(small.iter().all(|group| held_small.contains(group) == held_large.contains(group)));
        }
        assert!(held_out(&small, 0.0).is_empty() && held_out(&small[..9], 0.1).is_empty());
        assert_eq!(held_out(&small[..10], 0.1).len(), 1);
        // Labels keep their shares there too.
        let held = held_out(&large, 0.25);
        let share = |of: &dyn Fn(&Candidate) -> bool| {
            let chosen: Vec<&Candidate> = all.iter().filter(|c| of(c)).collect();
            chosen.iter().filter(|c| c.label == Some(1)).count() as f64 / chosen.len() as f64
        };
        assert!((share(&|c| held.contains(&c.group)) - share(&|_| true)).abs() < 0.05);
    }
}
