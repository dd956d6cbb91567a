//! SNLI-VE with the labels of other files, matched by pair id.

use std::collections::HashMap;
use std::path::PathBuf;

use retort_cache::Dataset;
use retort_schemas::tables::samples::tasks::SNLI_VE;
use serde_json::json;

use super::engine::{Change, Fate, each};
use super::original::ShardRows;
use super::{Fault, Outcome};
use crate::Vocabulary;
use crate::formats::rows::{RowFile, Rows};
use crate::sources::snli_ve::{PAIR_ID, Pair, open_pairs};

pub(super) fn fates(
    pairs: &[PathBuf],
    dataset: &Dataset,
    rows: &[ShardRows],
    outcome: &mut Outcome,
) -> Result<Vec<Vec<Fate>>, Fault> {
    let vocabulary = Vocabulary::new(dataset.answers()?.clone());
    let files = open_pairs(pairs)?;
    outcome.options = json!({ "pairs": files.iter().map(RowFile::fingerprint).collect::<Vec<_>>() });
    let counts = &mut outcome.counts;
    let records = Rows::of(&files)?;
    let mut labels: HashMap<String, String> = HashMap::new();
    for row in 0..records.len() {
        let fields = records.read(row)?;
        let Ok(fields) = fields else {
            counts.add("pairs of the files that cannot be read", 1);
            continue;
        };
        match (fields.id(&[PAIR_ID]), Pair::read(&fields).map(|pair| pair.label)) {
            (Ok(Some(pair)), Ok(Some(label))) => match labels.get(&pair) {
                // A pair is there once for each of its explanations.
                Some(first) if first != label => {
                    counts.add("pairs of the files with a second label, the first taken", 1)
                }
                Some(_) => {}
                None => _ = labels.insert(pair, label.to_owned()),
            },
            _ => counts.add("pairs of the files without pair id or label", 1),
        }
    }
    if labels.is_empty() {
        return Err(Fault::Refused("the files name no pair with its label".to_owned()));
    }
    counts.add("pairs of the files", labels.len() as u64);
    let mut matched = 0;
    let fates = each(rows, |sample| {
        if sample.record.task != SNLI_VE {
            return counts.drop("not a sample of SNLI-VE");
        }
        let Some(label) = labels.get(sample.record.id.as_ref()) else {
            return counts.drop("not in the files");
        };
        matched += 1;
        counts.keep();
        if sample.record.label_text.as_deref() == Some(label) {
            return Fate::Keep;
        }
        counts.add("labels changed", 1);
        let class = vocabulary.class_of_label(label);
        Fate::Change(Box::new(Change { label: Some((class, label.clone())), ..Change::default() }))
    });
    counts.add("pairs of the files that are not in the split", (labels.len() as u64).saturating_sub(matched));
    Ok(fates)
}
