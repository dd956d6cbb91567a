//! VCR as it would be of real photographs and their objects, which are not part of the project: without them these tests
//! say so and pass.

use std::fs;
use std::path::Path;

use super::*;
use crate::sources::testing;

/// Objects from this index on are mentioned by no text.
const MOST_MENTIONED: usize = 20;

/// The photographs and instances of COCO, written as VCR: a line about the first object of each photograph, and one about
/// its first two where it has two.
fn coco_as_vcr(data: &Path) -> Fixture {
    let fixture = Fixture { folder: tempfile::tempdir().unwrap() };
    let mut lines = Vec::new();
    for part in ["train2017", "val2017"] {
        let text = fs::read(data.join(format!("annotations/instances_{part}.json"))).unwrap();
        let coco: Value = serde_json::from_slice(&text).unwrap();
        let listed = |key: &str| coco[key].as_array().unwrap().clone();
        let classes: BTreeMap<u64, String> = listed("categories")
            .iter()
            .map(|class| (class["id"].as_u64().unwrap(), class["name"].as_str().unwrap().replace(' ', "")))
            .collect();
        for image in listed("images") {
            let instances = listed("annotations");
            // Crowds have no polygons.
            let of_image = |row: &&Value| row["image_id"] == image["id"] && row["iscrowd"] == 0;
            let instances: Vec<&Value> = instances.iter().filter(of_image).collect();
            let objects: Vec<&str> =
                instances.iter().map(|row| classes[&row["category_id"].as_u64().unwrap()].as_str()).collect();
            if objects.is_empty() {
                continue;
            }
            let file = image["file_name"].as_str().unwrap();
            let name = format!("coco_{part}/{}@0.jpg", file.replace(".jpg", ".00.01.02.345"));
            fixture.write(&format!("vcr1images/{name}"), &fs::read(data.join(part).join(file)).unwrap());
            let metadata = json!({
                "boxes": instances.iter().map(|row| scored_box(row)).collect::<Vec<_>>(),
                "segms": instances.iter().map(|row| polygons(row)).collect::<Vec<_>>(),
                "names": objects, "width": image["width"], "height": image["height"],
            });
            fixture.write(&format!("vcr1images/{}", metadata_of(&name)), metadata.to_string().as_bytes());
            lines.push(first_line(lines.len(), &name, &objects));
            if objects.len() > 1 {
                lines.push(second_line(lines.len(), &name, &objects));
            }
        }
    }
    fixture.lines(&lines);
    fixture
}

/// Corners from corner and size, and a score.
fn scored_box(instance: &Value) -> Value {
    let numbers: Vec<f64> =
        instance["bbox"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect();
    json!([numbers[0], numbers[1], numbers[0] + numbers[2], numbers[1] + numbers[3], 0.75])
}

/// Points from flat polygons.
fn polygons(instance: &Value) -> Value {
    let polygons = instance["segmentation"].as_array().unwrap().iter();
    polygons.map(|flat| flat.as_array().unwrap().chunks(2).map(|point| json!(point)).collect::<Vec<_>>()).collect()
}

fn first_line(number: usize, image: &str, objects: &[&str]) -> Value {
    let answers: Vec<Value> = (0..4).map(|i| json!([[i % objects.len()], "is", "here", "."])).collect();
    let group: Vec<usize> = (0..objects.len().min(MOST_MENTIONED)).collect();
    let rationales: Vec<Value> = (0..4).map(|i| json!([group, "'", "s", "place", i.to_string(), "."])).collect();
    json!({
        "objects": objects, "img_fn": image, "metadata_fn": metadata_of(image), "annot_id": format!("val-{number}"),
        "question": ["What", "is", [0], "doing", "?"], "question_orig": "What is 1 doing?",
        "answer_choices": answers, "answer_label": number % 4,
        "rationale_choices": rationales, "rationale_label": (number + 1) % 4,
    })
}

fn second_line(number: usize, image: &str, objects: &[&str]) -> Value {
    let rest =
        [("question", json!(["Why", "are", [0, 1], "here", "?"])), ("question_orig", json!("Why are 1 and 2 here?"))];
    with(first_line(number, image, objects), &rest)
}

/// Hides what the first answer names, as the adversarial rewrites do.
fn masked(line: &Value) -> Value {
    let mut line = line.clone();
    let tags = line["answer_choices"][0][0].as_array().unwrap();
    let tags: Vec<u64> = tags.iter().map(|tag| tag.as_u64().unwrap() + 10_000).collect();
    line["answer_choices"][0][0] = json!(tags);
    line["answer_choices"][1][1] = json!("[MASK]");
    line
}

#[test]
fn photographs_with_their_objects_from_a_folder_and_from_archives() -> Result<()> {
    let Some(data) = testing::shared_data("tiny_coco") else { return Ok(()) };
    let fixture = coco_as_vcr(&data);
    let options = Options { shard_images: 40, ..Options::new("val") };
    let report = fixture.ingest_as(&fixture.files(), &options)?;
    assert_eq!((report.images, report.shards, report.samples, report.rejected()), (97, 3, 372, 0));

    let found: Vec<_> = (0..3).flat_map(|shard| boxes(&fixture.table(shard, regions::NAME))).collect();
    assert_eq!(found.iter().map(Vec::len).sum::<usize>(), 842);
    let of_class = |wanted: &str| found.iter().flatten().filter(|(_, class, _)| class == wanted).count();
    assert_eq!((of_class("person"), of_class("dining table"), of_class("pottedplant")), (219, 10, 0));
    // All objects but the crowds are there, as often as their category number stands in COCO's text.
    let listed = |kind: &str| -> usize {
        let parts = ["train2017", "val2017"].map(|part| format!("annotations/instances_{part}.json"));
        parts.iter().map(|part| fs::read_to_string(data.join(part)).unwrap().matches(kind).count()).sum()
    };
    assert_eq!(listed("\"category_id\":") - listed("\"iscrowd\": 1"), 842);
    // Spans lead to words, and in one sample two persons never have one name while there are names left.
    let samples: Vec<Sample> = (0..3).flat_map(|shard| fixture.samples(shard)).collect();
    let mut references = 0;
    for sample in &samples {
        let mut persons = BTreeMap::new();
        for (name, object) in sample.texts.iter().flat_map(|text| &text.objects) {
            references += 1;
            if name.starts_with(char::is_uppercase) {
                persons.entry(*object).or_insert_with(Vec::new).push(name);
            }
        }
        let names: std::collections::BTreeSet<_> = persons.values().map(|names| names[0]).collect();
        assert!(persons.values().all(|names| names.iter().all(|name| *name == names[0])), "{}", sample.id);
        assert_eq!(names.len(), persons.len().min(14), "{}", sample.id);
    }
    assert_eq!(references, 10_024);

    let expected = files(&fixture.out());
    fixture.zip("vcr1images", "vcr1images.zip", CompressionMethod::DEFLATE);
    fs::remove_dir_all(fixture.path("vcr1images")).unwrap();
    fs::remove_dir_all(fixture.out()).unwrap();
    let files = VcrFiles { images: fixture.path("vcr1images.zip"), ..fixture.files() };
    fixture.ingest_as(&files, &options)?;
    assert!(testing::files(&fixture.out()) == expected);

    let lines = fs::read_to_string(fixture.path("val.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| masked(&serde_json::from_str(line).unwrap())).collect();
    fixture.lines(&lines);
    let selection = Selection { limit: Some(20), ..Selection::default() };
    let report = fixture.ingest_as(&files, &Options { split: "masked".to_owned(), selection, ..options })?;
    assert_eq!((report.images, report.shards, report.rejected()), (20, 1, 0));
    let after = fixture.samples(3);
    for (before, after) in samples.iter().zip(&after).filter(|(before, _)| before.task == "vcr_qa") {
        assert_eq!(after.texts[0].parts, [before.texts[0].parts[0].as_str(), "[MASK] is here."]);
        assert_eq!(after.texts[1].text, before.texts[1].text.replace(" is here.", " [MASK] here."));
        assert_eq!(after.texts[2..], before.texts[2..]);
    }
    Ok(())
}
