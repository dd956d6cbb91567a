//! AdamW (Loshchilov & Hutter 2019) with its whole state in sight, so that a stopped run continues bit by bit.
//!
//! ```text
//! values     | head.weight | layer.0.weight ... | layer.0.bias ... |     one buffer; a parameter is a view of its slot
//! gradients  | ...                                                 |     likewise: autograd adds into it in place
//! first      | ...
//! second     | ...
//! average    | ...                                                 |     of the values, where it is wanted
//!            '---- run: one rate, decayed ----'--- run: not -------'
//! ```
//!
//! A step goes over runs of neighbouring parameters that are treated alike, in pieces that stay in the processor's cache:
//! a few operations a piece instead of a dozen a parameter. On a GPU, where starting an operation costs more than
//! a cache saves, pieces are large.

mod schedule;

use std::collections::{BTreeMap, BTreeSet};

use tch::{Device, Kind, Tensor};

use self::schedule::Rates;
use crate::Result;
use crate::recipe::Optim;

/// Added to the root of the second moment.
const EPSILON: f64 = 1e-8;

/// Elements of a piece: its five buffers are 2.5 MB, which stay in cache over the operations of a step.
const PIECE: i64 = 1 << 17;
/// The same on a GPU: a hundred operations a step for ViLT-B's 112 million parameters instead of some ten thousand, and
/// 64 MB for what is between two operations.
const PIECE_ON_GPU: i64 = 1 << 24;

fn piece_of(device: Device) -> i64 {
    if device == Device::Cpu { PIECE } else { PIECE_ON_GPU }
}

/// A parameter's place in the buffers.
struct Slot {
    name: String,
    from: i64,
    shape: Vec<i64>,
    treatment: Treatment,
    /// Whether it has had a gradient: one that never had is left as it is.
    used: bool,
}

impl Slot {
    fn len(&self) -> i64 {
        self.shape.iter().product()
    }

    fn view(&self, buffer: &Tensor) -> Result<Tensor> {
        Ok(buffer.f_narrow(0, self.from, self.len())?.f_view(self.shape.as_slice())?)
    }
}

/// What a step does to a parameter besides following its gradient.
#[derive(Clone, Copy, PartialEq)]
struct Treatment {
    /// Times the schedule's rate.
    rate: f64,
    decays: bool,
}

pub(crate) struct AdamW {
    parameters: BTreeMap<String, Tensor>,
    slots: Vec<Slot>,
    values: Tensor,
    gradients: Tensor,
    first: Tensor,
    second: Tensor,
    average: Option<Tensor>,
    /// Elements of a piece.
    piece: i64,
    step: u64,
    optim: Optim,
}

impl AdamW {
    pub(crate) fn new(mut parameters: BTreeMap<String, Tensor>, optim: &Optim) -> Result<Self> {
        let _guard = tch::no_grad_guard();
        let rates = Rates::of(parameters.keys().map(String::as_str), optim);
        let mut slots: Vec<Slot> = parameters
            .iter()
            .map(|(name, tensor)| {
                let treatment = Treatment { rate: rates.factor(name), decays: decays(name, tensor) };
                Slot { name: name.clone(), from: 0, shape: tensor.size(), treatment, used: false }
            })
            .collect();
        let order = |slot: &Slot| (slot.treatment.rate.to_bits(), slot.treatment.decays);
        slots.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| a.name.cmp(&b.name)));
        let mut total = 0;
        for slot in &mut slots {
            slot.from = total;
            total += slot.len();
        }
        let device = parameters.values().next().map_or(Device::Cpu, Tensor::device);
        let zeros = || Tensor::f_zeros([total], (Kind::Float, device));
        let values = zeros()?;
        for slot in &slots {
            let Some(parameter) = parameters.get_mut(&slot.name) else { continue };
            let mut view = slot.view(&values)?;
            view.f_copy_(parameter)?;
            // The layers hold the same tensor: what they read is the buffer from now on.
            parameter.f_set_data(&view)?;
        }
        let average = if optim.ema > 0.0 { Some(values.f_zeros_like()?.f_add(&values)?) } else { None };
        let (gradients, first, second) = (zeros()?, zeros()?, zeros()?);
        let (piece, optim) = (piece_of(device), optim.clone());
        Ok(Self { parameters, slots, values, gradients, first, second, average, piece, step: 0, optim })
    }

    /// Learning rate of the next step.
    pub(crate) fn rate(&self) -> f64 {
        schedule::rate(&self.optim, self.step + 1)
    }

    /// Norm of the gradients of the step in progress: one pass, one number read.
    pub(crate) fn gradient_norm(&mut self) -> Result<f64> {
        self.gather()?;
        let mut squares = Tensor::f_zeros([1], (Kind::Double, self.gradients.device()))?;
        let total = self.gradients.size1()?;
        for from in (0..total).step_by(self.piece as usize) {
            let piece = self.gradients.f_narrow(0, from, self.piece.min(total - from))?;
            let _ = squares.f_add_(&piece.f_dot(&piece)?.f_to_kind(Kind::Double)?)?;
        }
        Ok(squares.f_sqrt()?.f_double_value(&[0])?)
    }

    /// Clips, steps, and clears the gradients; `norm` is their [`AdamW::gradient_norm`].
    pub(crate) fn step(&mut self, norm: f64) -> Result<()> {
        let _guard = tch::no_grad_guard();
        self.gather()?;
        let rate = self.rate();
        let clip = self.optim.clip;
        let scale = if clip > 0.0 && norm > clip { clip / norm } else { 1.0 };
        self.step += 1;
        for (from, len, treatment) in self.runs() {
            for at in (0..len).step_by(self.piece as usize) {
                self.step_piece(from + at, self.piece.min(len - at), scale, rate * treatment.rate, treatment.decays)?;
            }
        }
        let _ = self.gradients.f_zero_()?;
        self.follow()
    }

    /// ```text
    /// m = b1 m + (1 - b1) g        v = b2 v + (1 - b2) g^2
    /// w = w (1 - rate decay) - rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)
    /// ```
    fn step_piece(&mut self, from: i64, len: i64, scale: f64, rate: f64, decays: bool) -> Result<()> {
        let [beta1, beta2] = self.optim.betas;
        let t = self.step as i32;
        let (bias1, bias2) = (1.0 - beta1.powi(t), 1.0 - beta2.powi(t));
        let piece = |buffer: &Tensor| buffer.f_narrow(0, from, len);
        let mut g = piece(&self.gradients)?;
        let (mut w, mut m, mut v) = (piece(&self.values)?, piece(&self.first)?, piece(&self.second)?);
        if scale != 1.0 {
            let _ = g.f_mul_scalar_(scale)?;
        }
        let _ = m.f_lerp_(&g, 1.0 - beta1)?;
        let _ = v.f_mul_scalar_(beta2)?.f_addcmul_(&g.f_mul_scalar(1.0 - beta2)?, &g)?;
        let root = v.f_sqrt()?.f_mul_scalar_(bias2.sqrt().recip())?.f_add_scalar_(EPSILON)?;
        if decays {
            let _ = w.f_mul_scalar_(1.0 - rate * self.optim.weight_decay)?;
        }
        let _ = w.f_addcdiv_(&m.f_mul_scalar(-rate / bias1)?, &root)?;
        Ok(())
    }

    /// The exponential moving average of the weights follows them: a = d a + (1 - d) w, with d = min(`ema`, (1 + t) / (10 +
    /// t)), so that the first steps are soon forgotten (as TensorFlow's `ExponentialMovingAverage` with `num_updates`).
    fn follow(&mut self) -> Result<()> {
        let Some(average) = &mut self.average else { return Ok(()) };
        let t = self.step as f64;
        let d = self.optim.ema.min((1.0 + t) / (10.0 + t));
        let _ = average.f_lerp_(&self.values, 1.0 - d)?;
        Ok(())
    }

    /// Brings gradients that autograd has just made into the buffer, where it adds to them from then on.
    fn gather(&mut self) -> Result<()> {
        for slot in self.slots.iter_mut().filter(|slot| !slot.used) {
            let mut gradient = match self.parameters.get(&slot.name) {
                Some(parameter) => parameter.f_grad()?,
                None => continue,
            };
            if gradient.defined() {
                let mut view = slot.view(&self.gradients)?;
                let _guard = tch::no_grad_guard();
                view.f_copy_(&gradient)?;
                gradient.f_set_data(&view)?;
                slot.used = true;
            }
        }
        Ok(())
    }

    /// Runs of used parameters that lie side by side and are treated alike: from, length, treatment.
    fn runs(&self) -> Vec<(i64, i64, Treatment)> {
        let mut runs: Vec<(i64, i64, Treatment)> = Vec::new();
        for slot in self.slots.iter().filter(|slot| slot.used) {
            match runs.last_mut() {
                Some((from, len, treatment)) if *from + *len == slot.from && *treatment == slot.treatment => {
                    *len += slot.len();
                }
                _ => runs.push((slot.from, slot.len(), slot.treatment)),
            }
        }
        runs
    }

    pub(crate) fn steps_done(&self) -> u64 {
        self.step
    }

    fn buffers(&self) -> Vec<(&'static str, &Tensor)> {
        let always = [(WEIGHT, &self.values), (FIRST, &self.first), (SECOND, &self.second)];
        always.into_iter().chain(self.average.as_ref().map(|average| (AVERAGE, average))).collect()
    }

    /// Weights, moments and, where it is kept, their average by name, for a checkpoint.
    pub(crate) fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = BTreeMap::new();
        for (part, buffer) in self.buffers() {
            for slot in &self.slots {
                state.insert(format!("{part}/{}", slot.name), slot.view(buffer)?);
            }
        }
        Ok(state)
    }

    /// The weights to be used: their average where it is kept.
    pub(crate) fn trained(&self) -> Result<BTreeMap<String, Tensor>> {
        let buffer = self.average.as_ref().unwrap_or(&self.values);
        self.slots.iter().map(|slot| Ok((slot.name.clone(), slot.view(buffer)?))).collect()
    }

    /// Works with the weights to be used in the place of those that are trained, which are put back bit by bit.
    pub(crate) fn as_trained<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(average) = &self.average else { return work() };
        let _guard = tch::no_grad_guard();
        let mut kept = self.values.f_zeros_like()?;
        kept.f_copy_(&self.values)?;
        self.values.f_copy_(average)?;
        let done = work();
        self.values.f_copy_(&kept)?;
        done
    }

    /// Takes over those weights that another stage had too; the moments stay fresh.
    pub(crate) fn start_from(&mut self, tensor: impl Fn(&str) -> Result<Option<Tensor>>) -> Result<()> {
        let _guard = tch::no_grad_guard();
        for slot in &self.slots {
            if let Some(adapted) = tensor(&format!("{WEIGHT}/{}", slot.name))? {
                slot.view(&self.values)?.f_copy_(&adapted)?;
            }
        }
        if let Some(average) = &mut self.average {
            average.f_copy_(&self.values)?;
        }
        Ok(())
    }

    /// Takes over weights and moments of a checkpoint.
    ///
    /// A parameter that had a gradient once has one ever after, if only of zeros, and goes on by its moments; after a
    /// restart it must too, even if the next batches do not touch it (texts without words, and the words' projection).
    pub(crate) fn restore(&mut self, step: u64, tensor: impl Fn(&str) -> Result<Tensor>) -> Result<()> {
        let _guard = tch::no_grad_guard();
        for (part, buffer) in self.buffers() {
            for slot in &self.slots {
                slot.view(buffer)?.f_copy_(&tensor(&format!("{part}/{}", slot.name))?)?;
            }
        }
        self.step = step;
        let mut moved = BTreeSet::new();
        for slot in &self.slots {
            if slot.view(&self.second)?.f_count_nonzero(None::<i64>)?.f_int64_value(&[])? > 0 {
                moved.insert(slot.name.clone());
            }
        }
        tch::with_grad(|| -> Result<()> {
            for parameter in moved.iter().filter_map(|name| self.parameters.get(name)) {
                parameter.f_sum(Kind::Float)?.f_mul_scalar(0.0)?.f_backward()?;
            }
            Ok(())
        })?;
        self.gather()
    }
}

/// Parts of a checkpoint, before the name of the parameter.
const WEIGHT: &str = "weight";
const FIRST: &str = "first";
const SECOND: &str = "second";
const AVERAGE: &str = "average";

/// Weight decay is for matrices: not for biases, norms, embeddings of positions or single tokens.
fn decays(name: &str, tensor: &Tensor) -> bool {
    tensor.dim() >= 2 && !name.contains("position_embeddings") && !name.contains("cls_token")
}

#[cfg(test)]
mod tests;
