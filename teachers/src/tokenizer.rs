//! A model folder's tokenizer: its vocabulary, the longest text, and the padding.

use retort_nn::{TextTokenizer, file_hash};
use serde_json::Value;

use crate::folder::ModelFolder;
use crate::overrides::setting;
use crate::{Error, Result};

const TOKENIZER: &str = "tokenizer.json";

/// Where sentence-transformers says how texts are read, in the order in which it looks.
const SENTENCE_CONFIGS: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// Opens the tokenizer, for texts of up to `longest` tokens and a model of `vocabulary` entries.
///
/// # Errors
/// [`Error::MissingFile`], [`Error::VocabularySize`], and those of the tokenizer.
pub(crate) fn open(folder: &ModelFolder, longest: usize, vocabulary: i64) -> Result<TextTokenizer> {
    let path = folder.require(TOKENIZER)?;
    let tokenizer = TextTokenizer::open(&path, longest)?;
    let (found, model) = (tokenizer.vocabulary_size(), usize::try_from(vocabulary).unwrap_or(0));
    if found > model {
        return Err(Error::VocabularySize { path, tokenizer: found, model });
    }
    Ok(tokenizer)
}

/// blake3 of the tokenizer's file.
///
/// # Errors
/// [`Error::MissingFile`], [`Error::Model`] if it cannot be read.
pub(crate) fn hash(folder: &ModelFolder) -> Result<String> {
    Ok(file_hash(&folder.require(TOKENIZER)?)?)
}

/// What sentence-transformers says of reading texts; null where the folder is not one of its own.
///
/// # Errors
/// [`Error::Config`].
pub(crate) fn sentence_config(folder: &ModelFolder) -> Result<Value> {
    for file in SENTENCE_CONFIGS {
        if let Some(config) = folder.json(file)? {
            return Ok(config);
        }
    }
    Ok(Value::Null)
}

/// Most tokens of a text: what sentence-transformers was told (`max_seq_length`), else what the tokenizer was
/// (`model_max_length`), and never more than the model has positions.
///
/// # Errors
/// [`Error::Config`].
pub(crate) fn longest_text(folder: &ModelFolder, positions: i64) -> Result<usize> {
    let told = |config: &Value, key: &str| config.get(key).and_then(Value::as_u64);
    let longest = match told(&sentence_config(folder)?, "max_seq_length") {
        Some(longest) => Some(longest),
        // Some folders say 10^30, which is no u64 and means nothing.
        None => told(&settings(folder)?, "model_max_length"),
    };
    let most = u64::try_from(positions).unwrap_or(0);
    told_length(folder, longest.map_or(most, |longest| longest.min(most)) as usize, positions)
}

/// What the user says of the longest text, else `detected`, of a model of so many positions.
///
/// # Errors
/// [`Error::Setting`] if the user asks for more than there are.
pub(crate) fn told_length(folder: &ModelFolder, detected: usize, positions: i64) -> Result<usize> {
    match folder.overrides().max_length {
        None => Ok(detected),
        Some(told) if i64::try_from(told).is_ok_and(|told| told <= positions) => Ok(told),
        Some(told) => Err(setting("max_length", format!("is {told}, and the model has {positions} positions"))),
    }
}

/// `tokenizer_config.json`; null without.
///
/// # Errors
/// [`Error::Config`].
pub(crate) fn settings(folder: &ModelFolder) -> Result<Value> {
    Ok(folder.json("tokenizer_config.json")?.unwrap_or(Value::Null))
}

/// The id that transformers' tokenizer pads with, or the config's where the files name no such token.
///
/// # Errors
/// [`Error::Config`].
pub(crate) fn pad_id(folder: &ModelFolder, tokenizer: &TextTokenizer, otherwise: i64) -> Result<i64> {
    for file in ["tokenizer_config.json", "special_tokens_map.json"] {
        let config: Option<Value> = folder.json(file)?;
        let token = config.as_ref().and_then(|config| config.get("pad_token"));
        // Either the token, or an object that holds it.
        let token = token.and_then(|token| token.get("content").unwrap_or(token).as_str());
        if let Some(id) = token.and_then(|token| tokenizer.id_of(token)) {
            return Ok(i64::from(id));
        }
    }
    Ok(otherwise)
}
