//! What can go wrong between a model folder and its output.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of weights, tokenizers, pixels and tensors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A model folder has no weights.
    #[error("{} has no weights: expected model.safetensors or model.safetensors.index.json", folder.display())]
    NoWeights {
        /// The folder.
        folder: PathBuf,
    },
    /// One of the files that the weights are divided into is not there.
    #[error("{} names {parts} files of weights, of which {} is not there", index.display(), part.display())]
    MissingPart {
        /// The index.
        index: PathBuf,
        /// The file that is missing.
        part: PathBuf,
        /// How many there are to be.
        parts: usize,
    },
    /// A model folder has its weights only as a pickle, which can run any code when it is opened.
    #[error("{} is a pickle, which can run any code when opened: expected safetensors", path.display())]
    Pickle {
        /// The pickle.
        path: PathBuf,
        /// What makes safetensors of it.
        convert: Convert,
    },
    /// A file is not what its name says.
    #[error("{} cannot be understood: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The checkpoint lacks a tensor that the config asks for.
    #[error("{} has no tensor {name}, expected shape {expected:?}", path.display())]
    MissingTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape that the config asks for.
        expected: Vec<i64>,
    },
    /// A tensor's shape does not fit the config.
    #[error("tensor {name} in {} has shape {found:?}, the config asks for {expected:?}", path.display())]
    TensorShape {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape that the config asks for.
        expected: Vec<i64>,
        /// The shape in the checkpoint.
        found: Vec<i64>,
    },
    /// A name in a config is unknown to this build.
    #[error("unknown {what} {found:?}: expected one of {known}")]
    Unknown {
        /// What it names.
        what: &'static str,
        /// The name found.
        found: String,
        /// The names there are.
        known: &'static str,
    },
    /// A device that does not exist.
    #[error("no device {word:?}: {problem}")]
    Device {
        /// The word given.
        word: String,
        /// Why not.
        problem: String,
    },
    /// An image cannot be decoded or resized.
    #[error("image: {problem}")]
    Image {
        /// What went wrong.
        problem: String,
    },
    /// The tokenizer refused a text.
    #[error("tokenizer {}: {problem}", path.display())]
    Tokenizer {
        /// The tokenizer file.
        path: PathBuf,
        /// What it said.
        problem: String,
    },
    /// libtorch refused.
    #[error("libtorch: {}", first_line(.0))]
    Torch(#[from] tch::TchError),
}

/// What makes safetensors of a pickle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Convert {
    /// transformers opens the folder and saves it again.
    Transformers,
    /// torch opens a state dict, and its tensors are saved in a file of this name.
    StateDict(&'static str),
    /// torch opens a TorchScript module, as OpenAI's CLIP is one.
    TorchScript,
}

impl Convert {
    /// The command for a pickle.
    pub fn command(self, path: &std::path::Path) -> String {
        let folder = path.parent().unwrap_or(path).display();
        let save = |opens: &str, file: &std::path::Path| {
            let file = file.display();
            format!(
                "python -c \"import torch; from safetensors.torch import save_file; state = {opens}; \
                 save_file({{name: tensor.clone().contiguous() for name, tensor in state.items()}}, '{file}')\""
            )
        };
        let pickle = path.display();
        match self {
            Self::Transformers => format!(
                "python -c \"from transformers import AutoModel; \
                 AutoModel.from_pretrained('{folder}').save_pretrained('{folder}-safetensors', safe_serialization=True)\" \
                 and copy the tokenizer and preprocessor files beside it"
            ),
            Self::StateDict(file) => {
                let opens = format!("torch.load('{pickle}', map_location='cpu', weights_only=True)");
                save(&opens, &path.with_file_name(file))
            }
            Self::TorchScript => {
                let opens = format!("torch.jit.load('{pickle}', map_location='cpu').state_dict()");
                let command = save(&opens, &path.with_extension("safetensors"));
                format!("{command} and copy tokenizer.json beside it, for CLIP of openai/clip-vit-base-patch32")
            }
        }
    }
}

/// libtorch's messages go on with a stack trace; the first line says it all.
fn first_line(error: &tch::TchError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

impl Error {
    /// An [`Error::Io`], for `map_err`.
    pub fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// What to do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Pickle { path, convert } => {
                Some(format!("convert it once, where you trust it: {}", convert.command(path)))
            }
            Self::NoWeights { .. } => {
                Some("point at a Hugging Face model folder (config.json, model.safetensors, tokenizer.json)".to_owned())
            }
            Self::MissingPart { .. } => Some("copy or download all files of the model".to_owned()),
            Self::MissingTensor { .. } | Self::TensorShape { .. } => {
                Some("do config.json and the weights come from the same model?".to_owned())
            }
            Self::Device { .. } => Some("--device auto takes CUDA if there is one, else the CPU".to_owned()),
            _ => None,
        }
    }
}

impl From<retort_pixels::Error> for Error {
    fn from(error: retort_pixels::Error) -> Self {
        Self::Image { problem: error.to_string() }
    }
}
