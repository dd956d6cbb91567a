//! Confidence weighting (CW): w(x), how much of the teachers' pull a sample gets.
//!
//! ```text
//! ratio     w = c_T / (c_T + c_S)
//! teacher   w = c_T
//! gate      w = 1 where the teacher's own prediction is right, else 0
//! ```
//! c_T is the teachers' probability of the truth, c_S the student's. Always detached, and scaled to mean 1 over the
//! batch: weighting moves pull between samples and never changes its total.

use tch::{Kind, Tensor};

use crate::Result;
use crate::recipe::ConfidenceForm;
use crate::selection::{relevance, softmax};

/// Temperature of the zero-shot probabilities: CLIP's own, which it learnt to 1/100.
const TAU_ZERO_SHOT: f32 = 0.01;

/// Zero-shot probabilities of the K candidate texts of an image: softmax_k( cos(z_v, z_t^k) / 0.01 ), c_T being that of
/// the truth. All features are of one joint teacher and normalised.
pub fn zero_shot(z_v: &[f32], z_t: &[&[f32]]) -> Vec<f32> {
    let cosines: Vec<f32> = z_t.iter().map(|z_t| relevance(z_t, z_v)).collect();
    softmax(&cosines, TAU_ZERO_SHOT)
}

/// c_S, `[batch]`: the student's probability of the truth, detached. `labels` `[batch]` is the class of the truth, -1
/// where it has none, which gives 1/2.
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn student_confidence(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let probabilities = logits.f_detach()?.f_softmax(-1, Kind::Float)?;
    let known = labels.f_ge(0)?;
    let truth = probabilities.f_gather(1, &labels.f_clamp_min(0)?.f_unsqueeze(1)?, false)?.f_squeeze_dim(1)?;
    Ok(truth.f_where_self(&known, &truth.f_full_like(0.5)?)?)
}

/// w(x), `[batch]`, of mean 1 (all 0 where a gate is shut for the whole batch).
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn weights(form: ConfidenceForm, c_t: &Tensor, c_s: &Tensor, right: &Tensor) -> Result<Tensor> {
    let w = match form {
        ConfidenceForm::Ratio => c_t.f_div(&c_t.f_add(c_s)?.f_clamp_min(1e-12)?)?,
        ConfidenceForm::Teacher => c_t.shallow_clone(),
        ConfidenceForm::Gate => right.shallow_clone(),
    };
    let w = w.f_detach()?;
    Ok(w.f_div(&w.f_mean(Kind::Float)?.f_clamp_min(1e-12)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use retort_nn::Error;

    fn values(tensor: &Tensor) -> Result<Vec<f32>> {
        Ok(Vec::try_from(tensor.detach()).map_err(Error::from)?)
    }

    #[test]
    fn each_form_has_mean_one() -> Result<()> {
        let c_t = Tensor::from_slice(&[0.9_f32, 0.1]);
        let c_s = Tensor::from_slice(&[0.1_f32, 0.9]);
        let right = Tensor::from_slice(&[1.0_f32, 0.0]);
        for (form, expected) in [
            (ConfidenceForm::Ratio, [1.8, 0.2]),
            (ConfidenceForm::Teacher, [1.8, 0.2]),
            (ConfidenceForm::Gate, [2.0, 0.0]),
        ] {
            let found = values(&weights(form, &c_t, &c_s, &right)?)?;
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{form}: {found:?}");
        }
        let shut = weights(ConfidenceForm::Gate, &c_t, &c_s, &Tensor::from_slice(&[0.0_f32, 0.0]))?;
        assert_eq!(values(&shut)?, [0.0, 0.0]);
        Ok(())
    }

    #[test]
    fn zero_shot_is_a_softmax_of_cosines() {
        let p = zero_shot(&[1.0, 0.0], &[&[0.6, 0.8], &[0.59, 0.807_4], &[-1.0, 0.0]]);
        let odds = (0.01_f32 / 0.01).exp();
        assert!((p[0] / p[1] - odds).abs() < 1e-3 && p[2] < 1e-30, "{p:?}");
        assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_students_confidence_is_its_probability_of_the_truth() -> Result<()> {
        let logits = Tensor::from_slice(&[0.0_f32, 0.0, 3.0_f32.ln(), 0.0]).reshape([2, 2]);
        let found = values(&student_confidence(&logits, &Tensor::from_slice(&[1_i64, 0]))?)?;
        assert!((found[0] - 0.5).abs() < 1e-6 && (found[1] - 0.75).abs() < 1e-6, "{found:?}");
        let unlabelled = values(&student_confidence(&logits, &Tensor::from_slice(&[-1_i64, -1]))?)?;
        assert_eq!(unlabelled, [0.5, 0.5]);
        Ok(())
    }
}
