//! Rule-plural: questions with exactly one list of references, of two persons or more and nothing else.
//!
//! A choice is rewritten if it has such a list itself, or the word *they*. The list that is replaced is the choice's in
//! rising order: one that is written in another order, such as `[3, 1]`, is left alone, though the choice is counted. A
//! right choice that holds only *they* is counted and stays as it is; *their* is never replaced.

use super::vcr::{Persons, Rewriting, Rule, Sentence};

/// The rule.
pub(super) struct Plural;

const PRONOUNS: &[&str] = &["they", "They"];

impl Rule for Plural {
    fn pronouns(&self) -> &'static [&'static str] {
        PRONOUNS
    }

    fn group(&self, question: &Sentence<'_>, persons: &Persons<'_>) -> Option<Vec<u32>> {
        only_group(question, persons)
    }

    fn rewriting(&self, choice: &Sentence<'_>, _: &Sentence<'_>, persons: &Persons<'_>) -> Option<Rewriting> {
        let tags = only_group(choice, persons);
        (tags.is_some() || choice.has(PRONOUNS)).then_some(Rewriting { tags, pronoun: "they" })
    }
}

/// The only list of a sentence in rising order, if it is of persons alone and of more than one.
fn only_group(sentence: &Sentence<'_>, persons: &Persons<'_>) -> Option<Vec<u32>> {
    let mut lists = sentence.tokens.iter().filter(|token| !token.tags.is_empty());
    let (Some(only), None) = (lists.next(), lists.next()) else { return None };
    if only.tags.len() < 2 || !only.tags.iter().all(|object| persons.has(*object)) {
        return None;
    }
    let mut tags = only.tags.clone();
    tags.sort_unstable();
    Some(tags)
}
