//! `gains.parquet`: the comparison for programs, of which reports draw.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt64Array};
use retort_cache::write_plain_table;
use retort_schemas::protocol::{GAINS_FILE, gains};

use super::table::{Gain, Row, Section};
use crate::Result;

/// Writes `gains.parquet`, a row for each row of the sections.
///
/// # Errors
/// If it cannot be written.
pub fn write_gains(sections: &[Section], out: &Path) -> Result<()> {
    let path = out.join(GAINS_FILE);
    let rows: Vec<(&Section, &Row)> =
        sections.iter().flat_map(|section| section.rows.iter().map(move |row| (section, row))).collect();
    let text = |of: &dyn Fn(&Section, &Row) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(|(section, row)| of(section, row))))
    };
    let share = |of: &dyn Fn(&Row) -> Option<f64>| -> ArrayRef {
        Arc::new(Float64Array::from_iter(rows.iter().map(|(_, row)| of(row))))
    };
    let gained = |of: fn(&Gain) -> f64| share(&|row| row.gain.as_ref().map(of));
    let matched = |of: fn(&Gain) -> f64| share(&|row| row.matched.as_ref().map(of));
    let columns: Vec<ArrayRef> = vec![
        text(&|section, _| section.condition.clone()),
        text(&|section, _| section.split.clone()),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|(section, _)| Some(section.shifted)))),
        text(&|section, _| section.metric.clone()),
        text(&|_, row| row.arm.clone()),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|(_, row)| row.scores.len() as u64))),
        share(&Row::mean),
        share(&|row| row.deviation),
        gained(|gain| gain.absolute),
        gained(|gain| gain.interval[0]),
        gained(|gain| gain.interval[1]),
        matched(|gain| gain.absolute),
        matched(|gain| gain.interval[0]),
        matched(|gain| gain.interval[1]),
    ];
    let batch = RecordBatch::try_new(gains::schema(), columns).map_err(retort_cache::Error::arrow(&path))?;
    Ok(write_plain_table(&path, &batch)?)
}
