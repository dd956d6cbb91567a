//! What a user says of a teacher in the place of what its folder says.

use retort_nn::nearest;
use retort_nn::pixels::{Filter, Preprocessing, Resize};
use serde_json::Value;

use crate::pooling::Pooling;
use crate::{Error, Result};

/// The keys there are, in the order of the documentation.
const KEYS: [&str; 8] = ["pooling", "max_length", "normalize", "size", "crop", "interpolation", "mean", "std"];

/// Settings over what is detected of a model folder; nothing by default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// How one vector is made of a text's tokens.
    pub(crate) pooling: Option<Pooling>,
    /// Most tokens of a text.
    pub(crate) max_length: Option<usize>,
    /// Whether embeddings are brought to length one at the end.
    pub(crate) normalize: Option<bool>,
    /// What images are resized to: the shorter side, or `[height, width]`.
    size: Option<Size>,
    crop: Option<Size>,
    interpolation: Option<Filter>,
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
}

/// One number, or height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    One(u32),
    Two([u32; 2]),
}

impl Overrides {
    /// Sets one key: a word, a number, or numbers as `0.5,0.5,0.5`.
    ///
    /// # Errors
    /// [`Error::UnknownSetting`] with the nearest key; [`Error::Setting`] for a value that is none of the key's.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let refuse = |expected: &str| setting(key, format!("is {value:?}, expected {expected}"));
        match key {
            "pooling" => {
                let near = |words: &[&str]| nearest(value, words.iter().copied());
                let known = Pooling::words();
                let expected = || match near(&known) {
                    Some(near) => format!("one of {}: did you mean {near:?}?", known.join(", ")),
                    None => format!("one of {}", known.join(", ")),
                };
                self.pooling = Some(Pooling::named(value).ok_or_else(|| refuse(&expected()))?);
            }
            "max_length" => {
                let length = value.parse().ok().filter(|length| *length > 0);
                self.max_length = Some(length.ok_or_else(|| refuse("a number of tokens"))?);
            }
            "normalize" => self.normalize = Some(value.parse().map_err(|_| refuse("true or false"))?),
            "size" => self.size = Some(size(value).ok_or_else(|| refuse("a side in pixels, or HEIGHT,WIDTH"))?),
            "crop" => self.crop = Some(size(value).ok_or_else(|| refuse("a side in pixels, or HEIGHT,WIDTH"))?),
            "interpolation" => {
                let filter = serde_json::from_value(Value::from(value));
                self.interpolation = Some(filter.map_err(|_| refuse("bicubic or bilinear"))?);
            }
            "mean" => self.mean = Some(channels(value).ok_or_else(|| refuse("R,G,B, such as 0.5,0.5,0.5"))?),
            "std" => {
                let std = channels(value).filter(|std| std.iter().all(|channel| *channel > 0.0));
                self.std = Some(std.ok_or_else(|| refuse("R,G,B above 0, such as 0.5,0.5,0.5"))?);
            }
            _ => {
                let (near, known) = (nearest(key, KEYS.iter().copied()), KEYS.join(", "));
                return Err(Error::UnknownSetting { key: key.to_owned(), near, known });
            }
        }
        Ok(())
    }

    /// Puts what was said of images over what was detected.
    pub(crate) fn over(&self, mut images: Preprocessing) -> Preprocessing {
        match (self.size, images.resize) {
            (None, _) => {}
            (Some(Size::One(side)), None | Some(Resize::ShortestEdge(_))) => {
                images.resize = Some(Resize::ShortestEdge(side));
            }
            // Nothing is cut off what was squeezed into its size.
            (Some(size), _) => {
                images.resize = Some(Resize::Exact(size.sides()));
                images.crop = Some(size.sides());
            }
        }
        images.crop = self.crop.map(Size::sides).or(images.crop);
        images.filter = self.interpolation.unwrap_or(images.filter);
        images.mean = self.mean.unwrap_or(images.mean);
        images.std = self.std.unwrap_or(images.std);
        images
    }

    /// Refuses what is said of a side that the teacher does not have, or of pooling where the model allows one alone.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub(crate) fn check(&self, has_images: bool, has_texts: bool, pools: bool) -> Result<()> {
        let images = [
            ("size", self.size.is_some()),
            ("crop", self.crop.is_some()),
            ("interpolation", self.interpolation.is_some()),
            ("mean", self.mean.is_some()),
            ("std", self.std.is_some()),
        ];
        let said = images.into_iter().find(|(_, said)| *said && !has_images);
        if let Some((key, _)) = said {
            return Err(setting(key, "is of images, and this teacher has no image encoder".to_owned()));
        }
        for (key, said) in [("max_length", self.max_length.is_some()), ("pooling", self.pooling.is_some())] {
            if said && !has_texts {
                return Err(setting(key, "is of texts, and this teacher has no text encoder".to_owned()));
            }
        }
        if self.pooling.is_some() && !pools {
            let problem =
                "is of text encoders that give a feature a token (BERT and its kin): this model has its own pooling";
            return Err(setting("pooling", problem.to_owned()));
        }
        Ok(())
    }
}

impl Size {
    fn sides(self) -> [u32; 2] {
        match self {
            Self::One(side) => [side, side],
            Self::Two(sides) => sides,
        }
    }
}

/// That a setting cannot be used.
pub(crate) fn setting(key: &str, problem: String) -> Error {
    Error::Setting { key: key.to_owned(), problem }
}

/// Numbers between commas, with brackets around them or not.
fn numbers<T: std::str::FromStr>(value: &str) -> Option<Vec<T>> {
    let inner = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(value);
    inner.split(',').map(|number| number.trim().parse().ok()).collect()
}

fn size(value: &str) -> Option<Size> {
    let sides: Vec<u32> = numbers(value)?;
    match sides.as_slice() {
        [side] if *side > 0 => Some(Size::One(*side)),
        [height, width] if *height > 0 && *width > 0 => Some(Size::Two([*height, *width])),
        _ => None,
    }
}

fn channels(value: &str) -> Option<[f32; 3]> {
    let channels: Vec<f32> = numbers(value)?;
    channels.try_into().ok().filter(|channels: &[f32; 3]| channels.iter().all(|channel| channel.is_finite()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_or_refused() -> Result<()> {
        let mut said = Overrides::default();
        for (key, value) in [
            ("pooling", "mean"),
            ("max_length", "40"),
            ("normalize", "true"),
            ("size", "256"),
            ("crop", "[224, 192]"),
            ("interpolation", "bilinear"),
            ("mean", "0.5,0.25,0"),
            ("std", "[1, 2, 3]"),
        ] {
            said.set(key, value)?;
        }
        assert_eq!((said.pooling, said.max_length, said.normalize), (Some(Pooling::Mean), Some(40), Some(true)));
        assert_eq!((said.size, said.crop), (Some(Size::One(256)), Some(Size::Two([224, 192]))));
        assert_eq!(said.interpolation, Some(Filter::Bilinear));
        assert_eq!((said.mean, said.std), (Some([0.5, 0.25, 0.0]), Some([1.0, 2.0, 3.0])));
        for (key, value, says) in [
            ("poolin", "mean", "did you mean \"pooling\"?"),
            ("colour", "red", "expected one of pooling, max_length, normalize, "),
            ("pooling", "meen", "did you mean \"mean\"?"),
            ("max_length", "0", "max_length is \"0\", expected a number of tokens"),
            ("normalize", "yes", "expected true or false"),
            ("size", "1,2,3", "a side in pixels, or HEIGHT,WIDTH"),
            ("crop", "-4", "a side in pixels"),
            ("interpolation", "nearest", "expected bicubic or bilinear"),
            ("mean", "0.5", "R,G,B"),
            ("mean", "0.5,nan,0.5", "R,G,B"),
            ("std", "0.5,0,0.5", "above 0"),
        ] {
            let error = Overrides::default().set(key, value).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(says), "{key}={value}: {error}");
        }
        Ok(())
    }
}
