//! The command line. Every command's help ends in an example.

use std::path::PathBuf;
#[cfg(feature = "torch")]
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use retort_schemas::Store;

mod cache;
mod ingest;
#[cfg(feature = "torch")]
mod setting;
mod shift;
mod size;
mod sql;

pub use cache::*;
pub use ingest::*;
#[cfg(feature = "torch")]
pub use setting::TeacherSetting;
pub use shift::*;
pub use sql::*;

/// Distils vision-language students from cached teacher features.
///
/// A data set is a directory of Parquet shards that grows columns: ingest writes images, texts and samples; every
/// teacher adds its features; the trainer streams them; SQL sees all of it as tables.
#[derive(Debug, Parser)]
#[command(version, after_help = "Example: the whole way on a small public data set\n  retort demo")]
pub struct Cli {
    /// No progress on stderr
    #[arg(short, long, global = true, env = "RETORT_QUIET")]
    pub quiet: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands, in the order of the work.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "clap would take it for the help, which is at the options")]
pub enum Command {
    /// Read annotations and images into a data set
    ///
    /// One subcommand a kind of source; `retort ingest SOURCE --help` shows what each takes.
    #[command(
        subcommand,
        after_help = "Example:\n  retort ingest folder photos/ --texts optional --split all --out photos-retort/"
    )]
    Ingest(Box<Ingest>),
    /// Make a shifted split of one that is there, to test a student on what it was not trained on
    ///
    /// One subcommand a kind; the old split stays, and rows of the new one tell their originals. See docs/shifts.md.
    #[command(subcommand, after_help = "Example:\n  retort shift rule-singular vcr/ --from val --to val-singular")]
    Shift(Shift),
    #[cfg(feature = "torch")]
    Teach(Teach),
    Convert(Convert),
    Summary(Summary),
    Verify(Verify),
    /// List, remove, copy and compare teachers' features
    #[command(subcommand, after_help = "Example:\n  retort cache ls vqa/")]
    Cache(Cache),
    Export(Export),
    Sql(Sql),
    #[cfg(feature = "torch")]
    Train(Train),
    #[cfg(feature = "torch")]
    Eval(Eval),
    #[cfg(feature = "torch")]
    Probe(Probe),
    #[cfg(feature = "torch")]
    Protocol(Protocol),
    Report(Report),
    #[cfg(feature = "torch")]
    Demo(Demo),
    #[cfg(feature = "torch")]
    #[command(hide = true)]
    Encode(Encode),
}

/// Store a teacher's features in another way, without the teacher
///
/// The converted features are a teacher of their own, beside the one they were made from: where both are there, name
/// one with its fingerprint. A killed run continues when run again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  retort convert vqa/ --teacher text --store cos:0.999")]
pub struct Convert {
    /// The data set
    pub dataset: PathBuf,
    /// The teacher, by name or by name and fingerprint
    #[arg(long, value_name = "NAME")]
    pub teacher: String,
    /// f32, f16, bf16, or cos:BOUND, integer codes that keep each vector's cosine
    #[arg(long)]
    pub store: Store,
    /// Also to a finer store, which takes more room and does not bring back what was lost
    #[arg(long)]
    pub finer: bool,
    /// How to print what was done
    #[arg(long, value_enum, default_value_t)]
    pub format: SummaryFormat,
}

/// Compute teachers' features into the cache
///
/// Shard by shard; a killed run loses at most the shard in work and gives the same bytes when run again.
#[cfg(feature = "torch")]
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  retort teach vqa/ --teacher clip=models/clip-vit-base-patch32 \\
      --teacher text=sentence-transformers/all-MiniLM-L6-v2 --tokens --words")]
pub struct Teach {
    /// The data set
    pub dataset: PathBuf,
    /// A name of your choice and a model: a folder in Hugging Face layout, or an id of the hub, such as
    /// text=sentence-transformers/all-MiniLM-L6-v2 or clip=ORG/NAME@REVISION; may be given several times
    #[arg(long = "teacher", value_name = "NAME=FOLDER|HUB_ID", required = true)]
    pub teachers: Vec<NamedTeacher>,
    /// Set what was detected of a teacher to something else, such as text.pooling=mean or clip.size=256: pooling, max_length,
    /// normalize, size, crop, interpolation, mean or std; may be given several times
    #[arg(long = "set", value_name = "NAME.KEY=VALUE")]
    pub settings: Vec<TeacherSetting>,
    /// auto, cpu, cuda or cuda:N: auto is every CUDA device at once or, without one, the CPU
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Type to compute in: auto is f32 on a CPU and bf16 on CUDA
    #[arg(long, value_enum, default_value_t)]
    pub dtype: ComputeType,
    /// How to store features: f32, f16, bf16, or cos:BOUND, integer codes that keep each vector's cosine, as cos:0.999
    #[arg(long, default_value_t = Store::F16)]
    pub store: Store,
    /// Also store the patch grid of each image, which the student clip-grid reads: 75 KB an image for a ViT-B/32 as f16
    #[arg(long)]
    pub patches: bool,
    /// Also store the features of each text's tokens
    #[arg(long)]
    pub tokens: bool,
    /// Also store the embeddings of each distinct word
    #[arg(long)]
    pub words: bool,
    /// Images or texts a batch: auto or a number; a cache keeps what it was begun with
    ///
    /// auto makes batches of texts by their tokens. On CUDA it tries what pays, once, when a cache is begun.
    #[arg(long, value_name = "auto|N", default_value = "auto")]
    pub batch: BatchSize,
}

/// `NAME=FOLDER`, or `NAME=HUB_ID`.
#[cfg(feature = "torch")]
#[derive(Debug, Clone)]
pub struct NamedTeacher {
    /// The name.
    pub name: String,
    /// The model folder, or an id of the hub.
    pub model: String,
}

#[cfg(feature = "torch")]
impl FromStr for NamedTeacher {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let (name, model) = word
            .split_once('=')
            .ok_or("expected NAME=FOLDER or NAME=HUB_ID, such as text=sentence-transformers/all-MiniLM-L6-v2")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(format!("{name:?} is no name: use letters, digits, _ and -"));
        }
        Ok(Self { name: name.to_owned(), model: model.to_owned() })
    }
}

/// Type that a teacher computes in.
#[cfg(feature = "torch")]
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ComputeType {
    #[default]
    Auto,
    F32,
    Bf16,
    F16,
}

/// `auto` or a number.
#[cfg(feature = "torch")]
#[derive(Debug, Clone, Copy)]
pub struct BatchSize(pub Option<usize>);

#[cfg(feature = "torch")]
impl FromStr for BatchSize {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "auto" => Ok(Self(None)),
            _ => match word.parse() {
                Ok(rows) if rows > 0 => Ok(Self(Some(rows))),
                _ => Err(format!("expected auto or a number of rows, found {word:?}")),
            },
        }
    }
}

/// Tell what is in a data set: counts, coverage, sizes, nulls, norms
///
/// From the manifests, at once.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  retort summary vqa/ --format json")]
pub struct Summary {
    /// The data set
    pub dataset: PathBuf,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: SummaryFormat,
}

/// For people or for programs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum SummaryFormat {
    /// Text for people
    #[default]
    Table,
    /// JSON for programs
    Json,
}

/// Check every byte of a data set and its caches; exit 1 and the list of damage when something is wrong
///
/// With --quarantine, damaged files of teachers are moved aside, so that `retort teach` computes just those again, and exit 1
/// says that damage is left.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  retort verify vqa/ && echo whole")]
pub struct Verify {
    /// The data set
    pub dataset: PathBuf,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t)]
    pub format: SummaryFormat,
    /// Move damaged files of teachers to cache/TEACHER/quarantine/ and out of their manifests; nothing is deleted
    #[arg(long)]
    pub quarantine: bool,
}

/// Train a student as a recipe says; run again, it continues
#[cfg(feature = "torch")]
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  retort train vqa-vilt-tiny.toml --set arm=kd+ts+cw --set seed=2 --run runs/mad-2")]
pub struct Train {
    /// The recipe
    pub recipe: PathBuf,
    /// Set one key of the recipe, such as optim.lr=1e-4; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// The run folder; by default runs/RECIPE-ARM-seedN
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
}

/// Score trained students on a split, beside the floors
///
/// Writes predictions and scores into each run folder, and prints one table. A split without labels is predicted and not
/// scored. Of VCR, a run that chooses answers and one that chooses rationales are joined by question (Q->AR). See
/// docs/evaluation.md.
#[cfg(feature = "torch")]
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  retort eval runs/base runs/kd --split test\n  \
    retort eval runs/vcr-qa runs/vcr-qar --split test --predictions leaderboard.csv\n  \
    retort eval runs/vcr-both --split val --word-scores scores.parquet")]
pub struct Eval {
    /// The runs
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// The split
    #[arg(long, value_name = "NAME")]
    pub split: String,
    /// Also write the predictions with their scores to this file: .parquet of any task, .json VQA's results file, .csv VCR's
    /// leaderboard file or a row a sample
    #[arg(long, value_name = "FILE")]
    pub predictions: Option<PathBuf>,
    /// Also write to this Parquet file what one run loses where a word of a choice is masked, as `retort shift remove-top-1` and
    /// `keep-top` take it: the student reads each choice once more for each of its words
    #[arg(long, value_name = "FILE")]
    pub word_scores: Option<PathBuf>,
    /// auto, cpu, cuda or cuda:N; without it that of the run's recipe
    #[arg(long)]
    pub device: Option<String>,
    /// How to print the table
    #[arg(long, value_enum, default_value_t)]
    pub format: SummaryFormat,
}

/// Predict a split from a teacher's vectors of its texts alone, without a student and without the images
///
/// A softmax regression, cross-fitted over parts of the images: no sample is predicted by a probe that saw it, or another of
/// its image. `retort shift hard --predictions` keeps what it gets wrong. See docs/shifts.md.
#[cfg(feature = "torch")]
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  retort probe snli_ve/ --split dev --teacher text --out dev-text.parquet")]
pub struct Probe {
    /// The data set
    pub dataset: PathBuf,
    /// The split
    #[arg(long, value_name = "NAME")]
    pub split: String,
    /// The teacher whose vectors of texts are read, by name or by name and fingerprint
    #[arg(long, value_name = "NAME")]
    pub teacher: String,
    /// The predictions: a Parquet table as `retort eval --predictions` writes it
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Parts of the images, each judged by a probe of the others
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub folds: usize,
    /// Decides which image is in which part
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
}

/// Compare arms in conditions over seeds, as a protocol says; run again, it continues; exit 1 when a run failed
///
/// Says how many runs there are and about how long they take, makes those that are missing, and ends in a table: mean and
/// standard deviation over seeds, gains over base, bootstrap intervals, floors. See docs/protocol.md.
#[cfg(feature = "torch")]
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  retort protocol trainer/protocols/easy-vqa-quick.toml --dry-run\n  \
    retort protocol trainer/protocols/vcr.toml --arms base,kd+ts --conditions \"1 %,100 %\" --seeds 1")]
pub struct Protocol {
    /// The protocol
    pub protocol: PathBuf,
    /// The folder of runs and results; by default protocols/NAME
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Only these arms, by their names in the table, with commas between them; may be given several times
    ///
    /// What is made is found again by later calls, with other parts or without any.
    #[arg(long, value_name = "NAME,...")]
    pub arms: Vec<String>,
    /// Only these conditions, likewise
    #[arg(long, value_name = "NAME,...")]
    pub conditions: Vec<String>,
    /// Only these seeds, likewise
    #[arg(long, value_name = "N,...")]
    pub seeds: Vec<String>,
    /// Runs at a time: by default one a CUDA device or, without one, one a core and at most 4
    ///
    /// Cores are divided among them. Another number of threads sums in another order: results differ in the last bits.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub slots: Option<u16>,
    /// Say what there is to do and about how long it takes, and stop there
    #[arg(long)]
    pub dry_run: bool,
    /// Set one key of all recipes, such as optim.steps=20; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
}

/// Write a page that shows runs, a protocol or a data set
///
/// Of runs and protocols: gains, curves, accuracy by question type, predictions, selected words. Of a data set: samples,
/// labels, lengths of texts, rejects, sizes and near duplicates; of each of its teachers coverage, norms, a projection on
/// two principal components and nearest images; words by their likeness to the image and to the text. Of a large data set
/// about 32 shards are read, evenly spread over its splits.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  retort report runs/base runs/kd --out report.html\n  retort report protocols/easy-vqa-quick\n  \
                  retort report vqa/ --out vqa.html"
)]
pub struct Report {
    /// The runs, or the folder of one protocol or of one data set
    #[arg(required = true, value_name = "FOLDER")]
    pub folders: Vec<PathBuf>,
    /// The page, one HTML file that needs nothing else; by default report.html in the first folder
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The data set of the runs, if it is no longer where they say
    #[arg(long, value_name = "DATASET")]
    pub dataset: Option<PathBuf>,
}

/// Go the whole way on a small public data set, printing every command
#[cfg(feature = "torch")]
#[derive(Debug, Args)]
#[command(after_help = "Example: from a clone, fetching what it needs first\n  make demo")]
pub struct Demo {
    /// Where everything goes
    #[arg(long, value_name = "DIR", default_value = "demo")]
    pub out: PathBuf,
    /// The fetched data and models; by default retort/demo in the user's cache folder
    #[arg(long, value_name = "DIR")]
    pub assets: Option<PathBuf>,
    /// Seed of the three runs
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}
