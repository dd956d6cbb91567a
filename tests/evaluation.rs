//! `retort eval` on VCR, and on splits without labels, through the real binary.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::support::Result;
use crate::support::command::{VqaFiles, command, retort, succeed, text};

pub(crate) const QUESTIONS: usize = 6;

/// Annotations of VCR about squares, a question an image.
pub(crate) struct Vcr {
    folder: PathBuf,
}

impl Vcr {
    pub(crate) fn write(folder: &Path) -> Result<Self> {
        VqaFiles::write(folder, QUESTIONS)?;
        let vcr = Self { folder: folder.to_owned() };
        for image in 0..QUESTIONS {
            let metadata = json!({"boxes": [[1.0, 2.0, 9.0, 9.0, 0.9]], "segms": [[]], "names": ["person"],
                "width": 32, "height": 32});
            fs::write(vcr.folder.join(format!("images/{image}.json")), metadata.to_string())?;
        }
        for split in ["train", "test"] {
            let lines: Vec<String> = (0..QUESTIONS).map(|at| question(at, split).to_string()).collect();
            fs::write(vcr.folder.join(format!("{split}.jsonl")), lines.join("\n"))?;
        }
        Ok(vcr)
    }

    /// A data set of both splits, of which only `train` has labels.
    pub(crate) fn ingest(&self, task: &str) -> Result<PathBuf> {
        let dataset = self.folder.join(format!("set-{task}"));
        for split in ["train", "test"] {
            let annotations = self.folder.join(format!("{split}.jsonl"));
            let images = self.folder.join("images");
            let from = ["ingest", "vcr", "--annotations", text(&annotations), "--images", text(&images)];
            succeed(&[&from[..], &["--task", task, "--split", split, "--out", text(&dataset)]].concat())?;
        }
        Ok(dataset)
    }

    /// A student that has learnt next to nothing.
    pub(crate) fn run(&self, task: &str) -> Result<PathBuf> {
        let dataset = self.ingest(task)?;
        let (recipe, run) = (self.folder.join(format!("{task}.toml")), self.folder.join(format!("run-{task}")));
        fs::write(
            &recipe,
            format!(
                "arm = \"base\"\ndevice = \"cpu\"\n[data]\ndataset = {:?}\n[student]\nhidden = 16\nlayers = 1\nheads = 2\n\
                 image_size = 32\npatch_size = 16\n[optim]\nsteps = 3\nbatch = 4\nlr = 0.01\nwarmup_steps = 1\n",
                text(&dataset)
            ),
        )?;
        succeed(&["train", text(&recipe), "--run", text(&run)])?;
        Ok(run)
    }
}

fn question(at: usize, split: &str) -> Value {
    let choice = |word: &str| json!([word, "number", at.to_string(), "."]);
    let mut line = json!({
        "movie": "1_A_FILM", "objects": ["person"], "answer_likelihood": "likely", "img_id": format!("{split}-{at}"),
        "img_fn": format!("{at}.png"), "metadata_fn": format!("{at}.json"), "annot_id": format!("{split}-{at}"),
        "question": ["What", "is", [0], "?"],
        "answer_choices": (["red", "green", "blue", "grey"].map(choice)),
        "rationale_choices": (["near", "far", "left", "right"].map(choice)),
    });
    if split == "train" {
        line["answer_label"] = json!(at % 4);
        line["rationale_label"] = json!((at + 1) % 4);
    }
    line
}

fn evaluated(arguments: &[&str]) -> Result<Value> {
    let scores = succeed(&[&["eval"], arguments, &["--format", "json"]].concat())?;
    Ok(serde_json::from_str(&scores)?)
}

/// Which questions of a run's table of predictions are right.
fn right(run: &Path, suffix: &str) -> Result<Vec<f64>> {
    let sql = format!(
        "SELECT score FROM predictions WHERE split = 'train' AND sample_id LIKE '%:{suffix}' ORDER BY sample_id"
    );
    let rows: Value = serde_json::from_str(&succeed(&["sql", text(run), "-c", &sql, "--format", "json"])?)?;
    Ok(rows.as_array().into_iter().flatten().filter_map(|row| row["score"].as_f64()).collect())
}

fn share(right: impl Iterator<Item = f64>) -> f64 {
    right.sum::<f64>() / QUESTIONS as f64
}

#[test]
fn answers_and_rationales_of_vcr_are_joined() -> Result {
    let folder = tempdir()?;
    let vcr = Vcr::write(folder.path())?;
    let (qa, qar, both) = (vcr.run("qa")?, vcr.run("qar")?, vcr.run("both")?);

    // Two runs; the joint score is that of the tables that they left.
    let found = evaluated(&[text(&qa), text(&qar), "--split", "train"])?;
    let (answers, rationales) = (right(&qa, "qa")?, right(&qar, "qar")?);
    assert_eq!((answers.len(), rationales.len()), (QUESTIONS, QUESTIONS));
    let joint = &found[0]["joint"];
    assert_eq!(*joint, found[1]["joint"]);
    assert_eq!((joint["questions"].as_u64(), joint["alone"].as_u64()), (Some(6), Some(0)));
    let near = |found: &Value, expected: f64| found.as_f64().is_some_and(|found| (found - expected).abs() < 1e-9);
    assert!(near(&joint["answer"], share(answers.iter().copied())), "{joint} {answers:?}");
    assert!(near(&joint["rationale"], share(rationales.iter().copied())), "{joint} {rationales:?}");
    assert!(near(&joint["both"], share(answers.iter().zip(&rationales).map(|(a, r)| a * r))), "{joint}");
    let table = succeed(&["eval", text(&qa), text(&qar), "--split", "train"])?;
    assert!(table.contains("base and base: Q->A ") && table.contains(" of 6 questions\n"), "{table}");

    // One run that does both.
    let found = evaluated(&[text(&both), "--split", "train"])?;
    let joint = &found[0]["evaluation"]["joint"];
    let pairs = right(&both, "qa")?.into_iter().zip(right(&both, "qar")?);
    assert!(near(&joint["both"], share(pairs.map(|(a, r)| a * r))), "{joint}");

    // The leaderboard, of the split without labels.
    let file = folder.path().join("leaderboard.csv");
    let runs = [vec![text(&qa), text(&qar)], vec![text(&both)]];
    for runs in runs {
        let arguments = [&["eval"][..], &runs, &["--split", "test", "--predictions", text(&file)]].concat();
        let said = succeed(&arguments)?;
        assert!(said.contains("test has no labels: 30 samples are predicted"), "{said}");
        assert!(!said.contains('%'), "an accuracy is made up: {said}");
        let csv = fs::read_to_string(&file)?;
        let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!((lines.len(), lines[0].len()), (QUESTIONS + 1, 21));
        assert_eq!((lines[0][0], lines[0][20], lines[1][0]), ("annot_id", "rationale_conditioned_on_a3_3", "test-0"));
        for four in lines[1][1..].chunks(4) {
            let sum: f64 = four.iter().map(|cell| cell.parse::<f64>().unwrap_or(f64::NAN)).sum();
            assert!((sum - 1.0).abs() < 1e-5, "{four:?}");
        }
        assert!(!Path::new(runs[0]).join("evaluation-test.json").exists());
    }
    // A bare file name is one in the current folder.
    let mut command = command(&["eval", text(&qa), "--split", "train", "--predictions", "qa.parquet"]);
    assert!(command.current_dir(folder.path()).output()?.status.success());
    let rows = succeed(&[
        "sql",
        text(&qa),
        "-c",
        "SELECT count(scores) AS n FROM predictions WHERE split = 'train'",
        "--format",
        "csv",
    ])?;
    assert_eq!(rows, format!("n\n{QUESTIONS}\n"));
    assert!(folder.path().join("qa.parquet").is_file());
    // The split with labels has no rationales for the wrong answers; and one run has no rationales at all.
    let arguments = ["eval", text(&qa), text(&qar), "--split", "train", "--predictions", text(&file)];
    let refused = retort(&arguments)?;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("has the rationales of the right answer, not of each answer"), "{refused:?}");
    assert!(refused.stderr.contains("hint: the leaderboard's file is made of a split without labels"), "{refused:?}");
    let refused = retort(&["eval", text(&qa), "--split", "test", "--predictions", text(&file)])?;
    assert!(refused.stderr.contains("hint: give the run that chooses answers and the one"), "{refused:?}");
    let refused = retort(&["eval", text(&qa), "--split", "test", "--predictions", "a.txt"])?;
    assert!(refused.stderr.contains("expected a file that ends in .parquet, .json or .csv"), "{refused:?}");
    Ok(())
}
