//! The shapes in which the same questions are published, and files that are none of them.

use super::*;

/// The tables without the manifest, whose options name the input files.
fn tables(fixture: &Fixture) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = files(&fixture.out());
    assert!(found.remove(Path::new("dataset.json")).is_some());
    assert_eq!(found.len(), 4);
    found
}

#[test]
fn every_shape_of_the_same_questions_gives_the_same_tables() -> Result<()> {
    let official = Fixture::small();
    official.ingest(&official.source())?;
    let expected = tables(&official);
    let read = |name: &str| std::fs::read(official.path(name)).unwrap();
    let parsed = |name: &str| serde_json::from_slice::<Value>(&read(name)).unwrap();

    let gzipped = Fixture::small();
    gzipped.write("q.json", &gzip(&read("q.json")));
    gzipped.write("a.json", &gzip(&read("a.json")));

    let marked = Fixture::small();
    marked.write("q.json", &[b"\xef\xbb\xbf".as_slice(), &read("q.json")].concat());
    marked.write("a.json", &gzip(&[b"\xef\xbb\xbf".as_slice(), &read("a.json")].concat()));

    // VQA-CP: bare lists, each record with its COCO split.
    let bare = Fixture::small();
    let mut rows = parsed("q.json")["questions"].take();
    for row in rows.as_array_mut().unwrap() {
        row["coco_split"] = json!("train2014");
    }
    bare.write("q.json", rows.to_string().as_bytes());
    bare.write("a.json", parsed("a.json")["annotations"].to_string().as_bytes());

    // One file writes ids as texts, the other as numbers: they still match.
    let texts = Fixture::small();
    let mut rows = parsed("q.json")["questions"].take();
    for row in rows.as_array_mut().unwrap() {
        row["question_id"] = json!(row["question_id"].to_string());
        row["image_id"] = json!(row["image_id"].to_string());
    }
    texts.questions(rows);

    for (shape, fixture) in [("gzip", gzipped), ("mark", marked), ("bare", bare), ("text ids", texts)] {
        let report = fixture.ingest(&fixture.source())?;
        assert_eq!((report.samples, report.rejected()), (4, 0), "{shape}");
        assert_eq!(tables(&fixture), expected, "{shape}");
    }
    Ok(())
}

#[test]
fn coco_split_tells_the_image_of_each_record() -> Result<()> {
    let fixture = Fixture::small();
    fixture.photo("val2014/COCO_val2014_000000000002.jpg", 3);
    let mut rows = json!([question(10, 1, "?"), question(20, 2, "?")]);
    rows[0]["coco_split"] = json!("train2014");
    rows[1]["coco_split"] = json!("val2014");
    fixture.write("q.json", rows.to_string().as_bytes());
    fixture.ingest(&VqaSource { annotations: None, ..fixture.source() })?;
    let sources = strings(&fixture.table(0, images::NAME), images::SOURCE);
    assert_eq!(sources, ["train2014/COCO_train2014_000000000001.jpg", "val2014/COCO_val2014_000000000002.jpg"]);
    Ok(())
}

#[test]
fn images_may_lie_in_one_folder() -> Result<()> {
    let fixture = Fixture::small();
    let images = fixture.path("images");
    for name in ["COCO_train2014_000000000001.jpg", "COCO_train2014_000000000002.jpg"] {
        std::fs::rename(images.join("train2014").join(name), images.join(name)).unwrap();
    }
    fixture.ingest(&fixture.source())?;
    let sources = strings(&fixture.table(0, images::NAME), images::SOURCE);
    assert_eq!(sources, ["COCO_train2014_000000000001.jpg", "COCO_train2014_000000000002.jpg"]);
    Ok(())
}

#[test]
fn questions_of_test_dev_are_about_images_of_test() -> Result<()> {
    let fixture = Fixture::empty();
    fixture.photo("test2015/COCO_test2015_000000000007.jpg", 7);
    let rows = json!([question(70, 7, "?")]);
    fixture.write("q.json", json!({ "data_subtype": "test-dev2015", "questions": rows }).to_string().as_bytes());
    let report = fixture.ingest(&VqaSource { annotations: None, ..fixture.source() })?;
    assert_eq!((report.samples, report.rejected()), (1, 0));
    Ok(())
}

#[test]
fn a_file_of_another_structure_is_an_error_and_nothing_is_written() {
    for (name, text, found) in [
        ("q.json", "{\"questions\": [\n{\"question_id\": 1,\n", "q.json, line 3"),
        ("q.json", "question_id,image_id\n1,2\n", "q.json, line 1"),
        (
            "q.json",
            r#"{"annotations": []}"#,
            "the list \"questions\", or the bare list, but it is an object with the keys",
        ),
        ("a.json", r#"{"annotations": {"1": 2}}"#, "a.json, line 1"),
        ("a.json", "null", "the list \"annotations\""),
    ] {
        let fixture = Fixture::small();
        fixture.write(name, text.as_bytes());
        let error = fixture.ingest(&fixture.source()).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
        assert!(error.to_string().contains(found), "{text}: {error}");
        assert!(!fixture.out().join("dataset.json").exists());
    }
}

#[test]
fn a_cut_gzip_file_is_an_error_that_names_it() {
    let fixture = Fixture::small();
    let whole = gzip(&std::fs::read(fixture.path("q.json")).unwrap());
    fixture.write("q.json", &whole[..whole.len() / 2]);
    let error = fixture.ingest(&fixture.source()).unwrap_err().to_string();
    assert!(error.contains("cannot unpack") && error.contains("q.json"), "{error}");
}

#[test]
fn options_that_mean_nothing_are_refused() {
    let fixture = Fixture::small();
    let good = fixture.source();
    for (source, found) in [
        (VqaSource { split: "../train".to_owned(), ..good.clone() }, "split"),
        (VqaSource { split: String::new(), ..good.clone() }, "split"),
        (VqaSource { shard_images: 0, ..good.clone() }, "number of images a shard"),
        (VqaSource { image_pattern: "{subtype}.jpg".to_owned(), ..good.clone() }, "image pattern"),
        (VqaSource { images: fixture.path("photos"), ..good.clone() }, "not a folder of images"),
        (VqaSource { questions: fixture.path("none.json"), ..good.clone() }, "none.json"),
    ] {
        let error = fixture.ingest(&source).unwrap_err();
        assert!(error.to_string().contains(found), "{error}");
    }
    // The files of VQA-CP without their coco_split.
    fixture.write("q.json", json!([question(10, 1, "?")]).to_string().as_bytes());
    let error = fixture.ingest(&good).unwrap_err();
    assert!(matches!(error, Error::NoSubtype { .. }) && error.hint().is_some(), "{error}");
}
