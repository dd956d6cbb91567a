//! Gradient checkpointing (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"): only what goes into each layer
//! is kept; the backward pass runs each layer again. Memory of one layer instead of all, for a third more time.
//!
//! ```text
//! forward   embeddings | x_0 -> x_1 -> ... -> x_L |     without a graph between the bars, which are new leaves
//! backward  g_L = gradient of the last leaf             the heads' part, as ever
//!           for layer l from the last: y = layer_l(x_l) with a graph; backward of sum(y * g_l+1) gives g_l and the
//!           layer's own gradients; at last sum(x_0 * g_0), through the embeddings
//! ```

use std::cell::RefCell;

use retort_nn::Block;
use tch::{Kind, Tensor};

use super::Embedded;
use crate::Result;

/// The way of one batch through the layers.
#[derive(Debug)]
pub struct Tape {
    /// Text and image with the graphs of their embeddings, and the leaves that stand for them.
    embeddings: [(Tensor, Tensor); 2],
    way: RefCell<Option<Way>>,
}

#[derive(Debug)]
struct Way {
    /// x_0, made of the leaves.
    start: Tensor,
    /// x_0 to x_L-1, without a graph.
    inputs: Vec<Tensor>,
    bias: Tensor,
    /// x_L, a leaf.
    end: Tensor,
}

impl Tape {
    /// The same sequence, on a tape.
    ///
    /// # Errors
    /// If libtorch fails.
    pub(crate) fn under(embedded: Embedded) -> Result<Embedded> {
        let leaf = |x: &Tensor| -> Result<Tensor> { Ok(x.f_detach()?.f_set_requires_grad(true)?) };
        let (text, visual) = (leaf(&embedded.text)?, leaf(&embedded.visual)?);
        let embeddings = [(embedded.text, text.shallow_clone()), (embedded.visual, visual.shallow_clone())];
        let tape = Self { embeddings, way: RefCell::default() };
        Ok(Embedded { text, visual, mask: embedded.mask, tape: Some(tape), compute: embedded.compute })
    }

    /// x_L `[texts, places, width]` of the layers, from which no graph leads back: [`Tape::replay`] does.
    ///
    /// # Errors
    /// If libtorch refuses the shapes.
    pub(super) fn record(&self, layers: &[Block], start: Tensor, bias: Tensor) -> Result<Tensor> {
        let (inputs, end) = tch::no_grad(|| -> Result<(Vec<Tensor>, Tensor)> {
            let (mut inputs, mut x) = (Vec::new(), start.f_detach()?);
            for layer in layers {
                let next = layer.forward(&x, Some(&bias), false)?;
                inputs.push(std::mem::replace(&mut x, next));
            }
            Ok((inputs, x))
        })?;
        let end = end.f_set_requires_grad(true)?;
        let states = end.shallow_clone();
        *self.way.borrow_mut() = Some(Way { start, inputs, bias, end });
        Ok(states)
    }

    /// Brings the gradient that a backward pass left at x_L through the layers into their parameters and the embeddings.
    ///
    /// # Errors
    /// If libtorch fails.
    pub(crate) fn replay(&self, layers: &[Block]) -> Result<()> {
        let Some(Way { start, mut inputs, bias, end }) = self.way.take() else { return Ok(()) };
        let mut gradient = end.f_grad()?;
        drop(end);
        for layer in layers.iter().rev() {
            let Some(x) = inputs.pop() else { break };
            let x = x.f_set_requires_grad(true)?;
            backward(&layer.forward(&x, Some(&bias), false)?, &gradient)?;
            gradient = x.f_grad()?;
        }
        backward(&start, &gradient)?;
        self.embeddings.iter().try_for_each(|(embedding, leaf)| backward(embedding, &leaf.f_grad()?))
    }
}

/// Goes back from `y` with a gradient that is known.
fn backward(y: &Tensor, gradient: &Tensor) -> Result<()> {
    Ok(y.f_mul(gradient)?.f_sum(Kind::Float)?.f_backward()?)
}
