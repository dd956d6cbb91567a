//! Rule-singular: questions about exactly one person.
//!
//! A choice is rewritten if the distinct persons it names and the distinct pronouns among *he* and *she* make one. Only
//! a list of that person alone is replaced: one beside others in a list is left. A right choice that holds nothing but
//! a pronoun is counted and stays as it is; possessives are never replaced.

use std::collections::BTreeSet;

use super::vcr::{Persons, Rewriting, Rule, Sentence};

/// The rule.
pub(super) struct Singular;

/// The pronoun where neither choice nor question tells.
const DEFAULT: &str = "he";

impl Rule for Singular {
    fn pronouns(&self) -> &'static [&'static str] {
        &["he", "she", "He", "She"]
    }

    fn group(&self, question: &Sentence<'_>, persons: &Persons<'_>) -> Option<Vec<u32>> {
        let found = distinct(question, persons);
        (found.len() == 1).then(|| found.into_iter().collect())
    }

    fn rewriting(&self, choice: &Sentence<'_>, question: &Sentence<'_>, persons: &Persons<'_>) -> Option<Rewriting> {
        let tags = distinct(choice, persons);
        let lower = choice.words().map(str::to_lowercase);
        let pronouns: BTreeSet<String> = lower.filter(|word| word == "he" || word == "she").collect();
        (tags.len() + pronouns.len() == 1).then(|| Rewriting {
            tags: (!tags.is_empty()).then(|| tags.into_iter().collect()),
            pronoun: probable_pronoun(choice, question),
        })
    }
}

/// The persons that a sentence names.
fn distinct(sentence: &Sentence<'_>, persons: &Persons<'_>) -> BTreeSet<u32> {
    sentence.tokens.iter().flat_map(|token| &token.tags).copied().filter(|object| persons.has(*object)).collect()
}

/// The commoner of *he, his, him* and *she, her, hers* in the choice; where they are as many, in choice and question.
fn probable_pronoun(choice: &Sentence<'_>, question: &Sentence<'_>) -> &'static str {
    let balance = |sentence: &Sentence<'_>| -> i64 {
        let side = |word: &str| match word {
            "he" | "his" | "him" | "He" | "His" | "Him" => 1,
            "she" | "her" | "hers" | "She" | "Her" | "Hers" => -1,
            _ => 0,
        };
        sentence.words().map(side).sum()
    };
    let sum = match balance(choice) {
        0 => balance(question),
        sum => sum,
    };
    match sum {
        0 => DEFAULT,
        sum if sum > 0 => "he",
        _ => "she",
    }
}
