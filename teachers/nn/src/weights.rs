//! Named tensors on their way into layers: from a checkpoint, or fresh from a seed.

use std::cell::RefCell;
use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tch::{Device, Kind, Tensor};

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
    /// Positions of a whole-image token, zero, and of a square grid, `[1, 1 + side * side, width]`: see [`sin_cos_grid`].
    SinCosGrid,
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
    device: Device,
    kind: Kind,
    trained: bool,
    taken: RefCell<BTreeMap<String, Tensor>>,
}

impl Weights {
    /// Weights of a checkpoint that stay as they are, on a device and in a compute kind.
    pub fn frozen(checkpoint: Checkpoint, device: Device, kind: Kind) -> Self {
        Self { source: Source::Checkpoint(checkpoint), device, kind, trained: false, taken: RefCell::default() }
    }

    /// Fresh weights to be trained. A tensor's values depend on the seed and its name alone.
    pub fn fresh(seed: u64, device: Device) -> Self {
        Self { source: Source::Seed(seed), device, kind: Kind::Float, trained: true, taken: RefCell::default() }
    }

    /// Weights of a checkpoint to be trained further.
    pub fn trained_from(checkpoint: Checkpoint, device: Device) -> Self {
        let source = Source::Checkpoint(checkpoint);
        Self { source, device, kind: Kind::Float, trained: true, taken: RefCell::default() }
    }

    /// Weights of a checkpoint to be trained further in another task: tensors whose names begin with one of the words
    /// `new` start afresh where the checkpoint has none of their name and shape, as a head for other answers does.
    pub fn started_from(checkpoint: Checkpoint, seed: u64, new: &[&str], device: Device) -> Self {
        let new = new.iter().map(|&word| word.to_owned()).collect();
        let source = Source::Both(checkpoint, seed, new);
        Self { source, device, kind: Kind::Float, trained: true, taken: RefCell::default() }
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
        let tensor = match &self.source {
            Source::Seed(seed) => fresh(*seed, name, shape, init)?,
            Source::Both(checkpoint, seed, new)
                if new.iter().any(|word| name.starts_with(word)) && !fits(checkpoint, name, shape)? =>
            {
                fresh(*seed, name, shape, init)?
            }
            Source::Checkpoint(checkpoint) | Source::Both(checkpoint, ..) => of_checkpoint(checkpoint, name, shape)?,
        };
        let tensor = tensor.f_to_device(self.device)?.f_to_kind(self.kind)?;
        let tensor = if self.trained { tensor.f_set_requires_grad(true)? } else { tensor };
        self.taken.borrow_mut().insert(name.to_owned(), tensor.shallow_clone());
        Ok(tensor)
    }
}

/// A checkpoint's tensor, of this shape or none.
fn of_checkpoint(checkpoint: &Checkpoint, name: &str, shape: &[i64]) -> Result<Tensor> {
    let (path, expected) = (|| checkpoint.path().to_owned(), shape.to_vec());
    if !checkpoint.has(name) {
        return Err(Error::MissingTensor { path: path(), name: name.to_owned(), expected });
    }
    let tensor = checkpoint.tensor(name)?;
    if tensor.size() != shape {
        let found = tensor.size();
        return Err(Error::TensorShape { path: path(), name: name.to_owned(), expected, found });
    }
    Ok(tensor)
}

fn fits(checkpoint: &Checkpoint, name: &str, shape: &[i64]) -> Result<bool> {
    Ok(checkpoint.has(name) && checkpoint.tensor(name)?.size() == shape)
}

/// Fresh values: a pure function of seed and name, so that adding a layer changes no other.
fn fresh(seed: u64, name: &str, shape: &[i64], init: Init) -> Result<Tensor> {
    let count = shape.iter().product::<i64>() as usize;
    let values: Vec<f32> = match init {
        Init::Zeros => vec![0.0; count],
        Init::Ones => vec![1.0; count],
        Init::SinCosGrid => sin_cos_grid(count / width_of(shape), width_of(shape)),
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

fn width_of(shape: &[i64]) -> usize {
    shape.last().map_or(1, |width| (*width).max(1) as usize)
}

/// Positions of `rows` places, `[rows, width]`, of which the first is the whole image's and zero. Place (y, x) of the square
/// grid has, with q = width / 4 frequencies f_k = 10000^(-k / q),
///
/// P(y, x) = [ sin(x f), cos(x f), sin(y f), cos(y f) ],
///
/// zero beyond 4 q. What is far apart in the grid is told apart from the first step on, as small students that begin
/// untrained need (Beyer, Zhai and Kolesnikov 2022, "Better plain ViT baselines for ImageNet-1k").
pub fn sin_cos_grid(rows: usize, width: usize) -> Vec<f32> {
    let places = rows.saturating_sub(1);
    let side = places.isqrt().max(1);
    let quarter = width / 4;
    let mut values = vec![0.0; rows * width];
    for place in 0..places {
        let row = &mut values[(place + 1) * width..(place + 2) * width];
        let (y, x) = ((place / side) as f64, (place % side) as f64);
        for k in 0..quarter {
            let frequency = 10_000.0_f64.powf(-(k as f64) / quarter as f64);
            let waves = [(x * frequency).sin(), (x * frequency).cos(), (y * frequency).sin(), (y * frequency).cos()];
            for (part, wave) in waves.into_iter().enumerate() {
                row[part * quarter + k] = wave as f32;
            }
        }
    }
    values
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
            Source::Checkpoint(checkpoint) | Source::Both(checkpoint, ..) => checkpoint.has(&self.full_name(name)),
            Source::Seed(_) => true,
        }
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

    #[test]
    fn positions_of_a_grid_are_waves_along_both_sides() {
        // Two frequencies, 1 and 1/100; five places are a grid of 2 x 2 behind the whole image, and width 9 leaves one over.
        let waves = sin_cos_grid(5, 9);
        assert_eq!(waves[..9], [0.0; 9], "the whole image has no place");
        let (one, hundredth) = (1.0_f64, 0.01_f64);
        let place_y0_x1 = [one.sin(), hundredth.sin(), one.cos(), hundredth.cos(), 0.0, 0.0, 1.0, 1.0, 0.0];
        let place_y1_x0 = [0.0, 0.0, 1.0, 1.0, one.sin(), hundredth.sin(), one.cos(), hundredth.cos(), 0.0];
        assert_eq!(waves[18..27], place_y0_x1.map(|x| x as f32));
        assert_eq!(waves[27..36], place_y1_x0.map(|x| x as f32));
    }
}
