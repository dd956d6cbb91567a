//! Teach, train, evaluate and report through the real binary, whole and interrupted.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::tempdir;

use crate::support::command::{Ran, VqaFiles, command, kill_when, retort, succeed, text};
use crate::support::{Result, copy_folder, golden, repository, tree};
use python::{packages, run_python};

#[path = "../cache/tests/support/python.rs"]
mod python;

/// A data set of 24 images in 12 shards, without features.
fn ingested(folder: &Path) -> Result<PathBuf> {
    let dataset = folder.join("set");
    let files = VqaFiles::write(&folder.join("vqa"), 24)?;
    assert_eq!(files.ingest(&dataset, "train")?.code, Some(0));
    assert_eq!(files.ingest(&dataset, "test")?.code, Some(0));
    Ok(dataset)
}

fn teach_arguments(dataset: &Path) -> Vec<String> {
    let (clip, bert) = (golden("clip"), golden("bert"));
    let teachers = [format!("clip={}", clip.display()), format!("text={}", bert.display())];
    let words = ["teach", text(dataset), "--teacher", &teachers[0], "--teacher", &teachers[1], "--tokens", "--words"];
    words.map(str::to_owned).to_vec()
}

fn taught(folder: &Path) -> Result<PathBuf> {
    let dataset = ingested(folder)?;
    let arguments = teach_arguments(&dataset);
    succeed(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    Ok(dataset)
}

const RECIPE: &str = r#"
device = "cpu"
[data]
dataset = "DATASET"
shots = "50%"
pool_samples = 8
block_samples = 2
[teachers]
image = "clip"
text = "text"
[student]
hidden = 16
layers = 1
heads = 2
image_size = 32
patch_size = 16
[optim]
steps = 60
batch = 4
lr = 0.003
[adapt]
steps = 20
lr = 0.003
[log]
checkpoint_every = 30
"#;

fn recipe(folder: &Path, dataset: &Path) -> Result<PathBuf> {
    let path = folder.join("recipe.toml");
    fs::write(&path, RECIPE.replace("DATASET", text(dataset)))?;
    Ok(path)
}

#[test]
fn every_arm_trains_from_the_cache_and_is_scored_beside_the_floors() -> Result {
    let folder = tempdir()?;
    let dataset = taught(folder.path())?;
    let recipe = recipe(folder.path(), &dataset)?;
    let mut runs = Vec::new();
    for arm in ["base", "kd-v", "kd-t", "kd", "kd+ts", "kd+ts+cw", "mad"] {
        let run = folder.path().join(arm);
        let setting = format!("arm={arm}");
        let said = succeed(&["train", text(&recipe), "--set", &setting, "--run", text(&run)])?;
        assert!(said.contains(&format!("arm {arm}, seed 1")) && said.contains("24 samples of 12 images"), "{said}");
        let tags = succeed(&["sql", text(&run), "-c", "SELECT DISTINCT tag FROM metrics", "--format", "csv"])?;
        for (tag, arms) in [
            ("loss/vision", &["kd-v", "kd", "kd+ts", "kd+ts+cw", "mad"][..]),
            ("loss/text", &["kd-t", "kd", "kd+ts", "kd+ts+cw", "mad"]),
            ("loss/tokens", &["kd+ts", "kd+ts+cw", "mad"]),
            ("loss/task", &["base", "kd-v", "kd-t", "kd", "kd+ts", "kd+ts+cw", "mad"]),
            ("adapt/loss/contrast_images", &["mad"]),
        ] {
            assert_eq!(tags.lines().any(|line| line == tag), arms.contains(&arm), "{arm}: {tags}");
        }
        runs.push(run);
    }
    let mut arguments = vec!["eval", "--split", "test"];
    arguments.extend(runs.iter().map(|run| text(run)));
    let table = succeed(&arguments)?;
    assert!(table.starts_with("VQA accuracy on test, 48 samples\n"), "{table}");
    // Truths of 24 images: 16 no, 8 yes, 8 of each colour.
    let floors: Vec<&str> = table.lines().filter(|line| line.starts_with("floor")).collect();
    assert!(floors[0].contains("33.3 %") && floors[1].contains("50.0 %"), "{table}");
    arguments.extend(["--format", "json"]);
    let scores: Value = serde_json::from_str(&succeed(&arguments)?)?;
    for score in scores.as_array().unwrap() {
        let accuracy = score["evaluation"]["overall"]["accuracy"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&accuracy), "{score}");
        let types = score["evaluation"]["by_question_type"].as_array().unwrap();
        assert_eq!(types.len(), 2);
    }

    let page = folder.path().join("report.html");
    let mut arguments = vec!["report", "--out", text(&page)];
    arguments.extend(runs.iter().map(|run| text(run)));
    assert_eq!(succeed(&arguments)?, format!("{}\n", page.display()));
    let html = fs::read_to_string(&page)?;
    assert!(html.contains("kd+ts+cw") && html.contains("data:image/webp;base64,"), "{}", html.len());
    Ok(())
}

#[test]
fn training_needs_no_teacher_folder_and_says_what_is_missing() -> Result {
    let folder = tempdir()?;
    let dataset = ingested(folder.path())?;
    let models = folder.path().join("models");
    copy_folder(&golden("clip"), &models.join("clip"))?;
    copy_folder(&golden("bert"), &models.join("text"))?;
    let teachers = ["clip", "text"].map(|name| format!("{name}={}", models.join(name).display()));
    let teach = ["teach", text(&dataset), "--teacher", &teachers[0], "--teacher", &teachers[1], "--tokens"];
    succeed(&teach)?;
    let recipe = recipe(folder.path(), &dataset)?;
    let ran = retort(&["train", text(&recipe), "--set", "arm=kd+ts", "--run", text(&folder.path().join("ts"))])?;
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("has no words of shard train-00000: run `retort teach` with --words"), "{ran:?}");
    succeed(&[&teach[..], &["--words"]].concat())?;
    fs::remove_dir_all(&models)?;
    // The whole method, with its stage before the task and the probe behind its weights.
    for arm in ["kd", "mad"] {
        let (setting, run) = (format!("arm={arm}"), folder.path().join(arm));
        let steps = ["--set", "optim.steps=2", "--set", "adapt.steps=2"];
        let train = ["train", text(&recipe), "--set", &setting, "--run", text(&run)];
        succeed(&[&train[..], &steps].concat())?;
        succeed(&["eval", text(&run), "--split", "test"])?;
    }
    Ok(())
}

fn manifest_shards(folder: &Path) -> usize {
    let manifest = fs::read(folder.join("teacher.json")).unwrap_or_default();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap_or_default();
    // Of a data set this small none is in a part.
    manifest["splits"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|split| split["shards"].as_array())
        .map(Vec::len)
        .sum()
}

#[test]
fn teach_killed_and_run_again_gives_the_same_bytes() -> Result {
    let folder = tempdir()?;
    let dataset = ingested(folder.path())?;
    let whole = folder.path().join("whole");
    copy_folder(&dataset, &whole)?;
    let arguments = teach_arguments(&whole);
    succeed(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    let expected = tree(&whole)?;
    let caches: Vec<PathBuf> = fs::read_dir(whole.join("cache"))?.map(|e| e.unwrap().path()).collect();
    let mut killed = 0;
    for after in [1, 5, 9] {
        let broken = folder.path().join(format!("broken-{after}"));
        copy_folder(&dataset, &broken)?;
        let arguments = teach_arguments(&broken);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        for cache in &caches {
            let cache = broken.join("cache").join(cache.file_name().unwrap());
            killed += usize::from(kill_when(&arguments, || manifest_shards(&cache) >= after)?);
        }
        succeed(&arguments)?;
        let found = tree(&broken)?;
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (name, bytes) in &expected {
            assert!(found[name] == *bytes, "{} differs after kills", name.display());
        }
    }
    assert!(killed >= 2, "only {killed} of 6 kills came in time");
    Ok(())
}

#[test]
fn training_killed_and_run_again_ends_with_the_same_weights() -> Result {
    let folder = tempdir()?;
    let dataset = taught(folder.path())?;
    let recipe = recipe(folder.path(), &dataset)?;
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    let settings =
        ["arm=mad", "log.checkpoint_every=4", "validate.share=0.25", "validate.every=3", "validate.export=best"];
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let arguments = |run| -> Vec<&str> {
        let train = ["train", text(&recipe), "--run", text(run)];
        train.into_iter().chain(settings.clone()).collect()
    };
    succeed(&arguments(&whole))?;
    let checkpoints = broken.join("checkpoints");
    let beyond = |place: &str| {
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap_or_default();
        let names = fs::read_dir(&checkpoints).into_iter().flatten().flatten().map(name);
        names.filter(|name| name.ends_with(".safetensors")).max() >= Some(format!("{place}.safetensors"))
    };
    let mut killed = 0;
    // In the stage before task finetuning, and in it.
    for place in ["adapt-00000008", "step-00000004", "step-00000020", "step-00000036"] {
        killed += usize::from(kill_when(&arguments(&broken), || beyond(place))?);
    }
    assert!(killed >= 1, "no kill came in time");
    let said = succeed(&arguments(&broken))?;
    assert!(said.contains("continued at step"), "{said}");
    let best = "checkpoints/best.safetensors";
    for file in ["student/model.safetensors", "student/tokenizer.json", "checkpoints/step-00000060.safetensors", best] {
        assert!(fs::read(whole.join(file))? == fs::read(broken.join(file))?, "{file} differs after kills");
    }
    Ok(())
}

#[test]
fn threads_and_prefetch_do_not_change_the_batches() -> Result {
    let folder = tempdir()?;
    let dataset = taught(folder.path())?;
    let recipe = recipe(folder.path(), &dataset)?;
    let mut weights = Vec::new();
    for (ahead, threads) in [("1", "1"), ("7", "3")] {
        let run = folder.path().join(ahead);
        let prefetch = format!("data.prefetch_batches={ahead}");
        let arguments = ["train", text(&recipe), "--set", "arm=kd", "--set", &prefetch, "--run", text(&run)];
        // The decoder's threads only: libtorch's own decide the order of its sums.
        let status = command(&arguments).env("RAYON_NUM_THREADS", threads).output()?;
        assert!(status.status.success(), "{status:?}");
        weights.push(fs::read(run.join("student/model.safetensors"))?);
    }
    assert!(weights[0] == weights[1]);
    Ok(())
}

#[test]
fn a_run_folder_belongs_to_one_recipe() -> Result {
    let folder = tempdir()?;
    let dataset = ingested(folder.path())?;
    let recipe = recipe(folder.path(), &dataset)?;
    let run = folder.path().join("run");
    succeed(&["train", text(&recipe), "--set", "optim.steps=2", "--run", text(&run)])?;
    let ran = retort(&["train", text(&recipe), "--set", "optim.steps=3", "--run", text(&run)])?;
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("was begun with another recipe (\"steps = 2\", now \"steps = 3\")"), "{}", ran.stderr);
    Ok(())
}

fn refused(arguments: &[&str], expected: &[&str]) -> Result<Ran> {
    let ran = retort(arguments)?;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    for words in expected {
        assert!(ran.stderr.contains(words), "expected {words:?} in {}", ran.stderr);
    }
    Ok(ran)
}

#[test]
fn bad_teachers_and_recipes_are_refused_with_what_to_do() -> Result {
    let folder = tempdir()?;
    let dataset = ingested(folder.path())?;
    let model = folder.path().join("model");
    copy_folder(&golden("clip"), &model)?;
    let teacher = format!("clip={}", model.display());
    let teach = ["teach", text(&dataset), "--teacher", &teacher];

    let weights = fs::read(model.join("model.safetensors"))?;
    fs::remove_file(model.join("model.safetensors"))?;
    refused(&teach, &["has no weights: expected model.safetensors", "hint:"])?;
    fs::write(model.join("pytorch_model.bin"), b"\x80\x02")?;
    refused(&teach, &["is a pickle", "hint: convert it once", "save_pretrained"])?;
    fs::write(model.join("model.safetensors"), weights)?;
    let config = fs::read_to_string(model.join("config.json"))?;
    let mut wrong: Value = serde_json::from_str(&config)?;
    wrong["vision_config"]["intermediate_size"] = 7.into();
    fs::write(model.join("config.json"), wrong.to_string())?;
    refused(&teach, &["has shape", "the config asks for [7", "hint:"])?;
    assert!(!dataset.join("cache").exists());

    let recipe = recipe(folder.path(), &dataset)?;
    let run = folder.path().join("run");
    let train = ["train", text(&recipe), "--run", text(&run), "--set", "distil.kd_ration=1"];
    refused(&train, &["unknown key \"distil.kd_ration\"", "did you mean \"distil.kd_ratio\"?"])?;
    let train = ["train", text(&recipe), "--run", text(&run), "--set", "arm=kd"];
    refused(&train, &["has no teacher \"clip\"", "hint: make its features"])?;
    Ok(())
}

#[test]
fn a_task_that_no_student_learns_is_refused() -> Result {
    let folder = tempdir()?;
    let files = VqaFiles::write(&folder.path().join("files"), 24)?;
    let lines: String = (0..24).map(|n| format!("{{\"i\": \"{n}.png\", \"t\": \"a square\"}}\n")).collect();
    fs::write(files.path("lines.jsonl"), lines)?;
    let mapping = "task = \"caption\"\nimage = \"{i}\"\ntext = \"t\"\n";
    fs::write(files.path("map.toml"), mapping)?;
    let dataset = folder.path().join("captions");
    let (lines, mapping, images) = (files.path("lines.jsonl"), files.path("map.toml"), files.path("images"));
    for split in ["train", "test"] {
        let given = ["--file", text(&lines), "--mapping", text(&mapping), "--images", text(&images)];
        let arguments = ["ingest", "jsonl", "--split", split, "--out", text(&dataset), "--shard-images", "2"];
        succeed(&[&arguments[..], &given[..]].concat())?;
    }
    let recipe = recipe(folder.path(), &dataset)?;
    let run = folder.path().join("run");
    let expected = ["has the task caption, of which a student can learn no answer"];
    refused(&["train", text(&recipe), "--run", text(&run), "--set", "arm=base"], &expected)?;
    Ok(())
}

#[test]
fn codes_are_distilled_and_asked_like_floats() -> Result {
    let folder = tempdir()?;
    let dataset = ingested(folder.path())?;
    let mut arguments = teach_arguments(&dataset);
    arguments.extend(["--store", "cos:0.999"].map(str::to_owned));
    let taught = succeed(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    assert_eq!(taught.lines().filter(|line| line.contains("24 shards computed")).count(), 2, "{taught}");
    // The same as floats, beside the codes.
    succeed(&["convert", text(&dataset), "--teacher", "clip", "--store", "f32", "--finer"])?;
    let listed = succeed(&["cache", "ls", text(&dataset), "--format", "json"])?;
    let listed: Value = serde_json::from_str(&listed)?;
    let name = |store: &str| -> String {
        let teachers = listed.as_array().unwrap().iter();
        let mut of = teachers.filter(|teacher| teacher["name"].as_str().unwrap().starts_with("clip@"));
        of.find(|teacher| teacher["store"] == store).unwrap()["name"].as_str().unwrap().to_owned()
    };
    let (codes, floats) = (name("cos:0.999"), name("f32"));
    let query = format!(
        "SELECT count(*) AS n, count(*) FILTER (WHERE cosine_similarity(a.embedding, b.embedding) > 0.9999) AS same \
         FROM \"{codes}\".images a JOIN \"{floats}\".images b ON a.image_id = b.image_id AND a.shard = b.shard"
    );
    let rows = succeed(&["sql", text(&dataset), "-c", &query, "--format", "csv"])?;
    assert_eq!(rows, "n,same\n48,48\n");
    let recipe = recipe(folder.path(), &dataset)?;
    let mut runs = Vec::new();
    for teacher in [&codes, &floats] {
        let run = folder.path().join(teacher);
        let image = format!("teachers.image={teacher}");
        succeed(&["train", text(&recipe), "--set", "arm=kd+ts+cw", "--set", &image, "--run", text(&run)])?;
        runs.push(fs::read(run.join("student/model.safetensors"))?);
    }
    // A code times its scale is one float: stored as f32, the very same.
    assert!(runs[0] == runs[1]);
    Ok(())
}

#[test]
fn a_cache_made_for_another_data_set_is_refused() -> Result {
    let folder = tempdir()?;
    let taught = taught(&folder.path().join("one"))?;
    let other = folder.path().join("other");
    let files = VqaFiles::write(&folder.path().join("files"), 24)?;
    for image in 0..24 {
        // Another compression of the same pixels is another image.
        let path = files.path(&format!("images/{image}.png"));
        let picture = image::open(&path)?.to_luma8();
        picture.save(&path)?;
    }
    assert_eq!(files.ingest(&other, "train")?.code, Some(0));
    assert_eq!(files.ingest(&other, "test")?.code, Some(0));
    copy_folder(&taught.join("cache"), &other.join("cache"))?;
    let recipe = recipe(folder.path(), &other)?;
    let run = folder.path().join("run");
    let expected = ["was made for another data set", "shard train-00000", "hint: a cache belongs to the data set"];
    refused(&["train", text(&recipe), "--run", text(&run), "--set", "arm=kd"], &expected)?;
    refused(&["sql", text(&other), "-c", "SELECT count(*) FROM clip.images"], &expected[..1])?;
    let ran = retort(&["verify", text(&other)])?;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("was made for another data set"), "{}", ran.stdout);
    Ok(())
}

#[test]
fn ten_lines_of_python_read_a_vector() -> Result {
    let packages = match packages() {
        Ok(packages) => packages,
        Err(skipped) => {
            println!("{skipped}");
            return Ok(());
        }
    };
    let folder = tempdir()?;
    let dataset = taught(folder.path())?;
    let teacher = fs::read_dir(dataset.join("cache"))?.flatten().map(|entry| entry.path()).min().unwrap();
    let file = teacher.join("images/train-00001.parquet");
    let script = repository().join("docs/read_vector.py");
    let said = run_python(&packages, repository(), &[text(&script), text(&file), "embedding", "1"])?;
    let query = "SELECT embedding[1] AS x FROM clip.images WHERE shard = 'train-00001' AND \"row\" = 1";
    let first = succeed(&["sql", text(&dataset), "-c", query, "--format", "ndjson"])?;
    let first = serde_json::from_str::<Value>(&first)?["x"].as_f64().unwrap();
    assert!(said.contains("24") && said.contains("f16"), "{said}");
    let numbers =
        said.split(|c: char| !(c.is_ascii_digit() || ".-e".contains(c))).filter_map(|w| w.parse::<f64>().ok());
    assert!(numbers.into_iter().any(|x| (x - first).abs() < 1e-3), "{first} is not in {said}");
    Ok(())
}

#[test]
fn tensorboard_reads_what_the_metrics_hold() -> Result {
    let packages = match packages() {
        Ok(packages) => packages,
        Err(skipped) => {
            println!("{skipped}");
            return Ok(());
        }
    };
    let folder = tempdir()?;
    let dataset = ingested(folder.path())?;
    let (recipe, run) = (recipe(folder.path(), &dataset)?, folder.path().join("run"));
    let validate = ["--set", "validate.share=0.25", "--set", "validate.every=20"];
    succeed(&[&["train", text(&recipe), "--run", text(&run)], &validate[..]].concat())?;
    let script = repository().join("tests/py/check_tensorboard.py");
    let said = run_python(&packages, repository(), &[text(&script), text(&run)])?;
    let query = "SELECT tag, step, value FROM metrics \
                 WHERE tag IN ('loss/task', 'val/accuracy', 'val/loss') ORDER BY tag, step";
    let rows = succeed(&["sql", text(&run), "-c", query, "--format", "csv"])?;
    assert_eq!(rows.lines().count(), 1 + 6 + 2 * 3); // 60 steps, one row in ten; three scores
    for row in rows.lines().skip(1) {
        let mut cells = row.split(',');
        let (tag, step, value) = (cells.next().unwrap(), cells.next().unwrap(), cells.next().unwrap());
        let line = said.lines().find(|line| line.starts_with(&format!("{tag} {step} "))).unwrap();
        let seen: f64 = line.rsplit(' ').next().unwrap().parse()?;
        assert!((seen - value.parse::<f64>()?).abs() < 1e-5, "{line} is not {row}");
    }
    Ok(())
}
