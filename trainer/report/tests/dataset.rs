//! Writes the page of a small made-up data set, and looks into it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, as tests do")]
#![allow(dead_code, reason = "the helpers serve the pages of runs, too")]

mod support;

use std::fs;
use std::path::Path;

use retort_cache::{DatasetWriter, SplitPlan};
use retort_report::{Error, write_report};
use support::taught::{image_vector, teach, text_vector};
use support::{HOSTILE, dataset, page, question, split};

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn a_page_shows_a_data_set_and_its_teachers() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("shapes & more");
    dataset(&data);
    split(&data, "choice", 4);
    teach(&data, "none");
    // Beside the build, so that a person can open it in a browser.
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dataset.html");
    let summary = write_report(std::slice::from_ref(&data), None, &out).unwrap();
    let html = page(&out);
    assert_eq!((summary.runs, summary.bytes, &summary.missing), (0, html.len(), &Vec::new()));
    // 24 samples, 4 queries with 5 neighbours, 6 texts with their words, 8 pairs.
    assert_eq!(summary.images, 24 + 24 + 6 + 16);
    assert_eq!(html.matches("src=\"data:image/png;base64,").count(), summary.images);
    let sections = ["Samples", "Labels", "Lengths of texts", "Rejects", "Size by table", "Words", "Near duplicates"];
    for section in sections {
        assert!(html.contains(&format!("<h2>{section}</h2>")), "{section}");
    }
    for words in [
        "<title>Data set shapes &amp; more</title>",
        "128 samples over 128 images and 128 texts, in 2 shards;",
        // Every label has a fourth of the samples.
        "32 \u{b7} 25.0\u{202f}%",
        "the folder has no &lt;gone.png&gt;",
        "<h2>Teacher clip@",
        "<h2>Teacher text@",
        "embedding 3.000 (3.000 to 3.000)",
        "64 distinct images (128 rows)",
        "64 distinct images were compared: 32 pairs were found. The 8 nearest that share no image are shown.",
        "1 bit differs",
        // Sample 5 of the choices is a choice between questions 5 to 8, of which the second is right.
        "<p class=\"text\">which shape is in the picture, as far as you can tell?</p><p class=\"text chosen\">what color is the shape?</p>",
    ] {
        assert!(html.contains(words), "{words}");
    }
    // The first query is image 0, and its nearest is the next of its colour.
    let nearest_cosine = cosine(&image_vector(0), &image_vector(4));
    let first = "<figcaption>query</figcaption></figure><figure class=\"\">";
    let nearest = html.split_once(first).unwrap().1.split_once("<figcaption>").unwrap().1;
    assert!(nearest.starts_with(&format!("{nearest_cosine:.3}<")), "{nearest_cosine}, not {}", &nearest[..12]);
    // Question 1 has the word green: its likeness to the image, and to the question.
    let green = [("prompt", image_vector(1)), ("isolated", text_vector(&question(1)))];
    for (column, whole) in green {
        let cosine = cosine(&text_vector(&format!("{column} green")), &whole);
        assert!(html.contains(&format!("title=\"cosine {cosine:.3}\">green</span>")), "{column}: {cosine}");
    }
    // The last word names an object of the image: selection sees no such words.
    assert!(html.contains(">shape</span> in the image?</p>"), "a name of an object is shaded");
    assert!(html.contains("&lt;script&gt;") && !html.contains("<script") && !html.contains(HOSTILE), "not escaped");
    assert!(!html.contains("http") && !html.contains("NaN"));

    write_report(&[data], None, &out).unwrap();
    assert_eq!(page(&out), html, "the same files give another page");
}

#[test]
fn what_a_data_set_lacks_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("new");
    let out = folder.path().join("page.html");
    let plan =
        SplitPlan { name: "train".into(), source: "vqa".into(), options: serde_json::Value::Null, answers: None };
    drop(DatasetWriter::begin(&data, plan.clone()).unwrap());
    // Before its first shard a data set has no manifest, and is none.
    assert!(write_report(std::slice::from_ref(&data), None, &out).is_err());
    DatasetWriter::begin(&data, plan).unwrap().finish().unwrap();
    let summary = write_report(std::slice::from_ref(&data), None, &out).unwrap();
    let told = [
        "There is no sample to show.",
        "There is no label to count.",
        "There is no text.",
        "No teacher has features of this data set yet: `retort teach` makes them.",
    ];
    assert_eq!(summary.missing, told);

    dataset(&data);
    split(&data, "choice", 4);
    teach(&data, "choice");
    let summary = write_report(&[data], None, &out).unwrap();
    let lacks = |name: &str| {
        summary.missing.iter().any(|told| {
            told.starts_with(&format!("The teacher {name}@"))
                && told.ends_with(" lacks 1 shard: run its teach command again.")
        })
    };
    assert!(summary.missing.len() == 2 && lacks("clip") && lacks("text"), "{:?}", summary.missing);
}

#[test]
fn damage_is_an_error_and_leaves_no_page() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("shapes");
    let out = folder.path().join("page.html");
    dataset(&data);
    teach(&data, "none");
    let clip = fs::read_dir(data.join("cache")).unwrap().map(|entry| entry.unwrap().path());
    let clip = clip.filter(|path| path.ends_with("clip") || path.to_string_lossy().contains("clip@")).last().unwrap();
    for table in
        [data.join("images"), data.join("samples"), data.join("texts"), clip.join("images"), clip.join("words")]
    {
        let file = table.join("test-00000.parquet");
        let whole = fs::read(&file).unwrap();
        let mut bytes = whole.clone();
        bytes.iter_mut().skip(4).take(whole.len() / 3).for_each(|byte| *byte ^= 1);
        fs::write(&file, bytes).unwrap();
        let error = write_report(std::slice::from_ref(&data), None, &out).unwrap_err();
        assert!(matches!(&error, Error::Data(_)) && error.to_string().contains("test-00000.parquet"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("retort verify")), "{error}");
        assert!(!out.exists());
        fs::write(&file, whole).unwrap();
    }
    write_report(std::slice::from_ref(&data), None, &out).unwrap();
    fs::remove_file(data.join("dataset.json")).unwrap();
    let error = write_report(&[data], None, &out).unwrap_err().to_string();
    assert!(error.contains("dataset.json"), "{error}");
}
