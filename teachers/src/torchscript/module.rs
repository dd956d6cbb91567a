//! Modules of TorchScript behind the traits of towers.

use std::path::{Path, PathBuf};

use tch::{CModule, Device, IValue, Kind, Tensor};

use super::description::{Description, Image, Input, Output, Text};
use super::inputs;
use crate::sides::{ImageTower, TextFeatures, TextTower};
use crate::{Error, Result};

/// A module, in evaluation mode.
#[derive(Debug)]
pub(super) struct Module {
    module: CModule,
    /// `image` or `text`.
    key: &'static str,
    /// The description, for messages.
    path: PathBuf,
}

impl Module {
    /// Loads a module to a device. Its parameters are brought to the kind that is computed in; its buffers stay as they
    /// are, since some are indices.
    ///
    /// # Errors
    /// [`Error::Config`] if the file is no module.
    pub(super) fn open(
        description: &Description,
        key: &'static str,
        file: &Path,
        device: Device,
        kind: Kind,
    ) -> Result<Self> {
        let refuse = |error: tch::TchError| {
            let (file, said) = (file.display(), retort_nn::Error::from(error));
            description.refuse(format!("{key}.module: {file} cannot be read as TorchScript: {said}"))
        };
        let mut module = CModule::load_on_device(file, device).map_err(refuse)?;
        module.f_set_eval().map_err(refuse)?;
        for (_, mut parameter) in module.named_parameters().map_err(refuse)? {
            if parameter.is_floating_point() && parameter.kind() != kind {
                let cast = parameter.f_to_kind(kind)?;
                let _guard = tch::no_grad_guard();
                parameter.f_set_data(&cast)?;
            }
        }
        Ok(Self { module, key, path: description.path.clone() })
    }

    fn refuse(&self, problem: String) -> Error {
        Error::Config { path: self.path.clone(), problem: format!("{}.{problem}", self.key) }
    }

    /// What it gives for inputs.
    fn outputs(&self, inputs: Vec<Tensor>) -> Result<IValue> {
        let inputs: Vec<IValue> = inputs.into_iter().map(IValue::Tensor).collect();
        let run = |error: tch::TchError| {
            let said = retort_nn::Error::from(error);
            self.refuse(format!("module fails on what it is given: {said}"))
        };
        self.module.forward_is(&inputs).map_err(run)
    }

    /// One output of several.
    fn output(&self, outputs: &IValue, name: &str, which: &Output) -> Result<Tensor> {
        let refuse = |gives: String| self.refuse(format!("{name} is {which}, and the module gives {gives}"));
        let all: Vec<(String, Option<&Tensor>)> = match outputs {
            IValue::Tensor(tensor) => vec![("0".to_owned(), Some(tensor))],
            IValue::Tuple(values) | IValue::GenericList(values) => {
                values.iter().enumerate().map(|(at, value)| (at.to_string(), tensor_of(value))).collect()
            }
            IValue::TensorList(tensors) => {
                tensors.iter().enumerate().map(|(at, tensor)| (at.to_string(), Some(tensor))).collect()
            }
            IValue::GenericDict(entries) => {
                entries.iter().filter_map(|(key, value)| Some((word_of(key)?.to_owned(), tensor_of(value)))).collect()
            }
            _ => return Err(refuse("neither tensors nor a tuple, list or dictionary of them".to_owned())),
        };
        let keyed = matches!(outputs, IValue::GenericDict(_));
        let found = match which {
            Output::Place(place) if !keyed => all.get(*place),
            Output::Key(key) if keyed => all.iter().find(|(name, _)| name == key),
            _ => None,
        };
        match (found, keyed) {
            (Some((_, Some(tensor))), _) => Ok(tensor.shallow_clone()),
            (Some((_, None)), _) => Err(refuse("no tensor there".to_owned())),
            (None, true) => {
                let keys: Vec<&str> = all.iter().map(|(key, _)| key.as_str()).collect();
                Err(refuse(format!("a dictionary: expected one of its keys {}", keys.join(", "))))
            }
            (None, false) => Err(refuse(format!("{} outputs: expected a number below that", all.len()))),
        }
    }

    /// Refuses an output of another shape than `[batch, ...]` of so many dimensions; `-1` is any size.
    fn expect(&self, name: &str, tensor: &Tensor, shape: &[i64]) -> Result<()> {
        let found = tensor.size();
        let fits = |(found, expected): (&i64, &i64)| *expected < 0 && *found > 0 || found == expected;
        if found.len() == shape.len() && found.iter().zip(shape).all(fits) {
            return Ok(());
        }
        let expected: Vec<String> =
            shape.iter().map(|size| if *size < 0 { "any".to_owned() } else { size.to_string() }).collect();
        Err(self.refuse(format!("{name} has shape {found:?}, expected [{}]", expected.join(", "))))
    }
}

fn tensor_of(value: &IValue) -> Option<&Tensor> {
    if let IValue::Tensor(tensor) = value { Some(tensor) } else { None }
}

fn word_of(value: &IValue) -> Option<&str> {
    if let IValue::String(word) = value { Some(word) } else { None }
}

/// A module that looks at pixels. Its hidden state is what it gives, end to end: the embedding, and the grid's vectors.
#[derive(Debug)]
pub(super) struct ImageModule {
    module: Module,
    pooled: Output,
    grid: Option<Output>,
    width: i64,
    /// Patches, and the width of each; zeros without.
    places: [i64; 2],
}

impl ImageModule {
    /// Tries the module on pixels `[batch, 3, height, width]` and takes the widths of what it gives.
    pub(super) fn open(module: Module, image: &Image, pixels: &Tensor) -> Result<Self> {
        let _guard = tch::no_grad_guard();
        let batch = pixels.size().first().copied().unwrap_or(0);
        let outputs = module.outputs(vec![pixels.shallow_clone()])?;
        let pooled = module.output(&outputs, "pooled", &image.pooled)?;
        module.expect("pooled", &pooled, &[batch, -1])?;
        let (_, width) = pooled.size2()?;
        let mut places = [0, 0];
        if let Some(which) = &image.grid {
            let grid = module.output(&outputs, "grid", which)?;
            module.expect("grid", &grid, &[batch, -1, -1])?;
            let (_, patches, patch_width) = grid.size3()?;
            places = [patches, patch_width];
        }
        Ok(Self { module, pooled: image.pooled.clone(), grid: image.grid.clone(), width, places })
    }

    pub(super) fn width(&self) -> usize {
        self.width as usize
    }
}

impl ImageTower for ImageModule {
    fn hidden(&self, pixels: &Tensor) -> Result<Tensor> {
        let batch = pixels.size().first().copied().unwrap_or(0);
        let outputs = self.module.outputs(vec![pixels.shallow_clone()])?;
        let pooled = self.module.output(&outputs, "pooled", &self.pooled)?;
        self.module.expect("pooled", &pooled, &[batch, self.width])?;
        let Some(which) = &self.grid else { return Ok(pooled) };
        let grid = self.module.output(&outputs, "grid", which)?;
        self.module.expect("grid", &grid, &[batch, self.places[0], self.places[1]])?;
        Ok(Tensor::f_cat(&[pooled, grid.f_flatten(1, 2)?], 1)?)
    }

    fn pooled(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(hidden.f_narrow(1, 0, self.width)?)
    }

    fn grid(&self, hidden: &Tensor) -> Result<Tensor> {
        let [patches, patch_width] = self.places;
        Ok(hidden.f_narrow(1, self.width, patches * patch_width)?.f_reshape([-1, patches, patch_width])?)
    }

    fn grid_size(&self) -> [usize; 2] {
        self.places.map(|size| size as usize)
    }
}

/// A module that reads tokens.
#[derive(Debug)]
pub(super) struct TextModule {
    module: Module,
    inputs: Vec<Input>,
    pooled: Output,
    tokens: Option<Output>,
}

impl TextModule {
    pub(super) fn new(module: Module, text: &Text) -> Self {
        Self { module, inputs: text.inputs.clone(), pooled: text.pooled.clone(), tokens: text.tokens.clone() }
    }

    /// Widths of what was given for ids: of an embedding, and of a token, 0 without.
    pub(super) fn widths(text: &TextFeatures) -> Result<[usize; 2]> {
        let (_, width) = text.pooled.size2()?;
        let (_, _, token_width) = text.tokens.size3()?;
        Ok([width as usize, token_width as usize])
    }
}

impl TextTower for TextModule {
    fn forward(&self, ids: &Tensor, mask: &Tensor) -> Result<TextFeatures> {
        let (batch, tokens) = ids.size2()?;
        let outputs = self.module.outputs(inputs(&self.inputs, ids, mask)?)?;
        let pooled = self.module.output(&outputs, "pooled", &self.pooled)?;
        self.module.expect("pooled", &pooled, &[batch, -1])?;
        let tokens = match &self.tokens {
            None => Tensor::f_zeros([batch, tokens, 0], (pooled.kind(), pooled.device()))?,
            Some(which) => {
                let states = self.module.output(&outputs, "tokens", which)?;
                self.module.expect("tokens", &states, &[batch, tokens, -1])?;
                states
            }
        };
        Ok(TextFeatures { pooled, tokens })
    }
}
