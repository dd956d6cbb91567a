//! Compares the features of two teachers, row by row.

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch};
use retort_schemas::features;
use retort_schemas::manifest::Shard;
use serde::Serialize;

use crate::floats::{Floats, vector_columns};
use crate::{Dataset, Interrupt, Progress, Result, TeacherCache};

/// How two teachers compare.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// `name@fingerprint8` of the first.
    pub a: String,
    /// `name@fingerprint8` of the second.
    pub b: String,
    /// One entry a vector column of a table that both have.
    pub columns: Vec<ColumnComparison>,
    /// `table/shard` that only the first has.
    pub only_a: Vec<String>,
    /// `table/shard` that only the second has.
    pub only_b: Vec<String>,
    /// `table/shard` whose rows have other ids, or the same in another order: not compared.
    pub other_rows: Vec<String>,
}

/// One vector column over all shards that were compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnComparison {
    /// The table.
    pub table: String,
    /// The column.
    pub column: String,
    /// Rows compared.
    pub rows: u64,
    /// Vectors compared: more than rows where a row has a vector a token.
    pub vectors: u64,
    /// Rows not compared, as they have another number of vectors, or vectors of another width, or only one teacher has
    /// this column.
    pub unlike: u64,
    /// Least cosine of two vectors: 1 for equal ones, also of norm zero, and where there are none; -1 where a value is
    /// not finite.
    pub lowest_cosine: f64,
    /// Mean cosine.
    pub mean_cosine: f64,
    /// Largest absolute difference of two elements; unlike a cosine, it sees a change of scale.
    pub largest_difference: f64,
    /// Id of the row with the lowest cosine, in hex; of words, the word. The first such row.
    pub worst: String,
}

impl Comparison {
    /// Whether both have the same rows, at least one, and every pair of vectors a cosine of at least `cosine`.
    pub fn same(&self, cosine: f64) -> bool {
        let within = |column: &ColumnComparison| column.unlike == 0 && column.lowest_cosine >= cosine;
        let same_rows = self.only_a.is_empty() && self.only_b.is_empty() && self.other_rows.is_empty();
        same_rows && !self.columns.is_empty() && self.columns.iter().all(within)
    }
}

/// One teacher of a comparison: its cache, and the data set that it belongs to.
type Side<'a> = (&'a Dataset, &'a TeacherCache);

/// Compares two teachers of one data set, or of two. One shard of each is in memory at a time.
///
/// # Errors
/// As [`TeacherCache::read`]; [`crate::Error::Interrupted`].
pub fn compare_teachers(
    a: Side<'_>,
    b: Side<'_>,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Comparison> {
    let (mine, theirs) = (files_of(a.1)?, files_of(b.1)?);
    let only = |these: &Files, those: &Files| {
        these.keys().filter(|key| !those.contains_key(*key)).map(|(table, shard)| format!("{table}/{shard}")).collect()
    };
    let mut comparison = Comparison {
        a: a.1.folder_name().to_owned(),
        b: b.1.folder_name().to_owned(),
        columns: Vec::new(),
        only_a: only(&mine, &theirs),
        only_b: only(&theirs, &mine),
        other_rows: Vec::new(),
    };
    let both: Vec<_> = mine.iter().filter(|(key, _)| theirs.contains_key(*key)).collect();
    progress.begin("compare", both.iter().map(|(_, rows)| **rows).sum(), "rows");
    for ((table, shard), rows) in both {
        interrupt.check()?;
        let (left, right) = (read(a, table, shard)?, read(b, table, shard)?);
        if left.columns().first() == right.columns().first() {
            compare_tables(&mut comparison.columns, table, &left, &right)?;
        } else {
            comparison.other_rows.push(format!("{table}/{shard}"));
        }
        progress.advance(*rows);
    }
    for column in &mut comparison.columns {
        if column.vectors == 0 {
            (column.lowest_cosine, column.mean_cosine) = (1.0, 1.0);
        } else {
            column.mean_cosine /= column.vectors as f64;
        }
    }
    progress.end();
    Ok(comparison)
}

/// Rows by table and shard.
type Files = BTreeMap<(&'static str, String), u64>;

fn files_of(teacher: &TeacherCache) -> Result<Files> {
    let mut files = Files::new();
    for shard in teacher.shards() {
        let shard = shard?;
        let tables = features::ALL.iter().filter_map(|table| Some((*table, shard.tables.get(*table)?)));
        files.extend(tables.map(|(table, file)| ((table, shard.name.clone()), file.rows)));
    }
    Ok(files)
}

fn read((dataset, teacher): Side<'_>, table: &str, shard: &str) -> Result<RecordBatch> {
    // Words follow no table of the data set: where it has no such shard, one that is empty serves.
    let owner = dataset.shard(shard)?;
    let owner = owner.unwrap_or_else(|| Shard { name: shard.to_owned(), tables: BTreeMap::new() });
    teacher.read(dataset, &owner, table)
}

/// Adds a shard's rows to the columns of its table.
fn compare_tables(
    columns: &mut Vec<ColumnComparison>,
    table: &str,
    left: &RecordBatch,
    right: &RecordBatch,
) -> Result<()> {
    let (mine, theirs) = (vector_columns(left)?, vector_columns(right)?);
    let named = |all: &[Floats], name: &str| all.iter().position(|column| column.name == name);
    let only_theirs = theirs.iter().filter(|column| named(&mine, &column.name).is_none());
    for column in mine.iter().chain(only_theirs) {
        let known = columns.iter().position(|known| known.table == table && known.column == column.name);
        let at = known.unwrap_or_else(|| {
            columns.push(fresh(table, &column.name));
            columns.len() - 1
        });
        match (named(&mine, &column.name), named(&theirs, &column.name)) {
            (Some(a), Some(b)) => compare_columns(&mut columns[at], left, &mine[a], &theirs[b]),
            // Only one has such a column.
            _ => columns[at].unlike += left.num_rows() as u64,
        }
    }
    Ok(())
}

fn fresh(table: &str, column: &str) -> ColumnComparison {
    ColumnComparison {
        table: table.to_owned(),
        column: column.to_owned(),
        rows: 0,
        vectors: 0,
        unlike: 0,
        lowest_cosine: f64::INFINITY,
        mean_cosine: 0.0,
        largest_difference: 0.0,
        worst: String::new(),
    }
}

/// Until the end, `mean_cosine` is the sum.
fn compare_columns(into: &mut ColumnComparison, rows: &RecordBatch, a: &Floats, b: &Floats) {
    for row in 0..rows.num_rows() {
        let (left, right) = (a.row(row), b.row(row));
        if a.width != b.width || left.len() != right.len() {
            into.unlike += 1;
            continue;
        }
        into.rows += 1;
        let width = a.width.max(1);
        for (x, y) in left.chunks_exact(width).zip(right.chunks_exact(width)) {
            let (cosine, difference) = compare_vectors(x, y);
            into.vectors += 1;
            into.mean_cosine += cosine;
            into.largest_difference = into.largest_difference.max(difference);
            if cosine < into.lowest_cosine {
                into.lowest_cosine = cosine;
                into.worst = key(rows, row);
            }
        }
    }
}

/// Cosine and largest absolute difference of two vectors.
fn compare_vectors(x: &[f32], y: &[f32]) -> (f64, f64) {
    if x == y {
        return (1.0, 0.0);
    }
    let (mut dot, mut xx, mut yy, mut difference) = (0.0, 0.0, 0.0, 0.0_f64);
    for (x, y) in x.iter().zip(y).map(|(x, y)| (f64::from(*x), f64::from(*y))) {
        dot += x * y;
        xx += x * x;
        yy += y * y;
        difference = difference.max((x - y).abs());
    }
    if !(xx + yy).is_finite() {
        return (-1.0, f64::INFINITY);
    }
    let norms = (xx * yy).sqrt();
    (if norms > 0.0 { (dot / norms).clamp(-1.0, 1.0) } else { 0.0 }, difference)
}

/// The id of a row in hex, or its word.
fn key(batch: &RecordBatch, row: usize) -> String {
    let column = batch.column(0);
    match (column.as_fixed_size_binary_opt(), column.as_string_opt::<i32>()) {
        (Some(ids), _) => ids.value(row).iter().map(|byte| format!("{byte:02x}")).collect(),
        (_, Some(words)) => words.value(row).to_owned(),
        _ => row.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::compare_vectors;

    #[test]
    fn vectors_without_a_direction_have_a_cosine_too() {
        assert_eq!(compare_vectors(&[0.0, 0.0], &[0.0, 0.0]), (1.0, 0.0));
        assert_eq!(compare_vectors(&[0.0, 0.0], &[3.0, 4.0]), (0.0, 4.0));
        assert_eq!(compare_vectors(&[1.0, f32::NAN], &[1.0, f32::NAN]), (-1.0, f64::INFINITY));
        assert_eq!(compare_vectors(&[3.0, 0.0], &[0.0, 4.0]), (0.0, 4.0));
        assert_eq!(compare_vectors(&[1.0, 0.0], &[-2.0, 0.0]), (-1.0, 3.0));
    }
}
