//! Choices and their words, and a shard whose samples are choices with a word masked.

use std::ops::Range;

use arrow::array::{Array, AsArray, ListArray, StringArray, UInt32Array};
use arrow::datatypes::UInt32Type;
use retort_schemas::tokens::{maskable, masked};

use crate::zipped::{SampleRow, Zipped};

/// A candidate text of a labelled sample.
pub(super) struct Choice {
    /// Place of the sample in its shard.
    pub(super) sample: usize,
    /// Place of the text among the candidates of the sample.
    pub(super) candidate: usize,
    pub(super) label: u32,
    text: String,
    /// Where the second and further parts of the text begin.
    parts: Vec<usize>,
    /// Bytes of what can be masked: the words of the last part, and its references one by one.
    pub(super) words: Vec<Range<usize>>,
}

impl Choice {
    /// Texts to ask for: the choice as it is, and with each of its words masked.
    pub(super) fn rows(&self) -> usize {
        1 + self.words.len()
    }

    fn texts(&self) -> impl Iterator<Item = String> + '_ {
        [self.text.clone()].into_iter().chain(self.words.iter().map(|word| masked(&self.text, word)))
    }
}

/// The choices of a sample in their order; none where it has no label.
pub(super) fn choices_of(shell: &Shell, sample: usize) -> Vec<Choice> {
    let SampleRow { label: Some(label), texts, .. } = &shell.samples[sample] else { return Vec::new() };
    let choice = |(candidate, row): (usize, &usize)| {
        let text = shell.texts.value(*row);
        let parts = shell.parts_of_texts[*row].clone();
        let from = parts.last().copied().unwrap_or(0);
        let words = maskable(text, &references(&shell.objects, *row), from..text.len());
        Choice { sample, candidate, label: *label, text: text.to_owned(), parts, words }
    };
    texts.iter().enumerate().map(choice).collect()
}

/// Bytes of the names of objects in text `row`.
fn references(objects: &ListArray, row: usize) -> Vec<Range<usize>> {
    let objects = objects.value(row);
    let bounds = objects.as_struct_opt().and_then(|objects| {
        let bound = |at: usize| objects.column(at).as_any().downcast_ref::<UInt32Array>();
        bound(0).zip(bound(1))
    });
    bounds.map_or_else(Vec::new, |(starts, ends)| {
        let both = starts.values().iter().zip(ends.values());
        both.map(|(start, end)| *start as usize..*end as usize).collect()
    })
}

/// A shard, and the same with other samples and texts in their places.
pub(super) struct Shell {
    pub(super) samples: Vec<SampleRow>,
    texts: StringArray,
    objects: ListArray,
    parts_of_texts: Vec<Vec<usize>>,
    /// The images of the shard with what [`Shell::fill`] put beside them.
    pub(super) zipped: Zipped,
}

impl Shell {
    pub(super) fn new(mut zipped: Zipped) -> Self {
        Self {
            parts_of_texts: (0..zipped.texts.len()).map(|row| zipped.parts(row)).collect(),
            samples: std::mem::take(&mut zipped.samples),
            texts: zipped.texts.clone(),
            objects: zipped.objects.clone(),
            zipped,
        }
    }

    /// Makes each text of these choices a sample of one text; gives their number.
    pub(super) fn fill(&mut self, choices: &[Choice]) -> usize {
        let rows: Vec<&Choice> = choices.iter().flat_map(|choice| std::iter::repeat_n(choice, choice.rows())).collect();
        let sample = |(row, choice): (usize, &&Choice)| SampleRow {
            texts: vec![row],
            label: None,
            ..self.samples[choice.sample].clone()
        };
        self.zipped.samples = rows.iter().enumerate().map(sample).collect();
        self.zipped.texts = StringArray::from(choices.iter().flat_map(Choice::texts).collect::<Vec<String>>());
        let parts = rows.iter().map(|choice| Some(choice.parts.iter().map(|at| Some(*at as u32))));
        // Masks come behind the beginning of the last part: no part moves.
        self.zipped.parts = Some(ListArray::from_iter_primitive::<UInt32Type, _, _>(parts));
        rows.len()
    }
}
