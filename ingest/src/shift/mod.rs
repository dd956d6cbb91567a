//! Shifted splits: a split that was made from others of its data set, to test a student on what it was not trained on.
//!
//! ```text
//!  samples, texts, classes of the old split --> a rule: the fate of every sample --> engine: shards of the new split
//!                                                                                     images: the same bytes and ids
//! ```
//!
//! The old split stays as it is. A row of the new one has the `sample_id` of its original, `origin` names the split
//! that has it, and `change` says what is other (`retort_schemas::tables::samples`). What was counted is in the
//! options of the split. Rules see all samples at once, without the images' bytes.

mod engine;
mod mask;
mod original;
mod plural;
mod predicted;
mod prior;
mod relabel;
mod singular;
mod subset;
#[cfg(test)]
mod tests;
mod tokens;
mod vcr;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use retort_cache::{Dataset, Interrupt, Progress};
use serde::Serialize;
use serde_json::Value;

use self::engine::{Counts, Fate, Target, each};
use self::original::ShardRows;
use crate::{Error, Options, Result};

/// A kind of shift, with what it needs.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// VCR, rule-singular.
    RuleSingular,
    /// VCR, rule-plural.
    RulePlural,
    /// The word of greatest loss of every choice is masked.
    RemoveTop1 {
        /// A table `word_scores`.
        scores: PathBuf,
    },
    /// All words of every choice are masked but those of greatest loss.
    KeepTop {
        /// How many stay.
        keep: usize,
        /// A table `word_scores`.
        scores: PathBuf,
    },
    /// VQA: two new splits that differ in the answers to each type of question.
    Prior {
        /// Share of the images that is for testing.
        share: f64,
        /// Decides among equals.
        seed: u64,
        /// Whether samples that came with their image to the side where their answer does not belong are left out.
        strict: bool,
    },
    /// What a classifier that sees the text alone gets wrong.
    Hard {
        /// Parts of the groups, each of which is judged by a classifier of the others.
        folds: usize,
        /// Decides which group is in which part.
        seed: u64,
    },
    /// What predictions get wrong.
    HardBy {
        /// A table `predictions`.
        predictions: PathBuf,
    },
    /// SNLI-VE with the labels of other files.
    Relabel {
        /// Files of pairs, as `retort ingest snli-ve` reads them.
        pairs: Vec<PathBuf>,
    },
}

impl Kind {
    /// Its name, as the command line and manifests have it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RuleSingular => "rule-singular",
            Self::RulePlural => "rule-plural",
            Self::RemoveTop1 { .. } => "remove-top-1",
            Self::KeepTop { .. } => "keep-top",
            Self::Prior { .. } => "prior",
            Self::Hard { .. } | Self::HardBy { .. } => "hard",
            Self::Relabel { .. } => "relabel",
        }
    }
}

/// What a new split holds, whichever run wrote it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ShiftReport {
    /// The split.
    pub split: String,
    /// Its kind.
    pub kind: &'static str,
    /// Samples.
    pub samples: u64,
    /// Rows of `images`.
    pub images: u64,
    /// Rows of `texts`.
    pub texts: u64,
    /// Shards.
    pub shards: u64,
    /// What the rule counted, by name: samples taken over and dropped, choices and those modified.
    pub counts: BTreeMap<String, u64>,
    /// Shares from 0 to 1, by name, to four decimals.
    pub shares: BTreeMap<String, f64>,
    /// Of [`Kind::Prior`]: each type of question.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub question_types: Vec<Divergence>,
    /// Whether the split was complete before: nothing was done.
    pub skipped_already: bool,
}

/// How far apart the answers of two splits are, of one type of question: total variation, 0 for the same shares of
/// every answer, 1 for no answer in both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Divergence {
    /// The type, as the source words it.
    pub question_type: String,
    /// Samples with an answer in both splits together.
    pub samples: u64,
    /// Before: of the two splits given, or of an even deal of the images of one.
    pub before: f64,
    /// Of the two new splits.
    pub after: f64,
}

/// What a rule decided.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    options: Value,
    counts: Counts,
    shares: BTreeMap<String, f64>,
    question_types: Vec<Divergence>,
}

/// Makes a shifted split `to` of the splits `from`, or goes on where an earlier run was stopped. [`Kind::Prior`] takes
/// one or two splits and makes `<to>-train` and `<to>-test`; all others take one and make one.
///
/// # Errors
/// [`Error::NotShiftable`] if the split is none for this kind, or nothing would be left of it; those of the files that
/// the kind reads; [`retort_cache::Error`] if there is no such split, if `to` exists and is another one and `force` is
/// not given, if a file cannot be read or written, or on an interrupt: shards committed so far stay.
pub fn shift(
    kind: &Kind,
    folder: &Path,
    [from, to]: [&[String]; 2],
    force: bool,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Vec<ShiftReport>> {
    let dataset = Dataset::open(folder)?;
    let refuse = |problem: String| Error::NotShiftable {
        path: folder.to_owned(),
        split: from.join(" and "),
        kind: kind.name(),
        problem,
    };
    for name in to {
        Options::new(name.clone()).check()?;
        if from.contains(name) {
            return Err(refuse("it would be written over itself: give the new split another name".to_owned()));
        }
    }
    let mut rows = Vec::new();
    for name in from {
        let split = dataset.split(name)?;
        if !split.complete {
            return Err(refuse(format!("{name} is not complete: ingest the rest of it first")));
        }
        for shard in dataset.split_shards(name)? {
            interrupt.check()?;
            rows.push(ShardRows::read(&dataset, name, &shard?)?);
        }
    }
    let decided = decide(kind, &dataset, &rows).map_err(|fault| match fault {
        Fault::Refused(problem) => refuse(problem),
        Fault::Other(error) => error,
    })?;
    if decided.fates.iter().any(|fates| fates.iter().flatten().all(|fate| *fate == Fate::Drop)) {
        let counts: Vec<String> = decided.outcome.counts.0.iter().map(|(name, n)| format!("{n} {name}")).collect();
        return Err(refuse(format!("no sample would be in it ({})", counts.join(", "))));
    }
    let target = Target { dataset: &dataset, kind, rows: &rows, force, progress, interrupt };
    to.iter().zip(&decided.fates).map(|(name, fates)| target.write(name, &decided.outcome, fates)).collect()
}

/// The names of the splits that a kind makes.
pub fn shifted_names(kind: &Kind, to: &str) -> Vec<String> {
    match kind {
        Kind::Prior { .. } => vec![format!("{to}-train"), format!("{to}-test")],
        _ => vec![to.to_owned()],
    }
}

/// Why a rule cannot decide.
pub(crate) enum Fault {
    /// The split is none for it.
    Refused(String),
    /// Anything else.
    Other(Error),
}

impl<E: Into<Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// What comes of a rule: the fate of every sample, once for each new split.
struct Decided {
    outcome: Outcome,
    fates: Vec<Vec<Vec<Fate>>>,
}

fn decide(kind: &Kind, dataset: &Dataset, rows: &[ShardRows]) -> Result<Decided, Fault> {
    let mut outcome = Outcome::default();
    let fates = match kind {
        Kind::RuleSingular => vec![each(rows, |sample| vcr::fate(&singular::Singular, sample, &mut outcome.counts))],
        Kind::RulePlural => vec![each(rows, |sample| vcr::fate(&plural::Plural, sample, &mut outcome.counts))],
        Kind::RemoveTop1 { scores } => vec![mask::fates(scores, mask::Masked::Top(1), rows, &mut outcome)?],
        Kind::KeepTop { keep, scores } => vec![mask::fates(scores, mask::Masked::AllBut(*keep), rows, &mut outcome)?],
        Kind::Prior { share, seed, strict } => prior::fates(*share, *seed, *strict, rows, &mut outcome)?,
        Kind::Hard { folds, seed } => vec![subset::fates(*folds, *seed, rows, &mut outcome)?],
        Kind::HardBy { predictions } => vec![predicted::fates(predictions, rows, &mut outcome)?],
        Kind::Relabel { pairs } => vec![relabel::fates(pairs, dataset, rows, &mut outcome)?],
    };
    Ok(Decided { outcome, fates })
}

/// A share to four decimals: what a manifest keeps must be read back as it was written.
pub(crate) fn rounded(share: f64) -> f64 {
    (share * 10_000.0).round() / 10_000.0
}
