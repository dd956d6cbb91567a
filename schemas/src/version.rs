//! Versions of tables and manifests: `<table>/<major>.<minor>`.

use std::fmt;

use crate::Error;

/// The metadata key, in Parquet footers and manifests, that holds the version.
pub const SCHEMA_KEY: &str = "retort:schema";

/// The version of one kind of file. A new major breaks readers, a new minor only adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaVersion {
    /// The table or manifest, such as `images`.
    pub table: &'static str,
    /// Breaking changes.
    pub major: u16,
    /// Additions.
    pub minor: u16,
    /// The oldest major that this build reads.
    pub oldest: u16,
}

impl SchemaVersion {
    /// Names a version of a table.
    pub const fn new(table: &'static str, major: u16, minor: u16) -> Self {
        Self { table, major, minor, oldest: major }
    }

    /// The same version, of which older majors are read, too.
    pub const fn reading_since(self, oldest: u16) -> Self {
        Self { oldest, ..self }
    }

    /// Checks the version that a file carries against this one: same table, a major that is read, any minor.
    ///
    /// # Errors
    /// [`Error::NoVersion`] if it is no version of this table, [`Error::UnknownMajor`] if its major is not read.
    pub fn accept(&self, found: &str) -> Result<(), Error> {
        let parsed = found
            .strip_prefix(self.table)
            .and_then(|rest| rest.strip_prefix('/'))
            .and_then(|numbers| numbers.split_once('.'))
            .and_then(|(major, minor)| Some((major.parse::<u16>().ok()?, minor.parse::<u16>().ok()?)));
        match parsed {
            Some((major, _)) if (self.oldest..=self.major).contains(&major) => Ok(()),
            Some(_) => Err(Error::UnknownMajor { expected: self.to_string(), found: found.to_owned() }),
            None => Err(Error::NoVersion { expected: self.to_string(), found: found.to_owned() }),
        }
    }
}

impl fmt::Display for SchemaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.table, self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGES: SchemaVersion = SchemaVersion::new("images", 1, 0);

    #[test]
    fn a_newer_minor_is_read_and_another_major_is_refused_naming_both() {
        assert!(IMAGES.accept("images/1.7").is_ok());
        let refusal = IMAGES.accept("images/2.0").unwrap_err().to_string();
        assert!(refusal.contains("images/2.0") && refusal.contains("images/1.0"), "{refusal}");
    }

    #[test]
    fn another_table_or_garbage_is_no_version() {
        for found in ["texts/1.0", "images/1", "images/one.two", "", "images/1.0.0"] {
            assert!(matches!(IMAGES.accept(found), Err(Error::NoVersion { .. })), "{found}");
        }
    }
}
