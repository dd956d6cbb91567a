//! Frozen encoders: images and texts of a data set into cached features.
//!
//! ```text
//! id of the hub --> hub --> model folder
//!
//! model folder --> layout, families --> Teacher = image encoder and/or text encoder, with their preprocessing, tokenizer
//! teacher.toml --> torchscript -----/             and pooling, and an identity that decides the fingerprint
//!
//! shard i of the data set                                             shard i of cache/<teacher>@<fingerprint8>
//!   images.bytes --> decode once for all teachers, resize, crop --> batches --> encoder --> images   [rows, width]
//!                                                                                      \--> patches  [rows, places, width]
//!   texts.text   --> tokenise, sort by length                   --> batches --> encoder --> texts    [rows, width]
//!                                                                                      \--> tokens   [rows, tokens, width]
//!   new words    --> alone, and in "a photo of {}"              --> batches --> encoder --> words    [words, width] twice
//!
//! at once: read shard i + 2 | decode of shard i + 1 | compute shard i | store and commit shard i - 1
//!            one thread     |    rayon's threads    |   one a device  |   one thread
//! ```
//!
//! [`teach()`] does shard i as a pure function of the data set, the teacher and i: a killed run that is started again
//! writes the same bytes as one that was never stopped. `teach` (the module) draws its threads and what waits between them.

mod detected;
mod error;
mod families;
mod folder;
pub mod hub;
mod layout;
mod overrides;
mod pooling;
mod preprocessing;
mod sentences;
mod sides;
mod teach;
mod teacher;
mod tokenizer;
mod torchscript;

pub use error::{Error, Result};
pub use families::{ClipVision, ClipVisionConfig};
pub use overrides::Overrides;
pub use pooling::Pooling;
/// The layers and weights that teachers are built from.
pub use retort_nn as nn;
pub use sides::{ImageSide, ImageTower, Padding, TextFeatures, TextSide, TextTower};
pub use teach::{Job, Options, Report, teach};
pub use teacher::Teacher;
