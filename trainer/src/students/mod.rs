//! Students: cross-modal encoders that are trained. One trait, one module each; to add one, read `vilt.rs`.

mod vilt;

use std::path::Path;

use tch::Tensor;

use crate::Result;

pub use vilt::{Vilt, ViltConfig};

/// What a student reads: of each image one text or several candidates, one after another. `texts` is `batch` times as
/// many as an image has.
#[derive(Debug)]
pub struct Input<'a> {
    /// Token ids, `[texts, tokens]`.
    pub ids: &'a Tensor,
    /// 1 for a token, 0 for padding, `[texts, tokens]`.
    pub mask: &'a Tensor,
    /// `[batch, 3, side, side]`.
    pub pixels: &'a Tensor,
}

/// What the losses see of a student, from its last layer.
#[derive(Debug)]
pub struct Views {
    /// h_cls: the first text token, `[texts, width]`.
    pub h_cls: Tensor,
    /// h_i: all text tokens, `[texts, tokens, width]`.
    pub h_text: Tensor,
    /// r_img: the whole-image token, seen with each text, `[texts, width]`.
    pub r_img: Tensor,
    /// Scores of the answers or classes, or one of the text, `[texts, outputs]`.
    pub logits: Tensor,
}

/// A cross-modal encoder with an answer head.
pub trait Student {
    /// Reads a batch.
    ///
    /// # Errors
    /// If libtorch refuses the shapes.
    fn forward(&self, input: &Input<'_>) -> Result<Views>;

    /// Whether a tensor of this name is the student's own and goes into its export; the rest was for training only.
    fn exports(&self, name: &str) -> bool;

    /// Writes config.json and preprocessor_config.json of the Hugging Face layout, with the answers as labels.
    ///
    /// # Errors
    /// If a file cannot be written.
    fn write_config(&self, folder: &Path, answers: &[String]) -> Result<()>;
}
