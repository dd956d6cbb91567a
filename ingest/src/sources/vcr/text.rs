//! Token lists as sentences: words joined the way people write them, references resolved to names.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::Deserialize;

use super::names::{MASK, MASKED_FROM, Names};
use crate::source::{ObjectReference, Text};

/// How tokens are joined, as the manifest keeps it.
///
/// Tokens are put side by side with a space, but: none before closing punctuation and the endings of contractions
/// (`n't`, `'s`, and `'` `s` in two tokens, as VCR has them), none after an opening bracket, `$` and `#`; quotation marks
/// hug what they quote; a hyphen or a slash hugs the words on both its sides; a comma before three digits and a colon
/// before digits hug the number they are in. A reference to several objects is `A and B` or `A, B and C`.
pub(super) const JOINING_RULE: &str = "retort-joining/1";

/// A token of VCR: a word, or references to detected objects.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Token<'a> {
    #[serde(borrow)]
    Word(Cow<'a, str>),
    Objects(Vec<i64>),
}

/// The objects that token lists mention, masked or not; what is no index of any object is left out.
pub(super) fn mentioned<'t>(tokens: impl Iterator<Item = &'t Token<'t>>) -> BTreeSet<usize> {
    let indices = tokens.flat_map(|token| match token {
        Token::Word(_) => &[],
        Token::Objects(objects) => objects.as_slice(),
    });
    let unmasked = |index: &i64| if *index >= MASKED_FROM { index - MASKED_FROM } else { *index };
    indices.map(unmasked).filter_map(|index| usize::try_from(index).ok()).collect()
}

/// A question, an answer or a rationale.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sentence {
    pub text: String,
    pub objects: Vec<ObjectReference>,
}

/// An index that no object of the annotation has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutOfRange(pub i64);

impl Sentence {
    /// Joins tokens. A masked tag is `[MASK]` and names no object: what is masked is not to be seen.
    pub(super) fn join(tokens: &[Token<'_>], names: &Names<'_>) -> Result<Self, OutOfRange> {
        let mut pieces = Vec::new();
        for token in tokens {
            let piece = match token {
                Token::Word(word) => Self { text: word.trim().to_owned(), objects: Vec::new() },
                Token::Objects(objects) => Self::of_objects(objects, names)?,
            };
            if !piece.text.is_empty() {
                pieces.push(piece);
            }
        }
        let words: Vec<&str> = pieces.iter().map(|piece| piece.text.as_str()).collect();
        let mut sentence = Self::default();
        for (piece, joined) in pieces.iter().zip(joined(&words)) {
            if !sentence.text.is_empty() && !joined {
                sentence.text.push(' ');
            }
            sentence.append(piece);
        }
        Ok(sentence)
    }

    /// `A`, `A and B`, or `A, B and C`.
    fn of_objects(objects: &[i64], names: &Names<'_>) -> Result<Self, OutOfRange> {
        let mut sentence = Self::default();
        for (place, &index) in objects.iter().enumerate() {
            match objects.len() - place {
                _ if place == 0 => {}
                1 => sentence.text.push_str(" and "),
                _ => sentence.text.push_str(", "),
            }
            if index >= MASKED_FROM {
                sentence.text.push_str(MASK);
                continue;
            }
            let object = usize::try_from(index).map_err(|_| OutOfRange(index))?;
            let start = sentence.text.len() as u32;
            sentence.text.push_str(names.of(object).ok_or(OutOfRange(index))?);
            let end = sentence.text.len() as u32;
            sentence.objects.push(ObjectReference { start, end, object: object as u32 });
        }
        Ok(sentence)
    }

    fn append(&mut self, other: &Self) {
        let shift = self.text.len() as u32;
        self.text.push_str(&other.text);
        self.objects.extend(other.objects.iter().map(|reference| ObjectReference {
            start: reference.start + shift,
            end: reference.end + shift,
            ..*reference
        }));
    }
}

/// Sentences as the parts of one text.
pub(super) fn text_of(sentences: &[&Sentence]) -> Text<'static> {
    let mut whole = Sentence::default();
    let mut parts = Vec::new();
    for (place, sentence) in sentences.iter().enumerate() {
        if place > 0 {
            whole.text.push(' ');
            parts.push(whole.text.len() as u32);
        }
        whole.append(sentence);
    }
    Text { text: whole.text.into(), parts, objects: whole.objects }
}

/// Whether each word follows the one before it without a space.
fn joined(words: &[&str]) -> Vec<bool> {
    let mut joined = vec![false; words.len() + 1];
    let word = |at: usize| words.get(at).copied().unwrap_or_default();
    let (mut quoted, mut double_quoted) = (false, false);
    for at in 0..words.len() {
        let (before, next) = (if at == 0 { "" } else { word(at - 1) }, word(at + 1));
        let hugs_both = is_word_end(before) && is_word_start(next);
        match word(at) {
            "(" | "[" | "{" | "$" | "#" => joined[at + 1] = true,
            "-" | "/" if hugs_both => {
                joined[at] = true;
                joined[at + 1] = true;
            }
            "\"" | "``" | "''" => {
                joined[if double_quoted { at } else { at + 1 }] = true;
                double_quoted = !double_quoted;
            }
            mark if is_apostrophe(mark) => {
                if is_contraction(words, at) {
                    joined[at] = true;
                    joined[at + 1] = true;
                } else if !quoted && (at + 1..words.len()).any(|later| closes_quote(words, later)) {
                    joined[at + 1] = true;
                    quoted = true;
                } else {
                    // The end of a quotation, or the possessive of a plural.
                    joined[at] = true;
                    quoted = false;
                }
            }
            ending if is_contraction_ending(ending) || is_closing(ending) => {
                joined[at] = true;
                let is_in_number = is_digits(before) && is_digits(next);
                if is_in_number && (ending == ":" || ending == "," && next.len() == 3) {
                    joined[at + 1] = true;
                }
            }
            _ => {}
        }
    }
    joined.truncate(words.len());
    joined
}

fn is_apostrophe(word: &str) -> bool {
    matches!(word, "'" | "’" | "`")
}

/// An apostrophe between a word and the ending of its contraction: `can` `'` `t`.
fn is_contraction(words: &[&str], at: usize) -> bool {
    let ending = words.get(at + 1).map(|word| word.to_ascii_lowercase());
    let has_ending = ending.is_some_and(|word| matches!(word.as_str(), "s" | "t" | "d" | "m" | "re" | "ve" | "ll"));
    at > 0 && is_word_end(words[at - 1]) && has_ending
}

fn closes_quote(words: &[&str], at: usize) -> bool {
    is_apostrophe(words[at]) && !is_contraction(words, at)
}

/// An ending in one token, as other tokenizers cut it off.
fn is_contraction_ending(word: &str) -> bool {
    let word = word.to_ascii_lowercase().replace('’', "'");
    matches!(word.as_str(), "n't" | "'s" | "'t" | "'d" | "'m" | "'re" | "'ve" | "'ll")
}

fn is_closing(word: &str) -> bool {
    word.chars().all(|c| matches!(c, '.' | ',' | '?' | '!' | ';' | ':' | ')' | ']' | '}' | '%' | '…'))
}

fn is_digits(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_word_start(word: &str) -> bool {
    word == MASK || word.starts_with(char::is_alphanumeric)
}

fn is_word_end(word: &str) -> bool {
    word == MASK || word.ends_with(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(tokens: &str) -> Result<Sentence, OutOfRange> {
        let tokens: Vec<Token<'_>> = serde_json::from_str(tokens).unwrap();
        let objects = ["person", "person", "person", "diningtable"].map(str::to_owned);
        Sentence::join(&tokens, &Names::new("val-7", &objects, &mentioned(tokens.iter())))
    }

    /// Words separated by bars.
    fn words(tokens: &str) -> String {
        let tokens: Vec<&str> = tokens.split('|').collect();
        join(&serde_json::to_string(&tokens).unwrap()).unwrap().text
    }

    #[test]
    fn words_are_joined_as_people_write_them() {
        for (tokens, text) in [
            ("No|she|does|not|.", "No she does not."),
            ("Yes|,|she|is|cold|!|?", "Yes, she is cold!?"),
            ("I|do|n't|know|.|.|.", "I don't know..."),
            ("She|can|'|t|believe|it", "She can't believe it"),
            ("They|'|re|here|and|he|'|ll|come", "They're here and he'll come"),
            ("It|'s|the|boys|'|room|.", "It's the boys' room."),
            ("The|sign|says|'|keep|out|'|.", "The sign says 'keep out'."),
            ("He|said|'|it|'|s|fine|'|to|her", "He said 'it's fine' to her"),
            ("A|\"|quoted|word|\"|here", "A \"quoted word\" here"),
            ("Her|t|-|shirt|(|red|)|is|new|;|good", "Her t-shirt (red) is new; good"),
            ("He|is|angry|-", "He is angry -"),
            ("and|/|or", "and/or"),
            ("$|20|or|50|%|at|3|:|30", "$20 or 50% at 3:30"),
            ("1|,|000|people|,|2|,|3", "1,000 people, 2, 3"),
            ("[MASK]|is|[MASK]|.", "[MASK] is [MASK]."),
            ("[MASK]|'|s|hat", "[MASK]'s hat"),
            (" a |  |b", "a b"),
            ("'|s", "' s"),
            ("'", "'"),
            ("don|’|t", "don’t"),
        ] {
            assert_eq!(words(tokens), text);
        }
    }

    #[test]
    fn references_become_names_with_their_spans() {
        let sentence = join(r#"["Is", [0, 2, 1], "with", [0], "'", "s", [3], "and", [1, 0], "?"]"#).unwrap();
        let named: Vec<(u32, &str)> = sentence
            .objects
            .iter()
            .map(|reference| (reference.object, &sentence.text[reference.start as usize..reference.end as usize]))
            .collect();
        let [a, b, c] = [named[0].1, named[2].1, named[1].1];
        assert_eq!(named, [(0, a), (2, c), (1, b), (0, a), (3, "dining table"), (1, b), (0, a)]);
        assert_eq!(sentence.text, format!("Is {a}, {c} and {b} with {a}'s dining table and {b} and {a}?"));
    }

    #[test]
    fn a_masked_tag_is_a_mask_that_names_no_object() {
        let masked = join(r#"[[10001], "and", [10000, 1], "sit", [10099]]"#).unwrap();
        let [only] = masked.objects[..] else { panic!("{masked:?}") };
        let name = &masked.text[only.start as usize..only.end as usize];
        assert_eq!(masked.text, format!("[MASK] and [MASK] and {name} sit [MASK]"));
        assert_eq!(only.object, 1);
        // The person has the name that it has where nothing is masked.
        assert_eq!(join(r#"[[1], "and", [0, 1], "sit"]"#).unwrap().text.split(' ').next(), Some(name));
    }

    #[test]
    fn a_masked_person_keeps_its_name_from_others() {
        let objects = vec!["person".to_owned(); 15];
        let join = |tokens: &str| {
            let tokens: Vec<Token<'_>> = serde_json::from_str(tokens).unwrap();
            Sentence::join(&tokens, &Names::new("val-7", &objects, &mentioned(tokens.iter()))).unwrap().text
        };
        // Both prefer the name of 0.
        let both = join("[[0, 14]]");
        let (_, other) = both.split_once(" and ").unwrap();
        assert_eq!(join("[[10000, 14]]"), format!("[MASK] and {other}"));
        assert_ne!(join("[[14]]"), other);
    }

    #[test]
    fn an_index_of_no_object_is_out_of_range() {
        assert_eq!(join("[[4]]"), Err(OutOfRange(4)));
        assert_eq!(join("[[0, -1]]"), Err(OutOfRange(-1)));
        assert_eq!(join("[[9999]]"), Err(OutOfRange(9999)));
        assert_eq!(join("[[]]").unwrap(), Sentence::default());
    }

    #[test]
    fn parts_begin_behind_the_space_and_spans_move_along() {
        let question = join(r#"["Who", "is", [0], "?"]"#).unwrap();
        let answer = join(r#"[[3], "."]"#).unwrap();
        let text = text_of(&[&question, &answer, &answer]);
        let parts: Vec<&str> = text.parts.iter().map(|part| &text.text[*part as usize..]).collect();
        assert_eq!(parts, ["dining table. dining table.", "dining table."]);
        let tables = text.objects.iter().filter(|reference| reference.object == 3);
        let spans: Vec<&str> = tables.map(|span| &text.text[span.start as usize..span.end as usize]).collect();
        assert_eq!(spans, ["dining table"; 2]);
    }
}
