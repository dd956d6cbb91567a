//! The words of texts: which there are, which are selected, what they are drawn to.

use std::collections::HashMap;

use retort_cache::TeacherCache;
use retort_schemas::features;
use retort_schemas::words::{Word, words};
use tch::Tensor;

use super::{PreparedText, Preparer};
use crate::controls::random_words;
use crate::recipe::{Control, SelectMode};
use crate::seeds::generator;
use crate::selection::{probabilities, relevance, select_sample, select_top};
use crate::zipped::{Pooled, SampleRow, Sources, Zipped, pooled};
use crate::{Error, Result};

/// The selected words of a batch, padded to the most of a text.
pub(crate) struct WordBatch {
    /// `[texts, words, tokens]`, 1/n at the n sub-tokens of a word.
    pub(crate) members: Tensor,
    /// `[texts, words]`.
    pub(crate) present: Tensor,
    /// `[texts, words, d]`.
    pub(crate) target: Tensor,
}

/// The teachers' embeddings of words, each of length 1.
#[derive(Debug, Default)]
pub(crate) struct WordFeatures {
    rows: HashMap<String, (usize, usize)>,
    tables: Vec<Pooled>,
}

impl WordFeatures {
    /// Reads one column of a teacher's word tables, of the whole data set.
    pub(crate) fn read(sources: &Sources, teacher: &TeacherCache, name: &str) -> Result<Self> {
        let mut read = Self::default();
        for shard in sources.dataset.shards() {
            let shard = shard?;
            if teacher.shard(&shard.name)?.is_none_or(|mine| !mine.tables.contains_key(features::words::NAME)) {
                return Err(Error::Data {
                    path: sources.dataset.folder().to_owned(),
                    problem: format!(
                        "teacher {} has no words of shard {}: run `retort teach` with --words",
                        teacher.manifest().name,
                        shard.name
                    ),
                });
            }
            let batch = teacher.read(&sources.dataset, &shard, features::words::NAME)?;
            let names = retort_cache::column::<arrow::array::StringArray>(&batch, features::words::WORD)?;
            let table = read.tables.len();
            read.rows.extend(names.iter().flatten().enumerate().map(|(row, word)| (word.to_owned(), (table, row))));
            let features = pooled(&batch, name)?;
            read.tables.push(match &sources.random {
                Some(random) => features.replaced(random, name, names.iter().flatten()),
                None => features,
            });
        }
        Ok(read)
    }

    fn get(&self, word: &str) -> Option<&[f32]> {
        self.rows.get(word).map(|(table, row)| self.tables[*table].row(*row))
    }
}

/// A candidate word with both relevances: what selection saw.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) word: Word,
    pub(crate) visual: Option<f32>,
    pub(crate) semantic: f32,
    pub(crate) probability: f32,
    pub(crate) selected: bool,
}

/// A selected word: its sub-tokens, and the feature that they are drawn to.
pub(super) struct PreparedWord {
    pub(super) tokens: Vec<usize>,
    pub(super) target: Vec<f32>,
}

/// Text `at` of a sample, as a seed names it.
pub(super) fn place_of(sample: &SampleRow, at: usize) -> String {
    if at == 0 { sample.id.clone() } else { format!("{}/{at}", sample.id) }
}

impl Preparer {
    /// The words of text `at` of a sample with relevances, probabilities and the choice. Words that name an object of
    /// the image are none: `[person1]` was resolved to any name.
    pub(crate) fn candidates(
        &self,
        shard: &Zipped,
        sample: &SampleRow,
        at: usize,
        epoch: Option<u64>,
    ) -> Vec<Candidate> {
        let (Some(semantic_words), Some(z_t)) = (&self.semantic_words, &shard.z_t) else { return Vec::new() };
        let text = sample.texts[at];
        let z_t = z_t.row(text);
        let z_v = shard.z_v.as_ref().map(|z_v| z_v.row(sample.image));
        let settings = &self.recipe.selection;
        let mut found = Vec::new();
        for word in words(shard.texts.value(text)) {
            if shard.names_object(text, word.start, word.end) {
                continue;
            }
            let Some(semantic) = semantic_words.get(&word.lower) else { continue };
            let prompt = self.visual_words.as_ref().and_then(|words| words.get(&word.lower));
            let visual = prompt.zip(z_v).map(|(prompt, z_v)| relevance(prompt, z_v));
            let semantic = relevance(semantic, z_t);
            found.push(Candidate { word, visual, semantic, probability: 0.0, selected: false });
        }
        let visual: Option<Vec<f32>> = found.iter().map(|candidate| candidate.visual).collect();
        let visual = visual.filter(|_| self.visual_words.is_some());
        let semantic: Vec<f32> = found.iter().map(|candidate| candidate.semantic).collect();
        let p = probabilities(visual.as_deref(), &semantic, settings.alpha, settings.tau_a, settings.tau_b);
        let (seed, place) = (self.recipe.seed, place_of(sample, at));
        // What stands in for a choice changes over epochs if the choice would.
        let drawn = epoch.filter(|_| settings.mode == SelectMode::Sample);
        let chosen = match (self.recipe.control, drawn) {
            (Control::RandomWords, epoch) => {
                random_words(p.len(), settings.words, seed, epoch.unwrap_or_default(), &place)
            }
            (_, Some(epoch)) => select_sample(&p, settings.words, &mut generator("selection", seed, epoch, &place)),
            (_, None) => select_top(&p, settings.words),
        };
        for (at, candidate) in found.iter_mut().enumerate() {
            candidate.probability = p[at];
            candidate.selected = chosen.contains(&at);
        }
        found
    }

    pub(super) fn collate_words(&self, texts: &[&PreparedText], longest: usize) -> Result<Option<WordBatch>> {
        let most = texts.iter().map(|text| text.words.len()).max().unwrap_or(0);
        let width = texts.iter().flat_map(|text| &text.words).map(|word| word.target.len()).next().unwrap_or(0);
        if most == 0 {
            return Ok(None);
        }
        let mut members = vec![0.0_f32; texts.len() * most * longest];
        let mut present = vec![0.0_f32; texts.len() * most];
        let mut target = vec![0.0_f32; texts.len() * most * width];
        for (row, text) in texts.iter().enumerate() {
            for (column, word) in text.words.iter().enumerate() {
                let at = row * most + column;
                present[at] = 1.0;
                target[at * width..(at + 1) * width].copy_from_slice(&word.target);
                for token in &word.tokens {
                    members[at * longest + token] = 1.0 / word.tokens.len() as f32;
                }
            }
        }
        let (count, most) = (texts.len() as i64, most as i64);
        Ok(Some(WordBatch {
            members: self.tensor(&members, &[count, most, longest as i64])?,
            present: self.tensor(&present, &[count, most])?,
            target: self.tensor(&target, &[count, most, width as i64])?,
        }))
    }
}
