//! The work of a teacher over a data set: what is missing, shard by shard, committed as it is done.

use std::collections::{HashMap, HashSet};

use arrow::array::StringArray;
use retort_cache::{Columns, Dataset, Interrupt, Progress, TeacherWriter, column};
use retort_schemas::manifest::BatchPlan;
use retort_schemas::words::words;
use retort_schemas::{Store, features, tables};

use crate::shard::Bench;
use crate::{Result, Teacher};

/// What to compute and how to store it.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How features are stored.
    pub store: Store,
    /// Also the patch grid of each image: of a ViT-B/32 49 vectors of 768, 75 KB an image as f16.
    pub patches: bool,
    /// Also the features of each text's tokens.
    pub tokens: bool,
    /// Also the embeddings of each distinct word.
    pub words: bool,
    /// Batch sizes of a new cache; one that exists keeps its own.
    pub batch: BatchPlan,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// `name@fingerprint8`.
    pub folder: String,
    /// Shards computed now.
    pub computed: usize,
    /// Shards that were there.
    pub kept: usize,
    /// Texts computed now that were longer than the model takes, and cut.
    pub truncated: u64,
    /// Batch sizes in use.
    pub batch: BatchPlan,
}

/// One shard with the tables that it lacks.
#[derive(Debug, Clone)]
pub struct Work {
    /// Name of the shard of the data set.
    pub shard: String,
    /// Tables to compute.
    pub missing: Vec<&'static str>,
    /// Rows of its images and texts.
    rows: [u64; 2],
}

/// Computes what is missing of one teacher's features, shard by shard.
///
/// # Errors
/// Of the teacher, of the data set, of the cache; [`retort_cache::Error::Interrupted`] when asked to stop. Finished
/// shards stay, and the next call continues.
pub fn teach(
    dataset: &Dataset,
    name: &str,
    teacher: &Teacher,
    options: &Options,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<Report> {
    let identity = teacher.identity.clone();
    let joint = teacher.is_joint();
    let writer = TeacherWriter::open(dataset, name, joint, options.store, identity, options.batch)?;
    let mut writer = writer.from_origin(teacher.origin.clone());
    let plan = writer.cache().manifest().batch;
    let bench = Bench { name, teacher, dataset, store: options.store, plan, progress, interrupt };
    let work = missing(dataset, teacher, options, &writer)?;
    let new_words = if options.words && teacher.text.is_some() { words_by_shard(dataset)? } else { HashMap::new() };
    let words_of = |shard: &str| new_words.get(shard).map_or(&[][..], Vec::as_slice);
    let mut report = Report {
        folder: writer.cache().folder_name().to_owned(),
        computed: 0,
        kept: dataset.shard_count() - work.len(),
        truncated: 0,
        batch: plan,
    };
    let rows = |work: &Work| -> u64 {
        let [images, texts] = work.rows;
        let both = work.missing.contains(&features::images::NAME);
        let of = |table: &&str| match *table {
            features::patches::NAME if both => 0, // comes with the pooled features
            features::images::NAME | features::patches::NAME => images,
            features::texts::NAME => texts,
            features::words::NAME => 2 * words_of(&work.shard).len() as u64,
            _ => 0, // tokens come with their texts
        };
        work.missing.iter().map(of).sum()
    };
    progress.begin(&format!("teach {name}"), work.iter().map(rows).sum(), "items");
    for Work { shard, missing, .. } in work {
        interrupt.check()?;
        // Named by the same manifest just before.
        let Some(shard) = dataset.shard(&shard)? else { continue };
        let wants = |table| missing.contains(&table);
        let mut batches = Vec::new();
        let (pooled, patches) = (wants(features::images::NAME), wants(features::patches::NAME));
        if pooled || patches {
            batches.extend(bench.images(&shard, pooled, patches)?.into_iter().flatten());
        }
        if (wants(features::texts::NAME) || wants(features::tokens::NAME))
            && let Some(done) = bench.texts(&shard, wants(features::tokens::NAME))?
        {
            report.truncated += done.truncated;
            if wants(features::texts::NAME) {
                batches.push((features::texts::NAME, done.texts));
            }
            batches.extend(done.tokens.map(|tokens| (features::tokens::NAME, tokens)));
        }
        if wants(features::words::NAME) {
            batches.extend(bench.words(&shard, words_of(&shard.name))?.map(|words| (features::words::NAME, words)));
        }
        writer.commit(&shard.name, &batches)?;
        report.computed += 1;
    }
    writer.finish()?;
    progress.end();
    Ok(report)
}

fn missing(dataset: &Dataset, teacher: &Teacher, options: &Options, writer: &TeacherWriter) -> Result<Vec<Work>> {
    let mut wanted = Vec::new();
    if teacher.image.is_some() {
        wanted.push(features::images::NAME);
        wanted.extend(options.patches.then_some(features::patches::NAME));
    }
    if teacher.text.is_some() {
        wanted.push(features::texts::NAME);
        wanted.extend(options.tokens.then_some(features::tokens::NAME));
        wanted.extend(options.words.then_some(features::words::NAME));
    }
    let mut work = Vec::new();
    for shard in dataset.shards() {
        let shard = shard?;
        let mine = writer.cache().shard(&shard.name)?;
        let lacks = |table: &&str| !mine.as_ref().is_some_and(|mine| mine.tables.contains_key(*table));
        let missing: Vec<_> = wanted.iter().copied().filter(lacks).collect();
        if !missing.is_empty() {
            let rows = [tables::images::NAME, tables::texts::NAME].map(|table| shard.rows(table));
            work.push(Work { shard: shard.name, missing, rows });
        }
    }
    Ok(work)
}

/// The distinct words of a data set, each with the shard that it first appears in, in order of appearance.
fn words_by_shard(dataset: &Dataset) -> Result<HashMap<String, Vec<String>>> {
    let mut seen: HashSet<String> = HashSet::new();
    let mut by_shard = HashMap::new();
    for shard in dataset.shards() {
        let shard = shard?;
        let table = dataset.read(&shard, tables::texts::NAME, Columns::Named(&[tables::texts::TEXT]))?;
        let mut new = Vec::new();
        for text in column::<StringArray>(&table, tables::texts::TEXT)?.iter().flatten() {
            new.extend(words(text).into_iter().map(|word| word.lower).filter(|word| seen.insert(word.clone())));
        }
        by_shard.insert(shard.name, new);
    }
    Ok(by_shard)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BinaryArray, FixedSizeBinaryArray, RecordBatch};
    use arrow::datatypes::SchemaRef;
    use retort_cache::vectors::Rows;
    use retort_cache::{DatasetWriter, Quiet, SplitPlan, TeacherCache, verify};
    use retort_schemas::Dtype;
    use tch::Device;

    use super::*;

    /// Three images, the second of which is missing, and no text: of the columns those that a teacher reads.
    fn dataset(folder: &Path, golden: &Path) -> Result<Dataset> {
        let (name, source, options) = ("all".to_owned(), "test".to_owned(), serde_json::Value::Null);
        let mut writer = DatasetWriter::begin(folder, SplitPlan { name, source, options, answers: None })?;
        let table = |schema: SchemaRef, names: &[&str], columns: Vec<ArrayRef>| {
            let places: Vec<usize> = names.iter().map(|name| schema.index_of(name).unwrap()).collect();
            RecordBatch::try_new(Arc::new(schema.project(&places).unwrap()), columns).unwrap()
        };
        let read = |name: &str| std::fs::read(golden.join("../images").join(name)).unwrap();
        let bytes = BinaryArray::from_iter_values([read("wide.png"), Vec::new(), read("tall.png")]);
        let ids: ArrayRef = Arc::new(FixedSizeBinaryArray::try_from_iter((0..3_u8).map(|id| [id; 16])).unwrap());
        let none: ArrayRef = Arc::new(
            FixedSizeBinaryArray::try_from_sparse_iter_with_size(std::iter::empty::<Option<[u8; 16]>>(), 16).unwrap(),
        );
        let images = [tables::images::IMAGE_ID, tables::images::BYTES];
        let texts = [tables::texts::TEXT_ID, tables::texts::TEXT];
        writer.commit(&[
            (tables::images::NAME, table(tables::images::schema(), &images, vec![ids, Arc::new(bytes)])),
            (
                tables::texts::NAME,
                table(tables::texts::schema(), &texts, vec![none, Arc::new(StringArray::new_null(0))]),
            ),
        ])?;
        writer.finish()?;
        Ok(Dataset::open(folder)?)
    }

    #[test]
    fn patches_come_with_the_images_or_after_them_and_are_the_same() -> Result<()> {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/golden/clip");
        let teacher = Teacher::open(&golden, Device::Cpu, Dtype::F32)?;
        let mut found = Vec::new();
        let all_runs = [&[true][..], &[false, true], &[true, true]];
        let stores: [Store; 2] = [Dtype::F16.into(), "cos:0.999".parse().unwrap()];
        for (store, runs) in stores.into_iter().flat_map(|store| all_runs.map(|runs| (store, runs))) {
            let folder = tempfile::tempdir().unwrap();
            let dataset = dataset(folder.path(), &golden)?;
            for patches in runs {
                let batch = BatchPlan { images: 2, texts: 2 };
                let options = Options { store, patches: *patches, tokens: false, words: false, batch };
                teach(&dataset, "clip", &teacher, &options, &Quiet, &Interrupt::default())?;
                let cache = TeacherCache::open(&dataset, "clip")?;
                let shard = cache.shard("all-00000")?.unwrap();
                assert_eq!(shard.tables.contains_key(features::patches::NAME), *patches);
            }
            let cache = TeacherCache::open(&dataset, "clip")?;
            let shard = &dataset.shards().next().unwrap()?;
            let table = cache.read(&dataset, shard, features::patches::NAME)?;
            let grid = Rows::of(&table, features::patches::GRID)?;
            assert_eq!((table.num_rows(), grid.of_row(1), grid.width()), (3, 16..32, 40));
            let floats = grid.floats();
            let zeros = |row: usize| floats[row * 640..(row + 1) * 640].iter().all(|x| *x == 0.0);
            assert_eq!([zeros(0), zeros(1), zeros(2)], [false, true, false]);
            let pooled = cache.read(&dataset, shard, features::images::NAME)?;
            found.push((table, pooled));
            assert!(verify(folder.path(), &Quiet, &Interrupt::default())?.damages.is_empty());
        }
        assert!(
            found[..3].iter().all(|tables| *tables == found[0]) && found[3..].iter().all(|tables| *tables == found[3])
        );
        Ok(())
    }
    #[test]
    fn a_teacher_of_images_alone_gives_no_texts_and_patches_of_its_own_size() -> Result<()> {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/golden/dinov2");
        let teacher = Teacher::open(&golden, Device::Cpu, Dtype::F32)?;
        let folder = tempfile::tempdir().unwrap();
        let dataset = dataset(folder.path(), &golden)?;
        let batch = BatchPlan { images: 2, texts: 2 };
        let options = Options { store: Dtype::F32.into(), patches: true, tokens: true, words: true, batch };
        teach(&dataset, "dino", &teacher, &options, &Quiet, &Interrupt::default())?;
        let cache = TeacherCache::open(&dataset, "dino")?;
        let shard = &dataset.shards().next().unwrap()?;
        let tables = cache.shard(&shard.name)?.unwrap().tables;
        assert_eq!(tables.keys().collect::<Vec<_>>(), [features::images::NAME, features::patches::NAME]);
        let table = cache.read(&dataset, shard, features::patches::NAME)?;
        let grid = Rows::of(&table, features::patches::GRID)?;
        // Cropped to 40 pixels: 5 x 5 patches of 8, where the model was made for 4 x 4.
        assert_eq!((table.num_rows(), grid.of_row(2), grid.width()), (3, 50..75, 32));
        Ok(())
    }
}
