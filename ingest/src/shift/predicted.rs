//! The hard subset by predictions of others: what a probe of the texts, or a run, gets wrong.

use std::collections::HashMap;
use std::path::Path;

use arrow::array::{Array, Float32Array, StringArray};
use retort_cache::{column, read_plain_table};
use retort_schemas::runs::predictions as names;
use serde_json::json;

use super::engine::{Fate, each};
use super::original::ShardRows;
use super::{Fault, Outcome, rounded};

/// A prediction of this score or more is right: that of VQA may be anything from 0 to 1, all others are 0 or 1.
const RIGHT: f32 = 0.5;

pub(super) fn fates(path: &Path, rows: &[ShardRows], outcome: &mut Outcome) -> Result<Vec<Vec<Fate>>, Fault> {
    let bytes = std::fs::read(path).map_err(retort_cache::Error::io("read", path))?;
    let table = read_plain_table(path, names::VERSION)?;
    let ids = column::<StringArray>(&table, names::SAMPLE_ID)?;
    let scores = column::<Float32Array>(&table, names::SCORE)?;
    let score = |row: usize| scores.is_valid(row).then(|| scores.value(row));
    let by_sample: HashMap<&str, Option<f32>> = (0..table.num_rows()).map(|row| (ids.value(row), score(row))).collect();
    outcome.options = json!({ "predictions": crate::images::hash_text(&bytes) });
    let counts = &mut outcome.counts;
    let (mut judged, mut right) = (0_u64, 0_u64);
    let fates = each(rows, |sample| {
        let score = match by_sample.get(sample.record.id.as_ref()) {
            None => return counts.drop("not in the predictions"),
            Some(None) => return counts.drop("no label"),
            Some(Some(score)) => *score,
        };
        judged += 1;
        if score >= RIGHT {
            right += 1;
            return counts.drop("predicted right");
        }
        counts.keep();
        Fate::Keep
    });
    outcome.shares.insert("share predicted right".to_owned(), rounded(right as f64 / judged.max(1) as f64));
    Ok(fates)
}
