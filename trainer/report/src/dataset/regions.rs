//! Objects of images: their boxes over the samples, and how often each class is there.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, Float32Array, ListArray, StringArray, StructArray};
use retort_cache::{Columns, Dataset, Error, Result, column};
use retort_schemas::tables::regions;

use super::pictures::by_shard;
use super::sampled::{Sampled, Spot};
use super::shares;
use crate::page::Writer;
use crate::pictures::Frame;
use crate::text::{counted, cut, escape};

/// Boxes drawn over an image, at most: the first.
const DRAWN: usize = 12;
/// Colours of classes in one image; further classes share the last.
const COLOURS: usize = 8;
/// Characters of a class.
const LONGEST: usize = 24;
/// What stands for a box without a class.
const NO_CLASS: &str = "no class";

/// An object of an image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Region {
    class: String,
    /// Left, top, right, bottom, in pixels of the source.
    corners: [f32; 4],
}

/// The objects of some images, by row of the shard's images; of an image without a table of regions, none.
///
/// # Errors
/// As [`Dataset::read_rows`].
pub(crate) fn read(
    dataset: &Dataset,
    sampled: &Sampled,
    images: impl IntoIterator<Item = Spot>,
) -> Result<HashMap<Spot, Vec<Region>>> {
    let mut all = HashMap::new();
    for (shard, rows) in by_shard(images) {
        let of = &sampled.shards[shard].shard;
        if !of.tables.contains_key(regions::NAME) {
            continue;
        }
        let batch = dataset.read_rows(of, regions::NAME, Columns::Named(&[regions::BOXES]), &rows)?;
        let boxes: &ListArray = column(&batch, regions::BOXES)?;
        for (at, row) in rows.into_iter().enumerate() {
            all.insert(Spot { shard, row }, objects(&boxes.value(at))?);
        }
    }
    Ok(all)
}

/// The objects of one image.
fn objects(boxes: &dyn Array) -> Result<Vec<Region>> {
    let problem = || Error::Column {
        column: regions::BOXES.to_owned(),
        problem: format!("has items of {}, expected structures of four corners and a class", boxes.data_type()),
    };
    let objects: &StructArray = boxes.as_any().downcast_ref().ok_or_else(problem)?;
    let corner = |name: &str| objects.column_by_name(name)?.as_any().downcast_ref::<Float32Array>();
    let sides = ["left", "top", "right", "bottom"].map(corner);
    let [Some(left), Some(top), Some(right), Some(bottom)] = sides else { return Err(problem()) };
    let classes = objects.column_by_name("class").and_then(|column| column.as_any().downcast_ref::<StringArray>());
    let classes = classes.ok_or_else(problem)?;
    let region = |at: usize| Region {
        class: if classes.is_null(at) { NO_CLASS } else { classes.value(at) }.to_owned(),
        corners: [left, top, right, bottom].map(|side| side.value(at)),
    };
    Ok((0..objects.len()).map(region).collect())
}

/// The boxes of an image in the colours of their classes, and what these are.
pub(crate) fn frames(objects: &[Region]) -> (Vec<Frame>, String) {
    let mut known: Vec<(&str, u64)> = Vec::new();
    let mut frames = Vec::new();
    for object in objects.iter().take(DRAWN) {
        let at = known.iter().position(|(class, _)| *class == object.class).unwrap_or_else(|| {
            known.push((&object.class, 0));
            known.len() - 1
        });
        known[at].1 += 1;
        frames.push(Frame { colour: at.min(COLOURS - 1), corners: object.corners });
    }
    let item = |(at, (class, boxes)): (usize, &(&str, u64))| {
        let often = if *boxes > 1 { format!(" \u{d7}{boxes}") } else { String::new() };
        let class = escape(&cut(class, LONGEST));
        format!("<li><span class=\"key c{}\"></span><bdi>{class}</bdi>{often}</li>", at.min(COLOURS - 1))
    };
    let mut items: String = known.iter().enumerate().map(item).collect();
    if objects.len() > DRAWN {
        items += &format!("<li>{}</li>", counted((objects.len() - DRAWN) as u64, "more box", "more boxes"));
    }
    let list = if items.is_empty() { items } else { format!("<ul class=\"boxes\">{items}</ul>") };
    (frames, list)
}

/// Writes how often each class is there, if any shard that is read has regions.
///
/// # Errors
/// As [`Dataset::read`].
pub(crate) fn write(page: &mut Writer, dataset: &Dataset, sampled: &Sampled) -> Result<()> {
    let (mut classes, mut images): (BTreeMap<String, u64>, u64) = (BTreeMap::new(), 0);
    for of in sampled.shards.iter().filter(|of| of.shard.tables.contains_key(regions::NAME)) {
        let batch = dataset.read(&of.shard, regions::NAME, Columns::Named(&[regions::BOXES]))?;
        let boxes: &ListArray = column(&batch, regions::BOXES)?;
        images += boxes.len() as u64;
        for object in objects(boxes.values())? {
            *classes.entry(object.class).or_default() += 1;
        }
    }
    if classes.is_empty() {
        return Ok(());
    }
    let all: u64 = classes.values().sum();
    page.section(
        "Regions",
        &format!(
            "Objects of images by class: {} in {}. From {}.",
            counted(all, "box", "boxes"),
            counted(images, "image", "images"),
            sampled.words()
        ),
    );
    let classes = classes.iter().map(|(class, boxes)| (class.as_str(), *boxes)).collect();
    page.html += &shares::card("Boxes by class", classes, ["other class", "other classes"]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(class: &str, left: f32) -> Region {
        Region { class: class.to_owned(), corners: [left, 0.0, 9.0, 9.0] }
    }

    #[test]
    fn boxes_of_a_class_have_one_colour_and_are_counted() {
        let (drawn, list) = frames(&[region("dog", 1.0), region("<cat>", 2.0), region("dog", 3.0)]);
        assert_eq!(
            drawn.iter().map(|frame| (frame.colour, frame.corners[0])).collect::<Vec<_>>(),
            [(0, 1.0), (1, 2.0), (0, 3.0)]
        );
        assert!(list.contains("<bdi>dog</bdi> \u{d7}2</li>") && list.contains("<bdi>&lt;cat&gt;</bdi></li>"), "{list}");
        assert_eq!(frames(&[]), (Vec::new(), String::new()));
    }

    #[test]
    fn many_boxes_are_cut_and_told() {
        let many: Vec<Region> = (0..DRAWN + 3).map(|at| region(&at.to_string(), 0.0)).collect();
        let (drawn, list) = frames(&many);
        assert_eq!((drawn.len(), drawn[DRAWN - 1].colour), (DRAWN, COLOURS - 1));
        assert!(list.contains("<li>3 more boxes</li>"), "{list}");
    }
}
