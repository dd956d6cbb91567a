//! Masks by scores: the words of a choice that a run leans on most are masked, or all others are.
//!
//! A choice is the last part of a candidate text: all of it where the text has one part. A masked word, or a masked
//! reference to an object, is `[MASK]` and names no object, as where masked annotations are ingested. All choices are
//! masked, the right one too. Where a VCR text holds the right answer before its rationales, that answer is masked by
//! the scores of the sample that asks for it.

use std::collections::HashMap;
use std::path::Path;

use arrow::array::{Float32Array, StringArray, UInt32Array};
use retort_cache::{column, read_plain_table};
use retort_schemas::runs::word_scores;
use retort_schemas::tables::samples::tasks;
use retort_schemas::tokens::mask;
use serde_json::json;

use super::engine::{Change, Counts, Fate};
use super::original::{Original, ShardRows};
use super::tokens::{Edit, choice_start, edited};
use super::{Fault, Outcome};
use crate::source::{Record, Text};
use crate::{Error, Result};

/// What the id of a sample ends in that asks for the answer of an annotation, or for the rationale.
const ANSWERS: &str = ":qa";
const RATIONALES: &str = ":qar";

/// Which words of a choice are masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Masked {
    /// So many of greatest loss.
    Top(usize),
    /// All but so many of greatest loss.
    AllBut(usize),
}

impl Masked {
    /// The words to mask, in the order of the text; the first of equal losses is the greater.
    fn of(self, scores: &[Score]) -> Vec<Score> {
        let mut ranked = scores.to_vec();
        ranked.sort_by(|a, b| b.loss.total_cmp(&a.loss).then(a.start.cmp(&b.start)));
        let mut masked = match self {
            Self::Top(top) => {
                ranked.truncate(top);
                ranked
            }
            Self::AllBut(kept) => ranked.split_off(kept.min(ranked.len())),
        };
        masked.sort_by_key(|score| score.start);
        masked
    }
}

/// The loss of a run with this word masked.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Score {
    start: usize,
    end: usize,
    loss: f32,
}

/// The scores of a table by sample and candidate, in the order of the text.
struct Scores<'p> {
    path: &'p Path,
    by_sample: HashMap<String, HashMap<u32, Vec<Score>>>,
}

impl<'p> Scores<'p> {
    fn read(path: &'p Path) -> Result<(Self, String)> {
        let bytes = std::fs::read(path).map_err(retort_cache::Error::io("read", path))?;
        let rows = read_plain_table(path, word_scores::VERSION)?;
        let ids = column::<StringArray>(&rows, word_scores::SAMPLE_ID)?;
        let numbers = |name| column::<UInt32Array>(&rows, name);
        let (candidates, starts, ends) =
            (numbers(word_scores::CANDIDATE)?, numbers(word_scores::START)?, numbers(word_scores::END)?);
        let losses = column::<Float32Array>(&rows, word_scores::LOSS)?;
        let mut scores = Self { path, by_sample: HashMap::new() };
        for row in 0..rows.num_rows() {
            let (sample, candidate, loss) = (ids.value(row), candidates.value(row), losses.value(row));
            if !loss.is_finite() {
                return Err(scores.bad(sample, candidate, format!("expected a finite loss, found {loss}")));
            }
            let score = Score { start: starts.value(row) as usize, end: ends.value(row) as usize, loss };
            let of_sample = scores.by_sample.entry(sample.to_owned()).or_default();
            of_sample.entry(candidate).or_default().push(score);
        }
        for of_choice in scores.by_sample.values_mut().flat_map(HashMap::values_mut) {
            of_choice.sort_by_key(|score| (score.start, score.end));
        }
        Ok((scores, crate::images::hash_text(&bytes)))
    }

    fn bad(&self, sample: &str, candidate: u32, problem: String) -> Error {
        Error::BadScore { path: self.path.to_owned(), sample: sample.to_owned(), candidate, problem }
    }

    /// The scores of a choice, which must be words of it; nothing where there are none.
    fn of(&self, record: &Record<'_>, candidate: usize) -> Result<Option<&[Score]>> {
        let place = candidate as u32;
        let Some(scores) = self.by_sample.get(record.id.as_ref()).and_then(|of| of.get(&place)) else {
            return Ok(None);
        };
        let Some(text) = record.texts.get(candidate) else {
            let problem = format!("expected one of the {} candidates of the sample", record.texts.len());
            return Err(self.bad(&record.id, place, problem));
        };
        let mut free = choice_start(text);
        for Score { start, end, .. } in scores {
            if *start < free || end <= start || text.text.get(*start..*end).is_none() {
                let problem = format!(
                    "expected words of the choice, one after another, within bytes {} to {}, found {start} to {end}",
                    choice_start(text),
                    text.text.len()
                );
                return Err(self.bad(&record.id, place, problem));
            }
            free = *end;
        }
        Ok(Some(scores))
    }
}

pub(super) fn fates(
    path: &Path,
    masked: Masked,
    rows: &[ShardRows],
    outcome: &mut Outcome,
) -> Result<Vec<Vec<Fate>>, Fault> {
    let (scores, hash) = Scores::read(path)?;
    outcome.options = match masked {
        Masked::Top(_) => json!({ "scores": hash }),
        Masked::AllBut(keep) => json!({ "scores": hash, "keep": keep }),
    };
    let mut all = Vec::new();
    for shard in rows {
        // Samples of one annotation are about one image, and so in one shard.
        let answers: HashMap<&str, &Record<'static>> = shard
            .samples()
            .filter(|sample| sample.record.task == tasks::VCR_QA)
            .filter_map(|sample| Some((sample.record.id.strip_suffix(ANSWERS)?, sample.record)))
            .collect();
        let decide = |sample: Original<'_>| fate(&scores, masked, &sample, &answers, &mut outcome.counts);
        all.push(shard.samples().map(decide).collect::<Result<_>>()?);
    }
    Ok(all)
}

fn fate(
    scores: &Scores<'_>,
    masked: Masked,
    sample: &Original<'_>,
    answers: &HashMap<&str, &Record<'static>>,
    counts: &mut Counts,
) -> Result<Fate> {
    let record = sample.record;
    let mut texts = Vec::new();
    let (mut words, mut words_masked) = (0, 0);
    let given = match record.task {
        tasks::VCR_QAR => record.id.strip_suffix(RATIONALES).and_then(|annotation| answers.get(annotation)).copied(),
        _ => None,
    };
    for (place, text) in record.texts.iter().enumerate() {
        let Some(of_choice) = scores.of(record, place)? else { return Ok(counts.drop("a choice without scores")) };
        let mut chosen = match (record.task, text.parts.first()) {
            (tasks::VCR_QAR, Some(answer)) => match given_answer(scores, given, text, *answer as usize)? {
                Some(of_answer) => masked.of(of_answer),
                None => return Ok(counts.drop("no scores of the answer that the rationales are about")),
            },
            _ => Vec::new(),
        };
        let of_choice_masked = masked.of(of_choice);
        words += of_choice.len() as u64;
        words_masked += of_choice_masked.len() as u64;
        chosen.extend(of_choice_masked);
        texts.push((place, edited(text, &masks(text, &chosen))));
    }
    if texts.is_empty() {
        return Ok(counts.drop("no text"));
    }
    counts.keep();
    counts.add("choices", texts.len() as u64);
    counts.add("words of choices", words);
    counts.add("words masked", words_masked);
    Ok(Change::of_texts(sample, texts))
}

/// The scores of the answer that a text holds before its rationale: those of the right answer of the sample that asks
/// for it, whose text is the beginning of this one.
fn given_answer<'s>(
    scores: &'s Scores<'_>,
    given: Option<&Record<'static>>,
    text: &Text<'_>,
    answer: usize,
) -> Result<Option<&'s [Score]>> {
    let Some((record, label)) = given.and_then(|record| Some((record, record.label? as usize))) else {
        return Ok(None);
    };
    let is_same = record.texts.get(label).is_some_and(|asked| {
        choice_start(asked) == answer && text.text.get(..choice_start(text)).map(str::trim_end) == Some(&*asked.text)
    });
    if is_same { scores.of(record, label) } else { Ok(None) }
}

/// A mask for each word, set off from letters and other masks by a space.
fn masks(text: &Text<'_>, chosen: &[Score]) -> Vec<Edit> {
    let edit = |score: &Score| {
        let is_masked = |at: usize, side: fn(&Score) -> usize| chosen.iter().any(|other| side(other) == at);
        let beside = [is_masked(score.start, |other| other.end), is_masked(score.end, |other| other.start)];
        Edit::words(score.start, score.end, &mask(&text.text, &(score.start..score.end), beside))
    };
    chosen.iter().map(edit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(losses: &[f32]) -> Vec<Score> {
        let score = |(place, loss): (usize, &f32)| Score { start: place, end: place + 1, loss: *loss };
        losses.iter().enumerate().map(score).collect()
    }

    fn places(masked: Masked, losses: &[f32]) -> Vec<usize> {
        masked.of(&scores(losses)).iter().map(|score| score.start).collect()
    }

    #[test]
    fn the_first_of_the_greatest_losses_is_the_top() {
        let losses = [0.1, 0.7, 0.2, 0.7];
        assert_eq!(places(Masked::Top(1), &losses), [1]);
        assert_eq!(places(Masked::AllBut(1), &losses), [0, 2, 3]);
        assert_eq!(places(Masked::AllBut(3), &losses), [0]);
        assert_eq!(places(Masked::AllBut(5), &losses), [0; 0]);
        assert_eq!(places(Masked::Top(1), &[]), [0; 0]);
    }

    #[test]
    fn masks_stand_apart_from_letters_and_from_each_other() {
        let masked = |words: &str, spans: &[(usize, usize)]| {
            let text = Text { text: words.to_owned().into(), ..Text::default() };
            let chosen: Vec<Score> =
                spans.iter().map(|(start, end)| Score { start: *start, end: *end, loss: 0.0 }).collect();
            edited(&text, &masks(&text, &chosen)).text.into_owned()
        };
        assert_eq!(masked("She can't go.", &[(0, 3), (7, 8), (10, 12)]), "[MASK] can [MASK] t [MASK].");
        assert_eq!(masked("can't", &[(0, 3), (3, 4), (4, 5)]), "[MASK] [MASK] [MASK]");
        assert_eq!(masked("go on.", &[(3, 5), (5, 6)]), "go [MASK] [MASK]");
    }
}
