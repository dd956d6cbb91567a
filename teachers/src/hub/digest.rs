//! The two hashes of the hub: sha256 of large files, and git's blob sha1 of all others.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use retort_cache::{Error, Interrupt, Result};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Bytes read at a time; between two reads a stop is noticed.
pub(super) const CHUNK: usize = 256 << 10;

/// A hash on its way, of the kind that its expected value is of.
pub(super) enum Hasher {
    Sha256(Sha256),
    /// sha1 of `blob SIZE\0` and the content.
    GitBlob(Sha1),
}

/// Whether a word is the hash of a file: 64 hex digits, or 40.
pub(super) fn is_hash(word: &str) -> bool {
    matches!(word.len(), 40 | 64) && word.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

impl Hasher {
    /// Begins the kind of hash that `expected` is, of a file of so many bytes.
    pub(super) fn like(expected: &str, bytes: u64) -> Self {
        if expected.len() == 64 {
            Self::Sha256(Sha256::new())
        } else {
            Self::GitBlob(Sha1::new_with_prefix(format!("blob {bytes}\0")))
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::GitBlob(hasher) => hasher.update(bytes),
        }
    }

    /// What a message calls it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::GitBlob(_) => "git sha1",
        }
    }

    pub(super) fn finish(self) -> String {
        match self {
            Self::Sha256(hasher) => format!("{:x}", hasher.finalize()),
            Self::GitBlob(hasher) => format!("{:x}", hasher.finalize()),
        }
    }

    /// Takes in what a file has from where it is read on.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Interrupted`].
    pub(super) fn update_from(&mut self, file: &mut File, path: &Path, interrupt: &Interrupt) -> Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            interrupt.check()?;
            match file.read(&mut buffer).map_err(Error::io("read", path))? {
                0 => return Ok(()),
                read => self.update(&buffer[..read]),
            }
        }
    }
}

/// The hash of a file, of the kind that `expected` is.
///
/// # Errors
/// As [`Hasher::update_from`].
pub(super) fn hash_of(path: &Path, expected: &str, interrupt: &Interrupt) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let bytes = file.metadata().map_err(Error::io("read", path))?.len();
    let mut hasher = Hasher::like(expected, bytes);
    hasher.update_from(&mut file, path, interrupt)?;
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `git hash-object` and `sha256sum`.
    #[test]
    fn hashes_are_those_of_git_and_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for (content, git, sha256) in [
            (
                "",
                "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            (
                "hello\n",
                "ce013625030ba8dba906f756967f9e9ca394464a",
                "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
            ),
        ] {
            std::fs::write(&path, content).unwrap();
            for expected in [git, sha256] {
                assert_eq!(hash_of(&path, expected, &Interrupt::default()).unwrap(), expected);
            }
        }
    }
}
