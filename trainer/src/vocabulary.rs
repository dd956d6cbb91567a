//! The student's own WordPiece vocabulary, made of the training texts where the recipe names no tokenizer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use retort_nn::TextTokenizer;
use serde_json::json;
use tokenizers::Tokenizer;

use crate::record::TOKENIZER;
use crate::{Error, Result};

/// Entries of a vocabulary at most, as BERT's.
const MOST_ENTRIES: usize = 30_522;
/// Entries that stand for no text.
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// A BERT tokenizer (lower case, split at spaces and punctuation) whose entries are the special tokens, every
/// character of the texts, alone and as continuation, and their words, most frequent first.
pub(crate) fn from_texts<'a>(texts: impl Iterator<Item = &'a str>, longest: usize) -> Result<TextTokenizer> {
    let path = Path::new("vocabulary of the training texts");
    let malformed = |error: tokenizers::Error| {
        Error::Model(retort_nn::Error::Malformed { path: path.to_owned(), problem: error.to_string() })
    };
    // The split of the same tokenizer, with an empty vocabulary, finds the words.
    let splitter: Tokenizer = json(&BTreeMap::new(), true).to_string().parse().map_err(malformed)?;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut characters: BTreeSet<char> = BTreeSet::new();
    for text in texts {
        for word in split(&splitter, text).map_err(malformed)? {
            characters.extend(word.chars());
            *counts.entry(word).or_default() += 1;
        }
    }
    let mut entries: Vec<String> = SPECIAL.map(str::to_owned).to_vec();
    entries.extend(characters.iter().map(char::to_string));
    entries.extend(characters.iter().map(|c| format!("##{c}")));
    let mut words: Vec<(u64, String)> = counts.into_iter().map(|(word, count)| (count, word)).collect();
    words.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let known: BTreeSet<String> = entries.iter().cloned().collect();
    entries.extend(words.into_iter().map(|(_, word)| word).filter(|word| !known.contains(word)));
    entries.truncate(MOST_ENTRIES);
    let ids: BTreeMap<String, usize> = entries.into_iter().enumerate().map(|(id, entry)| (entry, id)).collect();
    let tokenizer: Tokenizer = json(&ids, true).to_string().parse().map_err(malformed)?;
    Ok(TextTokenizer::new(path, tokenizer, longest)?)
}

/// The tokenizer of a model folder: its tokenizer.json, or else BERT's with the entries of its vocab.txt, one a line,
/// in lower case unless its tokenizer_config.json says otherwise.
pub(crate) fn of_folder(folder: &Path, longest: usize) -> Result<TextTokenizer> {
    let (whole, entries) = (folder.join(TOKENIZER), folder.join("vocab.txt"));
    if whole.is_file() || !entries.is_file() {
        // Where there is neither, the error names the file that is missing.
        return Ok(TextTokenizer::open(&whole, longest)?);
    }
    let malformed = |problem: String| retort_nn::Error::Malformed { path: entries.clone(), problem };
    let text = retort_cache::read_text(&entries)?;
    let ids: BTreeMap<String, usize> = text.lines().enumerate().map(|(id, entry)| (entry.to_owned(), id)).collect();
    if let Some(missing) = SPECIAL.iter().find(|entry| !ids.contains_key(**entry)) {
        return Err(malformed(format!("it has no {missing}: expected the vocabulary of a BERT")).into());
    }
    let settings = folder.join("tokenizer_config.json");
    let lower = if settings.is_file() {
        let settings: serde_json::Value = serde_json::from_str(&retort_cache::read_text(&settings)?)
            .map_err(|error| malformed(format!("{}: {error}", settings.display())))?;
        settings.get("do_lower_case").and_then(serde_json::Value::as_bool).unwrap_or(true)
    } else {
        true
    };
    let tokenizer: Tokenizer =
        json(&ids, lower).to_string().parse().map_err(|error: tokenizers::Error| malformed(error.to_string()))?;
    Ok(TextTokenizer::new(&entries, tokenizer, longest)?)
}

fn split(tokenizer: &Tokenizer, text: &str) -> Result<Vec<String>, tokenizers::Error> {
    use tokenizers::{NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};
    let mut normalized = NormalizedString::from(text);
    if let Some(normalizer) = tokenizer.get_normalizer() {
        normalizer.normalize(&mut normalized)?;
    }
    let mut pieces = PreTokenizedString::from(normalized);
    if let Some(pre_tokenizer) = tokenizer.get_pre_tokenizer() {
        pre_tokenizer.pre_tokenize(&mut pieces)?;
    }
    let splits = pieces.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
    Ok(splits.into_iter().map(|(piece, _, _)| piece.to_owned()).collect())
}

/// A BERT tokenizer of these entries. Without any it still splits texts.
fn json(ids: &BTreeMap<String, usize>, lower: bool) -> serde_json::Value {
    let id_of = |content: &str| ids.get(content).copied().or(SPECIAL.iter().position(|known| *known == content));
    let special = |content: &str| {
        json!({"id": id_of(content), "content": content, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": true})
    };
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": SPECIAL.map(special),
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": lower},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                     {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}},
                     {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [id_of("[CLS]")], "tokens": ["[CLS]"]},
                               "[SEP]": {"id": "[SEP]", "ids": [id_of("[SEP]")], "tokens": ["[SEP]"]}}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": ids},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_whole_and_new_words_in_characters() -> Result<()> {
        let tokenizer = from_texts(["is there a red shape?", "A red circle"].into_iter(), 16)?;
        let known = tokenizer.encode("Is there a RED circle?")?;
        assert_eq!(known.ids.len(), 8); // [CLS] is there a red circle ? [SEP]
        let new = tokenizer.encode("shed")?;
        assert_eq!(new.ids.len(), 6); // [CLS] s ##h ##e ##d [SEP]
        assert_eq!(tokenizer.encode("日")?.ids[1], 1);
        let again = from_texts(["is there a red shape?", "A red circle"].into_iter(), 16)?;
        assert_eq!(tokenizer.to_json()?, again.to_json()?);
        Ok(())
    }
}
