//! Words that name a side: where one stands, a mirror image would make the text untrue.

use retort_schemas::words::words;

/// In lower case: left, right, east and west with their inflections and compounds, and turning with or against the
/// clock, which a mirror turns round too. English alone. `right` counts whatever it means: a picture that is not
/// mirrored costs nothing, an untrue text does. North, south, up and down stay what they are.
const SIDES: &str = "left lefts leftmost leftward leftwards lefthand lefthanded leftie lefties lefty \
    right rights rightmost rightward rightwards righthand righthanded rightie righties righty \
    east eastern easternmost easterly eastward eastwards eastbound easterner easterners \
    west western westernmost westerly westward westwards westbound westerner westerners \
    northeast northeastern northeasterly northeastward northeastwards northeastbound \
    northwest northwestern northwesterly northwestward northwestwards northwestbound \
    southeast southeastern southeasterly southeastward southeastwards southeastbound \
    southwest southwestern southwesterly southwestward southwestwards southwestbound \
    clockwise anticlockwise counterclockwise";

/// Whether a word of the text names a side. What a word is, `retort_schemas::words` says: `left-hand` is two.
pub(super) fn names_a_side(text: &str) -> bool {
    words(text).iter().any(|word| SIDES.split_ascii_whitespace().any(|side| side == word.lower))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_found_as_words_in_any_inflection() {
        for text in [
            "What is LEFT of the dog?",
            "the left-hand glove",
            "the person's right_arm",
            "the rightmost one",
            "is the train westbound?",
            "Eastern light",
            "a south-east wind",
            "to the northwest",
            "does it turn counter-clockwise?",
            "yes, that is right",
        ] {
            assert!(names_a_side(text), "{text}");
        }
        for text in [
            "a bright upright light on a breast",
            "leftovers at Easter",
            "north, south, up and down",
            "Westminster, a feast, aright",
            "",
        ] {
            assert!(!names_a_side(text), "{text}");
        }
    }
}
