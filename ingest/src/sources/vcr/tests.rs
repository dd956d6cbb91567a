//! What an ingest of VCR writes, from files in a temporary folder.

mod input;
mod real;
mod rejects;

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::PathBuf;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, UInt32Type};
use image::RgbImage;
use retort_cache::{Columns, Dataset, Interrupt, Quiet};
use retort_schemas::tables::{images, regions, rejects as reject_table, samples, texts};
use serde_json::{Value, json};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::sources::testing::{files, strings};
use crate::{Error, IngestReport, Options, Result, Selection, Vcr, VcrFiles, VcrTasks, ingest};

/// Path of the image of the small fixture: with the dots and the @ that such paths have.
const IMAGE: &str = "lsmdc_7001_A_FILM/7001_A_FILM_00.01.02.345-00.01.06.789@0.jpg";
/// What is detected in it.
const OBJECTS: [&str; 5] = ["person", "person", "pottedplant", "person", "diningtable"];

/// Files of VCR in a folder, and a data set beside them.
struct Fixture {
    folder: TempDir,
}

impl Fixture {
    /// Two annotations of one image.
    fn small() -> Self {
        let fixture = Self { folder: tempfile::tempdir().unwrap() };
        fixture.image(IMAGE, 1);
        fixture.metadata(IMAGE, &OBJECTS);
        fixture.lines(&[annotation("val-0", IMAGE), annotation("val-1", IMAGE)]);
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// An image in the published folder.
    fn image(&self, name: &str, seed: u8) {
        let image = RgbImage::from_fn(64, 48, |x, y| image::Rgb([seed.wrapping_mul(37), x as u8 * 3, y as u8 * 5]));
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
        self.write(&format!("vcr1images/{name}"), &bytes.into_inner());
    }

    /// The metadata of an image: object i lies i pixels from the left.
    fn metadata(&self, image: &str, objects: &[&str]) {
        let boxes: Vec<Value> =
            (0..objects.len()).map(|i| json!([i, 1.5, i + 20, 30, 0.5 + i as f32 / 100.0])).collect();
        let polygon = json!([[[1, 2], [3, 4], [5, 6]]]);
        let segms = vec![polygon; objects.len()];
        let text = json!({ "boxes": boxes, "segms": segms, "names": objects, "width": 64, "height": 48 });
        self.write(&format!("vcr1images/{}", metadata_of(image)), text.to_string().as_bytes());
    }

    fn lines(&self, lines: &[Value]) {
        let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
        self.write("val.jsonl", lines.join("\n").as_bytes());
    }

    fn files(&self) -> VcrFiles {
        VcrFiles {
            annotations: self.path("val.jsonl"),
            member: None,
            images: self.path("vcr1images"),
            tasks: VcrTasks::Both,
        }
    }

    fn out(&self) -> PathBuf {
        self.path("dataset")
    }

    fn ingest(&self, files: &VcrFiles) -> Result<IngestReport> {
        self.ingest_as(files, &Options::new("val"))
    }

    fn ingest_as(&self, files: &VcrFiles, options: &Options) -> Result<IngestReport> {
        ingest(&Vcr::open(files)?, options, &self.out(), &Quiet, &Interrupt::default())
    }

    /// Reads a table of a shard.
    fn table(&self, shard: usize, table: &str) -> RecordBatch {
        let dataset = Dataset::open(&self.out()).unwrap();
        let shard = &dataset.shards().nth(shard).unwrap().unwrap();
        dataset.read(shard, table, Columns::All).unwrap()
    }

    /// The samples of a shard.
    fn samples(&self, shard: usize) -> Vec<Sample> {
        let (samples, texts) = (self.table(shard, samples::NAME), texts_of(&self.table(shard, texts::NAME)));
        let (ids, tasks) = (strings(&samples, samples::SAMPLE_ID), strings(&samples, samples::TASK));
        let (truths, kinds) = (strings(&samples, samples::LABEL_TEXT), strings(&samples, samples::ANSWER_TYPE));
        let labels: Vec<Option<u32>> =
            samples.column_by_name(samples::LABEL).unwrap().as_primitive::<UInt32Type>().iter().collect();
        let rows = samples.column_by_name(samples::TEXTS).unwrap().as_list::<i32>();
        (0..samples.num_rows())
            .map(|row| Sample {
                id: ids[row].clone(),
                task: tasks[row].clone(),
                texts: numbers(&rows.value(row)).iter().map(|text| texts[*text as usize].clone()).collect(),
                label: labels[row],
                label_text: truths[row].clone(),
                answer_type: kinds[row].clone(),
            })
            .collect()
    }

    /// Source, stage and code of each reject of a shard.
    fn rejected(&self, shard: usize) -> Vec<String> {
        let table = self.table(shard, reject_table::NAME);
        let columns = [reject_table::SOURCE, reject_table::STAGE, reject_table::CODE].map(|name| strings(&table, name));
        (0..table.num_rows()).map(|row| columns.each_ref().map(|column| column[row].clone()).join(" | ")).collect()
    }

    /// Packs a folder as it was published, its own name in front of every member.
    fn zip(&self, folder: &str, archive: &str, method: CompressionMethod) {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(method);
        for (path, bytes) in files(&self.path(folder)) {
            writer.start_file(format!("{folder}/{}", path.display()), options).unwrap();
            writer.write_all(&bytes).unwrap();
        }
        self.write(archive, &writer.finish().unwrap().into_inner());
    }
}

/// A row of samples with its texts.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    id: String,
    task: String,
    texts: Vec<Candidate>,
    label: Option<u32>,
    label_text: String,
    answer_type: String,
}

/// A row of texts.
#[derive(Debug, Clone, PartialEq)]
struct Candidate {
    text: String,
    /// The text taken apart.
    parts: Vec<String>,
    /// The words of each reference, and the index of its object.
    objects: Vec<(String, u32)>,
}

fn texts_of(table: &RecordBatch) -> Vec<Candidate> {
    let parts = table.column_by_name(texts::PARTS).unwrap().as_list::<i32>();
    let objects = table.column_by_name(texts::OBJECTS).unwrap().as_list::<i32>();
    let rows = strings(table, texts::TEXT).into_iter().enumerate().map(|(row, text)| {
        let mut cuts = vec![0];
        cuts.extend(numbers(&parts.value(row)).iter().map(|part| *part as usize));
        cuts.push(text.len());
        let parts = cuts.windows(2).map(|cut| text[cut[0]..cut[1]].trim_end().to_owned()).collect();
        let references = objects.value(row);
        let [starts, ends, indices] = [0, 1, 2].map(|field| numbers(references.as_struct().column(field)));
        let words = starts.iter().zip(&ends).map(|(start, end)| text[*start as usize..*end as usize].to_owned());
        let objects = words.zip(indices).collect();
        Candidate { text, parts, objects }
    });
    rows.collect()
}

/// The metadata file of an image.
fn metadata_of(image: &str) -> String {
    image.replace(".jpg", ".json")
}

/// A line with all the fields that the published files have.
fn annotation(annot_id: &str, image: &str) -> Value {
    json!({
        "movie": "7001_A_FILM",
        "objects": OBJECTS,
        "interesting_scores": [0, -1],
        "answer_likelihood": "likely",
        "img_fn": image,
        "metadata_fn": metadata_of(image),
        "answer_orig": "1 wants 2 to water 3.",
        "question_orig": "Why is 1 pointing at 3?",
        "rationale_orig": "1 and 2 don't look at the table.",
        "question": ["Why", "is", [0], "pointing", "at", [2], "?"],
        "answer_match_iter": [3, 0, 2, 1],
        "answer_sources": [3287, 0, 10184, 2260],
        "answer_choices": [
            [[1], "'", "s", "hat", "is", "on", "it", "."],
            [[0], "wants", [1], "to", "water", [2], "."],
            ["He", "is", "bored", "."],
            [[0, 1, 3], "are", "hungry", "."],
        ],
        "answer_label": 1,
        "rationale_choices": [
            ["It", "is", "dry", "."],
            [[0, 1], "don", "'", "t", "look", "at", [4], "."],
            [[3], "is", "away", "."],
            ["They", "wait", "."],
        ],
        "rationale_sources": [1921, 0, 9750, 25743],
        "rationale_match_iter": [3, 0, 2, 1],
        "rationale_label": 2,
        "img_id": "val-0",
        "question_number": 0,
        "annot_id": annot_id,
        "match_fold": "val-0",
        "match_index": 0,
    })
}

/// The line with some fields replaced; null takes a field away.
fn with(mut line: Value, fields: &[(&str, Value)]) -> Value {
    for (name, value) in fields {
        let object = line.as_object_mut().unwrap();
        if value.is_null() {
            object.remove(*name)
        } else {
            object.insert((*name).to_owned(), value.clone())
        };
    }
    line
}

fn numbers(array: &dyn Array) -> Vec<u32> {
    array.as_primitive::<UInt32Type>().values().to_vec()
}

/// The boxes of each image of a shard: corners, class and score.
fn boxes(table: &RecordBatch) -> Vec<Vec<([f32; 4], String, f32)>> {
    let lists = table.column_by_name(regions::BOXES).unwrap().as_list::<i32>();
    let rows = lists.iter().flatten().map(|list| {
        let list = list.as_struct();
        let floats = |field: usize| list.column(field).as_primitive::<Float32Type>().values().to_vec();
        let [left, top, right, bottom, score] = [0, 1, 2, 3, 5].map(floats);
        let classes = list.column(4).as_string::<i32>();
        let row = |i: usize| ([left[i], top[i], right[i], bottom[i]], classes.value(i).to_owned(), score[i]);
        (0..list.len()).map(row).collect()
    });
    rows.collect()
}

#[test]
fn a_line_is_a_sample_of_each_task() -> Result<()> {
    let fixture = Fixture::small();
    let report = fixture.ingest(&fixture.files())?;
    let expected = IngestReport { samples: 4, images: 1, texts: 16, shards: 1, ..IngestReport::default() };
    assert_eq!(report, expected);

    let samples = fixture.samples(0);
    let ids: Vec<&str> = samples.iter().map(|sample| sample.id.as_str()).collect();
    assert_eq!(ids, ["val-0:qa", "val-0:qar", "val-1:qa", "val-1:qar"]);
    let [qa, qar] = &samples[..2] else { panic!("{samples:?}") };
    assert_eq!((qa.task.as_str(), qa.label, qa.answer_type.as_str()), ("vcr_qa", Some(1), "likely"));
    assert_eq!((qar.task.as_str(), qar.label), ("vcr_qar", Some(2)));

    // Casey, Riley and Jackie are what the rule calls persons 0, 1 and 3 of val-0.
    let question = "Why is Casey pointing at potted plant?";
    let answers = [
        "Riley's hat is on it.",
        "Casey wants Riley to water potted plant.",
        "He is bored.",
        "Casey, Riley and Jackie are hungry.",
    ];
    let rationales = ["It is dry.", "Casey and Riley don't look at dining table.", "Jackie is away.", "They wait."];
    for (text, answer) in qa.texts.iter().zip(answers) {
        assert_eq!(text.text, format!("{question} {answer}"));
        assert_eq!(text.parts, [question, answer]);
    }
    for (text, rationale) in qar.texts.iter().zip(rationales) {
        assert_eq!(text.text, format!("{question} {} {rationale}", answers[1]));
        assert_eq!(text.parts, [question, answers[1], rationale]);
    }
    assert_eq!(qa.label_text, answers[1]);
    assert_eq!(qar.label_text, rationales[2]);
    let named = |text: &Candidate| text.objects.clone();
    let reference = |words: &str, object: u32| (words.to_owned(), object);
    let in_question = [reference("Casey", 0), reference("potted plant", 2)];
    let expected = [in_question.to_vec(), vec![reference("Casey", 0), reference("Riley", 1), reference("Jackie", 3)]];
    assert_eq!(named(&qa.texts[3]), expected.concat());
    let in_answer = [reference("Casey", 0), reference("Riley", 1), reference("potted plant", 2)];
    let in_rationale = [reference("Casey", 0), reference("Riley", 1), reference("dining table", 4)];
    assert_eq!(named(&qar.texts[1]), [&in_question[..], &in_answer, &in_rationale].concat());
    // Another annotation of the same image has other names.
    assert!(samples[2].texts[0].text.starts_with("Why is Kerry pointing"), "{}", samples[2].texts[0].text);
    Ok(())
}

#[test]
fn boxes_of_the_metadata_are_the_regions_of_the_image() -> Result<()> {
    let fixture = Fixture::small();
    fixture.ingest(&fixture.files())?;
    let images = fixture.table(0, images::NAME);
    assert_eq!(strings(&images, images::SOURCE), [IMAGE]);
    let [boxes] = &boxes(&fixture.table(0, regions::NAME))[..] else { panic!() };
    let classes: Vec<&str> = boxes.iter().map(|(_, class, _)| class.as_str()).collect();
    assert_eq!(classes, ["person", "person", "potted plant", "person", "dining table"]);
    assert_eq!(boxes[3].0, [3.0, 1.5, 23.0, 30.0]);
    assert_eq!(boxes[3].2, 0.53);
    Ok(())
}

#[test]
fn lines_are_put_together_by_image_in_order_of_first_appearance() -> Result<()> {
    let fixture = Fixture::small();
    for (name, seed) in [("b/2.jpg", 2), ("c/3.jpg", 3)] {
        fixture.image(name, seed);
        fixture.metadata(name, &OBJECTS);
    }
    // More images than are read at a time, and lines of the first two scattered among them.
    let mut lines = vec![annotation("val-0", "b/2.jpg"), annotation("val-1", IMAGE), annotation("val-2", "b/2.jpg")];
    for number in 3..203 {
        let image = format!("more/{number}@0.jpg");
        fixture.image(&image, number as u8);
        fixture.metadata(&image, &OBJECTS);
        lines.push(annotation(&format!("val-{number}"), &image));
    }
    lines.push(annotation("val-203", IMAGE));
    fixture.lines(&lines);
    let report = fixture.ingest_as(&fixture.files(), &Options { shard_images: 101, ..Options::new("val") })?;
    assert_eq!((report.shards, report.images, report.samples, report.rejected()), (2, 202, 408, 0));
    let numbers: Vec<u32> = (0..2)
        .flat_map(|shard| fixture.samples(shard))
        .filter_map(|sample| sample.id.strip_suffix(":qa")?.strip_prefix("val-")?.parse().ok())
        .collect();
    let expected: Vec<u32> = [0, 2, 1, 203].into_iter().chain(3..203).collect();
    assert_eq!(numbers, expected);
    assert_eq!(fixture.samples(1)[0].id, "val-102:qa");
    Ok(())
}

#[test]
fn without_the_right_answer_there_is_a_sample_of_rationales_for_each() -> Result<()> {
    let fixture = Fixture::small();
    let labels = ["answer_label", "rationale_label", "answer_likelihood", "answer_orig"];
    let unlabelled = labels.map(|name| (name, Value::Null));
    fixture.lines(&[with(annotation("test-0", IMAGE), &unlabelled), annotation("test-1", IMAGE)]);
    let report = fixture.ingest(&fixture.files())?;
    assert_eq!((report.samples, report.rejected()), (7, 0));
    let samples = fixture.samples(0);
    let ids: Vec<&str> = samples.iter().map(|sample| sample.id.as_str()).collect();
    let conditioned = ["test-0:qar:a0", "test-0:qar:a1", "test-0:qar:a2", "test-0:qar:a3"];
    assert_eq!(ids, [&["test-0:qa"], &conditioned[..], &["test-1:qa", "test-1:qar"]].concat());
    for sample in &samples[..5] {
        let unknown = (sample.label, sample.label_text.as_str(), sample.answer_type.as_str());
        assert_eq!(unknown, (None, "null", "null"));
    }
    let answers: Vec<&String> = samples[0].texts.iter().map(|text| &text.parts[1]).collect();
    for (place, sample) in samples[1..5].iter().enumerate() {
        assert_eq!(sample.task, "vcr_qar");
        assert!(sample.texts.iter().all(|text| text.parts[1] == *answers[place]), "{sample:?}");
        let rationales = sample.texts.iter().map(|text| &text.parts[2]);
        assert!(rationales.eq(samples[1].texts.iter().map(|text| &text.parts[2])));
    }

    // A label of null is none, either, and a right rationale says nothing beside a wrong answer.
    let mut line = annotation("test-0", IMAGE);
    line["answer_label"] = Value::Null;
    fixture.lines(&[line, with(annotation("test-1", IMAGE), &[("rationale_label", Value::Null)])]);
    fixture.ingest_as(&fixture.files(), &Options { force: true, ..Options::new("val") })?;
    let labels: Vec<Option<u32>> = fixture.samples(0).iter().map(|sample| sample.label).collect();
    assert_eq!(labels, [None, None, None, None, None, Some(1), None]);
    Ok(())
}

#[test]
fn one_task_alone_needs_only_its_own_fields() -> Result<()> {
    let fixture = Fixture::small();
    let both = {
        fixture.ingest(&fixture.files())?;
        fixture.samples(0)
    };
    for (tasks, task) in [(VcrTasks::Qa, "vcr_qa"), (VcrTasks::Qar, "vcr_qar")] {
        let files = VcrFiles { tasks, ..fixture.files() };
        let report = fixture.ingest_as(&files, &Options { force: true, ..Options::new("val") })?;
        assert_eq!((report.samples, report.rejected()), (2, 0));
        let expected: Vec<Sample> = both.iter().filter(|sample| sample.task == task).cloned().collect();
        assert_eq!(fixture.samples(0), expected);
    }
    let fields = [("rationale_choices", Value::Null), ("rationale_label", Value::Null)];
    fixture.lines(&[with(annotation("val-0", IMAGE), &fields)]);
    let files = VcrFiles { tasks: VcrTasks::Qa, ..fixture.files() };
    let report = fixture.ingest_as(&files, &Options { force: true, ..Options::new("val") })?;
    assert_eq!((report.samples, report.rejected()), (1, 0));
    Ok(())
}

#[test]
fn masked_words_and_tags_are_kept_and_names_stay_what_they_were() -> Result<()> {
    let fixture = Fixture::small();
    let masked = json!([
        [[10001], "'", "[MASK]", "hat", "is", "[MASK]", "it", "."],
        ["[MASK]", "[MASK]", [1], "to", "water", [10002], "."],
        ["[MASK]", "[MASK]", "[MASK]", "[MASK]"],
        [[10000, 1, 10003], "are", "hungry", "."],
    ]);
    fixture.lines(&[with(annotation("val-0", IMAGE), &[("answer_choices", masked)])]);
    let report = fixture.ingest(&fixture.files())?;
    assert_eq!((report.samples, report.rejected()), (2, 0));
    let samples = fixture.samples(0);
    let answers: Vec<&str> = samples[0].texts.iter().map(|text| text.parts[1].as_str()).collect();
    let expected = [
        "[MASK]' [MASK] hat is [MASK] it.",
        "[MASK] [MASK] Riley to water [MASK].",
        "[MASK] [MASK] [MASK] [MASK]",
        "[MASK], Riley and [MASK] are hungry.",
    ];
    assert_eq!(answers, expected);
    // The question names two objects; of the answers, only what is not masked is named.
    let counts: Vec<usize> = samples[0].texts.iter().map(|text| text.objects.len()).collect();
    assert_eq!(counts, [2, 3, 2, 3]);
    assert_eq!(samples[0].texts[3].objects[2], ("Riley".to_owned(), 1));
    assert_eq!(samples[1].texts[1].parts[2], "Casey and Riley don't look at dining table.");
    Ok(())
}

#[test]
fn texts_do_not_depend_on_the_order_of_lines() -> Result<()> {
    let fixture = Fixture::small();
    let by_id = |fixture: &Fixture| {
        let samples = fixture.samples(0).into_iter().map(|sample| (sample.id.clone(), sample));
        samples.collect::<BTreeMap<String, Sample>>()
    };
    let mut lines: Vec<Value> = (0..20).map(|number| annotation(&format!("val-{number}"), IMAGE)).collect();
    fixture.lines(&lines);
    fixture.ingest(&fixture.files())?;
    let forwards = by_id(&fixture);
    lines.reverse();
    fixture.lines(&lines);
    fixture.ingest_as(&fixture.files(), &Options { force: true, ..Options::new("val") })?;
    assert_eq!(by_id(&fixture), forwards);
    Ok(())
}
