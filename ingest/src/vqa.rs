//! VQA v1 and v2, and VQA-CP.

mod records;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use retort_cache::{Dataset, DatasetWriter, Error as CacheError, Interrupt, Progress, SplitPlan};
use retort_schemas::manifest::Shard;
use serde_json::json;

use crate::images::{self, CheckedImage};
use crate::json::SourceFile;
use crate::pattern::ImagePattern;
use crate::rejects::{Code, Reject};
use crate::shard::{Sample, ShardBuilder, ShardTables};
use crate::vocabulary::Vocabulary;
use crate::{AnswerPlan, Error, IngestReport, RejectLimit, Result};
use records::{Annotations, Question, Records, ShardPlan};

/// Source images of a shard, unless told otherwise.
pub const DEFAULT_SHARD_IMAGES: usize = 1024;

const KIND: &str = "vqa";

/// One split of VQA as it was published, and how to ingest it.
#[derive(Debug, Clone)]
pub struct VqaSource {
    /// `v2_OpenEnded_mscoco_train2014_questions.json` or the like: an object with the list `questions`, or the bare
    /// list of VQA-CP; plain or gzip.
    pub questions: PathBuf,
    /// `v2_mscoco_train2014_annotations.json` or the like; without it, the split has no labels.
    pub annotations: Option<PathBuf>,
    /// Folder of the images, or of their subtype folders.
    pub images: PathBuf,
    /// Path of an image in that folder, such as [`crate::COCO_PATTERN`]: `{subtype}` is the file's `data_subtype` or
    /// the record's `coco_split`, `{id}` and `{id:012}` its image id. Where there is no such file, its name alone is
    /// tried.
    pub image_pattern: String,
    /// Name of the split in the data set.
    pub split: String,
    /// Where the answer vocabulary comes from.
    pub answers: AnswerPlan,
    /// Source images of a shard, usually [`DEFAULT_SHARD_IMAGES`].
    pub shard_images: usize,
    /// How many lost records are too many.
    pub max_rejects: RejectLimit,
}

/// Ingests a split into a data set, or continues where an earlier run stopped.
///
/// # Errors
/// [`Error::Malformed`] and [`Error::InvalidVocabulary`] if an input file is not what it should be;
/// [`Error::TooManyRejects`] after the shard that exceeds the limit; [`retort_cache::Error`] if a file cannot be read
/// or written, if the split exists with other options, or on an interrupt: shards committed so far stay.
pub fn ingest_vqa(
    source: &VqaSource,
    out: &Path,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<IngestReport> {
    let pattern = source.check()?;
    let inputs = Inputs::read(source)?;
    let annotations = inputs.annotations.as_ref().map(Annotations::parse).transpose()?;
    let vocabulary = inputs.vocabulary(source, out, annotations.as_ref())?;
    let plan = SplitPlan {
        name: source.split.clone(),
        source: KIND.to_owned(),
        options: inputs.options(source),
        answers: vocabulary.as_ref().map(|vocabulary| vocabulary.stored.clone()),
    };
    let mut writer = DatasetWriter::begin(out, plan)?;
    let mut report = IngestReport { skipped_already: writer.is_complete(), ..IngestReport::default() };
    if writer.committed() > 0 {
        let dataset = Dataset::open(out)?;
        for shard in &dataset.split(&source.split)?.shards {
            report.add_committed(&dataset, shard)?;
        }
    }
    if report.skipped_already {
        return Ok(report);
    }
    let records = Records::collect(&inputs.questions, annotations, &pattern)?;
    progress.begin(&format!("ingest {}", source.split), records.images.len() as u64, "images");
    let run = Run { source, out, vocabulary, progress, interrupt };
    let result = run.write(records, &mut writer, &mut report);
    progress.end();
    result?;
    writer.finish()?;
    Ok(report)
}

impl VqaSource {
    fn check(&self) -> Result<ImagePattern> {
        let invalid = |option, value: &dyn ToString, problem: &str| {
            Err(Error::InvalidOption { option, value: value.to_string(), problem: problem.to_owned() })
        };
        // Files are named after the split.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.split.is_empty() || self.split.starts_with('.') || !self.split.chars().all(is_plain) {
            return invalid("split", &self.split, "it names files: use letters, digits, - and _");
        }
        if self.shard_images == 0 {
            return invalid("number of images a shard", &self.shard_images, "a shard has at least one");
        }
        if !self.images.is_dir() {
            return Err(Error::NoImageFolder { path: self.images.clone() });
        }
        ImagePattern::parse(&self.image_pattern)
    }
}

/// The files beside the images, read whole.
struct Inputs {
    questions: SourceFile,
    annotations: Option<SourceFile>,
    answers: Option<SourceFile>,
}

impl Inputs {
    fn read(source: &VqaSource) -> Result<Self> {
        let answers = match &source.answers {
            AnswerPlan::File(path) => Some(SourceFile::read(path)?),
            AnswerPlan::Existing | AnswerPlan::Build { .. } => None,
        };
        let annotations = source.annotations.as_deref().map(SourceFile::read).transpose()?;
        Ok(Self { questions: SourceFile::read(&source.questions)?, annotations, answers })
    }

    /// Everything that decides what is written, wherever the files lie.
    fn options(&self, source: &VqaSource) -> serde_json::Value {
        json!({
            "questions": self.questions.fingerprint,
            "annotations": self.annotations.as_ref().map(|file| &file.fingerprint),
            "image_pattern": source.image_pattern,
            "shard_images": source.shard_images,
            "answers": match &source.answers {
                AnswerPlan::Existing => json!("existing"),
                AnswerPlan::Build { min_count } => json!({ "build": { "min_count": min_count } }),
                AnswerPlan::File(_) => json!({ "file": self.answers.as_ref().map(|file| &file.fingerprint) }),
            },
        })
    }

    fn vocabulary(
        &self,
        source: &VqaSource,
        out: &Path,
        annotations: Option<&Annotations<'_>>,
    ) -> Result<Option<Vocabulary>> {
        let existing = match Dataset::open(out) {
            Ok(dataset) => dataset.manifest().answers.clone().map(Vocabulary::new),
            Err(CacheError::NotADataset { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(file) = &self.answers {
            let loaded = Vocabulary::load(file)?;
            // The same classes under another file name are the same vocabulary.
            let same = existing.filter(|existing| existing.stored.hash == loaded.stored.hash);
            return Ok(Some(same.unwrap_or(loaded)));
        }
        match (existing, &source.answers, annotations.zip(self.annotations.as_ref())) {
            (Some(existing), ..) => Ok(Some(existing)),
            (None, AnswerPlan::Build { min_count }, Some((annotations, file))) => {
                Vocabulary::build(file, &source.split, annotations.truths(), *min_count).map(Some)
            }
            (None, _, Some(_)) => Err(Error::NoVocabulary { path: out.to_owned() }),
            (None, _, None) => Ok(None),
        }
    }
}

/// What every shard needs.
struct Run<'a> {
    source: &'a VqaSource,
    out: &'a Path,
    vocabulary: Option<Vocabulary>,
    progress: &'a dyn Progress,
    interrupt: &'a Interrupt,
}

impl Run<'_> {
    /// Writes the shards that are not there yet.
    fn write(&self, records: Records<'_>, writer: &mut DatasetWriter, report: &mut IngestReport) -> Result<()> {
        let total = (records.listed + records.images.len()) as u64;
        let shards = records.into_shards(self.source.shard_images);
        let committed = writer.committed();
        self.progress.advance(shards.iter().take(committed).map(|shard| shard.images.len() as u64).sum());
        if committed > 0 {
            self.check_rejects(report, total)?;
        }
        for (index, plan) in shards.into_iter().enumerate().skip(committed) {
            let tables = self.shard(&Shard::name_of(&self.source.split, index), plan)?;
            writer.commit(&tables.named())?;
            let (images, texts) = (tables.images.num_rows() as u64, tables.texts.num_rows() as u64);
            report.add(images, texts, &tables.samples, &tables.rejects)?;
            self.check_rejects(report, total)?;
        }
        Ok(())
    }

    /// Reads the images of one shard and builds its tables: a function of the plan and the files alone.
    fn shard(&self, name: &str, plan: ShardPlan<'_>) -> Result<ShardTables> {
        let load = |path: &String| {
            self.interrupt.check()?;
            let image = images::load(&self.source.images, path);
            self.progress.advance(1);
            Ok(image)
        };
        let loaded: Vec<Result<CheckedImage, Reject>> =
            plan.images.par_iter().map(load).collect::<Result<_, CacheError>>()?;
        let mut shard = ShardBuilder::default();
        plan.rejects.into_iter().for_each(|reject| shard.add_reject(reject));
        let mut rows = Vec::with_capacity(loaded.len());
        for image in loaded {
            rows.push(match image {
                Ok(image) => Ok(shard.add_image(image)),
                Err(reject) => {
                    let lost = (reject.stage, format!("its image is lost: {}, {}", reject.code.name(), reject.message));
                    shard.add_reject(reject);
                    Err(lost)
                }
            });
        }
        for question in plan.questions {
            match &rows[question.image] {
                Ok(row) => self.add_question(&mut shard, question, *row),
                Err((stage, message)) => shard.add_reject(Reject {
                    source: format!("question {}", question.id),
                    stage: *stage,
                    code: Code::ImageRejected,
                    message: message.clone(),
                }),
            }
        }
        shard.finish(name, &self.source.split)
    }

    fn add_question<'a>(&self, shard: &mut ShardBuilder<'a>, question: Question<'a>, image: u32) {
        let text = shard.add_text(question.text);
        let mut sample = Sample { id: question.id, task: KIND, image, texts: vec![text], ..Sample::default() };
        if let Some(annotation) = question.annotation {
            if let Some(vocabulary) = &self.vocabulary {
                sample.label = vocabulary.class_of_truth(&annotation.truth);
                sample.targets = vocabulary.targets(annotation.answers.iter().map(AsRef::as_ref));
            }
            sample.label_text = Some(annotation.truth);
            sample.answers = annotation.answers;
            sample.question_type = annotation.question_type;
            sample.answer_type = annotation.answer_type;
        }
        shard.add_sample(sample);
    }

    fn check_rejects(&self, report: &IngestReport, records: u64) -> Result<()> {
        let limit = self.source.max_rejects;
        if !limit.is_exceeded(report.rejected(), records) {
            return Ok(());
        }
        Err(Error::TooManyRejects {
            path: self.out.to_owned(),
            split: self.source.split.clone(),
            rejects: report.rejected(),
            records,
            limit: limit.to_string(),
            reasons: report.reasons(),
        })
    }
}
