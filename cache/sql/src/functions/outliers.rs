//! `outliers('clip.images', k)`: the rows least like the rest, by their cosine to the mean direction.
//!
//! Two passes: the first adds up the rows, each at length 1, so that long vectors do not decide what is usual; the
//! second scores each row. A distance to the nearest neighbours would also find what is rare in more than one way, but
//! costs rows times rows.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, exec_err};
use futures::StreamExt;
use futures::stream::{self, BoxStream};

use retort_cache::VectorScan;

use super::arguments::Arguments;
use super::found::{Found, Run, Search, blocking, fold};
use super::nearest::{COUNT, SCORE, scored, scored_schema};
use super::rank::{Best, Hit, Place};
use super::vector_table::VectorTable;
use super::vectors::{Direction, sum};

/// A mean direction shorter than this, of vectors of length 1, is what rounding left of vectors that cancel.
const SHORTEST: f64 = 1e-6;

/// The table function.
#[derive(Debug)]
pub(super) struct OutliersFunction;

impl TableFunctionImpl for OutliersFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let arguments = Arguments::read("outliers('table', k)", 2..=2, &args)?;
        let (vectors, wanted) = (arguments.vectors(0)?, arguments.number(1, 1..=u64::MAX, COUNT)?);
        Ok(Found::by(Outliers { vectors, wanted }))
    }
}

#[derive(Debug)]
struct Outliers {
    vectors: VectorTable,
    wanted: usize,
}

impl Outliers {
    /// The sum of the directions of a part's rows, and how many rows have one.
    fn directions(&self, part: usize, scan: &mut Option<VectorScan>) -> Result<(Vec<f64>, u64)> {
        let (mut total, mut count, mut floats) = (vec![0.0; self.vectors.width], 0, Vec::new());
        self.vectors.scan(
            part,
            scan,
            |_| true,
            |_, vector| {
                let vector = vector.decode(&mut floats);
                let norm = sum(vector, vector, |x, y| x * y).sqrt();
                if norm > 0.0 && norm.is_finite() {
                    count += 1;
                    total.iter_mut().zip(vector).for_each(|(total, x)| *total += f64::from(*x) / norm);
                }
            },
        )?;
        Ok((total, count))
    }

    /// The mean direction, at length 1.
    async fn mean(self: Arc<Self>, partitions: usize) -> Result<Vec<f32>> {
        let (parts, this) = (self.vectors.parts(), self.clone());
        let sums = fold(
            parts,
            partitions,
            || (None, Vec::new()),
            move |(scan, sums), part| {
                sums.push(this.directions(part, scan)?);
                Ok(())
            },
        );
        // Added up part by part, so that rounding is the same at any number of partitions.
        let (mut total, mut count) = (vec![0.0; self.vectors.width], 0);
        for (part, rows) in sums.await?.into_iter().flat_map(|(_, sums)| sums) {
            count += rows;
            total.iter_mut().zip(part).for_each(|(total, x)| *total += x);
        }
        let length = total.iter().map(|x| x * x).sum::<f64>().sqrt();
        if count > 0 && length / (count as f64) < SHORTEST {
            return exec_err!("the vectors of {} cancel: they have no mean direction", self.vectors.name());
        }
        Ok(total.into_iter().map(|x| (x / length) as f32).collect())
    }

    async fn found(self: Arc<Self>, run: Run) -> Result<RecordBatch> {
        let mean: Arc<[f32]> = self.clone().mean(run.partitions).await?.into();
        let (wanted, this) = (self.wanted, self.clone());
        let bests = fold(
            self.vectors.parts(),
            run.partitions,
            || (None, Best::of(wanted), run.holding()),
            move |(scan, best, held), part| {
                let Some(mean) = Direction::of(&mean) else { return Ok(()) };
                let mut floats = Vec::new();
                this.vectors.scan(
                    part,
                    scan,
                    |_| true,
                    |row, vector| {
                        // The least like the mean is the best outlier.
                        if let Some(cosine) = mean.cosine(vector.decode(&mut floats)) {
                            best.offer(Hit { score: -cosine, place: Place::new(part, row) });
                        }
                    },
                )?;
                held.try_resize(best.bytes())
            },
        );
        let best = bests.await?.into_iter().map(|(_, best, _)| best).reduce(Best::merge);
        let mut hits = best.map(Best::ordered).unwrap_or_default();
        hits.iter_mut().for_each(|hit| hit.score = -hit.score);
        blocking(move || scored(&self.vectors, &hits)).await
    }
}

impl Search for Outliers {
    fn describe(&self) -> String {
        format!("{} outliers of {}", self.wanted, self.vectors.name())
    }

    fn schema(&self) -> SchemaRef {
        scored_schema()
    }

    fn order(&self) -> Option<(&'static str, SortOptions)> {
        Some((SCORE, SortOptions { descending: false, nulls_first: false }))
    }

    fn most_rows(&self) -> Option<usize> {
        Some(self.vectors.at_most(self.wanted))
    }

    fn start(self: Arc<Self>, run: Run) -> BoxStream<'static, Result<RecordBatch>> {
        stream::once(self.found(run)).boxed()
    }
}
