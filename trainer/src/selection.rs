//! Token selection (TS): which words of a text are distilled.
//!
//! ```text
//! a_w = cos( E_joint("a photo of w"), z_v )      visual relevance, needs a joint image-text teacher
//! b_w = cos( E_text(w), z_t )                    semantic relevance
//! p_w = alpha * softmax_w(a / tau_a) + (1 - alpha) * softmax_w(b / tau_b)
//! ```

use rand::Rng;

pub use retort_schemas::selection::{largest, probabilities, relevance, select_top, softmax};

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

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

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
