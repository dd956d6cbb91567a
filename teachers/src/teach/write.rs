//! The thread that writes: features as tables, checked, stored and committed shard by shard.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use arrow::array::{
    Array, ArrayRef, FixedSizeBinaryArray, ListArray, RecordBatch, StringArray, StructArray, UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, SchemaRef};
use retort_cache::TeacherWriter;
use retort_cache::vectors::{self, Stored};
use retort_nn::Encoded;
use retort_schemas::{Store, features};

use super::compute::{Computed, Embedded, Handed};
use super::hex;
use super::plan::{Course, Reading, Run, Seeing};
use crate::{Error, Result};

/// What was committed of a teacher.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    pub(super) shards: usize,
    /// Texts that were longer than the model takes.
    pub(super) truncated: u64,
}

/// A table by name.
type Table = (&'static str, RecordBatch);

/// Commits what comes, one writer and one entry of the result a teacher.
///
/// # Errors
/// [`Error::NotFinite`], and those of the cache. What was committed before stays.
pub(super) fn write(
    run: &Run<'_>,
    writers: &mut [TeacherWriter],
    handed: &Receiver<Handed<'_>>,
) -> Result<Vec<Written>> {
    let mut written = vec![Written::default(); writers.len()];
    while let Ok(Handed { computed: shard, committed }) = handed.recv() {
        let tables = Tables { run, course: &run.courses[shard.teacher], shard: &shard }.all()?;
        writers[shard.teacher].commit(&shard.rows.work.shard, &tables)?;
        // A worker that has stopped does not ask.
        let _ = committed.send(());
        let written = &mut written[shard.teacher];
        written.shards += 1;
        let texts = shard.texts.iter().flat_map(|embedded| &embedded.texts);
        written.truncated += texts.filter(|text| text.truncated).count() as u64;
        run.tally.ended(shard.teacher);
    }
    Ok(written)
}

/// Makes the tables of one shard.
struct Tables<'s> {
    run: &'s Run<'s>,
    course: &'s Course<'s>,
    shard: &'s Computed<'s>,
}

impl Tables<'_> {
    fn all(&self) -> Result<Vec<Table>> {
        let rows = &self.shard.rows;
        let mut tables = Vec::new();
        if let (Some(seeing), Some(ids)) = (&self.course.seeing, &rows.images) {
            tables.extend(self.images(seeing, ids)?);
        }
        if let (Some(reading), Some(ids), Some(embedded)) = (&self.course.reading, &rows.texts, &self.shard.texts) {
            tables.extend(self.texts(reading, ids, embedded)?);
        }
        if let (Some(reading), Some(vectors)) = (&self.course.reading, &self.shard.words) {
            tables.push(self.words(reading, vectors)?);
        }
        Ok(tables)
    }

    fn images(&self, seeing: &Seeing<'_>, ids: &FixedSizeBinaryArray) -> Result<Vec<Table>> {
        let Computed { embeddings, grids, .. } = self.shard;
        let (wants, [places, patch_width]) = (self.shard.wants(), seeing.grid);
        let row_id = |row: usize| hex(ids.value(row));
        let mut tables = Vec::new();
        if wants.images {
            self.check_finite(features::images::NAME, embeddings, seeing.width, &row_id)?;
            let stored = vectors::store(self.course.store, features::EMBEDDING, seeing.width, embeddings)?;
            tables.push((
                features::images::NAME,
                self.table(features::images::with(stored.fields), ids, stored.columns)?,
            ));
        }
        if wants.patches {
            self.check_finite(features::patches::NAME, grids, places * patch_width, &row_id)?;
            let offsets = OffsetBuffer::from_lengths(vec![places; ids.len()]);
            let stored =
                vectors::store_lists(self.course.store, features::patches::GRID, patch_width, grids, &offsets)?;
            let schema = features::patches::with(stored.fields);
            tables.push((features::patches::NAME, self.table(schema, ids, stored.columns)?));
        }
        Ok(tables)
    }

    fn texts(&self, reading: &Reading<'_>, ids: &FixedSizeBinaryArray, embedded: &Embedded) -> Result<Vec<Table>> {
        let Embedded { texts, pooled, tokens } = embedded;
        let wants = self.shard.wants();
        self.check_finite(features::texts::NAME, pooled, reading.width, &|row| hex(ids.value(row)))?;
        let mut tables = Vec::new();
        if wants.texts {
            let stored = vectors::store(self.course.store, features::EMBEDDING, reading.width, pooled)?;
            tables
                .push((features::texts::NAME, self.table(features::texts::with(stored.fields), ids, stored.columns)?));
        }
        if wants.tokens {
            let (stored, spans) = token_columns(self.course.store, reading.token_width, texts, tokens)?;
            let columns = [stored.columns, vec![spans]].concat();
            tables.push((features::tokens::NAME, self.table(features::tokens::with(stored.fields), ids, columns)?));
        }
        Ok(tables)
    }

    /// Embeddings of words, alone and in the template.
    fn words(&self, reading: &Reading<'_>, vectors: &[Vec<f32>; 2]) -> Result<Table> {
        let words = self.shard.rows.words;
        for floats in vectors {
            self.check_finite(features::words::NAME, floats, reading.width, &|row| words[row].clone())?;
        }
        let [isolated, prompted] = vectors;
        let isolated = vectors::store(self.course.store, features::words::ISOLATED, reading.width, isolated)?;
        let prompted = vectors::store(self.course.store, features::words::PROMPT, reading.width, prompted)?;
        let schema = features::words::with(isolated.fields, prompted.fields);
        let words = StringArray::from_iter_values(words);
        Ok((features::words::NAME, self.table(schema, &words, [isolated.columns, prompted.columns].concat())?))
    }

    fn check_finite(
        &self,
        table: &'static str,
        floats: &[f32],
        width: usize,
        id: &dyn Fn(usize) -> String,
    ) -> Result<()> {
        let bad = floats.chunks_exact(width.max(1)).enumerate().filter(|(_, row)| row.iter().any(|x| !x.is_finite()));
        let ids: Vec<String> = bad.take(3).map(|(row, _)| id(row)).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let (teacher, shard) = (self.course.name.to_owned(), self.shard.rows.work.shard.clone());
        Err(Error::NotFinite { teacher, table, shard, ids: ids.join(", "), narrow: self.course.narrow })
    }

    /// A table of what its rows are called and other columns.
    fn table(
        &self,
        schema: SchemaRef,
        names: &(impl Array + Clone + 'static),
        others: Vec<ArrayRef>,
    ) -> Result<RecordBatch> {
        let columns = [vec![Arc::new(names.clone()) as ArrayRef], others].concat();
        let path = self.run.dataset.folder();
        RecordBatch::try_new(schema, columns).map_err(|error| retort_cache::Error::arrow(path)(error).into())
    }
}

/// The list columns of the token table: features as stored, and byte spans; special tokens are left out of both.
fn token_columns(store: Store, width: usize, encoded: &[Encoded], features: &[Vec<f32>]) -> Result<(Stored, ArrayRef)> {
    let content = |text: &Encoded| -> Vec<(u32, u32)> {
        text.spans.iter().zip(&text.special).filter(|(_, special)| !**special).map(|(span, _)| *span).collect()
    };
    let spans: Vec<Vec<(u32, u32)>> = encoded.iter().map(content).collect();
    let offsets = OffsetBuffer::from_lengths(spans.iter().map(Vec::len));
    let stored = vectors::store_lists(store, features::tokens::TOKENS, width, &features.concat(), &offsets)?;
    let all: Vec<(u32, u32)> = spans.concat();
    let starts = UInt32Array::from_iter_values(all.iter().map(|span| span.0));
    let ends = UInt32Array::from_iter_values(all.iter().map(|span| span.1));
    let span_structs = StructArray::new(features::tokens::span_fields(), vec![Arc::new(starts), Arc::new(ends)], None);
    let item = Arc::new(Field::new_list_field(DataType::Struct(features::tokens::span_fields()), false));
    Ok((stored, Arc::new(ListArray::new(item, offsets, Arc::new(span_structs), None))))
}
