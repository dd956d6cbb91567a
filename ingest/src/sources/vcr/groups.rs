//! The first pass over the annotations: which lines are about which image, and nothing else of them held.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::record::{self, Tasks};
use crate::formats::lines::Lines;
use crate::images::{ContentId, content_id};
use crate::rejects::{Code, Reject};
use crate::{Error, Result};

/// What the first pass reads of a line.
#[derive(Deserialize)]
struct Key<'a> {
    #[serde(borrow)]
    img_fn: Cow<'a, str>,
    #[serde(borrow)]
    annot_id: Cow<'a, str>,
    answer_label: Option<IgnoredAny>,
}

/// Lines put together by image, in order of first appearance.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// The lines of each image, image after image.
    lines: Vec<u32>,
    /// Where in them the lines of each image end.
    ends: Vec<u32>,
    /// Lines that are lost already.
    pub rejects: Vec<Reject>,
    /// Samples that the lines should give.
    pub samples: u64,
}

impl Groups {
    /// Reads the keys of all lines.
    pub(super) fn collect(lines: &Lines, tasks: Tasks) -> Result<Self> {
        let mut groups = Self::default();
        let mut images: HashMap<ContentId, u32> = HashMap::new();
        let mut image_of_line: Vec<(u32, u32)> = Vec::new();
        let mut seen = HashSet::new();
        for line in 0..lines.len() {
            let bytes = lines.read(line)?;
            let key = serde_json::from_slice::<Key<'_>>(&bytes).ok();
            let Some(key) = key.filter(|key| record::problem_of_key(&key.img_fn, &key.annot_id).is_none()) else {
                groups.samples += tasks.samples(true);
                groups.rejects.push(record::reject_of_line(lines, line, &bytes));
                continue;
            };
            groups.samples += tasks.samples(key.answer_label.is_some());
            if !seen.insert(content_id(key.annot_id.as_bytes())) {
                groups.rejects.push(Reject::annotation(
                    format!("annotation {}", key.annot_id),
                    Code::DuplicateAnnotId,
                    format!("line {}: an earlier line has the same annot_id", lines.number(line)),
                ));
                continue;
            }
            let next = images.len() as u32;
            let image = match images.entry(content_id(record::image_name(&key.img_fn).as_bytes())) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => *new.insert(next),
            };
            image_of_line.push((image, line as u32));
        }
        if seen.is_empty()
            && let Some(first) = groups.rejects.first()
        {
            return Err(Error::Malformed {
                path: lines.path.clone(),
                line: lines.number(0) as usize,
                column: 1,
                expected: "a line an annotation, with img_fn, annot_id, objects, question and answer_choices"
                    .to_owned(),
                problem: format!("no line is one, and the first is lost because {}", first.message),
            });
        }
        // Stable: the lines of an image stay in the order of the file.
        image_of_line.sort_by_key(|(image, _)| *image);
        groups.ends = vec![0; images.len()];
        for (image, line) in image_of_line {
            groups.lines.push(line);
            groups.ends[image as usize] = groups.lines.len() as u32;
        }
        Ok(groups)
    }

    /// How many images there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The lines of an image.
    pub(super) fn lines_of(&self, image: usize) -> &[u32] {
        let end = |image: usize| self.ends.get(image).copied().unwrap_or_default() as usize;
        let start = image.checked_sub(1).map_or(0, end);
        self.lines.get(start..end(image)).unwrap_or_default()
    }
}
