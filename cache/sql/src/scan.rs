//! Tables that are read shard by shard, checked, when they are polled.
//!
//! ```text
//! ShardTable --scan--> prune shards by `split`, `shard` and limit --> ShardScan
//!                                                                        |
//!     partition 0: shards 0..k     partition 1: shards k..2k    ...     one after the other, when polled
//!          |                            |
//!     blocking thread: decide the filter (`filter.rs`), read the wanted columns' pages with rows that pass, check each, decode
//!          |                            |
//!     slices of a few thousand rows, fewer of vectors: vectors become floats, ids become words
//! ```
//!
//! Functions of one column of vectors are taken over from the projection above, and answered page by page
//! (`functions/stored.rs`); all others are given vectors as they are stored (`functions/as_stored.rs`).

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Fields, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};

use crate::filter::Filter;
use crate::functions::{Pushed, StoredCall};
use crate::part_reader::PartReader;
use crate::parts::{Part, Table, Virtual};
use crate::skipped::Skips;

/// A table of a data set, a teacher or a run.
#[derive(Debug)]
pub(crate) struct ShardTable(Arc<Table>);

impl ShardTable {
    /// A table with the stored columns of `schema` and virtual ones behind them.
    pub(crate) fn new(
        name: String,
        schema: &SchemaRef,
        virtuals: &[Virtual],
        parts: Vec<Part>,
        skips: Option<&Arc<Skips>>,
    ) -> Self {
        Self(Arc::new(Table::new(name, schema, virtuals, parts, skips.cloned())))
    }

    /// What it is made of.
    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.0
    }
}

#[async_trait]
impl TableProvider for ShardTable {
    fn schema(&self) -> SchemaRef {
        self.0.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let prunes = |filter: &&Expr| {
            let by_place = filter.column_refs().iter().any(|column| matches!(column.name.as_str(), "split" | "shard"));
            match by_place {
                _ if Filter::decides(&self.0, filter) => TableProviderFilterPushDown::Exact,
                true => TableProviderFilterPushDown::Inexact,
                false => TableProviderFilterPushDown::Unsupported,
            }
        };
        Ok(filters.iter().map(prunes).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = &self.0;
        let (decided, others): (Vec<&Expr>, Vec<&Expr>) =
            filters.iter().partition(|filter| Filter::decides(table, filter));
        let filter = Filter::all(table, decided.into_iter().cloned().collect(), state)?;
        let parts = filter.as_ref().map_or_else(|| (0..table.parts.len()).collect(), Filter::parts);
        let may_pass = |part: &usize| others.iter().all(|filter| table.parts[*part].may_pass(filter));
        let mut parts: Vec<usize> = parts.into_iter().filter(may_pass).collect();
        let filter = filter.filter(|filter| !filter.is_decided());
        if let Some(limit) = limit.filter(|_| filter.is_none() && !table.may_skip()) {
            // The first shards that hold enough rows are enough.
            let mut rows = 0;
            parts.retain(|part| {
                let wanted = rows < limit;
                rows += table.parts[*part].rows.unwrap_or(0);
                wanted
            });
        }
        let projection = projection.cloned().unwrap_or_else(|| (0..table.schema.fields().len()).collect());
        let columns = ScanColumns { stored: projection.into(), calls: Arc::default() };
        let partitions = partitions(&parts, state.config().target_partitions());
        Ok(Arc::new(ShardScan::new(table.clone(), columns, filter.map(Arc::new), partitions, limit)?))
    }
}

/// Parts by partition: neighbours stay together, so that a partition's rows are in shard order.
fn partitions(parts: &[usize], most: usize) -> Vec<Vec<usize>> {
    let each = parts.len().div_ceil(most.max(1)).max(1);
    if parts.is_empty() { vec![Vec::new()] } else { parts.chunks(each).map(<[usize]>::to_vec).collect() }
}

/// What a scan gives: columns of the table, and behind them what functions make of vectors.
#[derive(Debug, Clone)]
pub(crate) struct ScanColumns {
    /// By their places in the table, virtual ones too.
    pub(crate) stored: Arc<[usize]>,
    pub(crate) calls: Arc<[StoredCall]>,
}

impl ScanColumns {
    /// The columns of the table that are given, as floats or as stored.
    fn of_vectors(&self) -> Vec<usize> {
        let as_stored = self.calls.iter().filter_map(StoredCall::column_of_vectors);
        self.stored.iter().copied().chain(as_stored).collect()
    }

    fn schema(&self, table: &Table) -> Result<SchemaRef> {
        let stored = table.schema.project(&self.stored)?;
        let calls = self.calls.iter().map(|call| Arc::new(call.field(table)));
        Ok(Arc::new(Schema::new(stored.fields().iter().cloned().chain(calls).collect::<Fields>())))
    }
}

/// Reads parts of a table, several partitions at a time.
#[derive(Debug)]
struct ShardScan {
    table: Arc<Table>,
    columns: ScanColumns,
    filter: Option<Arc<Filter>>,
    partitions: Vec<Vec<usize>>,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl ShardScan {
    fn new(
        table: Arc<Table>,
        columns: ScanColumns,
        filter: Option<Arc<Filter>>,
        partitions: Vec<Vec<usize>>,
        limit: Option<usize>,
    ) -> Result<Self> {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(columns.schema(&table)?),
            Partitioning::UnknownPartitioning(partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { table, columns, filter, partitions, limit, properties: Arc::new(properties) })
    }
}

impl DisplayAs for ShardScan {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.properties.equivalence_properties().schema();
        let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let parts: usize = self.partitions.iter().map(Vec::len).sum();
        let (name, of, columns) = (&self.table.name, self.table.parts.len(), columns.join(", "));
        let filter = self.filter.as_ref().map(|filter| filter.describe());
        match format {
            DisplayFormatType::TreeRender => {
                write!(f, "table={name}\nshards={parts} of {of}\ncolumns={columns}")?;
                filter.map_or(Ok(()), |filter| write!(f, "\nfilter={filter}"))
            }
            _ => {
                let filter = filter.map_or_else(String::new, |filter| format!(", filter={filter}"));
                write!(f, "ShardScan: {name}, shards={parts} of {of}{filter}, columns=[{columns}]")
            }
        }
    }
}

impl ExecutionPlan for ShardScan {
    fn name(&self) -> &'static str {
        "ShardScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("a scan has no inputs") }
    }

    /// Takes over what functions make of vectors.
    fn try_swapping_with_projection(&self, projection: &ProjectionExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if !self.columns.calls.is_empty() {
            return Ok(None);
        }
        let Some(pushed) = Pushed::of(projection.expr(), &self.table, &self.columns.stored)? else { return Ok(None) };
        let columns = ScanColumns { stored: pushed.columns.into(), calls: pushed.calls.into() };
        let (filter, partitions) = (self.filter.clone(), self.partitions.clone());
        let scan = Self::new(self.table.clone(), columns, filter, partitions, self.limit)?;
        Ok(Some(Arc::new(ProjectionExec::try_new(pushed.exprs, Arc::new(scan))?)))
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], of: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let rows = match of.partition() {
            Some(partition) => self.table.rows(self.partitions.get(partition).into_iter().flatten().copied()),
            None => self.table.rows(self.partitions.iter().flatten().copied()),
        };
        let unknown = Statistics::new_unknown(self.properties.equivalence_properties().schema());
        let certain = self.filter.is_none() && !self.table.may_skip();
        let known = if certain { Precision::Exact } else { Precision::Inexact };
        Ok(Arc::new(unknown.with_num_rows(rows.map_or(Precision::Absent, known))))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(parts) = self.partitions.get(partition).cloned() else {
            return internal_err!("there is no partition {partition}");
        };
        let batch_size = context.session_config().batch_size().min(self.limit.unwrap_or(usize::MAX));
        let rows = self.table.batch_rows(&self.columns.of_vectors(), batch_size);
        let schema = self.schema();
        let held = MemoryConsumer::new(format!("ShardScan of {}", self.table.name)).register(context.memory_pool());
        let (table, columns, filter) = (self.table.clone(), self.columns.clone(), self.filter.clone());
        let reader = PartReader { table, columns, filter, schema: schema.clone(), rows, held: Arc::new(held) };
        let batches = stream::iter(parts)
            .then(move |part| reader.clone().read(part))
            .map_ok(move |part| stream::iter(part.batches()))
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}
