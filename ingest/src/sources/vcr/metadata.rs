//! The file beside an image that says where its objects are.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::names::in_words;
use crate::rejects::{Code, Reject, Stage};
use crate::source::{ImageStore, Region, Regions};

/// Left, top, right, bottom and score.
type ScoredBox = [f32; 5];

/// The objects of an image. Polygons (`segms`) are left out: no student takes them.
#[derive(Debug, PartialEq)]
pub(super) struct Metadata {
    /// Class of each object; a file without them goes by the annotations alone.
    names: Option<Vec<String>>,
    boxes: Vec<ScoredBox>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    boxes: Vec<&'a RawValue>,
    names: Option<Vec<String>>,
}

impl Metadata {
    /// Reads a file by its path in the image folder; what is wrong with it is told by its path.
    pub(super) fn read(images: &dyn ImageStore, path: &str) -> Result<Self, Reject> {
        let reject = |code, message| Reject { source: path.to_owned(), stage: Stage::Read, code, message };
        let (_, bytes) = images.read(path).map_err(|lost| match lost.code {
            Code::ImageMissing => reject(Code::MetadataMissing, lost.message),
            _ => reject(Code::MetadataUnreadable, lost.message),
        })?;
        Self::parse(&bytes).map_err(|message| reject(Code::MetadataCorrupt, message))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let fields: Fields<'_> = serde_json::from_slice(bytes)
            .map_err(|error| format!("expected an object with the lists boxes and names, but {error}"))?;
        let boxes = fields.boxes.iter().enumerate().map(|(object, raw)| scored_box(object, raw.get()));
        let boxes: Vec<ScoredBox> = boxes.collect::<Result<_, _>>()?;
        if let Some(names) = &fields.names
            && names.len() != boxes.len()
        {
            return Err(format!("it has {} names for {} boxes, expected one each", names.len(), boxes.len()));
        }
        Ok(Self { names: fields.names, boxes })
    }

    /// Whether it is about these objects: references of an annotation that has others would lead to wrong boxes.
    pub(super) fn is_about(&self, objects: &[String]) -> bool {
        self.names.as_ref().map_or(self.boxes.len() == objects.len(), |names| names == objects)
    }

    /// What it is about, for a message.
    pub(super) fn described(&self) -> String {
        match &self.names {
            Some(names) => described(names),
            None => format!("{} objects", self.boxes.len()),
        }
    }

    /// The objects as regions, of these classes.
    pub(super) fn regions(&self, objects: &[String]) -> Regions {
        let boxes = self.boxes.iter().zip(objects).map(|(&[left, top, right, bottom, score], class)| Region {
            corners: [left, top, right, bottom],
            class: Some(in_words(class).to_owned()),
            score: Some(score),
        });
        Regions { boxes: boxes.collect(), features: None }
    }
}

/// Objects for a message.
pub(super) fn described(objects: &[String]) -> String {
    const MOST: usize = 8;
    let named = objects.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if objects.len() > MOST { ", ..." } else { "" };
    format!("{} objects ({named}{more})", objects.len())
}

fn scored_box(object: usize, raw: &str) -> Result<ScoredBox, String> {
    let expected = "expected left, top, right, bottom and score, right and bottom not before left and top";
    let numbers: Option<ScoredBox> = serde_json::from_str(raw).ok();
    let sound = |numbers: &ScoredBox| {
        let [left, top, right, bottom, _] = *numbers;
        numbers.iter().all(|number| number.is_finite()) && left <= right && top <= bottom
    };
    numbers.filter(sound).ok_or_else(|| {
        let found: String = raw.chars().take(80).collect();
        format!("the box of object {object} is {found}, {expected}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_become_regions_in_order() {
        let text = br#"{"boxes": [[1.5, 2, 30, 40.25, 0.98], [0, 0, 0, 0, 1]], "segms": [[[[1, 2], [3, 4]]], []],
            "names": ["person", "pottedplant"], "width": 1920, "height": 797}"#;
        let metadata = Metadata::parse(text).unwrap();
        let objects = ["person", "pottedplant"].map(str::to_owned);
        assert!(metadata.is_about(&objects));
        assert!(!metadata.is_about(&objects[..1]) && !metadata.is_about(&["person", "cup"].map(str::to_owned)));
        let regions = metadata.regions(&objects);
        assert_eq!(regions.boxes[0].corners, [1.5, 2.0, 30.0, 40.25]);
        assert_eq!(regions.boxes[0].score, Some(0.98));
        assert_eq!(regions.boxes[1].class.as_deref(), Some("potted plant"));
        assert_eq!((regions.boxes.len(), regions.features), (2, None));
    }

    #[test]
    fn a_file_without_names_goes_by_their_number() {
        let metadata = Metadata::parse(br#"{"boxes": [[1, 2, 3, 4, 0.5]]}"#).unwrap();
        assert!(metadata.is_about(&["cup".to_owned()]));
        assert!(!metadata.is_about(&[]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, found) in [
            ("", "EOF"),
            ("[]", "lists boxes and names"),
            (r#"{"names": []}"#, "missing field `boxes`"),
            (r#"{"boxes": {}}"#, "invalid type: map"),
            (r#"{"boxes": [[1, 2, 3, 4, 0.5]], "names": []}"#, "0 names for 1 boxes"),
            (r#"{"boxes": [[1, 2, 3, 4]]}"#, "object 0 is [1, 2, 3, 4], expected left"),
            (r#"{"boxes": [[1, 2, 3, 4, 5, 6]]}"#, "object 0"),
            (r#"{"boxes": [[1, 2, 3, 4, 1], [1, 2, null, 4, 1]]}"#, "object 1"),
            (r#"{"boxes": [[5, 2, 3, 4, 1]]}"#, "object 0"),
            (r#"{"boxes": [[1, 5, 3, 4, 1]]}"#, "object 0"),
            (r#"{"boxes": [[1, 2, 3, 1e39, 1]]}"#, "object 0"),
            (r#"{"boxes": [[1, 2, 3, 4, 1]], "names": [7]}"#, "invalid type: integer `7`"),
        ] {
            let problem = Metadata::parse(text.as_bytes()).unwrap_err();
            assert!(problem.contains(found), "{text}: {problem}");
        }
    }
}
