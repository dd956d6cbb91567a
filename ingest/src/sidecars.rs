//! Texts that lie beside an image, in files of their own or in fields of JSON.

use std::io::Read;

use retort_schemas::tables::samples::tasks::CAPTION;
use serde_json::Value;

use crate::rejects::{Code, Reject};
use crate::source::Record;

/// Longest caption file; it is read into memory.
pub(crate) const LONGEST_TEXT_BYTES: u64 = 1 << 20;
/// Longest JSON beside one image.
pub(crate) const LONGEST_JSON_BYTES: u64 = 16 << 20;

/// Whether an image needs a text to become a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TextRule {
    /// An image without a text is rejected.
    #[default]
    Required,
    /// An image without a text becomes a sample without texts: teachers of images can use it.
    Optional,
    /// Texts are not read.
    Ignored,
}

impl TextRule {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
            Self::Ignored => "ignored",
        }
    }
}

/// Why what lies beside an image cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub code: Code,
    pub message: String,
}

impl Problem {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn into_reject(self, source: String) -> Reject {
        Reject::annotation(source, self.code, self.message)
    }
}

/// Refuses what is too long to be read.
pub(crate) fn check_length(what: &str, bytes: u64, longest: u64, code: Code) -> Result<(), Problem> {
    if bytes <= longest {
        return Ok(());
    }
    Err(Problem::new(code, format!("{what} has {bytes} bytes, expected {longest} at most")))
}

/// The texts of a caption file: all of it, or one a line. White space around a text is not part of it.
pub(crate) fn of_file(name: &str, bytes: &[u8], one_a_line: bool) -> Result<Vec<String>, Problem> {
    check_length(name, bytes.len() as u64, LONGEST_TEXT_BYTES, Code::TextInvalid)?;
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Problem::new(Code::TextInvalid, format!("{name} is no UTF-8: bad from byte {} on", error.valid_up_to()))
    })?;
    let texts = if one_a_line { text.lines().map(str::trim).collect() } else { vec![text.trim()] };
    Ok(texts.into_iter().filter(|text| !text.is_empty()).map(str::to_owned).collect())
}

/// An object of JSON.
pub(crate) fn object(name: &str, bytes: &[u8]) -> Result<serde_json::Map<String, Value>, Problem> {
    let bad = |message| Problem::new(Code::BadRecord, message);
    check_length(name, bytes.len() as u64, LONGEST_JSON_BYTES, Code::BadRecord)?;
    match serde_json::from_slice(bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(bad(format!("{name} is {}, expected an object", excerpt(&other)))),
        Err(error) => Err(bad(format!("{name} is not JSON: {error}"))),
    }
}

/// The texts of some fields of an object: each a text or a list of texts; what is null or absent is no text.
pub(crate) fn of_fields(
    name: &str,
    object: &serde_json::Map<String, Value>,
    fields: &[String],
) -> Result<Vec<String>, Problem> {
    let mut texts = Vec::new();
    for field in fields {
        let bad = |found: &Value| {
            let message = format!("field {field} of {name} is {}, expected a text or a list of texts", excerpt(found));
            Problem::new(Code::BadRecord, message)
        };
        match object.get(field) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => texts.push(text.trim()),
            Some(list @ Value::Array(items)) => {
                for item in items {
                    texts.push(item.as_str().ok_or_else(|| bad(list))?.trim());
                }
            }
            Some(other) => return Err(bad(other)),
        }
    }
    Ok(texts.into_iter().filter(|text| !text.is_empty()).map(str::to_owned).collect())
}

/// The value of the first of these fields, whose case does not matter.
pub(crate) fn field_of_any_case<'o>(object: &'o serde_json::Map<String, Value>, fields: &[&str]) -> Option<&'o Value> {
    fields.iter().find_map(|field| {
        object.iter().find(|(key, value)| key.eq_ignore_ascii_case(field) && !value.is_null()).map(|(_, value)| value)
    })
}

/// One sample a text; the ids of several texts of one image are told apart by `#0`, `#1`, ...
pub(crate) fn samples<'a>(id: &str, texts: Vec<String>) -> Vec<Record<'a>> {
    let several = texts.len() > 1;
    let mut records = Vec::new();
    for (at, text) in texts.into_iter().enumerate() {
        let id = if several { format!("{id}#{at}") } else { id.to_owned() };
        records.push(Record { texts: vec![std::borrow::Cow::<str>::from(text).into()], ..without_text(id) });
    }
    records
}

/// A sample of an image alone.
pub(crate) fn without_text<'a>(id: String) -> Record<'a> {
    Record { id: id.into(), task: CAPTION, ..Record::default() }
}

/// The start of a value, for a message.
pub(crate) fn excerpt(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// Reads a small file beside an image; none where there is no such file.
pub(crate) fn read_beside(path: &std::path::Path, longest: u64) -> Result<Option<Vec<u8>>, Problem> {
    let problem = |error: std::io::Error| {
        // Without its folder: messages do not depend on where the data set lies.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Problem::new(Code::TextInvalid, format!("{name} cannot be read: {error}"))
    };
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => return Ok(None),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(problem(error)),
    }
    let mut bytes = Vec::new();
    // One byte more tells what is too long.
    let read = std::fs::File::open(path).and_then(|file| file.take(longest + 1).read_to_end(&mut bytes));
    read.map_err(problem)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caption_file_is_one_text_or_one_a_line() {
        let file = "\u{feff} a dog\r\n\r\n two dogs \n";
        assert_eq!(of_file("a.txt", file.as_bytes(), false).unwrap(), ["a dog\r\n\r\n two dogs"]);
        assert_eq!(of_file("a.txt", file.as_bytes(), true).unwrap(), ["a dog", "two dogs"]);
        assert_eq!(of_file("a.txt", b" \n", false).unwrap(), Vec::<String>::new());
        let problem = of_file("a.txt", b"caf\xe9", false).unwrap_err();
        assert_eq!(problem.code, Code::TextInvalid);
        assert!(problem.message.contains("a.txt is no UTF-8: bad from byte 3"), "{}", problem.message);
        let long = vec![b'a'; LONGEST_TEXT_BYTES as usize + 1];
        assert!(of_file("a.txt", &long, false).unwrap_err().message.contains("1048577 bytes"));
    }

    #[test]
    fn fields_are_texts_or_lists_of_them() {
        let read = |json: &str| of_fields("a.json", &object("a.json", json.as_bytes())?, &["b".into(), "a".into()]);
        assert_eq!(read(r#"{"a": " x ", "b": ["y", "", "z"], "c": 1}"#).unwrap(), ["y", "z", "x"]);
        assert_eq!(read(r#"{"a": null}"#).unwrap(), Vec::<String>::new());
        for (bad, found) in [
            (r#"{"a": 1}"#, "field a of a.json is 1, expected a text"),
            (r#"{"b": ["x", 2]}"#, "field b of a.json is [\"x\",2]"),
            ("[1]", "a.json is [1], expected an object"),
            ("{", "a.json is not JSON"),
        ] {
            let problem = read(bad).unwrap_err();
            assert_eq!(problem.code, Code::BadRecord);
            assert!(problem.message.contains(found), "{}", problem.message);
        }
    }

    #[test]
    fn several_texts_are_several_samples() {
        let ids = |texts: &[&str]| -> Vec<String> {
            let texts = texts.iter().map(|text| (*text).to_owned()).collect();
            samples("a", texts).into_iter().map(|record| record.id.into_owned()).collect()
        };
        assert_eq!(ids(&["x"]), ["a"]);
        assert_eq!(ids(&["x", "y"]), ["a#0", "a#1"]);
        assert!(ids(&[]).is_empty());
    }
}
