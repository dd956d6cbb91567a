//! The learning rate: over the steps, and from the head down to the embeddings.

use std::collections::BTreeSet;

use crate::recipe::{Decay, Optim};

/// Rate of step `step`, counted from 1: linear warm-up, then down to nothing or not.
///
/// ```text
/// q         = (step - warmup) / (steps + 1 - warmup)          0 at the end of the warm-up, 1 after the last step
/// linear    lr (1 - q)
/// cosine    lr (1 + cos(pi q)) / 2                             Loshchilov & Hutter 2017, without restarts
/// constant  lr
/// ```
pub(super) fn rate(optim: &Optim, step: u64) -> f64 {
    let (step, warmup, steps) = (step as f64, optim.warmup_steps as f64, optim.steps as f64);
    if step <= warmup {
        return optim.lr * step / warmup;
    }
    let q = ((step - warmup) / (steps + 1.0 - warmup)).clamp(0.0, 1.0);
    optim.lr
        * match optim.decay {
            Decay::Linear => 1.0 - q,
            Decay::Cosine => (1.0 + (std::f64::consts::PI * q).cos()) / 2.0,
            Decay::Constant => 1.0,
        }
}

/// What names of the Hugging Face layout call a layer of the encoder.
const LAYER: &str = ".encoder.layer.";

/// Factors of the rate by parameter.
///
/// Heads, which begin untrained, have `head_rate`. Of L layers below them, layer l (from 0) has `layer_decay`^(L - l), the
/// embeddings `layer_decay`^(L + 1), and what is behind the last layer (its normalisation, the pooler) 1: BEiT's rule
/// (Bao et al. 2021).
pub(super) struct Rates<'a> {
    optim: &'a Optim,
    /// What the names of the encoder's own parameters begin with.
    body: Option<String>,
    layers: i32,
}

impl<'a> Rates<'a> {
    pub(super) fn of<'b>(names: impl Iterator<Item = &'b str>, optim: &'a Optim) -> Self {
        let (mut body, mut layers) = (None, BTreeSet::new());
        for name in names {
            if let Some((root, rest)) = name.split_once(LAYER) {
                body = Some(format!("{root}."));
                layers.extend(rest.split('.').next().and_then(|layer| layer.parse::<i32>().ok()));
            }
        }
        Self { optim, body, layers: layers.len() as i32 }
    }

    pub(super) fn factor(&self, name: &str) -> f64 {
        let Some(inside) = self.body.as_deref().and_then(|body| name.strip_prefix(body)) else {
            return self.optim.head_rate;
        };
        let layer = name.split_once(LAYER).and_then(|(_, rest)| rest.split('.').next()?.parse::<i32>().ok());
        let below = match layer {
            Some(layer) => self.layers - layer,
            None if inside.contains("embeddings") => self.layers + 1,
            None => 0,
        };
        self.optim.layer_decay.powi(below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_and_fall_as_told() {
        let optim = |decay| Optim { lr: 2.0, warmup_steps: 2, steps: 5, decay, ..Optim::default() };
        let all = |decay| (1..=5).map(|step| rate(&optim(decay), step)).collect::<Vec<f64>>();
        // q of steps 3, 4, 5 is 1/4, 1/2, 3/4.
        assert_eq!(all(Decay::Linear), [1.0, 2.0, 1.5, 1.0, 0.5]);
        assert_eq!(all(Decay::Constant), [1.0, 2.0, 2.0, 2.0, 2.0]);
        let half_root = std::f64::consts::FRAC_1_SQRT_2;
        let expected = [1.0, 2.0, 1.0 + half_root, 1.0, 1.0 - half_root];
        assert!(
            all(Decay::Cosine).iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12),
            "{:?}",
            all(Decay::Cosine)
        );
    }

    #[test]
    fn the_rate_falls_from_the_head_to_the_embeddings() {
        let names = [
            "classifier.3.weight",
            "distil.vision.weight",
            "vilt.layernorm.weight",
            "vilt.encoder.layer.1.output.dense.weight",
            "vilt.encoder.layer.0.output.dense.weight",
            "vilt.embeddings.cls_token",
        ];
        let optim = Optim { head_rate: 10.0, layer_decay: 0.5, ..Optim::default() };
        let rates = Rates::of(names.into_iter(), &optim);
        assert_eq!(names.map(|name| rates.factor(name)), [10.0, 10.0, 1.0, 0.5, 0.25, 0.125]);
        let same = Optim::default();
        let rates = Rates::of(names.into_iter(), &same);
        assert_eq!(names.map(|name| rates.factor(name)), [1.0; 6]);
    }
}
