//! Records that are lost: which, where and why; and what stays.

use super::*;

/// Ingests one changed line beside a good one: the rejects with their messages, and the ids of what is left of it.
fn rejects_of(fields: &[(&str, Value)]) -> (Vec<String>, Vec<String>, Vec<String>) {
    let fixture = Fixture::small();
    fixture.lines(&[annotation("val-0", IMAGE), with(annotation("val-1", IMAGE), fields)]);
    fixture.ingest(&fixture.files()).unwrap();
    let left = fixture.samples(0).into_iter().map(|sample| sample.id).filter(|id| !id.starts_with("val-0:"));
    let messages = strings(&fixture.table(0, reject_table::NAME), reject_table::MESSAGE);
    (fixture.rejected(0), messages, left.collect())
}

#[test]
fn a_line_that_is_no_annotation_is_lost_alone() {
    let tokens = "expected a list of words and lists of object indices";
    for (field, value, code, found) in [
        ("objects", json!(null), "bad_record", "field objects is missing, expected a list of class names"),
        ("objects", json!([1]), "bad_record", "field objects is [1]"),
        ("question", json!(null), "bad_record", "field question is missing"),
        ("question", json!("Why?"), "bad_record", tokens),
        ("question", json!(["Why", 0]), "bad_record", tokens),
        ("question", json!(["Why", [0.5]]), "bad_record", tokens),
        ("question", json!(["Why", [[0]]]), "bad_record", tokens),
        ("question", json!([]), "bad_record", "field question has no words"),
        (
            "question",
            json!(["Why", [5]]),
            "object_out_of_range",
            "field question refers to object 5, expected one of its 5",
        ),
        ("question", json!(["Why", [0, -1]]), "object_out_of_range", "object -1"),
        ("metadata_fn", json!(7), "bad_record", "field metadata_fn is 7, expected a text"),
        ("answer_likelihood", json!([]), "bad_record", "field answer_likelihood is []"),
    ] {
        let (rejects, messages, left) = rejects_of(&[(field, value.clone())]);
        assert_eq!(rejects, [format!("annotation val-1 | annotation | {code}")], "{field} {value}");
        assert!(messages[0].contains(found), "{field} {value}: {}", messages[0]);
        assert!(left.is_empty(), "{left:?}");
    }
    for (field, value, found) in [
        ("annot_id", json!(null), "field annot_id is missing, expected a text"),
        ("annot_id", json!(""), "field annot_id is empty"),
        ("annot_id", json!(5), "field annot_id is 5"),
        ("img_fn", json!(null), "field img_fn is missing, expected a text"),
        ("img_fn", json!("../secret.jpg"), "field img_fn is \"../secret.jpg\", which leads out of the image folder"),
        ("img_fn", json!("vcr1images//etc/passwd"), "leads out of the image folder"),
    ] {
        let (rejects, messages, left) = rejects_of(&[(field, value)]);
        assert_eq!(rejects, ["line 2 of val.jsonl | annotation | bad_record"]);
        assert!(messages[0].contains(found), "{}", messages[0]);
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_fault_of_one_task_leaves_the_other() {
    let three = json!([["a"], ["b"], ["c"]]);
    let five = json!([["a"], ["b"], ["c"], ["d"], ["e"]]);
    let far = json!([["a"], ["b"], [[0, 9]], ["d"]]);
    let empty = json!([["a"], [], ["c"], ["d"]]);
    let both = ["qa", "qar"].as_slice();
    for (field, value, lost, code, found) in [
        ("answer_choices", three.clone(), both, "wrong_choices", "field answer_choices has 3 choices, expected 4"),
        ("answer_choices", json!(null), both, "bad_record", "field answer_choices is missing, expected four lists"),
        ("answer_choices", far.clone(), both, "object_out_of_range", "field answer_choices refers to object 9"),
        ("answer_choices", empty.clone(), both, "bad_record", "field answer_choices has no words"),
        (
            "answer_label",
            json!(4),
            both,
            "label_out_of_range",
            "field answer_label is 4, expected a whole number from 0",
        ),
        ("answer_label", json!(-1), both, "label_out_of_range", "field answer_label is -1"),
        ("answer_label", json!("1"), both, "bad_record", "field answer_label is \"1\""),
        ("rationale_choices", five, &["qar"], "wrong_choices", "field rationale_choices has 5 choices"),
        ("rationale_choices", json!([[0], [], [], []]), &["qar"], "bad_record", "field rationale_choices is [[0]"),
        ("rationale_choices", far, &["qar"], "object_out_of_range", "field rationale_choices refers to object 9"),
        ("rationale_choices", empty, &["qar"], "bad_record", "field rationale_choices has no words"),
        ("rationale_label", json!(17), &["qar"], "label_out_of_range", "field rationale_label is 17"),
        ("rationale_label", json!(0.5), &["qar"], "bad_record", "field rationale_label is 0.5"),
    ] {
        let (rejects, messages, left) = rejects_of(&[(field, value.clone())]);
        let expected = lost.iter().map(|task| format!("sample val-1:{task} | annotation | {code}"));
        assert_eq!(rejects, expected.collect::<Vec<_>>(), "{field} {value}");
        assert!(messages.iter().all(|message| message.contains(found)), "{field} {value}: {messages:?}");
        let kept: &[&str] = if lost == both { &[] } else { &["val-1:qa"] };
        assert_eq!(left, kept);
    }
    // Where the right answer is not known, all four samples of rationales are lost as one.
    let fields = [("answer_label", json!(null)), ("rationale_choices", three)];
    let (rejects, _, left) = rejects_of(&fields);
    assert_eq!(rejects, ["sample val-1:qar | annotation | wrong_choices"]);
    assert_eq!(left, ["val-1:qa"]);
}

#[test]
fn broken_lines_and_equal_ids_are_lost() -> Result<()> {
    let fixture = Fixture::small();
    let [first, second] = ["val-0", "val-1"].map(|id| annotation(id, IMAGE).to_string());
    let twice = second.replacen('{', "{\"annot_id\": \"val-9\", ", 1);
    let text = format!("{first}\n{{\"annot_id\": \"val\n\n7\n{second}\n{first}\n{twice}\n");
    fixture.write("val.jsonl", text.as_bytes());
    let report = fixture.ingest(&fixture.files())?;
    assert_eq!(report.samples, 4);
    let expected = [
        "line 2 of val.jsonl | annotation | bad_record",
        "line 4 of val.jsonl | annotation | bad_record",
        "annotation val-0 | annotation | duplicate_annot_id",
        "line 7 of val.jsonl | annotation | bad_record",
    ];
    assert_eq!(fixture.rejected(0), expected);
    let messages = strings(&fixture.table(0, reject_table::NAME), reject_table::MESSAGE);
    let found = [
        "it is not JSON: EOF",
        "the record is 7, expected an object",
        "line 6: an earlier line has the same annot_id",
        "one of its fields is there twice",
    ];
    for (message, found) in messages.iter().zip(found) {
        assert!(message.contains(found), "{message}");
    }
    Ok(())
}

#[test]
fn metadata_that_cannot_be_used_costs_the_regions_alone() -> Result<()> {
    let path = metadata_of(IMAGE);
    let missing = |fixture: &Fixture| std::fs::remove_file(fixture.path(&format!("vcr1images/{path}"))).unwrap();
    let unreadable = |fixture: &Fixture| {
        missing(fixture);
        std::fs::create_dir(fixture.path(&format!("vcr1images/{path}"))).unwrap();
    };
    let write = |fixture: &Fixture, text: &str| fixture.write(&format!("vcr1images/{path}"), text.as_bytes());
    type Change<'a> = &'a dyn Fn(&Fixture);
    let cases: [(Change<'_>, &str, &str, &str); 6] = [
        (&missing, "read", "metadata_missing", "the image folder has no "),
        (&unreadable, "read", "metadata_unreadable", "directory"),
        (&|fixture| write(fixture, "{\"boxes\": ["), "read", "metadata_corrupt", "EOF"),
        (&|fixture| write(fixture, r#"{"boxes": [[0, 0, 5]]}"#), "read", "metadata_corrupt", "object 0 is [0, 0, 5]"),
        (
            &|fixture| fixture.metadata(IMAGE, &["person", "cup"]),
            "annotation",
            "metadata_mismatch",
            "it is about 2 objects (person, cup), its annotations about 5 objects (person, person, pottedplant",
        ),
        (
            &|fixture| write(fixture, r#"{"boxes": [[0, 0, 5, 5, 1]]}"#),
            "annotation",
            "metadata_mismatch",
            "it is about 1 objects, its annotations about 5",
        ),
    ];
    for (change, stage, code, found) in cases {
        let fixture = Fixture::small();
        change(&fixture);
        let report = fixture.ingest(&fixture.files())?;
        assert_eq!((report.samples, report.images), (4, 1), "{code}");
        assert_eq!(fixture.rejected(0), [format!("{path} | {stage} | {code}")]);
        let message = strings(&fixture.table(0, reject_table::NAME), reject_table::MESSAGE).remove(0);
        assert!(message.contains(found), "{message}");
        assert_eq!(boxes(&fixture.table(0, regions::NAME)), [vec![]], "{code}");
    }

    let fixture = Fixture::small();
    fixture.lines(&["val-0", "val-1"].map(|id| with(annotation(id, IMAGE), &[("metadata_fn", Value::Null)])));
    let report = fixture.ingest(&fixture.files())?;
    assert_eq!(report.samples, 4);
    assert_eq!(fixture.rejected(0), [format!("{IMAGE} | annotation | metadata_missing")]);
    Ok(())
}

#[test]
fn an_annotation_about_other_objects_than_its_image_is_lost() -> Result<()> {
    let fixture = Fixture::small();
    let other = json!(["person", "person", "cup", "person", "diningtable"]);
    fixture.lines(&[with(annotation("val-0", IMAGE), &[("objects", other.clone())]), annotation("val-1", IMAGE)]);
    let report = fixture.ingest(&fixture.files())?;
    assert_eq!(report.samples, 2);
    assert_eq!(fixture.rejected(0), ["annotation val-0 | annotation | objects_mismatch"]);
    let message = strings(&fixture.table(0, reject_table::NAME), reject_table::MESSAGE).remove(0);
    assert!(message.contains("(person, person, cup, person, diningtable)"), "{message}");
    assert_eq!(boxes(&fixture.table(0, regions::NAME))[0].len(), 5);

    // An annotation of which nothing is left does not take the other's part.
    fixture.lines(&[
        with(annotation("val-0", IMAGE), &[("objects", other)]),
        with(annotation("val-1", IMAGE), &[("answer_label", json!(4))]),
    ]);
    let report = fixture.ingest_as(&fixture.files(), &Options { force: true, ..Options::new("val") })?;
    assert_eq!((report.images, report.samples), (1, 2));
    assert_eq!(report.rejects["metadata_mismatch"], 1);
    Ok(())
}

#[test]
fn a_lost_image_takes_its_samples_and_a_lost_line_its_image() -> Result<()> {
    let fixture = Fixture::small();
    fixture.metadata("b/2.jpg", &OBJECTS);
    fixture.lines(&[
        annotation("val-0", "b/2.jpg"),
        annotation("val-1", IMAGE),
        // Nothing is left to be said about this image: it is not read.
        with(annotation("val-2", "c/3.jpg"), &[("question", json!([]))]),
    ]);
    let report = fixture.ingest(&fixture.files())?;
    assert_eq!((report.images, report.samples), (1, 2));
    let expected = [
        "annotation val-2 | annotation | bad_record",
        "b/2.jpg | read | image_missing",
        "sample val-0:qa | read | image_rejected",
        "sample val-0:qar | read | image_rejected",
    ];
    assert_eq!(fixture.rejected(0), expected);
    Ok(())
}

#[test]
fn a_percentage_of_rejects_is_of_samples_and_images() -> Result<()> {
    // Two images, two samples of the labelled line and five of the other: nine, of which three are lost.
    let fixture = Fixture::small();
    fixture.lines(&[
        annotation("val-0", IMAGE),
        with(annotation("val-1", "b/2.jpg"), &[("answer_label", json!(null)), ("rationale_choices", json!([]))]),
    ]);
    let options = |percent| Options { max_rejects: crate::RejectLimit::Percent(percent), ..Options::new("val") };
    let error = fixture.ingest_as(&fixture.files(), &options(30.0)).unwrap_err();
    // The metadata file, the image, its sample of answers, and that of rationales.
    let Error::TooManyRejects { rejects: 4, records: 9, .. } = error else { panic!("{error}") };
    fixture.ingest_as(&fixture.files(), &options(50.0))?;
    Ok(())
}
