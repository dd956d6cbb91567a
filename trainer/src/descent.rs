//! The end of every step: the gradients of a batch's parts add up, and the optimiser goes down.

use tch::Tensor;

use crate::adamw::AdamW;
use crate::adversarial::Pressed;
use crate::prepare::Batch;
use crate::students::{Embedded, Student};
use crate::{Error, Result};

/// What is logged of a step, by tag.
pub(crate) type Losses = Vec<(&'static str, f64)>;

/// Gradients of the parts of a batch, and what is logged of them.
#[derive(Default)]
pub(crate) struct Descent {
    total: f64,
    /// Values of the perturbed passes, for their own check.
    pressed: f64,
    losses: Losses,
}

impl Descent {
    /// Adds to what is logged.
    pub(crate) fn log(&mut self, tag: &'static str, value: f64) {
        match self.losses.iter_mut().find(|(known, _)| *known == tag) {
            Some((_, sum)) => *sum += value,
            None => self.losses.push((tag, value)),
        }
    }

    /// Logs what is no sum over parts.
    pub(crate) fn set(&mut self, tag: &'static str, value: f64) {
        match self.losses.iter_mut().find(|(known, _)| *known == tag) {
            Some((_, known)) => *known = value,
            None => self.losses.push((tag, value)),
        }
    }

    /// Leaves the gradient of a part's loss where the optimiser finds it. Perturbed passes have left their own.
    pub(crate) fn add(
        &mut self,
        total: &Tensor,
        (student, embedded): (&dyn Student, &Embedded),
        pressed: Option<&Pressed>,
    ) -> Result<()> {
        self.total += total.f_double_value(&[])?;
        match pressed {
            Some(pressed) => {
                self.pressed += pressed.task + pressed.divergence;
                self.log("loss/adversarial", pressed.task);
                self.log("loss/divergence", pressed.divergence);
                total.f_add(&pressed.through_clean)?.f_backward()?;
            }
            None => total.f_backward()?,
        }
        if let Some(tape) = &embedded.tape {
            tape.replay(student.layers())?;
        }
        Ok(())
    }

    /// Sees that the loss is finite, and goes down its gradient. `done` steps were before.
    pub(crate) fn descend(self, batch: &Batch, adamw: &mut AdamW, done: u64) -> Result<Losses> {
        let Self { total, pressed, mut losses } = self;
        let finite = |value: f64| {
            let error = || Error::NotFinite { step: done + 1, value, samples: batch.named(), checkpoint: None };
            if value.is_finite() { Ok(value) } else { Err(error()) }
        };
        let value = finite(total)?;
        finite(pressed)?;
        let norm = finite(adamw.gradient_norm()?)?;
        adamw.step(norm)?;
        losses.insert(0, ("loss/total", value));
        losses.push(("gradient_norm", norm));
        Ok(losses)
    }
}
