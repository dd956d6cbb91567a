//! The text-only probe over the small data set, whose images come with two texts each.

use std::path::Path;

use arrow::array::{Float32Array, StringArray};
use retort_cache::{Dataset, Interrupt, Quiet, column, read_plain_table};
use retort_schemas::runs::predictions as names;
use tempfile::tempdir;

use super::text_only::{TextOnlyFound, TextProbe};
use crate::fixture::{Asked, Result, write};
use crate::zipped::samples;

fn probed(folder: &Path, dataset: &Path, seed: u64) -> Result<(TextOnlyFound, Vec<(String, f32)>)> {
    let file = folder.join("text.parquet");
    let probe = TextProbe { teacher: "text".to_owned(), folds: 4, seed };
    let found = probe.write(dataset, "train", &file, &Quiet, &Interrupt::default())?;
    let table = read_plain_table(&file, names::VERSION)?;
    let (ids, scores) =
        (column::<StringArray>(&table, names::SAMPLE_ID)?, column::<Float32Array>(&table, names::SCORE)?);
    let rows = ids.iter().flatten().zip(scores.values()).map(|(id, score)| (id.to_owned(), *score));
    Ok((found, rows.collect()))
}

#[test]
fn every_labelled_sample_is_predicted_once_and_the_accuracy_is_that_of_the_table() -> Result {
    let folder = tempdir()?;
    let dataset = write(folder.path(), Asked::Class)?;
    let (found, rows) = probed(folder.path(), &dataset, 0)?;
    let opened = Dataset::open(&dataset)?;
    let mut expected = Vec::new();
    for shard in opened.split_shards("train")? {
        expected.extend(samples(&opened, &shard?)?.into_iter().map(|sample| sample.id));
    }
    assert_eq!(rows.iter().map(|row| row.0.clone()).collect::<Vec<_>>(), expected);
    let mean = rows.iter().map(|row| f64::from(row.1)).sum::<f64>() / rows.len() as f64;
    assert!((found.accuracy - mean).abs() < 1e-9, "{found:?} {mean}");
    assert_eq!((found.samples, found.unlabelled, found.majority), (48, 0, 0.5));
    assert_eq!(probed(folder.path(), &dataset, 0)?.1, rows);
    assert_ne!(probed(folder.path(), &dataset, 1)?.1, rows, "another deal of the images");
    Ok(())
}

#[test]
fn choices_are_told_by_their_texts_and_answers_are_refused() -> Result {
    let folder = tempdir()?;
    let (found, _) = probed(folder.path(), &write(folder.path(), Asked::Choice)?, 0)?;
    assert_eq!(found.samples, 48);
    let other = tempdir()?;
    let refused = probed(other.path(), &write(other.path(), Asked::Answers)?, 0).unwrap_err().to_string();
    assert!(refused.contains("asks for answers with soft scores"), "{refused}");
    assert!(!other.path().join("text.parquet").exists());
    let one = TextProbe { teacher: "text".to_owned(), folds: 1, seed: 0 };
    let refused =
        one.write(&folder.path().join("set"), "train", &folder.path().join("x"), &Quiet, &Interrupt::default());
    assert!(refused.unwrap_err().to_string().contains("folds expected 2 parts or more, found 1"));
    Ok(())
}
