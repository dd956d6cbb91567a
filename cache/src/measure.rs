//! What a manifest says of vector columns: their norms, what they take, what was lost.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use parquet::file::metadata::ParquetMetaData;
use retort_schemas::manifest::{Norms, VectorColumn};
use retort_schemas::{Layout, SCALE_KEY};

use crate::vectors::{Rows, worst_cosine};

/// Norms of each vector column that has vectors, as they will be read back.
pub(crate) fn norms(batch: &RecordBatch) -> BTreeMap<String, Norms> {
    let columns = vector_columns(batch.schema_ref());
    let measured = columns.into_iter().filter_map(|(field, _, _)| {
        let rows = Rows::of(batch, field.name()).ok().filter(|rows| !rows.is_empty())?;
        Some((field.name().clone(), norms_of(&rows)))
    });
    measured.collect()
}

fn norms_of(rows: &Rows) -> Norms {
    let mut norms = Norms { min: f64::INFINITY, ..Norms::default() };
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
        }
    }
    norms.mean /= norms.finite().max(1) as f64;
    if norms.finite() == 0 { Norms { min: 0.0, ..norms } } else { norms }
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
