//! ViLT (Kim et al. 2021): text and linear patches in one transformer, as `ViltForQuestionAnswering` of transformers.

use std::collections::BTreeMap;
use std::path::Path;

use retort_nn::{
    Activation, Attention, Block, Embedding, Init, LayerNorm, Linear, Mlp, NormOrder, Scope, attention_bias,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::Tensor;

use super::{Embedded, Student, Text, Views, Visual, unread};
use crate::recipe;
use crate::{Error, Result};

/// A ViLT config; the names are those of Hugging Face's config.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ViltConfig {
    /// Entries of the vocabulary.
    pub vocab_size: i64,
    /// Width of a token.
    pub hidden_size: i64,
    /// Layers.
    pub num_hidden_layers: i64,
    /// Attention heads.
    pub num_attention_heads: i64,
    /// Width inside the feed-forward part.
    pub intermediate_size: i64,
    /// Most tokens of a text.
    pub max_position_embeddings: i64,
    /// Side of the square input in pixels.
    pub image_size: i64,
    /// Side of a patch in pixels.
    pub patch_size: i64,
    /// Added to the variance.
    #[serde(default = "epsilon")]
    pub layer_norm_eps: f64,
}

fn epsilon() -> f64 {
    1e-12
}

impl ViltConfig {
    /// Of a recipe's sizes.
    pub(crate) fn of(size: &recipe::Student, vocabulary: i64) -> Self {
        Self {
            vocab_size: vocabulary,
            hidden_size: size.hidden,
            num_hidden_layers: size.layers,
            num_attention_heads: size.heads,
            intermediate_size: 4 * size.hidden,
            max_position_embeddings: size.text_tokens as i64,
            image_size: size.image_size,
            patch_size: size.patch_size,
            layer_norm_eps: epsilon(),
        }
    }
}

/// The student.
#[derive(Debug)]
pub struct Vilt {
    config: ViltConfig,
    words: Embedding,
    text_positions: Embedding,
    segments: Embedding,
    text_norm: LayerNorm,
    class_token: Tensor,
    image_positions: Tensor,
    patch_weight: Tensor,
    patch_bias: Tensor,
    modalities: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    pooler: Linear,
    head_up: Linear,
    head_norm: LayerNorm,
    head_down: Linear,
}

impl Vilt {
    /// Builds the student with a head of so many outputs: the answers or classes, or 1 where it scores texts.
    ///
    /// # Errors
    /// If a tensor is missing or does not fit the config.
    pub fn new(scope: &Scope<'_>, config: ViltConfig, outputs: i64) -> Result<Self> {
        let (width, epsilon) = (config.hidden_size, config.layer_norm_eps);
        let vilt = scope.sub("vilt");
        let embeddings = vilt.sub("embeddings");
        let text = embeddings.sub("text_embeddings");
        let patch = embeddings.sub("patch_embeddings").sub("projection");
        let patches = (config.image_size / config.patch_size).pow(2);
        let side = config.patch_size;
        let patch_init = Init::Normal(((3 * side * side) as f64).sqrt().recip());
        let blocks = (0..config.num_hidden_layers)
            .map(|layer| {
                let scope = vilt.sub("encoder").sub("layer").sub(&layer.to_string());
                let attention = scope.sub("attention");
                let projection = |name: &str| Linear::new(&attention.sub("attention").sub(name), width, width);
                Ok(Block {
                    attention: Attention::new(
                        projection("query")?,
                        projection("key")?,
                        projection("value")?,
                        Linear::new(&attention.sub("output").sub("dense"), width, width)?,
                        config.num_attention_heads,
                    ),
                    attention_norm: LayerNorm::new(&scope.sub("layernorm_before"), width, epsilon)?,
                    mlp: Mlp::new(
                        Linear::new(&scope.sub("intermediate").sub("dense"), width, config.intermediate_size)?,
                        Linear::new(&scope.sub("output").sub("dense"), config.intermediate_size, width)?,
                        Activation::Gelu,
                    ),
                    mlp_norm: LayerNorm::new(&scope.sub("layernorm_after"), width, epsilon)?,
                    order: NormOrder::Before,
                })
            })
            .collect::<Result<_>>()?;
        let classifier = scope.sub("classifier");
        Ok(Self {
            words: Embedding::new(&text.sub("word_embeddings"), config.vocab_size, width)?,
            text_positions: Embedding::new(&text.sub("position_embeddings"), config.max_position_embeddings, width)?,
            segments: Embedding::new(&text.sub("token_type_embeddings"), 2, width)?,
            text_norm: LayerNorm::new(&text.sub("LayerNorm"), width, epsilon)?,
            class_token: embeddings.tensor("cls_token", &[1, 1, width], Init::Normal(0.02))?,
            image_positions: embeddings.tensor("position_embeddings", &[1, patches + 1, width], Init::Normal(0.02))?,
            patch_weight: patch.tensor("weight", &[width, 3, side, side], patch_init)?,
            patch_bias: patch.tensor("bias", &[width], Init::Zeros)?,
            modalities: Embedding::new(&embeddings.sub("token_type_embeddings"), 2, width)?,
            blocks,
            norm: LayerNorm::new(&vilt.sub("layernorm"), width, epsilon)?,
            pooler: Linear::new(&vilt.sub("pooler").sub("dense"), width, width)?,
            head_up: Linear::new(&classifier.sub("0"), width, 2 * width)?,
            head_norm: LayerNorm::new(&classifier.sub("1"), 2 * width, 1e-5)?,
            head_down: Linear::new(&classifier.sub("3"), 2 * width, outputs)?,
            config,
        })
    }

    /// Text tokens `[batch, tokens, width]`.
    fn embed_text(&self, ids: &Tensor) -> Result<Tensor> {
        let (_, tokens) = ids.size2()?;
        let x = self.words.forward(ids)?.f_add(&self.segments.first(1)?)?;
        let x = self.text_norm.forward(&x.f_add(&self.text_positions.first(tokens)?)?)?;
        Ok(x.f_add(&self.modalities.first(1)?)?)
    }

    /// The whole-image token and the patches, `[batch, 1 + patches, width]`.
    fn embed_image(&self, pixels: &Tensor) -> Result<Tensor> {
        let batch = pixels.size().first().copied().unwrap_or(0);
        let stride = [self.config.patch_size; 2];
        let patches = pixels.f_conv2d(&self.patch_weight, Some(&self.patch_bias), stride, [0, 0], [1, 1], 1)?;
        let patches = patches.f_flatten(2, 3)?.f_transpose(1, 2)?;
        let class = self.class_token.f_expand([batch, 1, self.config.hidden_size], false)?;
        let x = Tensor::f_cat(&[class, patches], 1)?.f_add(&self.image_positions)?;
        Ok(x.f_add(&self.modalities.first(2)?.f_narrow(0, 1, 1)?)?)
    }
}

impl Student for Vilt {
    fn embed(&self, text: &Text, visual: &Visual) -> Result<Embedded> {
        let Visual::Pixels(pixels) = visual else { return Err(unread("pixels", visual)) };
        let (tokens, image) = (self.embed_text(&text.ids)?, self.embed_image(pixels)?);
        let (texts, (batch, places, _)) = (tokens.size3()?.0, image.size3()?);
        let image = if texts > batch { image.f_repeat_interleave_self_int(texts / batch, 0, None)? } else { image };
        let seen = Tensor::f_ones([texts, places], (text.mask.kind(), text.mask.device()))?;
        Ok(Embedded { text: tokens, visual: image, mask: Tensor::f_cat(&[&text.mask, &seen], 1)? })
    }

    fn encode(&self, embedded: &Embedded) -> Result<Views> {
        let tokens = embedded.text.size3()?.1;
        let bias = attention_bias(&embedded.mask, embedded.text.kind())?;
        let mut x = Tensor::f_cat(&[&embedded.text, &embedded.visual], 1)?;
        for block in &self.blocks {
            x = block.forward(&x, Some(&bias), false)?;
        }
        let x = self.norm.forward(&x)?;
        let h_cls = x.f_select(1, 0)?;
        let pooled = self.pooler.forward(&h_cls)?.f_tanh()?;
        let head = self.head_norm.forward(&self.head_up.forward(&pooled)?)?.f_gelu("none")?;
        Ok(Views {
            h_text: x.f_narrow(1, 0, tokens)?,
            r_img: x.f_select(1, tokens)?,
            logits: self.head_down.forward(&head)?,
            h_cls,
        })
    }

    fn exports(&self, name: &str) -> bool {
        name.starts_with("vilt.") || name.starts_with("classifier.")
    }

    fn write_config(&self, folder: &Path, answers: &[String]) -> Result<()> {
        let labels: BTreeMap<String, &String> = answers.iter().enumerate().map(|(i, a)| (i.to_string(), a)).collect();
        let ids: BTreeMap<&String, usize> = answers.iter().enumerate().map(|(i, a)| (a, i)).collect();
        let mut config = json!({
            "architectures": ["ViltForQuestionAnswering"],
            "model_type": "vilt",
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "num_channels": 3,
            "qkv_bias": true,
            "type_vocab_size": 2,
            "modality_type_vocab_size": 2,
            "max_image_length": -1,
            "id2label": labels,
            "label2id": ids,
        });
        let own = serde_json::to_value(&self.config)
            .map_err(|error| Error::Run { path: folder.to_owned(), problem: error.to_string() })?;
        if let (Some(config), Some(own)) = (config.as_object_mut(), own.as_object()) {
            config.extend(own.clone());
        }
        let side = self.config.image_size;
        let preprocessor = json!({
            "image_processor_type": "ViltImageProcessor",
            "do_resize": true,
            "size": {"shortest_edge": side},
            "size_divisor": self.config.patch_size,
            "resample": 3,
            "do_rescale": true,
            "rescale_factor": 1.0 / 255.0,
            "do_normalize": true,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "do_pad": true,
        });
        for (file, value) in [("config.json", config), ("preprocessor_config.json", preprocessor)] {
            retort_cache::write_atomic(&folder.join(file), format!("{value:#}\n").as_bytes())?;
        }
        Ok(())
    }
}
