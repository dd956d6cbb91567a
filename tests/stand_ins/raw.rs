//! Raw files of the real data sets' layouts, under the names that the headers of the protocols give them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::path::Path;

use image::{ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::support::Result;

/// A JPEG that is another for each number.
fn picture(number: usize) -> Result<Vec<u8>> {
    let pixel = |x: u32, y: u32| {
        let bit = (number >> ((x / 8 + 5 * (y / 8)) % 20)) & 1;
        Rgb([bit as u8 * 200, (x * 6) as u8, (y * 6) as u8])
    };
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_fn(40, 32, pixel).write_to(&mut bytes, ImageFormat::Jpeg)?;
    Ok(bytes.into_inner())
}

fn write(path: &Path, bytes: &[u8]) -> Result {
    fs::create_dir_all(path.parent().ok_or("a path without a folder")?)?;
    Ok(fs::write(path, bytes)?)
}

/// What is detected in every image of the stand-in of VCR.
const OBJECTS: [&str; 4] = ["person", "person", "pottedplant", "person"];
/// Images of a split of it, each with two questions.
const VCR_IMAGES: usize = 16;
/// Elements of a region's features.
const REGION_WIDTH: usize = 2048;

/// VCR: `vcr1annots.zip`, `vcr1images.zip` with metadata beside the images, and `regions/`.
pub fn write_vcr(folder: &Path) -> Result {
    let options = SimpleFileOptions::default();
    let mut annotations = ZipWriter::new(File::create(folder.join("vcr1annots.zip"))?);
    let mut images = ZipWriter::new(File::create(folder.join("vcr1images.zip"))?);
    for (at, split) in ["train", "val"].into_iter().enumerate() {
        let mut lines = String::new();
        for image in 0..VCR_IMAGES {
            let number = at * VCR_IMAGES + image;
            // With the dots and the @ that such paths have.
            let stem = format!("lsmdc_{split}_A_FILM/A_FILM_00.01.{image:02}.345-00.02.06.789@0");
            images.start_file(format!("vcr1images/{stem}.jpg"), options)?;
            images.write_all(&picture(number)?)?;
            images.start_file(format!("vcr1images/{stem}.json"), options)?;
            images.write_all(metadata(number).to_string().as_bytes())?;
            write(&folder.join(format!("regions/{stem}.npy")), &features(number))?;
            for question in 0..2 {
                lines += &format!("{}\n", annotation(split, image, question, &stem));
            }
        }
        annotations.start_file(format!("{split}.jsonl"), options)?;
        annotations.write_all(lines.as_bytes())?;
    }
    annotations.finish()?;
    images.finish()?;
    Ok(())
}

fn metadata(number: usize) -> Value {
    let left = |object: usize| (number + 7 * object) % 20;
    let boxes: Vec<Value> = (0..OBJECTS.len())
        .map(|object| json!([left(object), 1.5, left(object) + 18, 30, 0.5 + object as f32 / 10.0]))
        .collect();
    let polygons = vec![json!([[[1, 2], [3, 4], [5, 6]]]); OBJECTS.len()];
    json!({"boxes": boxes, "segms": polygons, "names": OBJECTS, "width": 40, "height": 32})
}

/// A numpy array of one row for each object.
fn features(number: usize) -> Vec<u8> {
    let header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {REGION_WIDTH}), }}\n", OBJECTS.len());
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    for element in 0..OBJECTS.len() * REGION_WIDTH {
        let value = ((element * 31 + number * 17) % 101) as f32 / 101.0;
        bytes.extend(value.to_le_bytes());
    }
    bytes
}

/// A line with the fields of the published files. The first question of an image is about one person, the second about two.
fn annotation(split: &str, image: usize, question: usize, stem: &str) -> Value {
    let number = image * 2 + question;
    let person = number % 2;
    let about = if question == 0 { json!([person]) } else { json!([0, 1]) };
    let verbs = ["waits", "sings", "sleeps", "reads"];
    let answer = |at: usize| match (at + number) % 3 {
        0 => json!([[person], verbs[at], "with", "his", "hat", "."]),
        1 => json!(["He", verbs[at], "at", "home", "."]),
        _ => json!([[0, 3], verbs[at], "near", [2], "."]),
    };
    let rationale = |at: usize| json!([[3 * (at % 2)], "is", "where", "one", verbs[(at + 1) % 4], "."]);
    json!({
        "movie": "A_FILM", "objects": OBJECTS, "interesting_scores": [0, -1], "answer_likelihood": "likely",
        "img_fn": format!("{stem}.jpg"), "metadata_fn": format!("{stem}.json"),
        "question": ["Why", "is", about, "pointing", "at", [2], "?"], "question_orig": "Why is 1 pointing at 3?",
        "answer_orig": "1 waits.", "rationale_orig": "1 is where one sings.",
        "answer_choices": ([0, 1, 2, 3].map(answer)), "answer_label": number % 4,
        "rationale_choices": ([0, 1, 2, 3].map(rationale)), "rationale_label": (number + 1) % 4,
        "answer_match_iter": [3, 0, 2, 1], "rationale_match_iter": [3, 0, 2, 1],
        "answer_sources": [3287, 0, 10184, 2260], "rationale_sources": [1921, 0, 9750, 25743],
        "img_id": format!("{split}-{image}"), "annot_id": format!("{split}-{number}"), "question_number": question,
        "match_fold": format!("{split}-0"), "match_index": number,
    })
}

/// Photos of the stand-in of SNLI-VE that are trained on, and that are tested on.
const PHOTOS: [usize; 2] = [60, 20];
/// Photos at the end of the list that are the development part.
const DEV_PHOTOS: usize = 1000;

/// SNLI-VE of the shared photos: pairs, lists and images as published, and the corrected labels. Of the test pairs every
/// fifth has a wrong label before it is corrected.
pub fn write_snli_ve(shared: &Path, folder: &Path) -> Result {
    let pairs = fs::read_to_string(shared.join("snli_ve_dev.jsonl"))?;
    let pairs: Vec<Value> = pairs.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let photo = |pair: &Value| pair["Flickr30K_ID"].as_str().unwrap_or_default().to_owned();
    let photos: Vec<String> = pairs.iter().map(photo).collect::<BTreeSet<_>>().into_iter().collect();
    let (train, rest) = photos.split_at(PHOTOS[0]);
    let test = &rest[..PHOTOS[1]];

    let names = fs::read_to_string(shared.join("flickr30k_id_map.csv"))?;
    let names: BTreeMap<&str, &str> = names.lines().filter_map(|line| line.split_once(".jpg,")).collect();
    for id in train.iter().chain(test) {
        let name = names.get(id.as_str()).ok_or("a photo without a name")?;
        let bytes = fs::read(shared.join("images").join(name))?;
        write(&folder.join(format!("flickr30k_images/{id}.jpg")), &bytes)?;
    }
    let dev = (0..DEV_PHOTOS).map(|number| format!("dev{number}"));
    let list: Vec<String> = train.iter().cloned().chain(dev).collect();
    fs::write(folder.join("flickr30k_train_val.lst"), list.join("\n"))?;
    fs::write(folder.join("flickr30k_test.lst"), test.join("\n"))?;

    let about = |photos: &[String]| pairs.iter().filter(|pair| photos.contains(&photo(pair))).cloned().collect();
    let (train, mut test): (Vec<Value>, Vec<Value>) = (about(train), about(test));
    for pair in test.iter_mut().step_by(5) {
        pair["gold_label"] = if pair["gold_label"] == "neutral" { json!("entailment") } else { json!("neutral") };
    }
    for (name, pairs) in [("train", train), ("test", test)] {
        let lines: Vec<String> = pairs.iter().map(Value::to_string).collect();
        fs::write(folder.join(format!("snli_ve_{name}.jsonl")), lines.join("\n"))?;
    }
    fs::copy(shared.join("esnlive_dev.csv"), folder.join("esnlive_test.csv"))?;
    Ok(())
}

/// Parts of the stand-in of VQA: what the published files call it, what the shared files do, and how many images.
const VQA_PARTS: [(&str, &str, usize); 2] = [("train2014", "train", 400), ("val2014", "valid", 80)];

/// VQA v2 of shared questions: those about the first images, which are drawn here.
pub fn write_vqa(shared: &Path, folder: &Path) -> Result {
    for (part, name, images) in VQA_PARTS {
        let list = |kind: &str, key: &str| -> Result<Vec<Value>> {
            let packed = File::open(shared.join(format!("vqa_v2_60k/vqa_{kind}_{name}.gzip")))?;
            let mut file: Value = serde_json::from_reader(flate2::read::GzDecoder::new(packed))?;
            Ok(file[key].as_array_mut().map(std::mem::take).ok_or("no list")?)
        };
        // As upstream spells it.
        let (questions, annotations) = (list("questions", "questions")?, list("annotatons", "annotations")?);
        let image = |row: &Value| row["image_id"].as_u64().unwrap_or_default();
        let ids: BTreeSet<u64> =
            questions.iter().map(image).collect::<BTreeSet<_>>().into_iter().take(images).collect();
        let about =
            |rows: Vec<Value>| -> Vec<Value> { rows.into_iter().filter(|row| ids.contains(&image(row))).collect() };
        let head = |key: &str, rows: Vec<Value>| json!({"info": {}, "license": {}, "data_type": "mscoco", "data_subtype": part, key: rows});
        let file = head("questions", about(questions)).to_string();
        fs::write(folder.join(format!("v2_OpenEnded_mscoco_{part}_questions.json")), file)?;
        let file = head("annotations", about(annotations)).to_string();
        fs::write(folder.join(format!("v2_mscoco_{part}_annotations.json")), file)?;
        for id in ids {
            write(&folder.join(format!("coco/{part}/COCO_{part}_{id:012}.jpg")), &picture(id as usize)?)?;
        }
    }
    Ok(())
}
