//! The files of a revision, as the hub lists them.

use serde::Deserialize;

use super::digest::is_hash;
use super::id::is_commit;

/// A file of a repository, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remote {
    /// Path in the repository.
    pub path: String,
    /// Size.
    pub bytes: Option<u64>,
    /// sha256 of the content, or its git blob sha1.
    pub hash: Option<String>,
}

/// What a revision is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// Its commit.
    pub commit: String,
    /// Its files.
    pub files: Vec<Remote>,
}

/// `GET api/models/ID/revision/REVISION?blobs=true`.
#[derive(Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    /// git blob sha1; of a large file, that of its pointer.
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

/// A large file, which git has a pointer to.
#[derive(Deserialize)]
struct Lfs {
    #[serde(alias = "oid")]
    sha256: String,
    size: Option<u64>,
}

impl Listing {
    /// Reads the hub's answer; what is wrong with it is the error.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let info: Info = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if !is_commit(&info.sha) {
            return Err(format!("its sha is {:?}, expected 40 hex digits", info.sha));
        }
        Ok(Self { commit: info.sha, files: info.siblings.into_iter().map(Remote::from).collect() })
    }
}

impl From<Sibling> for Remote {
    fn from(sibling: Sibling) -> Self {
        let (bytes, hash) = match sibling.lfs {
            Some(lfs) => (lfs.size.or(sibling.size), Some(lfs.sha256)),
            None => (sibling.size, sibling.blob_id),
        };
        Self { path: sibling.rfilename, bytes, hash: hash.filter(|hash| is_hash(hash)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_have_a_sha256_and_others_a_git_sha1() {
        let (commit, sha1, sha256) = ("c".repeat(40), "a".repeat(40), "b".repeat(64));
        let json = serde_json::json!({"id": "a/b", "sha": commit, "siblings": [
            {"rfilename": "config.json", "size": 7, "blobId": sha1},
            {"rfilename": "model.safetensors", "size": 9, "blobId": sha1,
             "lfs": {"sha256": sha256, "size": 9, "pointerSize": 134}},
            {"rfilename": "bare.json"},
        ]});
        let listing = Listing::parse(json.to_string().as_bytes()).unwrap();
        let file =
            |path: &str, bytes, hash: Option<&String>| Remote { path: path.to_owned(), bytes, hash: hash.cloned() };
        let expected = [
            file("config.json", Some(7), Some(&sha1)),
            file("model.safetensors", Some(9), Some(&sha256)),
            file("bare.json", None, None),
        ];
        assert_eq!((listing.commit, listing.files), (commit, expected.to_vec()));
    }

    #[test]
    fn an_answer_without_a_commit_is_refused() {
        for json in ["", "<html>", "{}", r#"{"sha": "../..", "siblings": []}"#, r#"{"sha": "main", "siblings": []}"#] {
            assert!(Listing::parse(json.as_bytes()).is_err(), "{json}");
        }
    }
}
