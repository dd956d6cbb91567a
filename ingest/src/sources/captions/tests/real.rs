//! Real caption sets, which are not part of the project: without them these tests say so and pass.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use retort_cache::{Interrupt, Quiet};
use retort_schemas::tables::texts as text_table;

use super::*;
use crate::sources::testing::{files as files_in, shared_data};
use crate::{Options, ingest};

#[test]
fn real_captions_of_flickr8k() -> Result<()> {
    let Some(data) = shared_data("flickr8k_snlive") else { return Ok(()) };
    let ingest = |name: &str, parts: &[&str]| -> Result<_> {
        let fixture = Fixture::with_photos(&[]);
        let mut found = Vec::new();
        for part in parts {
            let files = CaptionFiles {
                file: data.join(name),
                images: data.join("images"),
                ids: Some(data.join(format!("Flickr_8k.{part}Images.txt"))),
                ..CaptionFiles::default()
            };
            let report = fixture.ingest(&Captions::open(&files)?, part)?;
            found.push((report.samples, report.images, report.rejected()));
        }
        Ok((found, fixture))
    };
    // Of the 1,718 photos two have the same bytes, and lie in one shard.
    assert_eq!(ingest("captions.csv", &["train"])?.0, [(8_590, 1_717, 0)]);
    assert_eq!(ingest("Flickr8k.token.txt", &["test"])?.0, [(2_445, 489, 0)]);
    let (found, table) = ingest("captions.csv", &["dev"])?;
    assert_eq!(found, [(1_445, 289, 0)]);
    let (_, token) = ingest("Flickr8k.token.txt", &["dev"])?;
    assert_eq!(table.tables(), token.tables());
    Ok(())
}

#[test]
fn all_captions_of_flickr8k() -> Result<()> {
    let Some(data) = shared_data("flickr8k_snlive") else { return Ok(()) };
    // Told by the text alone.
    let text = std::fs::read_to_string(data.join("Flickr8k.token.txt")).unwrap();
    let listed: BTreeMap<String, String> = text
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(id, text)| (id.into(), text.trim().into()))
        .collect();
    assert_eq!(listed.len(), 12_500);
    let photos = files_in(&data.join("images"));
    assert_eq!(photos.len(), 2_500);
    let distinct = photos.values().collect::<HashSet<_>>().len() as u64;

    for (name, has_ids) in [("Flickr8k.token.txt", true), ("captions.csv", false)] {
        let fixture = Fixture::with_photos(&[]);
        let files = CaptionFiles { file: data.join(name), images: data.join("images"), ..CaptionFiles::default() };
        let options = Options { shard_images: 2_500, ..Options::new("all") };
        let report = ingest(&Captions::open(&files)?, &options, &fixture.out(), &Quiet, &Interrupt::default())?;
        assert_eq!((report.samples, report.images, report.rejected()), (12_500, distinct, 0), "{name}");
        let found: BTreeMap<String, String> = captions(&fixture).into_iter().collect();
        if has_ids {
            assert_eq!(found, listed);
        }
        let mut texts: [Vec<_>; 2] = [found.into_values().collect(), listed.values().cloned().collect()];
        texts.iter_mut().for_each(|texts| texts.sort());
        assert!(texts[0] == texts[1], "{name}");
    }
    Ok(())
}

/// What COCO's files of a part say, walked as plain JSON: captions by id, and how many objects of which class each
/// image has.
fn counted(data: &Path, part: &str) -> (BTreeMap<String, String>, HashMap<String, Vec<String>>) {
    let read = |kind: &str| -> Value {
        let text = std::fs::read(data.join(format!("annotations/{kind}_{part}2017.json"))).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    let (captions, instances) = (read("captions"), read("instances"));
    let rows = |value: &Value, key: &str| value[key].as_array().unwrap().clone();
    let text = |value: &Value| value.as_str().unwrap().trim().to_owned();
    let by_id = |rows: Vec<Value>, key: &str| -> HashMap<String, String> {
        rows.iter().map(|row| (row["id"].to_string(), text(&row[key]))).collect()
    };
    let (names, classes) =
        (by_id(rows(&instances, "images"), "file_name"), by_id(rows(&instances, "categories"), "name"));
    let mut objects: HashMap<String, Vec<String>> = names.values().map(|name| (name.clone(), Vec::new())).collect();
    for object in rows(&instances, "annotations") {
        let name = &names[&object["image_id"].to_string()];
        objects.get_mut(name).unwrap().push(classes[&object["category_id"].to_string()].clone());
    }
    (by_id(rows(&captions, "annotations"), "caption").into_iter().collect(), objects)
}

#[test]
fn real_captions_of_coco_with_their_objects() -> Result<()> {
    let Some(data) = shared_data("tiny_coco") else { return Ok(()) };
    let fixture = Fixture::with_photos(&[]);
    let mut boxes = 0;
    for (shard, part) in ["val", "train"].into_iter().enumerate() {
        let files = CaptionFiles {
            file: data.join(format!("annotations/captions_{part}2017.json")),
            images: data.join(format!("{part}2017")),
            instances: Some(data.join(format!("annotations/instances_{part}2017.json"))),
            ..CaptionFiles::default()
        };
        let report = fixture.ingest(&Captions::open(&files)?, part)?;
        assert_eq!((report.samples, report.images, report.rejected()), (250, 50, 0), "{part}");

        let (listed, of_image) = counted(&data, part);
        let found = captions(&fixture).into_iter().skip(250 * shard).collect::<BTreeMap<_, _>>();
        assert_eq!(found, listed, "{part}");
        let names = strings(&fixture.table(shard, image_table::NAME), image_table::SOURCE);
        for (name, objects) in names.iter().zip(regions_of(&fixture.table(shard, region_table::NAME))) {
            let classes: Vec<String> = objects.into_iter().map(|(_, class)| class).collect();
            boxes += classes.len();
            assert_eq!(classes, of_image[name], "{name}");
        }
    }
    assert_eq!(boxes, 852);
    let mut objects = regions(&fixture);
    assert_eq!(objects.iter().filter(|objects| objects.is_empty()).count(), 2);
    let first = fixture.samples().remove(0);
    assert_eq!((first.id.as_str(), first.texts[0].as_str()), ("370509", "A man is in a kitchen making pizzas."));
    let first = objects.remove(0);
    assert_eq!((first.len(), first[0].1.as_str()), (19, "bottle"));
    assert_eq!(first[0].0, [217.62, 240.54, 217.62 + 38.99, 240.54 + 57.75]);
    assert_eq!(fixture.table(0, text_table::NAME).num_rows(), 250);
    Ok(())
}
