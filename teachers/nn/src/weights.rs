//! Named tensors on their way into layers: from a checkpoint, or fresh from a seed.

use std::cell::RefCell;
use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tch::{Device, Kind, Tensor};

use crate::stored::{Naming, Stored};
use crate::{Checkpoint, Error, Result};

/// How a fresh tensor starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Normal with this standard deviation, mean zero.
    Normal(f64),
    /// All zero.
    Zeros,
    /// All one.
    Ones,
}

enum Source {
    Checkpoint(Checkpoint),
    Seed(u64),
    /// A checkpoint, and a seed for what is new: names that begin with one of the words.
    Both(Checkpoint, u64, Vec<String>),
}

/// Hands out tensors by name and remembers them.
pub struct Weights {
    source: Source,
    naming: Naming,
    device: Device,
    kind: Kind,
    trained: bool,
    packed: bool,
    taken: RefCell<BTreeMap<String, Tensor>>,
}

impl Weights {
    /// Weights of a checkpoint that stay as they are, on a device and in a compute kind.
    pub fn frozen(checkpoint: Checkpoint, device: Device, kind: Kind) -> Self {
        Self::new(Source::Checkpoint(checkpoint), device, kind, false)
    }

    fn new(source: Source, device: Device, kind: Kind, trained: bool) -> Self {
        let naming = |name: &str| Stored::whole(name);
        Self { source, naming, device, kind, trained, packed: false, taken: RefCell::default() }
    }

    /// The same of frozen weights for layers that may pack them: on a CPU, in f32. They are not remembered: what a layer has
    /// packed is let go of.
    #[must_use]
    pub fn packed(self) -> Self {
        let packed = !self.trained && self.device == Device::Cpu && self.kind == Kind::Float;
        Self { packed, ..self }
    }

    /// The same of a checkpoint that has its tensors under other names, or in another form.
    #[must_use]
    pub fn named_by(self, naming: Naming) -> Self {
        Self { naming, ..self }
    }

    /// Fresh weights to be trained. A tensor's values depend on the seed and its name alone.
    pub fn fresh(seed: u64, device: Device) -> Self {
        Self::new(Source::Seed(seed), device, Kind::Float, true)
    }

    /// Weights of a checkpoint to be trained further.
    pub fn trained_from(checkpoint: Checkpoint, device: Device) -> Self {
        Self::new(Source::Checkpoint(checkpoint), device, Kind::Float, true)
    }

    /// Weights of a checkpoint to be trained further in another task: tensors whose names begin with one of the words
    /// `new` start afresh where the checkpoint has none of their name and shape, as a head for other answers does.
    pub fn started_from(checkpoint: Checkpoint, seed: u64, new: &[&str], device: Device) -> Self {
        let new = new.iter().map(|&word| word.to_owned()).collect();
        Self::new(Source::Both(checkpoint, seed, new), device, Kind::Float, true)
    }

    /// Puts a tensor in the place of the one that a checkpoint has under this name, before a layer asks for it.
    ///
    /// # Errors
    /// [`Error::Torch`].
    pub fn replace(&self, name: &str, tensor: &Tensor) -> Result<()> {
        let tensor = tensor.f_detach()?.f_to_device(self.device)?.f_to_kind(self.kind)?;
        let tensor = if self.trained { tensor.f_set_requires_grad(true)? } else { tensor };
        self.taken.borrow_mut().insert(name.to_owned(), tensor);
        Ok(())
    }

    /// The checkpoint that the weights come from, if they do.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        match &self.source {
            Source::Checkpoint(checkpoint) | Source::Both(checkpoint, ..) => Some(checkpoint),
            Source::Seed(_) => None,
        }
    }

    /// Where names start.
    pub fn root(&self) -> Scope<'_> {
        Scope { weights: self, path: String::new() }
    }

    /// Every tensor that was handed out, by name.
    pub fn into_named(self) -> BTreeMap<String, Tensor> {
        self.taken.into_inner()
    }

    fn take(&self, name: &str, shape: &[i64], init: Init) -> Result<Tensor> {
        if let Some(known) = self.taken.borrow().get(name) {
            return Ok(known.shallow_clone());
        }
        let stored = (self.naming)(name);
        let tensor = match &self.source {
            Source::Seed(seed) => fresh(*seed, name, shape, init)?,
            Source::Both(checkpoint, seed, new)
                if new.iter().any(|word| name.starts_with(word)) && !fits(checkpoint, &stored, shape)? =>
            {
                fresh(*seed, name, shape, init)?
            }
            Source::Checkpoint(checkpoint) | Source::Both(checkpoint, ..) => of_checkpoint(checkpoint, &stored, shape)?,
        };
        let tensor = tensor.f_to_device(self.device)?.f_to_kind(self.kind)?;
        let tensor = if self.trained { tensor.f_set_requires_grad(true)? } else { tensor };
        if !self.packed {
            self.taken.borrow_mut().insert(name.to_owned(), tensor.shallow_clone());
        }
        Ok(tensor)
    }
}

/// A checkpoint's tensor, of this shape or none.
fn of_checkpoint(checkpoint: &Checkpoint, stored: &Stored, shape: &[i64]) -> Result<Tensor> {
    let (path, name, expected) = (|| checkpoint.path().to_owned(), stored.to_string(), shape.to_vec());
    if !checkpoint.has(&stored.name) {
        return Err(Error::MissingTensor { path: path(), name, expected });
    }
    let tensor = stored.read(checkpoint)?;
    if tensor.size() != shape {
        let found = tensor.size();
        return Err(Error::TensorShape { path: path(), name, expected, found });
    }
    Ok(tensor)
}

fn fits(checkpoint: &Checkpoint, stored: &Stored, shape: &[i64]) -> Result<bool> {
    Ok(checkpoint.has(&stored.name) && stored.read(checkpoint)?.size() == shape)
}

/// Fresh values: a pure function of seed and name, so that adding a layer changes no other.
fn fresh(seed: u64, name: &str, shape: &[i64], init: Init) -> Result<Tensor> {
    let count = shape.iter().product::<i64>() as usize;
    let values: Vec<f32> = match init {
        Init::Zeros => vec![0.0; count],
        Init::Ones => vec![1.0; count],
        Init::Normal(deviation) => {
            let hash = blake3::hash(format!("{seed}/{name}").as_bytes());
            let mut rng = StdRng::from_seed(*hash.as_bytes());
            // Box-Muller; 1 - u keeps the logarithm off zero.
            (0..count)
                .map(|_| {
                    let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
                    (deviation * (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
                })
                .collect()
        }
    };
    Ok(Tensor::f_from_slice(&values)?.f_reshape(shape)?)
}

/// A place in the tree of names.
#[derive(Clone)]
pub struct Scope<'a> {
    weights: &'a Weights,
    path: String,
}

impl Scope<'_> {
    /// The scope below, `path.name`.
    #[must_use]
    pub fn sub(&self, name: &str) -> Self {
        Self { weights: self.weights, path: self.full_name(name) }
    }

    /// The tensor `path.name`, of a shape that is checked against the checkpoint's.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::TensorShape`].
    pub fn tensor(&self, name: &str, shape: &[i64], init: Init) -> Result<Tensor> {
        self.weights.take(&self.full_name(name), shape, init)
    }

    /// Whether the checkpoint has `path.name`; fresh weights have everything.
    pub fn has(&self, name: &str) -> bool {
        match &self.weights.source {
            Source::Checkpoint(checkpoint) | Source::Both(checkpoint, ..) => {
                checkpoint.has(&(self.weights.naming)(&self.full_name(name)).name)
            }
            Source::Seed(_) => true,
        }
    }

    /// Whether layers may pack these weights.
    pub(crate) fn packs(&self) -> bool {
        self.weights.packed
    }

    fn full_name(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_values_depend_on_seed_and_name_alone() -> Result<()> {
        let draw = |seed, name: &str| -> Result<Vec<f32>> {
            let weights = Weights::fresh(seed, Device::Cpu);
            let _ = weights.root().tensor("other", &[3], Init::Normal(1.0))?;
            let tensor = weights.root().sub("layer").tensor(name, &[200], Init::Normal(0.5))?;
            Ok(Vec::try_from(tensor.detach())?)
        };
        let (one, again, renamed, reseeded) = (draw(1, "a")?, draw(1, "a")?, draw(1, "b")?, draw(2, "a")?);
        assert_eq!(one, again);
        assert_ne!(one, renamed);
        assert_ne!(one, reseeded);
        let deviation = (one.iter().map(|x| x * x).sum::<f32>() / 200.0).sqrt();
        assert!((deviation - 0.5).abs() < 0.1, "{deviation}");
        Ok(())
    }
}
