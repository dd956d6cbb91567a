//! What the students that read regions have in common: what their heads say, what the losses see. How candidates share
//! an image, how a sequence is encoded and how a config is written is the same for every student.

use std::collections::BTreeMap;
use std::path::Path;

use retort_nn::{Activation, BertSizes, Block, attention_bias};
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use super::{Embedded, Text};
use crate::tasks::Objective;
use crate::{Error, Result};

/// What a head says. The authors' models have a class, and sometimes another token to read, for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// How good each answer of a vocabulary is (VQA).
    Answers,
    /// Which class (SNLI-VE, NLVR, classification).
    Class,
    /// How good a candidate text is (VCR, matching).
    Choice,
}

impl Head {
    pub(crate) fn of(objective: Objective) -> Self {
        match objective {
            Objective::Answers => Self::Answers,
            Objective::Class => Self::Class,
            Objective::Choice(_) => Self::Choice,
        }
    }

    /// By the name that a config's `architectures` has of a student, of three in the order of the variants.
    pub(super) fn named(config: &Value, names: [&str; 3], path: &Path) -> Result<Self> {
        let found = config.pointer("/architectures/0").and_then(Value::as_str).unwrap_or_default();
        let heads = [Self::Answers, Self::Class, Self::Choice];
        let head = heads.into_iter().zip(names).find(|(_, name)| *name == found).map(|(head, _)| head);
        head.ok_or_else(|| Error::Run {
            path: path.to_owned(),
            problem: format!("its architecture is {found:?}, expected one of {}", names.join(", ")),
        })
    }

    /// The name of this head among three in the order of the variants.
    pub(super) fn name(self, names: [&str; 3]) -> &str {
        match self {
            Self::Answers => names[0],
            Self::Class => names[1],
            Self::Choice => names[2],
        }
    }
}

/// Sizes that every region student has in its config.json, under BERT's names.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConfigSizes<'a> {
    pub(super) vocabulary: i64,
    pub(super) positions: i64,
    pub(super) segments: i64,
    pub(super) width: i64,
    pub(super) inner: i64,
    pub(super) layers: i64,
    pub(super) heads: i64,
    pub(super) activation: &'a str,
    pub(super) epsilon: f64,
}

impl ConfigSizes<'_> {
    pub(super) fn bert(self) -> Result<BertSizes> {
        if self.heads < 1 || self.width % self.heads != 0 {
            let problem = format!("{} do not divide a width of {}", self.heads, self.width);
            return Err(Error::Setting { key: "student.heads", problem });
        }
        Ok(BertSizes {
            vocabulary: self.vocabulary,
            positions: self.positions,
            segments: self.segments,
            width: self.width,
            inner: self.inner,
            layers: self.layers,
            heads: self.heads,
            activation: Activation::named(self.activation)?,
            epsilon: self.epsilon,
        })
    }
}

/// Text and image as one sequence. `tokens` are `[texts, tokens, width]`, `image` `[batch, places, width]`, `places`
/// their mask `[batch, places]`: each image was embedded once, and is repeated for its candidate texts.
pub(super) fn join(text: &Text, tokens: Tensor, image: Tensor, places: &Tensor) -> Result<Embedded> {
    let (texts, batch) = (tokens.size3()?.0, image.size3()?.0.max(1));
    let repeated = |x: &Tensor| -> Result<Tensor> {
        Ok(if texts > batch { x.f_repeat_interleave_self_int(texts / batch, 0, None)? } else { x.shallow_clone() })
    };
    let mask = Tensor::f_cat(&[&text.mask, &repeated(places)?], 1)?;
    let compute = tokens.kind();
    Ok(Embedded { text: tokens, visual: repeated(&image)?, mask, tape: None, compute })
}

/// The last layer's states of a sequence, `[texts, tokens + places, width]`.
pub(super) fn encoded(layers: &[Block], embedded: &Embedded) -> Result<Tensor> {
    let bias = attention_bias(&embedded.mask, embedded.compute)?;
    let mut x = Tensor::f_cat(&[&embedded.text, &embedded.visual], 1)?;
    if let Some(tape) = &embedded.tape {
        return tape.record(layers, x, bias);
    }
    for layer in layers {
        x = layer.forward(&x, Some(&bias), false)?;
    }
    Ok(x)
}

/// r_img = (1/n) sum over the n regions of an image of r_j: `[texts, places, width]` to `[texts, width]`. Padding, 0 in
/// `mask` `[texts, places]`, counts nothing.
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn mean_of_regions(states: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let weights = mask.f_to_kind(states.kind())?.f_unsqueeze(-1)?;
    let over = [1_i64].as_slice();
    let count = weights.f_sum_dim_intlist(over, false, None::<Kind>)?.f_clamp_min(1.0)?;
    Ok(states.f_mul(&weights)?.f_sum_dim_intlist(over, false, None::<Kind>)?.f_div(&count)?)
}

/// Writes config.json: the student's own sizes, what it is, and its answers as labels.
pub(super) fn write_config(
    folder: &Path,
    own: serde_json::Result<Value>,
    model: &str,
    architecture: &str,
    answers: &[String],
) -> Result<()> {
    let own = own.map_err(|error| Error::Run { path: folder.to_owned(), problem: error.to_string() })?;
    let labels: BTreeMap<String, &String> = answers.iter().enumerate().map(|(i, a)| (i.to_string(), a)).collect();
    let ids: BTreeMap<&String, usize> = answers.iter().enumerate().map(|(i, a)| (a, i)).collect();
    let mut config = json!({
        "architectures": [architecture],
        "model_type": model,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "pad_token_id": 0,
        "id2label": labels,
        "label2id": ids,
    });
    if let (Some(config), Some(own)) = (config.as_object_mut(), own.as_object()) {
        config.extend(own.clone());
    }
    Ok(retort_cache::write_atomic(&folder.join("config.json"), format!("{config:#}\n").as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_regions_leaves_padding_out() -> Result<()> {
        let states = Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 6.0, 9.0, 9.0, 5.0, 7.0, 8.0, 8.0, 8.0, 8.0]);
        let mask = Tensor::from_slice(&[1_i64, 1, 0, 1, 0, 0]).reshape([2, 3]);
        let mean = mean_of_regions(&states.reshape([2, 3, 2]), &mask)?;
        assert_eq!(Vec::<f32>::try_from(mean.view([-1]))?, [2.0, 4.0, 5.0, 7.0]);
        Ok(())
    }
}
