//! Masked-language modelling: which tokens are hidden, and behind what.

use rand::Rng;
use rand::seq::SliceRandom;
use retort_nn::TextTokenizer;

/// Share of a text's tokens that are predicted.
const CHOSEN: f64 = 0.15;
/// Share of those that become the mask.
const MASKED: f64 = 0.8;
/// Share of those that become any entry of the vocabulary; the rest stay as they are.
const RANDOM: f64 = 0.1;

/// BERT's rule (Devlin et al. 2019, section 3.1): 15 % of a text's tokens are predicted, at least one; of these, 80 %
/// are replaced by the mask, 10 % by a random entry, 10 % not at all. Special tokens are never chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Masking {
    mask: i64,
    entries: i64,
}

impl Masking {
    /// With the mask that the tokenizer has: BERT's word for it, or RoBERTa's. None if it has neither.
    pub(crate) fn of(tokenizer: &TextTokenizer) -> Option<Self> {
        let mask = ["[MASK]", "<mask>"].iter().find_map(|word| tokenizer.id_of(word))?;
        Some(Self { mask: i64::from(mask), entries: tokenizer.vocabulary_size() as i64 })
    }

    /// Hides tokens of a text: the places that are to be predicted, in order, with what stood there.
    pub(crate) fn hide(&self, ids: &mut [i64], special: &[bool], rng: &mut impl Rng) -> Vec<(usize, i64)> {
        let mut places: Vec<usize> = (0..ids.len()).filter(|at| !special[*at]).collect();
        let count = ((CHOSEN * places.len() as f64).round() as usize).max(1).min(places.len());
        places.shuffle(rng);
        places.truncate(count);
        places.sort_unstable();
        places
            .into_iter()
            .map(|at| {
                let truth = ids[at];
                let chance: f64 = rng.random();
                if chance < MASKED {
                    ids[at] = self.mask;
                } else if chance < MASKED + RANDOM {
                    ids[at] = rng.random_range(0..self.entries);
                }
                (at, truth)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Result;
    use crate::seeds::generator;

    const MASKING: Masking = Masking { mask: 4, entries: 1000 };

    #[test]
    fn fifteen_in_a_hundred_are_chosen_and_eight_of_ten_masked() {
        let original: Vec<i64> = (0..102).map(|i| 500 + i).collect();
        let special: Vec<bool> = (0..102).map(|at| at == 0 || at == 101).collect();
        let (mut masked, mut kept, mut other) = (0, 0, 0);
        for text in 0..400 {
            let mut ids = original.clone();
            let chosen = MASKING.hide(&mut ids, &special, &mut generator("mlm", 1, 0, &text.to_string()));
            assert_eq!(chosen.len(), 15);
            assert!(chosen.iter().all(|(at, truth)| !special[*at] && original[*at] == *truth), "{chosen:?}");
            for at in 0..ids.len() {
                let hidden = chosen.iter().any(|(place, _)| *place == at);
                assert!(hidden || ids[at] == original[at], "token {at} changed and is not predicted");
                match ids[at] {
                    _ if !hidden => {}
                    4 => masked += 1,
                    id if id == original[at] => kept += 1,
                    _ => other += 1,
                }
            }
        }
        // Of 6000: 4800, 600 and 600 are expected, with deviations of 31 and 23.
        assert!((4680..4920).contains(&masked), "{masked} masked");
        assert!((505..695).contains(&kept) && (505..695).contains(&other), "{kept} kept, {other} replaced");
    }

    #[test]
    fn a_short_text_has_one_mask_and_an_empty_one_none() {
        let mut rng = generator("mlm", 1, 0, "short");
        assert_eq!(MASKING.hide(&mut [2, 7, 3], &[true, false, true], &mut rng), [(1, 7)]);
        assert!(MASKING.hide(&mut [2, 3], &[true, true], &mut rng).is_empty());
    }

    #[test]
    fn the_mask_is_the_tokenizers() -> Result<()> {
        let own = crate::vocabulary::from_texts(["a red shape"].into_iter(), 8)?;
        assert_eq!(Masking::of(&own).map(|masking| masking.mask), own.id_of("[MASK]").map(i64::from));
        assert!(own.id_of("[MASK]").is_some());
        let json = own.to_json()?.replace("[MASK]", "[HOLE]");
        let without =
            json.parse().map(|tokenizer| retort_nn::TextTokenizer::new(std::path::Path::new("without"), tokenizer, 8));
        assert_eq!(without.unwrap().map(|tokenizer| Masking::of(&tokenizer))?, None);
        Ok(())
    }
}
