//! Sealed JSON: a manifest ends with the checksum of everything before it, so that no flipped bit is believed.
//!
//! ```text
//! {
//!   ... the manifest's own fields ...,
//!   "xxh3": "0123456789abcdef"        of all bytes before this line's quote
//! }
//! ```

use std::path::Path;

use retort_schemas::SchemaVersion;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::{Error, Result, write_atomic};

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
    Ok(sealed_anyhow(body))
}

/// As [`sealed_text`], all on one line before the seal; and the seal.
pub(crate) fn sealed_line<T: Serialize>(path: &Path, manifest: &T) -> Result<(String, String)> {
    let text = serde_json::to_string(manifest)
        .map_err(|error| Error::Manifest { path: path.to_owned(), problem: error.to_string() })?;
    let Some(body) = text.strip_suffix('}') else {
        return Err(Error::Manifest { path: path.to_owned(), problem: "it is no JSON object".to_owned() });
    };
    let text = sealed_anyhow(body);
    let seal = seal_of(&text).unwrap_or_default().to_owned();
    Ok((text, seal))
}

/// The digits of a seal, not checked.
fn seal_of(text: &str) -> Option<&str> {
    let text = text.strip_suffix(AFTER)?;
    text.get(text.len().checked_sub(16)?..)
}

/// Writes a manifest with its seal.
pub(crate) fn write_sealed<T: Serialize>(path: &Path, manifest: &T) -> Result<()> {
    write_atomic(path, sealed_text(path, manifest)?.as_bytes())
}

/// Reads a manifest: its seal is checked before a word of it is believed, then its version, then its fields.
pub(crate) fn read_sealed<T: DeserializeOwned>(path: &Path, version: SchemaVersion) -> Result<T> {
    unsealed(path, &std::fs::read(path).map_err(Error::io("read", path))?, version)
}

/// As [`read_sealed`], of the bytes of the file.
pub(crate) fn unsealed<T: DeserializeOwned>(path: &Path, bytes: &[u8], version: SchemaVersion) -> Result<T> {
    unsealed_with(path, bytes, version).map(|(manifest, _)| manifest)
}

/// The version that a manifest says it has; whatever else it says is passed over.
#[derive(Deserialize)]
struct Versioned {
    #[serde(rename = "retort:schema", default)]
    schema: serde_json::Value,
}

/// As [`unsealed`], with the seal, which holds.
pub(crate) fn unsealed_with<T: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
    version: SchemaVersion,
) -> Result<(T, String)> {
    let broken = |problem: &str| Error::Broken { path: path.to_owned(), problem: problem.to_owned() };
    let text = std::str::from_utf8(bytes).map_err(|_| broken("it is not UTF-8"))?;
    let (body, stored) = seal_of(text)
        .and_then(|seal| Some((text.get(..text.len() - AFTER.len() - seal.len())?, seal)))
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
    let malformed = |error: serde_json::Error| Error::Manifest { path: path.to_owned(), problem: error.to_string() };
    // The version first, so that another major is named and not misread.
    let said: Versioned = serde_json::from_str(text).map_err(malformed)?;
    let found = said.schema.as_str().unwrap_or_default();
    version.accept(found).map_err(|source| Error::Schema { path: path.to_owned(), source })?;
    Ok((serde_json::from_str(text).map_err(malformed)?, stored.to_owned()))
}

/// A text with a seal that holds, whatever it says before it: for the fuzz targets, which find no checksum by chance.
pub(crate) fn sealed_anyhow(body: &str) -> String {
    let body = format!("{body}{BEFORE}");
    format!("{body}{}{AFTER}", hex64(xxh3_64(body.as_bytes())))
}
