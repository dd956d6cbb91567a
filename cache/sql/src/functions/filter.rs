//! A condition on the rows that a search looks at.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, DataFusionError, Result, exec_datafusion_err, exec_err, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::PhysicalExpr;

use crate::Error;
use crate::parts::Table;

/// A condition in SQL over the columns of a table, and over those of what its rows belong to: of features, the images or
/// texts themselves.
#[derive(Debug)]
pub(super) struct Filter {
    condition: Expr,
    physical: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    mine: Columns,
    owner: Option<Owner>,
}

/// Columns of a table that a condition is about.
#[derive(Debug)]
struct Columns {
    table: Arc<Table>,
    at: Vec<usize>,
    schema: SchemaRef,
}

impl Columns {
    /// Those that a condition names and that are not `taken`.
    fn of(table: &Arc<Table>, condition: &Expr, taken: &Schema) -> Result<Self> {
        let named = |field: &Field| condition.column_refs().iter().any(|column| column.name == *field.name());
        let fields = table.schema.fields().iter().enumerate();
        let wanted = fields.filter(|(_, field)| named(field) && taken.column_with_name(field.name()).is_none());
        let at: Vec<usize> = wanted.map(|(at, _)| at).collect();
        Ok(Self { table: table.clone(), schema: Arc::new(table.schema.project(&at)?), at })
    }
}

/// The table whose row i a feature's row i belongs to.
#[derive(Debug)]
struct Owner {
    columns: Columns,
    /// Its parts by shard.
    parts: HashMap<String, usize>,
}

/// A part of the table whose rows are to be looked at.
struct FilteredPart<'a> {
    filter: &'a Filter,
    part: usize,
    /// The part of the owner, as stored.
    owner: Option<(usize, RecordBatch)>,
}

impl Filter {
    /// Understands a condition such as `split = 'val' AND norm(embedding) > 1`.
    ///
    /// # Errors
    /// DataFusion's if it cannot be understood or names other columns; if it is neither true nor false of a row.
    pub(super) fn of(
        table: &Arc<Table>,
        owner: Option<&Arc<Table>>,
        condition: &str,
        state: &SessionState,
    ) -> Result<Self> {
        let mut all: Vec<Arc<Field>> = table.schema.fields().to_vec();
        for field in owner.iter().flat_map(|owner| owner.schema.fields()) {
            if table.schema.column_with_name(field.name()).is_none() {
                all.push(field.clone());
            }
        }
        // The error points into the condition, not into the query that holds it.
        let pointing = |error| DataFusionError::External(Box::new(Error::from(error).pointing_into(condition)));
        let schema = DFSchema::try_from(Schema::new(all))?;
        let condition = state.create_logical_expr(condition, &schema).map_err(pointing)?;
        let subquery = |part: &Expr| {
            Ok(matches!(part, Expr::InSubquery(_) | Expr::Exists(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_)))
        };
        if condition.exists(subquery)? {
            return plan_err!("the filter of {} is about one row at a time: it takes no SELECT", table.name);
        }
        let mine = Columns::of(table, &condition, &Schema::empty())?;
        let owner = match owner {
            Some(owner) => {
                Some(Columns::of(owner, &condition, &table.schema)?).filter(|columns| !columns.at.is_empty())
            }
            None => None,
        };
        let owner = owner.map(|columns| {
            let shards = columns.table.parts.iter().enumerate();
            let parts = shards.filter_map(|(at, part)| Some((part.shard.clone()?, at))).collect();
            Owner { columns, parts }
        });
        let theirs = owner.iter().flat_map(|owner| owner.columns.schema.fields());
        let schema = Arc::new(Schema::new(mine.schema.fields().iter().chain(theirs).cloned().collect::<Vec<_>>()));
        let physical = state.create_physical_expr(condition.clone(), &DFSchema::try_from(schema.as_ref().clone())?)?;
        match physical.data_type(&schema)? {
            DataType::Boolean => Ok(Self { condition, physical, schema, mine, owner }),
            other => plan_err!("the filter {condition} must be true or false, it is {other}"),
        }
    }

    /// The parts that can have rows which pass: what the manifests decide.
    pub(super) fn parts(&self) -> Vec<usize> {
        let parts = &self.mine.table.parts;
        (0..parts.len()).filter(|part| parts[*part].may_pass(&self.condition)).collect()
    }

    /// Reads what it needs of the rows that those of a part belong to.
    fn read(&self, part: usize) -> Result<FilteredPart<'_>> {
        let Some(owner) = &self.owner else { return Ok(FilteredPart { filter: self, part, owner: None }) };
        let shard = self.mine.table.parts[part].shard.as_deref().unwrap_or_default();
        let Some(at) = owner.parts.get(shard) else {
            return exec_err!("{} has no shard {shard}, which the filter needs", owner.columns.table.name);
        };
        let stored = owner.columns.table.read(*at, &owner.columns.at)?;
        Ok(FilteredPart { filter: self, part, owner: Some((*at, stored)) })
    }

    /// Which rows of a part pass; null is no.
    pub(super) fn passing(&self, part: usize) -> Result<BooleanArray> {
        let table = &self.mine.table;
        let rows = table.parts[part].rows;
        let stored = match rows {
            Some(rows) if table.all_virtual(&self.mine.at) => {
                let options = RecordBatchOptions::new().with_row_count(Some(rows));
                RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?
            }
            _ => table.read(part, &self.mine.at)?,
        };
        self.read(part)?.passes(&stored, 0..stored.num_rows())
    }

    /// The condition as it was understood.
    pub(super) fn describe(&self) -> String {
        self.condition.to_string()
    }
}

impl FilteredPart<'_> {
    /// Which of some rows pass; null is no. `stored` has the table's own columns.
    fn passes(&self, stored: &RecordBatch, rows: Range<usize>) -> Result<BooleanArray> {
        let (filter, count) = (self.filter, rows.len());
        if self.owner.as_ref().is_some_and(|(_, stored)| stored.num_rows() < rows.end) {
            // The owner's shard is damaged and left out.
            return Ok(BooleanArray::new(BooleanBuffer::new_unset(count), None));
        }
        let shown = |columns: &Columns, part: usize, stored: &RecordBatch| {
            columns.table.shown(part, Some(stored), &columns.at, &columns.schema, rows.clone())
        };
        let mut columns = shown(&filter.mine, self.part, stored)?.columns().to_vec();
        if let (Some(owner), Some((part, stored))) = (&filter.owner, &self.owner) {
            columns.extend_from_slice(shown(&owner.columns, *part, stored)?.columns());
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let batch = RecordBatch::try_new_with_options(filter.schema.clone(), columns, &options)?;
        let passes = filter.physical.evaluate(&batch)?.into_array(count)?;
        let passes = passes.as_boolean_opt();
        passes.cloned().ok_or_else(|| exec_datafusion_err!("the filter {} is neither true nor false", filter.condition))
    }
}
