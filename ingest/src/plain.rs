//! Words of a file in a message: somebody else wrote them.

use std::borrow::Cow;

/// The text with its control characters escaped: a line stays a line, and none moves a terminal's cursor.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if character.is_control() {
            plain.extend(character.escape_default());
        } else {
            plain.push(character);
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_alone_are_escaped() {
        assert!(matches!(plain("caf\u{e9} \"x\" \\n"), Cow::Borrowed("caf\u{e9} \"x\" \\n")));
        assert_eq!(plain("a\nb\r\t\0\u{1b}[2J\u{9b}\u{7f}c"), "a\\nb\\r\\t\\u{0}\\u{1b}[2J\\u{9b}\\u{7f}c");
    }
}
