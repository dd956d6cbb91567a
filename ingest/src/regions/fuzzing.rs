//! The parsers of detections from bytes alone (see [`crate::fuzzing`]).

use std::io::{Read, Seek};
use std::path::Path;

use super::arrays;
use super::detections::{Detections, Expected};
use super::npy::Array;
use super::table::Table;

const WIDTH: usize = 2;

/// Boxes and elements of features, where they can be used.
fn check(found: Detections) -> Option<(usize, usize)> {
    let classes = Some(["cat", "dog", "bird"].map(str::to_owned).to_vec());
    let regions = Expected { width: WIDTH, classes }.check(found, [40, 20], None).ok()?;
    Some((regions.boxes.len(), regions.features.map_or(0, |features| features.halves.len())))
}

pub(crate) fn npz(file: impl Read + Seek) -> Option<(usize, usize)> {
    check(arrays::read_npz(file).ok()?)
}

pub(crate) fn npy(file: impl Read) -> Option<(usize, usize)> {
    let array = Array::read(file).ok()?;
    Some((array.floats().len(), array.shape().iter().product()))
}

pub(crate) fn table(bytes: &[u8]) -> Option<Vec<Option<(usize, usize)>>> {
    let mut lines = Vec::new();
    let table = Table::from_bytes(Path::new("table.tsv"), bytes, |_, line| lines.push(line)).ok()?;
    Some(lines.into_iter().map(|line| check(table.read(line, WIDTH).ok()?)).collect())
}
