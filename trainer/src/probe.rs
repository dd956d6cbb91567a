//! c_T of tasks without a zero-shot teacher: a cross-fitted logistic regression on the teachers' features.

use tch::{Kind, Tensor};

use crate::Result;
use crate::seeds::permutation;

/// What the probe sees: a sample's teacher features, its truth, and the group that decides its fold.
pub(crate) struct Observation {
    /// Of each of its texts, end to end.
    pub(crate) features: Vec<f32>,
    pub(crate) label: u32,
    pub(crate) group: [u8; 16],
}

/// What it says: the fold, its probability of the truth, and whether its own prediction is the truth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) fold: u32,
    pub(crate) confidence: f32,
    pub(crate) correct: bool,
}

/// Gradient steps; the problem is convex and the features are standardised.
const STEPS: usize = 200;
const RATE: f64 = 0.05;
/// Squared-norm penalty on the weights.
const PENALTY: f64 = 1e-3;

/// [z_v, z_t, z_v * z_t where the widths agree].
pub(crate) fn features(z_v: Option<&[f32]>, z_t: Option<&[f32]>) -> Vec<f32> {
    let (v, t) = (z_v.unwrap_or_default(), z_t.unwrap_or_default());
    let mut all = [v, t].concat();
    if v.len() == t.len() {
        all.extend(v.iter().zip(t).map(|(x, y)| x * y));
    }
    all
}

/// What a probe chooses from: so many classes, or so many texts, of which it scores each.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Choices {
    Classes(usize),
    Texts(usize),
}

impl Choices {
    /// Texts a sample, and outputs a text.
    fn shape(self) -> (i64, i64) {
        match self {
            Self::Classes(classes) => (1, classes as i64),
            Self::Texts(texts) => (texts as i64, 1),
        }
    }

    fn count(self) -> usize {
        match self {
            Self::Classes(count) | Self::Texts(count) => count,
        }
    }
}

/// What the probe of the other folds says of a sample.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judged {
    pub(crate) fold: u32,
    /// Of each choice.
    pub(crate) probabilities: Vec<f32>,
}

/// Fits one probe a fold on the other folds, and lets it judge its own. Groups (images) are never split over folds.
pub(crate) fn cross_fit(
    observations: &[Observation],
    choices: Choices,
    folds: usize,
    seed: u64,
) -> Result<Vec<Verdict>> {
    let verdict = |(judged, observation): (Option<Judged>, &Observation)| {
        let Some(Judged { fold, probabilities: row }) = judged else {
            return Verdict { fold: 0, confidence: 0.5, correct: false };
        };
        let label = observation.label as usize;
        let best = (0..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best });
        Verdict { fold, confidence: row[label], correct: best == label }
    };
    let judged = cross_fitted(observations, choices, folds, seed)?;
    Ok(judged.into_iter().zip(observations).map(verdict).collect())
}

/// As [`cross_fit`], all that the probes say; none of a sample where all are of one group.
pub(crate) fn cross_fitted(
    observations: &[Observation],
    choices: Choices,
    folds: usize,
    seed: u64,
) -> Result<Vec<Option<Judged>>> {
    let (texts, count) = (choices.shape().0, choices.count());
    let mut groups: Vec<[u8; 16]> = observations.iter().map(|o| o.group).collect();
    groups.sort_unstable();
    groups.dedup();
    let folds = folds.clamp(2, groups.len().max(2));
    let order = permutation("folds", seed, 0, "", groups.len());
    let fold_of: std::collections::HashMap<[u8; 16], usize> =
        order.iter().enumerate().map(|(at, group)| (groups[*group], at % folds)).collect();
    let fold = |o: &Observation| fold_of.get(&o.group).copied().unwrap_or(0);
    let mut judged = vec![None; observations.len()];
    for held in 0..folds {
        let (inside, outside): (Vec<usize>, Vec<usize>) =
            (0..observations.len()).partition(|at| fold(&observations[*at]) == held);
        if inside.is_empty() || outside.is_empty() {
            continue;
        }
        let probe = Probe::fit(observations, &outside, choices)?;
        let (test, _) = tensors(observations, &inside, texts)?;
        let p = probe.probabilities(&test)?;
        for (row, at) in p.chunks_exact(count).zip(inside) {
            judged[at] = Some(Judged { fold: held as u32, probabilities: row.to_vec() });
        }
    }
    Ok(judged)
}

/// A fitted softmax regression, with the standardisation of what it was fitted on.
pub(crate) struct Probe {
    /// Of each feature, `[1, width]`.
    mean: Tensor,
    deviation: Tensor,
    parameters: [Tensor; 2],
    choices: Choices,
}

impl Probe {
    /// Fits it on these rows of the observations.
    pub(crate) fn fit(observations: &[Observation], rows: &[usize], choices: Choices) -> Result<Self> {
        let (train, truth) = tensors(observations, rows, choices.shape().0)?;
        let mean = train.f_mean_dim([0_i64].as_slice(), true, Kind::Float)?;
        let deviation = train.f_std_dim([0_i64].as_slice(), false, true)?.f_clamp_min(1e-6)?;
        let parameters = fit(&train.f_sub(&mean)?.f_div(&deviation)?, &truth, choices)?;
        Ok(Self { mean, deviation, parameters, choices })
    }

    /// Of features `[rows * texts, width]`, the probabilities `[rows, choices]`, row after row.
    pub(crate) fn probabilities(&self, features: &Tensor) -> Result<Vec<f32>> {
        let standard = features.f_sub(&self.mean)?.f_div(&self.deviation)?;
        let p = probabilities(&standard, &self.parameters, self.choices.count())?;
        Ok(Vec::<f32>::try_from(p.f_view([-1])?)?)
    }
}

/// Features `[rows * texts, width]` and truths `[rows]`.
fn tensors(observations: &[Observation], rows: &[usize], texts: i64) -> Result<(Tensor, Tensor)> {
    let features: Vec<f32> = rows.iter().flat_map(|at| observations[*at].features.iter().copied()).collect();
    let labels: Vec<i64> = rows.iter().map(|at| i64::from(observations[*at].label)).collect();
    Ok((Tensor::f_from_slice(&features)?.f_reshape([rows.len() as i64 * texts, -1])?, Tensor::f_from_slice(&labels)?))
}

/// softmax(x w + b) over what a sample chooses from: `[rows * texts, width]` to `[rows, choices]`.
fn probabilities(x: &Tensor, [weight, bias]: &[Tensor; 2], choices: usize) -> Result<Tensor> {
    let scores = x.f_matmul(weight)?.f_add(bias)?.f_view([-1, choices as i64])?;
    Ok(scores.f_softmax(-1, Kind::Float)?)
}

/// Softmax regression by Adam on the whole set: `[width, outputs]` and `[outputs]`. Of texts to choose from it is the
/// conditional logit: one weight vector for all of them.
fn fit(x: &Tensor, truth: &Tensor, choices: Choices) -> Result<[Tensor; 2]> {
    let _guard = tch::no_grad_guard();
    let width = x.size2()?.1;
    let ((_, outputs), rows) = (choices.shape(), truth.size1()?);
    let options = (Kind::Float, x.device());
    let target = truth.f_one_hot(choices.count() as i64)?.f_to_kind(Kind::Float)?;
    let mut parameters = [Tensor::f_zeros([width, outputs], options)?, Tensor::f_zeros([outputs], options)?];
    let mut first = [parameters[0].f_zeros_like()?, parameters[1].f_zeros_like()?];
    let mut second = [parameters[0].f_zeros_like()?, parameters[1].f_zeros_like()?];
    for step in 1..=STEPS {
        let p = probabilities(x, &parameters, choices.count())?;
        let miss = p.f_sub(&target)?.f_div_scalar(rows as f64)?.f_view([-1, outputs])?;
        let gradients = [
            x.f_transpose(0, 1)?.f_matmul(&miss)?.f_add(&parameters[0].f_mul_scalar(PENALTY)?)?,
            miss.f_sum_dim_intlist([0_i64].as_slice(), false, Kind::Float)?,
        ];
        for i in 0..2 {
            let _ = first[i].f_mul_scalar_(0.9)?.f_add_(&gradients[i].f_mul_scalar(0.1)?)?;
            let _ = second[i].f_mul_scalar_(0.99)?.f_add_(&gradients[i].f_square()?.f_mul_scalar(0.01)?)?;
            let root = second[i].f_div_scalar(1.0 - 0.99_f64.powi(step as i32))?.f_sqrt()?.f_add_scalar(1e-8)?;
            let update = first[i].f_div_scalar(1.0 - 0.9_f64.powi(step as i32))?.f_div(&root)?;
            let _ = parameters[i].f_sub_(&update.f_mul_scalar(RATE)?)?;
        }
    }
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two classes apart along the first feature, and noise; every third label is wrong on purpose.
    fn observations(wrong: bool) -> Vec<Observation> {
        (0..120_u32)
            .map(|i| {
                let class = i % 2;
                let mut group = [0; 16];
                group[0] = (i / 2) as u8;
                let features = vec![class as f32 * 2.0 - 1.0 + (i as f32 * 0.7).sin() * 0.3, (i as f32 * 1.3).cos()];
                let label = if wrong && i % 3 == 0 { 1 - class } else { class };
                Observation { features, label, group }
            })
            .collect()
    }

    #[test]
    fn separable_classes_are_judged_with_confidence() -> Result<()> {
        let verdicts = cross_fit(&observations(false), Choices::Classes(2), 5, 1)?;
        assert!(verdicts.iter().all(|v| v.correct && v.confidence > 0.8), "{verdicts:?}");
        assert_eq!(verdicts.iter().map(|v| v.fold).collect::<std::collections::BTreeSet<_>>().len(), 5);
        Ok(())
    }

    #[test]
    fn a_wrong_label_is_not_learnt_by_heart() -> Result<()> {
        let all = observations(true);
        let verdicts = cross_fit(&all, Choices::Classes(2), 5, 1)?;
        let wrong = verdicts.iter().enumerate().filter(|(i, _)| i % 3 == 0);
        assert!(wrong.clone().filter(|(_, v)| !v.correct).count() > 36, "{verdicts:?}"); // of 40
        Ok(())
    }

    #[test]
    fn a_group_is_in_one_fold() -> Result<()> {
        let all = observations(false);
        let verdicts = cross_fit(&all, Choices::Classes(2), 5, 1)?;
        assert!(verdicts.chunks(2).all(|pair| pair[0].fold == pair[1].fold));
        Ok(())
    }

    #[test]
    fn the_right_one_of_several_texts_is_found() -> Result<()> {
        // Of three texts, the one whose first feature is largest is right.
        let all: Vec<Observation> = (0..90_u32)
            .map(|i| {
                let first = |k: u32| ((i * 3 + k) as f32 * 1.7).sin();
                let features = (0..3).flat_map(|k| [first(k), (i as f32 + k as f32 * 2.3).cos()]).collect();
                let label = (0..3).fold(0, |best, k| if first(k) > first(best) { k } else { best });
                let mut group = [0; 16];
                group[0] = i as u8;
                Observation { features, label, group }
            })
            .collect();
        let verdicts = cross_fit(&all, Choices::Texts(3), 5, 1)?;
        let right = verdicts.iter().filter(|verdict| verdict.correct).count();
        assert!(right > 85, "{right} of 90");
        Ok(())
    }

    #[test]
    fn products_are_seen_where_widths_agree() {
        assert_eq!(features(Some(&[1.0, 2.0]), Some(&[3.0, 4.0])), [1.0, 2.0, 3.0, 4.0, 3.0, 8.0]);
        assert_eq!(features(Some(&[1.0]), Some(&[3.0, 4.0])), [1.0, 3.0, 4.0]);
    }
}
