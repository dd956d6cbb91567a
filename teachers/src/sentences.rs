//! Text encoders that give one vector a token, opened with their tokenizer and pooling: all but CLIP's and SigLIP's.

use std::fmt::Debug;

use retort_nn::{Preparation, Scope};
use serde_json::{Map, Value, json};
use tch::Tensor;

use crate::folder::ModelFolder;
use crate::pooling::Head;
use crate::sides::{Padding, Sides, TextFeatures, TextSide, TextTower};
use crate::{Result, tokenizer};

/// What makes features of tokens.
pub(crate) trait TokenEncoder: Debug + Send {
    /// Ids and mask `[batch, tokens]`, padded on the right, to the last hidden state `[batch, tokens, width]`.
    ///
    /// # Errors
    /// If libtorch refuses the shapes.
    fn hidden(&self, ids: &Tensor, mask: &Tensor) -> Result<Tensor>;
}

/// What a family knows of its encoder.
pub(crate) struct Parts<'a> {
    /// Its name in the identity.
    pub name: &'static str,
    /// Its config there.
    pub config: Value,
    pub encoder: Box<dyn TokenEncoder>,
    /// Where its pooler is, if the family has one.
    pub pooler: Option<Scope<'a>>,
    /// Entries of the vocabulary.
    pub vocabulary: i64,
    /// Most tokens of a text.
    pub positions: i64,
    /// Width of a token.
    pub width: i64,
    /// The id to pad with, where the tokenizer's files name none.
    pub pad: i64,
    /// Whether the family's tokenizers see white space at the ends of a text.
    pub sees_spaces: bool,
}

/// Opens the text side of a folder around a family's encoder.
///
/// # Errors
/// Those of the tokenizer and of the pooling.
pub(crate) fn open(folder: &ModelFolder, parts: Parts<'_>) -> Result<Sides> {
    let head = Head::open(folder, parts.pooler, parts.width)?;
    let longest = tokenizer::longest_text(folder, parts.positions)?;
    let told = tokenizer::sentence_config(folder)?;
    let preparation = Preparation {
        // sentence-transformers strips every text; where the tokenizer would not tell the difference, neither do we.
        strip: parts.sees_spaces && folder.in_root("modules.json").is_file(),
        lowercase: told.get("do_lower_case").and_then(Value::as_bool).unwrap_or(false),
    };
    let mut details = Map::new();
    details.insert(parts.name.to_owned(), parts.config);
    details.insert("tokenizer".to_owned(), json!(tokenizer::hash(folder)?));
    details.insert("longest".to_owned(), json!(longest));
    head.tell(&mut details);
    for (key, on) in [("strip", preparation.strip), ("lowercase", preparation.lowercase)] {
        if on {
            details.insert(key.to_owned(), json!(true));
        }
    }
    let tokenizer = tokenizer::open(folder, longest, parts.vocabulary)?.prepared(preparation);
    let padding = Padding { id: tokenizer::pad_id(folder, &tokenizer, parts.pad)?, least: 0 };
    let (width, token_width) = (head.width(), parts.width as usize);
    let tower = Box::new(Sentences { encoder: parts.encoder, head });
    let text = TextSide { tower, tokenizer, padding, width, token_width };
    Ok(Sides { image: None, text: Some(text), details: Value::Object(details), pools: true })
}

/// An encoder with its pooling.
#[derive(Debug)]
struct Sentences {
    encoder: Box<dyn TokenEncoder>,
    head: Head,
}

impl TextTower for Sentences {
    fn forward(&self, ids: &Tensor, mask: &Tensor) -> Result<TextFeatures> {
        let tokens = self.encoder.hidden(ids, mask)?;
        Ok(TextFeatures { pooled: self.head.forward(&tokens, mask)?, tokens })
    }
}
