//! The hard subset: what a classifier that sees the text alone gets wrong.
//!
//! The classifier is a multinomial logistic regression on hashed words and pairs of words. It is cross-fitted: the
//! groups (images) are dealt into folds, and the samples of a fold are judged by a classifier of all others, so that it
//! never saw the sample, nor another of the same image.

use serde_json::json;

use super::engine::{Fate, each};
use super::original::ShardRows;
use super::{Fault, Outcome, rounded};

/// Places that a word or a pair of words is hashed to: 2^16.
const PLACES_BITS: u32 = 16;
/// More classes than this are not told from text by so small a classifier, and would take too much memory.
const MOST_CLASSES: usize = 64;
/// Passes over the data. The problem is convex, and the step shrinks with what a weight has seen.
const PASSES: usize = 8;
/// First step of a weight (AdaGrad).
const RATE: f32 = 0.1;

/// A sample as the classifier has it.
struct Example {
    places: Vec<u32>,
    class: usize,
    fold: usize,
}

pub(super) fn fates(
    folds: usize,
    seed: u64,
    rows: &[ShardRows],
    outcome: &mut Outcome,
) -> Result<Vec<Vec<Fate>>, Fault> {
    if folds < 2 {
        return Err(Fault::Refused(format!("expected 2 folds or more, found {folds}")));
    }
    outcome.options = json!({ "folds": folds, "seed": seed, "classifier": "words/1" });
    let labelled = rows.iter().flat_map(ShardRows::samples).filter(|sample| sample.record.label.is_some());
    let mut examples = Vec::new();
    for sample in labelled {
        let [text] = sample.record.texts.as_slice() else {
            return Err(Fault::Refused(format!(
                "sample {} has {} texts, expected one and classes to tell it into",
                sample.record.id,
                sample.record.texts.len()
            )));
        };
        let class = sample.record.label.unwrap_or_default() as usize;
        examples.push(Example { places: places(&text.text), class, fold: draw(&sample.group, seed, folds) });
    }
    let classes = examples.iter().map(|example| example.class + 1).max().unwrap_or_default();
    if !(2..=MOST_CLASSES).contains(&classes) {
        return Err(Fault::Refused(format!("expected 2 to {MOST_CLASSES} classes, found labels up to {classes}")));
    }
    let mut predicted = vec![0; examples.len()];
    for fold in 0..folds {
        let mut classifier = Classifier::new(classes);
        for _ in 0..PASSES {
            for example in examples.iter().filter(|example| example.fold != fold) {
                classifier.learn(example);
            }
        }
        for (example, predicted) in examples.iter().zip(&mut predicted).filter(|(example, _)| example.fold == fold) {
            *predicted = classifier.predict(&example.places);
        }
    }
    let mut judged = examples.iter().zip(&predicted);
    let mut of_class = vec![0_u64; classes];
    examples.iter().for_each(|example| of_class[example.class] += 1);
    let right = examples.iter().zip(&predicted).filter(|(example, predicted)| example.class == **predicted).count();
    let counts = &mut outcome.counts;
    let fates = each(rows, |sample| match sample.record.label.and_then(|_| judged.next()) {
        None => counts.drop("no label"),
        Some((example, predicted)) if example.class == *predicted => counts.drop("told from the text alone"),
        Some(_) => {
            counts.keep();
            Fate::Keep
        }
    });
    let share = |part: u64| rounded(part as f64 / examples.len().max(1) as f64);
    outcome.shares.insert("accuracy of the text alone".to_owned(), share(right as u64));
    outcome.shares.insert("share of the commonest class".to_owned(), share(of_class.into_iter().max().unwrap_or(0)));
    Ok(fates)
}

/// A number below `parts` for a group: the same wherever and in whatever order it comes.
pub(super) fn draw(group: &[u8], seed: u64, parts: usize) -> usize {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(group);
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    (u64::from_le_bytes(first) % parts.max(1) as u64) as usize
}

/// Where the distinct words of a text, and its pairs of neighbours, are hashed to.
fn places(text: &str) -> Vec<u32> {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let pairs = words.windows(2).map(|pair| place(&pair.join(" ")));
    let mut places: Vec<u32> = words.iter().map(|word| place(word)).chain(pairs).collect();
    places.sort_unstable();
    places.dedup();
    places
}

fn place(words: &str) -> u32 {
    let mut first = [0; 4];
    first.copy_from_slice(&blake3::hash(words.as_bytes()).as_bytes()[..4]);
    u32::from_le_bytes(first) >> (32 - PLACES_BITS)
}

/// Weights by place and class; the last place is the bias.
struct Classifier {
    classes: usize,
    weights: Vec<f32>,
    /// Squared gradients so far.
    seen: Vec<f32>,
}

impl Classifier {
    fn new(classes: usize) -> Self {
        let weights = vec![0.0; ((1 << PLACES_BITS) + 1) * classes];
        Self { classes, seen: weights.clone(), weights }
    }

    fn scores(&self, places: &[u32]) -> Vec<f32> {
        let mut scores = vec![0.0; self.classes];
        for place in places.iter().copied().chain([1 << PLACES_BITS]) {
            let weights = &self.weights[place as usize * self.classes..][..self.classes];
            scores.iter_mut().zip(weights).for_each(|(score, weight)| *score += weight);
        }
        scores
    }

    /// The class of the greatest score, the first of equal ones.
    fn predict(&self, places: &[u32]) -> usize {
        let scores = self.scores(places);
        (0..self.classes).fold(0, |best, class| if scores[class] > scores[best] { class } else { best })
    }

    /// One step down the cross-entropy of an example.
    fn learn(&mut self, example: &Example) {
        let mut slopes = self.scores(&example.places);
        let most = slopes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        slopes.iter_mut().for_each(|score| *score = (*score - most).exp());
        let sum: f32 = slopes.iter().sum();
        slopes.iter_mut().for_each(|score| *score /= sum);
        slopes[example.class] -= 1.0;
        for place in example.places.iter().copied().chain([1 << PLACES_BITS]) {
            let at = place as usize * self.classes;
            for (class, slope) in slopes.iter().enumerate() {
                self.seen[at + class] += slope * slope;
                self.weights[at + class] -= RATE * slope / (self.seen[at + class].sqrt() + 1e-6);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_classifier_learns_what_words_tell() {
        let example = |text: &str, class: usize| Example { places: places(text), class, fold: 0 };
        let examples = [
            example("Nobody is here", 1),
            example("A man is outside", 0),
            example("Nobody sleeps", 1),
            example("A man walks", 0),
        ];
        let mut classifier = Classifier::new(2);
        assert_eq!(classifier.predict(&places("Nobody runs")), 0);
        (0..PASSES).for_each(|_| examples.iter().for_each(|example| classifier.learn(example)));
        assert_eq!(classifier.predict(&places("nobody RUNS!")), 1);
        assert_eq!(classifier.predict(&places("a man runs")), 0);
    }

    #[test]
    fn words_and_pairs_are_counted_once_in_any_case() {
        assert_eq!(places("The dog, the dog"), places("the DOG the"));
        assert_ne!(places("dog the"), places("the dog"));
        assert_eq!(places("--"), [0; 0]);
    }
}
