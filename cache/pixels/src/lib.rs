//! What an encoded image means: bytes to RGB as Pillow's `convert("RGB")` gives it, resized as Pillow's `BICUBIC` and
//! `BILINEAR` do it, and back to bytes.
//!
//! ```text
//! bytes --> limits --> jpeg: byte for byte libjpeg-turbo --\
//!                      decode: png, webp, gif, bmp, tiff ---+--> orientation --> Rgb --> resize --> encode --> bytes
//!                                                                                 |
//!                                                                                 \--> difference_hash
//! ```
//!
//! * [`decode()`] gives every reader the same pixels: the first frame, upright, without alpha. [`Decoding`] says how
//!   else: what is cut short, what is too large, how exact.
//! * [`resize()`] is bit for bit Pillow's, [`encode()`] deterministic.
//!
//! Pillow decodes JPEG with libjpeg-turbo, and so does this crate in effect: the pixels are equal, not near. So are those
//! of every other kind of file in `tests/golden`. Palette TIFF is not read.

mod decode;
mod encode;
mod error;
mod gif;
mod jpeg;
mod limits;
mod memory;
mod orientation;
mod phash;
mod resize;
mod rgb;

pub use decode::{Decoded, Decoding, Format, decode, decode_with};
pub use encode::{Encoding, encode, own_encoding};
pub use error::{Error, Result};
pub use limits::{LARGEST_FILE_BYTES, Limits};
pub use orientation::Orientation;
pub use phash::difference_hash;
pub use resize::{Filter, resize, resize_with, shortest_side};
pub use rgb::Rgb;
