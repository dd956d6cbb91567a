//! Which tables a folder has, by schema and name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result};

use crate::external::{Files, is_path};

/// Name of the catalog that [`crate::open`] fills.
pub(crate) const CATALOG: &str = "retort";

/// Why nothing can be asked of a table: no file of it says which columns it has.
#[derive(Debug, Clone)]
pub(crate) struct Damage {
    /// The first of its files.
    pub(crate) path: PathBuf,
    pub(crate) problem: String,
}

impl Damage {
    fn error(&self) -> retort_cache::Error {
        retort_cache::Error::Broken { path: self.path.clone(), problem: self.problem.clone() }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error().fmt(f)
    }
}

impl From<&Damage> for DataFusionError {
    fn from(damage: &Damage) -> Self {
        Self::External(Box::new(damage.error()))
    }
}

/// Tables of one schema, in the order of their names; further ones can be registered.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    named: RwLock<BTreeMap<String, Arc<dyn TableProvider>>>,
    /// Those that queries cannot read, which are not listed.
    damaged: BTreeMap<String, Damage>,
    /// Opens paths in the place of names, where that is allowed.
    files: Option<Arc<Files>>,
}

impl Tables {
    pub(crate) fn add(&self, name: &str, table: impl TableProvider) {
        self.put(name.to_owned(), Arc::new(table));
    }

    pub(crate) fn add_damaged(&mut self, name: &str, damage: Damage) {
        self.damaged.insert(name.to_owned(), damage);
    }

    fn put(&self, name: String, table: Arc<dyn TableProvider>) -> Option<Arc<dyn TableProvider>> {
        // A map is whole after every insertion, even if a thread died beside it.
        self.named.write().unwrap_or_else(PoisonError::into_inner).insert(name, table)
    }

    fn get(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        self.named.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

#[async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        self.named.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match (self.get(name), self.damaged.get(name), &self.files) {
            (None, Some(damage), _) => Err(damage.into()),
            (None, None, Some(files)) => files.open(name).await,
            (found, ..) => Ok(found),
        }
    }

    fn register_table(&self, name: String, table: Arc<dyn TableProvider>) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.put(name, table))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.get(name).is_some() || self.damaged.contains_key(name) || self.files.is_some() && is_path(name)
    }
}

/// The schemas of a folder: its own first, then one a teacher.
#[derive(Debug)]
pub(crate) struct Schemas {
    /// In the order in which they are shown.
    shown: Vec<(String, Arc<Tables>)>,
    /// Other names of the same schemas.
    aliases: BTreeMap<String, Arc<Tables>>,
}

impl Schemas {
    /// The schemas of a folder with its own tables.
    pub(crate) fn new(name: &str, tables: Tables) -> Self {
        Self { shown: vec![(name.to_owned(), Arc::new(tables))], aliases: BTreeMap::new() }
    }

    /// Adds a teacher's tables; `alias` is not shown but can be used.
    pub(crate) fn add(&mut self, name: String, alias: Option<String>, tables: Tables) {
        let tables = Arc::new(tables);
        if let Some(alias) = alias {
            self.aliases.insert(alias, tables.clone());
        }
        self.shown.push((name, tables));
    }

    /// Lets queries name files in the place of the folder's own tables.
    pub(crate) fn open_files(&mut self, files: Arc<Files>) {
        if let Some(own) = self.shown.first_mut().and_then(|(_, tables)| Arc::get_mut(tables)) {
            own.files = Some(files);
        }
    }

    /// Whether a name is taken.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.shown.iter().any(|(known, _)| known == name)
    }

    /// A table, by schema (the folder's own if none is named) and name.
    pub(crate) fn table(&self, schema: Option<&str>, name: &str) -> Option<Arc<dyn TableProvider>> {
        match schema {
            Some(schema) => self.tables(schema)?.get(name),
            None => self.shown.first()?.1.get(name),
        }
    }

    /// The teachers' names, without the fingerprints of namesakes.
    pub(crate) fn teachers(&self) -> BTreeSet<String> {
        let name = |(schema, _): &(String, _)| schema.split('@').next().unwrap_or(schema).to_owned();
        self.shown.iter().skip(1).map(name).collect()
    }

    /// What is wrong with a table, written as in [`Schemas::queryable`], that nothing can be asked of.
    pub(crate) fn damage(&self, table: &str) -> Option<&Damage> {
        if let Some(damage) = self.shown.first()?.1.damaged.get(table) {
            return Some(damage);
        }
        let (schema, name) = table.split_once('.')?;
        // A column of the table may be named behind it.
        let name = name.split('.').next().unwrap_or_default();
        self.tables(schema.trim_matches('"'))?.damaged.get(name)
    }

    fn tables(&self, name: &str) -> Option<&Arc<Tables>> {
        let shown = self.shown.iter().find(|(known, _)| known == name).map(|(_, tables)| tables);
        // SQL lowers names that are not quoted: a teacher named `CLIP` is meant by `clip`, too.
        let lowered = || self.shown.iter().find(|(known, _)| known.to_lowercase() == name).map(|(_, tables)| tables);
        shown.or_else(|| self.aliases.get(name)).or_else(lowered)
    }

    /// Every table as it is written in a query.
    pub(crate) fn queryable(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (at, (schema, tables)) in self.shown.iter().enumerate() {
            let named = |table: String| if at == 0 { table } else { format!("{}.{table}", quoted(schema)) };
            names.extend(tables.table_names().into_iter().map(named));
        }
        names
    }
}

/// A name as SQL takes it: quoted unless it is a plain lower-case word.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

impl CatalogProvider for Schemas {
    fn schema_names(&self) -> Vec<String> {
        self.shown.iter().map(|(name, _)| name.clone()).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let found = self.tables(name)?;
        Some(found.clone())
    }
}
