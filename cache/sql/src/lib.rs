//! SQL over data sets, caches and runs.
//!
//! A folder is opened as a DataFusion context, with a table for everything in it:
//!
//! ```text
//! DATASET/                                            RUN/
//!   images  texts  samples  rejects    the data         metrics      one row a logged value
//!   shards  teachers                   the manifests    predictions  of every split, with `split`
//!   cache/clip@1a2b3c4d/                                selection    words that token selection saw
//!     clip.images  clip.texts          features         drawn        samples trained on, or held out
//!     clip.tokens  clip.words  clip.patches             confidence   of the teachers, by sample
//! ```
//!
//! A folder of a protocol has `runs`, one row a run, condition and split, `predictions`, one row a prediction,
//! and `gains`, one row a condition, split and arm.
//!
//! * **Rows know their place.** Every table of a data set and of its teachers has `split`, `shard` and `row` (the row
//!   in the shard). `samples.image` is the row of its image and `samples.texts` are the rows of its texts, in the same
//!   shard; features have the row of what they belong to:
//!
//!   ```sql
//!   SELECT s.sample_id, i.source, cosine_similarity(vi.embedding, vt.embedding) AS fit
//!   FROM samples s
//!   JOIN images i       ON i.shard  = s.shard AND i.row  = s.image
//!   JOIN clip.images vi ON vi.shard = s.shard AND vi.row = s.image
//!   JOIN clip.texts vt  ON vt.shard = s.shard AND vt.row = s.texts[1]
//!   WHERE s.split = 'train' ORDER BY fit LIMIT 10
//!   ```
//!
//! * **Vectors are vectors.** However they are stored, SQL sees `FixedSizeList<Float32>`, ids as 32 hex digits.
//!   `cosine_similarity(a, b)`, `dot(a, b)`, `l2_distance(a, b)`, `norm(a)`, `normalize(a)` and the aggregates
//!   `vec_mean(v)` and `vec_spread(v)` take them, and literals such as `[1.0, 0.0]`; `hamming(a, b)` takes hashes.
//! * **Searches are tables.** `nearest('clip.images', query, k [, 'filter'])`, `nearest_join('clip.images', 'clip.texts', k)`,
//!   `outliers('clip.images', k)` and `near_duplicates('images', max_hamming)` are exact, and their rows have `split`,
//!   `shard`, `row` and `id`; `selected_words('sample_id')` has a row a word. A text as the query of `nearest` needs a [`QueryEncoder`] in [`Options`].
//! * **Nothing is believed unchecked.** Shards are read through `retort_cache`: wanted columns only, the checksum of
//!   each page compared before a value of it is used. Shards that a filter on `split` or `shard`, or a `LIMIT`,
//!   rules out are not read, and counts come from the manifests.
//! * **Errors point into the query**: an [`Error`]'s message ends with the line it is about, where that is known.
//! * **[`Options`]** bound memory, leave damaged shards out, let statements read and write other files, and draw images.
//! * **Teachers by name.** A teacher's schema has its name, `clip`. It can also be written with its fingerprint,
//!   `"clip@1a2b3c4d"`; where two fingerprints share a name, only this is possible, as the plain name would be a guess.
//! * **`teachers`** has a row for each table (`kind`) of each teacher: coverage is rows there by rows expected; for
//!   words, whose number is not known beforehand, shards there by shards expected.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let context = retort_sql::open("data/vqa".as_ref())?;
//! let frame = context.sql("SELECT split, count(*) FROM samples GROUP BY split").await?;
//! let batches = frame.collect().await?;
//! // Or as the command line does it: queries only, the answer written as it comes.
//! retort_sql::run(&context, "SHOW TABLES", retort_sql::Format::Csv, &mut std::io::stdout()).await?;
//! # Ok(())
//! # }
//! ```

mod catalog;
mod check;
mod columns;
mod error;
mod external;
mod filter;
mod functions;
mod names;
mod options;
mod output;
mod part_reader;
mod parts;
mod point;
mod rules;
mod run;
mod scan;
mod skipped;
mod tables;
mod thumbnails;

use std::path::Path;
use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::SessionConfig;
use retort_cache::Dataset;
use retort_schemas::manifest::DATASET_FILE;

pub use datafusion::execution::context::SessionContext;
pub use error::{Error, Result};
pub use functions::QueryEncoder;
pub use names::{Names, TableNames, teachers};
pub use options::{Options, remove_spilled};
pub use output::Format;
pub use run::{run, run_blocking};
pub use skipped::{Skipped, take_skipped};
pub use thumbnails::Thumbnails;

/// Opens a data set, a run or the results of a protocol, with its tables as described [above](crate) and the functions.
///
/// Only manifests and a few file footers are read; a shard is read when a query polls it.
///
/// # Errors
/// [`Error::NoFolder`] if there is none, [`Error::NothingToAsk`] if it is none of them; [`Error::Data`] if a manifest is damaged, or of another version, or a
/// teacher belongs to another data set.
pub fn open(folder: &Path) -> Result<SessionContext> {
    open_with(folder, &Options::default())
}

/// As [`open`], with options.
///
/// # Errors
/// As [`open`]; [`Error::Data`] if the folder for spilling cannot be made.
pub fn open_with(folder: &Path, options: &Options) -> Result<SessionContext> {
    let nothing = || Error::NothingToAsk { path: folder.to_owned() };
    let opened = options::Opened::with(folder, options);
    let skips = opened.skips.as_ref();
    let (schema, mut schemas) = if folder.join(DATASET_FILE).is_file() {
        (tables::DATASET_SCHEMA, tables::of_dataset(Dataset::open(folder)?, skips)?)
    } else if let Some(schemas) = tables::of_protocol(folder, skips) {
        (tables::PROTOCOL_SCHEMA, schemas)
    } else if folder.is_dir() {
        (tables::RUN_SCHEMA, tables::of_run(folder, skips)?.ok_or_else(nothing)?)
    } else if folder.exists() {
        return Err(nothing());
    } else {
        return Err(Error::NoFolder { path: folder.to_owned() });
    };
    let mut config = SessionConfig::new()
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(catalog::CATALOG, schema)
        .with_information_schema(true);
    config.options_mut().sql_parser.collect_spans = true;
    let config = options::tuned(config, options).with_extension(opened);
    let state = SessionStateBuilder::new().with_config(config).with_runtime_env(options::runtime(options)?);
    let context = SessionContext::new_with_state(rules::with_rules(state.with_default_features()).build());
    if options.allow_external {
        let files = Arc::new(external::Files::default());
        files.allow(&context);
        schemas.open_files(files);
    }
    context.register_catalog(catalog::CATALOG, Arc::new(schemas));
    functions::register(&context, options.encoder.clone());
    Ok(context)
}
