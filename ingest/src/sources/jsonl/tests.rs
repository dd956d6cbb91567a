//! What an ingest with a mapping writes, from files in a temporary folder.

mod real;

use retort_cache::Dataset;
use retort_schemas::tables::{images as image_table, samples as sample_table};

use super::*;
use crate::sources::fixture::{Fixture, Sample};
use crate::sources::testing::strings;

const CLASSIFICATION: &str = "task = \"classification\"\nid = \"id\"\nimage = \"{meta.photo}.jpg\"\ntext = \"text\"\n\
                              label = \"meta.label\"\n";

fn fixture() -> Fixture {
    Fixture::with_photos(&["a.jpg", "b.jpg"])
}

fn open(fixture: &Fixture, mapping: &str, rows: &str, parts: &[&str]) -> Result<Jsonl> {
    Jsonl::open(&JsonlFiles {
        file: fixture.write("rows", rows),
        mapping: fixture.write("map.toml", mapping),
        images: fixture.path("images"),
        parts: parts.iter().map(|part| (*part).to_owned()).collect(),
    })
}

fn jsonl(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

fn row(id: &str, photo: &str, label: Value) -> Value {
    json!({ "id": id, "text": format!("text of {id}"), "meta": { "photo": photo, "label": label } })
}

/// Id, texts, label and its wording.
type Labelled = (String, Vec<String>, Option<u32>, Option<String>);

fn labelled(samples: Vec<Sample>) -> Vec<Labelled> {
    samples.into_iter().map(|sample| (sample.id, sample.texts, sample.label, sample.label_text)).collect()
}

fn expected(id: &str, texts: &[&str], label: Option<u32>, label_text: Option<&str>) -> Labelled {
    let texts = texts.iter().map(|text| (*text).to_owned()).collect();
    (id.to_owned(), texts, label, label_text.map(str::to_owned))
}

fn classes(fixture: &Fixture) -> Vec<String> {
    Dataset::open(&fixture.out()).unwrap().answers().unwrap().answers.clone()
}

#[test]
fn labels_become_classes_by_frequency() -> Result<()> {
    let fixture = fixture();
    let rows = [
        row("1", "b", json!("red")),
        row("2", "a", json!("Blue!")),
        row("3", "b", json!("green")),
        row("4", "b", json!("green")),
        row("5", "a", json!(null)),
        row("6", "a", json!("")),
    ];
    let report = fixture.ingest(&open(&fixture, CLASSIFICATION, &jsonl(&rows), &[])?, "train")?;
    assert_eq!((report.samples, report.images, report.rejected()), (6, 2, 0));
    assert_eq!(classes(&fixture), ["green", "Blue!", "red"]);
    assert_eq!(Dataset::open(&fixture.out())?.answers()?.origin, "built from train, at least 1 records");
    assert_eq!(
        labelled(fixture.samples()),
        [
            expected("1", &["text of 1"], Some(2), Some("red")),
            expected("3", &["text of 3"], Some(0), Some("green")),
            expected("4", &["text of 4"], Some(0), Some("green")),
            expected("2", &["text of 2"], Some(1), Some("Blue!")),
            expected("5", &["text of 5"], None, None),
            expected("6", &["text of 6"], None, None),
        ]
    );
    assert_eq!(strings(&fixture.table(0, sample_table::NAME), sample_table::TASK), ["classification"; 6]);
    assert_eq!(strings(&fixture.table(0, image_table::NAME), image_table::SOURCE), ["b.jpg", "a.jpg"]);

    // The next split shares the classes, whatever its own are; a label outside them is lost.
    let rows = [row("7", "a", json!("red")), row("8", "a", json!("purple")), row("9", "a", json!(0))];
    let report = fixture.ingest(&open(&fixture, CLASSIFICATION, &jsonl(&rows), &[])?, "val")?;
    assert_eq!(report.samples, 1);
    let expected = "expected one of the classes green, Blue!, red";
    fixture.assert_rejects(&[
        ("sample 8", "unknown_label", &format!("field meta.label is \"purple\", {expected}")),
        // Without a list of classes in the mapping, a number is no class.
        ("sample 9", "unknown_label", &format!("field meta.label is \"0\", {expected}")),
    ]);
    assert_eq!(labelled(fixture.samples()).pop().unwrap().2, Some(2));

    // The same classes are the same vocabulary, whatever they came from.
    let listed = format!("{CLASSIFICATION}classes = [\"green\", \"Blue!\", \"red\"]\n");
    let report = fixture.ingest(&open(&fixture, &listed, &jsonl(&rows[..1]), &[])?, "test")?;
    assert_eq!(report.samples, 1);
    Ok(())
}

#[test]
fn classes_may_be_given_in_order() -> Result<()> {
    let fixture = fixture();
    let mapping = format!("{CLASSIFICATION}classes = [\"no\", \"yes\", \"true\"]\n");
    let labels = [json!("yes"), json!(true), json!(0), json!("1"), json!(3), json!(-1), json!(1.0), json!("maybe")];
    let rows: Vec<Value> =
        labels.iter().enumerate().map(|(at, label)| row(&at.to_string(), "a", label.clone())).collect();
    fixture.ingest(&open(&fixture, &mapping, &jsonl(&rows), &[])?, "train")?;
    let found: Vec<_> = labelled(fixture.samples()).into_iter().map(|(id, _, class, name)| (id, class, name)).collect();
    let expected = [("0", 1, "yes"), ("1", 2, "true"), ("2", 0, "no"), ("3", 1, "yes")];
    assert_eq!(found, expected.map(|(id, class, name)| (id.to_owned(), Some(class), Some(name.to_owned()))));
    fixture.assert_rejects(&[
        ("sample 4", "unknown_label", "field meta.label is \"3\", expected one of the classes no, yes, true"),
        ("sample 5", "unknown_label", "\"-1\""),
        ("sample 6", "unknown_label", "\"1.0\""),
        ("sample 7", "unknown_label", "\"maybe\""),
    ]);
    // The same classes again are the same vocabulary, others are not.
    fixture.ingest(&open(&fixture, &mapping, &jsonl(&rows[..1]), &[])?, "val")?;
    let other = format!("{CLASSIFICATION}classes = [\"yes\", \"no\"]\n");
    let error = fixture.ingest(&open(&fixture, &other, &jsonl(&rows[..1]), &[])?, "test").unwrap_err();
    assert!(error.to_string().contains("another answer vocabulary"), "{error}");
    Ok(())
}

#[test]
fn candidates_are_matched_by_number_or_wording() -> Result<()> {
    let row = |id: u32, label: Value| json!({ "image": "a.jpg", "id": id, "choices": ["a cat", "a dog", "2"], "first": "a cat", "second": "a dog", "label": label });
    let rows = [row(0, json!(1)), row(1, json!("a cat")), row(2, json!("2")), row(3, json!("1")), row(4, json!(null))];
    let bad = [
        row(5, json!(3)),
        row(6, json!("a bird")),
        row(7, json!([0])),
        json!({ "image": "a.jpg", "id": 8, "choices": ["alone"] }),
        json!({ "image": "a.jpg", "id": 9, "choices": ["one", 2] }),
        json!({ "image": "a.jpg", "id": 10, "choices": "one" }),
        json!({ "image": "a.jpg", "id": 11 }),
    ];
    let fixture = fixture();
    let mapping = "task = \"matching\"\nid = \"id\"\nimage = \"image\"\ntexts = \"choices\"\nlabel = \"label\"\n";
    let all = jsonl(&[rows.as_slice(), &bad].concat());
    fixture.ingest(&open(&fixture, mapping, &all, &[])?, "train")?;
    let texts = ["a cat", "a dog", "2"];
    assert_eq!(
        labelled(fixture.samples()),
        [
            expected("0", &texts, Some(1), Some("a dog")),
            expected("1", &texts, Some(0), Some("a cat")),
            expected("2", &texts, Some(2), Some("2")),
            expected("3", &texts, Some(1), Some("a dog")),
            expected("4", &texts, None, None),
        ]
    );
    assert!(fixture.samples().iter().all(|sample| sample.task == "matching"));
    let two = "a list of two or more texts";
    fixture.assert_rejects(&[
        ("sample 5", "unknown_label", "field label is \"3\", expected one of the texts or their numbers 0 to 2"),
        ("sample 6", "unknown_label", "\"a bird\""),
        ("sample 7", "bad_record", "field label is [0], expected a text, a number or a truth value"),
        ("sample 8", "bad_record", &format!("field choices is [\"alone\"], expected {two}")),
        ("sample 9", "bad_record", &format!("field choices is 2, expected {two}")),
        ("sample 10", "bad_record", &format!("field choices is \"one\", expected {two}")),
        ("sample 11", "bad_record", &format!("field choices is missing or null, expected {two}")),
    ]);
    assert!(Dataset::open(&fixture.out())?.answers().is_err());

    let fields = mapping.replace("\"choices\"", "[\"first\", \"second\"]");
    fixture.ingest(&open(&fixture, &fields, &jsonl(&rows[..1]), &[])?, "fields")?;
    let last = labelled(fixture.samples()).pop().unwrap();
    assert_eq!(last, expected("0", &["a cat", "a dog"], Some(1), Some("a dog")));
    Ok(())
}

#[test]
fn captions_may_be_a_list() -> Result<()> {
    let fixture = fixture();
    let rows = [
        json!({ "image": "a.jpg", "text": ["one", " two "] }),
        json!({ "image": "b.jpg", "text": "three" }),
        json!({ "image": "b.jpg", "text": [] }),
        json!({ "image": "b.jpg", "text": ["four", ""] }),
    ];
    let mapping = "task = \"caption\"\nimage = \"image\"\ntext = \"text\"\n";
    fixture.ingest(&open(&fixture, mapping, &jsonl(&rows), &[])?, "train")?;
    assert_eq!(
        labelled(fixture.samples()),
        [
            expected("0#0", &["one"], None, None),
            expected("0#1", &["two"], None, None),
            expected("1", &["three"], None, None),
        ]
    );
    fixture.assert_rejects(&[
        ("line 3 of rows", "bad_record", "field text is [], expected a text or a list of texts"),
        ("line 4 of rows", "bad_record", "field text is \"\", expected a text or a list of texts"),
    ]);
    // A table has the same records.
    let table = self::fixture();
    let rows = "image,text\na.jpg,\"one, two\"\nb.jpg,three\n";
    table.ingest(&open(&table, mapping, rows, &[])?, "train")?;
    assert_eq!(
        labelled(table.samples()),
        [expected("0", &["one, two"], None, None), expected("1", &["three"], None, None)]
    );
    Ok(())
}

#[test]
fn answers_become_a_vocabulary_and_soft_targets() -> Result<()> {
    let fixture = fixture();
    let row =
        |id: u32, answers: Value| json!({ "image": "a.jpg", "id": id, "q": "What?", "a": answers, "kind": "what" });
    let rows = [
        row(0, json!(["red", "red", "Red", "red", "red", "blue", "blue", "x", "y", "z"])),
        row(1, json!([{ "answer": "blue" }, { "answer": "red" }, { "answer": "blue" }])),
        row(2, json!("Two")),
        row(3, json!(2)),
        row(4, json!(null)),
        row(5, json!([])),
        row(6, json!([["red"]])),
        row(7, json!([{ "text": "red" }])),
    ];
    let mapping = "task = \"vqa\"\nid = \"id\"\nimage = \"image\"\ntext = \"q\"\nanswers = \"a\"\nmin_count = 1\n\
                   question_type = \"kind\"\n";
    let report = fixture.ingest(&open(&fixture, mapping, &jsonl(&rows), &[])?, "train")?;
    assert_eq!((report.samples, report.unanswerable), (6, 0));
    // Truths in normal form: `Two` and `2` are one.
    assert_eq!(classes(&fixture), ["2", "blue", "red"]);
    let samples = fixture.samples();
    let targets: Vec<_> = samples.iter().map(|sample| (sample.label, sample.targets.clone())).collect();
    assert_eq!(
        targets,
        [
            (Some(2), vec![(1, 0.6), (2, 1.0)]),
            (Some(1), vec![(1, 0.6), (2, 0.3)]),
            (Some(0), vec![(0, 1.0)]),
            (Some(0), vec![(0, 1.0)]),
            (None, vec![]),
            (None, vec![]),
        ]
    );
    assert_eq!(samples[1].answers, ["blue", "red", "blue"]);
    assert_eq!(samples[2].label_text.as_deref(), Some("Two"));
    assert_eq!(strings(&fixture.table(0, sample_table::NAME), sample_table::QUESTION_TYPE), ["what"; 6]);
    fixture.assert_rejects(&[
        ("sample 6", "bad_record", "field a is [[\"red\"]], expected a text, a list of texts, or a list of objects"),
        ("sample 7", "bad_record", "field a is [{\"text\":\"red\"}], expected a text"),
    ]);
    // The usual threshold finds no answer frequent enough.
    let usual = mapping.replace("min_count = 1\n", "");
    let other = self::fixture();
    let error = other.ingest(&open(&other, &usual, &jsonl(&rows), &[])?, "train").unwrap_err();
    assert!(matches!(error, Error::EmptyVocabulary { min_count: 9, .. }), "{error}");
    Ok(())
}

#[test]
fn a_split_is_a_value_of_a_field() -> Result<()> {
    let fixture = fixture();
    let row = |id: &str, part: Value| {
        let mut row = row(id, "a", json!(id));
        row["part"] = part;
        row
    };
    let rows = jsonl(&[
        row("1", json!("train")),
        row("2", json!("val")),
        row("3", json!(7)),
        row("4", json!(null)),
        row("5", json!({})),
    ]);
    let mapping = format!("{CLASSIFICATION}split = \"part\"\nsplit_value = [\"train\", \"7\"]\n");
    fixture.ingest(&open(&fixture, &mapping, &rows, &[])?, "train")?;
    let ids = |fixture: &Fixture| fixture.samples().into_iter().map(|sample| sample.id).collect::<Vec<_>>();
    assert_eq!(ids(&fixture), ["1", "3"]);
    // Labels of other parts are no classes.
    assert_eq!(classes(&fixture), ["1", "3"]);
    let lost = [
        ("line 4 of rows", "bad_record", "field part is missing or null, expected a text or a number"),
        ("line 5 of rows", "bad_record", "field part is {}, expected a text or a number"),
    ];
    fixture.assert_rejects(&lost);

    let other = self::fixture();
    other.ingest(&open(&other, &mapping, &rows, &["val"])?, "val")?;
    assert_eq!(ids(&other), ["2"]);
    let good = jsonl(&[row("1", json!("train"))]);
    let error = other.ingest(&open(&other, &mapping, &good, &["none"])?, "none").unwrap_err();
    assert!(error.to_string().contains("1 records, none of them with part none"), "{error}");
    Ok(())
}

#[test]
fn every_lost_record_is_a_row_that_says_why() -> Result<()> {
    let fixture = fixture();
    let rows = [
        row("1", "a", json!("x")),
        row("1", "b", json!("x")),
        row("2", "../secret", json!("x")),
        row("3", "c", json!("x")),
        json!({ "id": "4", "text": "t", "meta": [1] }),
        json!({ "id": "5", "text": 5, "meta": { "photo": "a" } }),
        json!({ "id": ["6"], "text": "t", "meta": { "photo": "a" } }),
        json!({ "text": "t", "meta": { "photo": "a" } }),
        json!({ "id": "8", "text": "t", "meta": { "photo": { "x": 1 } } }),
        json!({ "id": "9", "meta": { "photo": "a" } }),
        json!({ "id": "10", "text": "t", "meta": { "photo": "a", "label": ["x"] } }),
        json!("text"),
    ];
    let report = fixture.ingest(&open(&fixture, CLASSIFICATION, &jsonl(&rows), &[])?, "train")?;
    assert_eq!(report.samples, 1);
    fixture.assert_rejects(&[
        ("sample 1", "duplicate_sample_id", "same id"),
        ("sample 2", "bad_record", "\"../secret.jpg\", which leads out of the image folder"),
        ("sample 4", "bad_record", "field meta.photo is missing or null, expected a text or a number"),
        ("sample 5", "bad_record", "field text is 5, expected a text"),
        ("line 7 of rows", "bad_record", "field id is [\"6\"], expected a text or a number"),
        ("line 8 of rows", "bad_record", "field id is missing or null, expected a text or a number"),
        ("sample 8", "bad_record", "field meta.photo is {\"x\":1}, expected a text or a number"),
        ("sample 9", "bad_record", "field text is missing or null, expected a text"),
        ("sample 10", "bad_record", "field meta.label is [\"x\"], expected a text, a number or a truth value"),
        ("line 12 of rows", "bad_record", "the record is \"text\", expected an object"),
        ("c.jpg", "image_missing", "c.jpg"),
        ("sample 3", "image_rejected", "image_missing"),
    ]);
    Ok(())
}

#[test]
fn mappings_that_make_no_sense_are_errors() {
    let fixture = fixture();
    for (mapping, found) in [
        (
            "task = \"classification\"\nimage = \"i\"\ntxet = \"t\"\n",
            "there is no key \"txet\", did you mean \"text\"?",
        ),
        ("task = \"caption\"\nimage = \"i\"\nspilt_value = \"t\"\n", "did you mean \"split_value\"?"),
        ("task = \"caption\"\nimage = \"i\"\nunheardof = \"t\"\n", "there is no key \"unheardof\""),
        ("image = \"i\"\n", "task is missing, expected one of classification, matching, caption, vqa"),
        ("task = \"captions\"\n", "task is \"captions\", expected one of"),
        ("task = 5\n", "task is 5, expected one of"),
        ("task = \"caption\"\ntext = \"t\"\n", "image is missing"),
        ("task = \"caption\"\nimage = \"i\"\n", "text is missing: task \"caption\" needs it"),
        ("task = \"matching\"\nimage = \"i\"\n", "texts is missing"),
        ("task = \"matching\"\nimage = \"i\"\ntexts = []\n", "texts is missing"),
        (
            "task = \"matching\"\nimage = \"i\"\ntext = \"t\"\n",
            "task \"matching\" has no use for text, but for texts, label",
        ),
        ("task = \"caption\"\nimage = \"i\"\ntext = \"t\"\nlabel = \"l\"\n", "has no use for label"),
        ("task = \"caption\"\nimage = \"{i\"\ntext = \"t\"\n", "image: \"{i\": a { is not closed"),
        ("task = \"caption\"\nimage = \"i\"\ntext = 5\n", "expected a string"),
        ("task = \"caption\"\nimage = \"i\"\ntext = \"t\"\nsplit = \"s\"\n", "split needs split_value"),
        ("task = \"caption\"\nimage = \"i\"\ntext = \"t\"\nsplit_value = \"s\"\n", "split_value needs split"),
        ("task = \"classification\"\nimage = \"i\"\ntext = \"t\"\nclasses = []\n", "classes is empty"),
        ("task = \"classification\"\nimage = \"i\"\ntext = \"t\"\nclasses = [\"a\", \"a\"]\n", "holds \"a\" twice"),
        ("task = \n", "map.toml is no mapping: TOML parse error at line 1"),
    ] {
        let error = open(&fixture, mapping, "{}\n", &[]).err().unwrap();
        let message = error.to_string();
        assert!(
            message.contains(found) && message.contains("map.toml") && error.hint().is_some(),
            "{mapping}: {message}"
        );
    }
    let mapping = "task = \"caption\"\nimage = \"i\"\ntext = \"t\"\n";
    let error = open(&fixture, mapping, "{\"data\":\n[]}", &[]).err().unwrap();
    assert!(matches!(error, Error::UnknownLayout { .. }), "{error}");
    let error = open(&fixture, mapping, "{}\n", &["dev"]).err().unwrap();
    assert!(error.to_string().contains("split_value needs split"), "{error}");
}
