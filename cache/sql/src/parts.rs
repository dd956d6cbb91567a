//! What tables are made of: parts, each one file, whose rows have a place.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, ListArray, RecordBatch, RecordBatchOptions, StringArray, UInt32Array, new_empty_array, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use retort_cache::{Columns, Dataset, TeacherCache, read_plain_table};
use retort_schemas::SchemaVersion;
use retort_schemas::manifest::Shard;

use crate::catalog::Damage;
use crate::columns::{shown_by_name, shown_field};
use crate::skipped::{Skipped, Skips, is_damage};

/// Bytes of a batch's floats, about: memory of that size is used again from batch to batch, and not asked for each time.
const BATCH_BYTES: usize = 1 << 19;
/// Vectors that a row of many is taken to hold, as a text's tokens.
const TOKENS: usize = 16;

/// Columns that are not in the file: they follow from where a row lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Virtual {
    Split,
    Shard,
    Row,
}

impl Virtual {
    /// The one of this name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Split, Self::Shard, Self::Row].into_iter().find(|column| column.field().name() == name)
    }

    fn field(self) -> Field {
        match self {
            Self::Split => Field::new("split", DataType::Utf8, false),
            Self::Shard => Field::new("shard", DataType::Utf8, false),
            Self::Row => Field::new("row", DataType::UInt32, false),
        }
    }
}

/// Where the rows of one part of a table come from.
#[derive(Debug)]
pub(crate) enum Source {
    Dataset { dataset: Arc<Dataset>, shard: String, table: &'static str },
    Teacher { dataset: Arc<Dataset>, teacher: Arc<TeacherCache>, shard: String, table: &'static str },
    Run { path: PathBuf, version: SchemaVersion },
}

impl Source {
    fn read(&self, columns: &[&str]) -> retort_cache::Result<RecordBatch> {
        match self {
            Self::Dataset { dataset, shard, table } => {
                dataset.read(&found(dataset, shard)?, table, Columns::Named(columns))
            }
            Self::Teacher { dataset, teacher, shard, table } => {
                teacher.read_columns(dataset, &found(dataset, shard)?, table, Columns::Named(columns))
            }
            Self::Run { path, version } => read_plain_table(path, *version),
        }
    }

    /// As [`Source::read`], some rows only, in their order. Of files in pages those with none of the rows are not read.
    fn read_rows(&self, columns: &[&str], rows: &[usize]) -> retort_cache::Result<RecordBatch> {
        match self {
            Self::Dataset { dataset, shard, table } => {
                dataset.read_rows(&found(dataset, shard)?, table, Columns::Named(columns), rows)
            }
            Self::Teacher { dataset, teacher, shard, table } => {
                teacher.read_rows(dataset, &found(dataset, shard)?, table, Columns::Named(columns), rows)
            }
            Self::Run { path, .. } => {
                let read = self.read(columns)?;
                let taken = take_record_batch(&read, &places(rows));
                taken.map_err(|source| retort_cache::Error::Arrow { path: path.clone(), source })
            }
        }
    }
}

/// Rows as the numbers that `take` wants.
pub(crate) fn places(rows: &[usize]) -> UInt32Array {
    rows.iter().map(|row| u32::try_from(*row).ok()).collect()
}

impl Source {
    /// The data set and the shard that it is of, if it is a data set's own.
    pub(crate) fn of_dataset(&self) -> retort_cache::Result<Option<(&Dataset, Shard)>> {
        match self {
            Self::Dataset { dataset, shard, .. } => Ok(Some((dataset, found(dataset, shard)?))),
            Self::Teacher { .. } | Self::Run { .. } => Ok(None),
        }
    }

    /// The data set, the teacher, the shard and the table that it is of, if it is a teacher's.
    pub(crate) fn of_teacher(&self) -> retort_cache::Result<Option<(&Dataset, &TeacherCache, Shard, &'static str)>> {
        match self {
            Self::Teacher { dataset, teacher, shard, table } => {
                Ok(Some((dataset, teacher, found(dataset, shard)?, table)))
            }
            Self::Dataset { .. } | Self::Run { .. } => Ok(None),
        }
    }
}

/// Floats of a row of such a column, about.
fn floats_of(column: &DataType) -> usize {
    match column {
        DataType::FixedSizeList(_, width) => usize::try_from(*width).unwrap_or(0),
        DataType::List(item) => TOKENS * floats_of(item.data_type()),
        _ => 0,
    }
}

/// A shard that the manifest named when the table was made.
fn found(dataset: &Dataset, name: &str) -> retort_cache::Result<Shard> {
    dataset.shard(name)?.ok_or_else(|| retort_cache::Error::Broken {
        path: dataset.folder().to_owned(),
        problem: format!("it has no shard {name} any more"),
    })
}

/// The schema in a file's footer.
///
/// # Errors
/// If there is no footer.
pub(crate) fn footer_schema(path: &Path) -> std::result::Result<SchemaRef, Damage> {
    let broken = |problem| Damage { path: path.to_owned(), problem };
    let file = File::open(path).map_err(|error| broken(format!("it cannot be opened: {error}")))?;
    let footer = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new());
    footer.map(|footer| footer.schema().clone()).map_err(|error| broken(error.to_string()))
}

/// One file of a table.
#[derive(Debug)]
pub(crate) struct Part {
    /// The split that all its rows belong to, if it is one.
    pub(crate) split: Option<String>,
    /// The shard that all its rows belong to, if it is one.
    pub(crate) shard: Option<String>,
    /// Rows, where a manifest tells.
    pub(crate) rows: Option<usize>,
    pub(crate) source: Source,
}

impl Part {
    /// Whether a row of this part can pass a filter. Only what the manifests decide is looked at.
    pub(crate) fn may_pass(&self, filter: &Expr) -> bool {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                self.may_pass(left) && self.may_pass(right)
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                self.may_pass(left) || self.may_pass(right)
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
                self.may_equal(left, right) && self.may_equal(right, left)
            }
            Expr::InList(list) if !list.negated => list.list.iter().any(|value| self.may_equal(&list.expr, value)),
            _ => true,
        }
    }

    fn may_equal(&self, column: &Expr, value: &Expr) -> bool {
        let (Expr::Column(column), Expr::Literal(value, _)) = (column, value) else { return true };
        let mine = match column.name.as_str() {
            "split" => &self.split,
            "shard" => &self.shard,
            _ => return true,
        };
        match (mine, value.try_as_str()) {
            (Some(mine), Some(Some(value))) => mine == value,
            _ => true,
        }
    }
}

/// What a table is made of, shared with its running scans.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) schema: SchemaRef,
    /// So many columns are in the files; virtual ones follow.
    stored: usize,
    virtuals: Vec<Virtual>,
    pub(crate) parts: Vec<Part>,
    /// The columns as they are stored.
    stored_schema: SchemaRef,
    /// Where damaged parts are told that are left out; without it they are errors.
    skips: Option<Arc<Skips>>,
}

impl Table {
    /// A table with the stored columns of `schema` and virtual ones behind them.
    pub(crate) fn new(
        name: String,
        stored_schema: &SchemaRef,
        virtuals: &[Virtual],
        parts: Vec<Part>,
        skips: Option<Arc<Skips>>,
    ) -> Self {
        let stored = stored_schema.fields().iter().map(|field| shown_field(field));
        let fields: Vec<Field> = stored.chain(virtuals.iter().map(|column| column.field())).collect();
        let (stored, schema) = (stored_schema.fields().len(), Arc::new(Schema::new(fields)));
        let (virtuals, stored_schema) = (virtuals.to_vec(), stored_schema.clone());
        Self { name, schema, stored, virtuals, parts, stored_schema, skips }
    }

    /// Rows a batch of some columns, at most `wanted`: so many that their floats stay in a core's cache.
    pub(crate) fn batch_rows(&self, columns: &[usize], wanted: usize) -> usize {
        let floats = columns.iter().map(|column| floats_of(self.schema.field(*column).data_type())).sum::<usize>();
        wanted.min(BATCH_BYTES / (floats * size_of::<f32>()).max(1)).max(1)
    }

    /// Rows of some parts, where the manifests tell.
    pub(crate) fn rows(&self, parts: impl IntoIterator<Item = usize>) -> Option<usize> {
        parts.into_iter().map(|part| self.parts[part].rows).sum()
    }

    /// The teacher that it belongs to, if it does, and its name there.
    pub(crate) fn teacher(&self) -> Option<(&TeacherCache, &'static str)> {
        match &self.parts.first()?.source {
            Source::Teacher { teacher, table, .. } => Some((teacher, table)),
            Source::Dataset { .. } | Source::Run { .. } => None,
        }
    }

    /// Whether a column is in the files.
    pub(crate) fn is_stored(&self, column: usize) -> bool {
        column < self.stored
    }

    /// Whether none of some columns is in the files.
    pub(crate) fn all_virtual(&self, columns: &[usize]) -> bool {
        columns.iter().all(|column| !self.is_stored(*column))
    }

    /// Whether a part may turn out to have no rows because it is damaged.
    pub(crate) fn may_skip(&self) -> bool {
        self.skips.is_some()
    }

    /// Reads those of some columns that are in a part's file, checked, as they are stored. A damaged part has no rows if it
    /// may be skipped.
    pub(crate) fn read(&self, part: usize, columns: &[usize]) -> Result<RecordBatch> {
        self.checked(part, columns, Source::read)
    }

    /// Whether so many rows of a part are best read by themselves.
    pub(crate) fn are_few(&self, part: usize, rows: usize) -> bool {
        /// Where more than one row in so many is wanted, next to all pages hold one.
        const FEW: usize = 8;
        rows * FEW <= self.parts[part].rows.unwrap_or(0)
    }

    /// As [`Table::read`], some rows only, in their order.
    pub(crate) fn read_rows(&self, part: usize, columns: &[usize], rows: &[usize]) -> Result<RecordBatch> {
        self.checked(part, columns, |source, names| source.read_rows(names, rows))
    }

    fn checked(
        &self,
        part: usize,
        columns: &[usize],
        read: impl FnOnce(&Source, &[&str]) -> retort_cache::Result<RecordBatch>,
    ) -> Result<RecordBatch> {
        let stored = columns.iter().filter(|column| self.is_stored(**column));
        let names: Vec<&str> = stored.map(|column| self.schema.field(*column).name().as_str()).collect();
        match (read(&self.parts[part].source, &names), &self.skips) {
            (Err(error), Some(skips)) if is_damage(&error) => {
                skips.add(part, Skipped::of(&self.parts[part], &self.name, error.to_string()));
                Ok(RecordBatch::new_empty(self.stored_schema.clone()))
            }
            (read, _) => read.map_err(|error| DataFusionError::External(Box::new(error))),
        }
    }

    /// Some rows of a part as SQL shows them: `stored` is what [`Table::read`] gave, if any of the columns is stored,
    /// and `schema` the table's with these columns alone.
    pub(crate) fn shown(
        &self,
        part: usize,
        stored: Option<&RecordBatch>,
        columns: &[usize],
        schema: &SchemaRef,
        rows: Range<usize>,
    ) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let columns = self.shown_columns(part, stored, columns, schema, rows, None)?;
        Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
    }

    /// As [`Table::shown`], to have more columns behind them, which `schema` may have too. Where `stored` has not all rows of
    /// the part, `numbers` are those of all that it has.
    pub(crate) fn shown_columns(
        &self,
        part: usize,
        stored: Option<&RecordBatch>,
        columns: &[usize],
        schema: &SchemaRef,
        rows: Range<usize>,
        numbers: Option<&[usize]>,
    ) -> Result<Vec<ArrayRef>> {
        let count = rows.len();
        let stored = stored.map(|batch| batch.slice(rows.start, count));
        let column = |field: &Arc<Field>, column: &usize| match column.checked_sub(self.stored) {
            Some(at) => Ok(self.virtual_column(self.virtuals[at], part, rows.clone(), numbers)),
            None => match stored.as_ref().and_then(|batch| shown_by_name(batch, field.name())) {
                Some(shown) => shown.map_err(|error| DataFusionError::External(Box::new(error))),
                // Columns that only some splits have: `origin` and `change` of shifted ones.
                None if field.is_nullable() => Ok(new_null_array(field.data_type(), count)),
                None => empty_lists(field, count).ok_or_else(|| {
                    let problem = format!("is not in {} of this data set", self.name);
                    let error = retort_cache::Error::Column { column: field.name().clone(), problem };
                    DataFusionError::External(Box::new(error))
                }),
            },
        };
        schema.fields().iter().zip(columns).map(|(field, at)| column(field, at)).collect()
    }

    fn virtual_column(&self, column: Virtual, part: usize, rows: Range<usize>, numbers: Option<&[usize]>) -> ArrayRef {
        let part = &self.parts[part];
        let word = |word: &Option<String>| -> ArrayRef {
            let word = word.as_deref().unwrap_or_default();
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(word, rows.len())))
        };
        match column {
            Virtual::Split => word(&part.split),
            Virtual::Shard => word(&part.shard),
            Virtual::Row => Arc::new(match numbers {
                Some(numbers) => places(numbers.get(rows).unwrap_or_default()),
                None => places(&rows.collect::<Vec<_>>()),
            }),
        }
    }
}

/// What a list column is where a file has none: written by an older minor version, or of a split without such things.
fn empty_lists(field: &Field, rows: usize) -> Option<ArrayRef> {
    let DataType::List(item) = field.data_type() else { return None };
    let values = new_empty_array(item.data_type());
    Some(Arc::new(ListArray::new(item.clone(), OffsetBuffer::new_zeroed(rows), values, None)))
}
