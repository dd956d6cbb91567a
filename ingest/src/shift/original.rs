//! The rows of a split that is to be shifted: everything but the images' bytes.

use arrow::array::{
    Array, AsArray, FixedSizeBinaryArray, Float32Array, ListArray, RecordBatch, StringArray, UInt32Array,
};
use retort_cache::{Columns, Dataset, Error as CacheError, column};
use retort_schemas::manifest::Shard;
use retort_schemas::tables::{regions, samples, samples::tasks, texts};

use crate::Result;
use crate::images::ContentId;
use crate::source::{ObjectReference, Record, Text};

/// A sample, with what is known of its image.
#[derive(Debug)]
pub(super) struct Original<'a> {
    pub record: &'a Record<'static>,
    pub group: ContentId,
    /// Classes of the objects of its image, in their order; an unknown one is empty.
    pub classes: &'a [String],
}

/// The samples of one shard.
#[derive(Debug)]
pub(super) struct ShardRows {
    pub shard: Shard,
    /// The split it belongs to.
    pub split: String,
    records: Vec<Record<'static>>,
    /// Row of each sample's image.
    pub images: Vec<u32>,
    groups: Vec<ContentId>,
    /// By row of the images; empty where the split has no regions.
    classes: Vec<Vec<String>>,
}

impl ShardRows {
    /// Reads the samples of a shard with their texts and the classes of their objects.
    ///
    /// # Errors
    /// [`retort_cache::Error`] if a table cannot be read, or a row points at none.
    pub(super) fn read(dataset: &Dataset, split: &str, shard: &Shard) -> Result<Self> {
        let rows = dataset.read(shard, samples::NAME, Columns::All)?;
        let texts = texts_of(&dataset.read(shard, texts::NAME, Columns::All)?)?;
        let classes = match shard.tables.contains_key(regions::NAME) {
            true => classes_of(&dataset.read(shard, regions::NAME, Columns::Named(&[regions::BOXES]))?)?,
            false => Vec::new(),
        };
        let groups = column::<FixedSizeBinaryArray>(&rows, samples::GROUP)?;
        let group = |row: usize| ContentId::try_from(groups.value(row)).unwrap_or_default();
        Ok(Self {
            shard: shard.clone(),
            split: split.to_owned(),
            records: records_of(&rows, &texts)?,
            images: column::<UInt32Array>(&rows, samples::IMAGE)?.values().to_vec(),
            groups: (0..rows.num_rows()).map(group).collect(),
            classes,
        })
    }

    /// How many samples there are.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// The samples in order.
    pub(super) fn samples(&self) -> impl Iterator<Item = Original<'_>> {
        self.records.iter().zip(&self.groups).zip(&self.images).map(|((record, group), image)| Original {
            record,
            group: *group,
            classes: self.classes.get(*image as usize).map_or(&[], Vec::as_slice),
        })
    }

    /// A sample by row.
    pub(super) fn record(&self, row: usize) -> Option<(&Record<'static>, ContentId)> {
        Some((self.records.get(row)?, *self.groups.get(row)?))
    }
}

fn broken(name: &str, problem: &str) -> CacheError {
    CacheError::Column { column: name.to_owned(), problem: problem.to_owned() }
}

/// The numbers of a list of one row.
fn numbers(lists: &ListArray, row: usize) -> Vec<u32> {
    lists.value(row).as_primitive_opt().map_or_else(Vec::new, |numbers: &UInt32Array| numbers.values().to_vec())
}

fn field<'a, A: Array + 'static>(rows: &'a arrow::array::StructArray, list: &str, name: &str) -> Result<&'a A> {
    let found = rows.column_by_name(name).and_then(|column| column.as_any().downcast_ref());
    Ok(found.ok_or_else(|| broken(list, &format!("has no field {name} of the type expected")))?)
}

fn texts_of(table: &RecordBatch) -> Result<Vec<Text<'static>>> {
    let words = column::<StringArray>(table, texts::TEXT)?;
    let objects = column::<ListArray>(table, texts::OBJECTS)?;
    // Since 1.1.
    let parts = table.column_by_name(texts::PARTS).and_then(|column| column.as_list_opt::<i32>());
    let text = |row: usize| {
        let named = objects.value(row);
        let named = named.as_struct_opt().ok_or_else(|| broken(texts::OBJECTS, "is no list of references"))?;
        let [starts, ends, indices] =
            ["start", "end", "object"].map(|name| field::<UInt32Array>(named, texts::OBJECTS, name));
        let (starts, ends, indices) = (starts?, ends?, indices?);
        let reference =
            |at: usize| ObjectReference { start: starts.value(at), end: ends.value(at), object: indices.value(at) };
        Ok(Text {
            text: words.value(row).to_owned().into(),
            parts: parts.map_or_else(Vec::new, |parts| numbers(parts, row)),
            objects: (0..named.len()).map(reference).collect(),
        })
    };
    (0..table.num_rows()).map(text).collect()
}

fn classes_of(table: &RecordBatch) -> Result<Vec<Vec<String>>> {
    let boxes = column::<ListArray>(table, regions::BOXES)?;
    let classes = |row: usize| {
        let objects = boxes.value(row);
        let objects = objects.as_struct_opt().ok_or_else(|| broken(regions::BOXES, "is no list of boxes"))?;
        let names = field::<StringArray>(objects, regions::BOXES, "class")?;
        Ok(names.iter().map(|class| class.unwrap_or_default().to_owned()).collect())
    };
    (0..table.num_rows()).map(classes).collect()
}

fn records_of(rows: &RecordBatch, texts: &[Text<'static>]) -> Result<Vec<Record<'static>>> {
    let words = |name: &'static str| column::<StringArray>(rows, name);
    let lists = |name: &'static str| column::<ListArray>(rows, name);
    let (ids, names) = (words(samples::SAMPLE_ID)?, words(samples::TASK)?);
    let (label_texts, labels) = (words(samples::LABEL_TEXT)?, column::<UInt32Array>(rows, samples::LABEL)?);
    let (questions, kinds) = (words(samples::QUESTION_TYPE)?, words(samples::ANSWER_TYPE)?);
    let (of_texts, answers, targets) = (lists(samples::TEXTS)?, lists(samples::ANSWERS)?, lists(samples::TARGETS)?);
    let optional = |column: &StringArray, row: usize| column.is_valid(row).then(|| column.value(row).to_owned().into());
    let record = |row: usize| {
        let text =
            |at: &u32| texts.get(*at as usize).cloned().ok_or_else(|| broken(samples::TEXTS, "points at no text"));
        let given = answers.value(row);
        let given = given.as_string_opt::<i32>().ok_or_else(|| broken(samples::ANSWERS, "is no list of texts"))?;
        let scored = targets.value(row);
        let scored = scored.as_struct_opt().ok_or_else(|| broken(samples::TARGETS, "is no list of targets"))?;
        let classes = field::<UInt32Array>(scored, samples::TARGETS, "class")?;
        let scores = field::<Float32Array>(scored, samples::TARGETS, "score")?;
        Ok(Record {
            id: ids.value(row).to_owned().into(),
            task: task_of(names.value(row))?,
            texts: numbers(of_texts, row).iter().map(text).collect::<Result<_, _>>()?,
            label: labels.is_valid(row).then(|| labels.value(row)),
            label_text: optional(label_texts, row),
            answers: given.iter().flatten().map(|answer| answer.to_owned().into()).collect(),
            targets: classes.values().iter().copied().zip(scores.values().iter().copied()).collect(),
            question_type: optional(questions, row),
            answer_type: optional(kinds, row),
        })
    };
    (0..rows.num_rows()).map(record).collect()
}

/// The task of this name.
fn task_of(name: &str) -> Result<&'static str> {
    use tasks::{CAPTION, CLASSIFICATION, MATCHING, SNLI_VE, VCR_QA, VCR_QAR, VQA};
    let known = [VQA, VCR_QA, VCR_QAR, SNLI_VE, CAPTION, CLASSIFICATION, MATCHING];
    let found = known.into_iter().find(|task| *task == name);
    Ok(found.ok_or_else(|| broken(samples::TASK, &format!("has the unknown task {name:?}")))?)
}
