//! Every task that a student can learn, from records to scores, through the real binary.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::command::{VqaFiles, retort, succeed, text};
use crate::support::{Result, golden};

const COLOURS: [&str; 3] = ["red", "green", "blue"];

/// Records about squares in these colours, one after another: a data set with teachers.
fn taught(folder: &Path, mapping: &str, records: impl Fn(usize) -> Value) -> Result<PathBuf> {
    const IMAGES: usize = 24;
    let (dataset, lines, rules) = (folder.join("set"), folder.join("records.jsonl"), folder.join("mapping.toml"));
    let images = VqaFiles::write(&folder.join("vqa"), IMAGES)?.path("images");
    let records: Vec<String> = (0..IMAGES).map(|image| records(image).to_string()).collect();
    fs::write(&lines, records.join("\n"))?;
    fs::write(&rules, mapping)?;
    let common = ["--images", text(&images), "--split", "train", "--out", text(&dataset), "--shard-images", "8"];
    succeed(&[&["ingest", "jsonl", "--file", text(&lines), "--mapping", text(&rules)], &common[..]].concat())?;
    let [clip, bert] = [format!("clip={}", golden("clip").display()), format!("text={}", golden("bert").display())];
    succeed(&["teach", text(&dataset), "--teacher", &clip, "--teacher", &bert, "--tokens", "--words"])?;
    Ok(dataset)
}

/// Trains with the whole method until a student should know its few samples by heart, and scores it on them. The
/// teachers' weights are random: they may pull a little.
fn learnt(folder: &Path, dataset: &Path, settings: &[&str]) -> Result<Value> {
    let recipe = folder.join("recipe.toml");
    fs::write(
        &recipe,
        format!(
            "arm = \"kd+ts+cw\"\n[data]\ndataset = {:?}\n[teachers]\nimage = \"clip\"\ntext = \"text\"\n\
             [student]\nhidden = 32\nlayers = 2\nheads = 2\nimage_size = 32\npatch_size = 8\n\
             [distil]\nkd_ratio = 0.1\n[optim]\nsteps = 200\nbatch = 12\nlr = 0.003\nwarmup_steps = 20\n",
            text(dataset)
        ),
    )?;
    let run = folder.join("run");
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", *setting]).collect();
    succeed(&[&["train", text(&recipe), "--run", text(&run)], &settings[..]].concat())?;
    let scores = succeed(&["eval", text(&run), "--split", "train", "--format", "json"])?;
    Ok(serde_json::from_str::<Value>(&scores)?[0]["evaluation"].take())
}

const CLASSIFICATION: &str = "task = \"classification\"\nid = \"id\"\nimage = \"image\"\ntext = \"text\"\nlabel = \"label\"\n\
    classes = [\"entailment\", \"neutral\", \"contradiction\"]\n";

/// As of SNLI-VE: is what the text says of the square right?
fn hypothesis(image: usize) -> Value {
    let said = COLOURS[(image / 3) % 3];
    let label = if said == COLOURS[image % 3] { "entailment" } else { "contradiction" };
    json!({"id": image, "image": format!("{image}.png"), "text": format!("the square is {said}"), "label": label})
}

#[test]
fn a_class_of_several_is_learnt() -> Result {
    let folder = tempdir()?;
    let dataset = taught(folder.path(), CLASSIFICATION, hypothesis)?;
    let found = learnt(folder.path(), &dataset, &[])?;
    assert_eq!(found["metric"], "accuracy");
    let overall = &found["overall"];
    assert!(overall["accuracy"].as_f64().unwrap() > 0.95, "{found}");
    // Eight of 24 are right; the text alone tells nothing more.
    assert!((overall["majority"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-6, "{found}");
    let classes: Vec<&str> =
        found["by_question_type"].as_array().unwrap().iter().map(|score| score["name"].as_str().unwrap()).collect();
    assert_eq!(classes, ["contradiction", "entailment"]);
    // Nor do its vectors: whatever text it is, a contradiction is likelier.
    for (floor, expected) in [(overall, 2.0 / 3.0), (&found["by_question_type"][0], 1.0)] {
        assert!((floor["text_only"].as_f64().unwrap() - expected).abs() < 1e-6, "{found}");
    }
    predicts_a_split_without_labels(folder.path(), &dataset)
}

/// The run of [`learnt`] on a split of the same pictures whose records have no label.
fn predicts_a_split_without_labels(folder: &Path, dataset: &Path) -> Result {
    let (lines, rules) = (folder.join("blind.jsonl"), folder.join("blind.toml"));
    let records: Vec<String> = (0..5).map(|image| hypothesis(image).to_string()).collect();
    fs::write(&lines, records.join("\n"))?;
    fs::write(&rules, CLASSIFICATION.replace("label = \"label\"\n", ""))?;
    let images = folder.join("vqa/images");
    let from = ["ingest", "jsonl", "--file", text(&lines), "--mapping", text(&rules), "--images", text(&images)];
    succeed(&[&from[..], &["--split", "blind", "--out", text(dataset)]].concat())?;
    let (run, file) = (folder.join("run"), folder.join("blind.csv"));
    let said = succeed(&["eval", text(&run), "--split", "blind", "--predictions", text(&file)])?;
    assert!(said.contains("blind has no labels: 5 samples are predicted"), "{said}");
    assert!(!said.contains('%') && !run.join("evaluation-blind.json").exists(), "an accuracy is made up: {said}");
    let csv = fs::read_to_string(&file)?;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!((lines.len(), lines[0]), (6, "id,prediction,entailment,neutral,contradiction"));
    assert!(lines[1].starts_with("0,entailment,") && lines[2].starts_with("1,contradiction,"), "{csv}");
    Ok(())
}

#[test]
fn what_the_text_alone_tells_is_a_floor() -> Result {
    let folder = tempdir()?;
    // Whatever the square, green is said of none.
    let told = |image: usize| {
        let mut record = hypothesis(image);
        let green = record["text"] == "the square is green";
        record["label"] = json!(if green { "contradiction" } else { "neutral" });
        record
    };
    let dataset = taught(folder.path(), CLASSIFICATION, told)?;
    let found = learnt(folder.path(), &dataset, &["arm=base", "optim.steps=2", "optim.warmup_steps=1"])?;
    let overall = &found["overall"];
    assert_eq!(overall["text_only"].as_f64(), Some(1.0), "{found}");
    assert!(overall["majority"].as_f64().unwrap() < 0.7, "{found}");
    Ok(())
}

const MATCHING: &str = "task = \"matching\"\nid = \"id\"\nimage = \"image\"\ntexts = \"texts\"\nlabel = \"label\"\n";

/// As of VCR: which of these texts is right? Its place changes.
fn choice(image: usize) -> Value {
    let texts: Vec<String> = (0..3).map(|at| format!("a {} square", COLOURS[(image / 3 + at) % 3])).collect();
    let label = texts.iter().position(|text| text.contains(COLOURS[image % 3]));
    json!({"id": image, "image": format!("{image}.png"), "texts": texts, "label": label})
}

#[test]
fn the_right_one_of_several_texts_is_learnt_with_either_loss() -> Result {
    let folder = tempdir()?;
    let dataset = taught(folder.path(), MATCHING, choice)?;
    for (loss, source) in [("softmax", "zero-shot"), ("binary", "probe")] {
        let settings = [format!("task.choice_loss={loss}"), format!("confidence.source={source}")];
        let place = folder.path().join(loss);
        fs::create_dir(&place)?;
        let found = learnt(&place, &dataset, &settings.each_ref().map(String::as_str))?;
        assert!(found["overall"]["accuracy"].as_f64().unwrap() > 0.95, "{loss}: {found}");
        assert_eq!(found["by_question_type"][0]["name"], "matching");
        // A joint teacher was fitted on nothing, a probe in folds.
        let folds = "SELECT count(DISTINCT fold) AS n FROM confidence";
        let folds = succeed(&["sql", text(&place.join("run")), "-c", folds, "--format", "csv"])?;
        assert_eq!(folds, if source == "probe" { "n\n5\n" } else { "n\n1\n" });
    }
    Ok(())
}

#[test]
fn what_cannot_be_learnt_together_is_refused() -> Result {
    let folder = tempdir()?;
    let fewer = |image: usize| {
        let mut record = choice(image);
        if image == 5 {
            record["texts"] = json!(["a red square", "a blue square"]);
            record["label"] = json!(1);
        }
        record
    };
    let dataset = taught(folder.path(), MATCHING, fewer)?;
    let recipe = folder.path().join("recipe.toml");
    fs::write(&recipe, format!("[data]\ndataset = {:?}\n", text(&dataset)))?;
    let ran = retort(&["train", text(&recipe), "--run", text(&folder.path().join("run"))])?;
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("and 2 texts; those before it: one text of 3"), "{ran:?}");
    Ok(())
}
