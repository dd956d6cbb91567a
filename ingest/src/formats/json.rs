//! Annotation files: JSON, plain or gzip, held once in memory with their records borrowed from it.
//!
//! A file whose structure is wrong is an error with line and column. A record whose fields are wrong, or that has bytes
//! that are not UTF-8, is only that record: [`Listing`] takes a file apart into records, [`Record`] reads the fields of
//! one.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use retort_cache::Error as CacheError;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::formats::gzip;
use crate::{Error, Result};

const ZIP_MAGIC: &[u8] = b"PK\x03\x04";
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A file read whole, unpacked.
#[derive(Debug)]
pub(crate) struct SourceFile {
    pub path: PathBuf,
    /// File name and hash of the bytes as they lie on disk: what the file is, wherever it lies.
    pub fingerprint: serde_json::Value,
    text: String,
    /// Places in the text of bytes that are not UTF-8, in order: they are question marks there.
    broken: Vec<usize>,
}

impl SourceFile {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        Self::from_bytes(path, std::fs::read(path).map_err(CacheError::io("read", path))?)
    }

    /// What a file of these bytes holds.
    pub(crate) fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        let mut text = bytes;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let fingerprint = serde_json::json!({ "name": name, "blake3": crate::images::hash_text(&text) });
        // By the content, not the ending: published files are named .gz, .gzip, .json or nothing.
        if text.starts_with(&gzip::MAGIC) {
            let mut unpacked = Vec::new();
            let packed_bytes = text.len() as u64;
            gzip::unpack(text.as_slice(), packed_bytes)
                .read_to_end(&mut unpacked)
                .map_err(CacheError::io("unpack", path))?;
            text = unpacked;
        }
        if text.starts_with(BYTE_ORDER_MARK) {
            text.drain(..BYTE_ORDER_MARK.len());
        }
        let (text, broken) = repaired(text);
        Ok(Self { path: path.to_owned(), fingerprint, text, broken })
    }

    /// The file's own name.
    pub(crate) fn name(&self) -> Cow<'_, str> {
        self.path.file_name().unwrap_or_default().to_string_lossy()
    }

    /// The whole file as one value.
    pub(crate) fn value(&self, expected: &str) -> Result<serde_json::Value> {
        if let Some(first) = self.broken.first() {
            return Err(self.not_utf8(expected, *first));
        }
        serde_json::from_str(&self.text).map_err(|error| self.malformed(expected, &error))
    }

    /// The records under `key`, or of a bare list.
    pub(crate) fn listing(&self, key: &'static str) -> Result<Listing<'_>> {
        let seed = ListingUnder { key };
        let expected = seed.to_string();
        let mut deserializer = serde_json::Deserializer::from_str(&self.text);
        let found = seed.deserialize(&mut deserializer).and_then(|found| deserializer.end().map(|()| found));
        let Found { subtype, records } = found.map_err(|error| self.malformed(&expected, &error))?;
        Ok(Listing { subtype, records: records.into_iter().map(|json| self.raw_record(json)).collect() })
    }

    /// A record with the first of its bytes that is not UTF-8.
    fn raw_record<'a>(&'a self, json: &'a RawValue) -> RawRecord<'a> {
        // It is a part of the text, which does not tell where otherwise.
        let start = json.get().as_ptr().addr() - self.text.as_ptr().addr();
        let next = self.broken.partition_point(|place| *place < start);
        let broken = self.broken.get(next).map(|place| place - start).filter(|place| *place < json.get().len());
        RawRecord { json, broken }
    }

    fn not_utf8(&self, expected: &str, place: usize) -> Error {
        let before = &self.text.as_bytes()[..place];
        Error::Malformed {
            path: self.path.clone(),
            line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
            column: before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1,
            expected: expected.to_owned(),
            problem: "this byte is not UTF-8".to_owned(),
        }
    }

    fn malformed(&self, expected: &str, error: &serde_json::Error) -> Error {
        let problem = if self.text.as_bytes().starts_with(ZIP_MAGIC) {
            "it is a zip archive".to_owned()
        } else if error.is_data() {
            without_position(error)
        } else {
            format!("it is not JSON: {}", without_position(error))
        };
        Error::Malformed {
            path: self.path.clone(),
            line: error.line().max(1),
            column: error.column().max(1),
            expected: expected.to_owned(),
            problem,
        }
    }
}

/// The text of a file, and the places of bytes in it that are not UTF-8. Those are question marks, so that all others
/// stay where they are. What they meant is lost, but they were no bracket, quote or comma.
fn repaired(bytes: Vec<u8>) -> (String, Vec<usize>) {
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return (text, Vec::new()),
        Err(error) => error.into_bytes(),
    };
    let (mut text, mut broken) = (String::with_capacity(bytes.len()), Vec::new());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for _ in chunk.invalid() {
            broken.push(text.len());
            text.push('?');
        }
    }
    (text, broken)
}

/// The message alone: serde_json appends the position, which the caller names by itself.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).unwrap_or(&text).to_owned()
}

/// A file taken apart into records, none of them read yet.
#[derive(Debug)]
pub(crate) struct Listing<'a> {
    /// `data_subtype` of the whole file, such as `train2014`.
    pub subtype: Option<String>,
    pub records: Vec<RawRecord<'a>>,
}

/// A record as it stands in its file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawRecord<'a> {
    json: &'a RawValue,
    /// The first of its bytes that is not UTF-8.
    broken: Option<usize>,
}

impl<'a> RawRecord<'a> {
    /// Its JSON, or why that is not what the file says.
    pub(crate) fn json(self) -> Result<&'a RawValue, String> {
        match self.broken {
            None => Ok(self.json),
            Some(place) => Err(format!("the record is not UTF-8 from byte {place} on: {}", excerpt(self.json))),
        }
    }
}

/// What the structure of a file says.
struct Found<'a> {
    subtype: Option<String>,
    records: Vec<&'a RawValue>,
}

/// Finds the records: official files wrap them in an object, VQA-CP is the bare list.
struct ListingUnder {
    key: &'static str,
}

impl fmt::Display for ListingUnder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the list {:?}, or the bare list", self.key)
    }
}

impl<'de> DeserializeSeed<'de> for ListingUnder {
    type Value = Found<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ListingUnder {
    type Value = Found<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut records = Vec::new();
        while let Some(record) = items.next_element()? {
            records.push(record);
        }
        Ok(Found { subtype: None, records })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let (mut subtype, mut records, mut keys) = (None, None, Vec::new());
        while let Some(key) = entries.next_key::<String>()? {
            if key == self.key {
                records = Some(entries.next_value()?);
            } else if key == "data_subtype" {
                subtype = entries.next_value()?;
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
            keys.push(key);
        }
        let missing = || A::Error::custom(format_args!("it is an object with the keys [{}]", keys.join(", ")));
        Ok(Found { subtype, records: records.ok_or_else(missing)? })
    }
}

/// A text that is borrowed from the file unless it has escapes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// An id, which some files write as a number and others as a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id<'a> {
    Number(u64),
    #[serde(borrow)]
    Text(Cow<'a, str>),
}

/// The fields of one record.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Record<'a>(#[serde(borrow)] BTreeMap<String, &'a RawValue>);

impl<'a> Record<'a> {
    pub(crate) fn parse(raw: &'a RawValue) -> Result<Self, String> {
        serde_json::from_str(raw.get()).map_err(|_| format!("the record is {}, expected an object", excerpt(raw)))
    }

    /// A record of a listing.
    pub(crate) fn of(raw: RawRecord<'a>) -> Result<Self, String> {
        raw.json().and_then(Self::parse)
    }

    /// A field that must be there; a failure says which, what was found, and what was expected.
    pub(crate) fn field<T: Deserialize<'a>>(&self, name: &str, expected: &str) -> Result<T, String> {
        let raw = self.0.get(name).ok_or_else(|| format!("field {name} is missing, expected {expected}"))?;
        serde_json::from_str(raw.get()).map_err(|_| format!("field {name} is {}, expected {expected}", excerpt(raw)))
    }

    /// A field that may be absent or null.
    pub(crate) fn optional<T: Deserialize<'a>>(&self, name: &str, expected: &str) -> Result<Option<T>, String> {
        if self.0.contains_key(name) { self.field(name, expected) } else { Ok(None) }
    }

    /// An id as text, whichever way it is written.
    pub(crate) fn id(&self, name: &str) -> Result<Cow<'a, str>, String> {
        let expected = "a whole number or a text";
        let id = match self.field(name, expected)? {
            Id::Number(number) => Cow::Owned(number.to_string()),
            Id::Text(text) => text,
        };
        if id.is_empty() { Err(format!("field {name} is empty, expected {expected}")) } else { Ok(id) }
    }
}

/// The start of a value, for a message.
fn excerpt(raw: &RawValue) -> String {
    const LONGEST: usize = 60;
    let text = raw.get();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> SourceFile {
        of_bytes(text.as_bytes())
    }

    fn of_bytes(bytes: &[u8]) -> SourceFile {
        SourceFile::from_bytes(Path::new("q.json"), bytes.to_vec()).unwrap()
    }

    #[test]
    fn an_object_and_a_bare_list_hold_the_same_records() -> Result<()> {
        let wrapped = file(r#"{"info": [1, {}], "data_subtype": "val2014", "questions": [{"a": 1}, 2]}"#);
        let bare = file(r#"[{"a": 1}, 2]"#);
        let texts =
            |listing: &Listing<'_>| listing.records.iter().map(|raw| raw.json.get().to_owned()).collect::<Vec<_>>();
        let (wrapped, bare) = (wrapped.listing("questions")?, bare.listing("questions")?);
        assert_eq!(texts(&wrapped), [r#"{"a": 1}"#, "2"]);
        assert_eq!(texts(&wrapped), texts(&bare));
        assert_eq!((wrapped.subtype.as_deref(), bare.subtype), (Some("val2014"), None));
        Ok(())
    }

    #[test]
    fn a_wrong_structure_is_located() {
        for (text, line, found) in [
            ("{\n\"questions\": [1,\n}", 3, "not JSON"),
            ("[1] 2", 1, "not JSON"),
            ("{\n\"annotations\": []}", 2, "keys [annotations]"),
            ("{\"questions\": 5}", 1, "integer `5`"),
            ("7", 1, "integer `7`"),
            ("", 1, "not JSON"),
            ("PK\u{3}\u{4}....", 1, "zip archive"),
        ] {
            let error = file(text).listing("questions").unwrap_err();
            let Error::Malformed { line: at, .. } = &error else { panic!("{error}") };
            assert_eq!(*at, line, "{text}");
            let message = error.to_string();
            assert!(message.contains(found) && message.contains("q.json"), "{text}: {message}");
            assert!(message.contains("an object with the list \"questions\""), "{message}");
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_cost_their_record_alone() -> Result<()> {
        let file = of_bytes(
            b"{\"info\": \"\xe9\", \"questions\": [{\"a\": \"x\"}, {\"a\": \"\xe9\xff\"},\n \"\xc3\xa9\", {\"\xe9\": 1}]}",
        );
        let records = file.listing("questions")?.records;
        let read: Vec<_> = records.iter().map(|raw| raw.json().map(RawValue::get)).collect();
        let lost = |place, text| Err(format!("the record is not UTF-8 from byte {place} on: {text}"));
        let expected = [Ok(r#"{"a": "x"}"#), lost(7, r#"{"a": "??"}"#), Ok("\"\u{e9}\""), lost(2, r#"{"?": 1}"#)];
        assert_eq!(read, expected);
        // Outside of a string, it is no JSON; a file that is one value is lost whole.
        for (bytes, line) in [(b"{\"questions\": [\n\xe9]}".as_slice(), 2), (b"\xff\xfe{\0}\0", 1)] {
            let error = of_bytes(bytes).listing("questions").unwrap_err();
            assert!(matches!(&error, Error::Malformed { line: at, .. } if *at == line), "{error}");
            assert!(error.to_string().contains("not JSON: expected value"), "{error}");
        }
        let error = of_bytes(b"[\"yes\",\n  \"\xe9\"]").value("a list").unwrap_err().to_string();
        assert!(error.contains("q.json, line 2, column 4: expected a list, but this byte is not UTF-8"), "{error}");
        Ok(())
    }

    #[test]
    fn ids_are_text_whichever_way_they_are_written() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let id = |text: &str| Record::parse(&raw(text)).unwrap().id("id").map(Cow::into_owned);
        assert_eq!(id(r#"{"id": 262148000}"#).unwrap(), "262148000");
        assert_eq!(id(r#"{"id": "262148000"}"#).unwrap(), "262148000");
        assert_eq!(id(r#"{"id": "a\u0062"}"#).unwrap(), "ab");
        for (wrong, found) in [
            (r#"{"id": 1.5}"#, "1.5"),
            (r#"{"id": null}"#, "null"),
            (r#"{"id": ""}"#, "empty"),
            ("{}", "missing"),
            (r#"{"id": [1]}"#, "[1]"),
        ] {
            let message = id(wrong).unwrap_err();
            assert!(message.contains(found) && message.contains("whole number"), "{message}");
        }
    }
}
