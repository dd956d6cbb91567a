//! From zipped rows to a batch of tensors: tokenise, decode, augment, choose words, collate.

use std::collections::HashMap;

use rand::Rng;
use rayon::prelude::*;
use retort_cache::TeacherCache;
use retort_nn::TextTokenizer;
use retort_nn::pixels::{self, Preprocessing, Resize, Rgb};
use retort_schemas::features;
use retort_schemas::words::{Word, words};
use tch::{Device, Tensor};

use crate::recipe::{Recipe, SelectMode, Target};
use crate::seeds::generator;
use crate::selection::{probabilities, relevance, select_sample, select_top};
use crate::tasks::Objective;
use crate::zipped::{Pooled, SampleRow, Sources, Zipped, pooled};
use crate::{Error, Result};

/// What the student and the losses see of a batch. Features are of length 1. A sample has one text or, where one of
/// several is to be chosen, K: `texts` is `batch * K`, the candidates of a sample one after another.
pub(crate) struct Batch {
    pub(crate) ids_of_samples: Vec<String>,
    /// `[texts, tokens]`.
    pub(crate) ids: Tensor,
    /// `[texts, tokens]`, 1 for a token, 0 for padding.
    pub(crate) mask: Tensor,
    /// `[batch, 3, side, side]`.
    pub(crate) pixels: Tensor,
    /// `[batch, answers]`, where answers have soft scores.
    pub(crate) targets: Option<Tensor>,
    /// `[batch]`, -1 where there is none.
    pub(crate) labels: Tensor,
    /// `[batch, d_v]`.
    pub(crate) z_v: Option<Tensor>,
    /// `[texts, d_t]`.
    pub(crate) z_t: Option<Tensor>,
    pub(crate) words: Option<WordBatch>,
    /// c_T and whether the teachers are right, `[batch]` each.
    pub(crate) confidence: Option<(Tensor, Tensor)>,
}

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
        for shard in sources.dataset.manifest().shards() {
            if teacher.shard(&shard.name).is_none_or(|mine| !mine.tables.contains_key(features::words::NAME)) {
                return Err(Error::Data {
                    path: sources.dataset.folder().to_owned(),
                    problem: format!(
                        "teacher {} has no words of shard {}: run `retort teach` with --words",
                        teacher.manifest().name,
                        shard.name
                    ),
                });
            }
            let batch = teacher.read(&sources.dataset, shard, features::words::NAME)?;
            let names = retort_cache::column::<arrow::array::StringArray>(&batch, features::words::WORD)?;
            let table = read.tables.len();
            read.rows.extend(names.iter().flatten().enumerate().map(|(row, word)| (word.to_owned(), (table, row))));
            read.tables.push(pooled(&batch, name)?);
        }
        Ok(read)
    }

    fn get(&self, word: &str) -> Option<&[f32]> {
        self.rows.get(word).map(|(table, row)| self.tables[*table].row(*row))
    }
}

/// c_T of a sample, and whether the teachers are right about it.
pub(crate) type ConfidenceOf = HashMap<String, (f32, bool)>;

/// Everything that turns rows into batches, shared by the threads that do so.
pub(crate) struct Preparer {
    pub(crate) recipe: Recipe,
    pub(crate) tokenizer: TextTokenizer,
    pub(crate) objective: Objective,
    /// Answers or classes of the vocabulary.
    pub(crate) classes: usize,
    /// E_joint("a photo of w"); absent without a joint teacher.
    pub(crate) visual_words: Option<WordFeatures>,
    /// E_text(w).
    pub(crate) semantic_words: Option<WordFeatures>,
    pub(crate) confidence: Option<ConfidenceOf>,
    pub(crate) device: Device,
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

struct Prepared {
    pixels: Vec<f32>,
    texts: Vec<PreparedText>,
}

struct PreparedText {
    ids: Vec<i64>,
    words: Vec<PreparedWord>,
}

struct PreparedWord {
    tokens: Vec<usize>,
    target: Vec<f32>,
}

/// How a student of this size sees pixels: ViLT's mean and standard deviation.
pub(crate) fn student_preprocessing(image_size: i64) -> Preprocessing {
    let side = image_size as u32;
    Preprocessing {
        resize: Some(Resize::ShortestEdge(side)),
        crop: Some([side, side]),
        rescale: 1.0 / 255.0,
        mean: [0.5; 3],
        std: [0.5; 3],
    }
}

/// z_v of a sample.
pub(crate) fn image_feature(shard: &Zipped, row: usize) -> Option<&[f32]> {
    Some(shard.z_v.as_ref()?.row(shard.samples[row].image))
}

/// z_t of each text of a sample.
pub(crate) fn text_features(shard: &Zipped, row: usize) -> impl Iterator<Item = Option<&[f32]>> {
    shard.samples[row].texts.iter().map(|text| Some(shard.z_t.as_ref()?.row(*text)))
}

impl Preparer {
    /// A batch of rows. `epoch` seeds augmentation and sampled selection; without it there is neither.
    pub(crate) fn batch(&self, rows: &[(&Zipped, usize)], epoch: Option<u64>) -> Result<Batch> {
        let prepared: Vec<Prepared> =
            rows.par_iter().map(|(shard, row)| self.prepare(shard, *row, epoch)).collect::<Result<_>>()?;
        let samples: Vec<&SampleRow> = rows.iter().map(|(shard, row)| &shard.samples[*row]).collect();
        let texts: Vec<&PreparedText> = prepared.iter().flat_map(|sample| &sample.texts).collect();
        let (count, text_count) = (rows.len() as i64, texts.len() as i64);
        let longest = texts.iter().map(|text| text.ids.len()).max().unwrap_or(0);
        let mut ids = vec![0_i64; texts.len() * longest];
        let mut mask = vec![0_i64; ids.len()];
        for (row, text) in texts.iter().enumerate() {
            let at = row * longest;
            ids[at..at + text.ids.len()].copy_from_slice(&text.ids);
            mask[at..at + text.ids.len()].fill(1);
        }
        let labels: Vec<i64> = samples.iter().map(|sample| sample.label.map_or(-1, i64::from)).collect();
        let side = self.recipe.student.image_size;
        let pixels: Vec<f32> = prepared.iter().flat_map(|sample| sample.pixels.iter().copied()).collect();
        let arm = self.recipe.arm;
        Ok(Batch {
            ids_of_samples: samples.iter().map(|sample| sample.id.clone()).collect(),
            ids: self.tensor(&ids, &[text_count, longest as i64])?,
            mask: self.tensor(&mask, &[text_count, longest as i64])?,
            pixels: self.tensor(&pixels, &[count, 3, side, side])?,
            targets: self.soft_targets(&samples)?,
            labels: self.tensor(&labels, &[count])?,
            z_v: self.gather(arm.vision(), rows.iter().map(|(shard, row)| image_feature(shard, *row)))?,
            z_t: self.gather(arm.text(), rows.iter().flat_map(|(shard, row)| text_features(shard, *row)))?,
            words: if arm.tokens() { self.collate_words(&texts, longest)? } else { None },
            confidence: self.confidences(&samples)?,
        })
    }

    fn tensor<T: tch::kind::Element>(&self, values: &[T], shape: &[i64]) -> Result<Tensor> {
        Ok(Tensor::f_from_slice(values)?.f_reshape(shape)?.f_to_device(self.device)?)
    }

    /// `[batch, answers]` of an objective that has soft scores.
    fn soft_targets(&self, samples: &[&SampleRow]) -> Result<Option<Tensor>> {
        if self.objective != Objective::Answers {
            return Ok(None);
        }
        let mut targets = vec![0.0_f32; samples.len() * self.classes];
        for (row, sample) in samples.iter().enumerate() {
            for (class, score) in &sample.targets {
                if let Some(target) = targets.get_mut(row * self.classes + *class as usize) {
                    *target = *score;
                }
            }
        }
        Ok(Some(self.tensor(&targets, &[samples.len() as i64, self.classes as i64])?))
    }

    fn gather<'a>(&self, wanted: bool, features: impl Iterator<Item = Option<&'a [f32]>>) -> Result<Option<Tensor>> {
        match features.collect::<Option<Vec<_>>>() {
            Some(features) if wanted => {
                let width = features.first().map_or(0, |feature| feature.len());
                Ok(Some(self.tensor(&features.concat(), &[features.len() as i64, width as i64])?))
            }
            _ => Ok(None),
        }
    }

    fn confidences(&self, samples: &[&SampleRow]) -> Result<Option<(Tensor, Tensor)>> {
        let Some(known) = &self.confidence else { return Ok(None) };
        // A sample without a label was not seen by the probe: neither side is sure.
        let of = |sample: &&SampleRow| known.get(&sample.id).copied().unwrap_or((0.5, false));
        let (c_t, right): (Vec<f32>, Vec<f32>) =
            samples.iter().map(of).map(|(c, right)| (c, f32::from(u8::from(right)))).unzip();
        let count = [samples.len() as i64];
        Ok(Some((self.tensor(&c_t, &count)?, self.tensor(&right, &count)?)))
    }

    fn prepare(&self, shard: &Zipped, row: usize, epoch: Option<u64>) -> Result<Prepared> {
        let sample = &shard.samples[row];
        let image = pixels::decode(shard.images.value(sample.image))?;
        let preprocessing = student_preprocessing(self.recipe.student.image_size);
        let mut image = preprocessing.fit(&image)?;
        if let Some(epoch) = epoch {
            image = self.augment(image, epoch, &sample.id);
        }
        let texts = (0..sample.texts.len()).map(|at| self.prepare_text(shard, sample, at, epoch));
        Ok(Prepared { pixels: preprocessing.normalise(&image), texts: texts.collect::<Result<_>>()? })
    }

    /// Text `at` of a sample.
    fn prepare_text(&self, shard: &Zipped, sample: &SampleRow, at: usize, epoch: Option<u64>) -> Result<PreparedText> {
        let text = sample.texts[at];
        let encoded = self.tokenizer.encode(shard.texts.value(text))?;
        let mut chosen = Vec::new();
        if self.recipe.arm.tokens() {
            for candidate in self.candidates(shard, sample, at, epoch).into_iter().filter(|c| c.selected) {
                let Word { start, end, .. } = candidate.word;
                let overlaps = |(from, to): &(u32, u32)| (*from as usize) < end && (*to as usize) > start;
                let inside = |at: &usize| !encoded.special[*at] && overlaps(&encoded.spans[*at]);
                let tokens: Vec<usize> = (0..encoded.ids.len()).filter(inside).collect();
                let target = match self.recipe.selection.target {
                    Target::Token => shard.tokens.as_ref().and_then(|tokens| tokens.mean(text, start, end)),
                    Target::Sentence => shard.z_t.as_ref().map(|z_t| z_t.row(text).to_vec()),
                    Target::Image => shard.z_v.as_ref().map(|z_v| z_v.row(sample.image).to_vec()),
                };
                // A word that either side cut off teaches nothing.
                if let (false, Some(target)) = (tokens.is_empty(), target) {
                    chosen.push(PreparedWord { tokens, target });
                }
            }
        }
        Ok(PreparedText { ids: encoded.ids.iter().map(|id| i64::from(*id)).collect(), words: chosen })
    }

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
        let chosen = match (settings.mode, epoch) {
            (SelectMode::Sample, Some(epoch)) => {
                let place = if at == 0 { sample.id.clone() } else { format!("{}/{at}", sample.id) };
                let mut rng = generator("selection", self.recipe.seed, epoch, &place);
                select_sample(&p, settings.words, &mut rng)
            }
            _ => select_top(&p, settings.words),
        };
        for (at, candidate) in found.iter_mut().enumerate() {
            candidate.probability = p[at];
            candidate.selected = chosen.contains(&at);
        }
        found
    }

    fn augment(&self, image: Rgb, epoch: u64, sample: &str) -> Rgb {
        let settings = &self.recipe.augment;
        if settings.shift_px == 0 && !settings.flip {
            return image;
        }
        let mut rng = generator("augment", self.recipe.seed, epoch, sample);
        let most = i64::from(settings.shift_px);
        let (dx, dy) = (rng.random_range(-most..=most), rng.random_range(-most..=most));
        let (mirror_x, mirror_y) = (settings.flip && rng.random(), settings.flip && rng.random());
        let (width, height) = (i64::from(image.width), i64::from(image.height));
        let mut data = Vec::with_capacity(image.data.len());
        for y in 0..height {
            let from_y = (y + dy).clamp(0, height - 1);
            let from_y = if mirror_y { height - 1 - from_y } else { from_y };
            for x in 0..width {
                let from_x = (x + dx).clamp(0, width - 1);
                let from_x = if mirror_x { width - 1 - from_x } else { from_x };
                let at = ((from_y * width + from_x) * 3) as usize;
                data.extend_from_slice(&image.data[at..at + 3]);
            }
        }
        Rgb { data, ..image }
    }

    fn collate_words(&self, texts: &[&PreparedText], longest: usize) -> Result<Option<WordBatch>> {
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
