//! A Parquet file as a table: wanted columns only, a batch at a time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider, TableProviderFactory};
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{CreateExternalTable, Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::stream;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;

/// Opens a file, reading its footer.
///
/// # Errors
/// If it is no Parquet.
pub(super) fn open(path: &Path) -> Result<Arc<dyn TableProvider>> {
    let fields = reader(path)?.schema().fields().clone();
    Ok(Arc::new(ParquetFile { path: path.to_owned(), schema: Arc::new(Schema::new(fields)) }))
}

fn reader(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(retort_cache::Error::io("read", path)).map_err(external)?;
    let failed = |source: ParquetError| external(retort_cache::Error::Parquet { path: path.to_owned(), source });
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(failed)
}

fn external(error: retort_cache::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// What `CREATE EXTERNAL TABLE ... STORED AS PARQUET` makes.
#[derive(Debug)]
pub(super) struct Factory;

#[async_trait]
impl TableProviderFactory for Factory {
    async fn create(&self, _: &dyn Session, table: &CreateExternalTable) -> Result<Arc<dyn TableProvider>> {
        if !table.schema.fields().is_empty() || !table.table_partition_cols.is_empty() {
            return plan_err!("a Parquet file says itself which columns it has: leave them out");
        }
        match table.locations.as_slice() {
            [path] if Path::new(path).is_file() => open(Path::new(path)),
            [path] => plan_err!("there is no file {path}: a table of Parquet is one file"),
            _ => plan_err!("a table of Parquet is one file, not {}", table.locations.len()),
        }
    }
}

#[derive(Debug)]
struct ParquetFile {
    path: PathBuf,
    schema: SchemaRef,
}

#[async_trait]
impl TableProvider for ParquetFile {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = Arc::new(self.schema.project(&columns)?);
        let scan = Scan { path: self.path.clone(), columns, schema: schema.clone() };
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![Arc::new(scan)], None, None, false, limit)?))
    }
}

/// Reads some columns of the file.
#[derive(Debug)]
struct Scan {
    path: PathBuf,
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl Scan {
    fn start(path: &Path, columns: &[usize], rows: usize) -> Result<ParquetRecordBatchReader> {
        let reader = reader(path)?;
        let mask = ProjectionMask::roots(reader.parquet_schema(), columns.iter().copied());
        let failed = |source| external(retort_cache::Error::Parquet { path: path.to_owned(), source });
        reader.with_projection(mask).with_batch_size(rows).build().map_err(failed)
    }
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (path, columns) = (self.path.clone(), self.columns.clone());
        let rows = context.session_config().batch_size();
        // Columns come in the order of the file.
        let mut stored = columns.clone();
        stored.sort_unstable();
        let order: Vec<usize> = columns.iter().filter_map(|column| stored.binary_search(column).ok()).collect();
        let batches = stream::try_unfold(None, move |reader: Option<ParquetRecordBatchReader>| {
            let (path, columns, order) = (path.clone(), columns.clone(), order.clone());
            let next = move || {
                let mut reader = reader.map_or_else(|| Self::start(&path, &columns, rows), Ok)?;
                let Some(batch) = reader.next().transpose()? else { return Ok(None) };
                Ok(Some((batch.project(&order)?, Some(reader))))
            };
            // Reading blocks.
            async move {
                SpawnedTask::spawn_blocking(next).await.map_err(|error| DataFusionError::External(Box::new(error)))?
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), batches))
    }
}
