//! The losses, one function each, as `docs/method.md` writes them.
//!
//! Shapes: a batch of `batch` samples; `d` is a teacher's width. A per-sample loss is `[batch]`, so that confidence
//! can weigh it before the mean.

use retort_nn::Linear;
use tch::{Kind, Reduction, Tensor};

use crate::Result;
use crate::recipe::Distance;

/// Mean over dimensions of the distance between projected student features and normalised teacher features:
/// `[.., d]` twice to `[..]`.
///
/// ```text
/// l1      (1/d) || g - z ||_1
/// l2      (1/d) || g - z ||_2^2
/// cosine  1 - cos(g, z)
/// ```
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn distance(projected: &Tensor, target: &Tensor, kind: Distance) -> Result<Tensor> {
    let last = [-1_i64].as_slice();
    let difference = || projected.f_sub(target);
    Ok(match kind {
        Distance::L1 => difference()?.f_abs()?.f_mean_dim(last, false, Kind::Float)?,
        Distance::L2 => difference()?.f_square()?.f_mean_dim(last, false, Kind::Float)?,
        Distance::Cosine => Tensor::f_cosine_similarity(projected, target, -1, 1e-8)?.f_neg()?.f_add_scalar(1.0)?,
    })
}

/// Vision distillation, `[batch]`: L_v = (1/d_v) || g_v(r_img) - z_v ||_1, once per image.
///
/// `r_img` `[batch, width]` is the student's whole-image token, `z_v` `[batch, d_v]` the image teacher's pooled feature.
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn vision_loss(g_v: &Linear, r_img: &Tensor, z_v: &Tensor, kind: Distance) -> Result<Tensor> {
    distance(&g_v.forward(r_img)?, z_v, kind)
}

/// Text distillation, `[batch]`: L_t = (1/d_t) || g_t(h_cls) - z_t ||_1.
///
/// `h_cls` `[batch, width]` is the student's first text token, `z_t` `[batch, d_t]` the text teacher's pooled feature.
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn text_loss(g_t: &Linear, h_cls: &Tensor, z_t: &Tensor, kind: Distance) -> Result<Tensor> {
    distance(&g_t.forward(h_cls)?, z_t, kind)
}

/// Token-selective distillation, `[batch]`:
/// L_TS = (1/|Sel|) sum over w in Sel of (1/d) || g_w(h_w) - target(w) ||_1; 0 where no word is selected.
///
/// * `h_text` `[batch, tokens, width]`: the student's text tokens.
/// * `members` `[batch, words, tokens]`: 1/n at the n sub-tokens of a selected word, so that h_w is their mean.
/// * `present` `[batch, words]`: 1 for a selected word, 0 for padding.
/// * `target` `[batch, words, d]`.
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn token_loss(
    g_w: &Linear,
    h_text: &Tensor,
    members: &Tensor,
    present: &Tensor,
    target: &Tensor,
    kind: Distance,
) -> Result<Tensor> {
    let words = [1_i64].as_slice();
    let h_w = members.f_bmm(h_text)?;
    let each = distance(&g_w.forward(&h_w)?, target, kind)?.f_mul(present)?;
    let selected = present.f_sum_dim_intlist(words, false, Kind::Float)?.f_clamp_min(1.0)?;
    Ok(each.f_sum_dim_intlist(words, false, Kind::Float)?.f_div(&selected)?)
}

/// Smoothed targets: t' = (1 - e) t + e / C, of `targets` `[batch, C]` (Szegedy et al. 2016). A share e of the truth is spread
/// evenly over the C answers, classes or candidates, so that what is spread does not grow with their number. As they are
/// where e is 0.
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn smoothed(targets: &Tensor, smoothing: f64) -> Result<Tensor> {
    if smoothing == 0.0 {
        return Ok(targets.shallow_clone());
    }
    let classes = targets.size2()?.1.max(1) as f64;
    Ok(targets.f_mul_scalar(1.0 - smoothing)?.f_add_scalar(smoothing / classes)?)
}

/// Task loss of VQA, a scalar: binary cross-entropy of `logits` `[batch, answers]` against the official soft scores,
/// [`smoothed`], summed over the answer vocabulary and averaged over the batch.
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn vqa_loss(logits: &Tensor, targets: &Tensor, smoothing: f64) -> Result<Tensor> {
    let batch = logits.size().first().copied().unwrap_or(1);
    let none = None::<Tensor>;
    let soft = smoothed(targets, smoothing)?;
    let sum = logits.f_binary_cross_entropy_with_logits(&soft, none.as_ref(), none.as_ref(), Reduction::Sum)?;
    Ok(sum.f_div_scalar(batch as f64)?)
}

/// Task loss of one class of several, a scalar: softmax cross-entropy of `logits` `[batch, classes]`, averaged over the
/// samples with a label; `labels` `[batch]` is -1 where there is none. SNLI-VE has three classes. Of a choice, the
/// classes are the K candidates' scores: the VCR loss of method section 3.
///
/// ```text
/// -sum over c of t'_c ln p_c = -(1 - e) ln p_y - e (1/C) sum over c of ln p_c,   t' = smoothed([c = y], e)
/// ```
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn class_loss(logits: &Tensor, labels: &Tensor, smoothing: f64) -> Result<Tensor> {
    let log_p = logits.f_log_softmax(-1, Kind::Float)?;
    let known = labels.f_ge(0)?.f_to_kind(Kind::Float)?;
    let of_truth = log_p.f_gather(1, &labels.f_clamp_min(0)?.f_unsqueeze(1)?, false)?.f_squeeze_dim(1)?;
    let of_targets = if smoothing == 0.0 {
        of_truth
    } else {
        let of_all = log_p.f_mean_dim([-1_i64].as_slice(), false, Kind::Float)?;
        of_truth.f_mul_scalar(1.0 - smoothing)?.f_add(&of_all.f_mul_scalar(smoothing)?)?
    };
    let count = known.f_sum(Kind::Float)?.f_clamp_min(1.0)?;
    Ok(of_targets.f_mul(&known)?.f_sum(Kind::Float)?.f_neg()?.f_div(&count)?)
}

/// Task loss of a choice with the option `binary`, a scalar: two-way cross-entropy a candidate, as UNITER trains VCR,
/// against [`smoothed`] targets, summed over the K candidates and averaged over the samples with a label. `scores` `[batch, K]`, `labels` `[batch]`.
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn binary_choice_loss(scores: &Tensor, labels: &Tensor, smoothing: f64) -> Result<Tensor> {
    let candidates = scores.size2()?.1;
    let known = labels.f_ge(0)?.f_to_kind(Kind::Float)?;
    let truth = labels.f_clamp_min(0)?.f_one_hot(candidates)?.f_to_kind(Kind::Float)?;
    let truth = smoothed(&truth, smoothing)?;
    let none = None::<Tensor>;
    let each = scores.f_binary_cross_entropy_with_logits(&truth, none.as_ref(), none.as_ref(), Reduction::None)?;
    let each = each.f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Float)?.f_mul(&known)?;
    Ok(each.f_sum(Kind::Float)?.f_div(&known.f_sum(Kind::Float)?.f_clamp_min(1.0)?)?)
}

/// Contrastive knowledge, a scalar: does the student's feature point at its own teacher feature among those of the
/// batch? Mean over rows i of
///
/// ```text
/// InfoNCE(g(h), Z, tau) = -ln( exp(cos(g(h_i), z_i) / tau) / sum over j in N(i) of exp(cos(g(h_i), z_j) / tau) )
/// N(i) = { i } and every j that is of another image (text) than i
/// ```
///
/// (van den Oord et al. 2018; method section 6). Equal images and texts are no negatives of each other.
///
/// * `features` `[rows, width]`: the student's, which `g` projects to the teacher's width d.
/// * `targets` `[rows, d]`: the teacher's, of length 1.
/// * `ids` `[rows]`: integers, equal where the image (text) is the same.
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn info_nce(g: &Linear, features: &Tensor, targets: &Tensor, ids: &Tensor, tau: f64) -> Result<Tensor> {
    let projected = g.forward(features)?;
    let length = projected.f_norm_scalaropt_dim(2.0, [-1_i64].as_slice(), true)?.f_clamp_min(1e-8)?;
    let scores = projected.f_div(&length)?.f_matmul(&targets.f_transpose(0, 1)?)?.f_div_scalar(tau)?;
    let rows = ids.size1()?;
    let own = Tensor::f_eye(rows, (Kind::Bool, ids.device()))?;
    let same = ids.f_unsqueeze(1)?.f_eq_tensor(&ids.f_unsqueeze(0)?)?;
    let excluded = same.f_logical_and(&own.f_logical_not()?)?;
    let log_p = scores.f_masked_fill(&excluded, f64::NEG_INFINITY)?.f_log_softmax(-1, Kind::Float)?;
    Ok(log_p.f_diagonal(0, 0, 1)?.f_mean(Kind::Float)?.f_neg()?)
}

/// Masked-language modelling (Devlin et al. 2019), a scalar: the mean over the chosen tokens of
/// -ln softmax(logits)\[what stood there\]; 0 where none was chosen. `logits` `[chosen, vocabulary]`, `truth`
/// `[chosen]`.
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn masked_token_loss(logits: &Tensor, truth: &Tensor) -> Result<Tensor> {
    class_loss(logits, truth, 0.0)
}

/// A loss of each text, `[batch * K]`, as one of each sample, `[batch]`: the mean over its K candidate texts.
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn mean_over_texts(loss: &Tensor, texts: i64) -> Result<Tensor> {
    Ok(loss.f_view([-1, texts])?.f_mean_dim([1_i64].as_slice(), false, Kind::Float)?)
}

/// The distillation term, a scalar: mean over the batch of w(x) * [ s_v L_v + s_t (L_t + L_TS) ].
///
/// `s_v` and `s_t` are the recipe's shares; lambda is applied by the caller. Absent parts count nothing; without `w`
/// every sample has weight 1.
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn distillation(
    vision: Option<(&Tensor, f64)>,
    text: Option<(&Tensor, f64)>,
    tokens: Option<(&Tensor, f64)>,
    w: Option<&Tensor>,
) -> Result<Option<Tensor>> {
    let mut sum: Option<Tensor> = None;
    for (loss, share) in [vision, text, tokens].into_iter().flatten() {
        let part = loss.f_mul_scalar(share)?;
        sum = Some(match sum {
            Some(sum) => sum.f_add(&part)?,
            None => part,
        });
    }
    let Some(sum) = sum else { return Ok(None) };
    let weighed = match w {
        Some(w) => sum.f_mul(w)?,
        None => sum,
    };
    Ok(Some(weighed.f_mean(Kind::Float)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use retort_nn::{Error, Weights};
    use tch::Device;

    fn tensor(values: &[f32], shape: &[i64]) -> Result<Tensor> {
        Ok(Tensor::f_from_slice(values)?.f_reshape(shape)?)
    }

    fn close(found: &Tensor, expected: &[f32]) -> Result<()> {
        let found = Vec::<f32>::try_from(found.detach().f_view([-1])?).map_err(Error::from)?;
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-6, "{found:?} is not {expected:?}");
        }
        Ok(())
    }

    /// A projection that doubles, [2, 2].
    fn doubling(weights: &Weights) -> Result<Linear> {
        let linear = Linear::new(&weights.root().sub("g"), 2, 2)?;
        tch::no_grad(|| {
            let mut weight = weights.root().sub("g").tensor("weight", &[2, 2], retort_nn::Init::Zeros)?;
            weight.copy_(&Tensor::from_slice(&[2.0_f32, 0.0, 0.0, 2.0]).reshape([2, 2]));
            Ok(linear)
        })
    }

    #[test]
    fn a_class_costs_the_log_of_its_probability() -> Result<()> {
        let logits = tensor(&[0.0, 0.0, 3.0_f32.ln(), 0.0, 5.0, 1.0], &[3, 2])?;
        // -ln 1/2 and -ln 3/4; the third has no label.
        let expected = (2.0_f32.ln() + (4.0_f32 / 3.0).ln()) / 2.0;
        close(&class_loss(&logits, &Tensor::from_slice(&[1_i64, 0, -1]), 0.0)?, &[expected])?;
        close(&class_loss(&logits, &Tensor::from_slice(&[-1_i64, -1, -1]), 0.0)?, &[0.0])
    }

    #[test]
    fn smoothing_spreads_a_share_of_the_truth_evenly() -> Result<()> {
        let targets = tensor(&[1.0, 0.0, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0], &[2, 4])?;
        close(&smoothed(&targets, 0.2)?, &[0.85, 0.05, 0.29, 0.05, 0.05, 0.05, 0.05, 0.05])?;
        close(&smoothed(&targets, 0.0)?, &[1.0, 0.0, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0])?;
        // Probabilities 3/4 and 1/4: 0.9 of the truth and 0.1 of the other.
        let logits = tensor(&[3.0_f32.ln(), 0.0], &[1, 2])?;
        let expected = 0.9 * (4.0_f32 / 3.0).ln() + 0.1 * 4.0_f32.ln();
        close(&class_loss(&logits, &Tensor::from_slice(&[0_i64]), 0.2)?, &[expected])?;
        // Nothing is spread where there is no label.
        close(&class_loss(&logits, &Tensor::from_slice(&[-1_i64]), 0.2)?, &[0.0])
    }

    #[test]
    fn a_binary_choice_judges_each_candidate_alone() -> Result<()> {
        let scores = tensor(&[3.0_f32.ln(), -(3.0_f32.ln()), 9.0, 9.0], &[2, 2])?;
        // -ln 3/4 for the truth, -ln (1 - 1/4) for the other; the second sample has no label.
        close(&binary_choice_loss(&scores, &Tensor::from_slice(&[0_i64, -1]), 0.0)?, &[2.0 * (4.0_f32 / 3.0).ln()])
    }

    #[test]
    fn candidates_of_a_sample_count_as_one() -> Result<()> {
        close(&mean_over_texts(&tensor(&[1.0, 3.0, 5.0, 9.0], &[4])?, 2)?, &[2.0, 7.0])
    }

    #[test]
    fn distances_are_those_of_the_formulas() -> Result<()> {
        let (g, z) = (tensor(&[1.0, 2.0, 3.0, 4.0], &[2, 2])?, tensor(&[0.0, 4.0, 3.0, 4.0], &[2, 2])?);
        close(&distance(&g, &z, Distance::L1)?, &[1.5, 0.0])?; // (1 + 2) / 2
        close(&distance(&g, &z, Distance::L2)?, &[2.5, 0.0])?; // (1 + 4) / 2
        close(&distance(&g, &z, Distance::Cosine)?, &[1.0 - 8.0 / (5.0_f32.sqrt() * 4.0), 0.0])
    }

    #[test]
    fn vision_and_text_losses_project_the_student() -> Result<()> {
        let weights = Weights::fresh(1, Device::Cpu);
        let g = doubling(&weights)?;
        let (h, z) = (tensor(&[0.5, -0.5], &[1, 2])?, tensor(&[0.6, 0.8], &[1, 2])?);
        close(&vision_loss(&g, &h, &z, Distance::L1)?, &[(0.4 + 1.8) / 2.0])?;
        close(&text_loss(&g, &h, &z, Distance::L1)?, &[(0.4 + 1.8) / 2.0])
    }

    #[test]
    fn token_loss_is_a_mean_over_selected_words_of_mean_sub_tokens() -> Result<()> {
        let weights = Weights::fresh(1, Device::Cpu);
        let g = doubling(&weights)?;
        let h = tensor(&[1.0, 0.0, 3.0, 0.0, 0.0, 1.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0], &[2, 3, 2])?;
        // First sample: word 0 is tokens 0 and 1 (mean [2, 0], projected [4, 0]), word 1 is token 2 ([0, 2]).
        let members = tensor(&[0.5, 0.5, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], &[2, 2, 3])?;
        let present = tensor(&[1.0, 1.0, 0.0, 0.0], &[2, 2])?;
        let target = tensor(&[3.0, 0.0, 0.0, 0.0, 7.0, 7.0, 7.0, 7.0], &[2, 2, 2])?;
        // (|4-3| / 2 + |2-0| / 2) / 2; the second sample selects nothing.
        close(&token_loss(&g, &h, &members, &present, &target, Distance::L1)?, &[0.75, 0.0])
    }

    #[test]
    fn vqa_loss_sums_over_answers_and_averages_over_the_batch() -> Result<()> {
        let logits = tensor(&[0.0, 0.0, 2.0, -1.0], &[2, 2])?;
        let targets = tensor(&[1.0, 0.0, 0.3, 0.0], &[2, 2])?;
        let softplus = |x: f32| (1.0 + x.exp()).ln();
        let expected = (2.0 * softplus(0.0) + (softplus(2.0) - 0.3 * 2.0) + softplus(-1.0)) / 2.0;
        close(&vqa_loss(&logits, &targets, 0.0)?, &[expected])
    }

    #[test]
    fn the_distillation_term_weighs_samples_and_shares() -> Result<()> {
        let (v, t) = (tensor(&[1.0, 3.0], &[2])?, tensor(&[2.0, 4.0], &[2])?);
        let w = tensor(&[0.5, 1.5], &[2])?;
        let term = distillation(Some((&v, 1.0)), Some((&t, 0.5)), None, Some(&w))?;
        // 0.5 * (1 + 1) and 1.5 * (3 + 2), mean.
        close(&term.unwrap(), &[(1.0 + 7.5) / 2.0])?;
        assert!(distillation(None, None, None, None)?.is_none());
        Ok(())
    }
}
