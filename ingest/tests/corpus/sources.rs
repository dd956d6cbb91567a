//! The source that a file of the corpus is a part of, with the rest of it made.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use retort_ingest::{
    AnswerPlan, CaptionFiles, Captions, DetectedRegions, Img2Dataset, Img2DatasetFiles, Jsonl, JsonlFiles, Options,
    RegionFiles, Result, SnliVe, SnliVeFiles, SnliVePart, Source, Vcr, VcrFiles, VcrTasks, Vqa, VqaFiles, WebDataset,
    WebDatasetFiles,
};
use serde_json::json;

use super::corpus;

/// A file of the corpus, and a folder with room for what belongs to it.
struct Case<'a> {
    kind: &'a str,
    file: &'a Path,
    /// What it is to its source: its name up to the first hyphen.
    part: &'a str,
    folder: &'a Path,
}

/// The source that a file of this kind is a part of, with the options to ingest it.
pub fn source(kind: &str, file: &Path, folder: &Path) -> Result<(Box<dyn Source>, Options)> {
    let name = file.file_name().unwrap().to_str().unwrap();
    let part = name.split_once('-').map_or("", |(part, _)| part);
    let case = Case { kind, file, part, folder };
    std::fs::create_dir(case.images()).unwrap();
    for image in ["a.png", "a.jpg"] {
        std::fs::copy(corpus().join("image/png-whole.png"), case.images().join(image)).unwrap();
    }
    let mut options = Options::new("train");
    let source: Box<dyn Source> = match kind {
        "image" => Box::new(case.image(name)?),
        "vqa" => Box::new(case.vqa()?),
        "regions" => {
            options.regions = Some(Arc::new(case.regions()?));
            Box::new(Vqa::open(&case.questions(&["a.png"]))?)
        }
        "vcr" => Box::new(case.vcr()?),
        "snli_ve" => Box::new(case.snli_ve()?),
        "captions" => Box::new(case.captions()?),
        "jsonl" => Box::new(case.jsonl()?),
        "webdataset" => Box::new(WebDataset::open(&WebDatasetFiles::new(vec![file.to_str().unwrap().to_owned()]))?),
        "img2dataset" => Box::new(case.img2dataset()?),
        _ => case.is_unknown(),
    };
    Ok((source, options))
}

impl Case<'_> {
    fn is_unknown(&self) -> ! {
        panic!("no source is known for {}/{:?}: add an arm", self.kind, self.file)
    }

    fn images(&self) -> PathBuf {
        self.folder.join("images")
    }

    fn write(&self, name: &str, text: impl ToString) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, text.to_string()).unwrap();
        path
    }

    /// Puts a file where its source looks for it.
    fn copy(&self, file: &Path, name: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::copy(file, &path).unwrap();
        path
    }

    /// One question an image.
    fn questions(&self, images: &[&str]) -> VqaFiles {
        let question = |(id, image)| json!({ "question_id": id, "image_id": image, "question": "Is it?" });
        let rows: Vec<_> = (1_u32..).zip(images).map(question).collect();
        VqaFiles {
            questions: self.write("questions.json", json!(rows)),
            annotations: None,
            images: self.images(),
            image_pattern: "{id}".to_owned(),
            answers: AnswerPlan::Build { min_count: 1 },
        }
    }

    fn image(&self, name: &str) -> Result<Vqa> {
        Vqa::open(&VqaFiles { images: corpus().join("image"), ..self.questions(&[name]) })
    }

    fn vqa(&self) -> Result<Vqa> {
        let file = self.file.to_owned();
        Vqa::open(&match self.part {
            "questions" => VqaFiles { questions: file, ..self.questions(&[]) },
            "annotations" => VqaFiles { annotations: Some(file), ..self.questions(&["a.png", "a.png"]) },
            "answers" => VqaFiles { answers: AnswerPlan::File(file), ..self.questions(&["a.png"]) },
            _ => self.is_unknown(),
        })
    }

    fn regions(&self) -> Result<DetectedRegions> {
        let given = match self.file.extension().and_then(|ending| ending.to_str()) {
            Some("tsv") => self.file.to_owned(),
            // In a folder, under the name of the image.
            Some(ending) => {
                self.copy(self.file, &format!("regions/a.{ending}"));
                self.folder.join("regions")
            }
            None => self.is_unknown(),
        };
        DetectedRegions::open(&RegionFiles { paths: vec![given], classes: None, width: 2 })
    }

    fn vcr(&self) -> Result<Vcr> {
        self.write("images/a.json", json!({ "boxes": [[0, 0, 2, 2, 0.5]], "names": ["cup"] }));
        let choices = ["a", "b", "c", "d"].map(|word| [word]);
        let annotation = json!({
            "annot_id": "v-0", "img_fn": "a.png", "metadata_fn": "a.json", "objects": ["cup"],
            "question": ["q", [0]], "answer_choices": choices, "rationale_choices": choices,
            "answer_label": 0, "rationale_label": 1,
        });
        let annotations = self.write("val.jsonl", annotation);
        let mut files = VcrFiles { annotations, member: None, images: self.images(), tasks: VcrTasks::Both };
        match self.part {
            "lines" | "annots" => files.annotations = self.file.to_owned(),
            "images" => files.images = self.file.to_owned(),
            "metadata" => drop(self.copy(self.file, "images/a.json")),
            _ => self.is_unknown(),
        }
        Vcr::open(&files)
    }

    fn snli_ve(&self) -> Result<SnliVe> {
        let mut files = SnliVeFiles {
            pairs: vec![self.file.to_owned()],
            images: self.images(),
            part: SnliVePart::All,
            id_map: None,
        };
        match self.part {
            "pairs" => {}
            "list" => {
                let pair = json!({ "Flickr30K_ID": "a", "sentence2": "s", "gold_label": "neutral" });
                files.pairs = vec![self.write("pairs.jsonl", pair)];
                files.part = SnliVePart::Listed(self.file.to_owned());
            }
            _ => self.is_unknown(),
        }
        SnliVe::open(&files)
    }

    fn captions(&self) -> Result<Captions> {
        let mut files = CaptionFiles { file: self.file.to_owned(), images: self.images(), ..CaptionFiles::default() };
        match self.part {
            "table" | "token" | "lines" | "coco" => {}
            "karpathy" => files.parts = vec!["train".to_owned()],
            "instances" => {
                files.file = self.write("captions.jsonl", json!({ "image": "a.png", "caption": "s" }));
                files.instances = Some(self.file.to_owned());
            }
            _ => self.is_unknown(),
        }
        Captions::open(&files)
    }

    fn jsonl(&self) -> Result<Jsonl> {
        let (file, mapping) = match self.part {
            "records" => {
                let keys = ["task = \"classification\"", "id = \"id\"", "image = \"image\"", "text = \"text\""];
                let labels = ["label = \"label\"", "classes = [\"no\", \"yes\"]"];
                (self.file.to_owned(), self.write("mapping.toml", [&keys[..], &labels].concat().join("\n")))
            }
            "mapping" => {
                let record = json!({ "id": 1, "image": "a.png", "text": "s" });
                (self.write("records.jsonl", record), self.file.to_owned())
            }
            _ => self.is_unknown(),
        };
        Jsonl::open(&JsonlFiles { file, mapping, images: self.images(), parts: Vec::new() })
    }

    /// A folder with one shard.
    fn img2dataset(&self) -> Result<Img2Dataset> {
        let ending = match self.part {
            "archive" => ".tar",
            "table" | "beside" => ".parquet",
            "stats" => "_stats.json",
            _ => self.is_unknown(),
        };
        if matches!(self.part, "beside" | "stats") {
            self.copy(&corpus().join("webdataset/whole.tar"), "shards/00000.tar");
        }
        self.copy(self.file, &format!("shards/00000{ending}"));
        Img2Dataset::open(&Img2DatasetFiles::new(self.folder.join("shards")))
    }
}
