//! Texts as ids, with the byte span of each token, so that other tokenizers' tokens can be matched by position.

use std::path::{Path, PathBuf};

use tokenizers::{PostProcessor, Tokenizer, TruncationParams};

use crate::prepare::Preparation;
use crate::{Error, Result};

/// One text as tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Ids, special tokens included, no padding.
    pub ids: Vec<u32>,
    /// Byte offsets into the text, end exclusive; empty for special tokens.
    pub spans: Vec<(u32, u32)>,
    /// Whether a token is special: start, end, separator.
    pub special: Vec<bool>,
    /// Whether the text was longer than the model takes.
    pub truncated: bool,
}

/// A `tokenizer.json` with a longest length.
pub struct TextTokenizer {
    path: PathBuf,
    tokenizer: Tokenizer,
    longest: usize,
    preparation: Preparation,
}

impl TextTokenizer {
    /// Reads a tokenizer; texts are cut to `longest` tokens, special ones included.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Malformed`].
    pub fn open(path: &Path, longest: usize) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        let malformed =
            |error: tokenizers::Error| Error::Malformed { path: path.to_owned(), problem: error.to_string() };
        let tokenizer = Tokenizer::from_bytes(&bytes).map_err(malformed)?;
        Self::new(path, tokenizer, longest)
    }

    /// Wraps a tokenizer that was made in memory.
    ///
    /// # Errors
    /// [`Error::Malformed`] if `longest` leaves no room for special tokens.
    pub fn new(path: &Path, mut tokenizer: Tokenizer, longest: usize) -> Result<Self> {
        // Padding is the batch's business, not the tokenizer's.
        tokenizer.with_padding(None);
        let added = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
        if longest <= added {
            let problem = format!("it adds {added} special tokens to a text, the longest has {longest}");
            return Err(Error::Malformed { path: path.to_owned(), problem });
        }
        let truncation = TruncationParams { max_length: longest, ..Default::default() };
        tokenizer
            .with_truncation(Some(truncation))
            .map_err(|error| Error::Malformed { path: path.to_owned(), problem: error.to_string() })?;
        Ok(Self { path: path.to_owned(), tokenizer, longest, preparation: Preparation::default() })
    }

    /// The same, of texts that are prepared first; spans stay those of the text as it was.
    #[must_use]
    pub fn prepared(self, preparation: Preparation) -> Self {
        Self { preparation, ..self }
    }

    /// Entries of the vocabulary, added tokens included.
    pub fn vocabulary_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// Most tokens of a text.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The id of a token.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// The whole tokenizer as JSON, as Hugging Face saves it.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn to_json(&self) -> Result<String> {
        self.tokenizer.to_string(true).map_err(|error| self.failed(&error))
    }

    /// Tokens of a text.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn encode(&self, text: &str) -> Result<Encoded> {
        let prepared = self.preparation.apply(text);
        let encoding = self.tokenizer.encode(&*prepared.text, true).map_err(|error| self.failed(&error))?;
        let special: Vec<bool> = encoding.get_special_tokens_mask().iter().map(|flag| *flag == 1).collect();
        let spans = encoding.get_offsets().iter().map(|(start, end)| (*start as u32, *end as u32));
        Ok(Encoded {
            ids: encoding.get_ids().to_vec(),
            spans: spans
                .zip(&special)
                .map(|(span, special)| if *special { span } else { prepared.in_original(span) })
                .collect(),
            special,
            truncated: !encoding.get_overflowing().is_empty(),
        })
    }

    fn failed(&self, error: &tokenizers::Error) -> Error {
        Error::Tokenizer { path: self.path.clone(), problem: error.to_string() }
    }
}
