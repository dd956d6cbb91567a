//! What was measured while training, as a table; TensorBoard's file is a view of it.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use retort_cache::{column, read_plain_table, write_plain_table};
use retort_schemas::runs::metrics as names;

use crate::adapt::Stage;
use crate::events;
use crate::{Error, Result};

/// One logged value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Metric {
    pub(crate) step: u64,
    pub(crate) tag: String,
    pub(crate) value: f64,
    pub(crate) unix_secs: f64,
}

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    rows: Vec<Metric>,
}

impl Metrics {
    /// Those of a run up to a step of a stage: what a stopped run logged after its last checkpoint will be logged again.
    pub(crate) fn read(run: &Path, stage: Stage, step: u64) -> Result<Self> {
        let path = file(run);
        if !path.is_file() {
            return Ok(Self::default());
        }
        let batch = read_plain_table(&path, names::VERSION)?;
        let steps = column::<UInt64Array>(&batch, names::STEP)?;
        let tags = column::<StringArray>(&batch, names::TAG)?;
        let values = column::<Float64Array>(&batch, names::VALUE)?;
        let times = column::<Float64Array>(&batch, names::UNIX_SECS)?;
        let rows = (0..batch.num_rows()).map(|row| Metric {
            step: steps.value(row),
            tag: tags.value(row).to_owned(),
            value: values.value(row),
            unix_secs: times.value(row),
        });
        let kept = |row: &Metric| match (stage, row.tag.starts_with(Stage::Adapt.prefix())) {
            (Stage::Adapt, true) | (Stage::Task, false) => row.step <= step,
            (Stage::Task, true) => true,
            (Stage::Adapt, false) => false,
        };
        Ok(Self { rows: rows.filter(kept).collect() })
    }

    /// Every value, in the order in which it was logged.
    #[cfg(test)]
    pub(crate) fn rows(&self) -> &[Metric] {
        &self.rows
    }

    pub(crate) fn push(&mut self, step: u64, tag: &str, value: f64) {
        let unix_secs = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        self.rows.push(Metric { step, tag: tag.to_owned(), value, unix_secs });
    }

    /// Writes the table and TensorBoard's view of it.
    pub(crate) fn write(&self, run: &Path) -> Result<()> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from_iter_values(self.rows.iter().map(|row| row.step))),
            Arc::new(StringArray::from_iter_values(self.rows.iter().map(|row| &row.tag))),
            Arc::new(Float64Array::from_iter_values(self.rows.iter().map(|row| row.value))),
            Arc::new(Float64Array::from_iter_values(self.rows.iter().map(|row| row.unix_secs))),
        ];
        let path = file(run);
        let batch = RecordBatch::try_new(names::schema(), columns).map_err(retort_cache::Error::arrow(&path))?;
        write_plain_table(&path, &batch).map_err(Error::from)?;
        events::write(run, &self.rows)
    }
}

fn file(run: &Path) -> std::path::PathBuf {
    run.join(format!("{}.parquet", names::NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_logged_after_a_checkpoint_is_forgotten() -> Result<()> {
        let folder = tempfile::tempdir().map_err(retort_cache::Error::io("make", Path::new("a folder")))?;
        let mut all = Metrics::default();
        for (step, tag) in [(1, "adapt/lr"), (2, "adapt/lr"), (1, "lr"), (2, "lr"), (3, "lr")] {
            all.push(step, tag, 0.5);
        }
        all.write(folder.path())?;
        let read = |stage, step| -> Result<Vec<(u64, String)>> {
            let rows = Metrics::read(folder.path(), stage, step)?.rows;
            Ok(rows.into_iter().map(|row| (row.step, row.tag)).collect())
        };
        let rows = |all: &[(u64, &str)]| all.iter().map(|(step, tag)| (*step, (*tag).to_owned())).collect::<Vec<_>>();
        assert_eq!(read(Stage::Adapt, 1)?, rows(&[(1, "adapt/lr")]));
        assert_eq!(read(Stage::Task, 0)?, rows(&[(1, "adapt/lr"), (2, "adapt/lr")]));
        assert_eq!(read(Stage::Task, 2)?, rows(&[(1, "adapt/lr"), (2, "adapt/lr"), (1, "lr"), (2, "lr")]));
        Ok(())
    }
}
