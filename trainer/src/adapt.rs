//! The stage before task finetuning: adaptive finetuning (AFT), or masked-language modelling as its compute-matched
//! baseline.
//!
//! ```text
//! aft   L = mean_x [ L_v + L_t + L_TS ] + L_con
//!       L_con = InfoNCE(g_v(r_img), {z_v of the batch}, tau_c) + InfoNCE(g_t(h_cls), {z_t of the batch}, tau_c)
//! mlm   L = -ln p(what stood there), mean over the masked tokens
//! ```
//! Neither sees a label. Task finetuning starts from the weights of the stage, with a fresh optimiser.

use retort_nn::{LayerNorm, Linear, TextTokenizer, Weights};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::adamw::AdamW;
use crate::descent::{Descent, Losses};
use crate::losses::{distillation, info_nce, masked_token_loss};
use crate::masking::Masking;
use crate::prepare::{Batch, Extra, MicroBatch};
use crate::recipe::{AdaptMode, Recipe};
use crate::step::{Heads, Terms, embed, mean_over_texts_of};
use crate::students::Student;
use crate::tasks::Objective;
use crate::{Error, Result};

/// Where a run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// Before task finetuning.
    Adapt,
    /// Task finetuning.
    #[default]
    Task,
}

impl Stage {
    /// Before the tags of its metrics, so that the curves of the stages do not mix.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Adapt => "adapt/",
            Self::Task => "",
        }
    }
}

/// What the steps of a stage minimise.
pub(crate) enum Goal {
    /// The task with its distillation.
    Task,
    /// Adaptive finetuning.
    Contrast,
    /// Masked-language modelling.
    Masked(MaskedHead, Masking),
}

impl Goal {
    /// Of a stage of a recipe; masked-language modelling adds its head to the weights.
    ///
    /// # Errors
    /// [`Error::Setting`] if the tokenizer has no mask.
    pub(crate) fn of(recipe: &Recipe, stage: Stage, weights: &Weights, tokenizer: &TextTokenizer) -> Result<Self> {
        Ok(match (stage, recipe.adaptation()) {
            (Stage::Adapt, AdaptMode::Aft) => Self::Contrast,
            (Stage::Adapt, AdaptMode::Mlm) => {
                let masking = Masking::of(tokenizer).ok_or_else(|| Error::Setting {
                    key: "adapt.mode",
                    problem: "is mlm, and the student's tokenizer has neither [MASK] nor <mask>: \
                              choose another student.tokenizer, or none to have one made of the texts"
                        .to_owned(),
                })?;
                let (width, entries) = (recipe.student.hidden, tokenizer.vocabulary_size() as i64);
                Self::Masked(MaskedHead::new(weights, width, entries)?, masking)
            }
            _ => Self::Task,
        })
    }

    /// What batches carry for it.
    pub(crate) fn extra(&self) -> Extra {
        match self {
            Self::Task => Extra::None,
            Self::Contrast => Extra::Contrast,
            Self::Masked(_, masking) => Extra::Masks(*masking),
        }
    }
}

/// From text tokens to scores of the vocabulary, as BERT's head: dense, GELU, LayerNorm, dense. Trained with the student
/// and dropped at its export.
pub(crate) struct MaskedHead {
    dense: Linear,
    norm: LayerNorm,
    decoder: Linear,
}

impl MaskedHead {
    fn new(weights: &Weights, width: i64, entries: i64) -> Result<Self> {
        let scope = weights.root().sub("mlm");
        Ok(Self {
            dense: Linear::new(&scope.sub("dense"), width, width)?,
            norm: LayerNorm::new(&scope.sub("norm"), width, 1e-12)?,
            decoder: Linear::new(&scope.sub("decoder"), width, entries)?,
        })
    }

    /// `[chosen, width]` to `[chosen, vocabulary]`.
    fn forward(&self, h: &Tensor) -> Result<Tensor> {
        let x = self.dense.forward(h)?.f_gelu("none")?;
        Ok(self.decoder.forward(&self.norm.forward(&x)?)?)
    }
}

/// One step of adaptive finetuning, in the order of the formula. Where the batch comes in parts, the negatives of a sample
/// are those of its part: the contrast is then a mean over smaller ones, and not that of the whole batch.
pub(crate) fn contrast_step(
    recipe: &Recipe,
    objective: Objective,
    student: &dyn Student,
    heads: &Heads,
    batch: &Batch,
    adamw: &mut AdamW,
    done: u64,
) -> Result<Losses> {
    let mut sum = Descent::default();
    for MicroBatch { batch, samples, .. } in &batch.micro_batches(recipe.optim.accumulate, objective)? {
        let embedded = embed(recipe, student, batch)?;
        let mut views = student.encode(&embedded)?;
        views.r_img = mean_over_texts_of(&views.r_img, objective.texts() as i64)?;
        let terms = Terms::of(recipe, objective, heads, batch, &views)?;
        let Terms { l_v, l_t, l_ts } = &terms;
        let parts = [l_v, l_t, l_ts].map(|term| term.as_ref().map(|loss| (loss, 1.0)));
        let distil = distillation(parts[0], parts[1], parts[2], None)?;

        let tau = recipe.adapt.tau_c;
        let missing =
            || Error::Setting { key: "adapt.mode", problem: "is aft, and a teacher gave no features".to_owned() };
        let (Some(g_v), Some(g_t), Some(z_v), Some(z_t)) = (&heads.vision, &heads.text, &batch.z_v, &batch.z_t) else {
            return Err(missing());
        };
        let (Some(ids), Some(distil)) = (&batch.contrast, distil) else { return Err(missing()) };
        let of_images = info_nce(g_v, &views.r_img, z_v, &ids.images, tau)?;
        let of_texts = info_nce(g_t, &views.h_cls, z_t, &ids.texts, tau)?;

        for (tag, mean) in terms.means()? {
            sum.log(tag, mean * samples);
        }
        sum.log("loss/contrast_images", of_images.f_double_value(&[])? * samples);
        sum.log("loss/contrast_texts", of_texts.f_double_value(&[])? * samples);
        let total = distil.f_add(&of_images)?.f_add(&of_texts)?.f_mul_scalar(*samples)?;
        sum.add(&total, (student, &embedded), None)?;
    }
    sum.descend(batch, adamw, done)
}

/// One step of masked-language modelling: the texts have holes, the images are whole.
pub(crate) fn masked_step(
    recipe: &Recipe,
    objective: Objective,
    student: &dyn Student,
    head: &MaskedHead,
    batch: &Batch,
    adamw: &mut AdamW,
    done: u64,
) -> Result<Losses> {
    let missing = || Error::Setting { key: "adapt.mode", problem: "is mlm, and a batch has no masks".to_owned() };
    let mut sum = Descent::default();
    for MicroBatch { batch, masked: share, .. } in &batch.micro_batches(recipe.optim.accumulate, objective)? {
        let masked = batch.masked.as_ref().ok_or_else(missing)?;
        let embedded = embed(recipe, student, batch)?;
        let h_text = student.encode(&embedded)?.h_text;
        let width = h_text.size3()?.2;
        let chosen = h_text.f_reshape([-1, width])?.f_index_select(0, &masked.places)?;
        let total = masked_token_loss(&head.forward(&chosen)?, &masked.truth)?.f_mul_scalar(*share)?;
        sum.add(&total, (student, &embedded), None)?;
    }
    sum.descend(batch, adamw, done)
}
