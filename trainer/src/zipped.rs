//! One shard, zipped: row i of every table side by side, in memory.

use arrow::array::{
    Array, AsArray, BinaryArray, FixedSizeBinaryArray, Float32Array, ListArray, RecordBatch, StringArray, StructArray,
    UInt32Array,
};
use retort_cache::vectors::Rows;
use retort_cache::{Columns, Dataset, RowsRead, TeacherCache, column};
use retort_schemas::manifest::Shard;
use retort_schemas::{features, tables};

use crate::Result;
use crate::controls::RandomTeacher;
use crate::patches::Patches;
use crate::regions::Regions;
use crate::students::VisualFeatures;

/// One sample as ingest wrote it.
#[derive(Debug, Clone, Default)]
pub(crate) struct SampleRow {
    pub(crate) id: String,
    pub(crate) task: String,
    /// Row of the shard's images.
    pub(crate) image: usize,
    /// Rows of the shard's texts: the candidates of a choice, one otherwise.
    pub(crate) texts: Vec<usize>,
    pub(crate) label: Option<u32>,
    pub(crate) label_text: Option<String>,
    pub(crate) answers: Vec<String>,
    /// Class and soft score.
    pub(crate) targets: Vec<(u32, f32)>,
    pub(crate) question_type: Option<String>,
    pub(crate) answer_type: Option<String>,
    pub(crate) group: [u8; 16],
}

/// Pooled vectors of a table, each of length 1, `[rows, width]`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pooled {
    pub(crate) width: usize,
    vectors: Vec<f32>,
}

impl Pooled {
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.vectors[row * self.width..(row + 1) * self.width]
    }

    /// The same rows of a teacher that knows nothing; `items` says whose feature a row is.
    pub(crate) fn replaced<T: AsRef<str>>(
        &self,
        random: &RandomTeacher,
        of: &str,
        items: impl Iterator<Item = T>,
    ) -> Self {
        let vectors = items.flat_map(|item| random.feature(of, item.as_ref(), self.width)).collect();
        Self { width: self.width, vectors }
    }
}

/// Contextual token features with their byte spans, as stored.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    vectors: Rows,
    spans: ListArray,
}

impl Tokens {
    /// Elements of a feature.
    pub(crate) fn width(&self) -> usize {
        self.vectors.width()
    }

    /// Mean feature, of length 1, of the tokens of text `row` that share a byte with `start..end`; none if none do.
    pub(crate) fn mean(&self, row: usize, start: usize, end: usize) -> Option<Vec<f32>> {
        let spans = self.spans.value(row);
        let spans = spans.as_any().downcast_ref::<StructArray>()?;
        let bound = |name: &str| spans.column_by_name(name).and_then(|c| c.as_any().downcast_ref::<UInt32Array>());
        let (starts, ends) = (bound("start")?, bound("end")?);
        let mut sum = vec![0.0; self.width()];
        let mut one = vec![0.0; self.width()];
        let mut found = false;
        for (token, vector) in self.vectors.of_row(row).enumerate() {
            if (starts.value(token) as usize) < end && (ends.value(token) as usize) > start {
                self.vectors.decode(vector..vector + 1, &mut one);
                sum.iter_mut().zip(&one).for_each(|(sum, x)| *sum += x);
                found = true;
            }
        }
        normalise(&mut sum);
        found.then_some(sum)
    }
}

/// A shard with everything that training wants of it.
pub(crate) struct Zipped {
    pub(crate) shard: String,
    pub(crate) samples: Vec<SampleRow>,
    pub(crate) texts: StringArray,
    /// Where texts name objects of the image.
    pub(crate) objects: ListArray,
    /// Where the second and further parts of texts begin; data sets before texts/1.1 do not say.
    pub(crate) parts: Option<ListArray>,
    /// Encoded images; none where the student reads no pixels.
    pub(crate) images: BinaryArray,
    /// Where the student reads regions.
    pub(crate) regions: Option<Regions>,
    pub(crate) image_ids: FixedSizeBinaryArray,
    /// Where the student reads a patch grid.
    pub(crate) patches: Option<Patches>,
    /// z_v by image row.
    pub(crate) z_v: Option<Pooled>,
    /// z_t by text row.
    pub(crate) z_t: Option<Pooled>,
    pub(crate) tokens: Option<Tokens>,
}

impl Zipped {
    /// Byte offsets at which the second and further parts of text `row` begin.
    pub(crate) fn parts(&self, row: usize) -> Vec<usize> {
        let parts = self.parts.as_ref().map(|parts| parts.value(row));
        let parts = parts.as_ref().and_then(|parts| parts.as_any().downcast_ref::<UInt32Array>());
        parts.map(|parts| parts.values().iter().map(|at| *at as usize).collect()).unwrap_or_default()
    }

    /// Whether text `row` names an object of the image anywhere in `start..end`.
    pub(crate) fn names_object(&self, row: usize, start: usize, end: usize) -> bool {
        retort_cache::names_object(&self.objects, row, start..end)
    }
}

/// Where shards come from, and which of their parts are wanted.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub(crate) dataset: Dataset,
    pub(crate) image_teacher: Option<TeacherCache>,
    pub(crate) text_teacher: Option<TeacherCache>,
    pub(crate) with_tokens: bool,
    /// Encoded images.
    pub(crate) with_pixels: bool,
    /// Detected regions.
    pub(crate) with_regions: bool,
    /// Says something else in the place of the teachers.
    pub(crate) random: Option<RandomTeacher>,
    /// Whose patch grid takes the place of encoded images.
    pub(crate) grid_teacher: Option<TeacherCache>,
}

impl Sources {
    /// The same without what a student sees of an image, nor what tokens are drawn to: samples, texts and pooled features,
    /// for whoever goes over the whole training part before the first step.
    pub(crate) fn without_pictures(&self) -> Self {
        Self { with_tokens: false, with_pixels: false, with_regions: false, grid_teacher: None, ..self.clone() }
    }

    /// Reads and zips a shard; every feature row is matched by id.
    pub(crate) fn load(&self, shard: &Shard) -> Result<Zipped> {
        self.zip(shard, samples(&self.dataset, shard)?, None)
    }

    /// Reads and zips some samples of a shard, in the order asked for, with the images and texts that they point at and
    /// no others: sample, image and text rows are those of the result.
    pub(crate) fn load_rows(&self, shard: &Shard, rows: &[usize]) -> Result<Zipped> {
        let batch = self.dataset.read_rows(shard, tables::samples::NAME, Columns::All, rows)?;
        let mut samples = samples_of(&batch)?;
        let images = distinct(samples.iter().map(|sample| sample.image));
        let texts = distinct(samples.iter().flat_map(|sample| sample.texts.iter().copied()));
        for sample in &mut samples {
            sample.image = place_in(&images, sample.image);
            sample.texts.iter_mut().for_each(|text| *text = place_in(&texts, *text));
        }
        self.zip(shard, samples, Some((&images, &texts)))
    }

    /// What reading by rows has cost so far, of the data set and of the teachers.
    pub(crate) fn rows_read(&self) -> RowsRead {
        let teachers = [&self.image_teacher, &self.text_teacher, &self.grid_teacher];
        let of_teachers = teachers.into_iter().flatten().map(TeacherCache::rows_read);
        of_teachers.fold(self.dataset.rows_read(), |sum, read| sum + read)
    }

    /// Zips samples with rows of a shard's images and texts: all of them, or those named.
    fn zip(&self, shard: &Shard, samples: Vec<SampleRow>, rows: Option<(&[usize], &[usize])>) -> Result<Zipped> {
        let (of_images, of_texts) = rows.unzip();
        let columns = Columns::Named(&[tables::texts::TEXT, tables::texts::OBJECTS, tables::texts::PARTS]);
        let texts = read_part(&self.dataset, shard, tables::texts::NAME, columns, of_texts)?;
        let regions = if self.with_regions { Some(Regions::read_part(&self.dataset, shard, of_images)?) } else { None };
        let grid = |teacher: &TeacherCache| Patches::read_part(teacher, &self.dataset, shard, of_images);
        let patches = self.grid_teacher.as_ref().map(grid).transpose()?;
        let ids = tables::images::IMAGE_ID;
        let wanted = if self.with_pixels { vec![ids, tables::images::BYTES] } else { vec![ids] };
        let table = read_part(&self.dataset, shard, tables::images::NAME, Columns::Named(&wanted), of_images)?;
        let images = if self.with_pixels {
            column::<BinaryArray>(&table, tables::images::BYTES)?.clone()
        } else {
            BinaryArray::new_null(0)
        };
        let features = |teacher: &Option<TeacherCache>, table: &str| -> Result<Option<RecordBatch>> {
            let rows = if table == features::images::NAME { of_images } else { of_texts };
            let read = |teacher| read_features(teacher, &self.dataset, shard, table, rows);
            Ok(teacher.as_ref().map(read).transpose()?)
        };
        let z_v = features(&self.image_teacher, features::images::NAME)?;
        let z_t = features(&self.text_teacher, features::texts::NAME)?;
        let tokens = if self.with_tokens { features(&self.text_teacher, features::tokens::NAME)? } else { None };
        let mut zipped = Zipped {
            shard: shard.name.clone(),
            samples,
            texts: column::<StringArray>(&texts, tables::texts::TEXT)?.clone(),
            objects: column::<ListArray>(&texts, tables::texts::OBJECTS)?.clone(),
            parts: texts.column_by_name(tables::texts::PARTS).and_then(|parts| parts.as_list_opt::<i32>()).cloned(),
            images,
            regions,
            image_ids: column::<FixedSizeBinaryArray>(&table, tables::images::IMAGE_ID)?.clone(),
            patches,
            z_v: z_v.as_ref().map(|batch| pooled(batch, features::EMBEDDING)).transpose()?,
            z_t: z_t.as_ref().map(|batch| pooled(batch, features::EMBEDDING)).transpose()?,
            tokens: tokens.as_ref().map(token_rows).transpose()?,
        };
        if let Some(random) = &self.random {
            let images = zipped.image_ids.iter().flatten().map(hex);
            zipped.z_v = zipped.z_v.map(|z_v| z_v.replaced(random, "image", images));
            zipped.z_t = zipped.z_t.map(|z_t| z_t.replaced(random, "text", zipped.texts.iter().flatten()));
        }
        Ok(zipped)
    }
}

impl Sources {
    /// Sizes of what there is of the images of these shards, where the student reads no pixels; an image teacher has to
    /// have the patch grids of all of them.
    pub(crate) fn visual_features<'a>(
        &self,
        mut shards: impl Iterator<Item = &'a Shard> + Clone,
    ) -> Result<Option<VisualFeatures>> {
        if let Some(teacher) = &self.grid_teacher {
            shards.clone().try_for_each(|shard| Patches::check(teacher, &self.dataset, shard))?;
            let first = shards.next().map(|shard| Patches::read(teacher, &self.dataset, shard)).transpose()?;
            return Ok(first.map(|grid| VisualFeatures {
                width: grid.width(),
                places: grid.places(),
                teacher: teacher.folder_name().to_owned(),
            }));
        }
        let first = shards.next().filter(|_| self.with_regions);
        let of = |shard| -> Result<VisualFeatures> {
            Ok(VisualFeatures { width: Regions::read(&self.dataset, shard)?.width(), ..VisualFeatures::default() })
        };
        first.map(of).transpose()
    }

    /// Whether the image teacher embeds texts into the same space, and has those of all these shards.
    pub(crate) fn has_joint_texts<'a>(&self, shards: impl Iterator<Item = &'a Shard>) -> Result<bool> {
        let Some(teacher) = self.image_teacher.as_ref().filter(|teacher| teacher.manifest().joint) else {
            return Ok(false);
        };
        for shard in shards {
            if teacher.shard(&shard.name)?.is_none_or(|mine| !mine.tables.contains_key(features::texts::NAME)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The image teacher's own features of the texts of a shard.
    pub(crate) fn joint_texts(&self, shard: &Shard) -> Result<Option<Pooled>> {
        let Some(teacher) = &self.image_teacher else { return Ok(None) };
        let batch = teacher.read(&self.dataset, shard, features::texts::NAME)?;
        let z_t = pooled(&batch, features::EMBEDDING)?;
        let Some(random) = &self.random else { return Ok(Some(z_t)) };
        let texts = self.dataset.read(shard, tables::texts::NAME, Columns::Named(&[tables::texts::TEXT]))?;
        let texts = column::<StringArray>(&texts, tables::texts::TEXT)?;
        Ok(Some(z_t.replaced(random, "joint-text", texts.iter().flatten())))
    }
}

/// Sorted, each once.
fn distinct(rows: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut rows: Vec<usize> = rows.collect();
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// Where a row is among sorted ones that hold it.
fn place_in(rows: &[usize], row: usize) -> usize {
    rows.partition_point(|known| *known < row)
}

/// Reads a table of a shard, or some rows of it.
pub(crate) fn read_part(
    dataset: &Dataset,
    shard: &Shard,
    table: &str,
    columns: Columns<'_>,
    rows: Option<&[usize]>,
) -> retort_cache::Result<RecordBatch> {
    match rows {
        Some(rows) => dataset.read_rows(shard, table, columns, rows),
        None => dataset.read(shard, table, columns),
    }
}

/// Reads a table of features of a shard, or some rows of it, matched by id.
pub(crate) fn read_features(
    teacher: &TeacherCache,
    dataset: &Dataset,
    shard: &Shard,
    table: &str,
    rows: Option<&[usize]>,
) -> retort_cache::Result<RecordBatch> {
    match rows {
        Some(rows) => teacher.read_rows(dataset, shard, table, Columns::All, rows),
        None => teacher.read(dataset, shard, table),
    }
}

/// The samples of a shard.
pub(crate) fn samples(dataset: &Dataset, shard: &Shard) -> Result<Vec<SampleRow>> {
    samples_of(&dataset.read(shard, tables::samples::NAME, Columns::All)?)
}

fn samples_of(batch: &RecordBatch) -> Result<Vec<SampleRow>> {
    use tables::samples as names;
    let ids = column::<StringArray>(batch, names::SAMPLE_ID)?;
    let tasks = column::<StringArray>(batch, names::TASK)?;
    let images = column::<UInt32Array>(batch, names::IMAGE)?;
    let texts = column::<ListArray>(batch, names::TEXTS)?;
    let labels = column::<UInt32Array>(batch, names::LABEL)?;
    let label_texts = column::<StringArray>(batch, names::LABEL_TEXT)?;
    let answers = column::<ListArray>(batch, names::ANSWERS)?;
    let targets = column::<ListArray>(batch, names::TARGETS)?;
    let types = column::<StringArray>(batch, names::QUESTION_TYPE)?;
    let answer_types = column::<StringArray>(batch, names::ANSWER_TYPE)?;
    let groups = column::<FixedSizeBinaryArray>(batch, names::GROUP)?;
    let broken = |column: &str| retort_cache::Error::Column {
        column: column.to_owned(),
        problem: "has items of another type".to_owned(),
    };
    let text = |array: &StringArray, row: usize| array.is_valid(row).then(|| array.value(row).to_owned());
    (0..batch.num_rows())
        .map(|row| {
            let text_rows = texts.value(row);
            let text_rows = text_rows.as_any().downcast_ref::<UInt32Array>().filter(|rows| !rows.is_empty());
            let text_rows = text_rows.ok_or_else(|| broken(names::TEXTS))?;
            let answer_list = answers.value(row);
            let answer_list = answer_list.as_any().downcast_ref::<StringArray>();
            let target_list = targets.value(row);
            let target_list = target_list.as_struct_opt().ok_or_else(|| broken(names::TARGETS))?;
            let classes = target_list.column(0).as_any().downcast_ref::<UInt32Array>();
            let scores = target_list.column(1).as_any().downcast_ref::<Float32Array>();
            let (Some(classes), Some(scores)) = (classes, scores) else { return Err(broken(names::TARGETS).into()) };
            Ok(SampleRow {
                id: ids.value(row).to_owned(),
                task: tasks.value(row).to_owned(),
                image: images.value(row) as usize,
                texts: text_rows.values().iter().map(|row| *row as usize).collect(),
                label: labels.is_valid(row).then(|| labels.value(row)),
                label_text: text(label_texts, row),
                answers: answer_list
                    .ok_or_else(|| broken(names::ANSWERS))?
                    .iter()
                    .flatten()
                    .map(str::to_owned)
                    .collect(),
                targets: classes.values().iter().copied().zip(scores.values().iter().copied()).collect(),
                question_type: text(types, row),
                answer_type: text(answer_types, row),
                group: groups.value(row).try_into().unwrap_or_default(),
            })
        })
        .collect()
}

/// A vector column as floats, each row scaled to length 1.
pub(crate) fn pooled(batch: &RecordBatch, name: &str) -> Result<Pooled> {
    let rows = Rows::of(batch, name)?;
    let mut vectors = rows.floats();
    vectors.chunks_exact_mut(rows.width().max(1)).for_each(normalise);
    Ok(Pooled { width: rows.width(), vectors })
}

fn token_rows(batch: &RecordBatch) -> Result<Tokens> {
    let vectors = Rows::of(batch, features::tokens::TOKENS)?;
    let spans = column::<ListArray>(batch, features::tokens::TOKEN_SPANS)?.clone();
    Ok(Tokens { vectors, spans })
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Scales a vector to length 1; a zero vector stays.
pub(crate) fn normalise(vector: &mut [f32]) {
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if norm > 0.0 {
        vector.iter_mut().for_each(|x| *x /= norm);
    }
}
