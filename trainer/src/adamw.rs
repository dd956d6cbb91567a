//! AdamW (Loshchilov & Hutter 2019) with its whole state in sight, so that a stopped run continues bit by bit.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use crate::Result;
use crate::recipe::Optim;

/// Added to the root of the second moment.
const EPSILON: f64 = 1e-8;

pub(crate) struct AdamW {
    parameters: BTreeMap<String, Tensor>,
    first: BTreeMap<String, Tensor>,
    second: BTreeMap<String, Tensor>,
    step: u64,
    optim: Optim,
}

impl AdamW {
    pub(crate) fn new(parameters: BTreeMap<String, Tensor>, optim: &Optim) -> Result<Self> {
        let zeros = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), tensor.f_detach()?.f_zeros_like()?));
        Ok(Self {
            first: parameters.iter().map(zeros).collect::<Result<_>>()?,
            second: parameters.iter().map(zeros).collect::<Result<_>>()?,
            parameters,
            step: 0,
            optim: optim.clone(),
        })
    }

    /// Learning rate of the next step: linear warm-up, then linear decay to zero at the last.
    pub(crate) fn rate(&self) -> f64 {
        let Optim { lr, warmup_steps, steps, .. } = self.optim;
        let (step, warmup, steps) = (self.step as f64 + 1.0, warmup_steps as f64, steps as f64);
        lr * if step <= warmup { step / warmup } else { ((steps + 1.0 - step) / (steps + 1.0 - warmup)).max(0.0) }
    }

    /// Clips, steps, and clears the gradients. Returns the gradients' norm before clipping.
    pub(crate) fn step(&mut self) -> Result<f64> {
        let _guard = tch::no_grad_guard();
        let rate = self.rate();
        let [beta1, beta2] = self.optim.betas;
        let norm = self.gradient_norm()?;
        let clip = self.optim.clip;
        let scale = if clip > 0.0 && norm > clip { clip / norm } else { 1.0 };
        self.step += 1;
        let t = self.step as i32;
        let (bias1, bias2) = (1.0 - beta1.powi(t), 1.0 - beta2.powi(t));
        for (name, parameter) in &mut self.parameters {
            let mut gradient = parameter.grad();
            if !gradient.defined() {
                continue;
            }
            let (Some(first), Some(second)) = (self.first.get_mut(name), self.second.get_mut(name)) else { continue };
            let scaled = gradient.f_mul_scalar(scale)?;
            let _ = first.f_mul_scalar_(beta1)?.f_add_(&scaled.f_mul_scalar(1.0 - beta1)?)?;
            let _ = second.f_mul_scalar_(beta2)?.f_add_(&scaled.f_square()?.f_mul_scalar(1.0 - beta2)?)?;
            let root = second.f_div_scalar(bias2)?.f_sqrt()?.f_add_scalar(EPSILON)?;
            let update = first.f_div_scalar(bias1)?.f_div(&root)?;
            if decays(name, parameter) {
                let _ = parameter.f_mul_scalar_(1.0 - rate * self.optim.weight_decay)?;
            }
            let _ = parameter.f_sub_(&update.f_mul_scalar(rate)?)?;
            let _ = gradient.f_zero_()?;
        }
        Ok(norm)
    }

    fn gradient_norm(&self) -> Result<f64> {
        let mut squares = 0.0;
        for parameter in self.parameters.values() {
            let gradient = parameter.grad();
            if gradient.defined() {
                squares += gradient.f_square()?.f_sum(Kind::Double)?.f_double_value(&[])?;
            }
        }
        Ok(squares.sqrt())
    }

    pub(crate) fn steps_done(&self) -> u64 {
        self.step
    }

    /// Weights and moments by name, for a checkpoint.
    pub(crate) fn state(&self) -> BTreeMap<String, Tensor> {
        let named = |part: &str, tensors: &BTreeMap<String, Tensor>| -> Vec<(String, Tensor)> {
            tensors.iter().map(|(name, tensor)| (format!("{part}/{name}"), tensor.shallow_clone())).collect()
        };
        let mut state = BTreeMap::new();
        state.extend(named("weight", &self.parameters));
        state.extend(named("first", &self.first));
        state.extend(named("second", &self.second));
        state
    }

    /// Takes over those weights that another stage had too; the moments stay fresh.
    pub(crate) fn start_from(&mut self, tensor: impl Fn(&str) -> Result<Option<Tensor>>) -> Result<()> {
        let _guard = tch::no_grad_guard();
        for (name, target) in &mut self.parameters {
            if let Some(adapted) = tensor(&format!("weight/{name}"))? {
                target.f_copy_(&adapted)?;
            }
        }
        Ok(())
    }

    /// Takes over weights and moments of a checkpoint.
    pub(crate) fn restore(&mut self, step: u64, tensor: impl Fn(&str) -> Result<Tensor>) -> Result<()> {
        let _guard = tch::no_grad_guard();
        for (part, tensors) in
            [("weight", &mut self.parameters), ("first", &mut self.first), ("second", &mut self.second)]
        {
            for (name, target) in tensors.iter_mut() {
                target.f_copy_(&tensor(&format!("{part}/{name}"))?)?;
            }
        }
        self.step = step;
        self.define_gradients()
    }

    /// A parameter that had a gradient once has one ever after, if only of zeros, and goes on by its moments; after a
    /// restart it must too, even if the next batches do not touch it (texts without words, and the words' projection).
    fn define_gradients(&self) -> Result<()> {
        tch::with_grad(|| {
            for (name, parameter) in &self.parameters {
                let Some(second) = self.second.get(name) else { continue };
                let moved = second.f_count_nonzero(None::<i64>)?.f_int64_value(&[])? > 0;
                if moved {
                    parameter.f_sum(Kind::Float)?.f_mul_scalar(0.0)?.f_backward()?;
                }
            }
            Ok(())
        })
    }
}

/// Weight decay is for matrices: not for biases, norms, embeddings of positions or single tokens.
fn decays(name: &str, tensor: &Tensor) -> bool {
    tensor.dim() >= 2 && !name.contains("position_embeddings") && !name.contains("cls_token")
}

#[cfg(test)]
mod tests {
    use super::*;
    use retort_nn::Error;

    #[test]
    fn two_steps_are_those_of_the_paper() -> Result<()> {
        let w = Tensor::from_slice(&[1.0_f32, -2.0]).reshape([1, 2]).set_requires_grad(true);
        let optim = Optim {
            steps: 100,
            lr: 0.1,
            warmup_steps: 0,
            weight_decay: 0.5,
            betas: [0.9, 0.99],
            clip: 0.0,
            ..Optim::default()
        };
        let mut adamw = AdamW::new(BTreeMap::from([("w".to_owned(), w.shallow_clone())]), &optim)?;
        let (mut expected, mut m, mut v) = ([1.0_f64, -2.0], [0.0; 2], [0.0; 2]);
        for t in 1..=2 {
            let rate = adamw.rate();
            w.f_square()?.f_sum(Kind::Float)?.f_backward()?;
            adamw.step()?;
            for i in 0..2 {
                let g = 2.0 * expected[i];
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.99 * v[i] + 0.01 * g * g;
                let step = (m[i] / (1.0 - 0.9_f64.powi(t))) / ((v[i] / (1.0 - 0.99_f64.powi(t))).sqrt() + EPSILON);
                expected[i] = expected[i] * (1.0 - rate * 0.5) - rate * step;
            }
        }
        let found: Vec<f32> = Vec::try_from(w.detach().view([-1])).map_err(Error::from)?;
        assert!(found.iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5), "{found:?} {expected:?}");
        Ok(())
    }

    #[test]
    fn a_parameter_that_is_not_always_used_goes_on_as_if_never_stopped() -> Result<()> {
        let fresh = || -> Result<(Tensor, Tensor, AdamW)> {
            let tensor = |x: f32| Tensor::from_slice(&[x, -x]).reshape([1, 2]).set_requires_grad(true);
            let (always, once) = (tensor(1.0), tensor(2.0));
            let named = [("always", &always), ("once", &once)].map(|(name, w)| (name.to_owned(), w.shallow_clone()));
            let adamw = AdamW::new(BTreeMap::from(named), &Optim::default())?;
            Ok((always, once, adamw))
        };
        let (always, once, mut whole) = fresh()?;
        (always.f_square()?.f_sum(Kind::Float)? + once.f_square()?.f_sum(Kind::Float)?).f_backward()?;
        whole.step()?;
        let saved: BTreeMap<String, Tensor> =
            whole.state().into_iter().map(|(name, tensor)| (name, tensor.detach().copy())).collect();
        always.f_square()?.f_sum(Kind::Float)?.f_backward()?;
        whole.step()?;

        let (always_again, once_again, mut restored) = fresh()?;
        restored.restore(1, |name| Ok(saved[name].shallow_clone()))?;
        always_again.f_square()?.f_sum(Kind::Float)?.f_backward()?;
        restored.step()?;
        assert_eq!(always, always_again);
        assert_eq!(once, once_again);
        assert_ne!(once, saved["weight/once"]);
        Ok(())
    }

    #[test]
    fn gradients_are_clipped_to_the_norm() -> Result<()> {
        let w = Tensor::from_slice(&[3.0_f32, 4.0]).set_requires_grad(true);
        let mut adamw = AdamW::new(BTreeMap::from([("w".to_owned(), w.shallow_clone())]), &Optim::default())?;
        w.f_square()?.f_sum(Kind::Float)?.f_backward()?;
        assert!((adamw.step()? - 10.0).abs() < 1e-4);
        Ok(())
    }
}
