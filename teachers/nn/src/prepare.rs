//! What is done to a text before it is tokenised, with the way back to the bytes it was.

use std::borrow::Cow;

/// What sentence-transformers does to a text before its tokenizer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Preparation {
    /// White space at both ends is cut off, as Python's `strip` does.
    pub strip: bool,
    /// Everything is made lower case, as Python's `lower` does.
    pub lowercase: bool,
}

/// A prepared text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Prepared<'a> {
    pub text: Cow<'a, str>,
    /// Bytes that were cut off at the start.
    start: u32,
    /// Of each byte of the prepared text, and of its end, the byte of the stripped one. `None`: the same.
    origins: Option<Vec<u32>>,
}

impl Preparation {
    pub(crate) fn apply(self, text: &str) -> Prepared<'_> {
        let (mut text, mut start) = (text, 0);
        if self.strip {
            // Python counts four separators as white space that Unicode does not.
            let is_space = |c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
            let trimmed = text.trim_start_matches(is_space);
            start = (text.len() - trimmed.len()) as u32;
            text = trimmed.trim_end_matches(is_space);
        }
        if !self.lowercase {
            return Prepared { text: Cow::Borrowed(text), start, origins: None };
        }
        let lower = text.to_lowercase();
        let mut origins = Vec::with_capacity(lower.len() + 1);
        for (at, c) in text.char_indices() {
            // A sigma at the end of a word has its own lower case, which is as many bytes long as the usual one.
            let bytes: usize = c.to_lowercase().map(char::len_utf8).sum();
            origins.extend(std::iter::repeat_n(at as u32, bytes));
        }
        origins.push(text.len() as u32);
        Prepared { text: Cow::Owned(lower), start, origins: Some(origins) }
    }
}

impl Prepared<'_> {
    /// A span of the prepared text as one of the text it was made from. What begins within the lower case of a letter
    /// begins with that letter.
    pub(crate) fn in_original(&self, (start, end): (u32, u32)) -> (u32, u32) {
        let Some(origins) = &self.origins else { return (start + self.start, end + self.start) };
        let at = |place: u32| origins.get(place as usize).or(origins.last()).copied().unwrap_or(0) + self.start;
        // An end within the lower case of a letter is where the letter ends.
        let letter_end = |place: u32| {
            let letter = at(place);
            let inside = place > 0 && at(place - 1) == letter;
            let next = origins[place as usize..].iter().map(|origin| origin + self.start).find(|at| *at > letter);
            if inside { next.unwrap_or(letter) } else { letter }
        };
        (at(start), if end > start { letter_end(end.min(origins.len() as u32 - 1)) } else { at(start) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_lead_back_to_the_text_as_it_was() {
        let strip = Preparation { strip: true, lowercase: false };
        let prepared = strip.apply(" \u{1c}\u{a0}Ab c\n");
        assert_eq!((&*prepared.text, prepared.in_original((0, 2))), ("Ab c", (4, 6)));
        let both = Preparation { strip: true, lowercase: true };
        // The lower case of the first letter is a letter and a combining dot: three bytes from two.
        let original = "  İΣ ΟΔΟΣ";
        let prepared = both.apply(original);
        assert_eq!(&*prepared.text, "i\u{307}ς οδος");
        let span = |from: usize, to: usize| {
            let (start, end) = prepared.in_original((from as u32, to as u32));
            &original[start as usize..end as usize]
        };
        assert_eq!([span(0, 3), span(0, 1), span(1, 3), span(3, 5), span(6, 14)], ["İ", "İ", "İ", "Σ", "ΟΔΟΣ"]);
        assert_eq!(prepared.in_original((14, 14)), (original.len() as u32, original.len() as u32));
        let plain = Preparation::default().apply(" A ");
        assert_eq!((&*plain.text, plain.in_original((1, 2))), (" A ", (1, 2)));
    }
}
