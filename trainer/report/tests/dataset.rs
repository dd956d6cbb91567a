//! Writes the page of a small made-up data set, and looks into it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, as tests do")]
#![allow(dead_code, reason = "the helpers serve the pages of runs, too")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use retort_cache::{DatasetWriter, SplitPlan};
use retort_report::{Error, write_report};
use support::taught::{image_vector, teach, teach_tables, teach_zeros, text_vector};
use support::{HOSTILE, SAMPLES, dataset, page, question, split};

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
    // Each is used where it is shown, and there once: both splits have the same images.
    assert_eq!(html.matches("<use href=\"#p").count(), summary.images);
    let defined = html.matches("href=\"data:image/webp;base64,").count();
    assert!(defined > 24 && defined <= SAMPLES && html.matches("data:").count() == defined, "{defined}");
    assert!(!html.contains("aria-label=\"\""), "an image without words");
    let sections =
        ["Samples", "Labels", "Regions", "Lengths of texts", "Rejects", "Size by table", "Words", "Near duplicates"];
    for section in sections {
        assert!(
            html.contains(&format!(">{section}</h2>")) && html.contains(&format!("\">{section}</a></li>")),
            "{section}"
        );
    }
    for words in [
        "<title>Data set shapes &amp; more</title>",
        // The splits have the same ids.
        "128 samples over 64 images and 64 texts, in 2 shards;",
        ". 64 images are in more than one split: test and choice 64.</p>",
        "In more than one split, the same byte for byte: 64 images and 64 texts.</p>",
        "<td>test and choice</td><td>64 \u{b7} 100.0\u{202f}%</td><td>64 \u{b7} 100.0\u{202f}%</td>",
        // Every label of the one split, and every place of the other's right choices, has an eighth of the samples.
        ">teal</span> <span class=\"value\">16 \u{b7} 12.5\u{202f}%</span>",
        ">2nd</span> <span class=\"value\">16 \u{b7} 12.5\u{202f}%</span>",
        "Of a choice among texts, the place of the right one.",
        "the folder has no &lt;gone.png&gt;",
        ">Teacher clip@",
        ">Teacher text@",
        "embedding 3.000 (3.000 to 3.000)",
        "64 distinct images (128 rows)",
        "64 distinct images were compared: 32 pairs were found. The 8 nearest that share no image are shown.",
        "1 bit differs",
        // 56 images of each of two splits have a box; 11 of these have no class.
        "Objects of images by class: 112 boxes in 128 images. From 2 shards.",
        "22 \u{b7} 19.6\u{202f}%",
        "<span class=\"key c0\"></span><bdi>&lt;square&gt;</bdi>",
        // That of image 0, which has no class.
        "<rect class=\"box c0\" x=\"4.0\" y=\"4.0\" width=\"20.0\" height=\"20.0\"/>",
        // Sample 5 of the choices is a choice between questions 5 to 8, of which the second is right.
        "<p class=\"text\" dir=\"auto\">which shape is in the picture, as far as you can tell?</p><p class=\"text chosen\" dir=\"auto\">what color is the shape?</p>",
    ] {
        assert!(html.contains(words), "{words}");
    }
    // The first query is image 0, and its nearest is the next of its colour, which is its label.
    let nearest_cosine = cosine(&image_vector(0), &image_vector(4));
    let first = "<figcaption>query<span class=\"told\" dir=\"auto\">red \u{b7} what is &lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;y&quot;?</span></figcaption></figure><figure class=\"\">";
    let nearest = html.split_once(first).unwrap().1.split_once("<figcaption>").unwrap().1;
    assert!(
        nearest.starts_with(&format!(
            "{nearest_cosine:.3}<span class=\"told\" dir=\"auto\">red \u{b7} is there a red shape in the image?<"
        )),
        "{nearest_cosine}, not {}",
        &nearest[..90]
    );
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
    let lacks = |name: &str, tables: &str| {
        summary.missing.iter().any(|told| {
            told.starts_with(&format!("The teacher {name}@"))
                && told.contains(&format!(" lacks {tables} of 1 shard: `retort teach "))
        })
    };
    assert!(lacks("clip", "images, texts and words") && lacks("text", "texts and words"), "{:?}", summary.missing);
    assert_eq!(summary.missing.len(), 2, "{:?}", summary.missing);
}

#[test]
fn coverage_is_of_each_table() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("shapes");
    let out = folder.path().join("page.html");
    dataset(&data);
    split(&data, "choice", 4);
    teach_tables(&data, "choice", &["texts", "words", "images"]);
    teach_tables(&data, "none", &["texts", "images"]);
    let summary = write_report(&[data], None, &out).unwrap();
    let html = page(&out);
    for row in ["<td>images</td><td>128</td><td>100.0", "<td>texts</td><td>128</td><td>100.0"] {
        assert!(html.contains(row), "{row}");
    }
    assert!(html.matches("<td>words</td>").count() == 2 && html.matches("</td><td>50.0\u{202f}%</td>").count() == 2);
    let told = summary.missing.iter().filter(|told| told.contains(" lacks words of 1 shard: `retort teach "));
    assert_eq!((told.count(), summary.missing.len()), (2, 2), "{:?}", summary.missing);
}

#[test]
fn embeddings_of_zeros_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("shapes");
    let out = folder.path().join("page.html");
    dataset(&data);
    teach_zeros(&data);
    let summary = write_report(&[data], None, &out).unwrap();
    let html = page(&out);
    assert!(summary.missing.iter().all(|told| !told.contains("no embedding of images")), "{:?}", summary.missing);
    assert!(html.contains("<p>64 images. No embedding has a direction. All norms are 0.000.</p>"));
    assert!(html.contains("Projection of texts") && !html.contains("Projection of images"));
    assert!(!html.contains("Nearest images"));
}

/// The folder of the teacher of images and texts.
fn clip_of(data: &Path) -> PathBuf {
    let mut all = fs::read_dir(data.join("cache")).unwrap().map(|entry| entry.unwrap().path());
    all.find(|path| path.to_string_lossy().contains("clip@")).unwrap()
}

fn flip_bits(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let third = bytes.len() / 3;
    bytes.iter_mut().skip(4).take(third).for_each(|byte| *byte ^= 1);
    fs::write(file, bytes).unwrap();
}

#[test]
fn what_is_wrong_with_a_teacher_is_told_and_the_rest_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("shapes");
    let out = folder.path().join("page.html");
    dataset(&data);
    teach(&data, "none");
    let clip = clip_of(&data);
    let damaged: fn(&Path) = |file| flip_bits(file);
    let gone: fn(&Path) = |file| fs::remove_file(file).unwrap();
    for (table, fault, sections) in [
        ("images", damaged, 2),
        ("images", gone, 2),
        ("texts", gone, 1),
        // Only the shades of words need these.
        ("words", damaged, 1),
        ("words", gone, 1),
    ] {
        let file = clip.join(table).join("test-00000.parquet");
        let whole = fs::read(&file).unwrap();
        fault(&file);
        let missing = write_report(std::slice::from_ref(&data), None, &out).unwrap().missing;
        let (left_out, others): (Vec<String>, Vec<String>) =
            missing.into_iter().partition(|told| told.contains("left out: "));
        assert_eq!(left_out.len(), sections, "{table}: {left_out:?}");
        // What is gone can be made again.
        let lacks = |told: &String| told.contains(&format!("lacks {table} of 1 shard: `retort teach "));
        assert!(others.iter().any(lacks) || fs::exists(&file).unwrap(), "{table}: {others:?}");
        for told in left_out {
            assert!(told.contains("test-00000.parquet") && told.contains("`retort verify"), "{told}");
        }
        let html = page(&out);
        for section in ["Samples", "Teacher text@", "Words", "Near duplicates", "Size by table"] {
            assert!(html.contains(&format!(">{section}")), "{table}: {section}");
        }
        // What the manifests tell of it stands there all the same.
        let section = html.split_once("\">Teacher clip@").unwrap().1.split_once(">Teacher clip@").unwrap().1;
        let (section, _) = section.split_once("<h2").unwrap();
        assert!(section.contains("<td>images</td>"), "{table}");
        assert_eq!(section.contains("Its plots are left out: "), table != "words", "{table}");
        assert_eq!(section.contains("Projection of images"), table == "words", "{table}");
        fs::write(&file, whole).unwrap();
    }
}

#[test]
fn damage_is_an_error_and_leaves_no_page() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("shapes");
    let out = folder.path().join("page.html");
    dataset(&data);
    teach(&data, "none");
    for table in ["images", "regions", "samples", "texts"] {
        let file = data.join(table).join("test-00000.parquet");
        let whole = fs::read(&file).unwrap();
        flip_bits(&file);
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
