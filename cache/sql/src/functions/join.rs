//! `nearest_join('clip.images', 'clip.texts', k)`: for each row of one table, the rows of another most like it, exactly.
//!
//! A block of the first table is held as floats while the other one is read past it, so that the other is read once a
//! block and not once a row.

use std::sync::Arc;

use arrow::array::{Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, plan_err};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

use super::arguments::Arguments;
use super::found::{Found, Run, Search, blocking, fold};
use super::nearest::{COUNT, SCORE};
use super::places::{place_columns, place_fields};
use super::rank::{Best, Hit, Place};
use super::vector_table::VectorTable;
use super::vectors::Direction;

/// Floats of a block: 64 MiB, some 32,000 rows of 512.
const BLOCK_FLOATS: usize = 1 << 24;
/// Hits that are kept for the rows of a block, in each partition.
const BLOCK_HITS: usize = 1 << 20;

/// The table function.
#[derive(Debug)]
pub(super) struct NearestJoinFunction;

impl TableFunctionImpl for NearestJoinFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let arguments = Arguments::read("nearest_join('table', 'other table', k)", 3..=3, &args)?;
        let (vectors, others) = (arguments.vectors(0)?, arguments.vectors(1)?);
        let wanted = arguments.number(2, 1..=u64::MAX, COUNT)?;
        if vectors.width != others.width {
            return plan_err!(
                "nearest_join takes vectors of equal width, those of {} have {}, those of {} have {}",
                vectors.name(),
                vectors.width,
                others.name(),
                others.width
            );
        }
        Ok(Found::by(NearestJoin { vectors, others, wanted }))
    }
}

#[derive(Debug)]
struct NearestJoin {
    vectors: VectorTable,
    others: VectorTable,
    wanted: usize,
}

/// Rows of the first table, in memory.
#[derive(Debug, Default)]
struct Block {
    places: Vec<Place>,
    /// `[places, width]`
    floats: Vec<f32>,
}

impl NearestJoin {
    /// Neighbouring parts of the first table that fit into memory together, at least one each.
    fn blocks(&self) -> Vec<Vec<usize>> {
        let most = (BLOCK_FLOATS / self.vectors.width.max(1)).min(BLOCK_HITS / self.wanted.min(BLOCK_HITS)).max(1);
        let (mut blocks, mut rows) = (Vec::<Vec<usize>>::new(), 0);
        for part in self.vectors.parts() {
            rows += self.vectors.rows(part);
            match blocks.last_mut() {
                Some(block) if rows <= most => block.push(part),
                _ => {
                    rows = self.vectors.rows(part);
                    blocks.push(vec![part]);
                }
            }
        }
        blocks
    }

    async fn read(&self, parts: &[usize], run: &Run) -> Result<Block> {
        let vectors = self.vectors.clone();
        let blocks = fold(parts.to_vec(), run.partitions, Block::default, move |block, part| {
            let (read, mut floats) = (vectors.read(part)?, Vec::new());
            for rows in read.batches() {
                block.floats.extend_from_slice(read.decode(rows.clone(), &mut floats));
                block.places.extend(rows.map(|row| Place::new(part, row)));
            }
            Ok(())
        });
        let mut whole = Block::default();
        for block in blocks.await? {
            whole.places.extend(block.places);
            whole.floats.extend(block.floats);
        }
        Ok(whole)
    }

    /// Offers the rows of a part of the other table to each row of a block.
    fn search(&self, block: &Block, part: usize, floats: &mut Vec<f32>, bests: &mut [Best]) -> Result<()> {
        let (width, read) = (self.others.width.max(1), self.others.read(part)?);
        // Of one column, each row would be its own nearest.
        let same = self.vectors.is(&self.others);
        let mine = directions(&block.floats, width);
        for rows in read.batches() {
            let others = directions(read.decode(rows.clone(), floats), width);
            for ((mine, place), best) in mine.iter().zip(&block.places).zip(bests.iter_mut()) {
                let Some(mine) = mine else { continue };
                for (other, row) in others.iter().zip(rows.clone()) {
                    let other_place = Place::new(part, row);
                    let score = other.as_ref().and_then(|other| mine.cosine_to(other));
                    if let Some(score) = score.filter(|_| !same || *place != other_place) {
                        best.offer(Hit { score, place: other_place });
                    }
                }
            }
        }
        Ok(())
    }

    async fn found(self: Arc<Self>, parts: Vec<usize>, run: Arc<Run>) -> Result<RecordBatch> {
        // Once by partition, and once put together.
        let rows = parts.iter().map(|part| self.vectors.rows(*part)).sum::<usize>();
        let held = run.holding();
        held.try_resize(2 * rows * self.vectors.width * size_of::<f32>())?;
        let block = Arc::new(self.read(&parts, &run).await?);
        held.try_resize(block.floats.len() * size_of::<f32>())?;
        let (this, searched) = (self.clone(), block.clone());
        let bests = fold(
            self.others.parts(),
            run.partitions,
            || (Vec::new(), vec![Best::of(self.wanted); block.places.len()], run.holding()),
            move |(floats, bests, held), part| {
                this.search(&searched, part, floats, bests)?;
                held.try_resize(bests.iter().map(Best::bytes).sum())
            },
        );
        let merge = |all: Vec<Best>, more: Vec<Best>| all.into_iter().zip(more).map(|(a, b)| a.merge(b)).collect();
        let bests = bests.await?.into_iter().map(|(_, bests, _)| bests).reduce(merge).unwrap_or_default();
        blocking(move || self.answer(&block.places, bests)).await
    }

    fn answer(&self, places: &[Place], bests: Vec<Best>) -> Result<RecordBatch> {
        let pairs =
            places.iter().zip(bests).flat_map(|(place, best)| best.ordered().into_iter().map(|hit| (*place, hit)));
        let (places, hits): (Vec<Place>, Vec<Hit>) = pairs.unzip();
        let others: Vec<Place> = hits.iter().map(|hit| hit.place).collect();
        let mut columns = place_columns(&self.vectors.table, &places)?;
        columns.extend(place_columns(&self.others.table, &others)?);
        columns.push(Arc::new(Float64Array::from_iter_values(hits.iter().map(|hit| hit.score))));
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }
}

/// Vectors with their lengths, which are as many sums as rows and not as pairs.
fn directions(floats: &[f32], width: usize) -> Vec<Option<Direction<'_>>> {
    floats.chunks_exact(width).map(Direction::of).collect()
}

/// A batch in pieces of so many rows.
fn pieces(batch: RecordBatch, rows: usize) -> impl Iterator<Item = Result<RecordBatch>> {
    let (count, rows) = (batch.num_rows(), rows.max(1));
    (0..count).step_by(rows).map(move |from| Ok(batch.slice(from, rows.min(count - from))))
}

impl Search for NearestJoin {
    fn describe(&self) -> String {
        let (mine, others) = (self.vectors.name(), self.others.name());
        format!("nearest {} of {others} to each of {mine}, blocks={}", self.wanted, self.blocks().len())
    }

    fn schema(&self) -> SchemaRef {
        let score = Field::new(SCORE, DataType::Float64, false);
        Arc::new(Schema::new([place_fields(""), place_fields("other_"), vec![score]].concat()))
    }

    fn start(self: Arc<Self>, run: Run) -> BoxStream<'static, Result<RecordBatch>> {
        let (blocks, batch_rows, run) = (stream::iter(self.blocks()), run.batch_rows, Arc::new(run));
        let found = blocks.then(move |parts| self.clone().found(parts, run.clone()));
        found.map_ok(move |batch| stream::iter(pieces(batch, batch_rows))).try_flatten().boxed()
    }
}
