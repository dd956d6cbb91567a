//! What `retort teach --set` takes.

use std::str::FromStr;

/// `NAME.KEY=VALUE`.
#[derive(Debug, Clone)]
pub struct TeacherSetting {
    /// The teacher's name.
    pub teacher: String,
    /// What to set.
    pub key: String,
    /// To what.
    pub value: String,
}

impl FromStr for TeacherSetting {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let parts = word.split_once('=').and_then(|(name, value)| Some((name.split_once('.')?, value)));
        let ((teacher, key), value) = parts.ok_or("expected NAME.KEY=VALUE, such as text.pooling=mean")?;
        Ok(Self { teacher: teacher.to_owned(), key: key.to_owned(), value: value.to_owned() })
    }
}
