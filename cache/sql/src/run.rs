//! Answers statements one after the other: queries only.

use std::io::Write;
use std::sync::Arc;

use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, TableReference};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::{SQLOptions, SessionContext};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, ident, lit};
use datafusion::physical_plan::execute_stream;
use datafusion::sql::parser::{CopyToSource, CopyToStatement, DFParser, Statement};
use datafusion::sql::sqlparser::ast::Statement as Sql;
use futures::StreamExt;

use crate::catalog::{CATALOG, Schemas};
use crate::check::{check, first_words};
use crate::error::memory_problem;
use crate::external::{copy, is_path};
use crate::options::{Opened, batch_rows};
use crate::output::Output;
use crate::{Error, Format, Result, point};

/// Answers the statements of `sql`, separated by `;`, and writes each answer as it comes.
///
/// Only queries are answered: `SELECT`, `WITH`, `VALUES`, `EXPLAIN`, `SHOW` and `DESCRIBE`; and `COPY ... TO` and
/// `CREATE EXTERNAL TABLE` where [`crate::Options::allow_external`] allows them. All statements are read before the first is
/// answered. Answers in CSV have a header each and an empty line between them; in JSON, each is an
/// array; a Parquet file holds one.
///
/// # Errors
/// [`Error::Outside`] for whatever writes or reads outside the folder without leave, [`Error::NotAQuery`] for other
/// statements, [`Error::Copy`] if a file cannot be copied to, [`Error::UnknownTable`] listing the tables,
/// [`Error::OverLimit`] if the memory limit is too small,
/// [`Error::Query`] with DataFusion's words, or with ours where a file is damaged; [`Error::Write`] if `out` fails.
pub async fn run(context: &SessionContext, sql: &str, format: Format, out: &mut (dyn Write + Send)) -> Result<()> {
    let pointing = |error| pointing(context, sql, error);
    let statements = DFParser::parse_sql(sql).map_err(pointing)?;
    if statements.is_empty() {
        return Err(Error::NoQuery { found: sql.to_owned() });
    }
    if format == Format::Parquet && statements.len() > 1 {
        return Err(Error::OneResultOnly { statements: statements.len() });
    }
    statements.iter().try_for_each(|statement| check(context, statement))?;
    let opened = Opened::of(context);
    let thumbnails = opened.as_ref().and_then(|opened| opened.options.thumbnails.as_ref());
    let mut answers = 0;
    for statement in statements {
        let files = files(context, &statement);
        let named = |error| naming(&files, error);
        let pointing = |error| named(pointing(error));
        let plan = match statement {
            Statement::CopyTo(statement) => copied(context, sql, &statement).await.map_err(named)?,
            statement => plan(context, sql, statement).await.map_err(named)?,
        };
        let mut batches = stream(context, plan).await.map_err(pointing)?;
        if batches.schema().fields().is_empty() {
            // A table was made: there is nothing to say.
            continue;
        }
        if answers > 0 && format == Format::Csv {
            writeln!(out).map_err(Error::Write)?;
        }
        answers += 1;
        let mut output = Output::open(format, &batches.schema(), thumbnails, out)?;
        while let Some(batch) = batches.next().await {
            output.write(&batch.map_err(pointing)?)?;
        }
        output.finish()?;
        // Whoever reads them has it while the next is worked out.
        out.flush().map_err(Error::Write)?;
    }
    out.flush().map_err(Error::Write)
}

async fn stream(context: &SessionContext, plan: LogicalPlan) -> Result<SendableRecordBatchStream, DataFusionError> {
    let answer = context.execute_logical_plan(plan).await?;
    let mut task = answer.task_ctx();
    let plan = answer.create_physical_plan().await?;
    if let Some(limit) = Opened::of(context).and_then(|opened| opened.options.memory_limit) {
        let config = task.session_config().clone();
        let rows = batch_rows(&plan, limit, config.target_partitions()).min(config.batch_size());
        task = task.with_session_config(config.with_batch_size(rows));
    }
    execute_stream(plan, Arc::new(task))
}

/// An error, and where in the query it is.
fn pointing(context: &SessionContext, sql: &str, error: DataFusionError) -> Error {
    over_limit(context, &error).unwrap_or_else(|| Error::from(error).pointing_into(sql))
}

/// Copies an answer to a file: what is left is a row that says how many rows it has.
async fn copied(context: &SessionContext, sql: &str, statement: &CopyToStatement) -> Result<LogicalPlan> {
    let source = match &statement.source {
        CopyToSource::Query(query) => {
            plan(context, sql, Statement::Statement(Box::new(Sql::Query(query.clone())))).await?
        }
        CopyToSource::Relation(table) => {
            let query = format!("SELECT * FROM {table}");
            let all = DFParser::parse_sql(&query)?.pop_front().ok_or(Error::NoQuery { found: query })?;
            // Places in this query are none in the one that was asked.
            plan(context, "", all).await.map_err(|error| error.pointing_into(sql))?
        }
    };
    let failed = |error| pointing(context, sql, error);
    let answer = stream(context, source).await.map_err(failed)?;
    let folder = Opened::of(context).map(|opened| opened.folder.clone()).unwrap_or_default();
    let rows = copy(statement, answer, &folder, failed).await?;
    let count = LogicalPlanBuilder::values(vec![vec![lit(rows)]])?;
    Ok(count.project(vec![ident("column1").alias("count")])?.build()?)
}

/// As [`run`], on threads of its own: for callers that are not asynchronous.
///
/// # Errors
/// As [`run`]; [`Error::Runtime`] if the threads do not start.
pub fn run_blocking(context: &SessionContext, sql: &str, format: Format, out: &mut (dyn Write + Send)) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().map_err(Error::Runtime)?;
    runtime.block_on(run(context, sql, format, out))
}

async fn plan(context: &SessionContext, sql: &str, statement: Statement) -> Result<LogicalPlan> {
    let state = context.state();
    let tables = state.resolve_table_references(&statement)?;
    let creates = matches!(statement, Statement::CreateExternalTable(_));
    let first = first_words(&statement);
    let plan = match state.statement_to_plan(statement).await {
        Ok(plan) => plan,
        Err(error) => {
            let told = point::told(sql, &error);
            return Err(explain_failure(context, &tables, error).pointing_at(sql, told));
        }
    };
    // What looks like a query may still hold something else.
    let options = SQLOptions::new().with_allow_ddl(creates).with_allow_dml(false).with_allow_statements(false);
    options.verify_plan(&plan).map_err(|_| Error::NotAQuery { statement: first })?;
    Ok(plan)
}

/// The files that a statement reads as tables.
fn files(context: &SessionContext, statement: &Statement) -> Vec<String> {
    let tables = context.state().resolve_table_references(statement).unwrap_or_default();
    tables.iter().map(|table| table.table().to_owned()).filter(|table| is_path(table)).collect()
}

/// Names the files that were read, where what reads them says what is wrong and not where.
fn naming(files: &[String], error: Error) -> Error {
    match error {
        Error::Query(error) if !files.is_empty() && is_of_text(&error) => {
            Error::Unreadable { files: files.join(" or "), problem: Error::Query(error).to_string() }
        }
        Error::Pointed { error, excerpt } => Error::Pointed { error: Box::new(naming(files, *error)), excerpt },
        error => error,
    }
}

/// Whether an error is about what a file of CSV or JSON holds.
fn is_of_text(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::ArrowError(error, _) => matches!(**error, ArrowError::CsvError(_) | ArrowError::JsonError(_)),
        _ => false,
    }
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
        (Some(unknown), _) if is_path(unknown.table()) => {
            Error::Outside { statement: format!("FROM '{}'", unknown.table()), what: "reads" }
        }
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
