//! `preprocessor_config.json`: what becomes of an image before a tower sees it.

use std::path::PathBuf;

use retort_nn::pixels::{Filter, Middle, Preprocessing, Resize};
use serde_json::Value;

use crate::folder::{ModelFolder, parse, read_json};
use crate::overrides::setting;
use crate::{Error, Result};

const FILE: &str = "preprocessor_config.json";

/// Of the images that OpenAI's CLIP was trained on, a channel.
pub(crate) const OPENAI_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// Their standard deviation.
pub(crate) const OPENAI_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// The image processors of transformers that are known: what they do where the file says nothing.
///
/// The reference is the slow, Pillow-backed one of each; the fast ones resize with torch and differ by grey levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Processor {
    /// `CLIPImageProcessor`.
    Clip,
    /// `BitImageProcessor`, which DINOv2 uses.
    Bit,
    /// `ViTImageProcessor`.
    Vit,
    /// `SiglipImageProcessor`, which SigLIP 2 of a fixed resolution uses too.
    Siglip,
}

/// The image processor of images that keep their shape, which only towers for such images take.
const PATCHES: &str = "Siglip2ImageProcessor";

const KNOWN: [(&str, Processor); 4] =
    [("CLIP", Processor::Clip), ("Bit", Processor::Bit), ("ViT", Processor::Vit), ("Siglip", Processor::Siglip)];

impl Processor {
    /// Reads the name of a class, `ViTImageProcessor`, its fast twin, or as it was called before, `ViTFeatureExtractor`.
    fn named(class: &str) -> Option<Self> {
        let class = class.strip_suffix("Fast").unwrap_or(class);
        let name = class.strip_suffix("ImageProcessor").or_else(|| class.strip_suffix("FeatureExtractor"))?;
        KNOWN.iter().find(|(known, _)| *known == name).map(|(_, processor)| *processor)
    }

    /// What it does by itself, for a tower that takes squares of `side` pixels.
    fn usual(self, side: u32) -> Preprocessing {
        let (resize, crop, filter, mean, std) = match self {
            Self::Clip | Self::Bit => {
                (Resize::ShortestEdge(side), Some([side, side]), Filter::Bicubic, OPENAI_MEAN, OPENAI_STD)
            }
            Self::Vit => (Resize::Exact([side, side]), None, Filter::Bilinear, [0.5; 3], [0.5; 3]),
            Self::Siglip => (Resize::Exact([side, side]), None, Filter::Bicubic, [0.5; 3], [0.5; 3]),
        };
        Preprocessing { resize: Some(resize), filter, crop, middle: Middle::Down, rescale: 1.0 / 255.0, mean, std }
    }

    /// What a size means that is a plain number.
    fn size_of_number(self, side: u32) -> Resize {
        if self == Self::Vit { Resize::Exact([side, side]) } else { Resize::ShortestEdge(side) }
    }
}

/// Reads the file, for a tower that takes squares of `side` pixels, and puts what the user says over it. A folder of CLIP
/// may lack it.
///
/// # Errors
/// [`Error::MissingFile`], [`Error::Config`].
pub(crate) fn open(folder: &ModelFolder, usual: Processor, side: i64) -> Result<Preprocessing> {
    Ok(folder.overrides().over(read(folder, usual, side)?))
}

fn read(folder: &ModelFolder, usual: Processor, side: i64) -> Result<Preprocessing> {
    let side = u32::try_from(side).unwrap_or(0);
    let path = match folder.require(FILE) {
        Err(Error::MissingFile { .. }) if usual == Processor::Clip => return Ok(usual.usual(side)),
        path => path?,
    };
    let config: Value = read_json(&path)?;
    let class = config.get("image_processor_type").or_else(|| config.get("feature_extractor_type"));
    let reader = Reader { path, config: &config };
    let processor = match class.and_then(Value::as_str) {
        None => usual,
        Some(class) => Processor::named(class).ok_or_else(|| {
            let known = KNOWN.map(|(name, _)| format!("{name}ImageProcessor")).join(", ");
            reader.refuse(format!("its image_processor_type is {class}, expected one of {known}"))
        })?,
    };
    reader.read(processor, side)
}

/// As [`open`], for towers that take squares of `side` pixels and nothing else.
///
/// # Errors
/// As [`open`]; [`Error::Config`] where images come out in another size.
pub(crate) fn open_square(folder: &ModelFolder, usual: Processor, side: i64) -> Result<Preprocessing> {
    check_square(folder, open(folder, usual, side)?, side)
}

/// What a config of another layout says, with what the user says over it, for towers that take squares of `side` pixels.
///
/// # Errors
/// [`Error::Config`] where images come out in another size.
pub(crate) fn square(folder: &ModelFolder, told: Preprocessing, side: i64) -> Result<Preprocessing> {
    check_square(folder, folder.overrides().over(told), side)
}

fn check_square(folder: &ModelFolder, preprocessing: Preprocessing, side: i64) -> Result<Preprocessing> {
    let crop = preprocessing.crop.unwrap_or_default();
    if crop.map(i64::from) == [side, side] {
        return Ok(preprocessing);
    }
    let problem = format!("images come out as {crop:?}, the model takes {side} x {side}");
    let path = folder.require(FILE).unwrap_or_else(|_| folder.config_path());
    Err(Error::Config { path, problem })
}

/// As [`open`], of `Siglip2ImageProcessor`, for towers that take patches of `side` pixels of images that keep their shape.
///
/// # Errors
/// As [`open`]; [`Error::Setting`] where the user says a size.
pub(crate) fn open_patches(folder: &ModelFolder, side: i64) -> Result<Preprocessing> {
    let path = folder.require(FILE)?;
    let config: Value = read_json(&path)?;
    let read = Reader { path, config: &config }.patches(u32::try_from(side).unwrap_or(0))?;
    let told = folder.overrides().over(read.clone());
    let key = if told.resize == read.resize { "crop" } else { "size" };
    if told.crop.is_some() {
        let problem = "is of images that come out in one size: those of this model keep their shape".to_owned();
        return Err(setting(key, problem));
    }
    Ok(told)
}

struct Reader<'a> {
    path: PathBuf,
    config: &'a Value,
}

impl Reader<'_> {
    fn refuse(&self, problem: String) -> Error {
        Error::Config { path: self.path.clone(), problem }
    }

    fn is_on(&self, key: &str, usual: bool) -> bool {
        self.config.get(key).and_then(Value::as_bool).unwrap_or(usual)
    }

    fn read(&self, processor: Processor, side: u32) -> Result<Preprocessing> {
        let mut read = processor.usual(side);
        read.filter = self.filter(read.filter)?;
        // The processors that do not cut anything out by themselves never do.
        let cropped = read.crop.is_some() && self.is_on("do_center_crop", true);
        if let Some(size) = self.config.get("size") {
            read.resize = Some(self.size(size, processor)?);
        }
        if !self.is_on("do_resize", true) {
            read.resize = None;
        }
        read.crop = match (cropped, self.config.get("crop_size"), read.resize) {
            (true, Some(size), _) => Some(self.crop(size)?),
            (true, None, _) => Some([side, side]),
            (false, _, Some(Resize::Exact(sides))) => Some(sides),
            (false, ..) => {
                return Err(self.refuse("without a centre crop, size must give height and width".to_owned()));
            }
        };
        self.levels(&mut read)?;
        Ok(read)
    }

    /// What `Siglip2ImageProcessor` does, for patches of `side` pixels.
    fn patches(&self, side: u32) -> Result<Preprocessing> {
        let class = self.config.get("image_processor_type").and_then(Value::as_str);
        if let Some(class) = class.filter(|class| class.strip_suffix("Fast").unwrap_or(class) != PATCHES) {
            return Err(self.refuse(format!("its image_processor_type is {class}, expected {PATCHES}")));
        }
        let number = |key: &str, usual| self.config.get(key).map_or(Some(usual), number);
        if number("patch_size", 16) != Some(side) {
            let found = self.config.get("patch_size").map_or_else(|| "16".to_owned(), Value::to_string);
            return Err(self.refuse(format!("its patch_size is {found}, the model's is {side}")));
        }
        let Some(most) = number("max_num_patches", 256).filter(|most| *most > 0) else {
            let found = self.config.get("max_num_patches").map_or_else(String::new, Value::to_string);
            return Err(self.refuse(format!("its max_num_patches is {found}, expected 1 or more")));
        };
        if !self.is_on("do_resize", true) {
            return Err(self.refuse("its do_resize is false, expected true: images must be whole patches".to_owned()));
        }
        let resize = Some(Resize::Patches { side, most });
        let mut read = Preprocessing { resize, crop: None, ..Processor::Siglip.usual(side) };
        read.filter = self.filter(Filter::Bilinear)?;
        self.levels(&mut read)?;
        Ok(read)
    }

    /// What becomes of bytes: rescaled and normalised.
    fn levels(&self, read: &mut Preprocessing) -> Result<()> {
        if let Some(factor) = self.config.get("rescale_factor").and_then(Value::as_f64) {
            read.rescale = factor as f32;
        }
        if !self.is_on("do_rescale", true) {
            read.rescale = 1.0;
        }
        if self.is_on("do_normalize", true) {
            for (key, channels) in [("image_mean", &mut read.mean), ("image_std", &mut read.std)] {
                if let Some(values) = self.config.get(key) {
                    *channels = parse(&self.path, values.clone())?;
                }
            }
        } else {
            (read.mean, read.std) = ([0.0; 3], [1.0; 3]);
        }
        Ok(())
    }

    /// Pillow's numbers of filters.
    fn filter(&self, usual: Filter) -> Result<Filter> {
        match self.config.get("resample").and_then(Value::as_u64) {
            None => Ok(usual),
            Some(2) => Ok(Filter::Bilinear),
            Some(3) => Ok(Filter::Bicubic),
            Some(other) => Err(self.refuse(format!("resample is {other}, expected 2 (bilinear) or 3 (bicubic)"))),
        }
    }

    fn size(&self, size: &Value, processor: Processor) -> Result<Resize> {
        match (number(size), size.get("shortest_edge").and_then(number), sides(size)) {
            (Some(side), ..) => Ok(processor.size_of_number(side)),
            (_, Some(edge), _) => Ok(Resize::ShortestEdge(edge)),
            (_, _, Some(sides)) => Ok(Resize::Exact(sides)),
            _ => Err(self.refuse(format!("size is {size}, expected a shortest_edge or height and width"))),
        }
    }

    fn crop(&self, size: &Value) -> Result<[u32; 2]> {
        let square = number(size).or_else(|| size.get("shortest_edge").and_then(number)).map(|edge| [edge, edge]);
        sides(size).or(square).ok_or_else(|| self.refuse(format!("crop_size is {size}")))
    }
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|n| u32::try_from(n).ok())
}

fn sides(size: &Value) -> Option<[u32; 2]> {
    Some([number(size.get("height")?)?, number(size.get("width")?)?])
}
