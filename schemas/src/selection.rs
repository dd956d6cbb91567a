//! Token selection (TS): which words of a text are distilled (method section 4). Here because two ask for it, who do not know of
//! each other: the trainer, and SQL over a data set (`selected_words`).
//!
//! ```text
//! a_w = cos( E_joint("a photo of w"), z_v )      visual relevance, needs a joint image-text teacher
//! b_w = cos( E_text(w), z_t )                    semantic relevance
//! p_w = alpha * softmax_w(a / tau_a) + (1 - alpha) * softmax_w(b / tau_b)
//! ```

/// m: words of a text that are selected, unless a recipe says otherwise.
pub const WORDS: usize = 3;
/// Share of visual relevance, unless a recipe says otherwise.
pub const ALPHA: f32 = 0.5;
/// Temperature of both softmaxes, unless a recipe says otherwise.
pub const TAU: f32 = 0.05;

/// Relevance of a word to an image or a text: the cosine of two features that are normalised already.
pub fn relevance(word: &[f32], whole: &[f32]) -> f32 {
    word.iter().zip(whole).map(|(x, y)| x * y).sum()
}

/// softmax(scores / tau), stable for any tau > 0.
pub fn softmax(scores: &[f32], tau: f32) -> Vec<f32> {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = scores.iter().map(|score| ((score - most) / tau).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// p_w for the words of a text. Without visual relevance, alpha is 0.
pub fn probabilities(visual: Option<&[f32]>, semantic: &[f32], alpha: f32, tau_a: f32, tau_b: f32) -> Vec<f32> {
    let semantic = softmax(semantic, tau_b);
    match visual {
        None => semantic,
        Some(visual) => {
            softmax(visual, tau_a).iter().zip(&semantic).map(|(a, b)| alpha * a + (1.0 - alpha) * b).collect()
        }
    }
}

/// `select = top`: the m words of highest p, in text order; of equals, the earlier.
pub fn select_top(p: &[f32], m: usize) -> Vec<usize> {
    largest(p, m)
}

/// The places of the m greatest keys, in order; of equals, the earlier.
pub fn largest(keys: &[f32], m: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by(|a, b| keys[*b].total_cmp(&keys[*a]).then(a.cmp(b)));
    order.truncate(m);
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_mix_both_relevances() {
        let p = probabilities(Some(&[0.1, 0.0]), &[0.0, 0.0], 0.5, 0.1, 0.1);
        let a = 1.0_f32.exp() / (1.0_f32.exp() + 1.0);
        assert!((p[0] - (0.5 * a + 0.25)).abs() < 1e-6 && (p[0] + p[1] - 1.0).abs() < 1e-6, "{p:?}");
        let without = probabilities(None, &[0.0, 0.1], 0.5, 0.1, 0.1);
        assert!((without[1] - a).abs() < 1e-6, "{without:?}");
        assert!((softmax(&[1000.0, 0.0], 0.05)[0] - 1.0).abs() < 1e-6);
    }

    #[test]
    fn top_takes_the_most_probable_in_text_order() {
        assert_eq!(select_top(&[0.1, 0.4, 0.1, 0.4], 3), [0, 1, 3]);
        assert_eq!(select_top(&[0.5], 3), [0]);
        assert!(select_top(&[], 3).is_empty());
    }
}
