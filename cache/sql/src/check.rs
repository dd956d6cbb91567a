//! What of a statement is refused before it is planned: what does more than ask, and what would be passed over in silence.

use std::ops::ControlFlow;

use datafusion::execution::context::SessionContext;
use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{Select, Statement as Sql, TableFactor, Visit, Visitor};

use crate::options::Opened;
use crate::{Error, Result};

/// Whether a statement is answered.
///
/// # Errors
/// [`Error::Outside`], [`Error::NotAQuery`], [`Error::Ignored`].
pub(crate) fn check(context: &SessionContext, statement: &Statement) -> Result<()> {
    let first = || first_words(statement);
    let allowed = Opened::of(context).is_some_and(|opened| opened.options.allow_external);
    match statement {
        statement if is_query(statement) => {}
        Statement::CopyTo(_) | Statement::CreateExternalTable(_) if allowed => {}
        Statement::CopyTo(_) => return Err(Error::Outside { statement: first(), what: "writes" }),
        Statement::CreateExternalTable(_) => return Err(Error::Outside { statement: first(), what: "reads" }),
        _ => return Err(Error::NotAQuery { statement: first() }),
    }
    clauses(statement)
}

/// What a statement is called in an error.
pub(crate) fn first_words(statement: &Statement) -> String {
    statement.to_string().split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn is_query(statement: &Statement) -> bool {
    match statement {
        Statement::Statement(sql) => is_sql_query(sql),
        Statement::Explain(explain) => is_query(&explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => false,
    }
}

fn is_sql_query(sql: &Sql) -> bool {
    match sql {
        Sql::Explain { statement, .. } => is_sql_query(statement),
        Sql::Query(_)
        | Sql::ExplainTable { .. }
        | Sql::ShowTables { .. }
        | Sql::ShowColumns { .. }
        | Sql::ShowFunctions { .. }
        | Sql::ShowVariable { .. } => true,
        _ => false,
    }
}

/// Looks at the clauses of all queries in a statement.
fn clauses(statement: &Statement) -> Result<()> {
    let found = match statement {
        Statement::Statement(sql) => sql.visit(&mut Clauses),
        Statement::Explain(explain) => return clauses(&explain.statement),
        Statement::CopyTo(copy) => match &copy.source {
            CopyToSource::Query(query) => query.visit(&mut Clauses),
            CopyToSource::Relation(_) => return Ok(()),
        },
        Statement::CreateExternalTable(_) | Statement::Reset(_) => return Ok(()),
    };
    match found {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Finds clauses that DataFusion reads and then leaves out of the plan, and the one that makes a table.
struct Clauses;

impl Visitor for Clauses {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<Error> {
        let (sample, version, partitions) = match table {
            TableFactor::Table { sample, version, partitions, .. } => {
                (sample.is_some(), version.is_some(), !partitions.is_empty())
            }
            TableFactor::Derived { sample, .. } => (sample.is_some(), false, false),
            _ => (false, false, false),
        };
        refuse([(sample, "TABLESAMPLE"), (version, "a version of a table"), (partitions, "PARTITION")])
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Error> {
        if select.into.is_some() {
            return ControlFlow::Break(Error::NotAQuery { statement: "SELECT INTO".to_owned() });
        }
        refuse([(!select.connect_by.is_empty(), "CONNECT BY"), (select.prewhere.is_some(), "PREWHERE")])
    }
}

fn refuse<const N: usize>(clauses: [(bool, &'static str); N]) -> ControlFlow<Error> {
    match clauses.into_iter().find(|(there, _)| *there) {
        Some((_, clause)) => ControlFlow::Break(Error::Ignored { clause }),
        None => ControlFlow::Continue(()),
    }
}
