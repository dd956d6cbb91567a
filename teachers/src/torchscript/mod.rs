//! Any encoder as TorchScript: modules that torch traced or scripted, beside a `teacher.toml` that says what they take
//! and give.

mod description;
mod module;

use std::path::{Path, PathBuf};

use retort_nn::{TextTokenizer, file_hash};
use serde_json::{Map, Value, json};
use tch::{Device, Kind, Tensor};

use self::description::{Description, Image, Input, Text};
use self::module::{ImageModule, Module, TextModule};
use crate::sides::{ImageSide, Padding, Sides, TextSide};
use crate::{Overrides, Result};

const FILE: &str = "teacher.toml";

/// The description of a path, if it is one or a folder with one.
pub(crate) fn description_of(path: &Path) -> Option<PathBuf> {
    let inside = path.join(FILE);
    if inside.is_file() {
        return Some(inside);
    }
    (path.is_file() && path.extension().is_some_and(|ending| ending == "toml")).then(|| path.to_owned())
}

/// Opens what a description describes, for computing on a device in a kind; gives the sides and a hash of the modules.
///
/// # Errors
/// [`crate::Error::Config`] for what the description says wrong of its modules, and those of the tokenizer.
pub(crate) fn open(path: &Path, device: Device, kind: Kind, told: &Overrides) -> Result<(Sides, String)> {
    let opener = Opener { description: Description::read(path)?, device, kind, told };
    let (mut details, mut hashes, mut poolings) = (Map::new(), Vec::new(), Vec::new());
    let image = opener.description.image.clone().map(|image| {
        poolings.push(format!("output {} of the image module", image.pooled));
        opener.image(&image, &mut details, &mut hashes)
    });
    let image = image.transpose()?;
    let text = opener.description.text.clone().map(|text| {
        poolings.push(format!("output {} of the text module", text.pooled));
        opener.text(&text, &mut details, &mut hashes)
    });
    let text = text.transpose()?;
    details.insert("pooling".to_owned(), json!(poolings.join(" / ")));
    let hash = hashes.join("+");
    Ok((Sides { image, text, details: Value::Object(details), pools: false }, hash))
}

struct Opener<'a> {
    description: Description,
    device: Device,
    kind: Kind,
    told: &'a Overrides,
}

impl Opener<'_> {
    fn module(&self, key: &'static str, named: &Path, hashes: &mut Vec<String>) -> Result<Module> {
        let path = self.description.file(&format!("{key}.module"), named)?;
        hashes.push(file_hash(&path)?);
        Module::open(&self.description, key, &path, self.device, self.kind)
    }

    fn image(&self, image: &Image, details: &mut Map<String, Value>, hashes: &mut Vec<String>) -> Result<ImageSide> {
        let module = self.module("image", &image.module, hashes)?;
        let preprocessing = self.told.over(image.preprocessing());
        let [height, width] = preprocessing.crop.unwrap_or_default().map(i64::from);
        // Two of them: a batch size that was traced in shows.
        let pixels = Tensor::f_zeros([2, 3, height, width], (self.kind, self.device))?;
        let tower = ImageModule::open(module, image, &pixels)?;
        details.insert("preprocessing".to_owned(), json!(preprocessing));
        details.insert("image".to_owned(), json!({ "pooled": image.pooled, "grid": image.grid }));
        Ok(ImageSide { width: tower.width(), tower: Box::new(tower), preprocessing })
    }

    fn text(&self, text: &Text, details: &mut Map<String, Value>, hashes: &mut Vec<String>) -> Result<TextSide> {
        let module = self.module("text", &text.module, hashes)?;
        let path = self.description.file("text.tokenizer", &text.tokenizer)?;
        let longest = self.told.max_length.unwrap_or(text.max_length);
        let tokenizer = TextTokenizer::open(&path, longest)?;
        let padding = Padding { id: text.pad, least: if text.pad_to_longest { longest } else { 0 } };
        let texts = [tokenizer.encode("a")?, tokenizer.encode("a photo of a dog")?];
        let tower = TextModule::new(module, text);
        let mut side = TextSide { tower: Box::new(tower), tokenizer, padding, width: 0, token_width: 0 };
        let (ids, mask) = side.batch(&texts.iter().collect::<Vec<_>>(), self.device)?;
        let _guard = tch::no_grad_guard();
        let features = side.tower.forward(&ids, &mask)?;
        [side.width, side.token_width] = TextModule::widths(&features)?;
        details.insert("tokenizer".to_owned(), json!(file_hash(&path)?));
        details.insert("longest".to_owned(), json!(longest));
        details.insert(
            "text".to_owned(),
            json!({ "inputs": text.inputs, "pooled": text.pooled, "tokens": text.tokens, "padding": padding.id,
                    "padded_to": padding.least }),
        );
        Ok(side)
    }
}

/// What a text module is given of ids and mask.
fn inputs(of: &[Input], ids: &Tensor, mask: &Tensor) -> Result<Vec<Tensor>> {
    let input = |input: &Input| -> Result<Tensor> {
        Ok(match input {
            Input::Ids => ids.shallow_clone(),
            Input::Mask => mask.shallow_clone(),
            Input::Types => ids.f_zeros_like()?,
        })
    };
    of.iter().map(input).collect()
}
