//! Scores of words of the small data set, held against what the student says of the whole choice.

use std::ops::Range;
use std::path::Path;

use arrow::array::{Float32Array, RecordBatch, StringArray, UInt32Array};
use retort_cache::{Columns, Dataset, Interrupt, Quiet, column, read_plain_table};
use retort_nn::TextTokenizer;
use retort_schemas::tokens::masked;
use tch::{Device, Kind};
use tempfile::tempdir;

use super::*;
use crate::fixture::{Asked, Result, recipe, write};
use crate::record::TOKENIZER;
use crate::{students, train};

/// A run of some steps with these settings, and the scores of the words of `train`.
fn scored(folder: &Path, asked: Asked, settings: &[&str]) -> Result<(RecordBatch, WordsScored)> {
    let dataset = write(folder, asked)?;
    let (run, file) = (folder.join("run"), folder.join("scores.parquet"));
    train(
        &recipe(&dataset, &[&["arm=base", "optim.steps=8"], settings].concat())?,
        &run,
        &Quiet,
        &Interrupt::default(),
    )?;
    let scorer = WordScorer::open(&run, "train", None)?;
    let scored = scorer.write(&file, &Quiet, &Interrupt::default())?;
    Ok((read_plain_table(&file, names::VERSION)?, scored))
}

/// Sample, candidate, bytes of the word, and loss.
type Scored = (String, usize, Range<usize>, f32);

fn rows(table: &RecordBatch) -> Result<Vec<Scored>> {
    let ids: &StringArray = column(table, names::SAMPLE_ID)?;
    let numbers = |name| column::<UInt32Array>(table, name);
    let (candidates, starts, ends) = (numbers(names::CANDIDATE)?, numbers(names::START)?, numbers(names::END)?);
    let losses: &Float32Array = column(table, names::LOSS)?;
    let at = |row| {
        let [candidate, start, end] = [candidates, starts, ends].map(|numbers| numbers.value(row) as usize);
        (ids.value(row).to_owned(), candidate, start..end, losses.value(row))
    };
    Ok((0..table.num_rows()).map(at).collect())
}

/// The loss of a word, asked by itself: all choices of the sample in one batch, as evaluation asks, one of them changed.
fn alone(folder: &Path, asked: Asked, (id, candidate, word): (&str, usize, Range<usize>)) -> Result<f64> {
    let dataset = Dataset::open(&folder.join("set"))?;
    let recipe = Recipe::read(&folder.join("run").join(files::RECIPE), &[])?;
    let student = folder.join("run").join(files::STUDENT);
    let objective = if asked == Asked::Choice { Objective::Choice(3) } else { Objective::Class };
    let weights = student.join(crate::record::WEIGHTS);
    let (model, answers) = students::open(&student, recipe.student.kind, &weights, Device::Cpu)?;
    let tokenizer = TextTokenizer::open(&student.join(TOKENIZER), recipe.student.text_tokens)?;
    let asking = Asking::new(&recipe, tokenizer, objective, answers, Device::Cpu);
    let sources = WordScorer::open(&folder.join("run"), "train", None)?.sources;
    for shard in dataset.split_shards("train")? {
        let mut zipped = sources.load(&shard?)?;
        let Some(row) = zipped.samples.iter().position(|sample| sample.id == id) else { continue };
        let changed = zipped.samples[row].texts[candidate];
        let texts = zipped.texts.iter().flatten().enumerate();
        let texts = texts.map(|(at, text)| if at == changed { masked(text, &word) } else { text.to_owned() });
        zipped.texts = StringArray::from_iter_values(texts.collect::<Vec<_>>());
        let (_, logits) = asking.ask(model.as_ref(), &[(&zipped, row)])?;
        let label = zipped.samples[row].label.ok_or("no label")? as usize;
        return match (asked, recipe.task.choice_loss) {
            (Asked::Choice, ChoiceLoss::Binary) => {
                let p = logits.f_sigmoid()?.f_double_value(&[0, candidate as i64])?;
                Ok(-(if candidate == label { p } else { 1.0 - p }).ln())
            }
            (Asked::Choice, ChoiceLoss::Softmax) => {
                let p = logits.f_softmax(-1, Kind::Double)?.f_double_value(&[0, candidate as i64])?;
                Ok(-(if candidate == label { p } else { 1.0 - p }).ln())
            }
            _ => Ok(-logits.f_softmax(-1, Kind::Double)?.f_double_value(&[0, label as i64])?.ln()),
        };
    }
    Err("no such sample".into())
}

#[test]
fn losses_are_those_of_the_choice_with_the_word_masked() -> Result {
    for (asked, settings) in [
        (Asked::Choice, &["task.choice_loss=softmax"][..]),
        (Asked::Choice, &["task.choice_loss=binary"]),
        (Asked::Class, &[]),
    ] {
        let folder = tempdir()?;
        let (table, told) = scored(folder.path(), asked, settings)?;
        let rows = rows(&table)?;
        // "there is a red circle": five words a text.
        let texts = if asked == Asked::Choice { 3 } else { 1 };
        assert_eq!(told, WordsScored { samples: 48, unlabelled: 0, words: 48 * texts * 5 });
        assert_eq!(rows.len() as u64, told.words);
        let distinct: std::collections::BTreeSet<u32> = rows.iter().map(|row| row.3.to_bits()).collect();
        assert!(distinct.len() > 20, "{} losses are different", distinct.len());
        for (id, candidate, word, loss) in rows.into_iter().step_by(37) {
            let expected = alone(folder.path(), asked, (&id, candidate, word.clone()))?;
            assert!(
                (f64::from(loss) - expected).abs() < 1e-4,
                "{asked:?} {id} {candidate} {word:?}: {loss} {expected}"
            );
        }
    }
    Ok(())
}

#[test]
fn words_of_the_last_part_are_scored_and_those_of_a_question_are_not() -> Result {
    let folder = tempdir()?;
    let dataset = Dataset::open(&write(folder.path(), Asked::Choice)?)?;
    let shard = dataset.split_shards("train")?.next().ok_or("no shard")??;
    let sources = Sources {
        image_teacher: None,
        text_teacher: None,
        with_tokens: false,
        with_pixels: true,
        with_regions: false,
        random: None,
        grid_teacher: None,
        dataset: dataset.clone(),
    };
    let mut zipped = sources.load(&shard)?;
    let count = dataset.read(&shard, tables::texts::NAME, Columns::All)?.num_rows();
    // The choice begins behind "there is a ".
    let parts = (0..count).map(|_| Some([Some(11_u32)]));
    zipped.parts = Some(arrow::array::ListArray::from_iter_primitive::<arrow::datatypes::UInt32Type, _, _>(parts));
    zipped.samples[1].label = None;
    let mut shell = Shell::new(zipped);
    assert!(choices_of(&shell, 1).is_empty());
    let choices = choices_of(&shell, 0);
    assert!(choices.iter().all(|choice| choice.words.len() == 2 && choice.words[0].start == 11));
    assert_eq!(shell.fill(&choices), 9);
    let asked: Vec<&str> = shell.zipped.texts.iter().flatten().take(3).collect();
    let [whole, colour, shape] = asked[..] else { return Err("too few texts".into()) };
    let words: Vec<&str> = whole.split(' ').collect();
    assert_eq!(colour, format!("there is a [MASK] {}", words[4]));
    assert_eq!(shape, format!("there is a {} [MASK]", words[3]));
    assert_eq!(shell.zipped.parts(8), [11]);
    Ok(())
}

#[test]
fn log_odds_are_those_of_a_softmax() {
    let p = 3.0_f64.exp() / (3.0_f64.exp() + 1.0_f64.exp() + 2.0_f64.exp());
    let odds = log_odds(&[1.0, 3.0, 2.0], 1).unwrap();
    assert!((missed(odds, true) + p.ln()).abs() < 1e-12);
    assert!((missed(odds, false) + (1.0 - p).ln()).abs() < 1e-12);
    // Where a float of p would be 1, the loss still tells more from less.
    assert!(missed(90.0, true) > missed(91.0, true));
    assert_eq!(missed(-800.0, true), 800.0);
    assert_eq!(log_odds(&[1.0], 1), None);
}

#[test]
fn answers_of_a_vocabulary_are_refused() -> Result {
    let folder = tempdir()?;
    let refused = scored(folder.path(), Asked::Answers, &[]).unwrap_err().to_string();
    assert!(refused.contains("split train asks for answers with soft scores"), "{refused}");
    assert!(!folder.path().join("scores.parquet").exists());
    Ok(())
}
