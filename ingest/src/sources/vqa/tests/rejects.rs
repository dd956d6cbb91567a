//! Records that are lost: which, where, why, and when they stop the run.

use super::*;

#[test]
fn every_lost_record_is_a_row_that_says_why() -> Result<()> {
    let fixture = Fixture::small();
    let photo = |id: u64| format!("images/train2014/COCO_train2014_{id:012}.jpg");
    let whole = std::fs::read(fixture.path(&photo(1))).unwrap();
    fixture.write(&photo(4), &whole[..whole.len() - 20]);
    fixture.write(&photo(5), b"<html>not found</html>");
    std::fs::create_dir(fixture.path(&photo(6))).unwrap();
    fixture.questions(json!([
        question(10, 1, "?"),
        question(30, 3, "missing"),
        question(40, 4, "truncated"),
        question(50, 5, "no image"),
        question(60, 6, "a folder"),
        question(41, 4, "truncated again"),
        question(10, 1, "the same id"),
        question(70, 1, "no annotation"),
        { "question_id": 80, "image_id": 1 },
        { "question_id": 81, "image_id": 1, "question": 5 },
        { "image_id": 1, "question": "?" },
        "no object",
        { "question_id": 82, "image_id": "../../secret", "question": "?" },
    ]));
    let mut annotations: Vec<Value> = [10, 30, 40, 50, 60, 41].map(|id| annotation(id, "yes", &["yes"; 10])).into();
    annotations.push(annotation(10, "no", &["no"; 10]));
    annotations.push(annotation(90, "no", &["no"; 10]));
    annotations.push(json!({ "question_id": 70, "multiple_choice_answer": "yes", "answers": ["yes"] }));
    fixture.annotations(annotations.into());

    let source = VqaSource { image_pattern: "{subtype}/COCO_{subtype}_{id:012}.jpg".to_owned(), ..fixture.source() };
    let report = fixture.ingest(&source)?;
    assert_eq!((report.samples, report.images, report.shards), (1, 1, 1));
    let image = |id: u64| format!("train2014/COCO_train2014_{id:012}.jpg");
    let expected = [
        "question 10 | annotation | duplicate_question_id".to_owned(),
        "question 70 | annotation | no_annotation".to_owned(),
        "question 80 | annotation | bad_record".to_owned(),
        "question 81 | annotation | bad_record".to_owned(),
        "record 10 of q.json | annotation | bad_record".to_owned(),
        "record 11 of q.json | annotation | bad_record".to_owned(),
        "question 82 | annotation | bad_record".to_owned(),
        "annotation 10 | annotation | duplicate_question_id".to_owned(),
        "annotation 70 | annotation | bad_record".to_owned(),
        "annotation 90 | annotation | annotation_without_question".to_owned(),
        format!("{} | read | image_missing", image(3)),
        format!("{} | decode | image_corrupt", image(4)),
        format!("{} | decode | image_corrupt", image(5)),
        format!("{} | read | image_unreadable", image(6)),
        "sample 30 | read | image_rejected".to_owned(),
        "sample 40 | decode | image_rejected".to_owned(),
        "sample 41 | decode | image_rejected".to_owned(),
        "sample 50 | decode | image_rejected".to_owned(),
        "sample 60 | read | image_rejected".to_owned(),
    ];
    assert_eq!(fixture.rejected(0), expected);
    assert_eq!(report.rejects["bad_record"], 6);
    assert_eq!(report.rejected(), 19);

    let messages = strings(&fixture.table(0, reject_table::NAME), reject_table::MESSAGE);
    for (row, found) in [
        (2, "field question is missing, expected a text"),
        (3, "field question is 5, expected a text"),
        (4, "field question_id is missing, expected a whole number or a text"),
        (5, "the record is \"no object\", expected an object"),
        (6, "field image_id is \"../../secret\", which leads out of the image folder"),
        (8, "field answers is [\"yes\"], expected a list of objects"),
        (11, "truncated"),
        (12, "no image of a known format"),
        (15, "image_corrupt"),
    ] {
        assert!(messages[row].contains(found), "{row}: {}", messages[row]);
    }
    Ok(())
}

#[test]
fn a_byte_that_is_not_utf8_costs_its_record_alone() -> Result<()> {
    let fixture = Fixture::small();
    for (name, text) in [("q.json", "Who?"), ("a.json", "Two")] {
        let whole = std::fs::read(fixture.path(name)).unwrap();
        let at = whole.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
        fixture.write(name, &[&whole[..at], b"\xe9", &whole[at + 1..]].concat());
    }
    let report = fixture.ingest(&fixture.source())?;
    assert_eq!(report.samples, 2);
    assert_eq!(strings(&fixture.table(0, samples::NAME), samples::SAMPLE_ID), ["10", "20"]);
    let expected = [
        "question 11 | annotation | no_annotation",
        "record 3 of q.json | annotation | bad_record",
        "record 3 of a.json | annotation | bad_record",
        "annotation 12 | annotation | annotation_without_question",
    ];
    assert_eq!(fixture.rejected(0), expected);
    Ok(())
}

#[test]
fn control_characters_of_names_are_escaped_in_rejects() -> Result<()> {
    let fixture = Fixture::small();
    fixture.questions(json!([{ "question_id": "1\n2", "image_id": "\u{1b}[2Jx", "question": "?" }]));
    let source = VqaSource { annotations: None, image_pattern: "{id}.jpg".to_owned(), ..fixture.source() };
    fixture.ingest(&source)?;
    let rows = fixture.table(0, reject_table::NAME);
    assert_eq!(strings(&rows, reject_table::SOURCE), ["\\u{1b}[2Jx.jpg", "sample 1\\n2"]);
    let missing = "the image folder has no \\u{1b}[2Jx.jpg";
    assert_eq!(
        strings(&rows, reject_table::MESSAGE),
        [missing.to_owned(), format!("its image is lost: image_missing, {missing}")]
    );
    // Nor do errors say what would move a cursor.
    fixture.write("q.json", br#"{"a\nb\u001bc": 1}"#);
    let error = fixture.ingest(&VqaSource { split: "other".to_owned(), ..source }).unwrap_err().to_string();
    assert!(error.contains("an object with the keys [a\\nb\\u{1b}c]") && !error.contains(char::is_control), "{error}");
    Ok(())
}

#[test]
fn samples_of_missing_images_stay_where_those_may_be_missing() -> Result<()> {
    let fixture = Fixture::small();
    std::fs::remove_file(fixture.path("images/train2014/COCO_train2014_000000000001.jpg")).unwrap();
    let VqaSource { questions, annotations, images, image_pattern, answers, .. } = fixture.source();
    let vqa = Vqa::open(&VqaFiles { questions, annotations, images, image_pattern, answers })?;
    let images = crate::ImageOptions { allow_missing: true, ..crate::ImageOptions::default() };
    let report =
        ingest(&vqa, &Options { images, ..Options::new("train") }, &fixture.out(), &Quiet, &Interrupt::default())?;
    assert_eq!((report.samples, report.images, report.rejected()), (4, 2, 0));

    let rows = fixture.table(0, images::NAME);
    let names = [1, 2].map(|id| format!("train2014/COCO_train2014_{id:012}.jpg"));
    assert_eq!(strings(&rows, images::SOURCE), names);
    assert_eq!(strings(&rows, images::FORMAT), [images::MISSING, "jpeg"]);
    let bytes = rows.column_by_name(images::BYTES).unwrap().as_binary::<i32>();
    assert!(bytes.value(0).is_empty() && !bytes.value(1).is_empty());
    let sizes = [images::WIDTH, images::HEIGHT].map(|side| numbers(&rows, side)[0]);
    assert_eq!(sizes, [Some(0); 2]);
    // They point at its row, with all that their annotations say.
    let rows = fixture.table(0, samples::NAME);
    assert_eq!(strings(&rows, samples::SAMPLE_ID), ["10", "11", "12", "20"]);
    assert_eq!(numbers(&rows, samples::IMAGE), [0, 0, 0, 1].map(Some));
    assert_eq!(strings(&rows, samples::LABEL_TEXT), ["yes", "Two", "nobody", "no"]);
    Ok(())
}

#[test]
fn an_image_id_does_not_lead_out_of_the_image_folder() -> Result<()> {
    let fixture = Fixture::small();
    std::fs::copy(fixture.path("images/train2014/COCO_train2014_000000000001.jpg"), fixture.path("secret.jpg"))
        .unwrap();
    fixture.questions(json!([{ "question_id": 1, "image_id": "../secret", "question": "?" }]));
    let source = VqaSource { annotations: None, image_pattern: "{id}.jpg".to_owned(), ..fixture.source() };
    let report = fixture.ingest(&source)?;
    assert_eq!(report.samples, 0);
    assert_eq!(fixture.rejected(0), ["question 1 | annotation | bad_record"]);
    Ok(())
}

#[test]
fn a_split_that_lost_every_question_still_tells_why() -> Result<()> {
    let fixture = Fixture::small();
    fixture.annotations(json!([annotation(99, "yes", &["yes"; 10])]));
    let report = fixture.ingest(&fixture.source())?;
    assert_eq!((report.shards, report.samples, report.images, report.rejected()), (1, 0, 0, 5));
    assert_eq!(fixture.rejected(0).len(), 5);
    assert!(Dataset::open(&fixture.out())?.split("train")?.complete);
    Ok(())
}

#[test]
fn rejects_of_an_image_go_to_its_shard() -> Result<()> {
    let fixture = Fixture::wide(4);
    std::fs::remove_file(fixture.path("images/train2014/COCO_train2014_000000000002.jpg")).unwrap();
    let report = fixture.ingest(&VqaSource { shard_images: 2, ..fixture.source() })?;
    assert_eq!((report.shards, report.rejected()), (2, 2));
    assert_eq!(fixture.rejected(0).len(), 0);
    assert_eq!(fixture.rejected(1)[1], "sample 2 | read | image_rejected");
    // The rows of the images that are left close ranks.
    assert_eq!(strings(&fixture.table(1, samples::NAME), samples::SAMPLE_ID), ["3"]);
    assert_eq!(numbers(&fixture.table(1, samples::NAME), samples::IMAGE), [Some(0)]);
    Ok(())
}

#[test]
fn too_many_rejects_stop_after_their_shard_and_a_higher_limit_continues() -> Result<()> {
    let lossy = || {
        let fixture = Fixture::wide(6);
        std::fs::remove_file(fixture.path("images/train2014/COCO_train2014_000000000003.jpg")).unwrap();
        fixture
    };
    let uninterrupted = lossy();
    let unlimited = VqaSource { shard_images: 2, ..uninterrupted.source() };
    let expected = uninterrupted.ingest(&unlimited)?;

    let fixture = lossy();
    let limited = |max_rejects| VqaSource { shard_images: 2, max_rejects, ..fixture.source() };
    // Two of twelve records are lost, both in the second of three shards.
    for strict in [RejectLimit::Count(1), RejectLimit::Percent(16.0)] {
        let error = fixture.ingest(&limited(strict)).unwrap_err();
        let Error::TooManyRejects { rejects: 2, records: 12, reasons, .. } = &error else { panic!("{error}") };
        assert_eq!(reasons, "1 image_missing, 1 image_rejected");
        assert_eq!(Dataset::open(&fixture.out())?.split("train")?.runs.shard_count(), 2);
    }
    assert_eq!(fixture.ingest(&limited(RejectLimit::Percent(17.0)))?, expected);
    assert_eq!(files(&fixture.out()), files(&uninterrupted.out()));
    Ok(())
}
