//! UNITER (Chen et al. 2020): regions and their boxes embedded in their own way, then BERT. Names and heads are those of
//! the authors' checkpoints.
//!
//! | head | class of the authors | names | score |
//! |---|---|---|---|
//! | [`Head::Answers`] | `UniterForVisualQuestionAnswering` | `vqa_output.{0,2,3}` | one an answer |
//! | [`Head::Class`] | `UniterForVisualEntailment` | `vqa_output.{0,2,3}` | one a class |
//! | [`Head::Choice`] | `UniterForVisualCommonsenseReasoning` | `vcr_output.{0,2,3}` | right against wrong: l_1 - l_0 |

use std::path::Path;

use retort_nn::{BertEmbeddings, Block, Init, LayerNorm, Linear, Scope, Weights, bert_layers};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::Tensor;

use super::regions::{ConfigSizes, encoded, join, mean_of_regions, write_config};
use super::{Embedded, Head, Student, Text, Views, Visual, unread};
use crate::Result;
use crate::recipe;

/// The authors' classes, in the order of [`Head`].
const ARCHITECTURES: [&str; 3] =
    ["UniterForVisualQuestionAnswering", "UniterForVisualEntailment", "UniterForVisualCommonsenseReasoning"];

/// Where the segment embeddings are.
const SEGMENTS: &str = "uniter.embeddings.token_type_embeddings.weight";

/// Segments of VCR: question, image, answer, rationale.
const VCR_SEGMENTS: i64 = 4;

/// A UNITER config; the names are those of the authors' uniter-base.json, and `img_dim` of their code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UniterConfig {
    /// Entries of the vocabulary.
    pub vocab_size: i64,
    /// Width of a token.
    pub hidden_size: i64,
    /// Width of a region's feature.
    pub img_dim: i64,
    /// Layers.
    pub num_hidden_layers: i64,
    /// Attention heads.
    pub num_attention_heads: i64,
    /// Width inside the feed-forward part.
    pub intermediate_size: i64,
    /// Most tokens of a text.
    pub max_position_embeddings: i64,
    /// Entries of the segment embedding: 2, or 4 for VCR.
    pub type_vocab_size: i64,
    /// Activation by name.
    #[serde(default = "gelu")]
    pub hidden_act: String,
    /// Added to the variance.
    #[serde(default = "epsilon")]
    pub layer_norm_eps: f64,
}

fn gelu() -> String {
    "gelu".to_owned()
}
fn epsilon() -> f64 {
    1e-12
}

impl UniterConfig {
    /// Of a recipe's sizes.
    pub(crate) fn of(size: &recipe::Student, vocabulary: i64, region_width: i64, head: Head) -> Self {
        Self {
            vocab_size: vocabulary,
            hidden_size: size.hidden,
            img_dim: region_width,
            num_hidden_layers: size.layers,
            num_attention_heads: size.heads,
            intermediate_size: 4 * size.hidden,
            max_position_embeddings: size.text_tokens as i64,
            type_vocab_size: if head == Head::Choice { VCR_SEGMENTS } else { 2 },
            hidden_act: gelu(),
            layer_norm_eps: epsilon(),
        }
    }

    /// Gives a checkpoint that knows two segments those of VCR, each new one as the question's, as the authors begin
    /// (`init_type_embedding`).
    pub(crate) fn grown(self, weights: &Weights, head: Head) -> Result<Self> {
        let known = weights.checkpoint().filter(|_| head == Head::Choice && self.type_vocab_size == 2);
        let Some(checkpoint) = known else { return Ok(self) };
        let segments = checkpoint.tensor(SEGMENTS)?;
        let question = segments.f_narrow(0, 0, 1)?;
        weights.replace(SEGMENTS, &Tensor::f_cat(&[&segments, &question, &question], 0)?)?;
        Ok(Self { type_vocab_size: VCR_SEGMENTS, ..self })
    }
}

/// Two linear layers with GELU and a normalisation between: the authors' `nn.Sequential` with its names 0, 2, 3.
#[derive(Debug)]
struct Output {
    up: Linear,
    norm: LayerNorm,
    down: Linear,
}

/// The student.
#[derive(Debug)]
pub struct Uniter {
    config: UniterConfig,
    head: Head,
    text: BertEmbeddings,
    features: Linear,
    features_norm: LayerNorm,
    places: Linear,
    places_norm: LayerNorm,
    region_norm: LayerNorm,
    layers: Vec<Block>,
    pooler: Linear,
    output: Output,
}

impl Uniter {
    /// Names in a checkpoint that another task has otherwise.
    pub(crate) const TASK_NAMES: &[&str] = &["vqa_output.", "vcr_output.", "uniter.pooler."];

    /// Builds the student with a head of so many outputs: the answers or classes, or 1 where it scores texts.
    ///
    /// # Errors
    /// If a tensor is missing or does not fit the config.
    pub fn new(scope: &Scope<'_>, config: UniterConfig, head: Head, outputs: i64) -> Result<Self> {
        let (width, epsilon) = (config.hidden_size, config.layer_norm_eps);
        let sizes = ConfigSizes {
            vocabulary: config.vocab_size,
            positions: config.max_position_embeddings,
            segments: config.type_vocab_size,
            width,
            inner: config.intermediate_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            activation: &config.hidden_act,
            epsilon,
        };
        let sizes = sizes.bert()?;
        let model = scope.sub("uniter");
        let image = model.sub("img_embeddings");
        let norm = |name: &str| LayerNorm::new(&image.sub(name), width, epsilon);
        // Of masked regions in pretraining alone, and kept so that a checkpoint is whole.
        let _ = image.sub("mask_embedding").tensor("weight", &[2, config.img_dim], Init::Normal(0.02))?;
        let (name, outputs) = if head == Head::Choice { ("vcr_output", 2) } else { ("vqa_output", outputs) };
        let output = scope.sub(name);
        Ok(Self {
            head,
            text: BertEmbeddings::new(&model.sub("embeddings"), &sizes)?,
            features: Linear::new(&image.sub("img_linear"), config.img_dim, width)?,
            features_norm: norm("img_layer_norm")?,
            places: Linear::new(&image.sub("pos_linear"), 7, width)?,
            places_norm: norm("pos_layer_norm")?,
            region_norm: norm("LayerNorm")?,
            layers: bert_layers(&model.sub("encoder"), &sizes)?,
            pooler: Linear::new(&model.sub("pooler").sub("dense"), width, width)?,
            output: Output {
                up: Linear::new(&output.sub("0"), width, 2 * width)?,
                norm: LayerNorm::new(&output.sub("2"), 2 * width, epsilon)?,
                down: Linear::new(&output.sub("3"), 2 * width, outputs)?,
            },
            config,
        })
    }

    /// The head that a config names.
    pub(crate) fn head_of(config: &Value, path: &Path) -> Result<Head> {
        Head::named(config, ARCHITECTURES, path)
    }

    /// Text tokens. Segment 0 is the question, 2 the answer, 3 the rationale (1 is the image), where the model knows
    /// them; otherwise all are 0.
    fn embed_text(&self, text: &Text) -> Result<Tensor> {
        let known = text.segments.as_ref().filter(|_| self.config.type_vocab_size >= VCR_SEGMENTS);
        let segments = known.map(|parts| -> Result<Tensor> {
            Ok(parts.f_add(&parts.f_gt(0)?.f_to_kind(parts.kind())?)?.f_clamp_max(VCR_SEGMENTS - 1)?)
        });
        Ok(self.text.forward(&text.ids, segments.transpose()?.as_ref())?)
    }

    /// v_j = LayerNorm( LayerNorm(W_f f_j + b_f) + LayerNorm(W_p p7_j + b_p) + W_segment(1) ): features
    /// `[batch, regions, d]` and boxes `[batch, regions, 4]` to `[batch, regions, width]` (Chen et al. 2020, section 3.1;
    /// `UniterImageEmbeddings` of their code).
    fn embed_regions(&self, features: &Tensor, boxes: &Tensor) -> Result<Tensor> {
        let seen = self.features_norm.forward(&self.features.forward(features)?)?;
        let place = self.places_norm.forward(&self.places.forward(&p7(boxes)?)?)?;
        let segment = self.text.segments.first(2)?.f_narrow(0, 1, 1)?;
        Ok(self.region_norm.forward(&seen.f_add(&place)?.f_add(&segment)?)?)
    }
}

/// p7 = (x1, y1, x2, y2, w, h, w h), with w = x2 - x1 and h = y2 - y1: boxes `[.., 4]`, fractions of the image, to
/// `[.., 7]` (Chen et al. 2020, section 3.1).
///
/// # Errors
/// If libtorch refuses the shapes.
pub fn p7(boxes: &Tensor) -> Result<Tensor> {
    let corner = |at: i64| boxes.f_narrow(-1, at, 1);
    let (width, height) = (corner(2)?.f_sub(&corner(0)?)?, corner(3)?.f_sub(&corner(1)?)?);
    let area = width.f_mul(&height)?;
    Ok(Tensor::f_cat(&[boxes, &width, &height, &area], -1)?)
}

impl Student for Uniter {
    fn embed(&self, text: &Text, visual: &Visual) -> Result<Embedded> {
        let Visual::Regions { features, boxes, mask } = visual else { return Err(unread("regions", visual)) };
        join(text, self.embed_text(text)?, self.embed_regions(features, boxes)?, mask)
    }

    fn encode(&self, embedded: &Embedded) -> Result<Views> {
        let (tokens, places) = (embedded.text.size3()?.1, embedded.visual.size3()?.1);
        let states = encoded(&self.layers, embedded)?;
        let h_cls = states.f_select(1, 0)?;
        let pooled = self.pooler.forward(&h_cls)?.f_tanh()?;
        let Output { up, norm, down } = &self.output;
        let scores = down.forward(&norm.forward(&up.forward(&pooled)?.f_gelu("none")?)?)?;
        let logits = match self.head {
            // The log-odds: the two-way cross-entropy of the authors is the binary one of this score.
            Head::Choice => scores.f_narrow(1, 1, 1)?.f_sub(&scores.f_narrow(1, 0, 1)?)?,
            Head::Answers | Head::Class => scores,
        };
        let seen = embedded.mask.f_narrow(1, tokens, places)?;
        Ok(Views {
            h_text: states.f_narrow(1, 0, tokens)?,
            r_img: mean_of_regions(&states.f_narrow(1, tokens, places)?, &seen)?,
            logits,
            h_cls,
        })
    }

    fn layers(&self) -> &[Block] {
        &self.layers
    }

    fn exports(&self, name: &str) -> bool {
        ["uniter.", "vqa_output.", "vcr_output."].iter().any(|part| name.starts_with(part))
    }

    fn write_config(&self, folder: &Path, answers: &[String]) -> Result<()> {
        write_config(folder, serde_json::to_value(&self.config), "uniter", self.head.name(ARCHITECTURES), answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_is_corners_sides_and_area() -> Result<()> {
        let boxes = Tensor::from_slice(&[0.25_f32, 0.5, 0.75, 0.625, 0.0, 0.0, 1.0, 1.0]).reshape([1, 2, 4]);
        let expected = [0.25_f32, 0.5, 0.75, 0.625, 0.5, 0.125, 0.0625, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0];
        assert_eq!(Vec::<f32>::try_from(p7(&boxes)?.view([-1]))?, expected);
        Ok(())
    }
}
