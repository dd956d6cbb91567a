//! The vectors of whole shards, handed over page by page while they are in a core's cache.
//!
//! ```text
//! page of `embedding` --> read, checked --> decompressed, if it is --> rows that are wanted --> use_vector(row, vector)
//!                                                               scales, read before --^
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::Schema;
use retort_schemas::manifest::Shard;
use retort_schemas::{Layout, SCALE_KEY};

use crate::pages::{PageReader, Plain};
use crate::table::Table;
use crate::{Columns, Dataset, Error, Result, StoredVector, TeacherCache, vectors};

/// Scans vectors, in memory that is used again from shard to shard.
pub struct VectorScan {
    pages: PageReader,
    scales: Vec<f32>,
}

impl fmt::Debug for VectorScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VectorScan").finish_non_exhaustive()
    }
}

impl VectorScan {
    /// A scan that has read nothing yet.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no memory to decompress in.
    pub fn new() -> Result<Self> {
        Ok(Self { pages: PageReader::new()?, scales: Vec::new() })
    }

    /// Hands over the vectors of a column of one vector a row, in the order of the rows: each row that is `wanted`, and
    /// its vector as stored. Every page is checked before it is used, wanted or not; what was handed over before a
    /// damaged page is of use all the same. That the rows are the data set's is told by the manifests.
    ///
    /// # Errors
    /// As [`TeacherCache::read_columns`].
    pub fn read(
        &mut self,
        teacher: &TeacherCache,
        dataset: &Dataset,
        shard: &Shard,
        (table, column): (&str, &str),
        wanted: impl Fn(usize) -> bool,
        mut use_vector: impl FnMut(usize, StoredVector<'_>),
    ) -> Result<()> {
        let file = teacher.open_table(dataset, shard, table)?;
        let Ok((plain, layout)) = Plain::of(&file, column).and_then(|plain| Ok((plain, layout_of(&file, column)?)))
        else {
            // Files of older versions.
            let batch = teacher.read_columns(dataset, shard, table, Columns::Named(&[column]))?;
            let rows = vectors::Rows::of(&batch, column)?;
            (0..rows.len()).filter(|row| wanted(*row)).for_each(|row| use_vector(row, rows.vector(row)));
            return Ok(());
        };
        if let Layout::Codes { .. } = layout {
            self.read_scales(&file, column)?;
        }
        let Self { pages, scales } = self;
        pages.each(&file, plain, |rows, bytes| {
            let vectors = rows.zip(bytes.chunks_exact(layout.bytes().max(1)));
            for (row, bytes) in vectors.filter(|(row, _)| wanted(*row)) {
                let scale = match layout {
                    Layout::Floats(_) => 1.0,
                    Layout::Codes { .. } => *scales.get(row).ok_or("has more rows than there are scales")?,
                };
                use_vector(row, StoredVector::new(layout, bytes, scale));
            }
            Ok(())
        })
    }

    /// Reads the scale of each row of codes.
    fn read_scales(&mut self, file: &Arc<Table>, column: &str) -> Result<()> {
        let scale = field_of(file.metadata().schema(), column)?.metadata().get(SCALE_KEY).cloned().unwrap_or_default();
        let plain = Plain::of(file, &scale)?;
        let Self { pages, scales } = self;
        scales.clear();
        pages.each(file, plain, |_, bytes| {
            scales.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
            Ok(())
        })
    }
}

fn field_of<'a>(schema: &'a Schema, column: &str) -> Result<&'a arrow::datatypes::Field> {
    let missing = |_| Error::Column { column: column.to_owned(), problem: "is missing".to_owned() };
    schema.field_with_name(column).map_err(missing)
}

fn layout_of(file: &Table, column: &str) -> Result<Layout> {
    let field = field_of(file.metadata().schema(), column)?;
    Layout::of(field).map_err(|error| Error::Column { column: column.to_owned(), problem: error.to_string() })
}
