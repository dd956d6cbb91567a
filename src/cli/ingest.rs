//! `retort ingest`: one subcommand a source, with the options that all of them share.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use retort_ingest::{COCO_PATTERN, CaptionLayout, DEFAULT_MIN_COUNT, DEFAULT_SHARD_IMAGES, RejectLimit};

use super::SummaryFormat;

/// The sources that can be ingested.
#[derive(Debug, Subcommand)]
pub enum Ingest {
    #[command(visible_alias = "vqa-cp")]
    Vqa(IngestVqa),
    SnliVe(IngestSnliVe),
    Captions(IngestCaptions),
    Jsonl(IngestJsonl),
}

/// What every source takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every source")]
pub struct IngestOptions {
    /// Name of the split
    #[arg(long, value_name = "NAME")]
    pub split: String,
    /// The data set to make or add to
    #[arg(long, value_name = "DATASET")]
    pub out: PathBuf,
    /// Source images a shard
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SHARD_IMAGES)]
    pub shard_images: usize,
    /// The first N images only, with everything said about them
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// A share of the images, such as 0.1 or 10%, drawn by --seed; a smaller share is part of a larger one
    #[arg(long, value_name = "P", value_parser = share)]
    pub sample: Option<f64>,
    /// Seed of --sample
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Stop when more records than this are lost: a number or a percentage such as 5%
    #[arg(long, value_name = "N|P%")]
    pub max_rejects: Option<RejectLimit>,
    /// Replace the split if it is there already; the features that teachers made of it go with it
    #[arg(long)]
    pub force: bool,
    /// Print the counts as JSON
    #[arg(long, value_enum, default_value_t)]
    pub format: SummaryFormat,
}

/// Reads `0.1` or `10%`.
fn share(word: &str) -> Result<f64, String> {
    let number = match word.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|percent| percent / 100.0),
        None => word.parse(),
    };
    number.map_err(|_| format!("expected a share such as 0.1 or 10%, found {word:?}"))
}

/// VQA v1, v2 and VQA-CP: a question file, an annotation file, a folder of images
///
/// One call adds one split; run again, it continues. What cannot be used becomes a row of `rejects`, with the reason.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  retort ingest vqa --questions v2_OpenEnded_mscoco_train2014_questions.json \\
      --annotations v2_mscoco_train2014_annotations.json --images coco/ --split train --out vqa/")]
pub struct IngestVqa {
    /// Question file, plain or gzip
    #[arg(long, value_name = "FILE")]
    pub questions: PathBuf,
    /// Annotation file, plain or gzip; a split without one has no labels
    #[arg(long, value_name = "FILE")]
    pub annotations: Option<PathBuf>,
    /// Folder of the images
    #[arg(long, value_name = "FOLDER")]
    pub images: PathBuf,
    /// Path of an image in that folder: {subtype}, {id} and {id:012} are filled in
    #[arg(long, value_name = "PATTERN", default_value = COCO_PATTERN)]
    pub image_pattern: String,
    /// Answer vocabulary: a JSON list in class order, or an object from answer to class; by default the data set's
    /// own, else one built from this split
    #[arg(long, value_name = "FILE")]
    pub answers: Option<PathBuf>,
    /// Questions that an answer needs to enter a vocabulary that is built
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MIN_COUNT)]
    pub min_answer_count: usize,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub options: IngestOptions,
}

/// SNLI-VE and its corrected versions e-SNLI-VE and e-SNLI-VE-2.0
///
/// The premise is the image: the caption that SNLI has in its place is never used. The classes are entailment, neutral
/// and contradiction. What cannot be used becomes a row of `rejects`, with the reason.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  retort ingest snli-ve --pairs snli_ve_dev.jsonl --images flickr30k_images/ \\
      --train-val-list flickr30k_train_val.lst --part dev --split dev --out snli_ve/")]
pub struct IngestSnliVe {
    /// File of pairs: jsonl, the JSON of LAVIS, the CSV of e-SNLI-VE or the TSV of e-SNLI-VE-2.0, plain or gzip; given
    /// several times, the files are read end to end
    #[arg(long, value_name = "FILE", required = true)]
    pub pairs: Vec<PathBuf>,
    /// Folder of the Flickr30k images, each named ID.jpg
    #[arg(long, value_name = "FOLDER")]
    pub images: PathBuf,
    /// List of the images of the split, such as flickr30k_test.lst: pairs about others are left out
    #[arg(long, value_name = "FILE", conflicts_with = "train_val_list")]
    pub ids: Option<PathBuf>,
    /// flickr30k_train_val.lst, of which the last 1,000 are the development part
    #[arg(long, value_name = "FILE", requires = "part")]
    pub train_val_list: Option<PathBuf>,
    /// Part of --train-val-list
    #[arg(long, value_enum, requires = "train_val_list")]
    pub part: Option<TrainOrDev>,
    /// CSV of two columns, from Flickr30k ids to the file names of images that are named otherwise
    #[arg(long, value_name = "FILE")]
    pub id_map: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub options: IngestOptions,
}

/// A part of the images that are not for testing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TrainOrDev {
    /// All but the last 1,000
    Train,
    /// The last 1,000
    Dev,
}

/// Captions: Flickr8k, Flickr30k, COCO, Karpathy's splits, tables of images and captions
///
/// One sample a caption, without a label. What cannot be used becomes a row of `rejects`, with the reason.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  retort ingest captions --file Flickr8k.token.txt --images Flicker8k_Dataset/ \\
      --ids Flickr_8k.trainImages.txt --split train --out flickr8k/\n  retort ingest captions \\
      --file dataset_coco.json --part train --part restval --images coco/ --split train --out coco_captions/")]
pub struct IngestCaptions {
    /// File of captions, plain or gzip: CSV or TSV with a header, .token, Karpathy's JSON, COCO's JSON, or jsonl
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
    /// Folder of the images
    #[arg(long, value_name = "FOLDER")]
    pub images: PathBuf,
    /// How the file is laid out; by default its content tells
    #[arg(long, value_enum)]
    pub layout: Option<Layout>,
    /// Part of a Karpathy file, such as train, restval, val or test; may be given several times
    #[arg(long = "part", value_name = "PART")]
    pub parts: Vec<String>,
    /// List of the images of the split, such as Flickr_8k.trainImages.txt: captions of others are left out
    #[arg(long, value_name = "FILE")]
    pub ids: Option<PathBuf>,
    /// COCO's instances JSON: its boxes become regions of the images
    #[arg(long, value_name = "FILE")]
    pub instances: Option<PathBuf>,
    /// Column or field of the image, where it is not named as usual (image, filename, file_name, filepath, ...)
    #[arg(long, value_name = "NAME")]
    pub image_column: Option<String>,
    /// Column or field of the caption, where it is not named as usual (caption, text, title, ...)
    #[arg(long, value_name = "NAME")]
    pub caption_column: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub options: IngestOptions,
}

/// How a file of captions is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// Table with a header, divided by commas
    Csv,
    /// Table with a header, divided by tabs
    Tsv,
    /// name.jpg#0, a tab, the caption
    Token,
    /// dataset_coco.json, dataset_flickr8k.json, dataset_flickr30k.json
    Karpathy,
    /// captions_train2017.json and the like
    Coco,
    /// One JSON object a line, or a JSON list
    Jsonl,
}

impl From<Layout> for CaptionLayout {
    fn from(layout: Layout) -> Self {
        match layout {
            Layout::Csv => Self::Csv,
            Layout::Tsv => Self::Tsv,
            Layout::Token => Self::Token,
            Layout::Karpathy => Self::Karpathy,
            Layout::Coco => Self::Coco,
            Layout::Jsonl => Self::Jsonl,
        }
    }
}

/// Any records with an image and a text, told by a mapping: jsonl, a JSON list, CSV or TSV
///
/// The mapping is a short TOML file that says which field is what. Fields inside others are named by dotted paths. What
/// cannot be used becomes a row of `rejects`, with the reason.
#[derive(Debug, Args)]
#[command(after_help = "Keys of a mapping:
  task       classification: one text, a class; matching: several texts, the index of
             the right one; caption; vqa
  image      field of the image's path, or a path with fields in braces:
             images/{dir}/{meta.id:06}.png
  id         field of the sample's id, or a text with fields in braces; by default
             the number of the record
  text       field of the text; for captions it may hold a list
  texts      matching: field of a list of texts, or a list of fields
  label      field of the class, of the index or wording of the right text, or of the
             true answer
  answers    vqa: field of the human answers
  classes    list of the classes in order; by default the data set's own, else those
             of this split
  min_count  vqa: questions that an answer needs to enter a vocabulary that is built
  question_type, answer_type   vqa: fields of these
  split, split_value           field of the part, and the values that belong to this
                               split

Example: nlvr.toml, for the development part of NLVR
  task = \"classification\"
  id = \"identifier\"
  image = \"images/{directory}/dev-{identifier}-0.png\"
  text = \"sentence\"
  label = \"label\"
  classes = [\"false\", \"true\"]

  retort ingest jsonl --file dev.json --mapping nlvr.toml --images nlvr/dev/ --split dev --out nlvr/")]
pub struct IngestJsonl {
    /// File of records, plain or gzip
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
    /// The mapping
    #[arg(long, value_name = "TOML")]
    pub mapping: PathBuf,
    /// Folder of the images
    #[arg(long, value_name = "FOLDER")]
    pub images: PathBuf,
    /// Value of the mapping's field split that belongs to this split, instead of its split_value; may be given several
    /// times
    #[arg(long = "part", value_name = "VALUE")]
    pub parts: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it")]
    pub options: IngestOptions,
}
