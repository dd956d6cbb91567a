//! A small data set with two teachers, written without ingesting or computing anything: what tests train on.
//!
//! Every image is of one colour, with noise. What the teachers say can be learnt: z_v tells the colour, z_t the words of
//! the text, e_j the word. Each image has two samples; images and texts come again in other samples and other shards.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, FixedSizeBinaryArray, Float32Array, ListArray, RecordBatch, StringArray, StructArray,
    UInt32Array, UInt64Array, new_empty_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, SchemaRef};
use retort_cache::{Dataset, DatasetWriter, SplitPlan, TeacherWriter, vectors};
use retort_schemas::manifest::{AnswerVocabulary, BatchPlan};
use retort_schemas::tables::samples::tasks;
use retort_schemas::words::words;
use retort_schemas::{Dtype, VectorType, features, tables};

/// Result of what tests need.
pub(crate) type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Width of z_v.
pub(crate) const IMAGE_WIDTH: usize = 12;
/// Width of z_t and e_j.
pub(crate) const TEXT_WIDTH: usize = 10;
/// Shards of the split `train`.
pub(crate) const SHARDS: usize = 3;
/// Images of a shard; each has two samples.
pub(crate) const IMAGES: usize = 8;

const COLOURS: [(&str, [u8; 3]); 4] =
    [("red", [220, 30, 40]), ("green", [40, 200, 60]), ("blue", [30, 50, 230]), ("white", [240, 240, 235])];
const SHAPES: [&str; 3] = ["circle", "square", "triangle"];
/// Side of an image in pixels.
const SIDE: usize = 16;

/// What is asked about each image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Whether it is of a colour: two answers with soft scores.
    Answers,
    /// The same as one class of two.
    Class,
    /// Which of three texts is right.
    Choice,
}

/// Writes the data set and its teachers `clip` (joint) and `text`, of tokens and words too, and `eyes`, which is `clip` but
/// for being joint.
pub(crate) fn write(folder: &Path, asked: Asked) -> Result<PathBuf> {
    let path = folder.join("set");
    let answers = ["yes", "no"].map(str::to_owned).to_vec();
    let vocabulary = AnswerVocabulary { origin: "test".to_owned(), hash: "0".repeat(32), answers };
    let plan = SplitPlan {
        name: "train".to_owned(),
        source: "test".to_owned(),
        options: serde_json::Value::Null,
        answers: (asked != Asked::Choice).then_some(vocabulary),
    };
    let mut writer = DatasetWriter::begin(&path, plan)?;
    let shards: Vec<Rows> = (0..SHARDS).map(|shard| Rows::of(shard, asked)).collect();
    for rows in &shards {
        writer.commit(&[
            (tables::images::NAME, rows.images()?),
            (tables::texts::NAME, rows.texts()?),
            (tables::samples::NAME, rows.samples(asked)?),
        ])?;
    }
    writer.finish()?;
    let dataset = Dataset::open(&path)?;
    let teachers = [("clip", true, true), ("text", false, false), ("eyes", false, true)];
    for (name, joint, images) in teachers {
        let width = if images { IMAGE_WIDTH } else { TEXT_WIDTH };
        let batch = BatchPlan::of_rows(8, 8);
        let mut writer = TeacherWriter::open(&dataset, name, joint, Dtype::F16, serde_json::json!(name), batch)?;
        let mut known = BTreeSet::new();
        for (rows, shard) in shards.iter().zip(dataset.shards()) {
            let shard = shard?;
            writer.commit(&shard.name, &rows.features(images, width, &mut known)?)?;
        }
    }
    Ok(path)
}

/// A recipe for a tiny student on such a data set, with settings over it.
pub(crate) fn recipe(dataset: &Path, settings: &[&str]) -> crate::Result<crate::Recipe> {
    let text = format!(
        "device = \"cpu\"\n[data]\ndataset = {dataset:?}\npool_samples = 32\nblock_samples = 4\n\
         [teachers]\nimage = \"clip\"\ntext = \"text\"\n\
         [student]\nhidden = 16\nlayers = 1\nheads = 2\nimage_size = 16\npatch_size = 8\ntext_tokens = 12\n\
         [optim]\nsteps = 8\nbatch = 8\nlr = 0.005\nwarmup_steps = 2\n[adapt]\nsteps = 6\nlr = 0.005\nwarmup_steps = 2\n\
         [log]\nevery = 1\ncheckpoint_every = 2\nkeep = 100\n"
    );
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    crate::Recipe::parse(Path::new("recipe.toml"), &text, &settings)
}

/// The rows of one shard. Images are numbered through the split; every fourth is one of the shard before.
struct Rows {
    images: Vec<usize>,
    texts: Vec<String>,
    /// Image row, text rows, label.
    samples: Vec<(usize, Vec<usize>, u32)>,
}

fn colour(image: usize) -> usize {
    (image * 7 / 3) % COLOURS.len()
}

impl Rows {
    fn of(shard: usize, asked: Asked) -> Self {
        let number = |row: usize| {
            let image = shard * IMAGES + row;
            if row.is_multiple_of(4) { image.saturating_sub(IMAGES) } else { image }
        };
        let images: Vec<usize> = (0..IMAGES).map(number).collect();
        let mut texts: Vec<String> = Vec::new();
        let mut row_of = |text: String| {
            texts.iter().position(|known| *known == text).unwrap_or_else(|| {
                texts.push(text);
                texts.len() - 1
            })
        };
        let mut samples = Vec::new();
        for (row, image) in images.iter().enumerate() {
            for asking in 0..2 {
                let right = colour(*image);
                let shape = SHAPES[(image + asking) % SHAPES.len()];
                let phrase = |colour: usize| format!("there is a {} {shape}", COLOURS[colour % COLOURS.len()].0);
                let (texts, label) = match asked {
                    Asked::Choice => {
                        let place = (image + shard) % 3;
                        ((0..3).map(|at| row_of(phrase(right + 3 + at - place))).collect(), place as u32)
                    }
                    Asked::Answers | Asked::Class => (vec![row_of(phrase(right + asking))], asking as u32),
                };
                samples.push((row, texts, label));
            }
        }
        Self { images, texts, samples }
    }

    fn image_ids(&self) -> Result<FixedSizeBinaryArray> {
        let ids = self.images.iter().map(|image| id_of(&format!("image {image}")));
        Ok(FixedSizeBinaryArray::try_from_iter(ids)?)
    }

    fn text_ids(&self) -> Result<FixedSizeBinaryArray> {
        Ok(FixedSizeBinaryArray::try_from_iter(self.texts.iter().map(|text| id_of(text)))?)
    }

    fn images(&self) -> Result<RecordBatch> {
        let count = self.images.len();
        let side = || Arc::new(UInt32Array::from(vec![SIDE as u32; count])) as ArrayRef;
        let columns = vec![
            Arc::new(self.image_ids()?) as ArrayRef,
            Arc::new(StringArray::from_iter_values(self.images.iter().map(|image| format!("{image}.bmp")))),
            Arc::new(BinaryArray::from_iter_values(self.images.iter().map(|image| bmp(*image)))),
            Arc::new(StringArray::from(vec!["bmp"; count])),
            side(),
            side(),
            side(),
            side(),
            Arc::new(UInt64Array::from(vec![0; count])),
        ];
        Ok(RecordBatch::try_new(tables::images::schema(), columns)?)
    }

    fn texts(&self) -> Result<RecordBatch> {
        let (schema, count) = (tables::texts::schema(), self.texts.len());
        let (objects, parts) = (empty(&schema, 2, count)?, empty(&schema, 3, count)?);
        let texts = Arc::new(StringArray::from_iter_values(&self.texts));
        Ok(RecordBatch::try_new(schema, vec![Arc::new(self.text_ids()?), texts, objects, parts])?)
    }

    fn samples(&self, asked: Asked) -> Result<RecordBatch> {
        let (schema, count) = (tables::samples::schema(), self.samples.len());
        let task = match asked {
            Asked::Answers => tasks::VQA,
            Asked::Class => tasks::CLASSIFICATION,
            Asked::Choice => tasks::MATCHING,
        };
        let same = |word: &str| Arc::new(StringArray::from(vec![word; count])) as ArrayRef;
        let nothing = || Arc::new(StringArray::from(vec![None::<&str>; count])) as ArrayRef;
        let names = self.samples.iter().enumerate().map(|(at, (row, ..))| format!("{}/{row}/{at}", self.images[1]));
        let labels = || self.samples.iter().map(|(_, _, label)| *label);
        let texts: Vec<u32> =
            self.samples.iter().flat_map(|(_, texts, _)| texts.iter().map(|row| *row as u32)).collect();
        let said = labels().map(|label| ["yes", "no"].get(label as usize).copied().unwrap_or("third"));
        let classes = Arc::new(UInt32Array::from_iter_values(labels())) as ArrayRef;
        let scores = Arc::new(Float32Array::from(vec![1.0; count])) as ArrayRef;
        let targets = StructArray::try_new(tables::samples::target_fields(), vec![classes.clone(), scores], None)?;
        let one = vec![1; count];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(names)),
            same(task),
            same("train"),
            Arc::new(UInt32Array::from_iter_values(self.samples.iter().map(|(image, ..)| *image as u32))),
            lists(
                &schema,
                4,
                self.samples.iter().map(|(_, texts, _)| texts.len()),
                Arc::new(UInt32Array::from(texts)),
            )?,
            classes,
            Arc::new(StringArray::from_iter_values(said.clone())),
            lists(&schema, 7, one.iter().copied(), Arc::new(StringArray::from_iter_values(said)))?,
            lists(&schema, 8, one.iter().copied(), Arc::new(targets))?,
            nothing(),
            nothing(),
            Arc::new(FixedSizeBinaryArray::try_from_iter(
                self.samples.iter().map(|(row, ..)| id_of(&format!("image {}", self.images[*row]))),
            )?),
        ];
        Ok(RecordBatch::try_new(schema, columns)?)
    }

    /// The tables of a teacher: images and texts of a joint one, texts and tokens of another; words of both.
    fn features(
        &self,
        joint: bool,
        width: usize,
        known: &mut BTreeSet<String>,
    ) -> Result<Vec<(&'static str, RecordBatch)>> {
        let vector = VectorType { dtype: Dtype::F16, width };
        let stored =
            |rows: Vec<Vec<f32>>| -> Result<ArrayRef> { Ok(Arc::new(vectors::encode(vector, &rows.concat())?)) };
        let z_t = |text: &String| sum(words(text).iter().map(|word| word_feature(joint, &word.lower, width)));
        let texts = stored(self.texts.iter().map(z_t).collect())?;
        let texts = RecordBatch::try_new(features::texts::schema(vector), vec![Arc::new(self.text_ids()?), texts])?;
        let new: Vec<String> = self
            .texts
            .iter()
            .flat_map(|text| words(text))
            .map(|word| word.lower)
            .filter(|word| known.insert(word.clone()))
            .collect();
        let of_words = stored(new.iter().map(|word| word_feature(joint, word, width)).collect())?;
        let columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from_iter_values(&new)), of_words.clone(), of_words];
        let new = RecordBatch::try_new(features::words::schema(vector), columns)?;
        let mut tables = vec![(features::texts::NAME, texts), (features::words::NAME, new)];
        if joint {
            let z_v = |image: &usize| {
                let colour = word_feature(true, COLOURS[colour(*image)].0, width);
                sum([colour, direction("image", &image.to_string(), width).iter().map(|x| x * 0.3).collect()]
                    .into_iter())
            };
            let images = stored(self.images.iter().map(z_v).collect())?;
            let schema = features::images::schema(vector);
            tables.push((
                features::images::NAME,
                RecordBatch::try_new(schema, vec![Arc::new(self.image_ids()?), images])?,
            ));
        } else {
            let schema = features::tokens::schema(vector);
            let words: Vec<_> = self.texts.iter().map(|text| words(text)).collect();
            let of_token = |text: &String, word: &str| sum([word_feature(false, word, width), z_t(text)].into_iter());
            let each = self
                .texts
                .iter()
                .zip(&words)
                .flat_map(|(text, words)| words.iter().map(move |word| of_token(text, &word.lower)));
            let (each, spans) = (stored(each.collect())?, words.iter().flatten());
            let bound = |bound: Vec<u32>| Arc::new(UInt32Array::from(bound)) as ArrayRef;
            let bounds = vec![
                bound(spans.clone().map(|word| word.start as u32).collect()),
                bound(spans.map(|word| word.end as u32).collect()),
            ];
            let spans = StructArray::try_new(features::tokens::span_fields(), bounds, None)?;
            let lengths = || words.iter().map(Vec::len);
            let columns = vec![
                Arc::new(self.text_ids()?) as ArrayRef,
                lists(&schema, 1, lengths(), each)?,
                lists(&schema, 2, lengths(), Arc::new(spans))?,
            ];
            tables.push((features::tokens::NAME, RecordBatch::try_new(schema, columns)?));
        }
        Ok(tables)
    }
}

fn id_of(item: &str) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&blake3::hash(item.as_bytes()).as_bytes()[..16]);
    id
}

/// A direction of its own for everything that has a name.
fn direction(of: &str, item: &str, width: usize) -> Vec<f32> {
    let mut bytes = vec![0; width * 4];
    blake3::Hasher::new().update(format!("{of}/{item}").as_bytes()).finalize_xof().fill(&mut bytes);
    sum([bytes.chunks(4).map(|four| four.iter().map(|byte| f32::from(*byte) - 127.5).sum()).collect()].into_iter())
}

fn word_feature(joint: bool, word: &str, width: usize) -> Vec<f32> {
    direction(if joint { "joint word" } else { "word" }, word, width)
}

/// Sum of vectors, of length 1.
fn sum(all: impl Iterator<Item = Vec<f32>>) -> Vec<f32> {
    let add = |sum: Vec<f32>, one: Vec<f32>| sum.iter().zip(one).map(|(x, y)| x + y).collect::<Vec<f32>>();
    let mut sum = all.reduce(add).unwrap_or_default();
    crate::zipped::normalise(&mut sum);
    sum
}

/// An uncompressed picture of the image's colour with noise.
fn bmp(image: usize) -> Vec<u8> {
    let rows = SIDE * SIDE * 3;
    let mut bytes = b"BM".to_vec();
    for number in [54 + rows as u32, 0, 54, 40, SIDE as u32, SIDE as u32, 1 | 24 << 16, 0, rows as u32, 0, 0, 0, 0] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    let mut noise = vec![0; rows];
    blake3::Hasher::new().update(format!("pixels {image}").as_bytes()).finalize_xof().fill(&mut noise);
    let [red, green, blue] = COLOURS[colour(image)].1;
    let pixels = noise.chunks(3).flat_map(|n| [(blue, n[0]), (green, n[1]), (red, n[2])]);
    bytes.extend(pixels.map(|(colour, noise)| colour.saturating_sub(noise / 8)));
    bytes
}

/// Column `at` of a schema: lists of these lengths.
fn lists(schema: &SchemaRef, at: usize, lengths: impl Iterator<Item = usize>, items: ArrayRef) -> Result<ArrayRef> {
    let DataType::List(item) = schema.field(at).data_type() else { return Err("no list".into()) };
    Ok(Arc::new(ListArray::try_new(item.clone(), OffsetBuffer::from_lengths(lengths), items, None)?))
}

fn empty(schema: &SchemaRef, at: usize, rows: usize) -> Result<ArrayRef> {
    let DataType::List(item) = schema.field(at).data_type() else { return Err("no list".into()) };
    lists(schema, at, std::iter::repeat_n(0, rows), new_empty_array(item.data_type()))
}
