//! Adversarial training of the embeddings (VILLA, Gan et al. 2020), for any student.
//!
//! ```text
//! min over theta of E[ L(theta) + R_at(theta) + alpha R_kl(theta) ]
//!
//! L     the loss of the clean batch, distillation and all
//! R_at  max over |d| <= e of L_task( f(x + d), y )
//! R_kl  max over |d| <= e of KL( f(x + d) || f(x) ) + KL( f(x) || f(x + d) )
//! ```
//!
//! The maximum is sought in K steps of gradient ascent, and the parameters' gradients of all K count, 1/K each ("free"
//! training, section 3.3). VILLA perturbs word embeddings and region features; ours is one place further on, where text
//! and image have become tokens of one width ([`Embedded`]), so that it suits any student.
//!
//! Only the encoder runs K times more. What a perturbed pass wants of the embeddings and of the clean predictions is
//! kept as a gradient and goes back through the clean pass once, with its own loss.

use rand::Rng;
use tch::{Kind, Tensor};

use crate::recipe::{Adversarial, Side};
use crate::seeds::generator;
use crate::students::{Embedded, Student, Views};
use crate::{Error, Result};

/// Keeps a vanishing gradient from becoming a division by zero.
const LEAST_NORM: f64 = 1e-8;

/// KL(p || q) + KL(q || p) = sum over classes of (p - q)(log p - log q), a mean over rows, of the softmax of two rows of
/// logits `[rows, classes]`. A scalar; the divergence of VILLA's R_kl.
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn symmetric_kl(one: &Tensor, other: &Tensor) -> Result<Tensor> {
    let (log_p, log_q) = (one.f_log_softmax(-1, Kind::Float)?, other.f_log_softmax(-1, Kind::Float)?);
    let each = log_p.f_exp()?.f_sub(&log_q.f_exp()?)?.f_mul(&log_p.f_sub(&log_q)?)?;
    Ok(each.f_sum_dim_intlist([-1_i64].as_slice(), false, Kind::Float)?.f_mean(Kind::Float)?)
}

/// ||d||_2 of each row, over all its tokens: `[rows, tokens, width]` to `[rows, 1, 1]`.
fn norm(x: &Tensor) -> Result<Tensor> {
    let squares = x.f_square()?.f_sum_dim_intlist([1_i64, 2].as_slice(), true, None::<Kind>)?;
    Ok(squares.f_sqrt()?)
}

/// The projection onto the ball of radius e: d * min(1, e / ||d||_2), each row alone; `most` is e, 0 for no bound.
/// `[rows, tokens, width]` to the same.
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn within(delta: &Tensor, most: f64) -> Result<Tensor> {
    if most <= 0.0 {
        return Ok(delta.shallow_clone());
    }
    let scale = norm(delta)?.f_clamp_min(LEAST_NORM)?.f_reciprocal()?.f_mul_scalar(most)?.f_clamp_max(1.0)?;
    Ok(delta.f_mul(&scale)?)
}

/// A step of ascent: d + lr g / ||g||_2, then projected ([`within`]), each row alone; g is the gradient of the loss at d.
/// All `[rows, tokens, width]`. VILLA, algorithm 1, in the L2 norm of their code.
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn ascend(delta: &Tensor, gradient: &Tensor, lr: f64, most: f64) -> Result<Tensor> {
    let direction = gradient.f_div(&norm(gradient)?.f_clamp_min(LEAST_NORM)?)?;
    within(&delta.f_add(&direction.f_mul_scalar(lr)?)?, most)
}

/// d_0 = u * size / sqrt(n width), u uniform in -1 to 1, for the n tokens of a row that are no padding, so that its L2
/// norm is at most `size` whatever the length; 0 at padding (`mask` `[rows, tokens]` is 0 there).
///
/// `[rows, tokens, width]`, as `like`; a pure function of what is being perturbed and of where: a part of a batch has what
/// its rows would have in the whole.
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn initial(like: &Tensor, mask: &Tensor, size: f64, what: &str, place: &Place) -> Result<Tensor> {
    if size <= 0.0 {
        return Ok(like.f_zeros_like()?);
    }
    let (_, tokens, width) = like.size3()?;
    let before = usize::try_from(place.rows_before * tokens * width).unwrap_or(0);
    let mut rng = generator("adversarial", place.seed, place.step, what);
    let values: Vec<f32> = (0..before + like.numel()).map(|_| rng.random_range(-1.0..=1.0)).skip(before).collect();
    let u =
        Tensor::f_from_slice(&values)?.f_reshape(like.size())?.f_to_device(like.device())?.f_to_kind(like.kind())?;
    let mask = mask.f_to_kind(like.kind())?.f_unsqueeze(-1)?;
    let elements = mask.f_sum_dim_intlist([1_i64].as_slice(), true, None::<Kind>)?.f_mul_scalar(width as f64)?;
    let scale = elements.f_clamp_min(1.0)?.f_rsqrt()?.f_mul_scalar(size)?;
    Ok(u.f_mul(&mask)?.f_mul(&scale)?)
}

/// Where training is: what a perturbation is a pure function of.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Of the run.
    pub seed: u64,
    /// Steps done before.
    pub step: u64,
    /// Texts of the batch that come before those that are perturbed: not 0 where a batch comes in parts.
    pub rows_before: i64,
    /// Share of the batch's samples that are perturbed: 1 but where a batch comes in parts.
    pub share: f64,
}

/// Whether the text and whether the image are perturbed in a step.
pub fn sides(side: Side, step: u64) -> (bool, bool) {
    match side {
        Side::Text => (true, false),
        Side::Image => (false, true),
        Side::Both => (true, true),
        Side::Alternate => (step.is_multiple_of(2), !step.is_multiple_of(2)),
    }
}

/// What the K perturbed passes found.
#[derive(Debug)]
pub struct Pressed {
    /// (1/K) sum of L_task( f(x + d_k), y ).
    pub task: f64,
    /// (1/K) sum of the divergence of predictions.
    pub divergence: f64,
    /// To be added to the clean loss before its backward pass: a scalar whose value means nothing, and whose gradient is
    /// that of R_at + alpha R_kl through the embeddings and through the clean predictions.
    pub through_clean: Tensor,
}

/// The K perturbed passes of a step; gradients of the encoder's parameters are left where an optimiser finds them.
///
/// * `embedded`, `logits`: of the clean pass, whose graph is still whole.
/// * `task`: L_task of logits as the student gives them; of a part of a batch, times its share.
/// * `predicted`: logits as the student gives them to rows of what is chosen from, `[rows, classes]`.
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn press(
    settings: &Adversarial,
    place: &Place,
    student: &dyn Student,
    (embedded, logits): (&Embedded, &Tensor),
    task: &dyn Fn(&Tensor) -> Result<Tensor>,
    predicted: &dyn Fn(&Tensor) -> Result<Tensor>,
) -> Result<Pressed> {
    let leaf = |x: &Tensor| -> Result<Tensor> { Ok(x.f_detach()?.f_set_requires_grad(true)?) };
    let (tokens, places) = (embedded.text.size3()?.1, embedded.visual.size3()?.1);
    let (on_text, on_image) = sides(settings.side, place.step);
    let start = |on: bool, like: &Tensor, mask: Tensor, what: &str| {
        initial(&like.f_detach()?, &mask, if on { settings.initial_norm } else { 0.0 }, what, place)
    };
    let mut d_text = start(on_text, &embedded.text, embedded.mask.f_narrow(1, 0, tokens)?, "text")?;
    let mut d_image = start(on_image, &embedded.visual, embedded.mask.f_narrow(1, tokens, places)?, "image")?;
    let clean = leaf(logits)?;
    let (mut task_sum, mut divergence_sum) = (0.0, 0.0);
    let (mut to_text, mut to_image) = (d_text.f_zeros_like()?, d_image.f_zeros_like()?);
    let share = 1.0 / settings.steps.max(1) as f64;
    for _ in 0..settings.steps {
        let text = leaf(&embedded.text.f_detach()?.f_add(&d_text)?)?;
        let visual = leaf(&embedded.visual.f_detach()?.f_add(&d_image)?)?;
        let mask = embedded.mask.shallow_clone();
        let Views { logits, .. } = student.encode(&Embedded {
            text: text.shallow_clone(),
            visual: visual.shallow_clone(),
            mask,
            tape: None,
            compute: embedded.compute,
        })?;
        let at = task(&logits)?;
        let divergence = symmetric_kl(&predicted(&clean)?, &predicted(&logits)?)?.f_mul_scalar(place.share)?;
        task_sum += at.f_double_value(&[])? * share;
        divergence_sum += divergence.f_double_value(&[])? * share;
        at.f_add(&divergence.f_mul_scalar(settings.kl)?)?.f_mul_scalar(share)?.f_backward()?;
        let (g_text, g_image) = (text.grad(), visual.grad());
        if !g_text.defined() || !g_image.defined() {
            let problem = "is for students whose answer depends on text and image";
            return Err(Error::Setting { key: "adversarial", problem: problem.to_owned() });
        }
        to_text = to_text.f_add(&g_text)?;
        to_image = to_image.f_add(&g_image)?;
        if on_text {
            d_text = ascend(&d_text, &g_text, settings.lr, settings.max_norm)?;
        }
        if on_image {
            d_image = ascend(&d_image, &g_image, settings.lr, settings.max_norm)?;
        }
    }
    let mut through_clean = product(&embedded.text, &to_text)?.f_add(&product(&embedded.visual, &to_image)?)?;
    let to_clean = clean.grad();
    if to_clean.defined() {
        through_clean = through_clean.f_add(&product(logits, &to_clean)?)?;
    }
    Ok(Pressed { task: task_sum, divergence: divergence_sum, through_clean })
}

/// sum of x * g: a scalar whose gradient at x is g.
fn product(x: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    Ok(x.f_mul(&gradient.f_detach()?)?.f_sum(Kind::Float)?)
}

#[cfg(test)]
mod tests;
