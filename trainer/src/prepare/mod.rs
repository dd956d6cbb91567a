//! From zipped rows to a batch of tensors: tokenise, decode, augment, choose words, collate.

mod augment;
mod cut;
mod kept;
mod micro_batches;
mod segments;
mod sides;
#[cfg(test)]
mod tests;
mod visual;
mod words;

use std::collections::HashMap;

use rayon::prelude::*;
use retort_nn::pixels::Rgb;
use retort_nn::{Encoded, TextTokenizer, pinned};
use retort_schemas::words::Word;
use tch::{Device, Tensor};

use self::cut::TextsRead;
use self::kept::Kept;
use self::segments::segments;
use self::visual::PreparedVisual;
use self::words::{PreparedWord, place_of};
use crate::Result;
use crate::controls::RandomTeacher;
use crate::masking::Masking;
use crate::recipe::{Recipe, Target};
use crate::seeds::generator;
use crate::students::{Text, Visual};
use crate::tasks::Objective;
use crate::zipped::{SampleRow, Zipped};

pub(crate) use self::micro_batches::MicroBatch;
pub(crate) use self::words::{WordBatch, WordFeatures};

/// What the student and the losses see of a batch. Features are of length 1. A sample has one text or, where one of
/// several is to be chosen, K: `texts` is `batch * K`, the candidates of a sample one after another.
pub(crate) struct Batch {
    pub(crate) ids_of_samples: Vec<String>,
    pub(crate) text: Text,
    pub(crate) visual: Visual,
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
    /// What is equal, for [`Extra::Contrast`].
    pub(crate) contrast: Option<Equals>,
    /// What is to be predicted, for [`Extra::Masks`].
    pub(crate) masked: Option<MaskedTokens>,
}

impl Batch {
    /// Its samples by their ids, for messages: all, or of very many the first.
    pub(crate) fn named(&self) -> String {
        // No ready recipe has larger batches.
        const SHOWN: usize = 256;
        let ids = &self.ids_of_samples;
        let shown: Vec<&str> = ids.iter().take(SHOWN).map(String::as_str).collect();
        match ids.len().saturating_sub(SHOWN) {
            0 => shown.join(", "),
            more => format!("{} and {more} more", shown.join(", ")),
        }
    }
}

/// Numbers of images, `[batch]`, and of texts, `[texts]`: equal where the image (by id) or the text is the same.
pub(crate) struct Equals {
    pub(crate) images: Tensor,
    pub(crate) texts: Tensor,
}

/// The tokens of a batch that are to be predicted.
pub(crate) struct MaskedTokens {
    /// Places among all tokens of the batch, padding included, `[chosen]`.
    pub(crate) places: Tensor,
    /// The ids that stood there, `[chosen]`.
    pub(crate) truth: Tensor,
}

/// What batches carry beside what the arm needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extra {
    /// Nothing.
    None,
    /// Which images and texts are equal.
    Contrast,
    /// Texts with holes, and what stood there.
    Masks(Masking),
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
    pub(crate) extra: Extra,
    pub(crate) device: Device,
    /// Texts so far.
    pub(crate) texts: TextsRead,
    /// Decoded and fitted images by id.
    fitted: Kept<[u8; 16], Rgb>,
    encoded: Kept<String, Encoded>,
}

struct Prepared {
    visual: PreparedVisual,
    texts: Vec<PreparedText>,
}

struct PreparedText {
    ids: Vec<i64>,
    /// Part of the text that each token belongs to.
    segments: Vec<i64>,
    /// Places that are to be predicted, and what stood there.
    masked: Vec<(usize, i64)>,
    words: Vec<PreparedWord>,
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
    /// What a recipe says, with no words, no confidence and nothing extra.
    pub(crate) fn new(
        recipe: Recipe,
        tokenizer: TextTokenizer,
        objective: Objective,
        classes: usize,
        device: Device,
    ) -> Self {
        Self {
            fitted: Kept::new(recipe.data.kept_images_bytes, |image| image.data.len()),
            encoded: Kept::new(recipe.data.kept_texts_bytes, bytes_of_encoded),
            texts: TextsRead::default(),
            visual_words: None,
            semantic_words: None,
            confidence: None,
            extra: Extra::None,
            recipe,
            tokenizer,
            objective,
            classes,
            device,
        }
    }

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
        let mut segments = vec![0_i64; ids.len()];
        for (row, text) in texts.iter().enumerate() {
            let at = row * longest;
            ids[at..at + text.ids.len()].copy_from_slice(&text.ids);
            mask[at..at + text.ids.len()].fill(1);
            segments[at..at + text.ids.len()].copy_from_slice(&text.segments);
        }
        let labels: Vec<i64> = samples.iter().map(|sample| sample.label.map_or(-1, i64::from)).collect();
        let arm = self.recipe.arm;
        Ok(Batch {
            ids_of_samples: samples.iter().map(|sample| sample.id.clone()).collect(),
            text: Text {
                ids: self.tensor(&ids, &[text_count, longest as i64])?,
                mask: self.tensor(&mask, &[text_count, longest as i64])?,
                segments: Some(self.tensor(&segments, &[text_count, longest as i64])?),
            },
            visual: self.collate_visual(prepared.iter().map(|sample| &sample.visual))?,
            targets: self.soft_targets(&samples)?,
            labels: self.tensor(&labels, &[count])?,
            z_v: self.gather(arm.vision(), rows.iter().map(|(shard, row)| image_feature(shard, *row)))?,
            z_t: self.gather(arm.text(), rows.iter().flat_map(|(shard, row)| text_features(shard, *row)))?,
            words: if arm.tokens() { self.collate_words(&texts, longest)? } else { None },
            confidence: self.confidences(&samples)?,
            contrast: if self.extra == Extra::Contrast { Some(self.equals(rows)?) } else { None },
            masked: if let Extra::Masks(_) = self.extra { Some(self.collate_masks(&texts, longest)?) } else { None },
        })
    }

    fn tensor<T: tch::kind::Element>(&self, values: &[T], shape: &[i64]) -> Result<Tensor> {
        let host = Tensor::f_from_slice(values)?.f_reshape(shape)?;
        if !self.device.is_cuda() {
            return Ok(host.f_to_device(self.device)?);
        }
        // The device copies out of pinned memory while this thread goes on. libtorch keeps the buffer until it has, and
        // the step's kernels come after the copy: all threads queue on the device's default stream.
        let host = pinned(host, self.device)?;
        Ok(host.f_to_device_(self.device, host.kind(), true, false)?)
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

    fn equals(&self, rows: &[(&Zipped, usize)]) -> Result<Equals> {
        let images = rows.iter().map(|(shard, row)| shard.image_ids.value(shard.samples[*row].image));
        let texts = rows.iter().flat_map(|(shard, row)| {
            let texts = &shard.samples[*row].texts;
            texts.iter().map(|text| shard.texts.value(*text).as_bytes())
        });
        let tensor = |numbers: Vec<i64>| self.tensor(&numbers, &[numbers.len() as i64]);
        Ok(Equals { images: tensor(numbers_of(images))?, texts: tensor(numbers_of(texts))? })
    }

    fn collate_masks(&self, texts: &[&PreparedText], longest: usize) -> Result<MaskedTokens> {
        let masked = texts
            .iter()
            .enumerate()
            .flat_map(|(row, text)| text.masked.iter().map(move |(at, truth)| ((row * longest + at) as i64, *truth)));
        let (places, truth): (Vec<i64>, Vec<i64>) = masked.unzip();
        let chosen = [places.len() as i64];
        Ok(MaskedTokens { places: self.tensor(&places, &chosen)?, truth: self.tensor(&truth, &chosen)? })
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
        let texts = (0..sample.texts.len()).map(|at| self.prepare_text(shard, sample, at, epoch));
        Ok(Prepared { visual: self.prepare_visual(shard, sample, epoch)?, texts: texts.collect::<Result<_>>()? })
    }

    /// Text `at` of a sample.
    fn prepare_text(&self, shard: &Zipped, sample: &SampleRow, at: usize, epoch: Option<u64>) -> Result<PreparedText> {
        let text = sample.texts[at];
        let text_itself = shard.texts.value(text);
        let encoded = self.encoded.get(text_itself, || Ok(self.tokenizer.encode(text_itself)?))?;
        self.texts.count(encoded.truncated);
        let mut ids: Vec<i64> = encoded.ids.iter().map(|id| i64::from(*id)).collect();
        let masked = match (self.extra, epoch) {
            (Extra::Masks(masking), Some(epoch)) => {
                let mut rng = generator("mlm", self.recipe.seed, epoch, &place_of(sample, at));
                masking.hide(&mut ids, &encoded.special, &mut rng)
            }
            _ => Vec::new(),
        };
        let mut chosen = Vec::new();
        if self.recipe.arm.tokens() {
            for candidate in self.candidates(shard, sample, at, epoch).into_iter().filter(|c| c.selected) {
                let Word { start, end, ref lower } = candidate.word;
                let overlaps = |(from, to): &(u32, u32)| (*from as usize) < end && (*to as usize) > start;
                let inside = |at: &usize| !encoded.special[*at] && overlaps(&encoded.spans[*at]);
                let tokens: Vec<usize> = (0..encoded.ids.len()).filter(inside).collect();
                let target = match self.recipe.selection.target {
                    Target::Token => {
                        let taught = shard.tokens.as_ref().and_then(|tokens| tokens.mean(text, start, end));
                        match (RandomTeacher::of(&self.recipe), taught) {
                            (Some(random), Some(mean)) => Some(random.feature("token", lower, mean.len())),
                            (_, taught) => taught,
                        }
                    }
                    Target::Sentence => shard.z_t.as_ref().map(|z_t| z_t.row(text).to_vec()),
                    Target::Image => shard.z_v.as_ref().map(|z_v| z_v.row(sample.image).to_vec()),
                };
                // A word that either side cut off teaches nothing.
                if let (false, Some(target)) = (tokens.is_empty(), target) {
                    chosen.push(PreparedWord { tokens, target });
                }
            }
        }
        let segments = segments(&encoded, &shard.parts(text));
        Ok(PreparedText { ids, segments, masked, words: chosen })
    }
}

/// What an encoded text takes, its text as key included: spans end where the text does.
fn bytes_of_encoded(encoded: &Encoded) -> usize {
    let a_token = size_of::<u32>() + size_of::<(u32, u32)>() + size_of::<bool>();
    let text = encoded.spans.iter().map(|(_, end)| *end as usize).max().unwrap_or(0);
    size_of::<(String, Encoded)>() + encoded.ids.len() * a_token + text
}

/// A number an item, that of the first equal one.
fn numbers_of<'a>(items: impl Iterator<Item = &'a [u8]>) -> Vec<i64> {
    let mut known = HashMap::new();
    items.enumerate().map(|(at, item)| *known.entry(item).or_insert(at as i64)).collect()
}
