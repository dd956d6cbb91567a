//! The arguments of table functions, and what is wrong with them.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Float32Type};
use datafusion::catalog::{TableFunctionArgs, TableProvider};
use datafusion::common::{DataFusionError, Result, ScalarValue, TableReference, plan_datafusion_err, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;

use retort_schemas::{features, tables};

use super::vector_table::VectorTable;
use crate::Error;
use crate::catalog::{CATALOG, Schemas};
use crate::parts::Table;
use crate::scan::ShardTable;

/// A call of a table function.
pub(super) struct Arguments<'a> {
    /// How the function is called, as in `near_duplicates('images', max_hamming)`.
    usage: &'static str,
    values: Vec<&'a ScalarValue>,
    state: &'a SessionState,
    schemas: Arc<dyn datafusion::catalog::CatalogProvider>,
}

impl<'a> Arguments<'a> {
    /// Reads a call with this number of arguments.
    ///
    /// # Errors
    /// If there are others than that, or one is no literal.
    pub(super) fn read(
        usage: &'static str,
        counts: std::ops::RangeInclusive<usize>,
        args: &TableFunctionArgs<'a, 'a>,
    ) -> Result<Self> {
        if !counts.contains(&args.exprs().len()) {
            return plan_err!("{usage} is given {} arguments", args.exprs().len());
        }
        let value = |(at, argument): (usize, &'a Expr)| match argument {
            Expr::Literal(value, _) => Ok(value),
            Expr::Column(name) => plan_err!("{usage}: argument {} is {name}, which wants quotes: '{name}'", at + 1),
            other => plan_err!("{usage} takes literals, argument {} is {other}", at + 1),
        };
        let values = args.exprs().iter().enumerate().map(value).collect::<Result<_>>()?;
        let state = args.session().as_any().downcast_ref::<SessionState>();
        let state = state.ok_or_else(|| plan_datafusion_err!("{usage} needs a session of DataFusion's own"))?;
        let schemas = state.catalog_list().catalog(CATALOG);
        let schemas = schemas.ok_or_else(|| plan_datafusion_err!("{usage} needs the catalog {CATALOG}"))?;
        Ok(Self { usage, values, state, schemas })
    }

    /// The session of the call.
    pub(super) fn state(&self) -> &'a SessionState {
        self.state
    }

    /// An argument, if it is given.
    pub(super) fn value(&self, at: usize) -> Option<&'a ScalarValue> {
        self.values.get(at).copied()
    }

    /// A word.
    ///
    /// # Errors
    /// If it is none; `what` says what is wanted.
    pub(super) fn word(&self, at: usize, what: &str) -> Result<&'a str> {
        match self.value(at).and_then(|value| value.try_as_str().flatten()) {
            Some(word) => Ok(word),
            None => self.wrong(at, what),
        }
    }

    /// A whole number within bounds.
    ///
    /// # Errors
    /// If it is another; `what` says what is wanted.
    pub(super) fn number(&self, at: usize, bounds: std::ops::RangeInclusive<u64>, what: &str) -> Result<usize> {
        let whole = self.value(at).filter(|value| value.data_type().is_integer());
        let number = match whole.and_then(|value| value.cast_to(&DataType::UInt64).ok()) {
            Some(ScalarValue::UInt64(Some(number))) if bounds.contains(&number) => usize::try_from(number).ok(),
            _ => None,
        };
        number.map_or_else(|| self.wrong(at, what), Ok)
    }

    /// The floats of a vector literal; none if it is another kind of value.
    ///
    /// # Errors
    /// If it holds a null, or something else than numbers.
    pub(super) fn floats(&self, at: usize) -> Result<Option<Vec<f32>>> {
        let Some(value) = self.value(at) else { return Ok(None) };
        let floats = DataType::List(Arc::new(Field::new_list_field(DataType::Float32, true)));
        match value.data_type() {
            DataType::List(_) | DataType::FixedSizeList(..) | DataType::LargeList(_) if !value.is_null() => {}
            _ => return Ok(None),
        }
        let Ok(ScalarValue::List(list)) = value.cast_to(&floats) else { return self.wrong(at, "a vector of numbers") };
        let list = list.value(0);
        match list.as_primitive_opt::<Float32Type>().filter(|floats| floats.null_count() == 0) {
            Some(floats) => Ok(Some(floats.values().to_vec())),
            None => self.wrong(at, "a vector without nulls"),
        }
    }

    /// A table of the folder.
    ///
    /// # Errors
    /// [`Error::UnknownTable`] listing the tables; if it is one without shards.
    pub(super) fn table(&self, at: usize) -> Result<Arc<Table>> {
        let name = self.word(at, "the name of a table")?;
        match self.find(name) {
            Some(found) => self.shards(name, found),
            None => Err(self.unknown(name)),
        }
    }

    /// A column of vectors: of a table with one such column, or named behind the table.
    ///
    /// # Errors
    /// As [`Arguments::table`]; if there is no such column of vectors.
    pub(super) fn vectors(&self, at: usize) -> Result<VectorTable> {
        let name = self.word(at, "the name of a table")?;
        if let Some(found) = self.find(name) {
            return VectorTable::of(self.shards(name, found)?, None);
        }
        let behind = name.rsplit_once('.');
        match behind.and_then(|(table, column)| Some((table, self.find(table)?, column))) {
            Some((table, found, column)) => VectorTable::of(self.shards(table, found)?, Some(column)),
            None => Err(self.unknown(name)),
        }
    }

    /// The table of what the rows of a teacher's table belong to, row by row.
    pub(super) fn owner(&self, table: &Table) -> Option<Arc<Table>> {
        let (_, features) = table.teacher()?;
        let owner = match features {
            features::images::NAME | features::patches::NAME => tables::images::NAME,
            features::texts::NAME | features::tokens::NAME => tables::texts::NAME,
            _ => return None,
        };
        self.own(owner).ok()
    }

    /// A table of the folder's own, by its name alone.
    ///
    /// # Errors
    /// [`Error::UnknownTable`] if the folder has none of this name.
    pub(super) fn own(&self, name: &str) -> Result<Arc<Table>> {
        let found = self.schemas().and_then(|schemas| schemas.table(None, name));
        let table = found.and_then(|found| found.downcast_ref::<ShardTable>().map(|table| table.table().clone()));
        table.ok_or_else(|| self.unknown(name))
    }

    /// Says what an argument should be.
    pub(super) fn wrong<T>(&self, at: usize, expected: &str) -> Result<T> {
        let found = self.value(at).map_or_else(|| "missing".to_owned(), ToString::to_string);
        plan_err!("{}: argument {} must be {expected}, it is {found}", self.usage, at + 1)
    }

    /// A table by its name as in a query, or, for names with other characters, as it is.
    fn find(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        let schemas = self.schemas()?;
        let parsed = TableReference::parse_str(name);
        let own = parsed.catalog().is_none_or(|catalog| catalog == CATALOG);
        let parsed = own.then(|| schemas.table(parsed.schema(), parsed.table())).flatten();
        let plain = || name.rsplit_once('.').and_then(|(schema, table)| schemas.table(Some(schema), table));
        parsed.or_else(plain)
    }

    fn schemas(&self) -> Option<&Schemas> {
        self.schemas.downcast_ref::<Schemas>()
    }

    fn shards(&self, name: &str, found: Arc<dyn TableProvider>) -> Result<Arc<Table>> {
        match found.downcast_ref::<ShardTable>() {
            Some(table) if table.table().parts.iter().all(|part| part.shard.is_some()) => Ok(table.table().clone()),
            _ => plan_err!("{} takes tables whose rows lie in shards, {name} is none", self.usage),
        }
    }

    fn unknown(&self, table: &str) -> DataFusionError {
        if let Some(damage) = self.schemas().and_then(|schemas| schemas.damage(table)) {
            return damage.into();
        }
        let known = self.schemas().map(|schemas| schemas.queryable().join(", ")).unwrap_or_default();
        DataFusionError::External(Box::new(Error::UnknownTable { table: table.to_owned(), known }))
    }
}
