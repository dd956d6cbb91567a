//! What the files of a table add up to: kept for each part of a manifest, so that a summary reads no part.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;
use crate::manifest::{Norms, TableFile, VectorColumn};

/// What [`TableFile`]s say of their columns, added up. Files written before something was noted add nothing to it: the
/// counts beside it tell of how much it speaks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TableSums {
    /// Nulls a column, where there are any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nulls: BTreeMap<String, u64>,
    /// Norms of each vector column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub norms: BTreeMap<String, Norms>,
    /// How they are spread: of all files if as many are counted as are finite.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub norm_counts: BTreeMap<String, Histogram>,
    /// What each vector column takes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vectors: BTreeMap<String, VectorSums>,
    /// How often each value of a column of few is there: of all files if they add up to the rows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, BTreeMap<String, u64>>,
    /// Values that are there again in their file: of all files if as many are counted as there are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub repeats: BTreeMap<String, RepeatSums>,
}

/// What a vector column takes in the files that say so.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct VectorSums {
    /// Vectors of these files.
    pub count: u64,
    /// Width, bytes, worst cosine.
    pub column: VectorColumn,
}

/// Values that are there again, in the files that say so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepeatSums {
    /// Files that say so.
    pub files: u64,
    /// Values equal to an earlier one of the same file.
    pub count: u64,
}

impl TableSums {
    /// Of one file.
    pub fn of(file: &TableFile) -> Self {
        let vectors = file.vectors.iter().map(|(column, taken)| {
            let count = file.norms.get(column).map_or(0, |norms| norms.vectors);
            (column.clone(), VectorSums { count, column: *taken })
        });
        let repeats =
            file.repeats.iter().map(|(column, count)| (column.clone(), RepeatSums { files: 1, count: *count }));
        Self {
            nulls: file.nulls.clone(),
            norms: file.norms.clone(),
            norm_counts: file.norm_counts.clone(),
            vectors: vectors.collect(),
            values: file.values.clone(),
            repeats: repeats.collect(),
        }
    }

    /// Adds what others say.
    pub fn merge(&mut self, other: Self) {
        let add = |known: &mut u64, more: u64| *known = known.saturating_add(more);
        each(&mut self.nulls, other.nulls, add);
        each(&mut self.norms, other.norms, |known, more| *known = known.merge(more));
        each(&mut self.norm_counts, other.norm_counts, |known, more| known.merge(&more));
        each(&mut self.vectors, other.vectors, |known, more| {
            add(&mut known.count, more.count);
            known.column = known.column.merge(more.column);
        });
        each(&mut self.values, other.values, |known, more| each(known, more, add));
        each(&mut self.repeats, other.repeats, |known, more| {
            add(&mut known.files, more.files);
            add(&mut known.count, more.count);
        });
    }
}

/// Puts what is said of each column together.
fn each<T>(known: &mut BTreeMap<String, T>, more: BTreeMap<String, T>, mut merge: impl FnMut(&mut T, T)) {
    for (column, more) in more {
        match known.get_mut(&column) {
            Some(known) => merge(known, more),
            None => {
                known.insert(column, more);
            }
        }
    }
}
