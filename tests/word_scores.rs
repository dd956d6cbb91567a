//! Shifts by what a run of ours says: words scored and masked, and what the text alone gets wrong, through the real binary.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use arrow::array::{Array, AsArray, Float32Array, ListArray, StringArray, UInt32Array};
use arrow::datatypes::UInt32Type;
use retort_cache::{Columns, Dataset, column, read_plain_table};
use retort_schemas::runs::{predictions, word_scores};
use retort_schemas::tables::{samples, texts};
use retort_schemas::tokens::masked;
use serde_json::Value;
use tempfile::tempdir;

use crate::evaluation::{QUESTIONS, Vcr};
use crate::support::command::{retort, succeed, text};
use crate::support::{Result, golden};

/// The candidate texts of each sample of a split.
fn choices(dataset: &Path, split: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let dataset = Dataset::open(dataset)?;
    let mut found = BTreeMap::new();
    for shard in dataset.split_shards(split)? {
        let shard = shard?;
        let of_samples = dataset.read(&shard, samples::NAME, Columns::All)?;
        let of_texts = dataset.read(&shard, texts::NAME, Columns::All)?;
        let said = column::<StringArray>(&of_texts, texts::TEXT)?;
        let lists = column::<ListArray>(&of_samples, samples::TEXTS)?;
        for (row, id) in column::<StringArray>(&of_samples, samples::SAMPLE_ID)?.iter().flatten().enumerate() {
            let rows = lists.value(row);
            let rows = rows.as_primitive::<UInt32Type>().values().iter();
            found.insert(id.to_owned(), rows.map(|row| said.value(*row as usize).to_owned()).collect());
        }
    }
    Ok(found)
}

/// Bytes and loss of the scored words of each choice, by sample and candidate.
type Scored = BTreeMap<(String, usize), Vec<(Range<usize>, f32)>>;

fn scored(path: &Path) -> Result<Scored> {
    let table = read_plain_table(path, word_scores::VERSION)?;
    let ids: &StringArray = column(&table, word_scores::SAMPLE_ID)?;
    let number = |name, row| -> Result<usize> { Ok(column::<UInt32Array>(&table, name)?.value(row) as usize) };
    let losses: &Float32Array = column(&table, word_scores::LOSS)?;
    let mut found = Scored::new();
    for row in 0..table.num_rows() {
        let choice = (ids.value(row).to_owned(), number(word_scores::CANDIDATE, row)?);
        let word = number(word_scores::START, row)?..number(word_scores::END, row)?;
        found.entry(choice).or_default().push((word, losses.value(row)));
    }
    Ok(found)
}

fn shifted(arguments: &[&str]) -> Result<Value> {
    let made: Value = serde_json::from_str(&succeed(&[&["shift"], arguments, &["--format", "json"]].concat())?)?;
    Ok(made[0].clone())
}

#[test]
fn the_words_that_a_run_leans_on_most_are_gone() -> Result {
    let folder = tempdir()?;
    let run = Vcr::write(folder.path())?.run("both")?;
    let (dataset, file) = (folder.path().join("set-both"), folder.path().join("scores.parquet"));
    let said = retort(&["eval", text(&run), "--split", "train", "--word-scores", text(&file)])?;
    assert_eq!(said.code, Some(0), "{said:?}");
    let scores = scored(&file)?;
    // "red number 3.": four words in each of four choices, of answers and of rationales.
    assert_eq!(scores.len(), 2 * QUESTIONS * 4);
    assert!(scores.values().all(|words| words.len() == 4), "{scores:?}");
    assert!(said.stderr.contains(&format!("{} words of {} samples in ", 32 * QUESTIONS, 2 * QUESTIONS)), "{said:?}");

    let (set, by) = (text(&dataset), text(&file));
    let made = shifted(&["remove-top-1", set, "--from", "train", "--to", "top", "--scores", by])?;
    let choices_made = (2 * QUESTIONS * 4) as u64;
    assert_eq!(made["counts"]["words masked"], choices_made);
    assert_eq!(made["counts"]["words of choices"], 4 * choices_made);
    let manifest: Value = serde_json::from_str(&fs::read_to_string(dataset.join("dataset.json"))?)?;
    let splits = manifest["splits"].to_string();
    assert!(splits.contains(&format!("\"words masked\":{choices_made}")), "{splits}");

    let (old, new) = (choices(&dataset, "train")?, choices(&dataset, "top")?);
    let mut places = [0; 4];
    for ((id, candidate), words) in scores.iter().filter(|((id, _), _)| id.ends_with(":qa")) {
        let first = |best: usize, at: usize| if words[at].1 > words[best].1 { at } else { best };
        let top = (0..words.len()).fold(0, first);
        places[top] += 1;
        assert_eq!(new[id][*candidate], masked(&old[id][*candidate], &words[top].0), "{id} {candidate} {words:?}");
    }
    assert!(places.iter().filter(|count| **count > 0).count() > 1, "the top is always the same word: {places:?}");
    // The answer that is given before the rationales has lost its top too.
    let given = new.iter().filter(|(id, _)| id.ends_with(":qar")).flat_map(|(_, texts)| texts);
    assert!(given.clone().all(|text| text.matches("[MASK]").count() == 2) && given.count() == QUESTIONS * 4);

    let made = shifted(&["keep-top", set, "--from", "train", "--to", "keep", "--keep", "3", "--scores", by])?;
    assert_eq!(made["counts"]["words masked"], choices_made);
    succeed(&["eval", text(&run), "--split", "top"])?;
    Ok(())
}

#[test]
fn words_of_two_runs_or_without_labels_are_not_scored() -> Result {
    let folder = tempdir()?;
    let run = Vcr::write(folder.path())?.run("qa")?;
    let file = folder.path().join("scores.parquet");
    let refused = retort(&["eval", text(&run), "--split", "test", "--word-scores", text(&file)])?;
    assert!(refused.code == Some(2) && refused.stderr.contains("split test has no labels"), "{refused:?}");
    let refused = retort(&["eval", text(&run), text(&run), "--split", "train", "--word-scores", text(&file)])?;
    assert!(refused.code == Some(2) && refused.stderr.contains("--word-scores takes one run, found 2"), "{refused:?}");
    assert!(!file.exists());
    Ok(())
}

#[test]
fn what_the_text_alone_gets_wrong_is_the_hard_subset() -> Result {
    let folder = tempdir()?;
    let dataset = Vcr::write(folder.path())?.ingest("qa")?;
    let (set, file) = (text(&dataset), folder.path().join("text.parquet"));
    let teacher = format!("text={}", golden("bert").display());
    succeed(&["teach", set, "--teacher", &teacher])?;
    let said = succeed(&["probe", set, "--split", "train", "--teacher", "text", "--out", text(&file)])?;
    assert!(said.starts_with("train: ") && said.contains(&format!(" of {QUESTIONS} samples right")), "{said}");
    let table = read_plain_table(&file, predictions::VERSION)?;
    let ids = column::<StringArray>(&table, predictions::SAMPLE_ID)?;
    let scores = column::<Float32Array>(&table, predictions::SCORE)?;
    let wrong: Vec<String> = (0..table.num_rows())
        .filter(|row| scores.is_valid(*row) && scores.value(*row) < 0.5)
        .map(|row| ids.value(row).to_owned())
        .collect();
    assert!(!wrong.is_empty(), "the probe is right about every sample: {said}");
    let made = shifted(&["hard", set, "--from", "train", "--to", "hard", "--predictions", text(&file)])?;
    assert_eq!(made["samples"], wrong.len());
    let kept: Vec<String> = choices(&dataset, "hard")?.into_keys().collect();
    assert_eq!(kept, wrong);
    // Predictions of another split.
    let none = retort(&["shift", "hard", set, "--from", "test", "--to", "none", "--predictions", text(&file)])?;
    assert!(none.code == Some(2) && none.stderr.contains("dropped: not in the predictions"), "{none:?}");
    Ok(())
}
