//! Functions of one column of vectors that a scan answers from the vectors as they are stored.
//!
//! ```text
//! ProjectionExec: cosine_similarity(embedding, [...]) > 0.3, label     ProjectionExec: _2 > 0.3, label
//!   ShardScan: embedding, label                                   -->    ShardScan: label, cosine_similarity(embedding, ...)
//! ```
//!
//! A row of a page becomes one vector in a core's cache and then a number. Without that, a scan makes a column of floats
//! first, which is two to four times what is stored.

use std::sync::Arc;

use arrow::array::{ArrayBuilder, ArrayRef, BooleanArray, Float64Builder};
use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{HashSet, Result};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::projection::ProjectionExpr;
use retort_cache::StoredVector;

use super::as_stored::{AsStored, StoredBuilder, stored_type};
use super::scalar::{Kind, VectorFunction};
use super::vector_table::VectorTable;
use super::vectors::{Direction, Vectors};
use crate::parts::Table;

/// A function of a column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredCall {
    function: Function,
    /// Of the table.
    column: usize,
    width: usize,
}

#[derive(Debug, Clone, PartialEq)]
enum Function {
    /// A number of each row, and of a vector that is the same for all rows if it takes two.
    Number { kind: Kind, other: Vec<f32> },
    /// The row, for a function that is not the scan's to answer.
    AsStored,
}

impl StoredCall {
    /// The call that an expression is, if it is one; `columns` are those of the table that it refers to.
    fn of(expr: &Arc<dyn PhysicalExpr>, table: &Table, columns: &[usize]) -> Option<Self> {
        let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
        let column = call.args().iter().find_map(|argument| argument.downcast_ref::<Column>())?;
        let column = *columns.get(column.index())?;
        let field = table.schema.field(column);
        let DataType::FixedSizeList(_, width) = field.data_type() else { return None };
        let width = usize::try_from(*width).ok().filter(|_| !field.is_nullable() && table.is_stored(column))?;
        let function = call.fun().inner();
        if function.is::<AsStored>() {
            return Some(Self { function: Function::AsStored, column, width });
        }
        let kind = function.downcast_ref::<VectorFunction>()?.kind();
        let other = match call.args() {
            [_] => Vec::new(),
            // What widths that differ are told is told where the arguments have names.
            [_, _] => literal(call.args()).filter(|other| other.len() == width)?,
            _ => return None,
        };
        Some(Self { function: Function::Number { kind, other }, column, width })
    }

    /// The column that it makes.
    pub(crate) fn field(&self, table: &Table) -> Field {
        let column = table.schema.field(self.column).name();
        match &self.function {
            Function::AsStored => Field::new(format!("{}({column})", AsStored::NAME), stored_type(), true),
            Function::Number { kind, other } => {
                let more = if other.is_empty() { "" } else { ", ..." };
                Field::new(format!("{}({column}{more})", kind.name()), DataType::Float64, true)
            }
        }
    }

    /// Its column of the table, if its rows take as much as vectors.
    pub(crate) fn column_of_vectors(&self) -> Option<usize> {
        (self.function == Function::AsStored).then_some(self.column)
    }
}

/// The one argument that is the same for all rows; none if there is no such, or a null in it.
fn literal(arguments: &[Arc<dyn PhysicalExpr>]) -> Option<Vec<f32>> {
    let literal = arguments.iter().find_map(|argument| argument.downcast_ref::<Literal>())?;
    let vectors = Vectors::of(&ColumnarValue::Scalar(literal.value().clone())).ok()?;
    vectors.row(0, &mut Vec::new()).map(<[f32]>::to_vec)
}

/// What a projection over a scan becomes when the scan answers calls.
pub(crate) struct Pushed {
    /// Columns of the table that the scan still gives.
    pub(crate) columns: Vec<usize>,
    /// Behind them, the values of these.
    pub(crate) calls: Vec<StoredCall>,
    /// What is left to project.
    pub(crate) exprs: Vec<ProjectionExpr>,
}

impl Pushed {
    /// None if the projection has no such call, or where all the columns of calls are wanted as vectors too: then they are
    /// made anyway. `columns` are those that the scan gives.
    pub(crate) fn of(exprs: &[ProjectionExpr], table: &Table, columns: &[usize]) -> Result<Option<Self>> {
        let mut calls: Vec<StoredCall> = Vec::new();
        let mut wanted = HashSet::new();
        for expr in exprs {
            uses(&expr.expr, table, columns, &mut calls, &mut wanted);
        }
        calls.retain(|call| !wanted.contains(&call.column));
        if calls.is_empty() {
            return Ok(None);
        }
        let left: Vec<usize> = columns.iter().copied().filter(|column| wanted.contains(column)).collect();
        let place = |expr: &Arc<dyn PhysicalExpr>| {
            if let Some(call) = StoredCall::of(expr, table, columns) {
                return Some(left.len() + calls.iter().position(|other| *other == call)?);
            }
            let column = columns.get(expr.downcast_ref::<Column>()?.index())?;
            left.iter().position(|other| other == column)
        };
        let replaced = |expr: Arc<dyn PhysicalExpr>| match place(&expr) {
            Some(at) => {
                let name = match left.get(at) {
                    Some(column) => table.schema.field(*column).name().clone(),
                    None => calls[at - left.len()].field(table).name().clone(),
                };
                let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(&name, at));
                Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
            }
            None => Ok(Transformed::no(expr)),
        };
        let exprs = exprs.iter().map(|ProjectionExpr { expr, alias }| {
            Ok(ProjectionExpr { expr: expr.clone().transform_down(replaced)?.data, alias: alias.clone() })
        });
        let exprs = exprs.collect::<Result<Vec<_>>>()?;
        Ok(Some(Self { columns: left, calls, exprs }))
    }
}

/// Collects the calls of an expression, and the columns that are wanted for anything else.
fn uses(
    expr: &Arc<dyn PhysicalExpr>,
    table: &Table,
    columns: &[usize],
    calls: &mut Vec<StoredCall>,
    wanted: &mut HashSet<usize>,
) {
    if let Some(call) = StoredCall::of(expr, table, columns) {
        if !calls.contains(&call) {
            calls.push(call);
        }
    } else if let Some(column) = expr.downcast_ref::<Column>() {
        wanted.extend(columns.get(column.index()));
    } else {
        expr.children().into_iter().for_each(|child| uses(child, table, columns, calls, wanted));
    }
}

/// The values of a call for the rows of a part, in batches.
struct Values<'a> {
    call: &'a StoredCall,
    direction: Option<Direction<'a>>,
    numbers: Float64Builder,
    vectors: StoredBuilder,
    /// Rows of a batch.
    rows: usize,
    batches: Vec<ArrayRef>,
}

impl<'a> Values<'a> {
    fn of(call: &'a StoredCall, rows: usize) -> Self {
        let direction = match &call.function {
            Function::Number { other, .. } => Direction::of(other),
            Function::AsStored => None,
        };
        let (numbers, vectors) = (Float64Builder::new(), StoredBuilder::default());
        Self { call, direction, numbers, vectors, rows, batches: Vec::new() }
    }

    /// `floats` are those of the vector, if any call wants them.
    fn push(&mut self, vector: StoredVector<'_>, floats: &[f32]) -> Result<()> {
        match &self.call.function {
            Function::Number { kind, other } => {
                self.numbers.append_option(kind.of_row(floats, other, self.direction.as_ref()));
            }
            Function::AsStored => self.vectors.push(vector),
        }
        if self.numbers.len().max(self.vectors.len()) == self.rows { self.cut() } else { Ok(()) }
    }

    /// Ends a batch, if it has any row.
    fn cut(&mut self) -> Result<()> {
        if self.numbers.len() > 0 {
            self.batches.push(Arc::new(self.numbers.finish()));
        } else if self.vectors.len() > 0 {
            self.batches.push(self.vectors.finish()?);
        }
        Ok(())
    }
}

/// The values of calls for those rows of a part that are wanted, each in batches of so many rows; a part that is damaged and
/// skipped has none.
///
/// # Errors
/// As [`VectorTable::scan`].
pub(crate) fn values(
    calls: &[StoredCall],
    table: &Arc<Table>,
    part: usize,
    wanted: Option<&BooleanArray>,
    rows: usize,
) -> Result<Vec<Vec<ArrayRef>>> {
    let mut values: Vec<Values> = calls.iter().map(|call| Values::of(call, rows)).collect();
    let mut columns: Vec<(usize, usize)> = calls.iter().map(|call| (call.column, call.width)).collect();
    columns.sort_unstable();
    columns.dedup();
    let mut decoded = Vec::new();
    for (column, width) in columns {
        let vectors = VectorTable { table: table.clone(), column, width };
        let mut of_column: Vec<&mut Values> = values.iter_mut().filter(|values| values.call.column == column).collect();
        let wants_floats = of_column.iter().any(|values| values.call.function != Function::AsStored);
        let mut pushed = Ok(());
        let add = |_, vector: StoredVector<'_>| {
            let floats = if wants_floats { vector.decode(&mut decoded) } else { &[] };
            for values in &mut of_column {
                if pushed.is_ok() {
                    pushed = values.push(vector, floats);
                }
            }
        };
        vectors.scan_unnamed(part, wanted, add)?;
        pushed?;
    }
    values.iter_mut().try_for_each(Values::cut)?;
    Ok(values.into_iter().map(|values| values.batches).collect())
}
