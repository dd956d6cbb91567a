//! VCR, and its domain-shifted rewrites.
//!
//! A line of the annotations gives a sample of Q->A and one of QA->R (`<annot_id>` is the key of every official
//! evaluation; it is the sample id without what is behind the first of these suffixes):
//!
//! | sample id | task | four texts | label |
//! |---|---|---|---|
//! | `<annot_id>:qa` | `vcr_qa` | question, answer | `answer_label` |
//! | `<annot_id>:qar` | `vcr_qar` | question, right answer, rationale | `rationale_label` |
//! | `<annot_id>:qar:a0` to `:qar:a3` | `vcr_qar` | question, answer 0 to 3, rationale | none |
//!
//! The last four stand in place of `<annot_id>:qar` where the right answer is not known, as in the test split: they are
//! `rationale_conditioned_on_a0` to `a3` of the leaderboard. `label_text` is the right choice in words, `answer_type` the
//! `answer_likelihood`. The parts of a text begin where its answer and its rationale do.
//!
//! Words are joined by the rule [`JOINING_RULE`], references become names by the rule [`NAMES_RULE`], each with its span
//! and the index of its object, from 0 (`*_orig` count from 1 and are not read). A tag of 10000 or more is masked: it is
//! `[MASK]` in the text and no reference.
//!
//! The metadata file beside an image gives its regions: boxes, classes and scores; polygons are left out. If it is
//! missing, cannot be read, or is about other objects than every annotation of the image, it is a reject of its own and
//! the image has no regions: its samples stay. If it is about the objects of some annotations, the others are lost,
//! since their references would lead to wrong boxes.

mod groups;
mod metadata;
mod names;
mod record;
#[cfg(test)]
mod tests;
mod text;

use std::io::Read;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use retort_schemas::manifest::AnswerVocabulary;
use serde_json::json;

use self::groups::Groups;
use self::metadata::{Metadata, described};
use self::names::NAMES_RULE;
use self::record::{Annotation, IMAGE_FOLDER, Tasks};
use self::text::JOINING_RULE;
use crate::folder::ImageFolder;
use crate::formats::lines::Lines;
use crate::formats::zip::{ImageZip, Zip};
use crate::rejects::{Code, Reject};
use crate::source::{ImageBytes, ImageStore, Item, Items, Regions, SourceImage};
use crate::{Error, Result, Source, Vocabulary};

/// Images whose lines and metadata are read at a time, in parallel.
const IMAGES_AHEAD: usize = 64;

/// Which tasks of VCR become samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VcrTasks {
    /// Choose the answer: Q->A.
    Qa,
    /// Choose the rationale of the right answer: QA->R.
    Qar,
    /// Both.
    #[default]
    Both,
}

/// One split of VCR as it was published, or a rewritten one.
#[derive(Debug, Clone)]
pub struct VcrFiles {
    /// `val.jsonl` or the like, plain or gzip, or the archive `vcr1annots.zip` that it is in.
    pub annotations: PathBuf,
    /// Which member of that archive, by its path or its file name; without it, the only `.jsonl` there.
    pub member: Option<String>,
    /// The folder `vcr1images`, the folder that holds it, or the archive `vcr1images.zip`: images and their metadata.
    pub images: PathBuf,
    /// Which samples are made.
    pub tasks: VcrTasks,
}

/// VCR, opened.
pub struct Vcr {
    annotations: Lines,
    images: Box<dyn ImageStore + Send>,
    tasks: Tasks,
    /// The paths given.
    reads: [PathBuf; 2],
}

impl Vcr {
    /// Opens the annotations and where the images are.
    ///
    /// # Errors
    /// [`Error::NoMember`], [`Error::NoImageFolder`], [`retort_cache::Error`] if a file cannot be read.
    pub fn open(files: &VcrFiles) -> Result<Self> {
        let images: Box<dyn ImageStore + Send> = if files.images.is_file() {
            Box::new(ImageZip::open(&files.images, IMAGE_FOLDER)?)
        } else {
            let inside = files.images.join(IMAGE_FOLDER);
            Box::new(ImageFolder::open(if inside.is_dir() { &inside } else { &files.images })?)
        };
        let annotations = if Zip::is_one(&files.annotations)? {
            member_of(&files.annotations, files.member.as_deref())?
        } else {
            Lines::open(&files.annotations)?
        };
        let tasks = Tasks { qa: files.tasks != VcrTasks::Qar, qar: files.tasks != VcrTasks::Qa };
        let reads = [files.annotations.clone(), files.images.clone()];
        Ok(Self { annotations, images, tasks, reads })
    }

    /// An image with the samples of its lines, and what is lost.
    fn image(&self, lines: &[u32]) -> Result<Vec<Item<'_>>> {
        let mut rejects = Vec::new();
        let mut annotations = Vec::new();
        for line in lines {
            let line = *line as usize;
            match Annotation::parse(&self.annotations, line, &self.annotations.read(line)?, self.tasks) {
                // Nothing is left of it: it has no say in what the image's objects are.
                Ok(annotation) if annotation.samples.is_empty() => rejects.extend(annotation.rejects),
                Ok(annotation) => annotations.push(annotation),
                Err(reject) => rejects.push(reject),
            }
        }
        let mut items = Vec::new();
        if !annotations.is_empty() {
            let regions = match self.regions(&mut annotations, &mut rejects) {
                Ok(regions) => Some(regions),
                Err(reject) => {
                    rejects.push(reject);
                    None
                }
            };
            let name = annotations.first().map(|annotation| annotation.image.clone()).unwrap_or_default();
            let records = annotations.iter_mut().flat_map(|annotation| annotation.samples.drain(..)).collect();
            let bytes = ImageBytes::Stored(self.images.as_ref());
            items.push(Item::Image(SourceImage { name, bytes, regions, records }));
        }
        rejects.extend(annotations.into_iter().flat_map(|annotation| annotation.rejects));
        items.extend(rejects.into_iter().map(Item::Reject));
        Ok(items)
    }

    /// The regions of an image; annotations that are about other objects are lost.
    fn regions(&self, annotations: &mut Vec<Annotation>, rejects: &mut Vec<Reject>) -> Result<Regions, Reject> {
        let Some(path) = annotations.iter().find_map(|annotation| annotation.metadata.clone()) else {
            let source = annotations.first().map(|annotation| annotation.image.clone()).unwrap_or_default();
            return Err(Reject::annotation(
                source,
                Code::MetadataMissing,
                "no annotation of this image has metadata_fn",
            ));
        };
        let metadata = Metadata::read(self.images.as_ref(), &path)?;
        let is_about = |annotation: &Annotation| metadata.is_about(&annotation.objects);
        let Some(objects) = annotations.iter().find(|annotation| is_about(annotation)) else {
            let found = annotations.first().map(|annotation| described(&annotation.objects)).unwrap_or_default();
            let message = format!("it is about {}, its annotations about {found}", metadata.described());
            return Err(Reject::annotation(path, Code::MetadataMismatch, message));
        };
        let regions = metadata.regions(&objects.objects);
        annotations.retain(|annotation| {
            let kept = is_about(annotation);
            if !kept {
                let message =
                    format!("it is about {}, {path} about {}", described(&annotation.objects), metadata.described());
                let source = format!("annotation {}", annotation.annot_id);
                rejects.push(Reject::annotation(source, Code::ObjectsMismatch, message));
            }
            kept
        });
        Ok(regions)
    }
}

/// The annotations in an archive.
fn member_of(path: &Path, member: Option<&str>) -> Result<Lines> {
    let zip = Zip::open(path)?;
    let names = zip.names()?;
    let is_asked_for = |name: &&String| match member {
        Some(member) => *name == member || name.rsplit('/').next() == Some(member),
        // What macOS puts beside each file of an archive is none.
        None => name.ends_with(".jsonl") && !name.starts_with("__MACOSX/"),
    };
    let found: Vec<&String> = names.iter().filter(is_asked_for).collect();
    let exact = found.iter().find(|name| Some(name.as_str()) == member).copied();
    let chosen = match (exact, found.as_slice()) {
        (Some(exact), _) => Some(exact),
        (None, [only]) => Some(*only),
        _ => None,
    };
    let located = chosen.and_then(|name| Some((name, zip.find(name)?)));
    let Some((name, place)) = located else {
        let wanted = member.unwrap_or("single .jsonl");
        return Err(Error::NoMember { path: path.to_owned(), member: wanted.to_owned(), members: names.join(", ") });
    };
    let inside = path.join(name);
    let reader = zip.annotation_reader(place).map_err(retort_cache::Error::io("unpack", &inside))?;
    // Hashed as it comes out: the file is the same one, packed or not.
    Lines::unpack(&inside, reader, |unpacked| Box::new(unpacked) as Box<dyn Read + '_>)
}

impl Source for Vcr {
    fn kind(&self) -> &'static str {
        "vcr"
    }

    fn reads(&self) -> Vec<PathBuf> {
        self.reads.to_vec()
    }

    fn options(&self) -> serde_json::Value {
        let tasks = [(self.tasks.qa, "qa"), (self.tasks.qar, "qar")];
        let tasks: Vec<&str> = tasks.into_iter().filter_map(|(made, name)| made.then_some(name)).collect();
        json!({
            "annotations": self.annotations.fingerprint,
            "tasks": tasks,
            "names": NAMES_RULE,
            "joining": JOINING_RULE,
        })
    }

    fn vocabulary(&self, _split: &str, _existing: Option<&AnswerVocabulary>) -> Result<Option<Vocabulary>> {
        Ok(None)
    }

    fn items<'a>(&'a self, _vocabulary: Option<&'a Vocabulary>) -> Result<Items<'a>> {
        let mut groups = Groups::collect(&self.annotations, self.tasks)?;
        let images = groups.len() as u64;
        let records = images + groups.samples;
        let lost = std::mem::take(&mut groups.rejects).into_iter().map(|reject| Ok(Item::Reject(reject)));
        let read = (0..groups.len()).step_by(IMAGES_AHEAD).flat_map(move |first| {
            let ahead = first..(first + IMAGES_AHEAD).min(groups.len());
            let read: Vec<_> = ahead.into_par_iter().map(|image| self.image(groups.lines_of(image))).collect();
            read.into_iter().flat_map(|items| match items {
                Ok(items) => items.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            })
        });
        Ok(Items { images: Some(images), records: Some(records), regions: true, items: Box::new(lost.chain(read)) })
    }
}
