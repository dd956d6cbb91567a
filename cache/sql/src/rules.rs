//! Rules of planning beside DataFusion's own, for what these leave undone.
//!
//! ```text
//! logical     ... -> JoinKeys -> ExtractLeafExpressions -> PushDownLeafProjections -> ...     functions move to the scans
//!                                +----------- NotInRecursion of each ----------+
//! physical    ... -> StoppableJoins
//! ```

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result, TableReference};
use datafusion::config::ConfigOptions;
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{Expr, ExpressionPlacement, Join, LogicalPlan, Projection};
use datafusion::optimizer::{ApplyOrder, Optimizer, OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};

/// Names of DataFusion's rules that move expressions to the scans.
const EXTRACT: &str = "extract_leaf_expressions";
const PUSH_DOWN: &str = "push_down_leaf_projections";

/// Adds them all.
pub(crate) fn with_rules(builder: SessionStateBuilder) -> SessionStateBuilder {
    let mut rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = Vec::new();
    for rule in Optimizer::new().rules {
        if rule.name() == EXTRACT {
            rules.push(Arc::new(JoinKeys));
        }
        rules.push(match rule.name() {
            EXTRACT | PUSH_DOWN => Arc::new(NotInRecursion(rule)),
            _ => rule,
        });
    }
    builder.with_optimizer_rules(rules).with_physical_optimizer_rule(Arc::new(StoppableJoins))
}

/// Keys of joins that are computed become columns of the join's inputs:
///
/// ```text
/// Join: f(a.x) = g(b.y)   -->   Projection: a.x, b.y
///   a                             Join: __join_key_1 = __join_key_2
///   b                               Projection: a.*, f(a.x) AS __join_key_1
///                                     a
///                                   Projection: b.*, g(b.y) AS __join_key_2
///                                     b
/// ```
///
/// What moves to a scan out of a key below an alias of a table has a name that the key does not know, if only a part of the
/// key moves; out of a projection it moves well.
#[derive(Debug)]
struct JoinKeys;

impl OptimizerRule for JoinKeys {
    fn name(&self) -> &'static str {
        "join_keys_as_columns"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(join) = plan else { return Ok(Transformed::no(plan)) };
        if !join.on.iter().any(|(left, right)| moves_in_part(left) || moves_in_part(right)) {
            return Ok(Transformed::no(LogicalPlan::Join(join)));
        }
        let restored: Vec<Expr> = join.schema.iter().map(column).collect();
        let (mut lefts, mut rights) = (Vec::new(), Vec::new());
        let named = |key: Expr, named: &mut Vec<Expr>| match key {
            Expr::Column(_) => key,
            _ => {
                let name = config.alias_generator().next("__join_key");
                named.push(key.alias(&name));
                Expr::Column(Column::new_unqualified(name))
            }
        };
        let on = join.on.into_iter();
        let on = on.map(|(left, right)| (named(left, &mut lefts), named(right, &mut rights))).collect();
        let (left, right) = (with_columns(join.left, lefts)?, with_columns(join.right, rights)?);
        let (constraint, null_equality, null_aware) = (join.join_constraint, join.null_equality, join.null_aware);
        let join = Join::try_new(left, right, on, join.filter, join.join_type, constraint, null_equality, null_aware)?;
        let restored = Projection::try_new(restored, Arc::new(LogicalPlan::Join(join)))?;
        Ok(Transformed::yes(LogicalPlan::Projection(restored)))
    }
}

/// Whether a part of an expression moves towards the scans, and not all of it.
fn moves_in_part(key: &Expr) -> bool {
    let moves = |part: &Expr| part.placement() == ExpressionPlacement::MoveTowardsLeafNodes;
    !moves(key) && key.exists(|part| Ok(moves(part))).unwrap_or(false)
}

fn column((qualifier, field): (Option<&TableReference>, &FieldRef)) -> Expr {
    Expr::Column(Column::from((qualifier, field)))
}

/// A plan with more columns behind its own.
fn with_columns(plan: Arc<LogicalPlan>, more: Vec<Expr>) -> Result<Arc<LogicalPlan>> {
    if more.is_empty() {
        return Ok(plan);
    }
    let own = plan.schema().iter().map(column);
    let all = own.chain(more).collect();
    Ok(Arc::new(LogicalPlan::Projection(Projection::try_new(all, plan)?)))
}

/// A rule for all plans but recursive ones, whose parts must keep the number of their columns.
#[derive(Debug)]
struct NotInRecursion(Arc<dyn OptimizerRule + Send + Sync>);

impl OptimizerRule for NotInRecursion {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if plan.exists(|part| Ok(matches!(part, LogicalPlan::RecursiveQuery(_))))? {
            return Ok(Transformed::no(plan));
        }
        let order = self.0.apply_order();
        let rewrite = |part: LogicalPlan, now: ApplyOrder| match order {
            Some(order) if order == now => self.0.rewrite(part, config),
            _ => Ok(Transformed::no(part)),
        };
        match order {
            None => self.0.rewrite(plan, config),
            // What stands above a part that has other columns now must know.
            Some(_) => plan.transform_down_up_with_subqueries(
                |part| rewrite(part, ApplyOrder::TopDown),
                |part| rewrite(part.recompute_schema()?, ApplyOrder::BottomUp),
            ),
        }
    }
}

/// Lets go of the thread now and then where joins make many rows of few: what is read is cooperative of itself, and else a
/// query that makes more is not stopped before it ends.
#[derive(Debug)]
struct StoppableJoins;

impl PhysicalOptimizerRule for StoppableJoins {
    fn name(&self) -> &'static str {
        "stoppable_joins"
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let stoppable = |plan: Arc<dyn ExecutionPlan>| {
            let joins = plan.is::<HashJoinExec>()
                || plan.is::<CrossJoinExec>()
                || plan.is::<NestedLoopJoinExec>()
                || plan.is::<SortMergeJoinExec>();
            Ok(match joins {
                true => Transformed::yes(Arc::new(CooperativeExec::new(plan)) as Arc<dyn ExecutionPlan>),
                false => Transformed::no(plan),
            })
        };
        Ok(plan.transform_up(stoppable)?.data)
    }

    fn schema_check(&self) -> bool {
        true
    }
}
