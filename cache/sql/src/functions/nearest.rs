//! `nearest('clip.images', query, k [, 'filter'])`: the rows most like a query, exactly.
//!
//! ```text
//! query --> a vector ---+
//!                       v
//! parts that can pass the filter, in partitions:
//!     page, checked --> bounds, of what is stored --> what is left as floats --> cosines --> heap of k --+--> merged
//!     ...                                                                                    heap of k --+
//! ```

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, Float64Array, RecordBatch};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DataFusionError, Result, exec_err, plan_err};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use retort_cache::{TeacherCache, VectorScan};

use super::arguments::Arguments;
use super::found::{Found, Run, Search, blocking, fold};
use super::places::{has_words, place_columns, place_fields};
use super::rank::{Best, Hit, Place};
use super::sieve::Sieve;
use super::vector_table::VectorTable;
use super::vectors::Direction;
use crate::filter::Filter;

/// Turns a text, or the path of an image, into a vector of a teacher: what `nearest` asks for such a query.
///
/// This crate has none, as it runs no teacher; [`crate::Options::encoder`] takes one.
pub trait QueryEncoder: fmt::Debug + Send + Sync {
    /// The vector of a query in the space of a table of a teacher, as wide as the table's vectors. It is compared by
    /// cosine: its length does not matter. Called on a thread that may block.
    ///
    /// # Errors
    /// Why there is none, in words for whoever asked; best an [`crate::Error::NotEncoded`], or [`crate::Error::Interrupted`].
    fn encode(
        &self,
        teacher: &TeacherCache,
        table: &str,
        query: &str,
    ) -> Result<Vec<f32>, Box<dyn StdError + Send + Sync>>;
}

const USAGE: &str = "nearest('table', query, k [, 'filter'])";
/// Name of the column of scores.
pub(super) const SCORE: &str = "score";
/// What is asked for where a number of rows is wanted.
pub(super) const COUNT: &str = "a whole number of at least 1";

/// The table function.
#[derive(Debug)]
pub(super) struct NearestFunction {
    pub(super) encoder: Option<Arc<dyn QueryEncoder>>,
}

impl TableFunctionImpl for NearestFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let arguments = Arguments::read(USAGE, 3..=4, &args)?;
        let vectors = arguments.vectors(0)?;
        let query = self.query(&arguments, &vectors)?;
        let wanted = arguments.number(2, 1..=u64::MAX, COUNT)?;
        let filter = match arguments.value(3) {
            Some(_) => {
                let condition = arguments.word(3, "a condition in quotes, such as 'split = ''val'''")?;
                let owner = arguments.owner(&vectors.table);
                Some(Filter::of(&vectors.table, owner.as_ref(), condition, arguments.state())?)
            }
            None => None,
        };
        Ok(Found::by(Nearest { vectors, query, wanted, filter }))
    }
}

impl NearestFunction {
    fn query(&self, arguments: &Arguments, vectors: &VectorTable) -> Result<Query> {
        if let Some(floats) = arguments.floats(1)? {
            fits(vectors, &floats)?;
            return Ok(Query::Vector(floats));
        }
        let text = arguments.word(1, "a vector such as [0.5, 1.0], an id of 32 hex digits, or a text")?;
        if has_words(&vectors.table) {
            return Ok(Query::Key(text.to_owned()));
        }
        if text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Ok(Query::Key(text.to_lowercase()));
        }
        match &self.encoder {
            Some(encoder) => Ok(Query::Text(text.to_owned(), encoder.clone())),
            None => plan_err!(
                "nearest cannot make a vector of {text:?}: no encoder of texts and images was given \
                 (retort_sql::Options::encoder), which takes a build with the feature torch; give a vector such as [0.5, 1.0], or the id (32 hex digits) of a row of {}",
                vectors.name()
            ),
        }
    }
}

/// Whether a query can be compared to the vectors of a table.
fn fits(vectors: &VectorTable, floats: &[f32]) -> Result<()> {
    if floats.len() != vectors.width {
        return plan_err!(
            "nearest takes a query as wide as the vectors of {}, {}: it is given one of width {}",
            vectors.name(),
            vectors.width,
            floats.len()
        );
    }
    if Direction::of(floats).is_none() {
        return plan_err!("nearest is given a query of zeros, which has no direction");
    }
    Ok(())
}

/// What is looked for.
#[derive(Debug, Clone)]
enum Query {
    Vector(Vec<f32>),
    /// The vector of the first row with this id or word.
    Key(String),
    Text(String, Arc<dyn QueryEncoder>),
}

#[derive(Debug)]
struct Nearest {
    vectors: VectorTable,
    query: Query,
    wanted: usize,
    filter: Option<Filter>,
}

impl Nearest {
    /// The query as a vector.
    async fn floats(&self, partitions: usize) -> Result<Vec<f32>> {
        let floats = match &self.query {
            Query::Vector(floats) => floats.clone(),
            Query::Key(key) => self.vectors.vector(self.vectors.find(key, partitions).await?).await?,
            Query::Text(text, encoder) => {
                let (text, encoder, vectors) = (text.clone(), encoder.clone(), self.vectors.clone());
                blocking(move || {
                    let Some((teacher, table)) = vectors.table.teacher() else {
                        return exec_err!(
                            "{} belongs to no teacher, which could make a vector of {text:?}",
                            vectors.name()
                        );
                    };
                    encoder.encode(teacher, table, &text).map_err(DataFusionError::External)
                })
                .await?
            }
        };
        fits(&self.vectors, &floats)?;
        Ok(floats)
    }

    /// Offers the rows of a part to the best.
    fn search(&self, query: &[f32], part: usize, scan: &mut Option<VectorScan>, best: &mut Best) -> Result<()> {
        let Some(query) = Direction::of(query) else { return Ok(()) };
        let (mut sieve, mut floats) = (Sieve::of(query.floats()), Vec::new());
        let passing = self.filter.as_ref().map(|filter| filter.passing(part)).transpose()?;
        let passes = |row: usize| {
            let known = |passing: &BooleanArray| row < passing.len() && passing.is_valid(row) && passing.value(row);
            passing.as_ref().is_none_or(known)
        };
        self.vectors.scan(part, scan, passes, |row, vector| {
            if best.least().is_some_and(|least| sieve.at_most(vector) < least) {
                return;
            }
            if let Some(score) = query.cosine(vector.decode(&mut floats)) {
                best.offer(Hit { score, place: Place::new(part, row) });
            }
        })
    }

    async fn found(self: Arc<Self>, run: Run) -> Result<RecordBatch> {
        let query: Arc<[f32]> = self.floats(run.partitions).await?.into();
        let parts = match &self.filter {
            Some(filter) => filter.parts(),
            None => self.vectors.parts(),
        };
        let (wanted, search) = (self.wanted, self.clone());
        let bests = fold(
            parts,
            run.partitions,
            || (None, Best::of(wanted), run.holding()),
            move |(scan, best, held), part| {
                search.search(&query, part, scan, best)?;
                held.try_resize(best.bytes())
            },
        );
        let best = bests.await?.into_iter().map(|(_, best, _)| best).reduce(Best::merge);
        let hits = best.map(Best::ordered).unwrap_or_default();
        blocking(move || scored(&self.vectors, &hits)).await
    }
}

/// The columns of hits: where they are, and their score.
pub(super) fn scored_schema() -> SchemaRef {
    let score = Field::new(SCORE, DataType::Float64, false);
    Arc::new(Schema::new([place_fields(""), vec![score]].concat()))
}

/// Hits as [`scored_schema`] has them, in their order.
pub(super) fn scored(vectors: &VectorTable, hits: &[Hit]) -> Result<RecordBatch> {
    let places: Vec<Place> = hits.iter().map(|hit| hit.place).collect();
    let mut columns = place_columns(&vectors.table, &places)?;
    columns.push(Arc::new(Float64Array::from_iter_values(hits.iter().map(|hit| hit.score))));
    Ok(RecordBatch::try_new(scored_schema(), columns)?)
}

impl Search for Nearest {
    fn describe(&self) -> String {
        let of = self.vectors.table.parts.len();
        let (filter, parts) = match &self.filter {
            Some(filter) => (format!(", filter={}", filter.describe()), filter.parts().len()),
            None => (String::new(), of),
        };
        format!("nearest {} of {}, shards={parts} of {of}{filter}", self.wanted, self.vectors.name())
    }

    fn schema(&self) -> SchemaRef {
        scored_schema()
    }

    fn order(&self) -> Option<(&'static str, SortOptions)> {
        Some((SCORE, SortOptions { descending: true, nulls_first: true }))
    }

    fn most_rows(&self) -> Option<usize> {
        Some(self.vectors.at_most(self.wanted))
    }

    fn start(self: Arc<Self>, run: Run) -> BoxStream<'static, Result<RecordBatch>> {
        stream::once(self.found(run)).boxed()
    }
}
