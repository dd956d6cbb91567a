//! Where an image lies, from its id.

use crate::folder::stays_inside;
use crate::{Error, Result};

/// The layout of COCO, on which VQA and VQA-CP are built: `train2014/COCO_train2014_000000262148.jpg`.
pub const COCO_PATTERN: &str = "{subtype}/COCO_{subtype}_{id:012}.jpg";

/// A path with placeholders: `{subtype}`, `{id}`, and `{id:012}` for an id filled up with zeros to 12 digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImagePattern(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Subtype,
    Id { width: usize },
}

impl ImagePattern {
    pub(crate) fn parse(pattern: &str) -> Result<Self> {
        let refuse = |problem: &str| Error::InvalidOption {
            option: "image pattern",
            value: pattern.to_owned(),
            problem: problem.to_owned(),
        };
        let mut pieces = Vec::new();
        let mut rest = pattern;
        while let Some((literal, after)) = rest.split_once('{') {
            let (placeholder, after) = after.split_once('}').ok_or_else(|| refuse("a { is not closed"))?;
            pieces.push(Piece::Literal(literal.to_owned()));
            pieces.push(match placeholder {
                "subtype" => Piece::Subtype,
                "id" => Piece::Id { width: 0 },
                // More digits than any id has would only be a slip of the keyboard.
                other => match other.strip_prefix("id:0").map(str::parse) {
                    Some(Ok(width)) if width <= 64 => Piece::Id { width },
                    _ => return Err(refuse("it may hold {subtype}, {id} and {id:012}")),
                },
            });
            rest = after;
        }
        pieces.push(Piece::Literal(rest.to_owned()));
        if pieces.iter().any(|piece| matches!(piece, Piece::Id { .. })) {
            Ok(Self(pieces))
        } else {
            Err(refuse("without {id} all questions would have the same image"))
        }
    }

    pub(crate) fn needs_subtype(&self) -> bool {
        self.0.contains(&Piece::Subtype)
    }

    /// The path, relative to the image folder. `None` where an id or a subtype would lead out of that folder: they
    /// come from a file that someone else wrote.
    pub(crate) fn path(&self, subtype: &str, id: &str) -> Option<String> {
        let path: String = self
            .0
            .iter()
            .map(|piece| match piece {
                Piece::Literal(text) => text.clone(),
                Piece::Subtype => subtype.to_owned(),
                Piece::Id { width } => format!("{id:0>width$}"),
            })
            .collect();
        stays_inside(&path).then_some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in() -> Result<()> {
        let coco = ImagePattern::parse(COCO_PATTERN)?;
        assert!(coco.needs_subtype());
        assert_eq!(coco.path("train2014", "9").as_deref(), Some("train2014/COCO_train2014_000000000009.jpg"));
        let plain = ImagePattern::parse("{id}.png")?;
        assert!(!plain.needs_subtype());
        assert_eq!(plain.path("", "VG/12").as_deref(), Some("VG/12.png"));
        Ok(())
    }

    #[test]
    fn an_id_does_not_lead_out_of_the_folder() -> Result<()> {
        let pattern = ImagePattern::parse("{id}")?;
        for id in ["../secret", "/etc/passwd", "a/../../b", "a\0b"] {
            assert_eq!(pattern.path("", id), None, "{id}");
        }
        Ok(())
    }

    #[test]
    fn a_pattern_that_means_nothing_is_refused() {
        for pattern in ["image.jpg", "{subtype}.jpg", "{id", "{id:12}", "{id:0}", "{id:0999}", "{name}/{id}"] {
            let error = ImagePattern::parse(pattern).unwrap_err();
            assert!(error.to_string().contains(pattern), "{error}");
        }
    }
}
