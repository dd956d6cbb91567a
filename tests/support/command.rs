//! The real binary, and the small VQA data set that it is tried on.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use image::{ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};

use super::Result;

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; none if it was killed.
    pub code: Option<i32>,
    /// Data.
    pub stdout: String,
    /// Progress, errors, hints.
    pub stderr: String,
}

/// The binary with arguments, not started.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retort"));
    // Many small processes run at once here: threads that wait for one another would only be in the way.
    command.args(arguments).env("OMP_NUM_THREADS", "1");
    command
}

/// Runs the binary.
pub fn retort(arguments: &[&str]) -> Result<Ran> {
    let Output { status, stdout, stderr } = command(arguments).output()?;
    Ok(Ran { code: status.code(), stdout: String::from_utf8(stdout)?, stderr: String::from_utf8(stderr)? })
}

/// Runs the binary, which must succeed, and gives its stdout.
pub fn succeed(arguments: &[&str]) -> Result<String> {
    let ran = retort(arguments)?;
    assert_eq!(ran.code, Some(0), "retort {arguments:?}: {ran:?}");
    Ok(ran.stdout)
}

/// Starts the binary, kills it with SIGKILL as soon as `reached`, and tells whether it was still at work.
pub fn kill_when(arguments: &[&str], reached: impl Fn() -> bool) -> Result<bool> {
    let mut child = command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    loop {
        if child.try_wait()?.is_some() {
            return Ok(false);
        }
        if reached() {
            child.kill()?;
            return Ok(child.wait()?.code().is_none());
        }
        std::thread::yield_now();
    }
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap_or("a path that is not UTF-8")
}

/// VQA v2 files and images: one coloured square an image, two questions each.
pub struct VqaFiles {
    /// Where they are.
    pub folder: PathBuf,
}

const COLOURS: [(&str, [u8; 3]); 3] = [("red", [220, 30, 30]), ("green", [30, 200, 40]), ("blue", [40, 60, 220])];

impl VqaFiles {
    /// Writes `images` images, `0.png` and on, with questions and annotations.
    pub fn write(folder: &Path, images: usize) -> Result<Self> {
        fs::create_dir_all(folder.join("images"))?;
        let (mut questions, mut annotations) = (Vec::new(), Vec::new());
        for image in 0..images {
            let (name, colour) = COLOURS[image % COLOURS.len()];
            let left = (image as u32 * 5) % 24;
            let pixel = |x: u32, y: u32| {
                if (left..left + 8).contains(&x) && (10..20).contains(&y) { Rgb(colour) } else { Rgb([245, 245, 245]) }
            };
            let mut png = Cursor::new(Vec::new());
            RgbImage::from_fn(32, 32, pixel).write_to(&mut png, ImageFormat::Png)?;
            fs::write(folder.join(format!("images/{image}.png")), png.into_inner())?;
            let red = if name == "red" { "yes" } else { "no" };
            for (at, (question, answer, question_type, answer_type)) in [
                ("what color is the square?", name, "what color", "other"),
                ("is there a red square?", red, "is there a", "yes/no"),
            ]
            .into_iter()
            .enumerate()
            {
                let id = image * 10 + at;
                questions.push(json!({"image_id": image, "question": question, "question_id": id}));
                let answers: Vec<Value> =
                    (1..=10).map(|n| json!({"answer": answer, "answer_confidence": "yes", "answer_id": n})).collect();
                annotations.push(json!({
                    "question_id": id, "image_id": image, "question_type": question_type,
                    "answer_type": answer_type, "multiple_choice_answer": answer, "answers": answers,
                }));
            }
        }
        let files = Self { folder: folder.to_owned() };
        files.save("questions.json", &json!({"data_subtype": "train", "questions": questions}))?;
        files.save("annotations.json", &json!({"data_subtype": "train", "annotations": annotations}))?;
        Ok(files)
    }

    /// A file of the set.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a JSON file of the set.
    pub fn save(&self, name: &str, value: &Value) -> Result {
        Ok(fs::write(self.path(name), value.to_string())?)
    }

    /// Reads a JSON file of the set.
    pub fn load(&self, name: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&fs::read(self.path(name))?)?)
    }

    /// Ingests the set with the real binary, two images a shard.
    pub fn ingest(&self, dataset: &Path, split: &str) -> Result<Ran> {
        let arguments = self.ingest_arguments(dataset, split);
        retort(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The arguments of [`VqaFiles::ingest`].
    pub fn ingest_arguments(&self, dataset: &Path, split: &str) -> Vec<String> {
        let (questions, annotations) = (self.path("questions.json"), self.path("annotations.json"));
        let images = self.path("images");
        let arguments = [
            "ingest",
            "vqa",
            "--questions",
            text(&questions),
            "--annotations",
            text(&annotations),
            "--images",
            text(&images),
            "--image-pattern",
            "{id}.png",
            "--split",
            split,
            "--out",
            text(dataset),
            "--shard-images",
            "2",
            "--min-answer-count",
            "1",
        ];
        arguments.map(str::to_owned).to_vec()
    }
}
