//! Captions one a row: CSV, TSV, jsonl, and the `.token` files of Flickr8k and Flickr30k.

use std::path::Path;

use serde_json::{Value, json};

use super::{Caption, CaptionFiles, CaptionRows};
use crate::formats::delimited::{BadRow, Delimited, Header};
use crate::formats::lines::Lines;
use crate::formats::rows::{Row, RowFile, Rows, missing, wrong_type};
use crate::rejects::{Code, Reject};
use crate::{Error, Result};

/// Usual names of the image, the surest first: of common tables, COCO, open_clip, Flickr30k.
const IMAGE: [&str; 6] = ["image", "image_name", "filename", "file_name", "filepath", "image_path"];
/// Usual names of the caption.
const CAPTION: [&str; 5] = ["caption", "captions", "text", "title", "comment"];

/// A table with a header, or jsonl.
pub(super) struct TableFile {
    file: [RowFile; 1],
    image: Vec<String>,
    caption: Vec<String>,
}

impl TableFile {
    /// Opens a file of rows; with a delimiter it is a table, whatever it looks like.
    pub(super) fn open(files: &CaptionFiles, delimiter: Option<u8>) -> Result<Self> {
        let names = |named: &Option<String>, usual: &[&str]| match named {
            Some(name) => vec![name.clone()],
            None => usual.iter().map(|name| (*name).to_owned()).collect(),
        };
        let (image, caption) = (names(&files.image_column, &IMAGE), names(&files.caption_column, &CAPTION));
        let path = &files.file;
        let header = |first: Vec<String>, _| {
            let has =
                |names: &[String]| names.iter().any(|name| first.iter().any(|col| col.eq_ignore_ascii_case(name)));
            if has(&image) && has(&caption) {
                return Ok(Header { columns: first, is_first_row: true });
            }
            let expected = format!("a first row with one of {} and one of {}", image.join(", "), caption.join(", "));
            Err(Error::NoColumns { path: path.clone(), expected, found: first.join(", ") })
        };
        let file = match delimiter {
            Some(delimiter) => RowFile::Table(Delimited::open(path, Some(delimiter), header)?),
            None => RowFile::open(path, header)?,
        };
        Ok(Self { file: [file], image, caption })
    }

    pub(super) fn rows(&self) -> Result<TableRows<'_>> {
        Ok(TableRows { rows: Rows::of(&self.file)?, image: borrowed(&self.image), caption: borrowed(&self.caption) })
    }

    pub(super) fn path(&self) -> &Path {
        self.file[0].path()
    }

    pub(super) fn options(&self) -> Value {
        let layout = match self.file[0] {
            RowFile::Table(_) => "table",
            RowFile::Lines(_) | RowFile::List(_) => "json",
        };
        let file = self.file[0].fingerprint();
        json!({ "layout": layout, "file": file, "image": self.image, "caption": self.caption })
    }
}

fn borrowed(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// The rows of a table.
pub(super) struct TableRows<'a> {
    rows: Rows<'a>,
    image: Vec<&'a str>,
    caption: Vec<&'a str>,
}

impl CaptionRows for TableRows<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn read(&self, row: usize) -> Result<Result<Vec<Caption>, Reject>> {
        let lost = |bad: BadRow| Reject::annotation(self.rows.place(row), bad.code, bad.message);
        let read = |fields: &Row| {
            let image = fields.required_text(&self.image)?.to_owned();
            let texts = texts(fields, &self.caption);
            Ok((image, texts))
        };
        Ok(match self.rows.read(row)?.and_then(|fields| read(&fields)) {
            Err(bad) => Err(lost(bad)),
            Ok((image, Err(bad))) => Ok(vec![Caption { image, id: None, text: Err(lost(bad)) }]),
            Ok((image, Ok(texts))) => {
                let caption = |text| Caption { image: image.clone(), id: None, text: Ok(text) };
                Ok(texts.into_iter().map(caption).collect())
            }
        })
    }
}

/// One caption, or a list of them.
fn texts(fields: &Row, names: &[&str]) -> Result<Vec<String>, BadRow> {
    const EXPECTED: &str = "a text or a list of texts";
    let (name, value) = fields.find(names).ok_or_else(|| missing(names, EXPECTED))?;
    let bad = || wrong_type(name, value, EXPECTED);
    let text = |value: &Value| {
        value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).ok_or_else(bad)
    };
    match value {
        Value::Array(values) if !values.is_empty() => values.iter().map(text).collect(),
        value => Ok(vec![text(value)?]),
    }
}

/// `name.jpg#0<TAB>caption`, one a line.
pub(super) struct TokenFile {
    pub lines: Lines,
}

impl TokenFile {
    /// Whether this is the key of a caption.
    pub(super) fn is_key(key: &str) -> bool {
        image_of(key).is_some()
    }

    fn place(&self, line: usize) -> String {
        let name = self.lines.path.file_name().unwrap_or_default().to_string_lossy();
        format!("line {} of {name}", self.lines.number(line))
    }
}

/// The image of a key, which is before the number of the caption.
fn image_of(key: &str) -> Option<&str> {
    let (image, number) = key.rsplit_once('#')?;
    let is_number = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    (is_number && !image.is_empty()).then_some(image)
}

impl CaptionRows for &TokenFile {
    fn len(&self) -> usize {
        self.lines.len()
    }

    fn read(&self, row: usize) -> Result<Result<Vec<Caption>, Reject>> {
        let bytes = self.lines.read(row)?;
        let lost = |code, message: String| Reject::annotation(self.place(row), code, message);
        let Ok(line) = std::str::from_utf8(&bytes) else {
            return Ok(Err(lost(Code::BadRecord, "the line is not UTF-8".to_owned())));
        };
        let columns: Vec<&str> = line.split('\t').collect();
        let key = columns.first().copied().unwrap_or_default().trim();
        let wrong_count = || {
            let message = format!("the line has {} columns, expected 2: name.jpg#0 and a caption", columns.len());
            lost(Code::WrongColumnCount, message)
        };
        let Some(image) = image_of(key) else {
            let message = format!("the key is {key:?}, expected the name of an image, # and a number");
            return Ok(Err(if columns.len() == 2 { lost(Code::BadRecord, message) } else { wrong_count() }));
        };
        let text = match columns.as_slice() {
            [_, text] => Ok(text.trim().to_owned()),
            _ => Err(wrong_count()),
        };
        Ok(Ok(vec![Caption { image: image.to_owned(), id: Some(key.to_owned()), text }]))
    }
}
