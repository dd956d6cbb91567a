//! The two halves of a teacher, whatever its family: towers behind traits, with what brings images and texts to them.

use std::fmt::Debug;

use retort_nn::pixels::{Preprocessing, Rgb};
use retort_nn::{Encoded, TextTokenizer, pinned};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::Result;
use crate::pooling::normalised;

/// What looks at pixels.
pub trait ImageTower: Debug + Send {
    /// Pixels `[batch, 3, height, width]` to the last hidden state `[batch, tokens, width]`.
    ///
    /// # Errors
    /// If libtorch refuses the shapes.
    fn hidden(&self, pixels: &Tensor) -> Result<Tensor>;

    /// The last hidden state to embeddings `[batch, width]`, as the reference defines them.
    ///
    /// # Errors
    /// If libtorch refuses the shapes.
    fn pooled(&self, hidden: &Tensor) -> Result<Tensor>;

    /// The last hidden state to the patch grid `[batch, patches, width]`, row by row from the top left.
    ///
    /// # Errors
    /// If libtorch refuses the shapes.
    fn grid(&self, hidden: &Tensor) -> Result<Tensor>;

    /// Patches of an image, and the width of each; `[0, 0]` where there is no grid, or none of one shape.
    fn grid_size(&self) -> [usize; 2];
}

/// What a text encoder gives for a batch.
#[derive(Debug)]
pub struct TextFeatures {
    /// One vector a text, `[batch, width]`.
    pub pooled: Tensor,
    /// One vector a token, `[batch, tokens, token width]`; what stands at padding means nothing.
    pub tokens: Tensor,
}

/// What reads tokens.
pub trait TextTower: Debug + Send {
    /// Ids and mask `[batch, tokens]`, padded on the right, to features. The mask is 1 for a token and 0 for padding.
    ///
    /// # Errors
    /// If libtorch refuses the shapes.
    fn forward(&self, ids: &Tensor, mask: &Tensor) -> Result<TextFeatures>;
}

/// The image half of a teacher.
#[derive(Debug)]
pub struct ImageSide {
    pub(crate) tower: Box<dyn ImageTower>,
    /// How images are brought to the tower's input.
    pub preprocessing: Preprocessing,
    /// Dimensions of an embedding.
    pub width: usize,
}

impl ImageSide {
    /// Patches of an image, and the width of each one's vector.
    pub fn grid_size(&self) -> [usize; 2] {
        self.tower.grid_size()
    }

    /// `[height, width]` of the tower's input, a [strip](retort_nn::strip) where images keep their shape.
    pub fn input_size(&self) -> [u32; 2] {
        self.preprocessing.input_size()
    }

    /// An image as the tower's input, `[3, height, width]` floats.
    ///
    /// # Errors
    /// If it cannot be resized.
    pub fn preprocess(&self, image: &Rgb) -> Result<Vec<f32>> {
        Ok(self.preprocessing.normalise(&self.preprocessing.fit(image)?))
    }
}

/// What stands behind the tokens of a text in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Padding {
    /// Its id.
    pub id: i64,
    /// Least tokens that every text is padded to: 0 but for models that were trained on texts of one length.
    pub least: usize,
}

/// The text half of a teacher.
pub struct TextSide {
    pub(crate) tower: Box<dyn TextTower>,
    /// How texts become ids.
    pub tokenizer: TextTokenizer,
    /// How texts of a batch come to one length.
    pub padding: Padding,
    /// Dimensions of an embedding.
    pub width: usize,
    /// Dimensions of a token's feature.
    pub token_width: usize,
}

impl TextSide {
    /// Texts as ids and mask, both `[texts, tokens]`.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub(crate) fn batch(&self, texts: &[&Encoded], device: Device) -> Result<(Tensor, Tensor)> {
        let longest = texts.iter().map(|text| text.ids.len()).max().unwrap_or(0).max(self.padding.least);
        let mut ids = vec![self.padding.id; texts.len() * longest];
        let mut mask = vec![0_i64; ids.len()];
        for (row, text) in texts.iter().enumerate() {
            for (column, id) in text.ids.iter().enumerate() {
                ids[row * longest + column] = i64::from(*id);
                mask[row * longest + column] = 1;
            }
        }
        let shape = [texts.len() as i64, longest as i64];
        let tensor = |values: &[i64]| -> Result<Tensor> {
            let host = pinned(Tensor::f_from_slice(values)?.f_reshape(shape)?, device)?;
            Ok(host.f_to_device_(device, Kind::Int64, device.is_cuda(), false)?)
        };
        Ok((tensor(&ids)?, tensor(&mask)?))
    }
}

/// What a family opens of a folder.
pub(crate) struct Sides {
    pub image: Option<ImageSide>,
    pub text: Option<TextSide>,
    /// Everything that decides its numbers, but for the weights and the type that is computed in.
    pub details: Value,
    /// Whether texts are pooled, and brought to length one or not, as [`Overrides`](crate::Overrides) say.
    pub pools: bool,
}

impl Sides {
    /// The same with embeddings of length one at the end.
    pub(crate) fn normalised(mut self) -> Self {
        self.image = self.image.map(|side| ImageSide { tower: Box::new(Unit(side.tower)), ..side });
        self.text = self.text.map(|side| TextSide { tower: Box::new(Unit(side.tower)), ..side });
        if let Value::Object(details) = &mut self.details {
            details.insert("normalise".to_owned(), Value::Bool(true));
        }
        self
    }
}

/// A tower whose embeddings are brought to length one.
#[derive(Debug)]
struct Unit<T>(T);

impl ImageTower for Unit<Box<dyn ImageTower>> {
    fn hidden(&self, pixels: &Tensor) -> Result<Tensor> {
        self.0.hidden(pixels)
    }

    fn pooled(&self, hidden: &Tensor) -> Result<Tensor> {
        normalised(&self.0.pooled(hidden)?)
    }

    fn grid(&self, hidden: &Tensor) -> Result<Tensor> {
        self.0.grid(hidden)
    }

    fn grid_size(&self) -> [usize; 2] {
        self.0.grid_size()
    }
}

impl TextTower for Unit<Box<dyn TextTower>> {
    fn forward(&self, ids: &Tensor, mask: &Tensor) -> Result<TextFeatures> {
        let TextFeatures { pooled, tokens } = self.0.forward(ids, mask)?;
        Ok(TextFeatures { pooled: normalised(&pooled)?, tokens })
    }
}
