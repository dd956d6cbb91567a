//! The rows of an export: pairs of image and text where there are both, images or texts alone elsewhere.

use std::sync::Arc;

use arrow::array::{Array, AsArray, ListArray, RecordBatch, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use retort_schemas::manifest::Shard;
use retort_schemas::{features, tables};

use super::Job;
use crate::floats::{Floats, vector_columns};
use crate::{Columns, Error, Result, column, take_ids};

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A sample's image with one of its texts.
    Pairs,
    /// An image.
    Images,
    /// A text.
    Texts,
}

impl Kind {
    /// What the rows of a job are.
    pub(super) fn of(job: &Job<'_>) -> Self {
        let has = |own: &[&str], rows: &str| own.iter().any(|table| job.has(table)) && job.rows(rows) > 0;
        let images = has(&[features::images::NAME, features::patches::NAME], tables::images::NAME);
        let texts = has(&[features::texts::NAME, features::tokens::NAME], tables::texts::NAME);
        let pairs = images && texts && job.rows(tables::samples::NAME) > 0;
        match (pairs, images) {
            (true, _) => Self::Pairs,
            (false, true) => Self::Images,
            (false, false) => Self::Texts,
        }
    }

    pub(super) fn has_images(self) -> bool {
        self != Self::Texts
    }

    pub(super) fn has_texts(self) -> bool {
        self != Self::Images
    }

    /// Columns of [`ShardRows::metadata`], all strings; `image_path` and `caption` are clip-retrieval's names.
    pub(super) fn schema(self) -> SchemaRef {
        let names: &[&str] = match self {
            Self::Pairs => &["image_path", "caption", "sample_id", "image_id", "text_id"],
            Self::Images => &["image_path", "image_id"],
            Self::Texts => &["caption", "text_id"],
        };
        Arc::new(Schema::new(names.iter().map(|name| Field::new(*name, DataType::Utf8, false)).collect::<Vec<_>>()))
    }
}

/// Features of images or of texts of one shard, with what they belong to.
struct Side {
    /// One vector a row, where they are exported.
    embeddings: Option<Floats>,
    /// A list of vectors a row: the patches, or the tokens.
    lists: Option<Floats>,
    /// Where each token lies in its text.
    spans: Option<Spans>,
    /// Ids in hex.
    ids: Vec<String>,
    /// The path of an image, or the text.
    names: StringArray,
}

/// The rows of one shard.
pub(super) struct ShardRows {
    kind: Kind,
    images: Option<Side>,
    texts: Option<Side>,
    /// Rows of `images`, of `texts`, and the sample; of a kind without one of them, zeros.
    rows: Vec<(usize, usize, usize)>,
    samples: Option<StringArray>,
    /// Samples without a text.
    pub(super) skipped: u64,
}

impl ShardRows {
    /// Reads the embeddings of a shard and what they belong to.
    pub(super) fn read(job: &Job<'_>, shard: &Shard, kind: Kind) -> Result<Self> {
        use tables::{images as image_rows, texts as text_rows};
        let images = Names {
            pooled: features::images::NAME,
            lists: features::patches::NAME,
            owner: image_rows::NAME,
            id: image_rows::IMAGE_ID,
            name: image_rows::SOURCE,
        };
        let texts = Names {
            pooled: features::texts::NAME,
            lists: features::tokens::NAME,
            owner: text_rows::NAME,
            id: text_rows::TEXT_ID,
            name: text_rows::TEXT,
        };
        let mut rows = Self {
            kind,
            images: kind.has_images().then(|| side(job, shard, images)).transpose()?,
            texts: kind.has_texts().then(|| side(job, shard, texts)).transpose()?,
            rows: Vec::new(),
            samples: None,
            skipped: 0,
        };
        match kind {
            Kind::Pairs => rows.pair(job, shard)?,
            Kind::Images => rows.rows = (0..shard.rows(tables::images::NAME) as usize).map(|row| (row, 0, 0)).collect(),
            Kind::Texts => rows.rows = (0..shard.rows(tables::texts::NAME) as usize).map(|row| (0, row, 0)).collect(),
        }
        Ok(rows)
    }

    /// One row a text of a sample.
    fn pair(&mut self, job: &Job<'_>, shard: &Shard) -> Result<()> {
        use tables::samples::{IMAGE, NAME, SAMPLE_ID, TEXTS};
        let batch = job.export.dataset.read(shard, NAME, Columns::Named(&[SAMPLE_ID, IMAGE, TEXTS]))?;
        let images = column::<UInt32Array>(&batch, IMAGE)?;
        let texts = column::<ListArray>(&batch, TEXTS)?;
        for sample in 0..batch.num_rows() {
            let candidates = texts.value(sample);
            self.skipped += u64::from(candidates.is_empty());
            for text in candidates.as_primitive::<UInt32Type>().values() {
                self.rows.push((images.value(sample) as usize, *text as usize, sample));
            }
        }
        let within = |side: &Option<Side>, row: usize| side.as_ref().is_some_and(|side| row < side.ids.len());
        if !self.rows.iter().all(|(image, text, _)| within(&self.images, *image) && within(&self.texts, *text)) {
            let problem = format!("a sample of shard {} points at an image or text that is not there", shard.name);
            return Err(Error::Column { column: NAME.to_owned(), problem });
        }
        self.samples = Some(column::<StringArray>(&batch, SAMPLE_ID)?.clone());
        Ok(())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The image's embedding of a row.
    pub(super) fn image(&self, row: usize) -> Option<(&Floats, &[f32])> {
        let column = self.images.as_ref()?.embeddings.as_ref()?;
        Some((column, column.row(self.rows[row].0)))
    }

    /// The text's embedding of a row.
    pub(super) fn text(&self, row: usize) -> Option<(&Floats, &[f32])> {
        let column = self.texts.as_ref()?.embeddings.as_ref()?;
        Some((column, column.row(self.rows[row].1)))
    }

    /// The patch grid of a row's image, `[patches, width]`.
    pub(super) fn patches(&self, row: usize) -> Option<(&Floats, &[f32])> {
        let column = self.images.as_ref()?.lists.as_ref()?;
        Some((column, column.row(self.rows[row].0)))
    }

    /// The tokens of a row's text, `[tokens, width]`.
    pub(super) fn tokens(&self, row: usize) -> Option<(&Floats, &[f32])> {
        let column = self.texts.as_ref()?.lists.as_ref()?;
        Some((column, column.row(self.rows[row].1)))
    }

    /// Start and end of each token of a row's text, `[tokens, 2]`.
    pub(super) fn spans(&self, row: usize) -> Option<&[u32]> {
        Some(self.texts.as_ref()?.spans.as_ref()?.row(self.rows[row].1))
    }

    /// What each row is, as [`Kind::schema`] has it.
    pub(super) fn metadata(&self) -> Result<RecordBatch> {
        let schema = self.kind.schema();
        let cell = |name: &str, &(image, text, sample): &(usize, usize, usize)| -> Option<String> {
            Some(match name {
                "image_path" => self.images.as_ref()?.names.value(image).to_owned(),
                "image_id" => self.images.as_ref()?.ids[image].clone(),
                "caption" => self.texts.as_ref()?.names.value(text).to_owned(),
                "text_id" => self.texts.as_ref()?.ids[text].clone(),
                _ => self.samples.as_ref()?.value(sample).to_owned(),
            })
        };
        let columns = schema.fields().iter().map(|field| {
            let cells = self.rows.iter().map(|row| cell(field.name(), row).unwrap_or_default());
            Arc::new(StringArray::from_iter_values(cells)) as _
        });
        RecordBatch::try_new(schema.clone(), columns.collect())
            .map_err(|error| Error::Column { column: "metadata".to_owned(), problem: error.to_string() })
    }
}

/// What a side is made of.
struct Names {
    /// The feature table of one vector a row.
    pooled: &'static str,
    /// That of a list of vectors a row.
    lists: &'static str,
    /// The data set's table.
    owner: &'static str,
    /// Its id column.
    id: &'static str,
    /// Its column that names a row.
    name: &'static str,
}

fn side(job: &Job<'_>, shard: &Shard, names: Names) -> Result<Side> {
    let table = job.export.dataset.read(shard, names.owner, Columns::Named(&[names.id, names.name]))?;
    let hex = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect();
    let read = |table: &str| job.has(table).then(|| read(job, shard, table)).transpose();
    let (pooled, lists) = (read(names.pooled)?, read(names.lists)?);
    let spans = lists.as_ref().filter(|_| names.lists == features::tokens::NAME);
    Ok(Side {
        spans: spans.map(|(_, batch)| Spans::of(batch)).transpose()?,
        embeddings: pooled.map(|(mut columns, _)| columns.swap_remove(0)),
        lists: lists.map(|(mut columns, _)| columns.swap_remove(0)),
        ids: take_ids(&table)?.iter().flatten().map(hex).collect(),
        names: column::<StringArray>(&table, names.name)?.clone(),
    })
}

/// The vector columns of a shard's table, at least one, and the table.
pub(super) fn read(job: &Job<'_>, shard: &Shard, table: &str) -> Result<(Vec<Floats>, RecordBatch)> {
    let batch = job.export.teacher.read(job.export.dataset, shard, table)?;
    let found = vector_columns(&batch)?;
    if found.is_empty() {
        let problem = format!("of {table} has no vectors in shard {}", shard.name);
        return Err(Error::Column { column: features::EMBEDDING.to_owned(), problem });
    }
    Ok((found, batch))
}

/// Byte offsets of the tokens of each text.
pub(super) struct Spans {
    /// Start and end of all tokens, `[tokens, 2]`.
    pub(super) all: Vec<u32>,
    /// Row i has the tokens from `offsets[i]` to `offsets[i + 1]`.
    pub(super) offsets: Vec<usize>,
}

impl Spans {
    /// Those of a table of token features.
    pub(super) fn of(batch: &RecordBatch) -> Result<Self> {
        let name = features::tokens::TOKEN_SPANS;
        let lists = column::<ListArray>(batch, name)?;
        let bound = |name: &str| lists.values().as_struct_opt()?.column_by_name(name)?.as_primitive_opt::<UInt32Type>();
        let wrong = || Error::Column { column: name.to_owned(), problem: "holds no spans".to_owned() };
        let (starts, ends) = bound("start").zip(bound("end")).ok_or_else(wrong)?;
        let offsets: Vec<usize> = lists.value_offsets().iter().map(|offset| *offset as usize).collect();
        let (from, to) = offsets.first().zip(offsets.last()).ok_or_else(wrong)?;
        let all = (*from..*to).flat_map(|at| [starts.value(at), ends.value(at)]).collect();
        Ok(Self { all, offsets: offsets.iter().map(|offset| offset - from).collect() })
    }

    fn row(&self, row: usize) -> &[u32] {
        &self.all[2 * self.offsets[row]..2 * self.offsets[row + 1]]
    }
}
