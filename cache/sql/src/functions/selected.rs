//! `selected_words('sample_id' [, m])`: the words of a sample with what token selection goes by, and which it selects.
//!
//! ```text
//! sample --> its image --> z_v --+--> a_w, for the joint teacher's words.prompt     --+
//!       \--> its texts --> z_t --+--> b_w, for the text teacher's words.isolated  --+--> p_w --> the m greatest
//!       \--> words of the texts, without those that name an object
//! ```

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Float32Array, ListArray, RecordBatch, StringArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DataFusionError, Result, plan_err};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use retort_cache::{
    Columns, Dataset, TeacherCache, WordTeachers, column, names_object, teachers_of, vectors, word_embeddings,
};
use retort_schemas::features::{self, EMBEDDING};
use retort_schemas::manifest::Shard;
use retort_schemas::runs::selection as seen;
use retort_schemas::selection::{ALPHA, TAU, WORDS, probabilities, select_top};
use retort_schemas::tables::{samples, texts};
use retort_schemas::words::{Word, words};

use super::arguments::Arguments;
use super::found::{Found, Run, Search, blocking, fold};
use super::nearest::COUNT;
use super::rank::Place;
use super::vectors::cosine;
use crate::parts::Table;

const USAGE: &str = "selected_words('sample_id' [, m])";
/// The word as teachers embed it, in lower case.
const WORD: &str = "word";

/// The table function.
#[derive(Debug)]
pub(super) struct SelectedWordsFunction;

impl TableFunctionImpl for SelectedWordsFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let arguments = Arguments::read(USAGE, 1..=2, &args)?;
        let sample_id = arguments.word(0, "the sample_id of a sample")?.to_owned();
        let most = match arguments.value(1) {
            Some(_) => arguments.number(1, 1..=u64::MAX, COUNT)?,
            None => WORDS,
        };
        let samples = arguments.own(samples::NAME)?;
        let dataset = samples.parts.first().map(|part| part.source.of_dataset()).transpose().map_err(external)?;
        let teachers = match dataset.flatten() {
            Some((dataset, _)) => teachers_of(dataset).map_err(external)?,
            None => Vec::new(),
        };
        if WordTeachers::among(&teachers).semantic.is_none() {
            return plan_err!(
                "selected_words: no teacher of this data set has embedded words beside its texts: `retort teach DATASET --teacher NAME=MODEL --words` does"
            );
        }
        Ok(Found::by(SelectedWords { samples, teachers, sample_id, most }))
    }
}

fn external(error: retort_cache::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

#[derive(Debug)]
struct SelectedWords {
    samples: Arc<Table>,
    teachers: Vec<TeacherCache>,
    sample_id: String,
    most: usize,
}

/// A text of a sample with its candidates.
struct Candidates {
    shard: String,
    row: usize,
    text: String,
    words: Vec<Word>,
    /// a_w, if there is a joint teacher that has embedded every word.
    visual: Option<Vec<f32>>,
    /// b_w.
    semantic: Vec<f32>,
}

/// A candidate.
struct Row<'a> {
    text: &'a Candidates,
    word: &'a Word,
    visual: Option<f32>,
    semantic: f32,
    probability: f32,
    selected: bool,
}

impl Candidates {
    /// Each word, with the `most` most probable selected.
    fn rows(&self, most: usize) -> Vec<Row<'_>> {
        let visual = self.visual.as_deref();
        let p = probabilities(visual, &self.semantic, ALPHA, TAU, TAU);
        let top = select_top(&p, most);
        let row = |(at, (word, semantic)): (usize, (_, &f32))| Row {
            text: self,
            word,
            visual: visual.map(|visual| visual[at]),
            semantic: *semantic,
            probability: p[at],
            selected: top.contains(&at),
        };
        self.words.iter().zip(&self.semantic).enumerate().map(row).collect()
    }
}

impl SelectedWords {
    /// Where the sample is: an id is unique in a split, and may be in several.
    async fn places(self: Arc<Self>, partitions: usize) -> Result<Vec<Place>> {
        let parts = (0..self.samples.parts.len()).collect();
        let find = move |found: &mut Vec<Place>, part: usize| {
            let at = self.samples.schema.index_of(samples::SAMPLE_ID)?;
            let stored = self.samples.read(part, &[at])?;
            let ids = column::<StringArray>(&stored, samples::SAMPLE_ID).map_err(external)?.iter().enumerate();
            let mine = ids.filter(|(_, id)| *id == Some(self.sample_id.as_str()));
            found.extend(mine.map(|(row, _)| Place::new(part, row)));
            Ok(())
        };
        Ok(fold(parts, partitions, Vec::new, find).await?.concat())
    }

    fn words_at(&self, place: Place) -> Result<Vec<Candidates>> {
        let part = &self.samples.parts[place.part as usize];
        match part.source.of_dataset().map_err(external)? {
            Some((dataset, shard)) => {
                candidates(dataset, &shard, place.row as usize, &WordTeachers::among(&self.teachers)).map_err(external)
            }
            None => Ok(Vec::new()),
        }
    }

    fn batch(&self, all: &[Candidates]) -> Result<RecordBatch> {
        let rows: Vec<Row<'_>> = all.iter().flat_map(|text| text.rows(self.most)).collect();
        let words =
            |of: fn(&Row<'_>) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(of))) };
        let numbers = |of: fn(&Row<'_>) -> usize| -> ArrayRef {
            Arc::new(rows.iter().map(|row| u32::try_from(of(row)).ok()).collect::<UInt32Array>())
        };
        let floats =
            |of: fn(&Row<'_>) -> Option<f32>| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<Float32Array>()) };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|_| &self.sample_id))),
            words(|row| row.text.shard.clone()),
            numbers(|row| row.text.row),
            words(|row| row.text.text.clone()),
            numbers(|row| row.word.start),
            numbers(|row| row.word.end),
            floats(|row| row.visual),
            floats(|row| Some(row.semantic)),
            floats(|row| Some(row.probability)),
            Arc::new(rows.iter().map(|row| Some(row.selected)).collect::<BooleanArray>()),
            words(|row| row.word.lower.clone()),
        ];
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }

    async fn found(self: Arc<Self>, partitions: usize) -> Result<RecordBatch> {
        let places = self.clone().places(partitions).await?;
        blocking(move || {
            let all = places.into_iter().map(|place| self.words_at(place)).collect::<Result<Vec<_>>>()?;
            self.batch(&all.into_iter().flatten().collect::<Vec<_>>())
        })
        .await
    }
}

/// The candidates of each text of a sample.
///
/// # Errors
/// As [`TeacherCache::read_rows`], if a teacher lacks the shard.
fn candidates(
    dataset: &Dataset,
    shard: &Shard,
    row: usize,
    teachers: &WordTeachers<'_>,
) -> retort_cache::Result<Vec<Candidates>> {
    let sample = dataset.read_rows(shard, samples::NAME, Columns::Named(&[samples::IMAGE, samples::TEXTS]), &[row])?;
    let image = column::<UInt32Array>(&sample, samples::IMAGE)?.value(0) as usize;
    let rows = column::<ListArray>(&sample, samples::TEXTS)?.value(0);
    let rows: Vec<usize> = rows
        .as_primitive_opt::<UInt32Type>()
        .into_iter()
        .flat_map(|rows| rows.values())
        .map(|row| *row as usize)
        .collect();
    let stored = dataset.read_rows(shard, texts::NAME, Columns::Named(&[texts::TEXT, texts::OBJECTS]), &rows)?;
    let objects = column::<ListArray>(&stored, texts::OBJECTS)?;
    let all: Vec<(&str, Vec<Word>)> = column::<StringArray>(&stored, texts::TEXT)?
        .iter()
        .enumerate()
        .map(|(at, text)| {
            let text = text.unwrap_or_default();
            let mine = words(text).into_iter().filter(|word| !names_object(objects, at, word.start..word.end));
            (text, mine.collect())
        })
        .collect();
    let wanted: BTreeSet<&str> = all.iter().flat_map(|(_, words)| words).map(|word| word.lower.as_str()).collect();
    let Some(semantic) = teachers.semantic else { return Ok(Vec::new()) };
    let isolated = word_embeddings(dataset, semantic, features::words::ISOLATED, &wanted)?;
    let z_t = pooled(semantic, dataset, shard, features::texts::NAME, &rows)?;
    let visual = match teachers.visual {
        Some(teacher) => {
            let z_v = pooled(teacher, dataset, shard, features::images::NAME, &[image])?;
            let prompts = word_embeddings(dataset, teacher, features::words::PROMPT, &wanted)?;
            z_v.into_iter().next().map(|z_v| (z_v, prompts))
        }
        None => None,
    };
    let likeness = |embeddings: &HashMap<String, Vec<f32>>, words: &[Word], whole: &[f32]| -> Option<Vec<f32>> {
        words.iter().map(|word| Some(relevance(embeddings.get(&word.lower)?, whole))).collect()
    };
    let of = |((text, words), z_t): ((&str, Vec<Word>), Vec<f32>)| {
        let words: Vec<Word> = words.into_iter().filter(|word| isolated.contains_key(&word.lower)).collect();
        Candidates {
            shard: shard.name.clone(),
            row,
            text: text.to_owned(),
            visual: visual.as_ref().and_then(|(z_v, prompts)| likeness(prompts, &words, z_v)),
            semantic: likeness(&isolated, &words, &z_t).unwrap_or_default(),
            words,
        }
    };
    Ok(all.into_iter().zip(z_t).map(of).collect())
}

/// Pooled embeddings of some rows.
fn pooled(
    teacher: &TeacherCache,
    dataset: &Dataset,
    shard: &Shard,
    table: &str,
    rows: &[usize],
) -> retort_cache::Result<Vec<Vec<f32>>> {
    let batch = teacher.read_rows(dataset, shard, table, Columns::Named(&[EMBEDDING]), rows)?;
    Ok(vectors::Rows::of(&batch, EMBEDDING)?.each().collect())
}

/// Relevance of a word to an image or a text. What has no direction, as a missing image, is like nothing.
fn relevance(word: &[f32], whole: &[f32]) -> f32 {
    cosine(word, whole).unwrap_or(0.0) as f32
}

impl Search for SelectedWords {
    fn describe(&self) -> String {
        format!("{} words of {}", self.most, self.sample_id)
    }

    fn schema(&self) -> SchemaRef {
        let seen = seen::schema();
        let seen = seen.fields().iter().map(|field| field.as_ref().clone());
        Arc::new(Schema::new(seen.chain([Field::new(WORD, DataType::Utf8, false)]).collect::<Vec<_>>()))
    }

    fn start(self: Arc<Self>, run: Run) -> BoxStream<'static, Result<RecordBatch>> {
        stream::once(self.found(run.partitions)).boxed()
    }
}
