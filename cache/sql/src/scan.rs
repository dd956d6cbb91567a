//! Tables that are read shard by shard, checked, when they are polled.
//!
//! ```text
//! ShardTable --scan--> prune shards by `split`, `shard` and limit --> ShardScan
//!                                                                        |
//!     partition 0: shards 0..k     partition 1: shards k..2k    ...     one after the other, when polled
//!          |                            |
//!     blocking thread: read the pages of the wanted columns, check each, decode
//!          |                            |
//!     slices of a few thousand rows: vectors become floats, ids become words
//! ```

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, ListArray, RecordBatch, RecordBatchOptions, StringArray, UInt32Array, new_empty_array, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use retort_cache::{Columns, Dataset, TeacherCache, read_plain_table};
use retort_schemas::SchemaVersion;
use retort_schemas::manifest::Shard;

use crate::columns::{shown_by_name, shown_field};

/// Rows a batch where a row holds many vectors: decoded, a text's tokens are a thousand times larger than a label.
const ROWS_OF_TOKENS: usize = 512;

/// Columns that are not in the file: they follow from where a row lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Virtual {
    Split,
    Shard,
    Row,
}

impl Virtual {
    fn field(self) -> Field {
        match self {
            Self::Split => Field::new("split", DataType::Utf8, false),
            Self::Shard => Field::new("shard", DataType::Utf8, false),
            Self::Row => Field::new("row", DataType::UInt32, false),
        }
    }
}

/// Where the rows of one part of a table come from.
#[derive(Debug)]
pub(crate) enum Source {
    Dataset { dataset: Arc<Dataset>, shard: String, table: &'static str },
    Teacher { dataset: Arc<Dataset>, teacher: Arc<TeacherCache>, shard: String, table: &'static str },
    Run { path: PathBuf, version: SchemaVersion },
}

impl Source {
    fn read(&self, columns: &[&str]) -> retort_cache::Result<RecordBatch> {
        match self {
            Self::Dataset { dataset, shard, table } => {
                dataset.read(&found(dataset, shard)?, table, Columns::Named(columns))
            }
            Self::Teacher { dataset, teacher, shard, table } => {
                teacher.read_columns(dataset, &found(dataset, shard)?, table, Columns::Named(columns))
            }
            Self::Run { path, version } => read_plain_table(path, *version),
        }
    }
}

/// A shard that the manifest named when the table was made.
fn found(dataset: &Dataset, name: &str) -> retort_cache::Result<Shard> {
    dataset.shard(name)?.ok_or_else(|| retort_cache::Error::Broken {
        path: dataset.folder().to_owned(),
        problem: format!("it has no shard {name} any more"),
    })
}

/// The schema in a file's footer.
///
/// # Errors
/// [`retort_cache::Error::Broken`] if there is no footer.
pub(crate) fn footer_schema(path: &Path) -> retort_cache::Result<SchemaRef> {
    let broken = |problem| retort_cache::Error::Broken { path: path.to_owned(), problem };
    let file = File::open(path).map_err(|error| broken(format!("it cannot be opened: {error}")))?;
    let footer = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new());
    footer.map(|footer| footer.schema().clone()).map_err(|error| broken(error.to_string()))
}

/// One file of a table.
#[derive(Debug)]
pub(crate) struct Part {
    /// The split that all its rows belong to, if it is one.
    pub(crate) split: Option<String>,
    /// The shard that all its rows belong to, if it is one.
    pub(crate) shard: Option<String>,
    /// Rows, where a manifest tells.
    pub(crate) rows: Option<usize>,
    pub(crate) source: Source,
}

impl Part {
    /// Whether a row of this part can pass a filter. Only what the manifests decide is looked at.
    fn may_pass(&self, filter: &Expr) -> bool {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                self.may_pass(left) && self.may_pass(right)
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                self.may_pass(left) || self.may_pass(right)
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
                self.may_equal(left, right) && self.may_equal(right, left)
            }
            Expr::InList(list) if !list.negated => list.list.iter().any(|value| self.may_equal(&list.expr, value)),
            _ => true,
        }
    }

    fn may_equal(&self, column: &Expr, value: &Expr) -> bool {
        let (Expr::Column(column), Expr::Literal(value, _)) = (column, value) else { return true };
        let mine = match column.name.as_str() {
            "split" => &self.split,
            "shard" => &self.shard,
            _ => return true,
        };
        match (mine, value.try_as_str()) {
            (Some(mine), Some(Some(value))) => mine == value,
            _ => true,
        }
    }
}

/// What a table is made of, shared with its running scans.
#[derive(Debug)]
struct Table {
    name: String,
    schema: SchemaRef,
    /// So many columns are in the files; virtual ones follow.
    stored: usize,
    virtuals: Vec<Virtual>,
    parts: Vec<Part>,
}

impl Table {
    /// Rows a batch, at most `wanted`.
    fn batch_rows(&self, wanted: usize) -> usize {
        let many = |field: &Arc<Field>| match field.data_type() {
            DataType::List(item) => matches!(item.data_type(), DataType::FixedSizeList(..)),
            _ => false,
        };
        if self.schema.fields().iter().any(many) { wanted.clamp(1, ROWS_OF_TOKENS) } else { wanted.max(1) }
    }

    /// Rows of some parts, where the manifests tell.
    fn rows(&self, parts: impl IntoIterator<Item = usize>) -> Option<usize> {
        parts.into_iter().map(|part| self.parts[part].rows).sum()
    }
}

/// A table of a data set, a teacher or a run.
#[derive(Debug)]
pub(crate) struct ShardTable(Arc<Table>);

impl ShardTable {
    /// A table with the stored columns of `schema` and virtual ones behind them.
    pub(crate) fn new(name: String, schema: &Schema, virtuals: &[Virtual], parts: Vec<Part>) -> Self {
        let stored = schema.fields().iter().map(|field| shown_field(field));
        let fields: Vec<Field> = stored.chain(virtuals.iter().map(|column| column.field())).collect();
        let (stored, schema) = (schema.fields().len(), Arc::new(Schema::new(fields)));
        Self(Arc::new(Table { name, schema, stored, virtuals: virtuals.to_vec(), parts }))
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
            if by_place { TableProviderFilterPushDown::Inexact } else { TableProviderFilterPushDown::Unsupported }
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
        let may_pass = |part: &usize| filters.iter().all(|filter| table.parts[*part].may_pass(filter));
        let mut parts: Vec<usize> = (0..table.parts.len()).filter(may_pass).collect();
        if let Some(limit) = limit {
            // The first shards that hold enough rows are enough.
            let mut rows = 0;
            parts.retain(|part| {
                let wanted = rows < limit;
                rows += table.parts[*part].rows.unwrap_or(0);
                wanted
            });
        }
        let projection = projection.cloned().unwrap_or_else(|| (0..table.schema.fields().len()).collect());
        Ok(Arc::new(ShardScan::new(table.clone(), projection, parts, state.config().target_partitions(), limit)?))
    }
}

/// Reads parts of a table, several partitions at a time.
#[derive(Debug)]
struct ShardScan {
    table: Arc<Table>,
    projection: Arc<[usize]>,
    /// Parts by partition: neighbours stay together, so that a partition's rows are in shard order.
    partitions: Vec<Vec<usize>>,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl ShardScan {
    fn new(
        table: Arc<Table>,
        projection: Vec<usize>,
        parts: Vec<usize>,
        most_partitions: usize,
        limit: Option<usize>,
    ) -> Result<Self> {
        let each = parts.len().div_ceil(most_partitions.max(1)).max(1);
        let mut partitions: Vec<Vec<usize>> = parts.chunks(each).map(<[usize]>::to_vec).collect();
        if partitions.is_empty() {
            partitions.push(Vec::new());
        }
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(table.schema.project(&projection)?)),
            Partitioning::UnknownPartitioning(partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { table, projection: projection.into(), partitions, limit, properties: Arc::new(properties) })
    }
}

impl DisplayAs for ShardScan {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.properties.equivalence_properties().schema();
        let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let parts: usize = self.partitions.iter().map(Vec::len).sum();
        let (name, of, columns) = (&self.table.name, self.table.parts.len(), columns.join(", "));
        match format {
            DisplayFormatType::TreeRender => write!(f, "table={name}\nshards={parts} of {of}\ncolumns={columns}"),
            _ => write!(f, "ShardScan: {name}, shards={parts} of {of}, columns=[{columns}]"),
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

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], of: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let rows = match of.partition() {
            Some(partition) => self.table.rows(self.partitions.get(partition).into_iter().flatten().copied()),
            None => self.table.rows(self.partitions.iter().flatten().copied()),
        };
        let unknown = Statistics::new_unknown(self.properties.equivalence_properties().schema());
        Ok(Arc::new(unknown.with_num_rows(rows.map_or(Precision::Absent, Precision::Exact))))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(parts) = self.partitions.get(partition).cloned() else {
            return internal_err!("there is no partition {partition}");
        };
        let batch_size = context.session_config().batch_size().min(self.limit.unwrap_or(usize::MAX));
        let rows = self.table.batch_rows(batch_size);
        let schema = self.schema();
        let reader =
            PartReader { table: self.table.clone(), projection: self.projection.clone(), schema: schema.clone() };
        let batches = stream::iter(parts)
            .then(move |part| reader.clone().read(part))
            .map_ok(move |part| stream::iter(part.batches(rows)))
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}

/// What it takes to read any part of a scan.
#[derive(Clone)]
struct PartReader {
    table: Arc<Table>,
    projection: Arc<[usize]>,
    schema: SchemaRef,
}

impl PartReader {
    async fn read(self, part: usize) -> Result<ReadPart> {
        if self.projection.iter().all(|column| *column >= self.table.stored)
            && let Some(rows) = self.table.parts[part].rows
        {
            // Nothing in the file is asked for.
            return Ok(ReadPart { reader: self, part, stored: None, rows });
        }
        let read = move || {
            let table = &self.table;
            let wanted = self.projection.iter().filter(|column| **column < table.stored);
            let names: Vec<&str> = wanted.map(|column| table.schema.field(*column).name().as_str()).collect();
            let stored = table.parts[part].source.read(&names);
            let stored = stored.map_err(|error| DataFusionError::External(Box::new(error)))?;
            let rows = stored.num_rows();
            Ok(ReadPart { reader: self, part, stored: Some(stored), rows })
        };
        // Reading and checking block, so they get threads of their own; other partitions go on meanwhile.
        SpawnedTask::spawn_blocking(read).await.map_err(|error| DataFusionError::External(Box::new(error)))?
    }
}

/// What a list column is where a file has none: written by an older minor version, or of a split without such things.
fn empty_lists(field: &Field, rows: usize) -> Option<ArrayRef> {
    let DataType::List(item) = field.data_type() else { return None };
    let values = new_empty_array(item.data_type());
    Some(Arc::new(ListArray::new(item.clone(), OffsetBuffer::new_zeroed(rows), values, None)))
}

/// A part in memory, still as stored.
struct ReadPart {
    reader: PartReader,
    part: usize,
    stored: Option<RecordBatch>,
    rows: usize,
}

impl ReadPart {
    /// Its rows as SQL shows them, some at a time, each made when it is asked for.
    fn batches(self, rows: usize) -> impl Iterator<Item = Result<RecordBatch>> {
        (0..self.rows).step_by(rows).map(move |from| self.batch(from, rows.min(self.rows - from)))
    }

    fn batch(&self, from: usize, rows: usize) -> Result<RecordBatch> {
        let stored = self.stored.as_ref().map(|batch| batch.slice(from, rows));
        let column = |field: &Arc<Field>, column: &usize| match column.checked_sub(self.reader.table.stored) {
            Some(at) => Ok(self.virtual_column(self.reader.table.virtuals[at], from, rows)),
            None => match stored.as_ref().and_then(|batch| shown_by_name(batch, field.name())) {
                Some(shown) => shown.map_err(|error| DataFusionError::External(Box::new(error))),
                // Columns that only some splits have: `origin` and `change` of shifted ones.
                None if field.is_nullable() => Ok(new_null_array(field.data_type(), rows)),
                None => empty_lists(field, rows).ok_or_else(|| {
                    let problem = format!("is not in {} of this data set", self.reader.table.name);
                    let error = retort_cache::Error::Column { column: field.name().clone(), problem };
                    DataFusionError::External(Box::new(error))
                }),
            },
        };
        let schema = &self.reader.schema;
        let columns: Result<Vec<ArrayRef>> =
            schema.fields().iter().zip(self.reader.projection.iter()).map(|(field, at)| column(field, at)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(schema.clone(), columns?, &options)?)
    }

    fn virtual_column(&self, column: Virtual, from: usize, rows: usize) -> ArrayRef {
        let part = &self.reader.table.parts[self.part];
        let word = |word: &Option<String>| -> ArrayRef {
            let word = word.as_deref().unwrap_or_default();
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(word, rows)))
        };
        match column {
            Virtual::Split => word(&part.split),
            Virtual::Shard => word(&part.shard),
            Virtual::Row => Arc::new((from..from + rows).map(|row| u32::try_from(row).ok()).collect::<UInt32Array>()),
        }
    }
}
