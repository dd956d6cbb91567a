//! The fields of a pair, in all the spellings that are published.

use std::path::Path;

use crate::formats::delimited::{BadRow, Header};
use crate::formats::name_list::bare;
use crate::formats::rows::{Row, missing};
use crate::rejects::Code;
use crate::{Error, Result};

/// The classes, in the order of their numbers.
pub(crate) const CLASSES: [&str; 3] = ["entailment", "neutral", "contradiction"];

pub(crate) const PAIR_ID: &str = "pairID";
/// Released files, the current generator, e-SNLI-VE, LAVIS.
const IMAGE: [&str; 4] = ["Flikr30kID", "Flickr30K_ID", "Flickr30kID", "image"];
const HYPOTHESIS: [&str; 3] = ["sentence2", "hypothesis", "sentence"];
const LABEL: [&str; 2] = ["gold_label", "label"];

/// The columns of e-SNLI-VE-2.0, whose own code goes by position.
const CORRECTED: [&str; 9] = [
    "label",
    "premise_tokens",
    "hypothesis_tokens",
    "image",
    "premise",
    "hypothesis",
    PAIR_ID,
    "explanation",
    "explanation_tokens",
];

/// The gold label of pairs whose annotators did not agree.
const NO_GOLD_LABEL: &str = "-";
/// In the pair ids of SNLI that are about Visual Genome.
const VISUAL_GENOME: &str = "vg_";

/// The columns of a table: those of its first row, of the table before it, or of e-SNLI-VE-2.0.
pub(crate) fn header(path: &Path, first: Vec<String>, delimiter: u8, before: Option<&[String]>) -> Result<Header> {
    let is_corrected = delimiter == b'\t' && first.len() == CORRECTED.len();
    let corrected = || CORRECTED.map(str::to_owned).to_vec();
    let is_record = first.iter().any(|cell| CLASSES.contains(&cell.as_str()) || cell.contains(".jpg"));
    if is_record {
        if let Some(before) = before.filter(|before| before.len() == first.len()) {
            return Ok(Header { columns: before.to_vec(), is_first_row: false });
        }
        if is_corrected {
            return Ok(Header { columns: corrected(), is_first_row: false });
        }
    }
    let has = |names: &[&str]| first.iter().any(|column| names.iter().any(|name| column.eq_ignore_ascii_case(name)));
    if !is_record && has(&HYPOTHESIS) && (has(&IMAGE) || has(&[PAIR_ID])) {
        return Ok(Header { columns: first, is_first_row: true });
    }
    if is_corrected {
        return Ok(Header { columns: corrected(), is_first_row: true });
    }
    let expected = format!(
        "columns with one of {}, one of {} or {PAIR_ID}, and one of {}",
        HYPOTHESIS.join(", "),
        IMAGE.join(", "),
        LABEL.join(", ")
    );
    Err(Error::NoColumns { path: path.to_owned(), expected, found: first.join(", ") })
}

/// What a pair is, and of which image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PairKey {
    /// LAVIS has none.
    pub pair: Option<String>,
    /// Flickr30k id.
    pub image: String,
}

impl PairKey {
    pub(crate) fn read(fields: &Row) -> Result<Self, BadRow> {
        let pair = fields.id(&[PAIR_ID])?;
        if let Some(pair) = pair.as_ref().filter(|pair| pair.contains(VISUAL_GENOME)) {
            let message = format!("pairID {pair} is about an image of Visual Genome, expected one of Flickr30k");
            return Err(BadRow { code: Code::VisualGenomePair, message });
        }
        let image = match fields.id(&IMAGE)? {
            // e-SNLI-VE-2.0 names the caption of the image that SNLI showed.
            Some(image) => image.split('#').next().unwrap_or_default().to_owned(),
            None => match pair.as_deref().and_then(|pair| pair.split_once(".jpg")) {
                Some((image, _)) => image.to_owned(),
                None => return Err(missing(&[IMAGE.as_slice(), &[PAIR_ID]].concat(), "the id of an image")),
            },
        };
        match bare(&image) {
            "" => Err(missing(&IMAGE, "the id of an image")),
            id => Ok(Self { pair, image: id.to_owned() }),
        }
    }
}

/// What a pair says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pair<'a> {
    pub hypothesis: &'a str,
    /// One of the classes; test files may have none.
    pub label: Option<&'a str>,
}

impl<'a> Pair<'a> {
    pub(crate) fn read(fields: &'a Row) -> Result<Self, BadRow> {
        let label = fields.text(&LABEL)?;
        match label {
            Some(NO_GOLD_LABEL) => {
                let message = "the gold label is \"-\": the annotators did not agree".to_owned();
                return Err(BadRow { code: Code::NoGoldLabel, message });
            }
            Some(other) if !CLASSES.contains(&other) => {
                let message = format!("the gold label is {other:?}, expected one of {}", CLASSES.join(", "));
                return Err(BadRow { code: Code::UnknownLabel, message });
            }
            _ => {}
        }
        Ok(Self { hypothesis: fields.required_text(&HYPOTHESIS)?, label })
    }
}
