//! VisualBERT (Li et al. 2019): regions after the text in one BERT, as the models of transformers.
//!
//! | head | class of transformers | what the answer is read from |
//! |---|---|---|
//! | [`Head::Answers`] | `VisualBertForQuestionAnswering` | the state of the last token before `[SEP]`, not pooled |
//! | [`Head::Class`] | `VisualBertForVisualReasoning` | `[CLS]`, pooled |
//! | [`Head::Choice`] | `VisualBertForMultipleChoice` | `[CLS]`, pooled |

use std::path::Path;

use retort_nn::{BertEmbeddings, Block, Embedding, Linear, Scope, bert_layers};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::Tensor;

use super::regions::{ConfigSizes, encoded, join, mean_of_regions, write_config};
use super::{Embedded, Head, Student, Text, Views, Visual, unread};
use crate::Result;
use crate::recipe;

/// The classes of transformers, in the order of [`Head`].
const ARCHITECTURES: [&str; 3] =
    ["VisualBertForQuestionAnswering", "VisualBertForVisualReasoning", "VisualBertForMultipleChoice"];

/// A VisualBERT config; the names are those of Hugging Face's config.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VisualBertConfig {
    /// Entries of the vocabulary.
    pub vocab_size: i64,
    /// Width of a token.
    pub hidden_size: i64,
    /// Width of a region's feature.
    pub visual_embedding_dim: i64,
    /// Layers.
    pub num_hidden_layers: i64,
    /// Attention heads.
    pub num_attention_heads: i64,
    /// Width inside the feed-forward part.
    pub intermediate_size: i64,
    /// Most tokens of a text.
    pub max_position_embeddings: i64,
    /// Entries of the segment embedding.
    #[serde(default = "two")]
    pub type_vocab_size: i64,
    /// Activation by name.
    #[serde(default = "gelu")]
    pub hidden_act: String,
    /// Added to the variance.
    #[serde(default = "epsilon")]
    pub layer_norm_eps: f64,
}

fn two() -> i64 {
    2
}
fn gelu() -> String {
    "gelu".to_owned()
}
fn epsilon() -> f64 {
    1e-12
}

impl VisualBertConfig {
    /// Of a recipe's sizes.
    pub(crate) fn of(size: &recipe::Student, vocabulary: i64, region_width: i64) -> Self {
        Self {
            vocab_size: vocabulary,
            hidden_size: size.hidden,
            visual_embedding_dim: region_width,
            num_hidden_layers: size.layers,
            num_attention_heads: size.heads,
            intermediate_size: 4 * size.hidden,
            max_position_embeddings: size.text_tokens as i64,
            type_vocab_size: two(),
            hidden_act: gelu(),
            layer_norm_eps: epsilon(),
        }
    }
}

/// The student.
#[derive(Debug)]
pub struct VisualBert {
    config: VisualBertConfig,
    head: Head,
    text: BertEmbeddings,
    region: Linear,
    region_segments: Embedding,
    region_positions: Embedding,
    layers: Vec<Block>,
    pooler: Linear,
    classifier: Linear,
}

impl VisualBert {
    /// Names in a checkpoint that another task has otherwise.
    pub(crate) const TASK_NAMES: &[&str] = &["cls.", "visual_bert.pooler."];

    /// Builds the student with a head of so many outputs: the answers or classes, or 1 where it scores texts.
    ///
    /// # Errors
    /// If a tensor is missing or does not fit the config.
    pub fn new(scope: &Scope<'_>, config: VisualBertConfig, head: Head, outputs: i64) -> Result<Self> {
        let width = config.hidden_size;
        let sizes = ConfigSizes {
            vocabulary: config.vocab_size,
            positions: config.max_position_embeddings,
            segments: config.type_vocab_size,
            width,
            inner: config.intermediate_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            activation: &config.hidden_act,
            epsilon: config.layer_norm_eps,
        };
        let sizes = sizes.bert()?;
        let model = scope.sub("visual_bert");
        let embeddings = model.sub("embeddings");
        let table = |name: &str, entries: i64| Embedding::new(&embeddings.sub(name), entries, width);
        Ok(Self {
            head,
            text: BertEmbeddings::new(&embeddings, &sizes)?,
            region: Linear::new(&embeddings.sub("visual_projection"), config.visual_embedding_dim, width)?,
            region_segments: table("visual_token_type_embeddings", sizes.segments)?,
            region_positions: table("visual_position_embeddings", sizes.positions)?,
            layers: bert_layers(&model.sub("encoder"), &sizes)?,
            pooler: Linear::new(&model.sub("pooler").sub("dense"), width, width)?,
            classifier: Linear::new(&scope.sub("cls"), width, outputs)?,
            config,
        })
    }

    /// The head that a config names.
    pub(crate) fn head_of(config: &Value, path: &Path) -> Result<Head> {
        Head::named(config, ARCHITECTURES, path)
    }

    /// Text tokens: BERT's segment 0 is the question, 1 all parts after it.
    fn embed_text(&self, text: &Text) -> Result<Tensor> {
        let segments = text.segments.as_ref().map(|parts| parts.f_clamp(0, self.config.type_vocab_size - 1));
        Ok(self.text.forward(&text.ids, segments.transpose()?.as_ref())?)
    }

    /// v_j = LayerNorm( W_f f_j + b_f + W_visual_segment(1) + W_visual_position(0) ): features `[batch, regions, d]` to
    /// `[batch, regions, width]`. Boxes play no part (Li et al. 2019, section 3.2; transformers without
    /// `image_text_alignment`).
    fn embed_regions(&self, features: &Tensor) -> Result<Tensor> {
        let segment = self.region_segments.first(2)?.f_narrow(0, 1, 1)?;
        let x = self.region.forward(features)?.f_add(&self.region_positions.first(1)?)?.f_add(&segment)?;
        Ok(self.text.norm.forward(&x)?)
    }

    /// The state that the answer is read from, `[texts, width]`, of states `[texts, tokens + places, width]` and the
    /// texts' mask `[texts, tokens]`.
    fn read(&self, states: &Tensor, mask: &Tensor) -> Result<Tensor> {
        if self.head != Head::Answers {
            return Ok(self.pooler.forward(&states.f_select(1, 0)?)?.f_tanh()?);
        }
        let (texts, _, width) = states.size3()?;
        let before_end = mask.f_sum_dim_intlist([1_i64].as_slice(), false, tch::Kind::Int64)?.f_sub_scalar(2)?;
        let at = before_end.f_clamp_min(0)?.f_view([texts, 1, 1])?.f_expand([texts, 1, width], false)?;
        Ok(states.f_gather(1, &at, false)?.f_squeeze_dim(1)?)
    }
}

impl Student for VisualBert {
    fn embed(&self, text: &Text, visual: &Visual) -> Result<Embedded> {
        let Visual::Regions { features, mask, .. } = visual else { return Err(unread("regions", visual)) };
        join(text, self.embed_text(text)?, self.embed_regions(features)?, mask)
    }

    fn encode(&self, embedded: &Embedded) -> Result<Views> {
        let (tokens, places) = (embedded.text.size3()?.1, embedded.visual.size3()?.1);
        let states = encoded(&self.layers, embedded)?;
        let mask = |from: i64, count: i64| embedded.mask.f_narrow(1, from, count);
        Ok(Views {
            h_cls: states.f_select(1, 0)?,
            h_text: states.f_narrow(1, 0, tokens)?,
            r_img: mean_of_regions(&states.f_narrow(1, tokens, places)?, &mask(tokens, places)?)?,
            logits: self.classifier.forward(&self.read(&states, &mask(0, tokens)?)?)?,
        })
    }

    fn layers(&self) -> &[Block] {
        &self.layers
    }

    fn exports(&self, name: &str) -> bool {
        name.starts_with("visual_bert.") || name.starts_with("cls.")
    }

    fn write_config(&self, folder: &Path, answers: &[String]) -> Result<()> {
        let own = serde_json::to_value(&self.config);
        write_config(folder, own, "visual_bert", self.head.name(ARCHITECTURES), answers)
    }
}
