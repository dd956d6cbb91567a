//! A condition on the rows that a scan or a search looks at.
//!
//! What it is about is read first, and of all else only the pages with rows that pass. Parts that `split` and `shard` rule out
//! are not read at all.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, StringArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, DataFusionError, Result, exec_datafusion_err, exec_err, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::physical_plan::PhysicalExpr;

use crate::Error;
use crate::parts::{Part, Table, Virtual};

/// A condition in SQL over the columns of a table, and over those of what its rows belong to: of features, the images or
/// texts themselves.
#[derive(Debug)]
pub(crate) struct Filter {
    condition: Expr,
    physical: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    mine: Columns,
    owner: Option<Owner>,
    /// What of it is decided by where a part lies.
    place: Option<Place>,
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
    pub(crate) fn of(
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
        if has_query(&condition)? {
            return plan_err!("the filter of {} is about one row at a time: it takes no SELECT", table.name);
        }
        let owner = match owner {
            Some(owner) => {
                Some(Columns::of(owner, &condition, &table.schema)?).filter(|columns| !columns.at.is_empty())
            }
            None => None,
        };
        Self::over(table, owner, condition, state)
    }

    /// Whether a scan decides a condition by itself: one about columns that take little beside vectors and images.
    pub(crate) fn decides(table: &Table, condition: &Expr) -> bool {
        let narrow = |column: &Column| {
            let field = table.schema.column_with_name(&column.name);
            field.is_some_and(|(_, field)| is_narrow(field.data_type()))
        };
        let known = !condition.is_volatile() && !has_query(condition).unwrap_or(true);
        known && condition.column_refs().into_iter().all(narrow)
    }

    /// Conditions that all must be true, each of which [`Filter::decides`]; none if there is none.
    ///
    /// # Errors
    /// DataFusion's if they cannot be understood.
    pub(crate) fn all(table: &Arc<Table>, conditions: Vec<Expr>, state: &dyn Session) -> Result<Option<Self>> {
        conjunction(conditions).map(|condition| Self::over(table, None, condition, state)).transpose()
    }

    fn over(table: &Arc<Table>, owner: Option<Columns>, condition: Expr, state: &dyn Session) -> Result<Self> {
        let mine = Columns::of(table, &condition, &Schema::empty())?;
        let owner = owner.map(|columns| {
            let shards = columns.table.parts.iter().enumerate();
            let parts = shards.filter_map(|(at, part)| Some((part.shard.clone()?, at))).collect();
            Owner { columns, parts }
        });
        let theirs = owner.iter().flat_map(|owner| owner.columns.schema.fields());
        let schema = Arc::new(Schema::new(mine.schema.fields().iter().chain(theirs).cloned().collect::<Vec<_>>()));
        let physical = state.create_physical_expr(condition.clone(), &DFSchema::try_from(schema.as_ref().clone())?)?;
        let place = Place::of(table, &condition, state)?;
        match physical.data_type(&schema)? {
            DataType::Boolean => Ok(Self { condition, physical, schema, mine, owner, place }),
            other => plan_err!("the filter {condition} must be true or false, it is {other}"),
        }
    }

    /// The parts that can have rows which pass: what the manifests decide.
    pub(crate) fn parts(&self) -> Vec<usize> {
        let parts = &self.mine.table.parts;
        let placed = |part: &usize| self.place.as_ref().is_none_or(|place| place.passing.value(*part));
        (0..parts.len()).filter(|part| placed(part) && parts[*part].may_pass(&self.condition)).collect()
    }

    /// The columns of the table that it is about.
    pub(crate) fn columns(&self) -> &[usize] {
        &self.mine.at
    }

    /// Whether the manifests decide it: of [`Filter::parts`] all rows pass.
    pub(crate) fn is_decided(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.is_all)
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
    pub(crate) fn passing(&self, part: usize) -> Result<BooleanArray> {
        let table = &self.mine.table;
        let rows = table.parts[part].rows;
        let stored = match rows {
            Some(rows) if table.all_virtual(&self.mine.at) => {
                let options = RecordBatchOptions::new().with_row_count(Some(rows));
                RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?
            }
            _ => table.read(part, &self.mine.at)?,
        };
        self.passing_of(part, &stored)
    }

    /// As [`Filter::passing`], where its columns, maybe among others, have been read.
    pub(crate) fn passing_of(&self, part: usize, stored: &RecordBatch) -> Result<BooleanArray> {
        self.read(part)?.passes(stored, 0..stored.num_rows())
    }

    /// The condition as it was understood.
    pub(crate) fn describe(&self) -> String {
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

/// What of a condition is decided by the split and the shard of a part.
#[derive(Debug)]
struct Place {
    /// By part.
    passing: BooleanArray,
    /// Whether nothing else is to be decided.
    is_all: bool,
}

impl Place {
    /// None if nothing is, as where the rows of a part differ in these.
    fn of(table: &Table, condition: &Expr, state: &dyn Session) -> Result<Option<Self>> {
        let fields = table.schema.fields().iter().enumerate();
        let places = fields.filter(|(at, field)| {
            !table.is_stored(*at) && matches!(Virtual::of(field.name()), Some(Virtual::Split | Virtual::Shard))
        });
        let schema = Schema::new(places.map(|(_, field)| field.clone()).collect::<Vec<_>>());
        let about = |condition: &Expr| {
            let columns = condition.column_refs();
            !columns.is_empty() && columns.iter().all(|column| schema.column_with_name(&column.name).is_some())
        };
        let (mine, others): (Vec<Expr>, Vec<Expr>) = split_conjunction(condition).into_iter().cloned().partition(about);
        let Some(mine) = conjunction(mine) else { return Ok(None) };
        let word = |part: &Part, field: &Field| match Virtual::of(field.name()) {
            Some(Virtual::Split) => part.split.clone(),
            _ => part.shard.clone(),
        };
        let column = |field: &Arc<Field>| {
            let words = table.parts.iter().map(|part| word(part, field)).collect::<Option<Vec<String>>>()?;
            Some(Arc::new(StringArray::from(words)) as ArrayRef)
        };
        let Some(columns) = schema.fields().iter().map(column).collect::<Option<Vec<_>>>() else { return Ok(None) };
        let physical = state.create_physical_expr(mine, &DFSchema::try_from(schema.clone())?)?;
        let batch = RecordBatch::try_new(Arc::new(schema), columns)?;
        let passing = physical.evaluate(&batch)?.into_array(batch.num_rows())?;
        let Some(passing) = passing.as_boolean_opt() else { return Ok(None) };
        Ok(Some(Self { passing: is_true(passing), is_all: others.is_empty() }))
    }
}

/// Whether a query is part of it.
fn has_query(condition: &Expr) -> Result<bool> {
    condition.exists(|part| {
        Ok(matches!(
            part,
            Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::ScalarSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
        ))
    })
}

/// Without nulls, which are no.
pub(crate) fn is_true(passing: &BooleanArray) -> BooleanArray {
    if passing.null_count() == 0 { passing.clone() } else { prep_null_mask_filter(passing) }
}

/// Whether a column of this type takes little.
pub(crate) fn is_narrow(data_type: &DataType) -> bool {
    !data_type.is_nested() && !matches!(data_type, DataType::Binary | DataType::LargeBinary)
}
