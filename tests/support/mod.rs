//! Folders, files and small data sets for the tests.
#![cfg_attr(not(feature = "torch"), allow(dead_code, reason = "most of it serves the tests of teachers"))]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

pub mod command;
#[cfg(feature = "torch")]
pub mod dataset;
#[cfg(feature = "torch")]
pub mod hub;

/// What tests and their helpers return.
pub type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

/// The golden files of this name.
#[cfg(feature = "torch")]
pub fn golden(name: &str) -> PathBuf {
    repository().join("tests/data/golden").join(name)
}

/// The root of the sources.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What `make demo-data` fetched under this name; `Err` is what to tell when it did not.
#[cfg(feature = "torch")]
pub fn demo(name: &str) -> Result<PathBuf, String> {
    let home = std::env::var_os("XDG_CACHE_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cache"))).unwrap_or_default();
    let folder = home.join("retort/demo").join(name);
    let absent = || format!("skipped: there is no {}; `make demo-data` fetches it", folder.display());
    if folder.is_dir() { Ok(folder) } else { Err(absent()) }
}

/// The folder of this name of the real data beside the checkout; `Err` is what to tell when there is none.
#[cfg(feature = "torch")]
pub fn shared(name: &str) -> Result<PathBuf, String> {
    let folder = repository().parent().unwrap_or(repository()).join("shared/data").join(name);
    if folder.is_dir() { Ok(folder) } else { Err(format!("skipped: there is no {}", folder.display())) }
}

/// Copies a folder with everything in it.
#[cfg(feature = "torch")]
pub fn copy_folder(from: &Path, to: &Path) -> Result {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if path.is_dir() {
            copy_folder(&path, &to.join(name))?;
        } else {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

/// The bytes of every file below a folder, by relative path.
pub fn tree(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = PathBuf::from(path.file_name().unwrap_or_default());
        if path.is_dir() {
            files.extend(tree(&path)?.into_iter().map(|(below, bytes)| (name.join(below), bytes)));
        } else {
            files.insert(name, fs::read(&path)?);
        }
    }
    Ok(files)
}

/// As [`tree`], by paths with slashes.
#[cfg(feature = "torch")]
pub fn tree_names(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    Ok(tree(folder)?.into_iter().map(|(path, bytes)| (path.to_string_lossy().into_owned(), bytes)).collect())
}
