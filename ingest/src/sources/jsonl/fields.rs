//! Fields by path, and texts with fields in them.

use serde_json::Value;

use crate::formats::delimited::BadRow;
use crate::formats::rows::{Row, wrong_type};
use crate::rejects::Code;

/// The value at a dotted path, unless it is null. A key that holds the dot itself goes first; a number is a place in a
/// list.
pub(super) fn at<'r>(row: &'r Row, path: &str) -> Option<&'r Value> {
    if let Some(value) = row.0.get(path) {
        return Some(value).filter(|value| !value.is_null());
    }
    let (first, rest) = path.split_once('.')?;
    inside(row.0.get(first)?, rest).filter(|value| !value.is_null())
}

fn inside<'r>(value: &'r Value, path: &str) -> Option<&'r Value> {
    let step = |key: &str| match value {
        Value::Object(fields) => fields.get(key),
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => None,
    };
    step(path).or_else(|| {
        let (first, rest) = path.split_once('.')?;
        inside(step(first)?, rest)
    })
}

/// The value at a path that must be there.
pub(super) fn required<'r>(row: &'r Row, path: &str, expected: &str) -> Result<&'r Value, BadRow> {
    at(row, path).ok_or_else(|| {
        let message = format!("field {path} is missing or null, expected {expected}");
        BadRow { code: Code::BadRecord, message }
    })
}

/// A text that is not empty.
pub(super) fn text<'r>(value: &'r Value, path: &str, expected: &str) -> Result<&'r str, BadRow> {
    let text = value.as_str().map(str::trim).filter(|text| !text.is_empty());
    text.ok_or_else(|| wrong_type(path, value, expected))
}

/// A text, a number or a truth value, in words.
pub(super) fn word(value: &Value, path: &str, expected: &str) -> Result<String, BadRow> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        other => Err(wrong_type(path, other, expected)),
    }
}

/// A field, or a text with fields in braces: `images/{directory}/dev-{identifier}-0.png`, `{id:012}.jpg`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Field { path: String, width: usize },
}

impl Template {
    /// Without braces it is the path of a field.
    pub(super) fn parse(template: &str) -> Result<Self, String> {
        if template.is_empty() {
            return Err("it is empty".to_owned());
        }
        if !template.contains(['{', '}']) {
            return Ok(Self(vec![Piece::Field { path: template.to_owned(), width: 0 }]));
        }
        let mut pieces = Vec::new();
        let mut rest = template;
        while let Some((literal, after)) = rest.split_once('{') {
            let (field, after) = after.split_once('}').ok_or_else(|| format!("{template:?}: a {{ is not closed"))?;
            pieces.push(Piece::Literal(literal.to_owned()));
            let (path, width) = match field.split_once(":0") {
                Some((path, width)) => (path, width.parse().ok().filter(|width| *width <= 64)),
                None => (field, Some(0)),
            };
            let Some(width) = width.filter(|_| !path.is_empty() && !path.contains([':', '{'])) else {
                return Err(format!("{template:?}: braces hold a field such as {{id}} or {{id:012}}, found {field:?}"));
            };
            pieces.push(Piece::Field { path: path.to_owned(), width });
            rest = after;
        }
        if pieces.is_empty() {
            return Err(format!("{template:?}: a }} was not opened"));
        }
        pieces.push(Piece::Literal(rest.to_owned()));
        Ok(Self(pieces))
    }

    /// The fields in it.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Field { path, .. } => Some(path.as_str()),
        })
    }

    /// Fills it in.
    pub(super) fn fill(&self, row: &Row) -> Result<String, BadRow> {
        const EXPECTED: &str = "a text or a number";
        let mut filled = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(text) => filled.push_str(text),
                Piece::Field { path, width } => {
                    let word = word(required(row, path, EXPECTED)?, path, EXPECTED)?;
                    filled.push_str(&format!("{word:0>width$}"));
                }
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(value: Value) -> Row {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn paths_lead_into_objects_and_lists() {
        let row = row(json!({ "a": { "b": [10, { "c.d": 11 }] }, "a.b": 12, "n": null, "m": { "n": null } }));
        for (path, expected) in [
            ("a.b", Some(json!(12))),
            ("a.b.0", Some(json!(10))),
            ("a.b.1.c.d", Some(json!(11))),
            ("a.b.2", None),
            ("n", None),
            ("m.n", None),
            ("m.x", None),
            ("x.y", None),
            ("a", Some(json!({ "b": [10, { "c.d": 11 }] }))),
        ] {
            assert_eq!(at(&row, path).cloned(), expected, "{path}");
        }
    }

    #[test]
    fn templates_are_filled_in() {
        let row = row(json!({ "meta": { "id": 42 }, "dir": "x", "list": [1] }));
        let fill = |template: &str| Template::parse(template).unwrap().fill(&row);
        assert_eq!(fill("{dir}/{meta.id:06}.png").unwrap(), "x/000042.png");
        assert_eq!(fill("dir").unwrap(), "x");
        assert!(fill("{dir}/{none}").unwrap_err().message.contains("field none is missing"));
        assert!(fill("list").unwrap_err().message.contains("field list is [1], expected a text or a number"));
        for template in ["", "{a", "a}", "{}", "{a:12}", "{a:0x}", "{a:099}", "{{a}"] {
            assert!(Template::parse(template).is_err(), "{template}");
        }
    }
}
