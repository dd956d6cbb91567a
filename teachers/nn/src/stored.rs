//! Tensors that a checkpoint keeps in another form, or under another name, than layers ask for.

use std::fmt;

use tch::Tensor;

use crate::{Checkpoint, Result};

/// Where a checkpoint has the tensor of a name.
pub type Naming = fn(&str) -> Stored;

/// Name and form of a tensor in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its name there.
    pub name: String,
    /// What is to be done to it.
    pub form: Form,
}

/// What makes the tensor that a layer asks for of the one that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Nothing.
    Whole,
    /// Rows and columns change places.
    Transposed,
    /// The rows of one of three parts of equal size, counted from 0: query, key and value.
    Third(i64),
}

impl Stored {
    /// A tensor that is stored as layers ask for it.
    pub fn whole(name: impl Into<String>) -> Self {
        Self { name: name.into(), form: Form::Whole }
    }

    /// The tensor as a layer asks for it, of its stored kind.
    pub(crate) fn read(&self, checkpoint: &Checkpoint) -> Result<Tensor> {
        let tensor = checkpoint.tensor(&self.name)?;
        match (self.form, tensor.size().as_slice()) {
            (Form::Transposed, [_, _]) => Ok(tensor.f_transpose(0, 1)?.f_contiguous()?),
            (Form::Third(part), [rows, ..]) if rows % 3 == 0 => Ok(tensor.f_narrow(0, part * (rows / 3), rows / 3)?),
            // Another shape cannot be what a layer asks for, which whoever asked will see.
            _ => Ok(tensor),
        }
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.form {
            Form::Whole => write!(f, "{}", self.name),
            Form::Transposed => write!(f, "{} (transposed)", self.name),
            Form::Third(part) => write!(f, "{} (part {} of 3)", self.name, part + 1),
        }
    }
}
