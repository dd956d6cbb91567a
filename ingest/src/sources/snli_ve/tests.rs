//! What an ingest of SNLI-VE writes, from files in a temporary folder.

mod real;

use retort_cache::Dataset;
use retort_schemas::tables::{images, texts};

use super::*;
use crate::sources::fixture::{Fixture, Sample};
use crate::sources::testing::strings;

/// Image, number of the caption, hypothesis, label.
const PAIRS: [(&str, &str, &str, &str); 4] = [
    ("11", "2r1e", "A man, \"outside\".", "entailment"),
    ("22", "0r1n", "He is sad.", "neutral"),
    ("11", "2r1c", "Nobody is here.", "contradiction"),
    ("22", "0r1e", "He is sad.", "entailment"),
];

fn fixture() -> Fixture {
    Fixture::with_photos(&["11.jpg", "22.jpg"])
}

fn files(fixture: &Fixture, pairs: &[&str]) -> SnliVeFiles {
    SnliVeFiles {
        pairs: pairs.iter().map(|name| fixture.path(name)).collect(),
        images: fixture.path("images"),
        part: SnliVePart::All,
        id_map: None,
    }
}

fn jsonl(rows: impl IntoIterator<Item = Value>) -> String {
    rows.into_iter().map(|row| format!("{row}\n")).collect()
}

fn released((image, pair, hypothesis, label): (&str, &str, &str, &str)) -> Value {
    json!({
        "Flikr30kID": format!("{image}.jpg"), "pairID": format!("{image}.jpg#{pair}"), "gold_label": label,
        "sentence1": "The premise that must not be used.", "sentence2": hypothesis,
        "annotator_labels": [label], "captionID": format!("{image}.jpg#2"),
    })
}

/// Every published spelling of the same pairs: a name and the file.
fn spellings() -> Vec<(&'static str, String)> {
    let renamed = |image_field: &str, suffix: &str| {
        jsonl(PAIRS.map(|pair| {
            let mut row = released(pair);
            row.as_object_mut().unwrap().remove("Flikr30kID");
            if !image_field.is_empty() {
                row[image_field] = json!(format!("{}{suffix}", pair.0));
            }
            row
        }))
    };
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let mut csv = ",pairID,Flickr30kID,hypothesis,gold_label,explanation\r\n".to_owned();
    let mut tsv = "gold\tp\th\timg\tprem\thyp\tid\tex\ttok\n".to_owned();
    for (row, (image, pair, hypothesis, label)) in PAIRS.into_iter().enumerate() {
        let hypothesis = quoted(hypothesis);
        csv.push_str(&format!("{row},{image}.jpg#{pair},{image}.jpg,{hypothesis},{label},\"two\r\nlines\"\r\n"));
        tsv.push_str(&format!(
            "{label}\ta man\tt o k\t{image}.jpg#2\tA premise\t{hypothesis}\t{image}.jpg#{pair}\twhy\tw h y\n"
        ));
    }
    let lavis = PAIRS.map(|(image, pair, hypothesis, label)| {
        json!({ "image": image, "sentence": hypothesis, "label": label, "pairID": format!("{image}.jpg#{pair}") })
    });
    vec![
        ("Flikr30kID", jsonl(PAIRS.map(released))),
        ("Flickr30K_ID", renamed("Flickr30K_ID", "")),
        ("Flickr30kID", renamed("Flickr30kID", ".jpg")),
        ("image", json!(lavis).to_string()),
        ("pairID alone", renamed("", "")),
        ("e-SNLI-VE", csv),
        ("e-SNLI-VE-2.0", tsv),
    ]
}

fn expected_samples() -> Vec<Sample> {
    let sample = |at: usize, image, label| {
        let (id, pair, hypothesis, label_text) = PAIRS[at];
        Sample {
            id: format!("{id}.jpg#{pair}"),
            task: "snli_ve".to_owned(),
            image,
            texts: vec![hypothesis.to_owned()],
            label: Some(label),
            label_text: Some(label_text.to_owned()),
            answers: Vec::new(),
            targets: Vec::new(),
        }
    };
    vec![sample(0, 0, 0), sample(2, 0, 2), sample(1, 1, 1), sample(3, 1, 0)]
}

#[test]
fn every_spelling_gives_the_same_tables() -> Result<()> {
    let mut tables = Vec::new();
    for (spelling, text) in spellings() {
        let fixture = fixture();
        fixture.write("pairs", &text);
        let report = fixture.ingest(&SnliVe::open(&files(&fixture, &["pairs"]))?, "dev")?;
        assert_eq!((report.samples, report.images, report.rejected()), (4, 2, 0), "{spelling}");
        assert_eq!(fixture.samples(), expected_samples(), "{spelling}");
        assert_eq!(strings(&fixture.table(0, images::NAME), images::SOURCE), ["11.jpg", "22.jpg"], "{spelling}");
        let vocabulary = Dataset::open(&fixture.out())?.answers()?.clone();
        assert_eq!(
            (vocabulary.origin.as_str(), vocabulary.answers.as_slice()),
            (KIND, CLASSES.map(str::to_owned).as_slice())
        );
        tables.push(fixture.tables());
    }
    assert!(tables.windows(2).all(|pair| pair[0] == pair[1]));
    Ok(())
}

#[test]
fn the_premise_is_nowhere() -> Result<()> {
    let fixture = fixture();
    fixture.write("pairs", jsonl(PAIRS.map(released)));
    fixture.ingest(&SnliVe::open(&files(&fixture, &["pairs"]))?, "dev")?;
    let found = strings(&fixture.table(0, texts::NAME), texts::TEXT);
    assert_eq!(found, ["A man, \"outside\".", "Nobody is here.", "He is sad."]);
    // A pair that has nothing but the premise is no pair.
    fixture.write("bare", jsonl([json!({ "image": "11", "sentence1": "A premise.", "label": "neutral" })]));
    fixture.ingest(&SnliVe::open(&files(&fixture, &["bare"]))?, "bare")?;
    fixture.assert_rejects(&[("line 1 of bare", "bad_record", "field sentence2 or hypothesis or sentence is missing")]);
    Ok(())
}

#[test]
fn a_part_in_two_files_is_one() -> Result<()> {
    for (spelling, text) in spellings().into_iter().filter(|(spelling, _)| spelling.starts_with("e-SNLI-VE")) {
        let whole = fixture();
        whole.write("pairs", &text);
        whole.ingest(&SnliVe::open(&files(&whole, &["pairs"]))?, "train")?;
        // Cut before the third record: with and without a header in the second file.
        let at = text.find("\n2,11.jpg").or_else(|| text.find("\ncontradiction")).unwrap() + 1;
        let first_line = &text[..=text.find('\n').unwrap()];
        for second in [text[at..].to_owned(), format!("{first_line}{}", &text[at..])] {
            let cut = fixture();
            cut.write("part_1", &text[..at]);
            cut.write("part_2", second);
            let report = cut.ingest(&SnliVe::open(&files(&cut, &["part_1", "part_2"]))?, "train")?;
            assert_eq!((report.samples, report.rejected()), (4, 0), "{spelling}");
            assert_eq!(cut.tables(), whole.tables(), "{spelling}");
        }
    }
    Ok(())
}

#[test]
fn every_lost_pair_is_a_row_that_says_why() -> Result<()> {
    let fixture = fixture();
    let row = |pair: &str, label: Value| json!({ "pairID": pair, "gold_label": label, "sentence2": "text" });
    let rows = [
        row("11.jpg#0r1e", json!("entailment")),
        row("11.jpg#0r1n", json!("-")),
        row("vg_len17r1n", json!("neutral")),
        row("11.jpg#0r1c", json!("maybe")),
        row("11.jpg#0r1e", json!("neutral")),
        row("33.jpg#0r1e", json!("neutral")),
        json!({ "pairID": "11.jpg#1", "gold_label": "neutral" }),
        json!({ "pairID": "11.jpg#2", "gold_label": "neutral", "sentence2": 5 }),
        json!({ "pairID": "noimage", "gold_label": "neutral", "sentence2": "text" }),
        json!({ "Flickr30K_ID": 1.5, "gold_label": "neutral", "sentence2": "text" }),
        json!([1]),
        row("11.jpg#3", json!(2)),
        json!({ "Flickr30K_ID": "../..", "pairID": "x", "sentence2": "text" }),
    ];
    fixture.write("pairs.jsonl", format!("{}{{\"pairID\": \n", jsonl(rows)));
    let report = fixture.ingest(&SnliVe::open(&files(&fixture, &["pairs.jsonl"]))?, "train")?;
    assert_eq!((report.samples, report.images), (1, 1));
    fixture.assert_rejects(&[
        ("pair 11.jpg#0r1n", "no_gold_label", "did not agree"),
        ("pair vg_len17r1n", "visual_genome_pair", "Visual Genome"),
        ("pair 11.jpg#0r1c", "unknown_label", "is \"maybe\", expected one of entailment, neutral, contradiction"),
        ("pair 11.jpg#0r1e", "duplicate_pair_id", "same pairID"),
        ("pair 11.jpg#1", "bad_record", "field sentence2 or hypothesis or sentence is missing"),
        ("pair 11.jpg#2", "bad_record", "field sentence2 is 5, expected a text"),
        ("pair noimage", "bad_record", "field Flikr30kID or Flickr30K_ID or Flickr30kID or image or pairID"),
        ("line 10 of pairs.jsonl", "bad_record", "field Flickr30K_ID is 1.5, expected a whole number or a text"),
        ("line 11 of pairs.jsonl", "bad_record", "the record is [1], expected an object"),
        ("pair 11.jpg#3", "bad_record", "field gold_label is 2, expected a text"),
        ("line 14 of pairs.jsonl", "bad_record", "expected a JSON object"),
        ("33.jpg", "image_missing", "33.jpg"),
        ("...jpg", "image_missing", "...jpg"),
        ("sample 33.jpg#0r1e", "image_rejected", "image_missing"),
        ("sample x", "image_rejected", "image_missing"),
    ]);
    // Rows of a table that have other columns.
    fixture.write(
        "pairs.csv",
        "pairID,hypothesis,gold_label\n11.jpg#0,one,neutral\n11.jpg#1,two\n11.jpg#2,\"th\nree,neutral\n",
    );
    fixture.ingest(&SnliVe::open(&files(&fixture, &["pairs.csv"]))?, "val")?;
    let rejects: Vec<_> = fixture.rejects().into_iter().skip(15).map(|(source, code, _)| (source, code)).collect();
    let expected = [("line 3 of pairs.csv", "wrong_column_count"), ("line 4 of pairs.csv", "unclosed_quote")];
    assert_eq!(rejects, expected.map(|(source, code)| (source.to_owned(), code.to_owned())));
    Ok(())
}

#[test]
fn pairs_without_labels_are_kept() -> Result<()> {
    let fixture = fixture();
    let rows = [
        json!({ "image": "11", "sentence": "No label." }),
        json!({ "image": 22, "sentence": "Null.", "label": null }),
        json!({ "image": "11.jpg", "sentence": "Empty.", "label": "" }),
    ];
    fixture.write("test.json", json!(rows).to_string());
    let report = fixture.ingest(&SnliVe::open(&files(&fixture, &["test.json"]))?, "test")?;
    assert_eq!((report.samples, report.rejected()), (3, 0));
    let found = fixture.samples();
    assert!(found.iter().all(|sample| sample.label.is_none() && sample.label_text.is_none()));
    let ids: Vec<_> = found.iter().map(|sample| sample.id.as_str()).collect();
    assert_eq!(ids, ["0", "2", "1"]);
    Ok(())
}

#[test]
fn official_parts_come_from_id_lists() -> Result<()> {
    let names: Vec<String> = (0..1_003).map(|id| format!("{id}.jpg")).collect();
    let fixture = Fixture::with_photos(&["0.jpg", "2.jpg", "3.jpg", "1002.jpg", "5000.jpg"]);
    fixture.write("train_val.lst", (0..1_003).map(|id| format!("{id}\n")).collect::<String>());
    fixture.write("test.lst", "5000\n");
    let pair = |image: &str, label: &str| json!({ "Flickr30K_ID": image, "pairID": format!("{image}.jpg#0r1e"), "gold_label": label, "sentence2": "t" });
    let mut rows: Vec<Value> = ["0", "2", "3", "1002", "5000"].map(|image| pair(image, "neutral")).into();
    // What is lost outside a part is no loss of the part.
    rows.push(pair("1001", "-"));
    fixture.write("pairs", jsonl(rows));
    let list = fixture.path("train_val.lst");
    let mut found = Vec::new();
    for (split, part) in [
        ("train", SnliVePart::Train(list.clone())),
        ("dev", SnliVePart::Dev(list.clone())),
        ("test", SnliVePart::Listed(fixture.path("test.lst"))),
    ] {
        let source = SnliVe::open(&SnliVeFiles { part, ..files(&fixture, &["pairs"]) })?;
        let report = fixture.ingest(&source, split)?;
        found.push((report.images, report.rejected()));
    }
    assert_eq!(found, [(2, 0), (2, 1), (1, 0)]);
    let sources: Vec<_> =
        (0..3).flat_map(|shard| strings(&fixture.table(shard, images::NAME), images::SOURCE)).collect();
    assert_eq!(sources, ["0.jpg", "2.jpg", "3.jpg", "1002.jpg", "5000.jpg"]);

    fixture.write("train_val.lst", names[..1_000].join("\n"));
    let short = SnliVe::open(&SnliVeFiles { part: SnliVePart::Dev(list), ..files(&fixture, &["pairs"]) });
    let error = short.err().unwrap();
    assert!(error.to_string().contains("it has 1000 names, expected more than 1000"), "{error}");
    let elsewhere = SnliVePart::Listed(fixture.write("other.lst", "777\n"));
    let source = SnliVe::open(&SnliVeFiles { part: elsewhere, ..files(&fixture, &["pairs"]) })?;
    let error = fixture.ingest(&source, "other").unwrap_err();
    assert!(matches!(error, Error::EmptyPart { records: 6, .. }) && error.hint().is_some(), "{error}");
    assert!(error.to_string().contains("other.lst"), "{error}");
    Ok(())
}

#[test]
fn images_named_otherwise_are_found_by_a_map() -> Result<()> {
    let fixture = Fixture::with_photos(&["11_abc.jpg", "22.jpg"]);
    fixture.write("pairs", jsonl(PAIRS.map(released)));
    let id_map = Some(fixture.write("map.csv", "Flickr30kID,image\n11.jpg,11_abc.jpg\n"));
    let source = SnliVe::open(&SnliVeFiles { id_map: id_map.clone(), ..files(&fixture, &["pairs"]) })?;
    let report = fixture.ingest(&source, "dev")?;
    assert_eq!((report.samples, report.rejected()), (4, 0));
    assert_eq!(strings(&fixture.table(0, images::NAME), images::SOURCE), ["11_abc.jpg", "22.jpg"]);
    for (text, found) in [("a,b,c\n", "two columns"), ("a,b\nc\n", "in line 2")] {
        fixture.write("map.csv", text);
        let files = SnliVeFiles { id_map: id_map.clone(), ..files(&fixture, &["pairs"]) };
        let error = SnliVe::open(&files).err().unwrap();
        assert!(matches!(error, Error::NoColumns { .. }) && error.to_string().contains(found), "{error}");
    }
    Ok(())
}

#[test]
fn a_data_set_with_other_classes_refuses_the_pairs() -> Result<()> {
    let fixture = fixture();
    fixture.write("pairs", jsonl(PAIRS.map(released)));
    let source = SnliVe::open(&files(&fixture, &["pairs"]))?;
    fixture.ingest(&source, "dev")?;
    // The same classes again are the same vocabulary.
    fixture.ingest(&source, "test")?;

    let other = self::fixture();
    other.write("q.json", json!({ "questions": [{ "question_id": 1, "image_id": 11, "question": "?" }] }).to_string());
    other.write(
        "a.json",
        json!({ "annotations": [
        { "question_id": 1, "multiple_choice_answer": "yes", "answers": [{ "answer": "yes" }] },
    ] })
        .to_string(),
    );
    let vqa = crate::Vqa::open(&crate::VqaFiles {
        questions: other.path("q.json"),
        annotations: Some(other.path("a.json")),
        images: other.path("images"),
        image_pattern: "{id}.jpg".to_owned(),
        answers: crate::AnswerPlan::Build { min_count: 1 },
    })?;
    other.ingest(&vqa, "train")?;
    other.write("pairs", jsonl(PAIRS.map(released)));
    let error = other.ingest(&SnliVe::open(&files(&other, &["pairs"]))?, "dev").unwrap_err();
    assert!(error.to_string().contains("another answer vocabulary"), "{error}");
    Ok(())
}

#[test]
fn files_of_another_kind_are_errors() {
    let fixture = fixture();
    for (text, found) in [
        ("a,b\n1,2\n", "found the columns [a, b]"),
        ("x,11.jpg,entailment\n", "found the columns [x, 11.jpg, entailment]"),
        ("", "found the columns []"),
        ("{\"images\": [], \"annotations\": []}", "an object with the keys [images, annotations]"),
    ] {
        fixture.write("pairs", text);
        let error = SnliVe::open(&files(&fixture, &["pairs"])).err().unwrap();
        assert!(error.to_string().contains(found) && error.hint().is_some(), "{text}: {error}");
    }
    for (names, found) in [(&["none"][..], "none"), (&[], "file of pairs")] {
        let error = SnliVe::open(&files(&fixture, names)).err().unwrap();
        assert!(error.to_string().contains(found), "{error}");
    }
    let broken = fixture.write("pairs", "[{\"image\": 1},\n");
    let source = SnliVe::open(&files(&fixture, &["pairs"])).unwrap();
    let error = fixture.ingest(&source, "dev").unwrap_err();
    assert!(error.to_string().contains(&broken.display().to_string()), "{error}");
}
