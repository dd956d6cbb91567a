//! One shard's features: a pure function of the shard, the teacher and the batch plan.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use arrow::array::{ArrayRef, BinaryArray, ListArray, RecordBatch, StringArray, StructArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, SchemaRef};
use rayon::prelude::*;
use retort_cache::vectors::{self, Stored};
use retort_cache::{Columns, Dataset, Interrupt, Progress, column, take_ids};
use retort_nn::{Encoded, pixels};
use retort_schemas::manifest::{BatchPlan, Shard};
use retort_schemas::{Store, features, tables};

use crate::{Error, Result, Teacher};

/// Batches that wait, preprocessed, while one is computed.
const BATCHES_AHEAD: usize = 2;

/// What all shards of a run have in common.
pub(crate) struct Bench<'a> {
    pub(crate) name: &'a str,
    pub(crate) teacher: &'a Teacher,
    pub(crate) dataset: &'a Dataset,
    pub(crate) store: Store,
    pub(crate) plan: BatchPlan,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) interrupt: &'a Interrupt,
}

/// Features of a shard's texts.
pub(crate) struct TextTables {
    pub(crate) texts: RecordBatch,
    pub(crate) tokens: Option<RecordBatch>,
    /// Texts that were longer than the model takes.
    pub(crate) truncated: u64,
}

/// Texts as tokens, their pooled features end to end, and where wanted the features of each one's tokens.
type Embedded = (Vec<Encoded>, Vec<f32>, Vec<Vec<f32>>);

impl Bench<'_> {
    /// The pooled embeddings `[images, width]` of a shard's images, their patch grids `[images, patches, patch width]`, or
    /// both: the tables of these names. Decoding and preprocessing run ahead of the encoder. An image that is missing,
    /// which ingest was told to allow, has zeros.
    pub(crate) fn images(
        &self,
        shard: &Shard,
        pooled: bool,
        patches: bool,
    ) -> Result<Option<Vec<(&'static str, RecordBatch)>>> {
        let Some(side) = &self.teacher.image else { return Ok(None) };
        let wanted = [tables::images::IMAGE_ID, tables::images::BYTES];
        let table = self.dataset.read(shard, tables::images::NAME, Columns::Named(&wanted))?;
        let ids = take_ids(&table)?;
        let encoded = column::<BinaryArray>(&table, tables::images::BYTES)?;
        let rows: Vec<usize> = (0..table.num_rows()).filter(|row| !encoded.value(*row).is_empty()).collect();
        let [places, patch_width] = side.grid_size();
        let grid_length = if patches { places * patch_width } else { 0 };
        let mut embeddings = vec![0.0; table.num_rows() * side.width];
        let mut grids = vec![0.0; table.num_rows() * grid_length];
        self.progress.advance((table.num_rows() - rows.len()) as u64);
        // Tensors stay on this thread; the decoders get only what they need.
        let (preprocessing, batch_images) = (&side.preprocessing, self.plan.images.max(1));
        std::thread::scope(|scope| -> Result<()> {
            let (ready, batches) = sync_channel::<Result<(Vec<f32>, Vec<usize>)>>(BATCHES_AHEAD);
            scope.spawn(move || {
                for batch in rows.chunks(batch_images) {
                    let preprocess = |row: &usize| {
                        let undecodable = |source| {
                            let (shard, id) = (shard.name.clone(), hex(ids.value(*row)));
                            Error::Undecodable { shard, id, source: Box::new(source) }
                        };
                        let image = pixels::decode(encoded.value(*row)).map_err(undecodable)?;
                        Ok(preprocessing.normalise(&preprocessing.fit(&image)?))
                    };
                    let pixels: Result<Vec<Vec<f32>>> = batch.par_iter().map(preprocess).collect();
                    let failed = pixels.is_err();
                    // The receiver is gone when the encoder failed: its error is the one to report.
                    if ready.send(pixels.map(|pixels| (pixels.concat(), batch.to_vec()))).is_err() || failed {
                        return;
                    }
                }
            });
            for batch in batches {
                self.interrupt.check()?;
                let (pixels, rows) = batch?;
                let (embedded, grid) = self.teacher.see_pixels(&pixels, rows.len(), patches)?;
                for (row, embedding) in rows.iter().zip(embedded.chunks_exact(side.width)) {
                    embeddings[row * side.width..][..side.width].copy_from_slice(embedding);
                }
                for (row, grid) in rows.iter().zip(grid.chunks_exact(grid_length.max(1))) {
                    grids[row * grid_length..][..grid_length].copy_from_slice(grid);
                }
                self.progress.advance(rows.len() as u64);
            }
            Ok(())
        })?;
        let row_id = |row: usize| hex(ids.value(row));
        let mut found = Vec::new();
        if pooled {
            self.check_finite(shard, features::images::NAME, &embeddings, side.width, &row_id)?;
            let stored = vectors::store(self.store, features::EMBEDDING, side.width, &embeddings)?;
            let columns = [vec![Arc::new(ids.clone()) as ArrayRef], stored.columns].concat();
            found.push((features::images::NAME, self.batch(features::images::with(stored.fields), columns)?));
        }
        if patches {
            self.check_finite(shard, features::patches::NAME, &grids, grid_length, &row_id)?;
            let offsets = OffsetBuffer::from_lengths(vec![places; table.num_rows()]);
            let stored = vectors::store_lists(self.store, features::patches::GRID, patch_width, &grids, &offsets)?;
            let columns = [vec![Arc::new(ids.clone()) as ArrayRef], stored.columns].concat();
            found.push((features::patches::NAME, self.batch(features::patches::with(stored.fields), columns)?));
        }
        Ok(Some(found))
    }

    /// `[texts, width]` of a shard's texts, and with `tokens` the features of their tokens.
    pub(crate) fn texts(&self, shard: &Shard, tokens: bool) -> Result<Option<TextTables>> {
        let Some(side) = &self.teacher.text else { return Ok(None) };
        let wanted = [tables::texts::TEXT_ID, tables::texts::TEXT];
        let table = self.dataset.read(shard, tables::texts::NAME, Columns::Named(&wanted))?;
        let ids = take_ids(&table)?;
        let texts: Vec<&str> = column::<StringArray>(&table, tables::texts::TEXT)?.iter().flatten().collect();
        let (encoded, pooled, features) = self.embed(&texts, tokens)?;
        let row_id = |row: usize| hex(ids.value(row));
        self.check_finite(shard, features::texts::NAME, &pooled, side.width, &row_id)?;
        let stored = vectors::store(self.store, features::EMBEDDING, side.width, &pooled)?;
        let columns = [vec![Arc::new(ids.clone()) as ArrayRef], stored.columns].concat();
        let texts = self.batch(features::texts::with(stored.fields), columns)?;
        let tokens = if tokens {
            let (stored, spans) = token_columns(self.store, side.token_width, &encoded, &features)?;
            let columns = [vec![Arc::new(ids.clone()) as ArrayRef], stored.columns, vec![spans]].concat();
            Some(self.batch(features::tokens::with(stored.fields), columns)?)
        } else {
            None
        };
        let truncated = encoded.iter().filter(|text| text.truncated).count() as u64;
        Ok(Some(TextTables { texts, tokens, truncated }))
    }

    /// Embeddings of words, alone and in the template.
    pub(crate) fn words(&self, shard: &Shard, words: &[String]) -> Result<Option<RecordBatch>> {
        let Some(side) = &self.teacher.text else { return Ok(None) };
        let prompts: Vec<String> = words.iter().map(|word| features::words::TEMPLATE.replace("{}", word)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (_, isolated, _) = self.embed(&words, false)?;
        let (_, prompted, _) = self.embed(&prompts.iter().map(String::as_str).collect::<Vec<_>>(), false)?;
        for floats in [&isolated, &prompted] {
            self.check_finite(shard, features::words::NAME, floats, side.width, &|row| words[row].to_owned())?;
        }
        let isolated = vectors::store(self.store, features::words::ISOLATED, side.width, &isolated)?;
        let prompted = vectors::store(self.store, features::words::PROMPT, side.width, &prompted)?;
        let words: ArrayRef = Arc::new(StringArray::from(words));
        let columns = [vec![words], isolated.columns, prompted.columns].concat();
        Ok(Some(self.batch(features::words::with(isolated.fields, prompted.fields), columns)?))
    }

    /// Tokenises, sorts by length so that batches hold little padding, encodes, and puts rows back in order.
    fn embed(&self, texts: &[&str], tokens: bool) -> Result<Embedded> {
        let Some(side) = &self.teacher.text else { return Ok(Default::default()) };
        let tokenizer = &side.tokenizer;
        let encoded: Vec<Encoded> =
            texts.par_iter().map(|text| tokenizer.encode(text)).collect::<Result<_, retort_nn::Error>>()?;
        let mut order: Vec<usize> = (0..encoded.len()).collect();
        order.sort_by_key(|row| (encoded[*row].ids.len(), *row));
        let mut pooled = vec![0.0; encoded.len() * side.width];
        let mut features = vec![Vec::new(); if tokens { encoded.len() } else { 0 }];
        for rows in order.chunks(self.plan.texts.max(1)) {
            self.interrupt.check()?;
            let batch: Vec<&Encoded> = rows.iter().map(|row| &encoded[*row]).collect();
            let (batch_pooled, batch_features) = self.teacher.embed_texts(&batch, tokens)?;
            for (row, vector) in rows.iter().zip(batch_pooled.chunks_exact(side.width)) {
                pooled[row * side.width..(row + 1) * side.width].copy_from_slice(vector);
            }
            for (row, vectors) in rows.iter().zip(batch_features) {
                features[*row] = vectors;
            }
            self.progress.advance(rows.len() as u64);
        }
        Ok((encoded, pooled, features))
    }

    fn check_finite(
        &self,
        shard: &Shard,
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
        Err(Error::NotFinite { teacher: self.name.to_owned(), table, shard: shard.name.clone(), ids: ids.join(", ") })
    }

    fn batch(&self, schema: SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
        let path = self.dataset.folder();
        RecordBatch::try_new(schema, columns).map_err(|error| retort_cache::Error::arrow(path)(error).into())
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
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
