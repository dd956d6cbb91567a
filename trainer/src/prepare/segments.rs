//! Which part of its text a token belongs to: the question, the answer, the rationale.

use retort_nn::Encoded;

/// Which part of its text a token belongs to, where the second and further parts begin at the bytes `parts`; a special
/// token belongs to the part of the token before it.
pub(super) fn segments(encoded: &Encoded, parts: &[usize]) -> Vec<i64> {
    let mut current = 0;
    let of_token = |(span, special): (&(u32, u32), &bool)| {
        if !special {
            current = parts.iter().filter(|begin| **begin <= span.0 as usize).count() as i64;
        }
        current
    };
    encoded.spans.iter().zip(&encoded.special).map(of_token).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_belongs_to_the_part_in_which_it_begins() {
        // [CLS] why ? he ran [SEP], the answer from byte 5.
        let encoded = Encoded {
            ids: vec![2, 9, 8, 7, 6, 3],
            spans: vec![(0, 0), (0, 3), (3, 4), (5, 7), (8, 11), (0, 0)],
            special: vec![true, false, false, false, false, true],
            truncated: false,
        };
        assert_eq!(segments(&encoded, &[5]), [0, 0, 0, 1, 1, 1]);
        assert_eq!(segments(&encoded, &[3, 8]), [0, 0, 1, 1, 2, 2]);
        assert_eq!(segments(&encoded, &[]), [0; 6]);
    }
}
