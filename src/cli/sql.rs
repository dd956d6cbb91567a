//! `retort sql`, and what it starts for texts and images.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::size;
#[cfg(feature = "torch")]
use super::{NamedTeacher, TeacherSetting};

const EXAMPLES: &str = "Examples:\n  \
    retort sql vqa/ -c \"SELECT question_type, count(*) FROM samples GROUP BY 1 ORDER BY 2 DESC\"\n  \
    retort sql vqa/ --memory-limit 2GiB --spill-dir /scratch -f large.sql --format parquet > answer.parquet\n  \
    retort sql vqa/ --allow-external -c \"SELECT * FROM samples JOIN 'mine.csv' USING (sample_id)\"\n  \
    retort sql vqa/ --thumbnails -c \"SELECT source, bytes FROM images LIMIT 5\"";
const ENCODING_EXAMPLE: &str = "\n  \
    retort sql vqa/ --teacher clip=models/clip-vit-base-patch32 -c \"SELECT * FROM nearest('clip.images', 'a red hat', 5)\"";

/// Of what this build can do.
fn examples() -> String {
    let encoding = if cfg!(feature = "torch") { ENCODING_EXAMPLE } else { "" };
    format!("{EXAMPLES}{encoding}")
}

/// Ask a data set, a run or a protocol with SQL
///
/// Tables of a data set: images, regions, texts, samples, rejects, shards, teachers, and NAME.images, NAME.patches, NAME.texts,
/// NAME.tokens, NAME.words of each teacher. Tables of a run: metrics, predictions, selection, drawn, confidence; of a protocol:
/// runs, predictions, gains. See docs/sql.md.
#[derive(Debug, Args)]
#[command(after_help = examples())]
pub struct Sql {
    /// The data set, run or protocol's folder
    pub folder: PathBuf,
    /// The query; several are separated by semicolons. Without it, and without a file: a shell where stdin is a terminal, else
    /// the queries of stdin
    #[arg(short = 'c', long = "command", value_name = "QUERY", conflicts_with = "file", allow_hyphen_values = true)]
    pub query: Option<String>,
    /// A file of queries, or - for stdin
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// table, csv, json, ndjson or parquet
    #[arg(long, default_value = "table")]
    pub format: String,
    /// Where the model of a teacher of the data set is, for texts and images that `nearest` is asked for; may be given several times
    #[cfg(feature = "torch")]
    #[arg(long = "teacher", value_name = "NAME=FOLDER|ID")]
    pub teachers: Vec<NamedTeacher>,
    /// In the place of what `retort teach --set` was given for such a teacher, all of it; may be given several times
    #[cfg(feature = "torch")]
    #[arg(long = "set", value_name = "NAME.KEY=VALUE", requires = "teachers")]
    pub settings: Vec<TeacherSetting>,
    /// Memory that sorts, groups, joins and scans may hold at a time, such as 512MiB; without it, what they need
    #[arg(long, value_name = "SIZE", value_parser = size::bytes)]
    pub memory_limit: Option<usize>,
    /// Where what does not fit into the limit is put meanwhile; without it, a query that needs more fails
    #[arg(long, value_name = "DIR", requires = "memory_limit")]
    pub spill_dir: Option<PathBuf>,
    /// Leave damaged shards out and tell, after the answer, what that cost; without it a query that reads one fails
    #[arg(long)]
    pub skip_damaged: bool,
    /// Let queries read and write other files: COPY (QUERY) TO 'FILE', FROM 'FILE' and CREATE EXTERNAL TABLE
    #[arg(long)]
    pub allow_external: bool,
    /// Draw the images of the first 20 rows under a table, where stdout is a terminal: as it shows them, or as it is told
    #[arg(long, value_name = "HOW", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "auto")]
    pub thumbnails: Option<Thumbnails>,
}

/// How a terminal is told of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Thumbnails {
    /// What the terminal says that it can, and else blocks
    Auto,
    /// By kitty's graphics protocol
    Kitty,
    /// By iTerm2's inline images
    Iterm2,
    /// As coloured half blocks
    Blocks,
}

/// Make vectors of the texts and images that `retort sql` is asked for: requests on stdin, answers on stdout, a line of JSON each
///
/// `retort sql` starts it when it first needs it; it ends when stdin does.
#[cfg(feature = "torch")]
#[derive(Debug, Args)]
pub struct Encode {
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    pub device: String,
}
