//! The controls of the protocol: what is left of the method's gain when a part of it is replaced by chance?
//!
//! | `control` | instead of | there is |
//! |---|---|---|
//! | `random-words` | the m selected words of a text | m words drawn uniformly ([`random_words`]) |
//! | `shuffled-weights` | w(x) | the w of another sample of the batch ([`shuffled`]) |
//! | `random-teacher` | z_v, z_t, e_j and the teachers' words | random vectors ([`RandomTeacher`]) |

use rand::Rng;
use tch::Tensor;

use crate::Result;
use crate::recipe::{Control, Recipe};
use crate::seeds::{generator, permutation};
use crate::selection::select_sample;
use crate::zipped::normalise;

/// m of `count` words, all as likely, without replacement: a pure function of (seed, epoch, place).
pub(crate) fn random_words(count: usize, m: usize, seed: u64, epoch: u64, place: &str) -> Vec<usize> {
    let p = vec![1.0 / count.max(1) as f32; count];
    select_sample(&p, m, &mut generator("random-words", seed, epoch, place))
}

/// `w` `[batch]` in another order: a pure function of (seed, step, first sample). The total stays.
pub(crate) fn shuffled(w: &Tensor, seed: u64, step: u64, first: &str) -> Result<Tensor> {
    let order = permutation("shuffled-weights", seed, step, first, w.size1()? as usize);
    let order: Vec<i64> = order.into_iter().map(|at| at as i64).collect();
    Ok(w.f_index_select(0, &Tensor::f_from_slice(&order)?.f_to_device(w.device())?)?)
}

/// Teachers that know nothing: each of their vectors is random, of its width and of length 1, and stays the same over
/// epochs. It is decided by the image's id, the text, or the word, so that equal rows are equal here too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RandomTeacher {
    seed: u64,
}

impl RandomTeacher {
    /// Of a recipe that asks for it.
    pub(crate) fn of(recipe: &Recipe) -> Option<Self> {
        (recipe.control == Control::RandomTeacher).then_some(Self { seed: recipe.seed })
    }

    /// A direction, all as likely: a pure function of the seed, of which feature it stands for, and of whose.
    pub(crate) fn feature(&self, of: &str, item: &str, width: usize) -> Vec<f32> {
        let mut rng = generator(&format!("random-teacher/{of}"), self.seed, 0, item);
        let mut vector: Vec<f32> = (0..width)
            .map(|_| {
                // Box-Muller: a normal vector has no preferred direction. 1 - u keeps the logarithm off zero.
                let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
                ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
            })
            .collect();
        normalise(&mut vector);
        vector
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selection::relevance;
    use retort_nn::Error;

    #[test]
    fn random_words_are_m_and_each_as_likely() {
        let mut counts = [0; 6];
        for sample in 0..3000 {
            let words = random_words(6, 2, 1, 0, &sample.to_string());
            assert!(words.len() == 2 && words[0] < words[1], "{words:?}");
            words.iter().for_each(|word| counts[*word] += 1);
        }
        // 1000 each are expected, with a deviation of 26.
        assert!(counts.iter().all(|count| (890..1110).contains(count)), "{counts:?}");
        assert_eq!(random_words(6, 2, 1, 3, "a"), random_words(6, 2, 1, 3, "a"));
        assert_eq!(random_words(2, 3, 1, 0, "a"), [0, 1]);
        assert!(random_words(0, 3, 1, 0, "a").is_empty());
    }

    #[test]
    fn weights_move_and_stay_the_same_numbers() -> Result<()> {
        let numbers: Vec<f32> = (0..32_u8).map(f32::from).collect();
        let w = Tensor::from_slice(&numbers);
        let moved = |seed, step| -> Result<Vec<f32>> {
            Ok(Vec::try_from(shuffled(&w, seed, step, "first")?).map_err(Error::from)?)
        };
        let one = moved(1, 7)?;
        assert_ne!(one, numbers);
        assert_eq!(one, moved(1, 7)?);
        assert_ne!(one, moved(1, 8)?);
        assert_ne!(one, moved(2, 7)?);
        let mut sorted = one;
        sorted.sort_by(f32::total_cmp);
        assert_eq!(sorted, numbers);
        Ok(())
    }

    #[test]
    fn a_random_teacher_is_constant_and_knows_nothing() {
        let teacher = RandomTeacher { seed: 1 };
        let one = teacher.feature("image", "7", 256);
        assert_eq!(one, teacher.feature("image", "7", 256));
        assert!((relevance(&one, &one) - 1.0).abs() < 1e-5);
        for other in [
            teacher.feature("image", "8", 256),
            teacher.feature("text", "7", 256),
            RandomTeacher { seed: 2 }.feature("image", "7", 256),
        ] {
            // Cosines of random directions have a deviation of 1/16 here.
            assert!(relevance(&one, &other).abs() < 0.3, "{}", relevance(&one, &other));
        }
        assert!(one.iter().any(|x| *x > 0.0) && one.iter().any(|x| *x < 0.0));
    }
}
