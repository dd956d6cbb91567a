//! COCO's `instances_*.json`: the objects of each image, as regions.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::documents::image_names;
use crate::Result;
use crate::formats::json::{Record, SourceFile, Text};
use crate::formats::name_list::bare;
use crate::rejects::{Code, Reject};
use crate::source::{Region, Regions};

/// Boxes by image. Segmentations are not kept, and crowds are objects like others.
#[derive(Debug)]
pub(super) struct Instances {
    pub fingerprint: Value,
    /// Boxes that cannot be used.
    pub rejects: Vec<Reject>,
    /// Names of the categories.
    classes: Vec<String>,
    /// Corners and category of each object, by the bare name of its image.
    by_image: HashMap<String, Vec<([f32; 4], u32)>>,
}

impl Instances {
    /// Reads the boxes; the rest of the file, which is most of it, is let go.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let file = SourceFile::read(path)?;
        let (names, mut rejects) = image_names(&file)?;
        let mut classes = Vec::new();
        let mut class_of: HashMap<String, u32> = HashMap::new();
        for (row, raw) in file.listing("categories")?.records.into_iter().enumerate() {
            let category = Record::of(raw)
                .and_then(|record| Ok((record.id("id")?, record.field::<Text<'_>>("name", "a text")?.0.into_owned())));
            match category {
                Ok((id, name)) => {
                    class_of.insert(id.into_owned(), classes.len() as u32);
                    classes.push(name);
                }
                Err(message) => {
                    let source = format!("record {row} of categories in {}", file.name());
                    rejects.push(Reject::annotation(source, Code::BadRecord, message));
                }
            }
        }
        let mut by_image: HashMap<String, Vec<_>> = HashMap::new();
        for (row, raw) in file.listing("annotations")?.records.into_iter().enumerate() {
            let record = match Record::of(raw) {
                Ok(record) => record,
                Err(message) => {
                    let source = format!("record {row} of annotations in {}", file.name());
                    rejects.push(Reject::annotation(source, Code::BadRecord, message));
                    continue;
                }
            };
            let source = match record.id("id") {
                Ok(id) => format!("region {id}"),
                Err(_) => format!("record {row} of annotations in {}", file.name()),
            };
            match object(&record, &names, &class_of) {
                Ok((image, found)) => by_image.entry(bare(image).to_owned()).or_default().push(found),
                Err((code, message)) => rejects.push(Reject::annotation(source, code, message)),
            }
        }
        Ok(Self { fingerprint: file.fingerprint.clone(), rejects, classes, by_image })
    }

    /// The objects of an image, in the order of the file.
    pub(super) fn of(&self, image: &str) -> Regions {
        let found = self.by_image.get(bare(image)).map(Vec::as_slice).unwrap_or_default();
        let region = |(corners, class): &([f32; 4], u32)| Region {
            corners: *corners,
            class: self.classes.get(*class as usize).cloned(),
            score: None,
        };
        Regions { boxes: found.iter().map(region).collect(), features: None }
    }
}

type Object<'n> = (&'n str, ([f32; 4], u32));

/// The image of an object, its corners and its category.
fn object<'n>(
    record: &Record<'_>,
    names: &'n HashMap<String, String>,
    class_of: &HashMap<String, u32>,
) -> Result<Object<'n>, (Code, String)> {
    let bad = |message| (Code::BadRecord, message);
    let image = record.id("image_id").map_err(bad)?;
    let name = names
        .get(image.as_ref())
        .ok_or_else(|| (Code::UnlistedImage, format!("image_id is {image}, which the list images does not have")))?;
    let category = record.id("category_id").map_err(bad)?;
    let class = class_of
        .get(category.as_ref())
        .ok_or_else(|| bad(format!("category_id is {category}, which the list categories does not have")))?;
    let expected = "left, top, width and height, none of them negative";
    let [left, top, width, height] = record.field::<[f32; 4]>("bbox", expected).map_err(bad)?;
    let corners = [left, top, left + width, top + height];
    if width < 0.0 || height < 0.0 || !corners.iter().all(|corner| corner.is_finite()) {
        return Err(bad(format!("field bbox is [{left}, {top}, {width}, {height}], expected {expected}")));
    }
    Ok((name, (corners, *class)))
}
