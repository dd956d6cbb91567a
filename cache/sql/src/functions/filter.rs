//! A condition on the rows that a search looks at.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{DFSchema, Result, exec_datafusion_err, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::PhysicalExpr;

use crate::parts::Table;

/// A condition in SQL over the columns of a table.
#[derive(Debug)]
pub(super) struct Filter {
    condition: Expr,
    /// The columns that it is about, and the schema of these alone.
    pub(super) columns: Vec<usize>,
    schema: SchemaRef,
    physical: Arc<dyn PhysicalExpr>,
}

impl Filter {
    /// Understands a condition such as `split = 'val' AND norm(embedding) > 1`.
    ///
    /// # Errors
    /// DataFusion's if it cannot be understood or names other columns; if it is neither true nor false of a row.
    pub(super) fn of(table: &Table, condition: &str, state: &SessionState) -> Result<Self> {
        let schema = DFSchema::try_from(table.schema.as_ref().clone())?;
        let condition = state.create_logical_expr(condition, &schema)?;
        let named = |(at, field): (usize, &Arc<arrow::datatypes::Field>)| {
            condition.column_refs().iter().any(|column| column.name == *field.name()).then_some(at)
        };
        let columns: Vec<usize> = table.schema.fields().iter().enumerate().filter_map(named).collect();
        let schema = Arc::new(table.schema.project(&columns)?);
        let physical = state.create_physical_expr(condition.clone(), &DFSchema::try_from(schema.as_ref().clone())?)?;
        match physical.data_type(&schema)? {
            DataType::Boolean => Ok(Self { condition, columns, schema, physical }),
            other => plan_err!("the filter {condition} must be true or false, it is {other}"),
        }
    }

    /// The parts that can have rows which pass: what the manifests decide.
    pub(super) fn parts(&self, table: &Table) -> Vec<usize> {
        (0..table.parts.len()).filter(|part| table.parts[*part].may_pass(&self.condition)).collect()
    }

    /// Which of some rows pass; null is no.
    pub(super) fn passes(
        &self,
        table: &Table,
        part: usize,
        stored: &RecordBatch,
        rows: Range<usize>,
    ) -> Result<BooleanArray> {
        let count = rows.len();
        let shown = table.shown(part, Some(stored), &self.columns, &self.schema, rows)?;
        let passes = self.physical.evaluate(&shown)?.into_array(count)?;
        let passes = passes.as_boolean_opt();
        passes.cloned().ok_or_else(|| exec_datafusion_err!("the filter {} is neither true nor false", self.condition))
    }

    /// The condition as it was understood.
    pub(super) fn describe(&self) -> String {
        self.condition.to_string()
    }
}
