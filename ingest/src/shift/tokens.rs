//! The token list that an ingested text was joined from, and texts with some of its tokens replaced.
//!
//! `texts.objects` says where the names of objects are; the rest are words.

use crate::source::{ObjectReference, Text};

/// A token and its bytes in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub start: usize,
    pub end: usize,
    /// The objects of a list of references; empty for a word.
    pub tags: Vec<u32>,
}

impl Token {
    /// The word; nothing where it is a list of references.
    pub(crate) fn word<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.tags.is_empty().then(|| text.get(self.start..self.end)).flatten()
    }
}

/// The tokens between two byte offsets, as `retort_schemas::tokens` has them.
pub(crate) fn tokens(text: &Text<'_>, from: usize, to: usize) -> Vec<Token> {
    let references: Vec<_> = text.objects.iter().map(|named| named.start as usize..named.end as usize).collect();
    let token = |found: retort_schemas::tokens::Token| Token {
        start: found.start,
        end: found.end,
        tags: text.objects[found.references].iter().map(|named| named.object).collect(),
    };
    retort_schemas::tokens::tokens(&text.text, &references, from..to).into_iter().map(token).collect()
}

/// Bytes of a text and what comes in their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edit {
    pub start: usize,
    pub end: usize,
    pub by: String,
    /// The objects that `by` names, in its own bytes.
    pub objects: Vec<ObjectReference>,
}

impl Edit {
    /// Words that name no object.
    pub(crate) fn words(start: usize, end: usize, by: &str) -> Self {
        Self { start, end, by: by.to_owned(), objects: Vec::new() }
    }
}

/// The text with these edits, which are in order and do not overlap: parts and references move along, references to
/// what was replaced are gone.
pub(crate) fn edited(text: &Text<'_>, edits: &[Edit]) -> Text<'static> {
    let mut new = Text::default();
    let (mut out, mut objects) = (String::with_capacity(text.text.len()), Vec::new());
    // How far what lies behind each edit moves.
    let mut at = 0;
    let mut shifts: Vec<(usize, i64)> = Vec::new();
    for edit in edits {
        out.push_str(text.text.get(at..edit.start).unwrap_or_default());
        let start = out.len() as u32;
        objects.extend(edit.objects.iter().map(|named| ObjectReference {
            start: named.start + start,
            end: named.end + start,
            ..*named
        }));
        out.push_str(&edit.by);
        at = edit.end;
        shifts.push((edit.end, out.len() as i64 - edit.end as i64));
    }
    out.push_str(text.text.get(at..).unwrap_or_default());
    let moved = |offset: u32| {
        let shift = shifts.iter().rev().find(|(end, _)| *end <= offset as usize).map_or(0, |(_, shift)| *shift);
        (i64::from(offset) + shift) as u32
    };
    let replaced = |named: &&ObjectReference| {
        edits.iter().any(|edit| (named.start as usize) < edit.end && edit.start < named.end as usize)
    };
    let kept = text.objects.iter().filter(|named| !replaced(named));
    objects.extend(kept.map(|named| ObjectReference { start: moved(named.start), end: moved(named.end), ..*named }));
    objects.sort_by_key(|named| (named.start, named.end));
    new.parts = text.parts.iter().map(|part| moved(*part)).collect();
    new.objects = objects;
    new.text = out.into();
    new
}

/// Where the last part of a text begins: the choice behind its question.
pub(crate) fn choice_start(text: &Text<'_>) -> usize {
    text.parts.last().map_or(0, |part| *part as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(words: &str, objects: &[(&str, u32)]) -> Text<'static> {
        let mut from = 0;
        let objects = objects.iter().map(|(name, object)| {
            let start = from + words[from..].find(name).unwrap();
            from = start + name.len();
            ObjectReference { start: start as u32, end: from as u32, object: *object }
        });
        Text { objects: objects.collect(), text: words.to_owned().into(), parts: Vec::new() }
    }

    #[test]
    fn names_are_lists_as_they_were_joined_and_the_rest_is_words() {
        let all = text("Al, Bo and Cy don't see Di, Ed.", &[("Al", 4), ("Bo", 2), ("Cy", 9), ("Di", 1), ("Ed", 5)]);
        let read: Vec<(&str, Vec<u32>)> = tokens(&all, 0, all.text.len())
            .into_iter()
            .map(|token| (&all.text[token.start..token.end], token.tags))
            .collect();
        let word = |word: &'static str| (word, vec![]);
        let expected = [
            // A comma alone closes no list.
            ("Al, Bo and Cy", vec![4, 2, 9]),
            word("don"),
            word("'"),
            word("t"),
            word("see"),
            ("Di", vec![1]),
            word(","),
            ("Ed", vec![5]),
            word("."),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn parts_and_references_move_with_an_edit() {
        let mut all = text("Who is Bo? Bo sees Alfred.", &[("Bo", 1), ("Bo", 1), ("Alfred", 0)]);
        all.parts = vec![11];
        let edits = [
            Edit::words(11, 13, "He"),
            Edit {
                start: 14,
                end: 18,
                by: "and Cy".to_owned(),
                objects: vec![ObjectReference { start: 4, end: 6, object: 7 }],
            },
        ];
        let new = edited(&all, &edits);
        assert_eq!(new.text, "Who is Bo? He and Cy Alfred.");
        assert_eq!(new.parts, [11]);
        let named: Vec<_> =
            new.objects.iter().map(|o| (&new.text[o.start as usize..o.end as usize], o.object)).collect();
        assert_eq!(named, [("Bo", 1), ("Cy", 7), ("Alfred", 0)]);
        let longer = edited(&all, &[Edit::words(7, 9, "Montgomery")]);
        assert_eq!(longer.parts, [19]);
        assert_eq!(&longer.text[19..], "Bo sees Alfred.");
    }
}
