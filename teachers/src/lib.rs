//! Frozen encoders: images and texts of a data set into cached features.
//!
//! ```text
//! model folder --> Teacher = image encoder (CLIP vision) and/or text encoder (CLIP text, BERT), with their
//!                            preprocessing and tokenizer, and an identity that decides the fingerprint
//!
//! shard i of the data set                                             shard i of cache/<teacher>@<fingerprint8>
//!   images.bytes --> decode, resize, crop (rayon) --> batches --> encoder --> images   [rows, width]
//!   texts.text   --> tokenise, sort by length     --> batches --> encoder --> texts    [rows, width]
//!                                                                        \--> tokens   [rows, tokens, width]
//!   new words    --> alone, and in "a photo of {}" --> batches --> encoder --> words    [words, width] twice
//! ```
//!
//! [`teach()`] does shard i as a pure function of the data set, the teacher and i: a killed run that is started again
//! writes the same bytes as one that was never stopped.

mod bert;
mod clip;
mod error;
mod shard;
mod teach;
mod teacher;

pub use bert::{Bert, BertConfig, Pooling};
pub use clip::{ClipText, ClipTextConfig, ClipVision, ClipVisionConfig};
pub use error::{Error, Result};
/// The layers and weights that teachers are built from.
pub use retort_nn as nn;
pub use teach::{Options, Report, Work, teach};
pub use teacher::{ImageSide, Teacher, TextFeatures, TextSide};
