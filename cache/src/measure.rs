//! What a manifest says of columns: of vectors their norms, what they take, what was lost; of others what is there often.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Field, Schema, UInt32Type, UInt64Type};
use parquet::file::metadata::ParquetMetaData;
use retort_schemas::histogram::Histogram;
use retort_schemas::manifest::{Norms, VectorColumn};
use retort_schemas::{Layout, SCALE_KEY, SCHEMA_KEY, SchemaVersion, tables};

use crate::vectors::{Rows, worst_cosine};

/// Something of each column, by its name.
type Columns<T> = BTreeMap<String, T>;

/// Norms of each vector column that has vectors, as they will be read back, and how they are spread.
pub(crate) fn norms(batch: &RecordBatch) -> (Columns<Norms>, Columns<Histogram>) {
    let mut all = (Columns::new(), Columns::new());
    for (field, _, _) in vector_columns(batch.schema_ref()) {
        if let Some(rows) = Rows::of(batch, field.name()).ok().filter(|rows| !rows.is_empty()) {
            let (norms, spread) = norms_of(&rows);
            all.0.insert(field.name().clone(), norms);
            all.1.insert(field.name().clone(), spread);
        }
    }
    all
}

fn norms_of(rows: &Rows) -> (Norms, Histogram) {
    let mut norms = Norms { min: f64::INFINITY, ..Norms::default() };
    let mut spread = Histogram::default();
    let mut row = vec![0.0; rows.width()];
    for at in 0..rows.len() {
        rows.decode(at..at + 1, &mut row);
        let norm = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        norms.vectors += 1;
        if norm.is_nan() {
            norms.nan += 1;
        } else if norm.is_infinite() {
            norms.infinite += 1;
        } else {
            norms.zero += u64::from(norm == 0.0);
            norms.min = norms.min.min(norm);
            norms.max = norms.max.max(norm);
            norms.mean += norm;
            spread.add(norm);
        }
    }
    norms.mean /= norms.finite().max(1) as f64;
    (if norms.finite() == 0 { Norms { min: 0.0, ..norms } } else { norms }, spread)
}

/// How often each reason of a table of rejects is there; nothing of other tables.
pub(crate) fn values(batch: &RecordBatch) -> Columns<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::<String, u64>::new();
    if is_of(batch, tables::rejects::VERSION) {
        let codes = batch.column_by_name(tables::rejects::CODE).and_then(|codes| codes.as_string_opt::<i32>());
        for code in codes.into_iter().flatten().flatten() {
            *counts.entry(code.to_owned()).or_default() += 1;
        }
    }
    if counts.is_empty() { Columns::new() } else { Columns::from([(tables::rejects::CODE.to_owned(), counts)]) }
}

/// Values that are there again: hashes of images, and rows of texts that samples name; nothing of other tables.
pub(crate) fn repeats(batch: &RecordBatch) -> Columns<u64> {
    let (name, count) = if is_of(batch, tables::images::VERSION) {
        (tables::images::PHASH, repeated_hashes(batch))
    } else if is_of(batch, tables::samples::VERSION) {
        (tables::samples::TEXTS, repeated_texts(batch))
    } else {
        return Columns::new();
    };
    count.into_iter().map(|count| (name.to_owned(), count)).collect()
}

/// Images with the hash of an earlier one of the shard, where [it tells something](tables::images::compared_hash).
fn repeated_hashes(batch: &RecordBatch) -> Option<u64> {
    let hashes = batch.column_by_name(tables::images::PHASH)?.as_primitive_opt::<UInt64Type>()?;
    let formats = batch.column_by_name(tables::images::FORMAT)?.as_string_opt::<i32>()?;
    let compared =
        hashes.iter().zip(formats).filter_map(|(hash, format)| tables::images::compared_hash(format?, hash?));
    Some(repeated(compared))
}

/// Texts of samples that an earlier place of the shard has, too: they are stored once.
fn repeated_texts(batch: &RecordBatch) -> Option<u64> {
    let lists = batch.column_by_name(tables::samples::TEXTS)?.as_list_opt::<i32>()?;
    let rows = lists.values().as_primitive_opt::<UInt32Type>()?;
    let [first, end] = [lists.offsets().first(), lists.offsets().last()].map(|at| at.map_or(0, |at| *at as usize));
    Some(repeated(rows.values().get(first..end)?.iter()))
}

fn repeated<T: Eq + Hash>(values: impl Iterator<Item = T>) -> u64 {
    let mut seen = HashSet::new();
    values.map(|value| u64::from(!seen.insert(value))).sum()
}

/// Whether a batch says that it is of this table.
fn is_of(batch: &RecordBatch, version: SchemaVersion) -> bool {
    batch.schema_ref().metadata().get(SCHEMA_KEY).is_some_and(|found| version.accept(found).is_ok())
}

/// What each vector column takes in the file that this metadata describes.
pub(crate) fn vectors(batch: &RecordBatch, metadata: &ParquetMetaData) -> BTreeMap<String, VectorColumn> {
    let bytes_of = |name: &str| -> u64 {
        let chunks = metadata.row_groups().iter().flat_map(|group| group.columns());
        let mine = chunks.filter(|chunk| chunk.column_path().parts().first().is_some_and(|root| root == name));
        mine.map(|chunk| chunk.byte_range().1).sum()
    };
    let columns = vector_columns(batch.schema_ref()).into_iter().map(|(field, layout, described)| {
        let scales = described.metadata().get(SCALE_KEY).map_or(0, |scale| bytes_of(scale));
        let bytes = bytes_of(field.name()) + scales;
        let column = VectorColumn { width: layout.width() as u64, bytes, worst_cosine: worst_cosine(described) };
        (field.name().clone(), column)
    });
    columns.collect()
}

/// The vector columns of a schema, with the field that describes each: its own, or that of its items.
fn vector_columns(schema: &Schema) -> Vec<(&Field, Layout, &Field)> {
    let fields = schema.fields().iter();
    fields.filter_map(|field| Layout::of_column(field).map(|(layout, by)| (field.as_ref(), layout, by))).collect()
}
