//! The tokens of a text that names objects, and texts with a token masked: what shifted splits are made of.
//!
//! A list of references was joined to `A and B` or `A, B and C` when it was ingested: names that stand so are read as one
//! list. Two references with the word *and* between them were joined to the same text, and are read as one list too.

use std::ops::Range;

/// What stands in the place of a masked word.
pub const MASK: &str = "[MASK]";

/// A token and its bytes in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Byte offset of its first character.
    pub start: usize,
    /// Byte offset after its last.
    pub end: usize,
    /// The references of a list, as places among those of the text; empty for a word.
    pub references: Range<usize>,
}

/// The tokens inside `within`, a range of bytes: lists of references, runs of letters and digits, and every other character
/// but space alone. `references` are the bytes of the names of objects, in the order of the text; those that are not
/// wholly inside are words.
pub fn tokens(text: &str, references: &[Range<usize>], within: Range<usize>) -> Vec<Token> {
    let is_inside = |reference: &Range<usize>| reference.start >= within.start && reference.end <= within.end;
    let first = references.iter().position(is_inside).unwrap_or(references.len());
    let count = references[first..].iter().take_while(|reference| is_inside(reference)).count();
    let (mut next, last) = (first, first + count);
    let (mut tokens, mut at) = (Vec::new(), within.start);
    while next < last {
        let list = next..next + list_length(text, &references[next..last]);
        let (start, end) = (references[next].start, references[list.end - 1].end);
        words(text, at..start, &mut tokens);
        next = list.end;
        tokens.push(Token { start, end, references: list });
        at = end.max(at);
    }
    words(text, at..within.end, &mut tokens);
    tokens
}

/// How many references from the first on are one list: one, or as many as commas and one closing *and* join.
fn list_length(text: &str, references: &[Range<usize>]) -> usize {
    for (place, pair) in references.windows(2).enumerate() {
        match text.get(pair[0].end..pair[1].start) {
            Some(" and ") => return place + 2,
            Some(", ") => {}
            _ => break,
        }
    }
    1
}

fn words(text: &str, within: Range<usize>, tokens: &mut Vec<Token>) {
    let mut open: Option<usize> = None;
    let mut close = |open: &mut Option<usize>, end: usize| {
        if let Some(start) = open.take() {
            tokens.push(Token { start, end, references: 0..0 });
        }
    };
    let (from, to) = (within.start, within.end);
    let stretch = text.get(within).unwrap_or_default();
    for (offset, c) in stretch.char_indices() {
        let at = from + offset;
        if c.is_alphanumeric() {
            open.get_or_insert(at);
            continue;
        }
        close(&mut open, at);
        if !c.is_whitespace() {
            close(&mut Some(at), at + c.len_utf8());
        }
    }
    close(&mut open, to);
}

/// What can be masked inside `within`: words, and each reference of a list by itself. What joins a list is no word.
pub fn maskable(text: &str, references: &[Range<usize>], within: Range<usize>) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for token in tokens(text, references, within) {
        match token.references.is_empty() {
            true => found.push(token.start..token.end),
            false => found.extend_from_slice(&references[token.references]),
        }
    }
    found
}

/// What comes in the place of the bytes `span`: a mask, set off by a space from letters and digits, and from a mask that
/// comes right behind it. `beside` says whether what ends, and what begins, where the span does is masked too.
pub fn mask(text: &str, span: &Range<usize>, beside: [bool; 2]) -> String {
    let [follows_mask, before_mask] = beside;
    let before = text.get(..span.start).and_then(|before| before.chars().next_back());
    let after = text.get(span.end..).and_then(|after| after.chars().next());
    let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let space = |wanted: bool| if wanted { " " } else { "" };
    [space(is_letter(before) && !follows_mask), MASK, space(before_mask || is_letter(after))].concat()
}

/// The text with the bytes `span` masked and nothing else.
pub fn masked(text: &str, span: &Range<usize>) -> String {
    let [before, after] = [text.get(..span.start), text.get(span.end..)].map(Option::unwrap_or_default);
    [before, &mask(text, span, [false; 2]), after].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where names are, one after another.
    fn spans(text: &str, names: &[&str]) -> Vec<Range<usize>> {
        let mut from = 0;
        let mut next = |name: &&str| {
            let start = from + text[from..].find(name).unwrap_or_default();
            from = start + name.len();
            start..from
        };
        names.iter().map(&mut next).collect()
    }

    #[test]
    fn references_of_a_list_are_masked_one_by_one_and_what_joins_them_is_not() {
        let text = "Who? Al, Bo and Cy can't see Di and go.";
        let references = spans(text, &["Al", "Bo", "Cy", "Di"]);
        let found = maskable(text, &references, 5..text.len());
        let words: Vec<&str> = found.into_iter().map(|span| &text[span]).collect();
        assert_eq!(words, ["Al", "Bo", "Cy", "can", "'", "t", "see", "Di", "and", "go", "."]);
        // A name before the choice is no word of it.
        let question = spans("Al? He", &["Al"]);
        assert_eq!(maskable("Al? He", &question, 4..6), [Range { start: 4, end: 6 }]);
    }

    #[test]
    fn a_mask_stands_apart_from_letters() {
        let span = |start, end| Range { start, end };
        assert_eq!(masked("I can't go.", &span(5, 6)), "I can [MASK] t go.");
        assert_eq!(masked("go on.", &span(3, 5)), "go [MASK].");
        assert_eq!(mask("on.", &span(0, 2), [false, true]), "[MASK] ");
        assert_eq!(mask("can't", &span(3, 4), [true, false]), "[MASK] ");
    }
}
