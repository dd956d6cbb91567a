//! Micro-batches: a batch in parts that go through the student one after another, so that memory is that of one part.
//!
//! Padding stays that of the whole batch, and tensors are views of it. The losses of a part are means over the part; times
//! its share they add up to those of the whole.

use tch::{Kind, Tensor};

use super::{Batch, Equals, MaskedTokens, WordBatch};
use crate::Result;
use crate::students::{Text, Visual};
use crate::tasks::Objective;

/// A part of a batch.
pub(crate) struct MicroBatch {
    pub(crate) batch: Batch,
    /// Texts of the whole batch that come before it.
    pub(crate) texts_before: i64,
    /// Its share of the batch's samples, of which distillation is a mean.
    pub(crate) samples: f64,
    /// Its share of the samples with a label, of which the task loss of a class or choice is a mean; of all samples
    /// where answers have soft scores.
    pub(crate) labelled: f64,
    /// Its share of the masked tokens.
    pub(crate) masked: f64,
}

impl Batch {
    /// The batch in `count` parts of neighbouring samples, whose sizes differ by one at most; in fewer if there are fewer
    /// samples.
    ///
    /// # Errors
    /// If libtorch fails.
    pub(crate) fn micro_batches(&self, count: usize, objective: Objective) -> Result<Vec<MicroBatch>> {
        let (all, texts) = (self.ids_of_samples.len(), objective.texts() as i64);
        let count = count.clamp(1, all.max(1));
        let of_masked = |batch: &Batch| batch.masked.as_ref().map_or(0, |masked| masked.places.numel());
        let labelled = |batch: &Batch| -> Result<f64> {
            match objective {
                Objective::Answers => Ok(batch.ids_of_samples.len() as f64),
                // Alone it is all there is, and need not be counted.
                _ if count == 1 => Ok(1.0),
                _ => Ok(batch.labels.f_ge(0)?.f_sum(Kind::Int64)?.f_double_value(&[])?),
            }
        };
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let all_labelled = labelled(self)?;
        (0..count)
            .map(|part| {
                let (from, to) = (part * all / count, (part + 1) * all / count);
                let batch = self.part(from, to - from, texts)?;
                Ok(MicroBatch {
                    texts_before: from as i64 * texts,
                    samples: share((to - from) as f64, all as f64),
                    labelled: share(labelled(&batch)?, all_labelled),
                    masked: share(of_masked(&batch) as f64, of_masked(self) as f64),
                    batch,
                })
            })
            .collect()
    }

    /// `count` samples from `from`, each with so many texts.
    fn part(&self, from: usize, count: usize, texts: i64) -> Result<Self> {
        let (first, rows) = (from as i64, count as i64);
        let of_samples = |tensor: &Tensor| -> Result<Tensor> { Ok(tensor.f_narrow(0, first, rows)?) };
        let of_texts = |tensor: &Tensor| -> Result<Tensor> { Ok(tensor.f_narrow(0, first * texts, rows * texts)?) };
        let masked = |masked: &MaskedTokens| -> Result<MaskedTokens> {
            let tokens = self.text.ids.size2()?.1 * texts;
            let (least, beyond) = (first * tokens, (first + rows) * tokens);
            let inside = masked.places.f_ge(least)?.f_logical_and(&masked.places.f_lt(beyond)?)?;
            let places = masked.places.f_masked_select(&inside)?.f_sub_scalar(least)?;
            Ok(MaskedTokens { places, truth: masked.truth.f_masked_select(&inside)? })
        };
        Ok(Self {
            ids_of_samples: self.ids_of_samples[from..from + count].to_vec(),
            text: Text {
                ids: of_texts(&self.text.ids)?,
                mask: of_texts(&self.text.mask)?,
                segments: self.text.segments.as_ref().map(of_texts).transpose()?,
            },
            visual: match &self.visual {
                Visual::Pixels(pixels) => Visual::Pixels(of_samples(pixels)?),
                Visual::Grid(grid) => Visual::Grid(of_samples(grid)?),
                Visual::Regions { features, boxes, mask } => Visual::Regions {
                    features: of_samples(features)?,
                    boxes: of_samples(boxes)?,
                    mask: of_samples(mask)?,
                },
            },
            targets: self.targets.as_ref().map(of_samples).transpose()?,
            labels: of_samples(&self.labels)?,
            z_v: self.z_v.as_ref().map(of_samples).transpose()?,
            z_t: self.z_t.as_ref().map(of_texts).transpose()?,
            words: match &self.words {
                Some(WordBatch { members, present, target }) => Some(WordBatch {
                    members: of_texts(members)?,
                    present: of_texts(present)?,
                    target: of_texts(target)?,
                }),
                None => None,
            },
            confidence: match &self.confidence {
                Some((c_t, right)) => Some((of_samples(c_t)?, of_samples(right)?)),
                None => None,
            },
            contrast: match &self.contrast {
                Some(Equals { images, texts }) => Some(Equals { images: of_samples(images)?, texts: of_texts(texts)? }),
                None => None,
            },
            masked: self.masked.as_ref().map(masked).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Asked, Result};
    use crate::losses::{class_loss, masked_token_loss};
    use crate::masking::Masking;
    use crate::prepare::Extra;
    use crate::prepare::tests::Made;

    #[test]
    fn shares_make_the_losses_of_parts_those_of_the_whole() -> Result {
        let made =
            Made::of(Asked::Choice, &["arm=kd"], |tokens| Masking::of(tokens).map_or(Extra::None, Extra::Masks))?;
        let mut whole = made.preparer.batch(&made.rows()[..10], Some(0))?;
        // Six of ten have a label: of the last part none.
        whole.labels = Tensor::from_slice(&[0_i64, -1, 2, 1, 0, 2, 1, -1, -1, -1]);
        let objective = Objective::Choice(3);
        let logits = Tensor::arange(30, (Kind::Float, tch::Device::Cpu)).sin().reshape([10, 3]);
        let ids = &whole.text.ids;
        let said = Tensor::arange(ids.numel() as i64 * 100, (Kind::Float, ids.device())).cos().reshape([-1, 100]);
        let masked = whole.masked.as_ref().ok_or("no masks")?;
        let predicted = said.index_select(0, &masked.places);
        let expected = [
            class_loss(&logits, &whole.labels, 0.1)?.double_value(&[]),
            masked_token_loss(&predicted, &masked.truth)?.double_value(&[]),
            logits.mean(Kind::Double).double_value(&[]),
        ];
        for count in [1, 4, 10, 50] {
            let (mut found, mut at, mut ids) = ([0.0; 3], 0, Vec::new());
            let parts = whole.micro_batches(count, objective)?;
            assert_eq!(parts.len(), count.min(10));
            for part in &parts {
                let batch = &part.batch;
                let samples = batch.ids_of_samples.len() as i64;
                assert!(samples == 10 / parts.len() as i64 || samples == 10 / parts.len() as i64 + 1);
                assert_eq!(part.texts_before, 3 * at);
                let of_part = logits.narrow(0, at, samples);
                found[0] += class_loss(&of_part, &batch.labels, 0.1)?.double_value(&[]) * part.labelled;
                let tokens = batch.text.ids.size2()?.1 * 3;
                let masked = batch.masked.as_ref().ok_or("no masks")?;
                let predicted = said.narrow(0, at * tokens, samples * tokens).index_select(0, &masked.places);
                found[1] += masked_token_loss(&predicted, &masked.truth)?.double_value(&[]) * part.masked;
                found[2] += of_part.mean(Kind::Double).double_value(&[]) * part.samples;
                at += samples;
                ids.extend(batch.ids_of_samples.clone());
            }
            assert_eq!(ids, whole.ids_of_samples);
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{count}: {found} {expected}");
            }
        }
        Ok(())
    }
}
