//! What an ingest writes, from files in a temporary folder.

mod choices;
mod input;
mod real;
mod rejects;
mod resume;
mod whole;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, UInt32Type};
use flate2::Compression;
use flate2::write::GzEncoder;
use retort_cache::{Columns, Dataset, Interrupt, Progress, Quiet};
use retort_schemas::tables::{images, rejects as reject_table, samples, texts};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::sources::testing::{files, jpeg, strings};
use crate::{AnswerPlan, COCO_PATTERN, Error, IngestReport, Options, RejectLimit, Result, Vqa, VqaFiles, ingest};

/// A split and how it is ingested, in one.
#[derive(Debug, Clone)]
struct VqaSource {
    questions: PathBuf,
    annotations: Option<PathBuf>,
    images: PathBuf,
    image_pattern: String,
    split: String,
    answers: AnswerPlan,
    shard_images: usize,
    max_rejects: RejectLimit,
}

fn ingest_vqa(source: &VqaSource, out: &Path, progress: &dyn Progress, interrupt: &Interrupt) -> Result<IngestReport> {
    let VqaSource { questions, annotations, images, image_pattern, answers, .. } = source.clone();
    let vqa = Vqa::open(&VqaFiles { questions, annotations, images, image_pattern, answers })?;
    let VqaSource { split, shard_images, max_rejects, .. } = source.clone();
    let options = Options { shard_images, max_rejects, ..Options::new(split) };
    ingest(&vqa, &options, out, progress, interrupt)
}

/// A folder with the files of a source, and a data set beside them.
struct Fixture {
    folder: TempDir,
}

impl Fixture {
    /// Questions 10 to 12 about image 1 and question 20 about image 2, all annotated.
    fn small() -> Self {
        let fixture = Self::empty();
        fixture.photo("train2014/COCO_train2014_000000000001.jpg", 1);
        fixture.photo("train2014/COCO_train2014_000000000002.jpg", 2);
        fixture.questions(json!([
            question(10, 1, "Is it red?"),
            question(20, 2, "Is it red?"),
            question(11, 1, "How many?"),
            question(12, 1, "Who?"),
        ]));
        fixture.annotations(json!([
            annotation(12, "nobody", &["nobody"; 10]),
            annotation(10, "yes", &["yes", "yes", "yes", "yes", "no", "no", "no", "maybe", "maybe", "Yes"]),
            annotation(20, "no", &["no"; 10]),
            annotation(11, "Two", &["2", "two", "2", "2", "two", "two", "two", "two", "two", "no"]),
        ]));
        fixture
    }

    /// Questions 0 to `images` - 1, each about an image of its own.
    fn wide(images: u64) -> Self {
        let fixture = Self::empty();
        for id in 0..images {
            fixture.photo(&format!("train2014/COCO_train2014_{id:012}.jpg"), id as u8);
        }
        fixture.questions((0..images).map(|id| question(id, id, &format!("Question {}?", id % 3))).collect());
        fixture.annotations((0..images).map(|id| annotation(id, "yes", &["yes"; 10])).collect());
        fixture
    }

    fn empty() -> Self {
        let fixture = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(fixture.path("images")).unwrap();
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

    fn questions(&self, rows: Value) {
        self.write("q.json", json!({ "data_subtype": "train2014", "questions": rows }).to_string().as_bytes());
    }

    fn annotations(&self, rows: Value) {
        self.write("a.json", json!({ "annotations": rows }).to_string().as_bytes());
    }

    fn photo(&self, path: &str, seed: u8) {
        self.write(&format!("images/{path}"), &jpeg(seed));
    }

    fn source(&self) -> VqaSource {
        VqaSource {
            questions: self.path("q.json"),
            annotations: Some(self.path("a.json")),
            images: self.path("images"),
            image_pattern: COCO_PATTERN.to_owned(),
            split: "train".to_owned(),
            answers: AnswerPlan::Build { min_count: 1 },
            shard_images: 1024,
            max_rejects: RejectLimit::None,
        }
    }

    fn out(&self) -> PathBuf {
        self.path("dataset")
    }

    fn ingest(&self, source: &VqaSource) -> Result<IngestReport> {
        ingest_vqa(source, &self.out(), &Quiet, &Interrupt::default())
    }

    /// Reads a table of a shard.
    fn table(&self, shard: usize, table: &str) -> RecordBatch {
        let dataset = Dataset::open(&self.out()).unwrap();
        let shard = &dataset.shards().nth(shard).unwrap().unwrap();
        dataset.read(shard, table, Columns::All).unwrap()
    }

    /// Source, stage and code of each reject of a shard.
    fn rejected(&self, shard: usize) -> Vec<String> {
        let table = self.table(shard, reject_table::NAME);
        let columns = [reject_table::SOURCE, reject_table::STAGE, reject_table::CODE].map(|name| strings(&table, name));
        (0..table.num_rows()).map(|row| columns.each_ref().map(|column| column[row].clone()).join(" | ")).collect()
    }
}

fn question(id: u64, image: u64, text: &str) -> Value {
    json!({ "question_id": id, "image_id": image, "question": text })
}

fn annotation(id: u64, truth: &str, answers: &[&str]) -> Value {
    let answers: Vec<Value> = answers.iter().map(|answer| json!({ "answer": answer, "answer_id": 1 })).collect();
    json!({
        "question_id": id, "image_id": 1, "multiple_choice_answer": truth, "answers": answers,
        "question_type": "is it", "answer_type": "other",
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn numbers(batch: &RecordBatch, name: &str) -> Vec<Option<u32>> {
    batch.column_by_name(name).unwrap().as_primitive::<UInt32Type>().iter().collect()
}

fn targets(batch: &RecordBatch) -> Vec<Vec<(u32, f32)>> {
    let lists = batch.column_by_name(samples::TARGETS).unwrap().as_list::<i32>();
    let pairs = lists.iter().flatten().map(|list| {
        let list = list.as_struct();
        let (classes, scores) = (list.column(0).as_primitive::<UInt32Type>(), list.column(1));
        let scores = scores.as_primitive::<Float32Type>().values().to_vec();
        classes.values().iter().copied().zip(scores).collect()
    });
    pairs.collect()
}

#[test]
fn samples_point_at_images_and_texts_with_labels_and_soft_targets() -> Result<()> {
    let fixture = Fixture::small();
    let report = fixture.ingest(&fixture.source())?;
    let expected = IngestReport { samples: 4, images: 2, texts: 3, shards: 1, ..IngestReport::default() };
    assert_eq!(report, expected);

    // Each truth occurs once: the order of the characters decides.
    let dataset = Dataset::open(&fixture.out())?;
    assert_eq!(dataset.answers()?.answers, ["2", "no", "nobody", "yes"]);

    let table = fixture.table(0, samples::NAME);
    assert_eq!(strings(&table, samples::SAMPLE_ID), ["10", "11", "12", "20"]);
    assert_eq!(strings(&table, samples::TASK), ["vqa"; 4]);
    assert_eq!(strings(&table, samples::SPLIT), ["train"; 4]);
    assert_eq!(numbers(&table, samples::IMAGE), [0, 0, 0, 1].map(Some));
    assert_eq!(strings(&table, samples::LABEL_TEXT), ["yes", "Two", "nobody", "no"]);
    assert_eq!(numbers(&table, samples::LABEL), [3, 0, 2, 1].map(Some));
    assert_eq!(strings(&table, samples::QUESTION_TYPE), ["is it"; 4]);
    assert_eq!(strings(&table, samples::ANSWER_TYPE), ["other"; 4]);
    // Raw answers are counted: `Yes` and `two` are in no class.
    let expected = [vec![(1, 0.9), (3, 1.0)], vec![(0, 0.9), (1, 0.3)], vec![(2, 1.0)], vec![(1, 1.0)]];
    assert_eq!(targets(&table), expected);
    let rows = |name: &str| table.column_by_name(name).unwrap().as_list::<i32>().clone();
    let texts_of: Vec<Vec<u32>> =
        rows(samples::TEXTS).iter().flatten().map(|list| list.as_primitive::<UInt32Type>().values().to_vec()).collect();
    assert_eq!(texts_of, [[0], [1], [2], [0]]);
    let answers = rows(samples::ANSWERS).value(1);
    let answers: Vec<_> = answers.as_string::<i32>().iter().flatten().collect();
    assert_eq!(answers, ["2", "two", "2", "2", "two", "two", "two", "two", "two", "no"]);

    let table_of_texts = fixture.table(0, texts::NAME);
    assert_eq!(strings(&table_of_texts, texts::TEXT), ["Is it red?", "How many?", "Who?"]);
    let id = |bytes: &[u8]| blake3::hash(bytes).as_bytes()[..16].to_vec();
    assert_eq!(table_of_texts.column(0).as_fixed_size_binary().value(1), id(b"How many?"));

    let photo = std::fs::read(fixture.path("images/train2014/COCO_train2014_000000000002.jpg")).unwrap();
    let group = table.column_by_name(samples::GROUP).unwrap().as_fixed_size_binary();
    assert_eq!(group.value(3), id(&photo));
    let table = fixture.table(0, images::NAME);
    assert_eq!(table.column(0).as_fixed_size_binary().value(1), id(&photo));
    assert_eq!(table.column_by_name(images::BYTES).unwrap().as_binary::<i32>().value(1), photo);
    assert_eq!(strings(&table, images::SOURCE)[1], "train2014/COCO_train2014_000000000002.jpg");
    assert_eq!(strings(&table, images::FORMAT), ["jpeg"; 2]);
    for (name, size) in
        [(images::WIDTH, 16), (images::HEIGHT, 12), (images::SOURCE_WIDTH, 16), (images::SOURCE_HEIGHT, 12)]
    {
        assert_eq!(numbers(&table, name), [Some(size); 2]);
    }
    Ok(())
}

#[test]
fn a_shard_is_a_run_of_source_images_with_all_their_questions() -> Result<()> {
    let fixture = Fixture::small();
    let report = fixture.ingest(&VqaSource { shard_images: 1, ..fixture.source() })?;
    assert_eq!((report.shards, report.images, report.samples, report.texts), (2, 2, 4, 4));
    assert_eq!(strings(&fixture.table(0, samples::NAME), samples::SAMPLE_ID), ["10", "11", "12"]);
    assert_eq!(strings(&fixture.table(1, samples::NAME), samples::SAMPLE_ID), ["20"]);
    assert_eq!(numbers(&fixture.table(1, samples::NAME), samples::IMAGE), [Some(0)]);
    Ok(())
}

#[test]
fn images_of_equal_bytes_are_one_row() -> Result<()> {
    let fixture = Fixture::small();
    fixture.photo("train2014/COCO_train2014_000000000002.jpg", 1);
    let report = fixture.ingest(&fixture.source())?;
    assert_eq!((report.images, report.samples), (1, 4));
    assert_eq!(numbers(&fixture.table(0, samples::NAME), samples::IMAGE), [Some(0); 4]);
    assert_eq!(strings(&fixture.table(0, images::NAME), images::SOURCE), ["train2014/COCO_train2014_000000000001.jpg"]);
    Ok(())
}

#[test]
fn questions_without_a_known_answer_are_kept_and_counted() -> Result<()> {
    let fixture = Fixture::small();
    let report = fixture.ingest(&VqaSource { answers: AnswerPlan::Build { min_count: 2 }, ..fixture.source() });
    let error = report.unwrap_err();
    assert!(matches!(error, Error::EmptyVocabulary { .. }), "{error}");

    fixture.write("answers.json", br#"["no", "maybe"]"#);
    let source = VqaSource { answers: AnswerPlan::File(fixture.path("answers.json")), ..fixture.source() };
    let report = fixture.ingest(&source)?;
    assert_eq!((report.samples, report.unanswerable), (4, 1));
    let table = fixture.table(0, samples::NAME);
    assert_eq!(numbers(&table, samples::LABEL), [None, None, None, Some(0)]);
    assert_eq!(targets(&table), [vec![(0, 0.9), (1, 0.6)], vec![(0, 0.3)], vec![], vec![(0, 1.0)]]);
    Ok(())
}

#[test]
fn splits_share_the_vocabulary_that_came_first() -> Result<()> {
    let fixture = Fixture::small();
    let existing = VqaSource { answers: AnswerPlan::Existing, ..fixture.source() };
    let error = fixture.ingest(&existing).unwrap_err();
    assert!(matches!(error, Error::NoVocabulary) && error.hint().is_some(), "{error}");
    fixture.ingest(&fixture.source())?;

    fixture.annotations(json!([annotation(10, "blue", &["blue"; 10]), annotation(20, "no", &["no"; 10])]));
    fixture.questions(json!([question(10, 1, "?"), question(20, 2, "?")]));
    fixture.write("answers.json", br#"{"2": 0, "no": 1, "nobody": 2, "yes": 3}"#);
    let plans = [AnswerPlan::Existing, AnswerPlan::default(), AnswerPlan::File(fixture.path("answers.json"))];
    for (shard, answers) in (1..).zip(plans) {
        let split = format!("val{shard}");
        let report = fixture.ingest(&VqaSource { answers, split, ..fixture.source() })?;
        assert_eq!((report.samples, report.unanswerable), (2, 1));
        assert_eq!(numbers(&fixture.table(shard, samples::NAME), samples::LABEL), [None, Some(1)]);
    }
    let dataset = Dataset::open(&fixture.out())?;
    assert_eq!(dataset.answers()?.origin, "built from train, at least 1 questions");

    // The same answers in another order are other classes.
    fixture.write("answers.json", br#"["yes", "no", "nobody", "2"]"#);
    let other = AnswerPlan::File(fixture.path("answers.json"));
    let error =
        fixture.ingest(&VqaSource { answers: other, split: "test".to_owned(), ..fixture.source() }).unwrap_err();
    assert!(error.to_string().contains("another answer vocabulary"), "{error}");
    Ok(())
}

#[test]
fn a_split_without_annotations_has_no_labels() -> Result<()> {
    let fixture = Fixture::small();
    let report = fixture.ingest(&VqaSource { annotations: None, answers: AnswerPlan::Existing, ..fixture.source() })?;
    assert_eq!((report.samples, report.unanswerable), (4, 0));
    let table = fixture.table(0, samples::NAME);
    assert_eq!(numbers(&table, samples::LABEL), [None; 4]);
    assert_eq!(strings(&table, samples::LABEL_TEXT), ["null"; 4]);
    assert_eq!(targets(&table), vec![Vec::new(); 4]);
    assert!(Dataset::open(&fixture.out())?.answers().is_err());
    Ok(())
}
