//! Small data sets, taught.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, BinaryArray, FixedSizeBinaryArray, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use retort_cache::vectors::Rows;
use retort_cache::{DatasetWriter, Quiet, SplitPlan, TeacherCache, verify};
use retort_schemas::Dtype;
use tch::Device;

use super::*;
use retort_schemas::{features, tables};

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
        (tables::texts::NAME, table(tables::texts::schema(), &texts, vec![none, Arc::new(StringArray::new_null(0))])),
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
            let batch = BatchPlan::of_rows(2, 2);
            let options = Options { store, patches: *patches, tokens: false, words: false, batch, find_batch: false };
            teach(&dataset, &mut [Job::new("clip", &teacher)], &options, &Quiet, &Interrupt::default())?;
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
    assert!(found[..3].iter().all(|tables| *tables == found[0]) && found[3..].iter().all(|tables| *tables == found[3]));
    Ok(())
}
#[test]
fn a_teacher_of_images_alone_gives_no_texts_and_patches_of_its_own_size() -> Result<()> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/golden/dinov2");
    let teacher = Teacher::open(&golden, Device::Cpu, Dtype::F32)?;
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path(), &golden)?;
    let batch = BatchPlan::of_rows(2, 2);
    let options =
        Options { store: Dtype::F32.into(), patches: true, tokens: true, words: true, batch, find_batch: false };
    teach(&dataset, &mut [Job::new("dino", &teacher)], &options, &Quiet, &Interrupt::default())?;
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

/// NaFlex: what decoders hand over holds the shape of each image, and one batch has several shapes.
#[test]
fn images_that_keep_their_shape_are_taught_without_patches() -> Result<()> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/golden/siglip2-naflex");
    let teacher = Teacher::open(&golden, Device::Cpu, Dtype::F32)?;
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path(), &golden)?;
    let batch = BatchPlan::of_rows(2, 2);
    let told =
        |patches| Options { store: Dtype::F32.into(), patches, tokens: false, words: false, batch, find_batch: false };
    let run =
        |patches| teach(&dataset, &mut [Job::new("flex", &teacher)], &told(patches), &Quiet, &Interrupt::default());
    let said = run(true).err().unwrap();
    assert!(matches!(said, crate::Error::ManyShapes { most: 64 }) && said.hint().is_some(), "{said}");
    assert!(TeacherCache::open(&dataset, "flex").is_err(), "a cache was begun");
    run(false)?;
    let shard = &dataset.shards().next().unwrap()?;
    let table = TeacherCache::open(&dataset, "flex")?.read(&dataset, shard, features::images::NAME)?;
    let found = Rows::of(&table, features::EMBEDDING)?;
    for (row, name) in [(0, "wide.png"), (2, "tall.png")] {
        let image = retort_nn::pixels::decode(&std::fs::read(golden.join("../images").join(name)).unwrap())?;
        let expected = teacher.embed_images(&[image])?;
        let found = &found.floats()[row * 32..(row + 1) * 32];
        let error = found.iter().zip(&expected).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(found.len() == expected.len() && error < 1e-4, "{name}: {error}");
    }
    Ok(())
}

/// What encoders are given of the images of a data set, where `clip` and `dinov2` lack them and take so many a batch.
fn given(batches: [usize; 2]) -> Result<Vec<String>> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/golden");
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path(), &golden.join("clip"))?;
    let open = |name| Teacher::open(&golden.join(name), Device::Cpu, Dtype::F32);
    let teachers = [open("clip")?, open("dinov2")?];
    let plans = batches.map(|images| BatchPlan::of_rows(images, 1));
    let courses = teachers.iter().zip(plans).map(|(teacher, plan)| Course::of("any", teacher, Store::F16, plan));
    let courses: Vec<Course<'_>> = courses.collect();
    let wants = Wants { images: true, ..Wants::default() };
    let writers = ["one", "two"]
        .map(|name| TeacherWriter::open(&dataset, name, false, Store::F16, serde_json::json!(name), plans[0]).unwrap());
    let (works, _) = plan::missing(&dataset, &[wants; 2], &writers)?;
    let (tally, interrupt) = (Tally::begin(&Quiet, 2, 1), Interrupt::default());
    let run = Run::new(&dataset, courses, works, HashMap::new(), tally, &interrupt);
    let ((loaded, rows), (ready, batches)) = (sync_channel(1), sync_channel(9));
    decode::read(&run, &loaded);
    drop(loaded);
    decode::decode(&run, Device::Cpu, rows, ready);
    let words = batches.iter().map(|ready| match ready {
        Ok(decode::Ready::Begin(_)) => "begin".to_owned(),
        Ok(decode::Ready::Pixels { teacher, pixels, rows }) => format!("{teacher}: {rows:?} {:?}", pixels.size()),
        Ok(decode::Ready::Done { teacher }) => format!("{teacher} done"),
        _ => "something else".to_owned(),
    });
    Ok(words.collect())
}

/// The second of the three images is missing.
#[test]
fn an_image_is_decoded_once_and_comes_in_each_teachers_own_batches() -> Result<()> {
    let (one, other) = (["0: [0] [1, 3, 32, 32]", "0: [2] [1, 3, 32, 32]"], "1: [0, 2] [2, 3, 40, 40]");
    // Were there a pass for each teacher, all of its batches would come together.
    let alternating = [one[0], "1: [0] [1, 3, 40, 40]", one[1], "1: [2] [1, 3, 40, 40]"];
    assert_eq!(given([1, 1])?, [&["begin"], &alternating[..], &["0 done", "1 done"]].concat());
    assert_eq!(given([1, 2])?, [&["begin"], &one[..], &[other, "0 done", "1 done"]].concat());
    // What is left of a shard is a batch as well.
    assert_eq!(given([1, 9])?, given([1, 2])?);
    Ok(())
}

#[test]
fn counts_have_commas() {
    assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
}

/// Counts batches, and tells when the first of the second shard, which is the third, is computed.
struct Watch {
    batches: AtomicUsize,
    third: SyncSender<()>,
}

impl Progress for Watch {
    fn begin(&self, _: &str, _: u64, _: &'static str) {}
    fn note(&self, _: &str) {}
    fn end(&self) {}

    fn advance(&self, _: u64) {
        if self.batches.fetch_add(1, Ordering::Relaxed) == 2 {
            self.third.send(()).unwrap();
        }
    }
}

/// How many batches a worker computes of two shards of two batches each, and how many shards it hands over after the first,
/// which is committed, or fails to be, when the second has a batch.
fn computed(commits: bool) -> Result<(usize, usize)> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/golden/clip");
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path(), &golden)?;
    let teacher = Teacher::open(&golden, Device::Cpu, Dtype::F32)?;
    let plan = BatchPlan::of_rows(1, 1);
    let wants = Wants { images: true, ..Wants::default() };
    let writer = TeacherWriter::open(&dataset, "any", false, Store::F16, serde_json::json!("any"), plan)?;
    let (works, _) = plan::missing(&dataset, &[wants], &[writer])?;
    let (third, begun) = sync_channel(1);
    let watch = Watch { batches: AtomicUsize::new(0), third };
    let (tally, interrupt) = (Tally::begin(&watch, 1, 1), Interrupt::default());
    let course = Course::of("any", &teacher, Store::F16, plan);
    let run = Run::new(&dataset, vec![course], works, HashMap::new(), tally, &interrupt);
    let (ready, batches) = sync_channel(9);
    let ids = FixedSizeBinaryArray::try_from_iter([[0_u8; 16], [1; 16]].iter()).unwrap();
    let rows = Arc::new(decode::Rows { work: &run.works[0], images: Some(ids), texts: None, words: &[] });
    let pixels = |row| {
        let pixels = tch::Tensor::zeros([1, 3, 32, 32], (tch::Kind::Float, Device::Cpu));
        decode::Ready::Pixels { teacher: 0, pixels, rows: vec![row] }
    };
    for _ in 0..2 {
        let done = decode::Ready::Done { teacher: 0 };
        for next in [decode::Ready::Begin(rows.clone()), pixels(0), pixels(1), done] {
            ready.send(Ok(next)).unwrap();
        }
    }
    drop(ready);
    let more = std::thread::scope(|scope| {
        let (hand_over, handed) = sync_channel::<Handed<'_>>(2);
        let writer = scope.spawn(move || {
            begun.recv().unwrap();
            let Handed { committed, .. } = handed.recv().unwrap();
            if commits {
                committed.send(()).unwrap();
            }
            drop(committed);
            handed.iter().count()
        });
        compute::compute(&run, &[&teacher], &batches, &hand_over)?;
        drop(hand_over);
        Ok::<_, crate::Error>(writer.join().unwrap())
    })?;
    Ok((watch.batches.load(Ordering::Relaxed), more))
}

/// A worker that did not wait for the commit would compute the fourth batch whatever becomes of it.
#[test]
fn a_worker_computes_one_batch_before_what_it_handed_over_is_committed() -> Result<()> {
    assert_eq!(computed(true)?, (4, 1));
    assert_eq!(computed(false)?, (3, 0));
    Ok(())
}
