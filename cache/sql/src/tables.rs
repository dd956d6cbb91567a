//! The tables of a data set, of its teachers and of a run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::MemTable;
use datafusion::common::DataFusionError;
use retort_cache::{Dataset, TeacherCache, teachers_of};
use retort_schemas::manifest::{Shard, TableFile};
use retort_schemas::{Layout, SchemaVersion, features, protocol, runs, tables};

use crate::Result;
use crate::catalog::{Damage, Schemas, Tables};
use crate::parts::{Part, Source, Virtual, footer_schema};
use crate::scan::ShardTable;
use crate::skipped::{Skipped, Skips};

/// Schema of a data set's own tables, and the default one.
pub(crate) const DATASET_SCHEMA: &str = "dataset";
/// Schema of a run's tables, and the default one.
pub(crate) const RUN_SCHEMA: &str = "run";
/// The schema of a protocol's own tables.
pub(crate) const PROTOCOL_SCHEMA: &str = "protocol";

/// Columns and types of a table, from the first footer of its files that can be read, or why none can.
type Stored = std::result::Result<SchemaRef, Damage>;

/// One table of a teacher.
struct Features {
    teacher: Arc<TeacherCache>,
    table: &'static str,
    schema: Stored,
}

/// Everything that a data set and its teachers hold.
pub(crate) fn of_dataset(dataset: Dataset, skips: Option<&Arc<Skips>>) -> Result<Schemas> {
    let dataset = Arc::new(dataset);
    let mut own = Tables::default();
    let always = tables::all().into_iter().map(|(table, schema)| (table, Ok(schema)));
    for (table, schema) in always.chain(regions_of(&dataset)?) {
        let schema = if table == tables::samples::NAME { Ok(samples_schema(&dataset)?) } else { schema };
        let virtuals: &[Virtual] = match table {
            tables::samples::NAME => &[Virtual::Shard, Virtual::Row],
            _ => &[Virtual::Split, Virtual::Shard, Virtual::Row],
        };
        let source = |shard: &Shard| Source::Dataset { dataset: dataset.clone(), shard: shard.name.clone(), table };
        let parts = dataset.shards().filter_map(|shard| match shard {
            Ok(shard) => Some(Ok(part(&shard, shard.tables.get(table)?, source))),
            Err(error) => Some(Err(error)),
        });
        let parts = parts.collect::<retort_cache::Result<_>>()?;
        own.add_stored(table, table.to_owned(), schema, virtuals, parts, skips);
    }
    let teachers: Vec<Arc<TeacherCache>> = teachers_of(&dataset)?.into_iter().map(Arc::new).collect();
    let mut features = Vec::new();
    for teacher in &teachers {
        teacher.check_belongs(&dataset)?;
        for table in features::ALL {
            if let Some(schema) = stored_schema(teacher, table)? {
                features.push(Features { teacher: teacher.clone(), table, schema });
            }
        }
    }
    own.add("shards", shards_table(&dataset, &teachers)?);
    own.add("teachers", teachers_table(&dataset, &features)?);

    let mut schemas = Schemas::new(DATASET_SCHEMA, own);
    for teacher in &teachers {
        let mut tables = Tables::default();
        let name = &teacher.manifest().name;
        let namesakes = teachers.iter().filter(|other| other.manifest().name == *name).count();
        let full = teacher.folder_name().to_owned();
        let taken = schemas.has(name) || name == "information_schema";
        let (shown, alias) = if namesakes == 1 && !taken { (name.clone(), Some(full)) } else { (full, None) };
        for Features { table, schema, .. } in features.iter().filter(|mine| Arc::ptr_eq(&mine.teacher, teacher)) {
            let table = *table;
            // The ids of the teacher's shard and of the data set's are compared when it is read.
            let source = |shard: &Shard| {
                let (dataset, teacher, shard) = (dataset.clone(), teacher.clone(), shard.name.clone());
                Source::Teacher { dataset, teacher, shard, table }
            };
            let parts = teacher.shards().filter_map(|shard| match shard {
                Ok(shard) => Some(Ok(part(&shard, shard.tables.get(table)?, source))),
                Err(error) => Some(Err(error)),
            });
            let parts = parts.collect::<retort_cache::Result<_>>()?;
            let virtuals = [Virtual::Split, Virtual::Shard, Virtual::Row];
            tables.add_stored(table, format!("{shown}.{table}"), schema.clone(), &virtuals, parts, skips);
        }
        schemas.add(shown, alias, tables);
    }
    Ok(schemas)
}

impl Tables {
    /// Adds a table of files. One of which no file has a footer can be asked nothing, and the others all the same.
    fn add_stored(
        &mut self,
        name: &str,
        shown: String,
        schema: Stored,
        virtuals: &[Virtual],
        parts: Vec<Part>,
        skips: Option<&Arc<Skips>>,
    ) {
        let damage = match schema {
            Ok(schema) => return self.add(name, ShardTable::new(shown, &schema, virtuals, parts, skips)),
            Err(damage) => damage,
        };
        for (at, part) in parts.iter().enumerate() {
            let skipped = Skipped::of(part, &shown, damage.to_string());
            skips.iter().for_each(|skips| skips.add(at, skipped.clone()));
        }
        self.add_damaged(name, damage);
    }
}

/// Columns and types of the samples: where any split is a shifted one, with the columns that only such splits have.
fn samples_schema(dataset: &Dataset) -> Result<SchemaRef> {
    use tables::samples::{NAME, ORIGIN, schema, shifted_schema};
    for split in &dataset.manifest().splits {
        // Every shard of a split has them, or none.
        let first = dataset.split_shards(&split.name)?.next().transpose()?;
        let file = first.as_ref().and_then(|shard| shard.tables.get(NAME));
        if file.is_some_and(|file| file.column_bytes.contains_key(ORIGIN)) {
            return Ok(shifted_schema());
        }
    }
    Ok(schema())
}

/// Columns and types of the table of regions, if any split has one. A split whose objects have no features beside one
/// whose objects have them is shown with empty lists.
fn regions_of(dataset: &Dataset) -> Result<Option<(&'static str, Stored)>> {
    let table = tables::regions::NAME;
    let mut found: Option<Stored> = None;
    for split in &dataset.manifest().splits {
        // Every shard of a split has it, or none.
        if !split.runs.has(table) {
            continue;
        }
        let shards = dataset.split_shards(&split.name)?;
        let Some(stored) = first_footer(dataset.folder(), table, shards)? else { continue };
        let fields = |stored: &Stored| stored.as_ref().map_or(0, |schema| schema.fields().len());
        if found.as_ref().is_none_or(|known| fields(known) < fields(&stored)) {
            found = Some(stored);
        }
    }
    Ok(found.map(|stored| (table, stored)))
}

/// The schema in the first footer that can be read of those shards that have a table; what is wrong with the first if none
/// can. Which are damaged is told when a query reads them.
fn first_footer(
    folder: &Path,
    table: &str,
    shards: impl Iterator<Item = retort_cache::Result<Shard>>,
) -> Result<Option<Stored>> {
    let mut damage = None;
    for shard in shards {
        let shard = shard?;
        if !shard.tables.contains_key(table) {
            continue;
        }
        match footer_schema(&folder.join(table).join(format!("{}.parquet", shard.name))) {
            Ok(schema) => return Ok(Some(Ok(schema))),
            Err(problem) => _ = damage.get_or_insert(problem),
        }
    }
    Ok(damage.map(Err))
}

fn part(shard: &Shard, file: &TableFile, source: impl Fn(&Shard) -> Source) -> Part {
    Part {
        split: Some(Shard::split_of(&shard.name).to_owned()),
        shard: Some(shard.name.clone()),
        rows: usize::try_from(file.rows).ok(),
        source: source(shard),
    }
}

/// Columns and types of a teacher's table; `None` if it has no such table.
///
/// The width of the vectors is told by the files alone. A footer is believed for types only: every read checks it.
fn stored_schema(teacher: &TeacherCache, table: &str) -> Result<Option<Stored>> {
    if !teacher.manifest().has(table) {
        return Ok(None);
    }
    first_footer(teacher.folder(), table, teacher.shards())
}

/// What lies in each file, from the manifests alone.
fn shards_table(dataset: &Dataset, teachers: &[Arc<TeacherCache>]) -> Result<MemTable> {
    let own = dataset.shards().map(|shard| (None, shard));
    let theirs = teachers
        .iter()
        .flat_map(|teacher| teacher.shards().map(|shard| (Some(teacher.folder_name().to_owned()), shard)));
    let (mut split, mut name, mut kind) = (Vec::new(), Vec::new(), Vec::new());
    let (mut owner, mut rows, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    for (teacher, shard) in own.chain(theirs) {
        let shard = shard?;
        for (table, file) in &shard.tables {
            split.push(Shard::split_of(&shard.name).to_owned());
            name.push(shard.name.clone());
            kind.push(table.clone());
            owner.push(teacher.clone());
            rows.push(file.rows);
            bytes.push(file.bytes);
        }
    }
    in_memory(vec![
        ("split", Arc::new(StringArray::from(split)), false),
        ("shard", Arc::new(StringArray::from(name)), false),
        ("kind", Arc::new(StringArray::from(kind)), false),
        ("teacher", Arc::new(StringArray::from(owner)), true),
        ("rows", Arc::new(UInt64Array::from(rows)), false),
        ("bytes", Arc::new(UInt64Array::from(bytes)), false),
    ])
}

/// What each table of each teacher covers and costs.
fn teachers_table(dataset: &Dataset, all: &[Features]) -> Result<MemTable> {
    let sums: BTreeMap<usize, (u64, u64, usize)> = all
        .iter()
        .map(|features| {
            let totals = features.teacher.manifest().splits.iter().map(|split| split.runs.total(features.table));
            totals.fold((0, 0, 0), |(rows, bytes, files), total| {
                (rows + total.rows, bytes + total.bytes, files + total.files)
            })
        })
        .enumerate()
        .collect();
    let expected = |features: &Features| {
        let owner = match features.table {
            features::images::NAME | features::patches::NAME => tables::images::NAME,
            features::words::NAME => return None,
            _ => tables::texts::NAME,
        };
        Some(dataset.manifest().splits.iter().map(|split| split.runs.total(owner).rows).sum::<u64>())
    };
    let ratio = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
    let width = |features: &Features| {
        let layout = features.schema.as_ref().ok()?.fields().iter().find_map(|field| Layout::of_column(field));
        layout.and_then(|(layout, _)| u32::try_from(layout.width()).ok())
    };
    let words = |word: &dyn Fn(&Features) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(all.iter().map(word)))
    };
    let joint: BooleanArray = all.iter().map(|features| Some(features.teacher.manifest().joint)).collect();
    let widths: UInt32Array = all.iter().map(width).collect();
    let rows = UInt64Array::from_iter_values(sums.values().map(|sum| sum.0));
    let expected_rows: UInt64Array = all.iter().map(expected).collect();
    let coverage: Float64Array = all
        .iter()
        .zip(sums.values())
        .map(|(features, (rows, _, files))| match expected(features) {
            Some(expected) => ratio(*rows, expected),
            // How many words there are in the rest is unknown: told by shards.
            None => ratio(*files as u64, dataset.shard_count() as u64),
        })
        .collect();
    let bytes = UInt64Array::from_iter_values(sums.values().map(|sum| sum.1));
    let bytes_per_row: Float64Array = sums.values().map(|(rows, bytes, _)| ratio(*bytes, *rows)).collect();
    in_memory(vec![
        ("name", words(&|features| features.teacher.manifest().name.clone()), false),
        ("fingerprint", words(&|features| features.teacher.manifest().fingerprint.clone()), false),
        ("kind", words(&|features| features.table.to_owned()), false),
        ("joint", Arc::new(joint), false),
        ("store", words(&|features| features.teacher.manifest().store.to_string()), false),
        ("width", Arc::new(widths), true),
        ("rows", Arc::new(rows), false),
        ("expected_rows", Arc::new(expected_rows), true),
        ("coverage", Arc::new(coverage), true),
        ("bytes", Arc::new(bytes), false),
        ("bytes_per_row", Arc::new(bytes_per_row), true),
    ])
}

fn in_memory(columns: Vec<(&str, ArrayRef, bool)>) -> Result<MemTable> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns).map_err(DataFusionError::from)?;
    Ok(MemTable::try_new(batch.schema(), vec![vec![batch]])?)
}

/// The results of a protocol: `None` if there are none.
pub(crate) fn of_protocol(folder: &Path, skips: Option<&Arc<Skips>>) -> Option<Schemas> {
    let own = Tables::default();
    let add = |file: &str, name: &str, schema: SchemaRef, version: SchemaVersion| {
        let path = folder.join(file);
        let is_there = path.is_file();
        if is_there {
            own.add(name, ShardTable::new(name.to_owned(), &schema, &[], vec![run_part(None, path, version)], skips));
        }
        is_there
    };
    use protocol::{GAINS_FILE, PREDICTIONS_FILE, RESULTS_FILE, gains, predictions, runs};
    let any = add(RESULTS_FILE, runs::NAME, runs::schema(), runs::VERSION);
    add(PREDICTIONS_FILE, predictions::NAME, predictions::schema(), predictions::VERSION);
    add(GAINS_FILE, gains::NAME, gains::schema(), gains::VERSION);
    any.then(|| Schemas::new(PROTOCOL_SCHEMA, own))
}

/// The files of a run that can be asked: `None` if there are none.
pub(crate) fn of_run(folder: &Path, skips: Option<&Arc<Skips>>) -> Result<Option<Schemas>> {
    let own = Tables::default();
    let mut any = false;
    let mut add = |name: &str, schema: SchemaRef, virtuals: &[Virtual], parts: Vec<Part>| {
        if !parts.is_empty() {
            any = true;
            own.add(name, ShardTable::new(name.to_owned(), &schema, virtuals, parts, skips));
        }
    };
    let one = |name: &str, version: SchemaVersion| -> Vec<Part> {
        let path = folder.join(format!("{name}.parquet"));
        path.is_file().then(|| run_part(None, path, version)).into_iter().collect()
    };
    use runs::{confidence, drawn, metrics, predictions, selection};
    add(metrics::NAME, metrics::schema(), &[], one(metrics::NAME, metrics::VERSION));
    add(drawn::NAME, drawn::schema(), &[], one(drawn::NAME, drawn::VERSION));
    add(selection::NAME, selection::schema(), &[], one(selection::NAME, selection::VERSION));
    add(confidence::NAME, confidence::schema(), &[], one(confidence::NAME, confidence::VERSION));
    let predicted = prediction_files(folder)?.into_iter();
    let parts = predicted.map(|(split, path)| run_part(Some(split), path, predictions::VERSION)).collect();
    add(predictions::NAME, predictions::schema(), &[Virtual::Split], parts);
    Ok(any.then(|| Schemas::new(RUN_SCHEMA, own)))
}

fn run_part(split: Option<String>, path: PathBuf, version: SchemaVersion) -> Part {
    Part { split, shard: None, rows: None, source: Source::Run { path, version } }
}

/// Split and path of every `predictions-<split>.parquet`, by split.
fn prediction_files(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(retort_cache::Error::io("list", folder))? {
        let path = entry.map_err(retort_cache::Error::io("list", folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let split = name.strip_suffix(".parquet").and_then(|name| name.strip_prefix(runs::predictions::NAME));
        if let Some(split) = split.and_then(|split| split.strip_prefix('-')) {
            files.insert(split.to_owned(), path.clone());
        }
    }
    Ok(files)
}
