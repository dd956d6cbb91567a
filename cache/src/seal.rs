//! Sealed JSON: a manifest ends with the checksum of everything before it, so that no flipped bit is believed.
//!
//! ```text
//! {
//!   ... the manifest's own fields ...,
//!   "xxh3": "0123456789abcdef"        of all bytes before this line's quote
//! }
//! ```

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_64;

use crate::{Error, Result, read_text, write_atomic};

const BEFORE: &str = ",\n  \"xxh3\": \"";
const AFTER: &str = "\"\n}\n";

/// A checksum as it is written everywhere: 16 hex digits.
pub(crate) fn hex64(hash: u64) -> String {
    format!("{hash:016x}")
}

/// The sealed text of a manifest.
pub(crate) fn sealed_text<T: Serialize>(path: &Path, manifest: &T) -> Result<String> {
    let text = serde_json::to_string_pretty(manifest)
        .map_err(|error| Error::Manifest { path: path.to_owned(), problem: error.to_string() })?;
    let Some(body) = text.strip_suffix("\n}") else {
        return Err(Error::Manifest { path: path.to_owned(), problem: "it is no JSON object".to_owned() });
    };
    let body = format!("{body}{BEFORE}");
    Ok(format!("{body}{}{AFTER}", hex64(xxh3_64(body.as_bytes()))))
}

/// Writes a manifest with its seal.
pub(crate) fn write_sealed<T: Serialize>(path: &Path, manifest: &T) -> Result<()> {
    write_atomic(path, sealed_text(path, manifest)?.as_bytes())
}

/// Reads a manifest and checks its seal before believing a word of it.
pub(crate) fn read_sealed<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let broken = |problem: &str| Error::Broken { path: path.to_owned(), problem: problem.to_owned() };
    let text = std::str::from_utf8(&bytes).map_err(|_| broken("it is not UTF-8"))?;
    let (body, stored) = text
        .strip_suffix(AFTER)
        .and_then(|text| text.len().checked_sub(16).and_then(|at| text.split_at_checked(at)))
        .filter(|(body, _)| body.ends_with(BEFORE))
        .ok_or_else(|| broken("it does not end with its checksum"))?;
    let computed = hex64(xxh3_64(body.as_bytes()));
    if stored != computed {
        return Err(Error::Damaged {
            path: path.to_owned(),
            what: "the manifest".to_owned(),
            expected: stored.to_owned(),
            found: computed,
        });
    }
    serde_json::from_str(text).map_err(|error| Error::Manifest { path: path.to_owned(), problem: error.to_string() })
}

/// The version field of a sealed manifest, read before the rest so that another major is named, not misread.
pub(crate) fn version_in(path: &Path) -> Result<String> {
    let text = read_text(path)?;
    let value: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| Error::Broken { path: path.to_owned(), problem: format!("it is not JSON: {error}") })?;
    let version = value.get(retort_schemas::SCHEMA_KEY).and_then(serde_json::Value::as_str);
    Ok(version.unwrap_or_default().to_owned())
}
