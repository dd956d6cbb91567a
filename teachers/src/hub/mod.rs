//! Models of the Hugging Face hub: the files of one revision in a local folder, from where all goes on as with any other
//! model folder.
//!
//! ```text
//! org/name@revision --> commit, files and their hashes (listing) --> which are needed (needed)
//!        --> those that the cache lacks (repository), by range and checked by hash (download)
//!        --> HF_HOME/hub/models--org--name/snapshots/COMMIT
//! ```
//!
//! The cache has the layout of Python's `huggingface_hub`: each finds what the other fetched. One folder is our own,
//! `retort/COMMIT.json` beside `snapshots`: the files of a commit that was fetched and checked whole, which nobody needs to ask
//! for again.

mod client;
mod digest;
mod download;
mod error;
mod id;
mod listing;
mod needed;
mod repository;
mod settings;

use std::path::{Path, PathBuf};

use retort_cache::{Interrupt, MODEL_PLACEHOLDER, Progress};
use retort_schemas::manifest::Origin;

use self::client::Client;
use self::download::download;
pub use self::error::Error;
pub use self::id::HubId;
use self::needed::needed;
use self::repository::Repository;
pub use self::settings::Settings;

type Result<T, E = Error> = std::result::Result<T, E>;

/// A model folder, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The folder.
    pub folder: PathBuf,
    /// Its repository and commit, if it is of the hub.
    pub origin: Option<Origin>,
    /// What was done to get it, for the user.
    pub note: Option<String>,
}

/// Finds a model by the word that names it: a path where there is one, else an id of the hub, whose files are fetched where the
/// cache lacks them.
///
/// # Errors
/// [`crate::Error::NoModel`] if it is neither a path that exists nor an id; [`crate::Error::Placeholder`] if it is the word that
/// stands for one where commands are told; those of [`fetch`].
pub fn find(word: &str, progress: &dyn Progress, interrupt: &Interrupt) -> crate::Result<Found> {
    let path = Path::new(word);
    if path.exists() {
        return Ok(Found { folder: path.to_owned(), origin: None, note: None });
    }
    if word == MODEL_PLACEHOLDER {
        return Err(crate::Error::Placeholder);
    }
    let id: HubId = word.parse().map_err(|problem| crate::Error::NoModel { word: word.to_owned(), problem })?;
    Ok(fetch(&id, &Settings::from_env()?, progress, interrupt)?)
}

/// Brings the files of a revision that a teacher needs into the cache, and checks each against its hash.
///
/// Nobody is asked where the id is a commit that was fetched before, or where `settings` say so.
///
/// # Errors
/// Those of [`Error`]; [`retort_cache::Error::Interrupted`] when asked to stop. What was fetched of a file stays, and the next
/// call goes on from there.
pub fn fetch(id: &HubId, settings: &Settings, progress: &dyn Progress, interrupt: &Interrupt) -> Result<Found> {
    let repository = Repository::new(&settings.cache, id.repository());
    let known = match id.commit() {
        None if settings.offline => repository.commit_of(id.revision()),
        commit => commit.map(str::to_owned),
    };
    if let Some(commit) = &known
        && repository.is_whole(commit)
    {
        return Ok(found(id, &repository, commit, "found in the cache".to_owned()));
    }
    if settings.offline {
        return offline(id, &repository, known, interrupt);
    }
    let client = Client::new(id, settings, interrupt)?;
    let listing = client.listing()?;
    let files = needed(id, &listing.commit, listing.files)?;
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for file in files {
        let file = client.with_hash(&listing.commit, file)?;
        if repository.holds(&listing.commit, &file, interrupt)? { there.push(file) } else { missing.push(file) }
    }
    let bytes: u64 = missing.iter().map(|file| file.bytes - repository.begun(file)).sum();
    if !missing.is_empty() {
        progress.begin(&format!("fetch {}", id.repository()), bytes, "bytes");
        for file in &missing {
            progress.note(&file.path);
            download(&client, &repository, &listing.commit, file, progress)?;
        }
        progress.note("");
        progress.end();
    }
    let note = match (missing.len(), there.len()) {
        (0, _) => format!("found in the cache, as at {}", settings.endpoint),
        (new, 0) => format!("{new} files from {}", settings.endpoint),
        (new, old) => format!("{new} files from {}, {old} were in the cache", settings.endpoint),
    };
    let fetched = !missing.is_empty();
    there.extend(missing);
    let noted = repository.set_whole(&listing.commit, &there);
    let noted = noted.and_then(|()| repository.set_commit(id.revision(), &listing.commit));
    // A cache that others keep may not be ours to write; where nothing was fetched, that only saves questions.
    if fetched {
        noted?;
    }
    Ok(found(id, &repository, &listing.commit, note))
}

fn found(id: &HubId, repository: &Repository, commit: &str, how: String) -> Found {
    let (name, revision) = (id.repository().to_owned(), id.revision().to_owned());
    let note = match id.commit() {
        Some(_) => format!("{id}: {how}"),
        None => format!("{id} is commit {commit}: {how}"),
    };
    let origin = Origin { repository: name, revision, commit: commit.to_owned() };
    Found { folder: repository.snapshot(commit), origin: Some(origin), note: Some(note) }
}

/// What the cache has of a revision, without asking anybody: files that others fetched are checked against their names, which
/// are their hashes. Whether they are all that there are cannot be known.
fn offline(id: &HubId, repository: &Repository, commit: Option<String>, interrupt: &Interrupt) -> Result<Found> {
    let lacks = |missing: String| Error::Offline { id: id.clone(), missing, folder: repository.folder().to_owned() };
    let commit = commit.ok_or_else(|| lacks(format!("revision {}", id.revision())))?;
    if let Some(missing) = repository.missing(&commit)? {
        return Err(lacks(missing));
    }
    let files = repository.files(&commit)?;
    if files.is_empty() {
        return Err(lacks(format!("commit {commit}")));
    }
    let files = needed(id, &commit, files).map_err(|error| match error {
        // The hub may have what the cache has not.
        Error::NoWeights { .. } => lacks("model.safetensors or its shards".to_owned()),
        error => error,
    })?;
    for file in &files {
        repository.check(&commit, file, interrupt)?;
    }
    let how = "as the cache has it; offline nobody can tell whether files are missing";
    Ok(found(id, repository, &commit, how.to_owned()))
}

/// Remote files with their size and hash, as they are fetched and checked.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct File {
    /// Path in the repository.
    path: String,
    /// Size.
    bytes: u64,
    /// sha256 of the content in 64 hex digits, or its git blob sha1 in 40; the name of its blob in the cache.
    hash: String,
}
