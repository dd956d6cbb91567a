//! Lists of image names, as official splits are published: one name a line.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Result;
use crate::formats::lines::Lines;

/// Endings of image files. Names of images have dots elsewhere, too.
const IMAGE_ENDINGS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "bmp"];

/// The names of a list file, in its order.
#[derive(Debug)]
pub(crate) struct NameList {
    pub path: PathBuf,
    /// File name and hash.
    pub fingerprint: Value,
    /// Bare: without folders and the ending of an image file.
    pub names: Vec<String>,
}

impl NameList {
    /// Reads a list, plain or gzip. Names may have folders and endings, or not.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let lines = Lines::open(path)?;
        let name = |line| Ok(bare(String::from_utf8_lossy(&lines.read(line)?).trim()).to_owned());
        let names = (0..lines.len()).map(name).collect::<Result<_>>()?;
        Ok(Self { path: lines.path.clone(), fingerprint: lines.fingerprint.clone(), names })
    }

    pub(crate) fn into_set(self) -> NameSet {
        NameSet { names: self.names.into_iter().collect(), path: self.path, fingerprint: self.fingerprint }
    }
}

/// Names of images that are chosen.
#[derive(Debug)]
pub(crate) struct NameSet {
    pub path: PathBuf,
    pub fingerprint: Value,
    names: HashSet<String>,
}

impl NameSet {
    pub(crate) fn contains(&self, image: &str) -> bool {
        self.names.contains(bare(image))
    }
}

/// A name without folders and the ending of an image file.
pub(crate) fn bare(name: &str) -> &str {
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    match name.rsplit_once('.') {
        Some((stem, ending)) if IMAGE_ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)) => stem,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_with_folders_and_endings() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.lst");
        std::fs::write(&path, "1007129816\r\nimages/a_1.b.JPG\n\nx.jpg.1\n").unwrap();
        let list = NameList::read(&path)?;
        assert_eq!(list.names, ["1007129816", "a_1.b", "x.jpg.1"]);
        let set = list.into_set();
        for (name, expected) in
            [("1007129816.jpg", true), ("flickr30k/1007129816", true), ("a_1.b.png", true), ("x.jpg", false)]
        {
            assert_eq!(set.contains(name), expected, "{name}");
        }
        Ok(())
    }
}
