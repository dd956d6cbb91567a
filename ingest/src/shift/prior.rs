//! Changed priors: two new splits in which the answers to each type of question have other shares.
//!
//! The idea is that of VQA-CP (Agrawal et al., CVPR 2018): within each type of question, an answer that is common in
//! the one split is rare in the other. Here no image is in both, which theirs does not promise. Two greedy deals, both
//! decided by the seed among equals:
//!
//! 1. Every (type of question, answer) is given to train or to test, the commonest answers of a type first, each to the
//!    side that is furthest below its share of the type's questions.
//! 2. Every image goes to the side that most of its questions were given to, the most decided images first, until the
//!    test
//!    side has its share of the images.
//!
//! Questions that came with their image to the other side stay there, or with `strict` are left out: then no answer to
//! a type of question is in both splits, as in VQA-CP.

use std::collections::{BTreeMap, HashMap};

use serde_json::json;

use super::engine::{Fate, each};
use super::original::{Original, ShardRows};
use super::{Divergence, Fault, Outcome, rounded};
use crate::images::ContentId;

/// Type of question and answer.
type Pair = (String, String);

/// The side of a sample, or of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Train,
    Test,
}

/// What is asked and what is the truth; nothing where there is no truth.
fn pair(sample: &Original<'_>) -> Option<Pair> {
    let truth = sample.record.label_text.as_deref()?;
    Some((sample.record.question_type.as_deref().unwrap_or_default().to_owned(), truth.to_owned()))
}

/// Fates for the training split, then for the test split.
pub(super) fn fates(
    share: f64,
    seed: u64,
    strict: bool,
    rows: &[ShardRows],
    outcome: &mut Outcome,
) -> Result<Vec<Vec<Vec<Fate>>>, Fault> {
    if !(share > 0.0 && share < 1.0) {
        return Err(Fault::Refused(format!("expected a share of test images above 0 and below 1, found {share}")));
    }
    let mut ids = std::collections::HashSet::new();
    let twice = rows.iter().flat_map(ShardRows::samples).find(|sample| !ids.insert(sample.record.id.as_ref()));
    if let Some(sample) = twice {
        return Err(Fault::Refused(format!("sample {} is there twice, expected every id once", sample.record.id)));
    }
    outcome.options = json!({ "test_share": share, "seed": seed, "strict": strict });
    let pairs = deal_pairs(rows, share, seed);
    let images = deal_images(rows, &pairs, share, seed);
    let side = |sample: &Original<'_>| images.get(&sample.group).copied().unwrap_or(Side::Train);
    let counts = &mut outcome.counts;
    let mut all = Vec::new();
    for (wanted, name, misplaced) in [
        (Side::Train, "train samples", "dropped: an answer that belongs to test"),
        (Side::Test, "test samples", "dropped: an answer that belongs to train"),
    ] {
        all.push(each(rows, |sample| {
            if side(sample) != wanted {
                return Fate::Drop;
            }
            let belongs = pair(sample).and_then(|pair| pairs.get(&pair).copied()).unwrap_or(wanted);
            if strict && belongs != wanted {
                counts.add(misplaced, 1);
                return Fate::Drop;
            }
            counts.add(name, 1);
            Fate::Keep
        }));
    }
    counts.add("images of train", images.values().filter(|side| **side == Side::Train).count() as u64);
    counts.add("images of test", images.values().filter(|side| **side == Side::Test).count() as u64);
    describe(rows, share, seed, &all, outcome);
    Ok(all)
}

/// First deal: to which side each answer to a type of question belongs.
fn deal_pairs(rows: &[ShardRows], share: f64, seed: u64) -> HashMap<Pair, Side> {
    let mut types: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for (kind, answer) in rows.iter().flat_map(ShardRows::samples).filter_map(|sample| pair(&sample)) {
        *types.entry(kind).or_default().entry(answer).or_default() += 1;
    }
    let mut sides = HashMap::new();
    for (kind, answers) in types {
        let mut answers: Vec<(String, u64)> = answers.into_iter().collect();
        answers.sort_by_cached_key(|(answer, count)| (std::cmp::Reverse(*count), order(&[&kind, answer], seed)));
        // Which side is served first differs from type to type: else the commonest answers would all be of train.
        let mut dealt = [0.0, 0.0];
        for (answer, count) in answers {
            let filled = [dealt[0] / (1.0 - share), dealt[1] / share];
            let is_test = match filled[0].total_cmp(&filled[1]) {
                std::cmp::Ordering::Equal => order(&[&kind], seed) as f64 / (u64::MAX as f64) < share,
                found => found == std::cmp::Ordering::Greater,
            };
            dealt[usize::from(is_test)] += count as f64;
            sides.insert((kind.clone(), answer), if is_test { Side::Test } else { Side::Train });
        }
    }
    sides
}

/// Second deal: each image to one side.
fn deal_images(rows: &[ShardRows], pairs: &HashMap<Pair, Side>, share: f64, seed: u64) -> HashMap<ContentId, Side> {
    let mut votes: HashMap<ContentId, i64> = HashMap::new();
    for sample in rows.iter().flat_map(ShardRows::samples) {
        let vote = match pair(&sample).and_then(|pair| pairs.get(&pair)) {
            Some(Side::Test) => 1,
            Some(Side::Train) => -1,
            None => 0,
        };
        *votes.entry(sample.group).or_default() += vote;
    }
    let mut images: Vec<(ContentId, i64)> = votes.into_iter().collect();
    images.sort_by_cached_key(|(image, vote)| (std::cmp::Reverse(*vote), order_of(image, seed), *image));
    let last = images.len().saturating_sub(1);
    let tests = ((images.len() as f64 * share).round() as usize).clamp(1.min(last), last);
    let side =
        |(place, (image, _)): (usize, (ContentId, i64))| (image, if place < tests { Side::Test } else { Side::Train });
    images.into_iter().enumerate().map(side).collect()
}

/// A number that stands in for a die.
fn order(words: &[&str], seed: u64) -> u64 {
    order_of(words.join("\0").as_bytes(), seed)
}

fn order_of(bytes: &[u8], seed: u64) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(bytes);
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// How often each answer is the truth, by type of question, on two sides.
type Priors = BTreeMap<String, BTreeMap<String, [u64; 2]>>;

/// Adds the divergence of every type of question, and their mean weighed by samples, before and after.
fn describe(rows: &[ShardRows], share: f64, seed: u64, fates: &[Vec<Vec<Fate>>], outcome: &mut Outcome) {
    let first_split = rows.first().map(|shard| shard.split.as_str());
    let is_two = rows.iter().any(|shard| Some(shard.split.as_str()) != first_split);
    let (mut before, mut after) = (Priors::new(), Priors::new());
    for (at, shard) in rows.iter().enumerate() {
        for (row, sample) in shard.samples().enumerate() {
            let Some((kind, answer)) = pair(&sample) else { continue };
            let was_second = match is_two {
                true => Some(shard.split.as_str()) != first_split,
                // There was one split: what chance alone makes of it.
                false => (order_of(&sample.group, !seed) as f64) < share * u64::MAX as f64,
            };
            let add = |priors: &mut Priors, side: usize| {
                priors.entry(kind.clone()).or_default().entry(answer.clone()).or_default()[side] += 1;
            };
            add(&mut before, usize::from(was_second));
            let is_in = |side: &usize| fates.get(*side).is_some_and(|fates| fates[at][row] != Fate::Drop);
            if let Some(side) = [0, 1].into_iter().find(is_in) {
                add(&mut after, side);
            }
        }
    }
    let mut sums = [[0.0; 2]; 2];
    let nothing = BTreeMap::new();
    for (kind, answers) in &before {
        let distances = [answers, after.get(kind).unwrap_or(&nothing)].map(total_variation);
        for (sum, distance) in sums.iter_mut().zip(&distances) {
            if let Some((distance, samples)) = distance {
                *sum = [sum[0] + distance * *samples as f64, sum[1] + *samples as f64];
            }
        }
        if let [Some((before, _)), Some((after, samples))] = distances {
            outcome.question_types.push(Divergence {
                question_type: kind.clone(),
                samples,
                before: rounded(before),
                after: rounded(after),
            });
        }
    }
    for (name, [sum, samples]) in ["total variation before", "total variation after"].into_iter().zip(sums) {
        outcome.shares.insert(name.to_owned(), rounded(sum / f64::max(samples, 1.0)));
    }
}

/// Half the sum of the differences of the shares of every answer, and how many samples there are; nothing where one
/// side has none.
fn total_variation(answers: &BTreeMap<String, [u64; 2]>) -> Option<(f64, u64)> {
    let [one, two] = [0, 1].map(|side| answers.values().map(|counts| counts[side]).sum::<u64>());
    if one == 0 || two == 0 {
        return None;
    }
    let difference = |counts: &[u64; 2]| (counts[0] as f64 / one as f64 - counts[1] as f64 / two as f64).abs();
    Some((answers.values().map(difference).sum::<f64>() / 2.0, one + two))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_variation_is_0_for_equal_shares_and_1_for_none_in_common() {
        let of = |counts: &[[u64; 2]]| {
            let answers = counts.iter().enumerate().map(|(answer, counts)| (answer.to_string(), *counts));
            total_variation(&answers.collect())
        };
        assert_eq!(of(&[[2, 4], [1, 2]]), Some((0.0, 9)));
        assert_eq!(of(&[[3, 0], [0, 1]]), Some((1.0, 4)));
        // 3/4 and 1/4 against 1/4 and 3/4.
        assert_eq!(of(&[[3, 1], [1, 3]]), Some((0.5, 8)));
        assert_eq!(of(&[[3, 0]]), None);
    }
}
