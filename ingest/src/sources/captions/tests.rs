//! What an ingest of captions writes, from files in a temporary folder.

mod real;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Float32Type;
use retort_schemas::tables::{images as image_table, regions as region_table};
use serde_json::json;

use super::*;
use crate::sources::fixture::Fixture;
use crate::sources::testing::strings;

/// Image and caption, in file order.
const CAPTIONS: [(&str, &str); 4] =
    [("a.jpg", "A red car, \"fast\"."), ("b.jpg", "Two dogs\nrun."), ("a.jpg", "It is red."), ("a.jpg", "It is red.")];

fn fixture() -> Fixture {
    Fixture::with_photos(&["a.jpg", "b.jpg"])
}

fn files(fixture: &Fixture, file: &str) -> CaptionFiles {
    CaptionFiles { file: fixture.path(file), images: fixture.path("images"), ..CaptionFiles::default() }
}

fn table(delimiter: &str, image: &str, caption: &str) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let row = |(image, caption): (&str, &str)| format!("{image}{delimiter}{}\n", quoted(caption));
    format!("{image}{delimiter}{caption}\n{}", CAPTIONS.map(row).concat())
}

/// Ids and captions of the samples.
fn captions(fixture: &Fixture) -> Vec<(String, String)> {
    fixture.samples().into_iter().map(|sample| (sample.id, sample.texts.join("|"))).collect()
}

fn owned<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
    pairs.map(|(id, caption)| (id.to_owned(), caption.to_owned())).into()
}

#[test]
fn tables_and_jsonl_give_the_same_samples() -> Result<()> {
    let jsonl = |image: &str, caption: &str| -> String {
        CAPTIONS.map(|(name, text)| format!("{}\n", json!({ image: name, caption: text, "other": [1] }))).concat()
    };
    let lists = "{\"image\": \"a.jpg\", \"captions\": [\"A red car, \\\"fast\\\".\", \"It is red.\", \" It is red. \"]}\n\
                 {\"image\": \"b.jpg\", \"captions\": \"Two dogs\\nrun.\"}\n";
    let list = json!(CAPTIONS.map(|(name, text)| json!({ "image": name, "caption": text })));
    let mut tables = Vec::new();
    for (shape, text) in [
        ("csv", table(",", "image", "caption")),
        ("other names", table(",", "Filepath", "TEXT")),
        ("open_clip", table("\t", "filepath", "title")),
        ("pipes", table("|", "image_name", "comment")),
        ("jsonl", jsonl("file_name", "caption")),
        ("list", list.to_string()),
        ("captions together", lists.to_owned()),
    ] {
        let fixture = fixture();
        fixture.write("captions", text);
        let report = fixture.ingest(&Captions::open(&files(&fixture, "captions"))?, "train")?;
        assert_eq!((report.samples, report.images, report.texts, report.rejected()), (4, 2, 3, 0), "{shape}");
        let expected = [
            ("a.jpg#0", "A red car, \"fast\"."),
            ("a.jpg#1", "It is red."),
            ("a.jpg#2", "It is red."),
            ("b.jpg#0", "Two dogs\nrun."),
        ];
        assert_eq!(captions(&fixture), owned(expected), "{shape}");
        let samples = fixture.samples();
        assert!(samples.iter().all(|sample| sample.task == "caption" && sample.label.is_none()), "{shape}");
        tables.push(fixture.tables());
    }
    assert!(tables.windows(2).all(|pair| pair[0] == pair[1]));
    Ok(())
}

#[test]
fn columns_and_layout_can_be_named() -> Result<()> {
    let fixture = fixture();
    fixture.write("captions", "photo,image\tx,words\na.jpg,b.jpg,said\n");
    let named = CaptionFiles {
        image_column: Some("photo".to_owned()),
        caption_column: Some("words".to_owned()),
        ..files(&fixture, "captions")
    };
    fixture.ingest(&Captions::open(&named)?, "train")?;
    assert_eq!(captions(&fixture), owned([("a.jpg#0", "said")]));
    // The first row divides better at commas.
    fixture.write("captions", "image\tcaption, in, words\n");
    let named = |layout| CaptionFiles { layout: Some(layout), ..files(&fixture, "captions") };
    let error = Captions::open(&named(CaptionLayout::Csv)).err().unwrap();
    assert!(matches!(&error, Error::NoColumns { found, .. } if found == "image\tcaption, in, words"), "{error}");
    let error = Captions::open(&named(CaptionLayout::Tsv)).err().unwrap();
    assert!(matches!(&error, Error::NoColumns { found, .. } if found == "image, caption, in, words"), "{error}");
    Ok(())
}

#[test]
fn keys_of_token_files_are_sample_ids_and_stray_ones_are_lost() -> Result<()> {
    let fixture = fixture();
    let text = "a.jpg#0\tA red car .\na.jpg#1\tIt is red . \r\nea.jpg#0\tA stray key .\nb.jpg#0\tone\tb.jpg#1\ttwo\n\
                b.jpg.1#0\tAnother .\na.jpg\tNo number .\na.jpg#1\tAgain .\nno tab\nb.jpg#1\tTwo dogs .\n../x#0\tOut .\n";
    fixture.write("Flickr8k.token.txt", [text.as_bytes(), b"b.jpg#3\t\xff\n"].concat());
    let report = fixture.ingest(&Captions::open(&files(&fixture, "Flickr8k.token.txt"))?, "all")?;
    assert_eq!(
        captions(&fixture),
        owned([("a.jpg#0", "A red car ."), ("a.jpg#1", "It is red ."), ("b.jpg#1", "Two dogs ."),])
    );
    fixture.assert_rejects(&[
        ("line 4 of Flickr8k.token.txt", "wrong_column_count", "the line has 4 columns, expected 2"),
        ("line 6 of Flickr8k.token.txt", "bad_record", "the key is \"a.jpg\", expected the name of an image"),
        ("caption a.jpg#1", "duplicate_caption_id", "same id"),
        ("line 8 of Flickr8k.token.txt", "wrong_column_count", "the line has 1 columns"),
        ("caption of ../x", "bad_record", "leads out of the image folder"),
        ("line 11 of Flickr8k.token.txt", "bad_record", "not UTF-8"),
        ("ea.jpg", "image_missing", "ea.jpg"),
        ("b.jpg.1", "image_missing", "b.jpg.1"),
        ("sample ea.jpg#0", "image_rejected", "image_missing"),
        ("sample b.jpg.1#0", "image_rejected", "image_missing"),
    ]);
    assert_eq!(report.rejects["wrong_column_count"], 2);

    // Of a list of images, nothing else is lost.
    let ids = Some(fixture.write("Flickr_8k.trainImages.txt", "a.jpg\n"));
    let listed = CaptionFiles { ids, ..files(&fixture, "Flickr8k.token.txt") };
    let report = fixture.ingest(&Captions::open(&listed)?, "train")?;
    assert_eq!((report.samples, report.images), (2, 1));
    let codes: Vec<String> = fixture.rejects().into_iter().skip(10).map(|(source, ..)| source).collect();
    assert_eq!(
        codes,
        [
            "line 6 of Flickr8k.token.txt",
            "caption a.jpg#1",
            "line 8 of Flickr8k.token.txt",
            "line 11 of Flickr8k.token.txt",
        ]
    );
    Ok(())
}

#[test]
fn bad_rows_of_tables_are_rejects() -> Result<()> {
    let fixture = fixture();
    fixture
        .write("captions.csv", "image,caption\na.jpg,good\na.jpg,\n,no image\na.jpg,b,c\nb.jpg,\"open\na.jpg,lost\n");
    fixture.ingest(&Captions::open(&files(&fixture, "captions.csv"))?, "one")?;
    fixture.assert_rejects(&[
        ("line 3 of captions.csv", "bad_record", "field caption or captions or text or title or comment is missing"),
        ("line 4 of captions.csv", "bad_record", "field image or image_name"),
        ("line 5 of captions.csv", "wrong_column_count", "3 columns, expected 2: image, caption"),
        ("line 6 of captions.csv", "unclosed_quote", "from line 6 to line 7"),
    ]);
    let rows = "{\"image\": 5, \"caption\": \"x\"}\n{\"image\": \"a.jpg\", \"caption\": 7}\n\
                {\"image\": \"a.jpg\", \"caption\": [\"x\", \"\"]}\n{\"image\": \"a.jpg\", \"captions\": []}\n3\n\
                {\"image\": \"a.jpg\", \"caption\": \"x\"}\n";
    fixture.write("c.jsonl", rows);
    let report = fixture.ingest(&Captions::open(&files(&fixture, "c.jsonl"))?, "two")?;
    assert_eq!(report.samples, 1);
    let found = fixture.rejects().into_iter().skip(4).collect::<Vec<_>>();
    for ((source, code, message), (line, expected)) in found.iter().zip([
        (1, "field image is 5, expected a text"),
        (2, "field caption is 7, expected a text or a list of texts"),
        (3, "field caption is [\"x\",\"\"], expected a text or a list of texts"),
        (4, "field captions is [], expected a text or a list of texts"),
        (5, "the record is 3, expected an object"),
    ]) {
        assert_eq!((source.as_str(), code.as_str()), (format!("line {line} of c.jsonl").as_str(), "bad_record"));
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(found.len(), 5);
    Ok(())
}

fn karpathy() -> String {
    let image = |name: &str, split: &str, sentences: Value| json!({ "filepath": "val2014", "filename": name, "imgid": 0, "split": split, "sentences": sentences });
    let sentence = |id: u32, raw: &str| json!({ "raw": raw, "tokens": [], "imgid": 0, "sentid": id });
    json!({ "dataset": "coco", "images": [
        image("a.jpg", "train", json!([sentence(10, "A red car."), sentence(11, "It is red.\n")])),
        image("c.jpg", "val", json!([sentence(12, "Of val.")])),
        image("b.jpg", "restval", json!([
            sentence(13, "Two dogs."), sentence(13, "Again."), { "sentid": 14, "raw": 5 }, { "raw": "Without an id." }, "text",
        ])),
        { "filename": "d.jpg", "sentences": [] },
        { "filename": "d.jpg", "split": "train" },
    ] })
    .to_string()
}

#[test]
fn parts_of_a_karpathy_file_are_chosen() -> Result<()> {
    let fixture = Fixture::with_photos(&["val2014/a.jpg", "b.jpg"]);
    fixture.write("dataset_coco.json", karpathy());
    let files = |parts: &[&str]| CaptionFiles {
        parts: parts.iter().map(|part| (*part).to_owned()).collect(),
        ..files(&fixture, "dataset_coco.json")
    };
    for (parts, found) in [
        (&[][..], "holds several parts, say which: restval, train, val"),
        (&["train", "tset"], "part \"tset\" is not usable"),
    ] {
        let error = Captions::open(&files(parts)).err().unwrap();
        assert!(error.to_string().contains(found), "{error}");
    }
    let layout = Some(CaptionLayout::Karpathy);
    let source = Captions::open(&CaptionFiles { layout, ..files(&["train", "restval"]) })?;
    let report = fixture.ingest(&source, "train")?;
    assert_eq!((report.samples, report.images), (4, 2));
    assert_eq!(
        captions(&fixture),
        owned(
            [("10", "A red car."), ("11", "It is red."), ("13", "Two dogs."), ("val2014/b.jpg#1", "Without an id."),]
        )
    );
    // Where the folder of the part is not there, the file name alone is tried.
    assert_eq!(strings(&fixture.table(0, image_table::NAME), image_table::SOURCE), ["val2014/a.jpg", "b.jpg"]);
    fixture.assert_rejects(&[
        ("caption 13", "duplicate_caption_id", "same id"),
        ("record 2 of dataset_coco.json", "bad_record", "sentence 2: field raw is 5, expected a text"),
        ("record 2 of dataset_coco.json", "bad_record", "sentence 4: the record is \"text\", expected an object"),
        ("record 3 of dataset_coco.json", "bad_record", "field split is missing"),
        ("record 4 of dataset_coco.json", "bad_record", "field sentences is missing"),
    ]);
    // The order of the parts does not matter: the split is there already.
    let again = Captions::open(&files(&["restval", "train"]))?;
    assert!(fixture.ingest(&again, "train")?.skipped_already);
    Ok(())
}

fn coco() -> (Value, Value) {
    let images = json!([{ "id": 1, "file_name": "a.jpg" }, { "id": 2, "file_name": "b.jpg" }, { "id": 3 }]);
    let captions = json!({ "info": {}, "images": images, "annotations": [
        { "id": 70, "image_id": 2, "caption": "Two dogs.\n" },
        { "id": 71, "image_id": 1, "caption": "A red car." },
        { "id": 72, "image_id": 2, "caption": "They run." },
        { "id": 72, "image_id": 2, "caption": "The same id." },
        { "id": 73, "image_id": 9, "caption": "No such image." },
        { "id": 74, "image_id": 1, "caption": "  " },
        { "id": 75, "image_id": 1 },
        { "id": 76, "caption": "Of none." },
        [],
    ] });
    let instances = json!({
        "images": images,
        "categories": [{ "id": 3, "name": "car" }, { "id": 18, "name": "dog" }, { "id": 19 }],
        "annotations": [
            { "id": 1, "image_id": 1, "category_id": 3, "bbox": [1.5, 2.0, 10.0, 4.25], "iscrowd": 0 },
            { "id": 2, "image_id": 2, "category_id": 18, "bbox": [0, 0, 3, 3], "segmentation": [[1, 2]] },
            { "id": 3, "image_id": 1, "category_id": 18, "bbox": [2, 2, 1, 1], "iscrowd": 1 },
            { "id": 4, "image_id": 9, "category_id": 3, "bbox": [0, 0, 1, 1] },
            { "id": 5, "image_id": 1, "category_id": 99, "bbox": [0, 0, 1, 1] },
            { "id": 6, "image_id": 1, "category_id": 3, "bbox": [0, 0, -1, 1] },
            { "id": 7, "image_id": 1, "category_id": 3, "bbox": [0, 0, 1] },
            { "image_id": 1 },
            7,
        ],
    });
    (captions, instances)
}

#[test]
fn captions_of_coco_come_with_regions() -> Result<()> {
    let fixture = fixture();
    let (captions_json, instances_json) = coco();
    fixture.write("captions.json", captions_json.to_string());
    let instances = Some(fixture.write("instances.json", instances_json.to_string()));
    let source = Captions::open(&CaptionFiles { instances, ..files(&fixture, "captions.json") })?;
    let report = fixture.ingest(&source, "val")?;
    assert_eq!((report.samples, report.images), (3, 2));
    assert_eq!(captions(&fixture), owned([("70", "Two dogs."), ("72", "They run."), ("71", "A red car.")]));
    fixture.assert_rejects(&[
        ("record 2 of images in captions.json", "bad_record", "field file_name is missing"),
        ("caption 72", "duplicate_caption_id", "same id"),
        ("caption 73", "unlisted_image", "image_id is 9"),
        ("caption 74", "bad_record", "field caption is empty"),
        ("caption 75", "bad_record", "field caption is missing"),
        ("caption 76", "bad_record", "field image_id is missing"),
        ("record 8 of annotations in captions.json", "bad_record", "the record is [], expected an object"),
        ("record 2 of images in instances.json", "bad_record", "field file_name is missing"),
        ("record 2 of categories in instances.json", "bad_record", "field name is missing"),
        ("region 4", "unlisted_image", "image_id is 9"),
        ("region 5", "bad_record", "category_id is 99"),
        ("region 6", "bad_record", "field bbox is [0, 0, -1, 1], expected left, top, width and height"),
        ("region 7", "bad_record", "field bbox is [0,0,1], expected left"),
        ("record 7 of annotations in instances.json", "bad_record", "field category_id is missing"),
        ("record 8 of annotations in instances.json", "bad_record", "the record is 7, expected an object"),
    ]);
    assert_eq!(
        regions(&fixture),
        [
            vec![([0.0, 0.0, 3.0, 3.0], "dog".to_owned())],
            vec![([1.5, 2.0, 11.5, 6.25], "car".to_owned()), ([2.0, 2.0, 3.0, 3.0], "dog".to_owned())],
        ]
    );
    Ok(())
}

/// Corners and class of each region of each image of the first shard.
fn regions(fixture: &Fixture) -> Vec<Vec<([f32; 4], String)>> {
    regions_of(&fixture.table(0, region_table::NAME))
}

fn regions_of(table: &RecordBatch) -> Vec<Vec<([f32; 4], String)>> {
    let lists = table.column_by_name(region_table::BOXES).unwrap().as_list::<i32>();
    let boxes = lists.iter().flatten().map(|list| {
        let list = list.as_struct();
        let corner = |at: usize, row: usize| list.column(at).as_primitive::<Float32Type>().value(row);
        let classes = list.column(4).as_string::<i32>();
        let region = |row| ([0, 1, 2, 3].map(|at| corner(at, row)), classes.value(row).to_owned());
        (0..list.len()).map(region).collect()
    });
    boxes.collect()
}

#[test]
fn files_and_options_of_another_kind_are_errors() {
    let fixture = fixture();
    for (text, found) in [
        ("a,b\n1,2\n", "expected a first row with one of image, image_name"),
        ("a.jpg,A caption.\n", "found the columns [a.jpg, A caption.]"),
        ("", "found the columns []"),
        ("{\"data\":\n []}", "an object with the keys [data]"),
    ] {
        fixture.write("captions", text);
        let error = Captions::open(&files(&fixture, "captions")).err().unwrap();
        assert!(error.to_string().contains(found) && error.hint().is_some(), "{text}: {error}");
    }
    fixture.write("captions.csv", "image,caption\na.jpg,x\n");
    let parts = CaptionFiles { parts: vec!["train".to_owned()], ..files(&fixture, "captions.csv") };
    let error = Captions::open(&parts).err().unwrap();
    assert!(error.to_string().contains("does not say the part of an image"), "{error}");
    let ids = Some(fixture.write("ids.txt", "z.jpg\n"));
    let source = Captions::open(&CaptionFiles { ids, ..files(&fixture, "captions.csv") }).unwrap();
    let error = fixture.ingest(&source, "train").unwrap_err();
    assert!(matches!(error, Error::EmptyPart { records: 1, .. }), "{error}");
    fixture.write("cut.json", "{\"images\": [{\"id\": 1,");
    let source = Captions::open(&files(&fixture, "cut.json")).unwrap();
    assert!(matches!(fixture.ingest(&source, "train"), Err(Error::Malformed { .. })));
    let instances = Some(fixture.write("i.json", "{\"images\": []}"));
    let error = Captions::open(&CaptionFiles { instances, ..files(&fixture, "captions.csv") }).err().unwrap();
    assert!(error.to_string().contains("the list \"categories\""), "{error}");
}
