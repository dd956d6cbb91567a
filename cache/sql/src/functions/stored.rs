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

use arrow::array::Float64Array;
use arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{HashSet, Result};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::projection::ProjectionExpr;
use retort_cache::StoredVector;

use super::scalar::{Kind, VectorFunction};
use super::vector_table::VectorTable;
use super::vectors::{Direction, Vectors};
use crate::parts::Table;

/// A function of a column, and of a vector that is the same for all rows if it takes two.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredCall {
    kind: Kind,
    /// Of the table.
    column: usize,
    width: usize,
    other: Vec<f32>,
}

impl StoredCall {
    /// The call that an expression is, if it is one; `columns` are those of the table that it refers to.
    fn of(expr: &Arc<dyn PhysicalExpr>, table: &Table, columns: &[usize]) -> Option<Self> {
        let call = ScalarFunctionExpr::try_downcast_func::<VectorFunction>(expr.as_ref())?;
        let kind = call.fun().inner().downcast_ref::<VectorFunction>()?.kind();
        let column = call.args().iter().find_map(|argument| argument.downcast_ref::<Column>())?;
        let column = *columns.get(column.index())?;
        let field = table.schema.field(column);
        let DataType::FixedSizeList(_, width) = field.data_type() else { return None };
        let width = usize::try_from(*width).ok().filter(|_| !field.is_nullable() && table.is_stored(column))?;
        let other = match call.args() {
            [_] => Vec::new(),
            // What widths that differ are told is told where the arguments have names.
            [_, _] => literal(call.args()).filter(|other| other.len() == width)?,
            _ => return None,
        };
        Some(Self { kind, column, width, other })
    }

    /// The column that it makes.
    pub(crate) fn field(&self, table: &Table) -> Field {
        let (function, column) = (self.kind.name(), table.schema.field(self.column).name());
        let more = if self.other.is_empty() { "" } else { ", ..." };
        Field::new(format!("{function}({column}{more})"), DataType::Float64, true)
    }
}

/// The one argument that is the same for all rows; none if there is no such, or a null in it.
fn literal(arguments: &[Arc<dyn PhysicalExpr>]) -> Option<Vec<f32>> {
    let literal = arguments.iter().find_map(|argument| argument.downcast_ref::<Literal>())?;
    let vectors = Vectors::of(&ColumnarValue::Scalar(literal.value().clone())).ok()?;
    vectors.row(0).map(<[f32]>::to_vec)
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

/// The values of calls for the rows of a part; a part that is damaged and skipped has none.
///
/// # Errors
/// As [`VectorTable::scan`].
pub(crate) fn values(calls: &[StoredCall], table: &Arc<Table>, part: usize) -> Result<Vec<Float64Array>> {
    let mut values: Vec<Vec<Option<f64>>> = vec![Vec::new(); calls.len()];
    let others: Vec<Option<Direction>> = calls.iter().map(|call| Direction::of(&call.other)).collect();
    let mut columns: Vec<(usize, usize)> = calls.iter().map(|call| (call.column, call.width)).collect();
    columns.sort_unstable();
    columns.dedup();
    let mut floats = Vec::new();
    for (column, width) in columns {
        let vectors = VectorTable { table: table.clone(), column, width };
        let add = |_, vector: StoredVector<'_>| {
            let row = vector.decode(&mut floats);
            for ((call, other), values) in calls.iter().zip(&others).zip(&mut values) {
                if call.column == column {
                    values.push(call.kind.of_row(row, &call.other, other.as_ref()));
                }
            }
        };
        vectors.scan(part, &mut None, |_| true, add)?;
    }
    Ok(values.into_iter().map(Float64Array::from).collect())
}
