//! Answers statements one after the other: queries only.

use std::io::Write;

use datafusion::common::{DataFusionError, TableReference};
use datafusion::execution::context::{SQLOptions, SessionContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast::Statement as Sql;
use futures::StreamExt;

use crate::catalog::{CATALOG, Schemas};
use crate::error::memory_problem;
use crate::options::Opened;
use crate::output::Output;
use crate::{Error, Format, Result, point};

/// Answers the statements of `sql`, separated by `;`, and writes each answer as it comes.
///
/// Only queries are answered: `SELECT`, `WITH`, `VALUES`, `EXPLAIN`, `SHOW` and `DESCRIBE`. All statements are read
/// before the first is answered. Answers in CSV have a header each and an empty line between them; in JSON, each is an
/// array; a Parquet file holds one.
///
/// # Errors
/// [`Error::NotAQuery`] for whatever writes or reads outside the folder, [`Error::UnknownTable`] listing the tables,
/// [`Error::OverLimit`] if the memory limit is too small,
/// [`Error::Query`] with DataFusion's words, or with ours where a file is damaged; [`Error::Write`] if `out` fails.
pub async fn run(context: &SessionContext, sql: &str, format: Format, out: &mut (dyn Write + Send)) -> Result<()> {
    let pointing = |error: DataFusionError| match over_limit(context, &error) {
        Some(error) => error,
        None => Error::from(error).pointing_into(sql),
    };
    let statements = DFParser::parse_sql(sql).map_err(pointing)?;
    if statements.is_empty() {
        return Err(Error::NoQuery { found: sql.to_owned() });
    }
    if format == Format::Parquet && statements.len() > 1 {
        return Err(Error::OneResultOnly { statements: statements.len() });
    }
    for statement in &statements {
        if !is_query(statement) {
            let statement = statement.to_string();
            let words: Vec<&str> = statement.split_whitespace().take(3).collect();
            return Err(Error::NotAQuery { statement: words.join(" ") });
        }
    }
    for (at, statement) in statements.into_iter().enumerate() {
        if at > 0 && format == Format::Csv {
            writeln!(out).map_err(Error::Write)?;
        }
        let plan = plan(context, sql, statement).await?;
        let frame = context.execute_logical_plan(plan).await.map_err(pointing)?;
        let mut batches = frame.execute_stream().await.map_err(pointing)?;
        let mut output = Output::open(format, &batches.schema(), out)?;
        while let Some(batch) = batches.next().await {
            output.write(&batch.map_err(pointing)?)?;
        }
        output.finish()?;
    }
    out.flush().map_err(Error::Write)
}

/// As [`run`], on threads of its own: for callers that are not asynchronous.
///
/// # Errors
/// As [`run`]; [`Error::Runtime`] if the threads do not start.
pub fn run_blocking(context: &SessionContext, sql: &str, format: Format, out: &mut (dyn Write + Send)) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().map_err(Error::Runtime)?;
    runtime.block_on(run(context, sql, format, out))
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

async fn plan(context: &SessionContext, sql: &str, statement: Statement) -> Result<LogicalPlan> {
    let state = context.state();
    let tables = state.resolve_table_references(&statement)?;
    let plan = match state.statement_to_plan(statement).await {
        Ok(plan) => plan,
        Err(error) => {
            let told = point::told(sql, &error);
            return Err(explain_failure(context, &tables, error).pointing_at(sql, told));
        }
    };
    // What looks like a query may still hold something else, such as SELECT INTO.
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false).verify_plan(&plan)?;
    Ok(plan)
}

/// What is to be said of an error about memory.
fn over_limit(context: &SessionContext, error: &DataFusionError) -> Option<Error> {
    let problem = memory_problem(error)?;
    let opened = Opened::of(context)?;
    let (limit, spill_folder) = (opened.options.memory_limit?, opened.options.spill_folder.clone());
    Some(Error::OverLimit { limit, spill_folder, problem })
}

/// Tells which tables, or table functions, there are if the reason is that one of them is none.
fn explain_failure(context: &SessionContext, tables: &[TableReference], error: DataFusionError) -> Error {
    let state = context.state();
    let functions = state.table_functions();
    if let Some(function) = unknown_function(&error) {
        let mut known: Vec<&str> = functions.keys().map(String::as_str).collect();
        known.sort_unstable();
        return Error::UnknownFunction { function, known: known.join(", ") };
    }
    let exists = |table: &TableReference| context.table_exist(table.clone()).unwrap_or(false);
    let unknown = tables.iter().find(|table| !exists(table) && !functions.contains_key(table.table()));
    let catalog = context.catalog(CATALOG);
    match (unknown, catalog.as_ref().and_then(|catalog| catalog.downcast_ref::<Schemas>())) {
        (Some(unknown), Some(schemas)) => {
            Error::UnknownTable { table: unknown.to_string(), known: schemas.queryable().join(", ") }
        }
        _ => error.into(),
    }
}

/// The table function that DataFusion did not find. Its words are all that tells: tests hold them.
fn unknown_function(error: &DataFusionError) -> Option<String> {
    let DataFusionError::Plan(words) = error.find_root() else { return None };
    let (function, rest) = words.strip_prefix("table function '")?.split_once('\'')?;
    rest.starts_with(" not found").then(|| function.to_owned())
}
