//! Stores a teacher's features in another way, without the teacher.

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::SchemaRef;
use retort_schemas::manifest::Shard;
use retort_schemas::{Store, features};
use serde::Serialize;

use crate::vectors::{self, Rows, Stored};
use crate::{Dataset, Error, Interrupt, Progress, Result, TeacherCache, TeacherWriter, teachers_of};

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conversion {
    /// The teacher read, `name@fingerprint8`.
    pub from: String,
    /// The teacher written, `name@fingerprint8`.
    pub to: String,
    /// Shards converted now.
    pub converted: usize,
    /// Shards that were there.
    pub kept: usize,
}

/// Writes a teacher's features as another store has them, into a folder of their own, shard by shard. What they were
/// made by stays: the folder has the name and identity that `teach` would give it, and `teach` continues it.
///
/// Of several teachers of that name, the one meant is the one that is not stored so already.
///
/// # Errors
/// [`Error::Coarser`] if the features have lost more than the new store would lose, unless `coarser` allows it;
/// [`Error::NoTeacher`], [`Error::AmbiguousTeacher`]; [`Error::Inexpressible`] naming shard and row; damage and
/// misalignment as [`TeacherCache::read`]; [`Error::Interrupted`]. Shards converted so far stay, and the next call
/// continues.
pub fn convert(
    dataset: &Dataset,
    name: &str,
    store: Store,
    coarser: bool,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Conversion> {
    let source = source(dataset, name, store)?;
    let manifest = source.manifest();
    if manifest.store.is_coarser_than(store) && !coarser {
        let (from, to) = (manifest.store.to_string(), store.to_string());
        return Err(Error::Coarser { name: source.folder_name().to_owned(), from, to });
    }
    let identity = manifest.identity.clone();
    let writer = TeacherWriter::open(dataset, &manifest.name, manifest.joint, store, identity, manifest.batch)?;
    let writer = writer.from_origin(manifest.origin.clone()).from_folder(manifest.folder.clone());
    let mut writer = writer.with_settings(manifest.settings.clone());
    let mut work = Vec::new();
    for mine in source.shards() {
        let mine = mine?;
        let there = writer.tables(&mine.name)?;
        let is_missing = |table: &&String| !there.get(*table).copied().unwrap_or(false);
        let missing: Vec<String> = mine.tables.keys().filter(is_missing).cloned().collect();
        if !missing.is_empty() {
            work.push((mine.name, missing));
        }
    }
    let mut done = Conversion {
        from: source.folder_name().to_owned(),
        to: writer.cache().folder_name().to_owned(),
        converted: 0,
        kept: source.shard_count() - work.len(),
    };
    progress.begin(&format!("convert {}", manifest.name), work.len() as u64, "shards");
    for (name, missing) in work {
        interrupt.check()?;
        // The caches are of this data set: opening them has seen to that.
        let Some(shard) = dataset.shard(&name)? else { continue };
        let mut batches = Vec::new();
        for table in &missing {
            let batch = source.read(dataset, &shard, table)?;
            let stored = restore(dataset, table, &batch, store).map_err(|error| within(error, table, &shard))?;
            batches.push((table.as_str(), stored));
        }
        writer.commit(&name, &batches)?;
        done.converted += 1;
        progress.advance(1);
    }
    writer.finish()?;
    progress.end();
    Ok(done)
}

/// The teacher meant by a name: a conversion that was begun has the same name.
fn source(dataset: &Dataset, name: &str, store: Store) -> Result<TeacherCache> {
    let all = teachers_of(dataset)?;
    let mut others = all.iter().filter(|teacher| teacher.manifest().name == name && teacher.manifest().store != store);
    match (others.next(), others.next()) {
        (Some(only), None) => TeacherCache::open(dataset, only.folder_name()),
        _ => TeacherCache::open(dataset, name),
    }
}

/// Says where a row lies that cannot be stored.
fn within(error: Error, table: &str, shard: &Shard) -> Error {
    match error {
        Error::Inexpressible { row, problem } => {
            Error::Inexpressible { row, problem: format!("{problem} ({table} of shard {})", shard.name) }
        }
        other => other,
    }
}

/// A table with its vectors stored another way.
fn restore(dataset: &Dataset, table: &str, batch: &RecordBatch, store: Store) -> Result<RecordBatch> {
    let (schema, columns) = match table {
        features::words::NAME => words(batch, store)?,
        features::tokens::NAME => tokens(batch, store)?,
        features::patches::NAME => patches(batch, store)?,
        _ => {
            let stored = again(batch, features::EMBEDDING, store)?;
            let schema = match table {
                features::images::NAME => features::images::with(stored.fields),
                _ => features::texts::with(stored.fields),
            };
            (schema, [vec![batch.column(0).clone()], stored.columns].concat())
        }
    };
    RecordBatch::try_new(schema, columns).map_err(Error::arrow(dataset.folder()))
}

fn again(batch: &RecordBatch, name: &str, store: Store) -> Result<Stored> {
    let rows = Rows::of(batch, name)?;
    vectors::store(store, name, rows.width(), &rows.floats())
}

fn lists_again(batch: &RecordBatch, name: &str, store: Store) -> Result<Stored> {
    let rows = Rows::of(batch, name)?;
    let offsets = OffsetBuffer::from_lengths((0..batch.num_rows()).map(|row| rows.of_row(row).len()));
    vectors::store_lists(store, name, rows.width(), &rows.floats(), &offsets)
}

fn patches(batch: &RecordBatch, store: Store) -> Result<(SchemaRef, Vec<ArrayRef>)> {
    use features::patches::{GRID, with};
    let stored = lists_again(batch, GRID, store)?;
    Ok((with(stored.fields), [vec![batch.column(0).clone()], stored.columns].concat()))
}

fn words(batch: &RecordBatch, store: Store) -> Result<(SchemaRef, Vec<ArrayRef>)> {
    use features::words::{ISOLATED, PROMPT, with};
    let (isolated, prompt) = (again(batch, ISOLATED, store)?, again(batch, PROMPT, store)?);
    let schema = with(isolated.fields, prompt.fields);
    let words = batch.column(0).clone();
    Ok((schema, [vec![words], isolated.columns, prompt.columns].concat()))
}

fn tokens(batch: &RecordBatch, store: Store) -> Result<(SchemaRef, Vec<ArrayRef>)> {
    use features::tokens::{TOKEN_SPANS, TOKENS, with};
    let stored = lists_again(batch, TOKENS, store)?;
    let schema = with(stored.fields);
    let spans = batch.column_by_name(TOKEN_SPANS).filter(|spans| spans.as_list_opt::<i32>().is_some());
    let spans = spans
        .ok_or_else(|| Error::Column { column: TOKEN_SPANS.to_owned(), problem: "is missing or no list".to_owned() })?;
    Ok((schema, [vec![batch.column(0).clone()], stored.columns, vec![spans.clone()]].concat()))
}

#[cfg(test)]
#[path = "convert/tests.rs"]
mod tests;
