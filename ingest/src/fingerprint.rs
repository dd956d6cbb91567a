//! What large files are, without reading all of them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use retort_cache::Error as CacheError;
use serde_json::{Value, json};

use crate::Result;
use crate::images::hash_digits;

/// So much of each end of a file is hashed: the first header of an archive, the footer of a Parquet file.
const END_BYTES: u64 = 16 << 10;

/// Many files as one value of fixed size: hashing terabytes would take as long as ingesting them, so their names, sizes
/// and ends stand for them.
pub(crate) struct Fingerprint {
    hasher: blake3::Hasher,
    files: u64,
    bytes: u64,
}

impl Fingerprint {
    pub(crate) fn new() -> Self {
        Self { hasher: blake3::Hasher::new(), files: 0, bytes: 0 }
    }

    /// Adds a file under a name that does not depend on where it lies.
    pub(crate) fn add(&mut self, name: &str, path: &Path) -> Result<()> {
        let mut read = || {
            let file = File::open(path)?;
            let bytes = file.metadata()?.len();
            let mut end = vec![0; bytes.min(END_BYTES) as usize];
            file.read_exact_at(&mut end, 0)?;
            self.add_name(name);
            self.hasher.update(&bytes.to_le_bytes()).update(&end);
            let start = bytes - end.len() as u64;
            file.read_exact_at(&mut end, start)?;
            self.hasher.update(&end);
            self.bytes += bytes;
            Ok(())
        };
        Ok(read().map_err(CacheError::io("read", path))?)
    }

    /// Adds what is known by its name alone.
    pub(crate) fn add_name(&mut self, name: &str) {
        self.files += 1;
        self.hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
    }

    pub(crate) fn value(&self) -> Value {
        json!({ "files": self.files, "bytes": self.bytes, "blake3": hash_digits(&self.hasher.finalize()) })
    }
}
