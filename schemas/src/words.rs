//! What a word is: the unit of token selection and of the cache's `words` table.

/// Words that carry no picture: left out of selection and of the `words` table.
const STOP_WORDS: &str = "a about above after again against all am an and any are as at be because been before being \
    below between both but by can could did do does doing down during each few for from further had has have having he \
    her here hers herself him himself his how i if in into is it its itself just me more most my myself no nor not now \
    of off on once only or other our ours ourselves out over own same she should so some such than that the their \
    theirs them themselves then there these they this those through to too under until up very was we were what when \
    where which while who whom why will with would you your yours yourself yourselves";

/// A word of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Byte offset of its first character.
    pub start: usize,
    /// Byte offset after its last.
    pub end: usize,
    /// The word in lower case.
    pub lower: String,
}

/// The words of a text: maximal runs of letters and digits by Unicode's rules, stop words left out.
pub fn words(text: &str) -> Vec<Word> {
    let mut found = Vec::new();
    let mut start = None;
    let ends = text.char_indices().map(|(at, c)| (at, c.is_alphanumeric())).chain([(text.len(), false)]);
    for (at, inside) in ends {
        match (start, inside) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                let lower = text[from..at].to_lowercase();
                if !STOP_WORDS.split(' ').any(|stop| stop == lower) {
                    found.push(Word { start: from, end: at, lower });
                }
                start = None;
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_and_digits_without_stop_words() {
        let lower = |text| words(text).into_iter().map(|word| word.lower).collect::<Vec<_>>();
        assert_eq!(lower("Is there a Red-ish shape?"), ["red", "ish", "shape"]);
        assert_eq!(lower("été 2024: 猫が好き"), ["été", "2024", "猫が好き"]);
        assert!(lower("what is it? …").is_empty());
    }

    #[test]
    fn spans_are_bytes_of_the_text() {
        let text = "ça: Café!";
        let spans: Vec<&str> = words(text).iter().map(|word| &text[word.start..word.end]).collect();
        assert_eq!(spans, ["ça", "Café"]);
    }
}
