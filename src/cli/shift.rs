//! `retort shift`: one subcommand a kind.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::SummaryFormat;

/// The kinds of shifted splits.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "clap would take it for the help, which is at the options")]
pub enum Shift {
    /// VCR: questions about one person, whose right choice gets a pronoun and wrong choices the question's person
    #[command(after_help = "Example:\n  retort shift rule-singular vcr/ --from val --to val-singular")]
    RuleSingular(ShiftOptions),
    /// VCR: questions about one group of persons, whose right choice gets `they` and wrong choices the question's group
    #[command(after_help = "Example:\n  retort shift rule-plural vcr/ --from val --to val-plural")]
    RulePlural(ShiftOptions),
    /// The word that a run leans on most is masked in every choice
    #[command(
        name = "remove-top-1",
        after_help = "Example:\n  retort shift remove-top-1 vcr/ --from val --to val-rmtop1 --scores scores.parquet"
    )]
    RemoveTop1(ShiftByScores),
    /// All words are masked in every choice but those that a run leans on most
    #[command(
        after_help = "Example:\n  retort shift keep-top vcr/ --from val --to val-keep3 --keep 3 --scores scores.parquet"
    )]
    KeepTop(ShiftKeepTop),
    /// VQA: two splits, NAME-train and NAME-test, in which the answers to each type of question have other shares
    #[command(after_help = "Example:\n  retort shift prior vqa/ --from train --from val --to cp --strict")]
    Prior(ShiftPrior),
    /// What a classifier that sees the text alone gets wrong, or what predictions of a file do
    #[command(after_help = "Examples:\n  retort shift hard snli_ve/ --from dev --to dev-hard\n  \
        retort shift hard snli_ve/ --from dev --to dev-hard --predictions dev-text.parquet")]
    Hard(ShiftHard),
    /// SNLI-VE with the labels of other files, matched by pairID
    #[command(
        after_help = "Example:\n  retort shift relabel snli_ve/ --from dev --to dev-corrected --pairs esnlive_dev.csv"
    )]
    Relabel(ShiftRelabel),
}

/// What every kind takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every kind")]
pub struct ShiftOptions {
    /// The data set
    pub dataset: PathBuf,
    /// The split to make it from; `prior` takes one or two
    #[arg(long, value_name = "NAME", required = true)]
    pub from: Vec<String>,
    /// Name of the new split
    #[arg(long, value_name = "NAME")]
    pub to: String,
    /// Replace the new split if it is there already; the features that teachers made of it go with it
    #[arg(long)]
    pub force: bool,
    /// How to print the counts
    #[arg(long, value_enum, default_value_t)]
    pub format: SummaryFormat,
}

/// What `remove-top-1` takes.
#[derive(Debug, Args)]
pub struct ShiftByScores {
    /// Parquet table with the loss of a run for each word masked, as `retort eval --word-scores` writes it
    #[arg(long, value_name = "FILE")]
    pub scores: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub options: ShiftOptions,
}

/// What `keep-top` takes.
#[derive(Debug, Args)]
pub struct ShiftKeepTop {
    /// Words that stay in every choice
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub keep: usize,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub by: ShiftByScores,
}

/// What `prior` takes.
#[derive(Debug, Args)]
pub struct ShiftPrior {
    /// Share of the images that is for testing
    #[arg(long, value_name = "P", default_value_t = 0.33)]
    pub test_share: f64,
    /// Decides among equals
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Leave out questions whose answer belongs to the other side: then no answer to a type of question is in both
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub options: ShiftOptions,
}

/// What `hard` takes.
#[derive(Debug, Args)]
pub struct ShiftHard {
    /// Keep what these predictions get wrong instead: a Parquet table of `retort probe` or `retort eval --predictions`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["folds", "seed"])]
    pub predictions: Option<PathBuf>,
    /// Parts of the images, each judged by a classifier of the others
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub folds: usize,
    /// Decides which image is in which part
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub options: ShiftOptions,
}

/// What `relabel` takes.
#[derive(Debug, Args)]
pub struct ShiftRelabel {
    /// File of pairs, as `retort ingest snli-ve` reads them; may be given several times
    #[arg(long, value_name = "FILE", required = true)]
    pub pairs: Vec<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub options: ShiftOptions,
}
