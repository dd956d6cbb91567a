//! Why an image cannot be used.

use crate::{Encoding, Format};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of decoding, resizing and encoding one image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There are no bytes: the source names the image, and it was not there.
    #[error("it is missing: ingested with --allow-missing-images")]
    Missing,
    /// The bytes begin like no image of a known format.
    #[error("it is no image of a known format: it has {bytes} bytes, expected {}", Format::names())]
    UnknownFormat {
        /// How many.
        bytes: usize,
    },
    /// The image, or what its header claims, is more than is decoded.
    #[error("it is too large: {problem}")]
    TooLarge {
        /// What is too much of what.
        problem: String,
    },
    /// The end of the image is not there.
    #[error("it is truncated: {problem}")]
    Truncated {
        /// What is missing.
        problem: String,
    },
    /// The decoder refused it.
    #[error("it is no whole {}: {problem}", format.name())]
    Corrupt {
        /// The format that its first bytes name.
        format: Format,
        /// What the decoder says.
        problem: String,
    },
    /// It cannot be resized like this.
    #[error("it cannot be resized from {}x{} to {}x{}: {problem}", from[0], from[1], to[0], to[1])]
    Resize {
        /// Width and height.
        from: [u32; 2],
        /// Width and height wanted.
        to: [u32; 2],
        /// What the resizer says.
        problem: String,
    },
    /// The format cannot hold it.
    #[error("it cannot be encoded as {encoding}: {problem}")]
    Encode {
        /// The encoding wanted.
        encoding: Encoding,
        /// What the encoder says.
        problem: String,
    },
}
