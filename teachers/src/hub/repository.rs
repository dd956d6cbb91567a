//! A repository in the cache, in the layout of Python's `huggingface_hub`.
//!
//! ```text
//! HF_HOME/hub/models--org--name/blobs/HASH                 content; HASH.incomplete while it comes
//!                               refs/main                  the commit that a revision was last
//!                               snapshots/COMMIT/a/b.json  -> ../../../blobs/HASH
//!                               retort/COMMIT.json         the files of a commit that is whole; our own
//! HF_HOME/hub/.locks/models--org--name/HASH.lock           flock of whoever fetches it
//! ```

use std::fs::{self, File as FsFile, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use retort_cache::{Error as CacheError, Interrupt, create_folder, write_atomic};
use serde::{Deserialize, Serialize};

use super::digest::{Hasher, hash_of, is_hash};
use super::id::is_commit;
use super::listing::Remote;
use super::needed::RULES;
use super::{Error, File, Result};

/// Between two looks at whether a lock is free.
const LOOK: Duration = Duration::from_millis(50);

/// The folder of one repository.
#[derive(Debug)]
pub(super) struct Repository {
    folder: PathBuf,
    locks: PathBuf,
    name: String,
}

/// What is kept of a commit all of whose files are there and checked.
#[derive(Serialize, Deserialize)]
struct Whole {
    rules: u32,
    files: Vec<File>,
}

impl Repository {
    pub(super) fn new(cache: &Path, name: &str) -> Self {
        let folder_name = format!("models--{}", name.replace('/', "--"));
        Self { folder: cache.join(&folder_name), locks: cache.join(".locks").join(folder_name), name: name.to_owned() }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The model folder of a commit.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    pub(super) fn blob(&self, file: &File) -> PathBuf {
        self.folder.join("blobs").join(&file.hash)
    }

    /// Where a blob comes in.
    pub(super) fn incomplete(&self, file: &File) -> PathBuf {
        self.folder.join("blobs").join(format!("{}.incomplete", file.hash))
    }

    /// Bytes of a file that an earlier call fetched.
    pub(super) fn begun(&self, file: &File) -> u64 {
        fs::metadata(self.incomplete(file)).map_or(0, |metadata| metadata.len()).min(file.bytes)
    }

    /// The commit that a revision was when somebody last asked.
    pub(super) fn commit_of(&self, revision: &str) -> Option<String> {
        let commit = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        is_commit(commit.trim()).then(|| commit.trim().to_owned())
    }

    pub(super) fn set_commit(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit || self.commit_of(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        Ok(write_atomic(&self.folder.join("refs").join(revision), commit.as_bytes())?)
    }

    fn whole_path(&self, commit: &str) -> PathBuf {
        self.folder.join("retort").join(format!("{commit}.json"))
    }

    /// The files of a commit that was whole by the rules of this build.
    fn whole(&self, commit: &str) -> Option<Vec<File>> {
        let json = fs::read(self.whole_path(commit)).ok()?;
        let whole: Whole = serde_json::from_slice(&json).ok()?;
        (whole.rules == RULES).then_some(whole.files)
    }

    /// Whether all files of a commit were fetched and checked, and are still there.
    pub(super) fn is_whole(&self, commit: &str) -> bool {
        self.whole(commit).is_some_and(|files| self.first_missing(commit, &files).is_none())
    }

    /// A file that a commit lacks though it was whole.
    pub(super) fn missing(&self, commit: &str) -> Result<Option<String>> {
        let files = self.whole(commit).unwrap_or_default();
        Ok(self.first_missing(commit, &files).map(|file| file.path.clone()))
    }

    fn first_missing<'a>(&self, commit: &str, files: &'a [File]) -> Option<&'a File> {
        let snapshot = self.snapshot(commit);
        let there = |file: &File| fs::metadata(snapshot.join(&file.path)).is_ok_and(|found| found.len() == file.bytes);
        files.iter().find(|file| !there(file))
    }

    pub(super) fn set_whole(&self, commit: &str, files: &[File]) -> Result<()> {
        let path = self.whole_path(commit);
        let whole = Whole { rules: RULES, files: files.to_vec() };
        let json = serde_json::to_vec_pretty(&whole).map_err(|error| CacheError::io("write", &path)(error.into()))?;
        Ok(write_atomic(&path, &json)?)
    }

    /// The files of a commit that are there, in the root and one folder below, with the hashes that their blobs are named by.
    pub(super) fn files(&self, commit: &str) -> Result<Vec<Remote>> {
        let snapshot = self.snapshot(commit);
        let mut files = Vec::new();
        let mut folders = vec![String::new()];
        while let Some(below) = folders.pop() {
            let Ok(entries) = fs::read_dir(snapshot.join(&below)) else { continue };
            for entry in entries {
                let entry = entry.map_err(CacheError::io("list", &snapshot))?;
                let path = format!("{below}{}", entry.file_name().to_string_lossy());
                match fs::metadata(entry.path()) {
                    Ok(found) if found.is_dir() && below.is_empty() => folders.push(format!("{path}/")),
                    Ok(found) if found.is_file() => {
                        let blob = fs::read_link(entry.path()).ok();
                        let hash = blob.and_then(|blob| Some(blob.file_name()?.to_str()?.to_owned()));
                        files.push(Remote { path, bytes: Some(found.len()), hash: hash.filter(|hash| is_hash(hash)) });
                    }
                    _ => {}
                }
            }
        }
        files.sort_by(|one, two| one.path.cmp(&two.path));
        Ok(files)
    }

    /// Checks a file that others fetched against the name of its blob.
    ///
    /// # Errors
    /// [`Error::Wrong`].
    pub(super) fn check(&self, commit: &str, file: &Remote, interrupt: &Interrupt) -> Result<()> {
        let Some(expected) = &file.hash else { return Ok(()) };
        let found = hash_of(&self.snapshot(commit).join(&file.path), expected, interrupt)?;
        if found == *expected { Ok(()) } else { Err(self.wrong(&file.path, expected, found, true)) }
    }

    pub(super) fn wrong(&self, path: &str, expected: &str, found: String, kept: bool) -> Error {
        Error::Wrong {
            id: self.name.clone(),
            path: path.to_owned(),
            kind: Hasher::like(expected, 0).kind(),
            expected: expected.to_owned(),
            found,
            kept,
        }
    }

    /// Whether a commit has a file with its right content, where need be by linking a blob that another commit has. A wrong one
    /// is taken away.
    pub(super) fn holds(&self, commit: &str, file: &File, interrupt: &Interrupt) -> Result<bool> {
        let pointer = self.snapshot(commit).join(&file.path);
        for path in [pointer, self.blob(file)] {
            let Ok(found) = fs::metadata(&path) else { continue };
            if found.len() == file.bytes && hash_of(&path, &file.hash, interrupt)? == file.hash {
                if path == self.blob(file) {
                    self.link(commit, file)?;
                }
                return Ok(true);
            }
            fs::remove_file(&path).map_err(CacheError::io("remove", &path))?;
        }
        Ok(false)
    }

    /// Points from a commit to a blob.
    pub(super) fn link(&self, commit: &str, file: &File) -> Result<()> {
        let pointer = self.snapshot(commit).join(&file.path);
        create_folder(pointer.parent().unwrap_or(&pointer))?;
        let up = "../".repeat(file.path.matches('/').count() + 2);
        // One that is there leads nowhere or to what is not this file.
        if fs::symlink_metadata(&pointer).is_ok() {
            fs::remove_file(&pointer).map_err(CacheError::io("remove", &pointer))?;
        }
        let target = format!("{up}blobs/{}", file.hash);
        Ok(std::os::unix::fs::symlink(target, &pointer).map_err(CacheError::io("link", &pointer))?)
    }

    /// Waits for the right to fetch a file. The lock is the one that Python takes.
    pub(super) fn lock(&self, file: &File, interrupt: &Interrupt) -> Result<FsFile> {
        create_folder(&self.locks)?;
        let path = self.locks.join(format!("{}.lock", file.hash));
        let options = FsFile::options().create(true).truncate(false).write(true).open(&path);
        let lock = options.map_err(CacheError::io("open", &path))?;
        loop {
            interrupt.check()?;
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK),
                Err(TryLockError::Error(source)) => return Err(CacheError::io("lock", &path)(source).into()),
            }
        }
    }
}
