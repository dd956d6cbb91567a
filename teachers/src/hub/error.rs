//! What can go wrong between an id and a folder.

use std::path::{Path, PathBuf};

use retort_nn::{Convert, SINGLE};

use super::HubId;
use crate::layout::OPEN_CLIP_WEIGHTS;

/// Errors of fetching a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading or writing the cache failed, or a stop was asked for.
    #[error(transparent)]
    Cache(#[from] retort_cache::Error),
    /// An environment variable is not what it should be.
    #[error("{name}: {problem}")]
    Setting {
        /// The variable.
        name: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The hub has no such repository, or none that it shows.
    #[error("{endpoint} has no repository {} that it shows here (HTTP {status}{})", id.repository(), and(said))]
    NoRepository {
        /// The model.
        id: HubId,
        /// The hub.
        endpoint: String,
        /// Its answer.
        status: u16,
        /// Its words.
        said: String,
    },
    /// The repository has no such revision.
    #[error("{} at {endpoint} has no revision {}", id.repository(), id.revision())]
    NoRevision {
        /// The model.
        id: HubId,
        /// The hub.
        endpoint: String,
    },
    /// The hub does not give out the repository.
    #[error("{endpoint} refuses {} (HTTP {status}{}), asked {} a token", id.repository(), and(said), if *with_token { "with" } else { "without" })]
    Refused {
        /// The model.
        id: HubId,
        /// The hub.
        endpoint: String,
        /// Its answer.
        status: u16,
        /// Its words.
        said: String,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The hub cannot be reached, or its answer breaks off.
    #[error("no answer from {url}")]
    NoAnswer {
        /// What was asked.
        url: String,
        /// Why not.
        source: Box<ureq::Error>,
    },
    /// An answer broke off.
    #[error("{url} broke off after {bytes} bytes")]
    BrokenOff {
        /// What was asked.
        url: String,
        /// How much of the file is there.
        bytes: u64,
        /// Why.
        source: std::io::Error,
    },
    /// The hub failed, or answers what it should not.
    #[error("{url} answered HTTP {status}{}", and(said))]
    Status {
        /// What was asked.
        url: String,
        /// The answer.
        status: u16,
        /// Its words.
        said: String,
        /// Seconds after which to ask again, as it said.
        retry_after: Option<u64>,
    },
    /// An answer cannot be understood.
    #[error("{url} gave an answer that cannot be understood: {problem}")]
    Unexpected {
        /// What was asked.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// A file is not what the hub says that it is.
    #[error("{path} of {id} has {kind} {found}, expected {expected}: {}", if *kept { "the copy in the cache is damaged" } else { "it was damaged on the way and is not kept" })]
    Wrong {
        /// The model.
        id: String,
        /// The file.
        path: String,
        /// The kind of hash.
        kind: &'static str,
        /// The hash that the hub tells.
        expected: String,
        /// The hash of what came.
        found: String,
        /// Whether it is still in the cache.
        kept: bool,
    },
    /// A repository has its weights only as a pickle, which can run any code when it is opened.
    #[error("{file} of {} at {commit} is a pickle, which can run any code when opened: expected safetensors", id.repository())]
    Pickle {
        /// The model.
        id: HubId,
        /// Its commit.
        commit: String,
        /// The pickle.
        file: String,
    },
    /// A repository has no weights.
    #[error("{} at {commit} has no weights: expected model.safetensors or its shards, found {found}", id.repository())]
    NoWeights {
        /// The model.
        id: HubId,
        /// Its commit.
        commit: String,
        /// Its files.
        found: String,
    },
    /// Nobody is to be asked, and the cache lacks something.
    #[error("offline, and the cache has no {missing} of {id}: {}", folder.display())]
    Offline {
        /// The model.
        id: HubId,
        /// What is missing.
        missing: String,
        /// Where it would be.
        folder: PathBuf,
    },
}

/// The words of an answer, as the end of a sentence.
fn and(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

/// Whether a connection failed for a certificate, or for TLS as such.
fn is_distrust(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => true,
        // What rustls refuses comes through the connection that it reads.
        ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

impl Error {
    /// What to do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Cache(error) => return error.hint(),
            Self::NoRepository { id, endpoint, .. } => format!(
                "there is no folder {} either: check the name; of a private or gated repository, set HF_TOKEN and accept its \
                 licence at {endpoint}/{}",
                id.repository(),
                id.repository()
            ),
            Self::NoRevision { id, endpoint } => {
                format!("{endpoint}/{}/commits/main lists what there is; @main is the newest", id.repository())
            }
            Self::Refused { id, endpoint, with_token, .. } => format!(
                "accept its licence at {endpoint}/{} and set HF_TOKEN to a token{} that may read it",
                id.repository(),
                if *with_token { " of an account" } else { "" }
            ),
            Self::NoAnswer { source, .. } if is_distrust(source) => {
                "where a proxy or mirror has an authority of its own, REQUESTS_CA_BUNDLE names the PEM file of its certificate"
                    .to_owned()
            }
            Self::NoAnswer { .. } => {
                "is there a network? HF_ENDPOINT names another address of the hub; HF_HUB_OFFLINE=1 uses \
                                      what the cache has"
                    .to_owned()
            }
            Self::BrokenOff { .. } | Self::Status { .. } => {
                "run the same command again: it goes on where it stopped; HF_ENDPOINT names another address of the hub"
                    .to_owned()
            }
            Self::Unexpected { .. } => "does HF_ENDPOINT name a hub, and no proxy's page is in the way?".to_owned(),
            Self::Wrong { kept: false, .. } => "run the same command again".to_owned(),
            Self::Wrong { .. } => "fetch it again: run the same command without HF_HUB_OFFLINE".to_owned(),
            // transformers does not know these.
            Self::Pickle { id, commit, file } if file.contains('/') || file.starts_with("open_clip") => {
                let name = id.repository().rsplit('/').next().unwrap_or_default();
                let safe = if file.starts_with("open_clip") { OPEN_CLIP_WEIGHTS } else { SINGLE };
                format!(
                    "look for another revision with safetensors, or fetch this one (hf download {} --revision {commit} \
                     --local-dir {name}), convert it, where you trust it: {}, and teach with the folder {name}",
                    id.repository(),
                    Convert::StateDict(safe).command(&Path::new(name).join(file))
                )
            }
            Self::Pickle { id, commit, .. } => {
                let name = id.repository().rsplit('/').next().unwrap_or_default();
                format!(
                    "look for another revision with safetensors (often {0}@refs/pr/N, in its discussions), or convert it once, \
                     where you trust it: python -c \"from transformers import AutoModel, AutoProcessor; \
                     kind = dict(pretrained_model_name_or_path='{0}', revision='{commit}'); \
                     [of.from_pretrained(**kind).save_pretrained('{name}-safetensors') for of in (AutoModel, AutoProcessor)]\" \
                     and teach with the folder {name}-safetensors",
                    id.repository()
                )
            }
            Self::NoWeights { .. } => {
                "name a repository in Hugging Face layout (config.json, model.safetensors, tokenizer.json)".to_owned()
            }
            Self::Offline { id, .. } => {
                format!(
                    "run it once without HF_HUB_OFFLINE, or copy the folder of a machine that has {}",
                    id.repository()
                )
            }
            Self::Setting { .. } => return None,
        };
        Some(hint)
    }

    /// Whether to ask again may help.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::NoAnswer { source, .. } => !is_distrust(source),
            Self::BrokenOff { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500..),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn a_certificate_that_nobody_trusts_is_not_tried_again() {
        let failed = |kind: ErrorKind| {
            let source = Box::new(ureq::Error::Io(kind.into()));
            let error = Error::NoAnswer { url: "https://hub".to_owned(), source };
            (error.may_pass(), error.hint().unwrap().contains("REQUESTS_CA_BUNDLE"))
        };
        assert_eq!(failed(ErrorKind::InvalidData), (false, true));
        assert_eq!(failed(ErrorKind::ConnectionReset), (true, false));
    }
}
