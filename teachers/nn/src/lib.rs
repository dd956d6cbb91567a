//! Layers, weights, pixels and tokens: what frozen teachers and trained students have in common.
//!
//! ```text
//! model.safetensors --> Checkpoint --\                     ids [batch, tokens]   pixels [batch, 3, height, width]
//!                                     Weights --> Scope --> layers (Linear, LayerNorm, Attention, Mlp, Block) --> features
//! seed --------------> fresh values -/            names and shapes are checked here
//!
//! text bytes  --> TextTokenizer --> ids, byte spans
//! image bytes --> pixels::decode --> Preprocessing (resize as Pillow, centre crop, normalise) --> floats
//! ```
//!
//! A model is a plain struct of layers, built from a [`Scope`] by the names of the Hugging Face layout. The same code
//! reads a checkpoint, makes fresh weights, and names the tensors that are trained or saved.

mod bert;
mod checkpoint;
mod error;
mod layers;
mod nearest;
mod packed;
pub mod pixels;
mod prepare;
mod stored;
pub mod strip;
mod tokens;
mod weights;

pub use bert::{BertEmbeddings, BertSizes, bert_layers};
pub use checkpoint::{Checkpoint, INDEX, SINGLE, file_hash, pickle_in, save};
pub use error::{Convert, Error, Result};
pub use layers::{Activation, Attention, Block, Embedding, LayerNorm, Linear, Mlp, NormOrder, attention_bias};
pub use nearest::nearest;
pub use prepare::Preparation;
pub use stored::{Form, Naming, Stored};
pub use tokens::{Encoded, TextTokenizer};
pub use weights::{Init, Scope, Weights};

use tch::{Device, Tensor};

/// Finds all devices that a word names: `auto` is every CUDA device, or the CPU where there is none; any other word is one, as
/// [`device`] says.
///
/// # Errors
/// As [`device`].
pub fn devices(word: &str) -> Result<Vec<Device>> {
    let gpus = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
    if word == "auto" && gpus > 0 { Ok((0..gpus).map(Device::Cuda).collect()) } else { Ok(vec![device(word)?]) }
}

/// Finds the device that a word names: `auto` (CUDA if there is one), `cpu`, `cuda` or `cuda:N`.
///
/// # Errors
/// [`Error::Device`] if the word is unknown or there is no such device.
pub fn device(word: &str) -> Result<Device> {
    let gpus = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
    let refuse = |problem: String| Err(Error::Device { word: word.to_owned(), problem });
    match word {
        "cpu" => Ok(Device::Cpu),
        "auto" if gpus == 0 => Ok(Device::Cpu),
        "auto" => Ok(Device::Cuda(0)),
        _ => {
            let index = if word == "cuda" { Some(0) } else { word.strip_prefix("cuda:").and_then(|n| n.parse().ok()) };
            match index {
                None => refuse("expected auto, cpu, cuda or cuda:N".to_owned()),
                Some(index) if index >= gpus => refuse(format!("this machine has {gpus} CUDA devices")),
                Some(index) => Ok(Device::Cuda(index)),
            }
        }
    }
}

/// A copy of a tensor in memory of the host that does not move: a CUDA device copies out of it while the thread that asked
/// goes on. For the CPU the tensor as it is.
///
/// # Errors
/// [`Error::Torch`].
pub fn pinned(host: Tensor, device: Device) -> Result<Tensor> {
    if !device.is_cuda() {
        return Ok(host);
    }
    // Not `pin_memory`: with a device, which tch always names, libtorch 2.11 prints two warnings at each call.
    Ok(host.f_internal_pin_memory(device)?)
}
