//! What a word that is unknown may have been meant for.

/// The nearest of some words by spelling, if it is near at all.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let all = known.map(|known| (strsim::damerau_levenshtein(known, word), known));
    all.min().filter(|(distance, _)| *distance <= 1 + word.len() / 3).map(|(_, known)| known.to_owned())
}
