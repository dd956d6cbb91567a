//! Token selection (TS): which words of a text are distilled.
//!
//! ```text
//! a_w = cos( E_joint("a photo of w"), z_v )      visual relevance, needs a joint image-text teacher
//! b_w = cos( E_text(w), z_t )                    semantic relevance
//! p_w = alpha * softmax_w(a / tau_a) + (1 - alpha) * softmax_w(b / tau_b)
//! ```

use rand::Rng;

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

/// `select = sample`: m words drawn without replacement in proportion to p, by Gumbel top-m: the m largest of
/// ln p_w + g_w with g_w = -ln(-ln u).
pub fn select_sample(p: &[f32], m: usize, rng: &mut impl Rng) -> Vec<usize> {
    let keys: Vec<f32> = p
        .iter()
        .map(|p| {
            let u: f64 = rng.random_range(f64::MIN_POSITIVE..1.0);
            (f64::from(*p).ln() - (-u.ln()).ln()) as f32
        })
        .collect();
    largest(&keys, m)
}

fn largest(keys: &[f32], m: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by(|a, b| keys[*b].total_cmp(&keys[*a]).then(a.cmp(b)));
    order.truncate(m);
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

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

    #[test]
    fn sampling_draws_in_proportion_without_replacement() {
        let p = [0.7, 0.2, 0.1];
        let mut rng = rand::rngs::StdRng::seed_from_u64(5);
        let mut first = [0; 3];
        for _ in 0..4000 {
            first[select_sample(&p, 1, &mut rng)[0]] += 1;
            assert_eq!(select_sample(&p, 2, &mut rng).len(), 2);
        }
        for (count, p) in first.iter().zip(p) {
            let share = f64::from(*count) / 4000.0;
            assert!((share - f64::from(p)).abs() < 0.03, "drawn {share}, expected {p}");
        }
    }
}
