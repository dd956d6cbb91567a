//! `retort ingest jsonl`.

use std::path::PathBuf;

use clap::Args;

use super::IngestOptions;

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
