//! Records of any file that holds one a line, one an entry of a list or one a row: jsonl, a JSON list, CSV or TSV.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use retort_cache::Error as CacheError;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::formats::delimited::{BadRow, Delimited, Header};
use crate::formats::json::{RawRecord, SourceFile};
use crate::formats::lines::Lines;
use crate::rejects::Code;
use crate::{Error, Result};

/// How much of a file is looked at to tell its shape.
const HEAD_BYTES: usize = 64 << 10;
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What a file is, by the start of its content.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One JSON object a line.
    Lines,
    /// One JSON list.
    List,
    /// One JSON object with these keys, as far as they could be seen.
    Document(Vec<String>),
    /// Anything else: its first line.
    Text(String),
}

impl Shape {
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let head = head(path)?;
        let text = head.trim_ascii_start();
        Ok(match text.first() {
            Some(b'[') => Self::List,
            Some(b'{') => Self::of_object(text),
            _ => {
                let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
                Self::Text(String::from_utf8_lossy(line.trim_ascii_end()).into_owned())
            }
        })
    }

    fn of_object(text: &[u8]) -> Self {
        let mut keys = Vec::new();
        // An object that is cut at the end of the head still gives the keys before the cut.
        let _ = serde_json::Deserializer::from_slice(text).deserialize_map(Keys(&mut keys));
        let is_document = keys.iter().any(|key| key == "images" || key == "annotations");
        let mut values = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
        let document = match values.next() {
            Some(Ok(_)) => {
                let (object, rest) = text.split_at(values.byte_offset().min(text.len()));
                rest.trim_ascii().is_empty() && (is_document || object.contains(&b'\n'))
            }
            Some(Err(error)) => is_document && error.is_eof(),
            None => false,
        };
        if document { Self::Document(keys) } else { Self::Lines }
    }
}

/// Collects the keys of an object, also of one that is cut.
struct Keys<'k>(&'k mut Vec<String>);

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(key) = entries.next_key::<String>()? {
            self.0.push(key);
            entries.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// The first bytes of a file, unpacked, without a byte order mark.
pub(crate) fn head(path: &Path) -> Result<Vec<u8>> {
    let mut file = File::open(path).map_err(CacheError::io("read", path))?;
    let mut head = Vec::new();
    let limit = HEAD_BYTES as u64;
    (&mut file).take(limit).read_to_end(&mut head).map_err(CacheError::io("read", path))?;
    if head.starts_with(GZIP_MAGIC) {
        let whole = BufReader::new(File::open(path).map_err(CacheError::io("read", path))?);
        head.clear();
        MultiGzDecoder::new(whole).take(limit).read_to_end(&mut head).map_err(CacheError::io("unpack", path))?;
    }
    if head.starts_with(BYTE_ORDER_MARK) {
        head.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(head)
}

/// A file of records.
#[derive(Debug)]
pub(crate) enum RowFile {
    Lines(Lines),
    List(SourceFile),
    Table(Delimited),
}

impl RowFile {
    /// Opens a file of any of these shapes, plain or gzip. `header` says the columns of a table.
    pub(crate) fn open(path: &Path, header: impl FnOnce(Vec<String>, u8) -> Result<Header>) -> Result<Self> {
        match Shape::of(path)? {
            Shape::Lines => Lines::open(path).map(Self::Lines),
            Shape::List => SourceFile::read(path).map(Self::List),
            Shape::Text(_) => Delimited::open(path, None, header).map(Self::Table),
            Shape::Document(keys) => Err(Error::UnknownLayout {
                path: path.to_owned(),
                expected: "jsonl, a JSON list, CSV or TSV".to_owned(),
                found: format!("an object with the keys [{}]", keys.join(", ")),
            }),
        }
    }

    pub(crate) fn path(&self) -> &PathBuf {
        match self {
            Self::Lines(lines) => &lines.path,
            Self::List(file) => &file.path,
            Self::Table(table) => &table.path,
        }
    }

    /// File name and hash.
    pub(crate) fn fingerprint(&self) -> &Value {
        match self {
            Self::Lines(lines) => &lines.fingerprint,
            Self::List(file) => &file.fingerprint,
            Self::Table(table) => &table.fingerprint,
        }
    }
}

/// The records of some files, end to end.
pub(crate) struct Rows<'a> {
    files: Vec<FileRows<'a>>,
}

enum FileRows<'a> {
    Lines(&'a Lines),
    List(&'a SourceFile, Vec<RawRecord<'a>>),
    Table(&'a Delimited),
}

impl<'a> Rows<'a> {
    /// Finds the records.
    pub(crate) fn of(files: &'a [RowFile]) -> Result<Self> {
        let rows = |file: &'a RowFile| {
            Ok(match file {
                RowFile::Lines(lines) => FileRows::Lines(lines),
                // The key is never found: a list is what the file was told by.
                RowFile::List(list) => FileRows::List(list, list.listing("records")?.records),
                RowFile::Table(table) => FileRows::Table(table),
            })
        };
        Ok(Self { files: files.iter().map(rows).collect::<Result<_>>()? })
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.files.iter().map(FileRows::len).sum()
    }

    /// Reads a record. What the file does not let be read as one is the inner error.
    pub(crate) fn read(&self, row: usize) -> Result<Result<Row, BadRow>> {
        let Some((file, row)) = self.find(row) else { return Ok(Ok(Row::default())) };
        match file {
            FileRows::Lines(lines) => Ok(Row::parse(&lines.read(row)?)),
            FileRows::List(_, records) => Ok(match records.get(row).map(|raw| raw.json()) {
                Some(Ok(json)) => Row::parse(json.get().as_bytes()),
                Some(Err(message)) => Err(BadRow { code: Code::BadRecord, message }),
                None => Row::parse(&[]),
            }),
            FileRows::Table(table) => Ok(table.read(row)?.map(|cells| {
                let cells = cells.into_iter().map(Value::String);
                Row(table.columns.iter().cloned().zip(cells).collect())
            })),
        }
    }

    /// Reads a record that was good before.
    pub(crate) fn read_again(&self, row: usize) -> Result<Row> {
        self.read(row)?.map_err(|_| self.changed(row))
    }

    /// A record that was good before is not any more.
    pub(crate) fn changed(&self, row: usize) -> Error {
        let path = self.find(row).map_or_else(PathBuf::new, |(file, _)| file.path().to_owned());
        let error = std::io::Error::other("it changed while it was read");
        CacheError::io("read", &path)(error).into()
    }

    /// Where a record lies, for a reader: `line 7 of dev.jsonl`.
    pub(crate) fn place(&self, row: usize) -> String {
        let Some((file, row)) = self.find(row) else { return format!("record {row}") };
        let name = file.path().file_name().unwrap_or_default().to_string_lossy();
        match file {
            FileRows::Lines(lines) => format!("line {} of {name}", lines.number(row)),
            FileRows::List(..) => format!("record {row} of {name}"),
            FileRows::Table(table) => format!("line {} of {name}", table.line(row)),
        }
    }

    /// The file that holds a record, and which of its own it is.
    fn find(&self, mut row: usize) -> Option<(&FileRows<'a>, usize)> {
        for file in &self.files {
            if row < file.len() {
                return Some((file, row));
            }
            row -= file.len();
        }
        None
    }
}

impl FileRows<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Lines(lines) => lines.len(),
            Self::List(_, records) => records.len(),
            Self::Table(table) => table.len(),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Lines(lines) => &lines.path,
            Self::List(file, _) => &file.path,
            Self::Table(table) => &table.path,
        }
    }
}

/// The fields of one record.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Row(pub Map<String, Value>);

impl Row {
    fn parse(bytes: &[u8]) -> Result<Self, BadRow> {
        serde_json::from_slice(bytes).map_err(|error| {
            let found = excerpt(&String::from_utf8_lossy(bytes));
            let message = if error.is_data() {
                format!("the record is {found}, expected an object")
            } else {
                format!("the record is {found}, expected a JSON object: {error}")
            };
            BadRow { code: Code::BadRecord, message }
        })
    }

    /// The first of these fields, whatever the case of its letters, that holds something: neither null nor empty.
    pub(crate) fn find(&self, names: &[&str]) -> Option<(&str, &Value)> {
        let field = |name: &&str| {
            let exact = self.0.get_key_value(*name);
            exact.or_else(|| self.0.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)))
        };
        let holds_something =
            |value: &Value| !value.is_null() && value.as_str().is_none_or(|text| !text.trim().is_empty());
        let (name, value) = names.iter().filter_map(field).find(|(_, value)| holds_something(value))?;
        Some((name, value))
    }

    /// A text without the white space around it. It may be absent, null or empty.
    pub(crate) fn text(&self, names: &[&str]) -> Result<Option<&str>, BadRow> {
        match self.find(names) {
            None => Ok(None),
            Some((_, Value::String(text))) => Ok(Some(text.trim())),
            Some((name, other)) => Err(wrong_type(name, other, "a text")),
        }
    }

    /// A text that must be there.
    pub(crate) fn required_text(&self, names: &[&str]) -> Result<&str, BadRow> {
        self.text(names)?.ok_or_else(|| missing(names, "a text"))
    }

    /// An id, which some files write as a number and others as a text. It may be absent, null or empty.
    pub(crate) fn id(&self, names: &[&str]) -> Result<Option<String>, BadRow> {
        match self.find(names) {
            None => Ok(None),
            Some((_, Value::String(text))) => Ok(Some(text.trim().to_owned())),
            Some((_, Value::Number(number))) if !number.is_f64() => Ok(Some(number.to_string())),
            Some((name, other)) => Err(wrong_type(name, other, "a whole number or a text")),
        }
    }
}

pub(crate) fn wrong_type(field: &str, found: &Value, expected: &str) -> BadRow {
    let message = format!("field {field} is {}, expected {expected}", excerpt(&found.to_string()));
    BadRow { code: Code::BadRecord, message }
}

pub(crate) fn missing(names: &[&str], expected: &str) -> BadRow {
    let message = format!("field {} is missing or empty, expected {expected}", names.join(" or "));
    BadRow { code: Code::BadRecord, message }
}

/// The start of a value, for a message.
fn excerpt(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn the_shape_is_told_by_the_content() {
        let long = "x".repeat(HEAD_BYTES);
        let document = |keys: &[&str]| Shape::Document(keys.iter().map(|key| (*key).to_owned()).collect());
        for (text, shape) in [
            ("{\"a\": 1}\n{\"a\": 2}\n".to_owned(), Shape::Lines),
            ("{\"images\": [1]}\n{\"images\": [2]}".to_owned(), Shape::Lines),
            ("{\"a\": 1}\n".to_owned(), Shape::Lines),
            (format!("{{\"a\": \"{long}\"}}\n"), Shape::Lines),
            ("{\"a\": \n".to_owned(), Shape::Lines),
            ("{broken\n".to_owned(), Shape::Lines),
            ("\u{feff} [{\"a\": 1}]".to_owned(), Shape::List),
            ("{\"images\": []}".to_owned(), document(&["images"])),
            ("{\"data\":\n[]}".to_owned(), document(&["data"])),
            (format!("{{\"info\": {{}}, \"images\": [\"{long}\"]}}"), document(&["info", "images"])),
            ("image,caption\r\na,b\r\n".to_owned(), Shape::Text("image,caption".to_owned())),
            (String::new(), Shape::Text(String::new())),
        ] {
            let (_folder, path) = written(&text);
            assert_eq!(Shape::of(&path).unwrap(), shape, "{}", &text[..text.len().min(40)]);
        }
    }

    #[test]
    fn every_shape_gives_the_same_records() {
        let mut places = Vec::new();
        for text in [
            "{\"id\": \"1\", \"text\": \"a, b\"}\n\n{\"id\": \"2\", \"text\": \"c\"}",
            "[{\"id\": \"1\", \"text\": \"a, b\"}, {\"id\": \"2\", \"text\": \"c\"}]",
            "id,text\n1,\"a, b\"\n2,c\n",
            "id\ttext\n1\ta, b\n2\tc\n",
        ] {
            let (_folder, path) = written(text);
            let files = [RowFile::open(&path, |columns, _| Ok(Header { columns, is_first_row: true })).unwrap()];
            let rows = Rows::of(&files).unwrap();
            let read: Vec<_> = (0..rows.len())
                .map(|row| rows.read(row).unwrap().unwrap())
                .map(|row| (row.id(&["ID"]).unwrap().unwrap(), row.required_text(&["text"]).unwrap().to_owned()))
                .collect();
            assert_eq!(read, [("1", "a, b"), ("2", "c")].map(|(id, text)| (id.to_owned(), text.to_owned())));
            places.push(rows.place(1));
        }
        assert_eq!(places, ["line 3 of rows", "record 1 of rows", "line 3 of rows", "line 3 of rows"]);
    }

    #[test]
    fn a_field_is_the_first_of_its_names_that_holds_something() {
        let row = Row::parse(br#"{"a": null, "B": " ", "c": "  found ", "d": 5, "e": 1.5}"#).unwrap();
        assert_eq!(row.text(&["a", "b", "C", "d"]), Ok(Some("found")));
        assert_eq!(row.text(&["a", "b"]), Ok(None));
        assert_eq!(row.id(&["d"]), Ok(Some("5".to_owned())));
        for (bad, found) in [
            (row.text(&["d"]).unwrap_err(), "field d is 5, expected a text"),
            (row.id(&["e"]).unwrap_err(), "field e is 1.5, expected a whole number or a text"),
            (row.required_text(&["b", "f"]).unwrap_err(), "field b or f is missing or empty, expected a text"),
            (Row::parse(b"[1]").unwrap_err(), "the record is [1], expected an object"),
            (Row::parse(b"{\"a\"").unwrap_err(), "the record is {\"a\", expected a JSON object: EOF"),
            (Row::parse(b"{\"a\": \"\xff\"}").unwrap_err(), "expected a JSON object"),
        ] {
            assert!(bad.message.contains(found), "{}", bad.message);
            assert_eq!(bad.code, Code::BadRecord);
        }
    }
}
