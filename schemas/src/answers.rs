//! VQA answers: their normal form, soft targets and official accuracy.
//!
//! Ingest builds vocabularies and targets with it, evaluation scores with it: one definition for both. It follows the
//! evaluation code of GT-Vision-Lab/VQA (HEAD) to the letter, oddities included.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Deleted or replaced by a space; note that colon, apostrophe and dot are not among them.
const PUNCTUATION: &[char] =
    &[';', '/', '[', ']', '"', '{', '}', '(', ')', '=', '+', '\\', '_', '-', '>', '<', '@', '`', ',', '?', '!'];

/// At most this many dots are deleted: the reference passes `re.UNICODE` (32) where `count` is expected.
const MOST_DOTS: usize = 32;

const NUMBER_WORDS: &[(&str, &str)] = &[
    ("none", "0"),
    ("zero", "0"),
    ("one", "1"),
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("six", "6"),
    ("seven", "7"),
    ("eight", "8"),
    ("nine", "9"),
    ("ten", "10"),
];

/// A word equal to one of these with exactly one apostrophe missing gets it back.
const CONTRACTIONS: &str = "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've \
    hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've \
    mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've \
    somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've \
    something'll that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't \
    we'd've we've weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's \
    who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll \
    you're you've";

/// The normal form in which answers are compared: punctuation, digits, articles and contractions.
pub fn normalise(answer: &str) -> String {
    digits_and_articles(&punctuation(answer))
}

/// The normal form of an entry of the answer vocabulary: [`normalise`], then commas deleted (`compute_softscore.py`).
pub fn vocabulary_entry(answer: &str) -> String {
    normalise(answer).replace(',', "")
}

fn punctuation(answer: &str) -> String {
    let characters: Vec<char> = answer.chars().collect();
    let digit_comma_digit =
        characters.windows(3).any(|w| w[0].is_ascii_digit() && w[1] == ',' && w[2].is_ascii_digit());
    let beside_space =
        |p: char| characters.windows(2).any(|w| (w[0] == p && w[1] == ' ') || (w[0] == ' ' && w[1] == p));
    let mut out = answer.to_owned();
    for &p in PUNCTUATION.iter().filter(|p| answer.contains(**p)) {
        out = out.replace(p, if digit_comma_digit || beside_space(p) { "" } else { " " });
    }
    // The reference's look-behind is misspelt, so the rule is: delete a dot that no digit follows.
    let mut deleted = 0;
    let mut kept = String::with_capacity(out.len());
    let mut rest = out.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '.' && deleted < MOST_DOTS && !rest.peek().is_some_and(char::is_ascii_digit) {
            deleted += 1;
        } else {
            kept.push(c);
        }
    }
    kept
}

fn digits_and_articles(answer: &str) -> String {
    let words: Vec<String> = answer
        .to_lowercase()
        .split_whitespace()
        .map(|word| NUMBER_WORDS.iter().find(|(name, _)| *name == word).map_or(word, |(_, digit)| digit).to_owned())
        .filter(|word| !matches!(word.as_str(), "a" | "an" | "the"))
        .map(|word| MENDED.get(&word).map_or(word, |full| (*full).to_owned()))
        .collect();
    words.join(" ")
}

/// Words with exactly one apostrophe missing, and the contraction that each of them is.
static MENDED: LazyLock<HashMap<String, &'static str>> = LazyLock::new(|| {
    let mut mended = HashMap::new();
    for full in CONTRACTIONS.split(' ') {
        for (at, _) in full.match_indices('\'') {
            mended.entry(format!("{}{}", &full[..at], &full[at + 1..])).or_insert(full);
        }
    }
    mended.insert("somebody'd".to_owned(), "somebodyd"); // an oddity of the reference's table
    mended
});

/// Soft target of an answer that `count` of the ten annotators gave: 0, .3, .6, .9, 1 (the 10-choose-9 average of
/// min(n/3, 1)).
pub fn soft_score(count: usize) -> f32 {
    match count {
        0 => 0.0,
        1 => 0.3,
        2 => 0.6,
        3 => 0.9,
        _ => 1.0,
    }
}

/// Official accuracy of a prediction against the human answers, 0 to 1: the mean over annotators of
/// min(1, matches among the others / 3). Texts are normalised only where the raw answers are not all equal.
pub fn accuracy(prediction: &str, answers: &[String]) -> f64 {
    let trim = |text: &str| text.replace(['\n', '\t'], " ").trim().to_owned();
    let mut prediction = trim(prediction);
    let mut answers: Vec<String> = answers.iter().map(|answer| trim(answer)).collect();
    if answers.windows(2).any(|pair| pair[0] != pair[1]) {
        answers = answers.iter().map(|answer| normalise(answer)).collect();
        prediction = normalise(&prediction);
    }
    let matches = answers.iter().filter(|answer| **answer == prediction).count();
    let total: f64 = answers
        .iter()
        .map(|answer| {
            let others = matches - usize::from(*answer == prediction);
            (others as f64 / 3.0).min(1.0)
        })
        .sum();
    total / answers.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_normaliser_gives_these() {
        for (raw, normal) in [
            ("The U.S. Army", "us army"),
            ("1,000", "1000"),
            ("it's 3.5 ft.", "it's 3.5 ft"),
            ("yes!", "yes"),
            ("dont", "don't"),
            ("red/white", "red white"),
            ("a cat, a dog", "cat dog"),
            ("N.Y.", "ny"),
            ("10:30", "10:30"),
            ("'hello'", "'hello'"),
            ("two dogs", "2 dogs"),
            ("couldntve", "couldntve"),
            ("couldnt've", "couldn't've"),
            ("somebody'd", "somebodyd"),
            ("Im", "im"),
        ] {
            assert_eq!(normalise(raw), normal, "{raw}");
        }
    }

    #[test]
    fn soft_scores_are_the_ten_choose_nine_average() {
        for n in 0..=10_usize {
            // Leaving out each annotator in turn: n of the ten leave n - 1 matches, the others leave n.
            let capped = |matches: usize| (matches as f64 / 3.0).min(1.0);
            let average = (n as f64 * capped(n.saturating_sub(1)) + (10 - n) as f64 * capped(n)) / 10.0;
            assert!((f64::from(soft_score(n)) - average).abs() < 1e-6, "{n}");
        }
    }

    #[test]
    fn accuracy_counts_the_other_annotators() {
        let answers = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let ten = answers(&["yes"; 10]);
        assert_eq!(accuracy("yes", &ten), 1.0);
        assert_eq!(accuracy("Yes!", &ten), 0.0); // unanimous answers are compared raw
        let mixed = answers(&["2", "two", "3", "3", "3", "3", "3", "3", "3", "3"]);
        assert!((accuracy("two", &mixed) - 0.6).abs() < 1e-9);
        assert_eq!(accuracy("3", &mixed), 1.0);
    }
}
