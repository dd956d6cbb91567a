//! Ids of models: `org/name` or `name`, and a revision.

use std::fmt;
use std::str::FromStr;

/// Revision of an id that names none.
const MAIN: &str = "main";
/// Hex digits of a commit.
const COMMIT_DIGITS: usize = 40;
/// Most characters of a repository's name, as the hub has it.
const LONGEST: usize = 96;

/// A model of the hub, written `org/name@revision`: without a revision, `main`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    repository: String,
    revision: Option<String>,
}

impl HubId {
    /// `org/name`, or `name` alone.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// A branch, a tag, `refs/pr/N` or a commit.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }

    /// The revision, if it is a whole commit: it never means anything else.
    pub fn commit(&self) -> Option<&str> {
        self.revision.as_deref().filter(|revision| is_commit(revision))
    }
}

/// Whether a word is a commit: 40 hex digits.
pub(super) fn is_commit(word: &str) -> bool {
    word.len() == COMMIT_DIGITS && word.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

impl FromStr for HubId {
    /// What keeps the word from being an id.
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let (repository, revision) = match word.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (word, None),
        };
        let parts: Vec<&str> = repository.split('/').collect();
        if parts.len() > 2 || repository.len() > LONGEST || !parts.iter().all(|part| is_name(part)) {
            return Err(format!("{repository:?} is no org/name"));
        }
        if repository.contains("--") || repository.contains("..") || repository.ends_with(".git") {
            return Err(format!("names on the hub have no \"--\", no \"..\" and no .git: {repository:?}"));
        }
        if let Some(revision) = revision.filter(|revision| !is_revision(revision)) {
            return Err(format!("{revision:?} is no branch, tag or commit"));
        }
        Ok(Self { repository: repository.to_owned(), revision: revision.map(str::to_owned) })
    }
}

fn is_name(part: &str) -> bool {
    let ends = |c: char| c == '-' || c == '.';
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !part.is_empty() && part.chars().all(known) && !part.starts_with(ends) && !part.ends_with(ends)
}

/// Whether a word can name a revision. It becomes a path below `refs`, so that it must not lead out of there.
fn is_revision(word: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | '#');
    word.split('/').all(|part| !part.is_empty() && part.chars().all(known) && !part.starts_with('.'))
        && !word.starts_with('-')
        && !word.contains("..")
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repository, self.revision())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_repository_and_a_revision() {
        let commit = "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268";
        for (word, repository, revision, pinned) in [
            ("bert-base-uncased", "bert-base-uncased", "main", false),
            ("openai/clip-vit-base-patch32", "openai/clip-vit-base-patch32", "main", false),
            ("a/b@v1.0", "a/b", "v1.0", false),
            ("a/b@refs/pr/7", "a/b", "refs/pr/7", false),
            (&format!("a/b@{commit}"), "a/b", commit, true),
            (&format!("a/b@{}", &commit[..39]), "a/b", &commit[..39], false),
        ] {
            let id: HubId = word.parse().unwrap();
            assert_eq!((id.repository(), id.revision(), id.commit().is_some()), (repository, revision, pinned));
        }
        assert_eq!("a/b".parse::<HubId>().unwrap().to_string(), "a/b@main");
    }

    #[test]
    fn what_looks_like_a_path_is_no_id() {
        let long = "x".repeat(97);
        for word in [
            "",
            "./model",
            "../model",
            "/model",
            "~/model",
            "a/b/c",
            "models/clip/",
            "a b",
            "-a/b",
            "a/b.",
            "a--b",
            "a..b",
            "a/b.git",
            "a/b@",
            "a/b@../../x",
            "a/b@/x",
            "a/b@x/",
            "a/b@.x",
            "a/b@a/.x",
            "a/b@-x",
            "a/b@x y",
            "é/b",
            &long,
        ] {
            assert!(word.parse::<HubId>().is_err(), "{word:?}");
        }
    }
}
