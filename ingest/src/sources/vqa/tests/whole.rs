//! Whole real sets, of which everything is counted a second time by other means than the source's own: without them
//! these tests say so and pass.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::Read;

use flate2::read::GzDecoder;

use super::*;
use crate::ImageOptions;
use crate::sources::testing::shared_data;

/// The parts of the sixty thousand questions, and how many each has.
const PARTS: [(&str, usize); 3] = [("train", 48_061), ("valid", 8_977), ("test", 2_962)];

/// Where their images would be: the files do not say their subtype.
const PHOTOS: &str = "train2014/COCO_train2014_{id:012}.jpg";

/// What the questions file of a part says, told by its text alone.
struct Counted {
    /// Question ids.
    questions: BTreeSet<String>,
    /// Those of questions whose photograph is there.
    usable: BTreeSet<String>,
    /// Names of the photographs that are asked about, and of those of them that are there.
    photos: HashSet<String>,
    found: HashSet<String>,
}

impl Counted {
    fn of(data: &Path, part: &str) -> Self {
        let packed = fs::File::open(data.join(format!("vqa_v2_60k/vqa_questions_{part}.gzip"))).unwrap();
        let mut text = String::new();
        GzDecoder::new(packed).read_to_string(&mut text).unwrap();
        let number = |record: &str, key: &str| {
            let rest = record.split_once(&format!("\"{key}\": ")).unwrap().1;
            rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().to_owned()
        };
        let mut counted =
            Self { questions: BTreeSet::new(), usable: BTreeSet::new(), photos: HashSet::new(), found: HashSet::new() };
        for record in text.split("\"image_id\"").skip(1) {
            let image = record.trim_start_matches([':', ' ']).split(',').next().unwrap();
            let (id, photo) = (number(record, "question_id"), format!("COCO_train2014_{image:0>12}.jpg"));
            if data.join("train2014").join(&photo).exists() {
                counted.usable.insert(id.clone());
                counted.found.insert(photo.clone());
            }
            counted.questions.insert(id);
            counted.photos.insert(photo);
        }
        counted
    }
}

fn ingest_part(data: &Path, part: &str, out: &Path, images: ImageOptions) -> Result<IngestReport> {
    let vqa = Vqa::open(&VqaFiles {
        questions: data.join(format!("vqa_v2_60k/vqa_questions_{part}.gzip")),
        annotations: Some(data.join(format!("vqa_v2_60k/vqa_annotatons_{part}.gzip"))),
        images: data.to_owned(),
        image_pattern: PHOTOS.to_owned(),
        answers: AnswerPlan::Build { min_count: 9 },
    })?;
    ingest(&vqa, &Options { images, shard_images: 8_192, ..Options::new(part) }, out, &Quiet, &Interrupt::default())
}

/// A table of all shards of a split.
fn tables(out: &Path, split: &str, table: &str) -> Vec<RecordBatch> {
    let dataset = Dataset::open(out).unwrap();
    let shards = dataset.split_shards(split).unwrap();
    shards.map(|shard| dataset.read(&shard.unwrap(), table, Columns::All).unwrap()).collect()
}

fn column(tables: &[RecordBatch], name: &str) -> Vec<String> {
    tables.iter().flat_map(|table| strings(table, name)).collect()
}

#[test]
fn of_sixty_thousand_questions_those_with_a_photo_stay() -> Result<()> {
    let Some(data) = shared_data("coco_vqa") else { return Ok(()) };
    let folder = tempfile::tempdir().unwrap();
    let mut usable = BTreeSet::new();
    for (part, listed) in PARTS {
        let counted = Counted::of(&data, part);
        assert_eq!(counted.questions.len(), listed);
        let report = ingest_part(&data, part, folder.path(), ImageOptions::default())?;
        let lost_photos = counted.photos.len() - counted.found.len();
        let lost = [("image_missing", lost_photos), ("image_rejected", listed - counted.usable.len())];
        assert_eq!(report.rejects, lost.map(|(code, rows)| (code.to_owned(), rows as u64)).into(), "{part}");
        assert_eq!((report.samples, report.images), (counted.usable.len() as u64, counted.found.len() as u64));

        let stayed = column(&tables(folder.path(), part, samples::NAME), samples::SAMPLE_ID);
        assert_eq!(BTreeSet::from_iter(stayed), counted.usable);
        // Each reject says which: a photograph by its path, a question by its id.
        let rejects = tables(folder.path(), part, reject_table::NAME);
        let messages = column(&rejects, reject_table::MESSAGE);
        for (source, message) in column(&rejects, reject_table::SOURCE).iter().zip(&messages) {
            match source.strip_prefix("sample ") {
                Some(id) => assert!(counted.questions.contains(id) && !counted.usable.contains(id), "{source}"),
                None => assert!(counted.photos.contains(source.strip_prefix("train2014/").unwrap()), "{source}"),
            }
            assert!(message.contains("the image folder has no train2014/COCO_train2014_"), "{message}");
        }
        usable.extend(counted.usable);
    }
    // Those that the data set has in official files, too.
    let official = fs::read(data.join("v2_OpenEnded_mscoco_train2014_questions.json")).unwrap();
    let official: Value = serde_json::from_slice(&official).unwrap();
    let official = official["questions"].as_array().unwrap().iter().map(|question| question["question_id"].to_string());
    assert_eq!(usable, official.collect());
    assert_eq!(usable.len(), 73);
    Ok(())
}

#[test]
fn all_sixty_thousand_questions_stay_where_photos_may_be_missing() -> Result<()> {
    let Some(data) = shared_data("coco_vqa") else { return Ok(()) };
    let folder = tempfile::tempdir().unwrap();
    let images_options = ImageOptions { allow_missing: true, ..ImageOptions::default() };
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let (mut photos, mut found) = (HashSet::new(), HashSet::new());
    for (part, listed) in PARTS {
        let counted = Counted::of(&data, part);
        let report = ingest_part(&data, part, folder.path(), images_options)?;
        assert_eq!((report.samples, report.images), (listed as u64, counted.photos.len() as u64), "{part}");
        assert_eq!(report.rejected(), 0);

        let rows = tables(folder.path(), part, samples::NAME);
        assert_eq!(BTreeSet::from_iter(column(&rows, samples::SAMPLE_ID)), counted.questions);
        for kind in column(&rows, samples::ANSWER_TYPE) {
            *kinds.entry(kind).or_default() += 1;
        }
        let rows = tables(folder.path(), part, images::NAME);
        let formats = column(&rows, images::FORMAT);
        assert_eq!(formats.iter().filter(|format| *format == "jpeg").count(), counted.found.len());
        assert_eq!(formats.iter().filter(|format| *format == images::MISSING).count(), {
            counted.photos.len() - counted.found.len()
        });
        photos.extend(counted.photos);
        found.extend(counted.found);
    }
    assert_eq!(kinds, ["number", "other", "yes/no"].map(|kind| (kind.to_owned(), 20_000)).into());
    assert_eq!((photos.len(), found.len()), (39_423, 48));
    assert_eq!(Dataset::open(folder.path())?.answers()?.answers.len(), 353);
    Ok(())
}

/// Easy-VQA's list of questions, answers and images as the two files of VQA.
fn easy_vqa_files(records: &[Value], split: &str) -> (Value, Value) {
    let (mut questions, mut annotations) = (Vec::new(), Vec::new());
    for (id, record) in records.iter().enumerate() {
        let answers: Vec<Value> = (1..=10).map(|at| json!({ "answer": record[1], "answer_id": at })).collect();
        questions.push(json!({ "question_id": id, "image_id": record[2], "question": record[0] }));
        annotations.push(json!({ "question_id": id, "multiple_choice_answer": record[1], "answers": answers }));
    }
    (json!({ "data_subtype": split, "questions": questions }), json!({ "annotations": annotations }))
}

#[test]
fn all_of_easy_vqa() -> Result<()> {
    let Some(data) = shared_data("easy_vqa") else { return Ok(()) };
    let answers = fs::read_to_string(data.join("answers.txt")).unwrap();
    let answers: BTreeSet<String> = answers.lines().map(|line| line.trim().to_owned()).collect();
    assert_eq!(answers.len(), 13);
    let fixture = Fixture::empty();
    for (split, listed, drawn) in [("train", 38_575, 4_000), ("test", 9_673, 1_000)] {
        let records = fs::read(data.join(split).join("questions.json")).unwrap();
        let records: Vec<Value> = serde_json::from_slice(&records).unwrap();
        let (questions, annotations) = easy_vqa_files(&records, split);
        fixture.write("q.json", questions.to_string().as_bytes());
        fixture.write("a.json", annotations.to_string().as_bytes());
        let source = VqaSource {
            images: data.join(split).join("images"),
            image_pattern: "{id}.png".to_owned(),
            split: split.to_owned(),
            shard_images: drawn,
            ..fixture.source()
        };
        let report = fixture.ingest(&source)?;
        assert_eq!((report.samples, report.shards, report.rejected()), (listed, 1, 0), "{split}");
        assert_eq!(report.unanswerable, 0);
        // Images of the same bytes are one, and so are questions of the same words.
        let drawings = files(&data.join(split).join("images"));
        assert_eq!(drawings.len(), drawn);
        assert_eq!(report.images, drawings.values().collect::<HashSet<_>>().len() as u64);
        let worded: HashSet<&str> = records.iter().map(|record| record[0].as_str().unwrap()).collect();
        assert_eq!(report.texts, worded.len() as u64);

        // Every question with its answer, images one after another.
        let rows = tables(&fixture.out(), split, samples::NAME);
        let known = column(&tables(&fixture.out(), split, texts::NAME), texts::TEXT);
        let lists = rows[0].column_by_name(samples::TEXTS).unwrap().as_list::<i32>();
        let asked = lists.iter().flatten().map(|list| list.as_primitive::<UInt32Type>().value(0) as usize);
        let asked: Vec<_> =
            column(&rows, samples::SAMPLE_ID).into_iter().zip(asked).zip(column(&rows, samples::LABEL_TEXT)).collect();
        for ((id, text), answer) in asked {
            let record = &records[id.parse::<usize>().unwrap()];
            assert_eq!((&record[0], &record[1]), (&json!(known[text]), &json!(answer)), "{split} {id}");
        }
    }
    let classes = Dataset::open(&fixture.out())?.answers()?.answers.clone();
    assert_eq!(BTreeSet::from_iter(classes), answers);
    Ok(())
}
