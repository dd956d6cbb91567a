//! What a table function answers with: a table that is searched for when it is polled.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
};
use futures::StreamExt;
use futures::future::try_join_all;
use futures::stream::BoxStream;

/// A search that was understood and can be started any number of times.
pub(super) trait Search: fmt::Debug + Send + Sync + 'static {
    /// What `EXPLAIN` says of it.
    fn describe(&self) -> String;

    /// Its columns.
    fn schema(&self) -> SchemaRef;

    /// The column that its rows are ordered by, and how.
    fn order(&self) -> Option<(&'static str, SortOptions)> {
        None
    }

    /// The most rows that it can find, where that is known.
    fn most_rows(&self) -> Option<usize> {
        None
    }

    /// Searches.
    fn start(self: Arc<Self>, run: Run) -> BoxStream<'static, Result<RecordBatch>>;
}

/// What a search runs with.
#[derive(Debug)]
pub(super) struct Run {
    /// Partitions that are searched at a time.
    pub(super) partitions: usize,
    /// Rows of a batch, about.
    pub(super) batch_rows: usize,
    memory: MemoryReservation,
}

impl Run {
    /// Nothing yet of the memory that the query may take. What is kept is counted with it as it grows, and refused where that
    /// is too much, as nothing of a search can be put on disk.
    pub(super) fn holding(&self) -> MemoryReservation {
        self.memory.new_empty()
    }
}

/// The answer to a search, as a table.
#[derive(Debug)]
pub(super) struct Found(Arc<dyn Search>);

impl Found {
    pub(super) fn by(search: impl Search) -> Arc<dyn TableProvider> {
        Arc::new(Self(Arc::new(search)))
    }
}

#[async_trait]
impl TableProvider for Found {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let projection = projection.cloned().unwrap_or_else(|| (0..self.schema().fields().len()).collect());
        Ok(Arc::new(SearchScan::new(self.0.clone(), projection, state.config().target_partitions())?))
    }
}

/// Runs a search. The partitions are within it, as its answer is one: what they found is put together.
#[derive(Debug)]
struct SearchScan {
    search: Arc<dyn Search>,
    projection: Vec<usize>,
    partitions: usize,
    properties: Arc<PlanProperties>,
}

impl SearchScan {
    fn new(search: Arc<dyn Search>, projection: Vec<usize>, partitions: usize) -> Result<Self> {
        let schema = Arc::new(search.schema().project(&projection)?);
        let order = search.order().and_then(|(name, options)| {
            let (at, _) = schema.column_with_name(name)?;
            Some([PhysicalSortExpr { expr: Arc::new(Column::new(name, at)), options }])
        });
        let properties = PlanProperties::new(
            EquivalenceProperties::new_with_orderings(schema, order),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { search, projection, partitions, properties: Arc::new(properties) })
    }
}

impl DisplayAs for SearchScan {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match format {
            DisplayFormatType::TreeRender => write!(f, "search={}", self.search.describe()),
            _ => write!(f, "SearchScan: {}", self.search.describe()),
        }
    }
}

impl ExecutionPlan for SearchScan {
    fn name(&self) -> &'static str {
        "SearchScan"
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
        if children.is_empty() { Ok(self) } else { internal_err!("a search has no inputs") }
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let unknown = Statistics::new_unknown(&self.schema());
        let rows = self.search.most_rows().map_or(Precision::Absent, Precision::Inexact);
        Ok(Arc::new(unknown.with_num_rows(rows)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition > 0 {
            return internal_err!("there is no partition {partition}");
        }
        let projection = self.projection.clone();
        let memory = MemoryConsumer::new(self.search.describe()).register(context.memory_pool());
        let batch_rows = context.session_config().batch_size();
        let found = self.search.clone().start(Run { partitions: self.partitions, batch_rows, memory });
        let found = found.map(move |batch| Ok(batch?.project(&projection)?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), found)))
    }
}

/// Does what blocks, reading above all, on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    SpawnedTask::spawn_blocking(work).await.map_err(|error| DataFusionError::External(Box::new(error)))?
}

/// Steps through parts in partitions of neighbours, each on a thread of its own and with a state of its own: one a
/// partition comes back, in order. A search that is no longer wanted ends behind the parts it is at.
pub(super) async fn fold<S, Step>(
    parts: Vec<usize>,
    partitions: usize,
    start: impl Fn() -> S,
    step: Step,
) -> Result<Vec<S>>
where
    S: Send + 'static,
    Step: Fn(&mut S, usize) -> Result<()> + Clone + Send + 'static,
{
    let wanted = Wanted(Arc::new(AtomicBool::new(true)));
    let each = parts.len().div_ceil(partitions.max(1)).max(1);
    let running = parts.chunks(each).map(|parts| {
        let (mut state, step, parts, wanted) = (start(), step.clone(), parts.to_vec(), wanted.0.clone());
        blocking(move || {
            for part in parts {
                if !wanted.load(Ordering::Relaxed) {
                    break;
                }
                step(&mut state, part)?;
            }
            Ok(state)
        })
    });
    try_join_all(running).await
}

/// Tells threads, which nothing stops from outside, that whoever waited for them does not any more.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
