//! Runs of students that read regions: data sets whose images are no images, trained, stopped, scored.

use std::path::PathBuf;

use arrow::array::{
    ArrayRef, BinaryArray, FixedSizeBinaryArray, Float32Array, Float64Array, ListArray, RecordBatch, StringArray,
    StructArray, UInt32Array, UInt64Array, new_empty_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use retort_cache::{DatasetWriter, Quiet, SplitPlan, TeacherWriter, vectors};
use retort_schemas::manifest::BatchPlan;
use retort_schemas::runs::{files, metrics};
use retort_schemas::tables::samples::tasks;
use retort_schemas::{Dtype, VectorType, features, tables};
use tempfile::tempdir;

use super::*;
use crate::evaluate;

pub(super) const IMAGES: usize = 8;
pub(super) const SHARD: usize = 4;
const WIDTH: usize = 6;

/// What a data set of the test has of its images.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Has {
    Features,
    Boxes,
    NoRegions,
    /// Images that a decoder takes, one for each label.
    Pixels,
}

fn list(values: ArrayRef, lengths: Vec<usize>) -> ArrayRef {
    let item = Arc::new(Field::new_list_field(values.data_type().clone(), false));
    Arc::new(ListArray::new(item, OffsetBuffer::from_lengths(lengths), values, None))
}

fn nothing(of: DataType, rows: usize) -> ArrayRef {
    list(new_empty_array(&of), vec![0; rows])
}

fn words(all: &[String]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(all))
}

fn numbers(value: u32, rows: usize) -> ArrayRef {
    Arc::new(UInt32Array::from(vec![value; rows]))
}

pub(super) fn ids(first: usize, count: usize) -> ArrayRef {
    let bytes = (first..first + count).map(|id| [id as u8; 16]);
    Arc::new(FixedSizeBinaryArray::try_from_iter(bytes).unwrap())
}

/// The right one of three answers for an image.
pub(super) fn label(image: usize) -> usize {
    (image * 5 + image / 3) % 3
}

/// Regions of a shard: of image i 1 + i % 3 of them, but none of the last. The first elements of the features tell the
/// label; of the scores the first is the highest.
fn regions(first: usize, has: Has) -> RecordBatch {
    let counts: Vec<usize> = (first..first + SHARD).map(|i| if i == IMAGES - 1 { 0 } else { 1 + i % 3 }).collect();
    let of_regions = || (first..).zip(&counts).flat_map(|(image, count)| (0..*count).map(move |at| (image, at)));
    let all = of_regions().count();
    let corner = |value: f32| -> ArrayRef { Arc::new(Float32Array::from(vec![value; all])) };
    let scores = Float32Array::from_iter_values(of_regions().map(|(_, at)| 0.9 - 0.1 * at as f32));
    let columns = vec![
        corner(10.0),
        corner(5.0),
        corner(30.0),
        corner(15.0),
        Arc::new(StringArray::new_null(all)),
        Arc::new(scores),
    ];
    let boxes = StructArray::new(tables::regions::box_fields(), columns, None);
    let mut columns = vec![ids(first, SHARD), list(Arc::new(boxes), counts.clone())];
    let vector = VectorType { dtype: Dtype::F16, width: WIDTH };
    if has == Has::Features {
        let floats: Vec<f32> = of_regions()
            .flat_map(|(image, at)| {
                (0..WIDTH).map(move |x| if at == 0 && x == label(image) { 2.0 } else { 0.1 * (at + x) as f32 })
            })
            .collect();
        let values = vectors::encode(vector, &floats).unwrap();
        let item = Arc::new(vector.field("item"));
        columns.push(Arc::new(ListArray::new(item, OffsetBuffer::from_lengths(counts), Arc::new(values), None)));
    }
    let schema = tables::regions::schema((has == Has::Features).then_some(vector));
    RecordBatch::try_new(schema, columns).unwrap()
}

/// An encoded image that tells the label, or nothing of the kind.
fn bytes_of(image: usize, has: Has) -> Vec<u8> {
    if has != Has::Pixels {
        return b"no image".to_vec();
    }
    let name = ["easyvqa-0.png", "easyvqa-1.png", "wide.png"][label(image)];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/golden/images");
    std::fs::read(folder.join(name)).unwrap()
}

/// A data set like VCR's, of images that no decoder would take: of each three texts of a question and an answer.
pub(super) fn dataset(folder: &Path, has: Has) -> PathBuf {
    let folder = folder.join("set");
    add_split(&folder, "train", has);
    folder
}

/// A split of a data set, of the same images and samples as every other.
pub(super) fn add_split(folder: &Path, name: &str, has: Has) {
    let (split, options) = (name.to_owned(), serde_json::Value::Null);
    let plan = SplitPlan { name: split, source: "test".to_owned(), options, answers: None };
    let mut writer = DatasetWriter::begin(folder, plan).unwrap();
    for first in (0..IMAGES).step_by(SHARD) {
        let of = |name: &str| -> Vec<String> { (first..first + SHARD).map(|i| format!("{name}{i}")).collect() };
        let images = vec![
            ids(first, SHARD),
            words(&of("image")),
            Arc::new(BinaryArray::from_iter_values((first..first + SHARD).map(|image| bytes_of(image, has)))),
            words(&vec!["png".to_owned(); SHARD]),
            numbers(4, SHARD),
            numbers(2, SHARD),
            numbers(40, SHARD),
            numbers(20, SHARD),
            Arc::new(UInt64Array::from(vec![0; SHARD])),
        ];
        let texts = vec![
            ids(100, 3),
            words(&["what is it? one", "what is it? two", "what is it? three"].map(str::to_owned)),
            nothing(DataType::Struct(tables::texts::object_fields()), 3),
            list(numbers(12, 3), vec![1; 3]),
        ];
        let labels = (first..first + SHARD).map(|image| label(image) as u32);
        let images_of: Vec<u32> = (0..SHARD as u32).collect();
        let samples = vec![
            words(&of("sample")),
            words(&vec![tasks::VCR_QA.to_owned(); SHARD]),
            words(&vec![name.to_owned(); SHARD]),
            Arc::new(UInt32Array::from(images_of)),
            list(Arc::new(UInt32Array::from([0, 1, 2].repeat(SHARD))), vec![3; SHARD]),
            Arc::new(UInt32Array::from_iter_values(labels)),
            Arc::new(StringArray::new_null(SHARD)),
            nothing(DataType::Utf8, SHARD),
            nothing(DataType::Struct(tables::samples::target_fields()), SHARD),
            Arc::new(StringArray::new_null(SHARD)),
            Arc::new(StringArray::new_null(SHARD)),
            ids(first, SHARD),
        ];
        let rejects = RecordBatch::new_empty(tables::rejects::schema());
        let table = |schema, columns| RecordBatch::try_new(schema, columns).unwrap();
        let mut all = vec![
            (tables::images::NAME, table(tables::images::schema(), images)),
            (tables::texts::NAME, table(tables::texts::schema(), texts)),
            (tables::samples::NAME, table(tables::samples::schema(), samples)),
            (tables::rejects::NAME, rejects),
        ];
        if matches!(has, Has::Features | Has::Boxes) {
            all.push((tables::regions::NAME, regions(first, has)));
        }
        writer.commit(&all).unwrap();
    }
    writer.finish().unwrap();
}

/// A teacher that has seen all images and texts of a data set.
fn teach(folder: &Path) {
    let dataset = Dataset::open(folder).unwrap();
    let plan = BatchPlan::of_rows(1, 1);
    let mut teacher = TeacherWriter::open(&dataset, "clip", true, Dtype::F16, serde_json::Value::Null, plan).unwrap();
    let vector = VectorType { dtype: Dtype::F16, width: 4 };
    for (at, shard) in dataset.split_shards("train").unwrap().enumerate() {
        let shard = shard.unwrap();
        let embed = |first: usize, rows: usize| -> ArrayRef {
            let floats: Vec<f32> = (0..rows * 4).map(|x| ((first * 4 + x) as f32 * 0.7).sin()).collect();
            Arc::new(vectors::encode(vector, &floats).unwrap())
        };
        let first = at * SHARD;
        let images = vec![ids(first, SHARD), embed(first, SHARD)];
        let texts = vec![ids(100, 3), embed(100, 3)];
        let table = |schema, columns| RecordBatch::try_new(schema, columns).unwrap();
        let tables = [
            (features::images::NAME, table(features::images::schema(vector), images)),
            (features::texts::NAME, table(features::texts::schema(vector), texts)),
        ];
        teacher.commit(&shard.name, &tables).unwrap();
    }
}

/// First and last value of a run's metric.
pub(super) fn logged(run: &Path, tag: &str) -> Option<[f64; 2]> {
    let table = retort_cache::read_plain_table(&run.join("metrics.parquet"), metrics::VERSION).unwrap();
    let tags = retort_cache::column::<StringArray>(&table, metrics::TAG).unwrap();
    let values = retort_cache::column::<Float64Array>(&table, metrics::VALUE).unwrap();
    let of_tag = |row: &usize| tags.value(*row) == tag;
    let mut rows = (0..table.num_rows()).filter(of_tag).map(|row| values.value(row));
    let first = rows.next()?;
    Some([first, rows.next_back().unwrap_or(first)])
}

fn recipe(dataset: &Path, settings: &[&str]) -> Recipe {
    let text = format!(
        "device = \"cpu\"\n[data]\ndataset = {:?}\n[student]\nkind = \"visualbert\"\nhidden = 16\nlayers = 1\nheads = 2\nregions = 2\n\
         [optim]\nsteps = 60\nbatch = 4\nlr = 0.005\nwarmup_steps = 5\n[log]\ncheckpoint_every = 20\n",
        dataset.display().to_string()
    );
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    Recipe::parse(Path::new("test"), &text, &settings).unwrap()
}

pub(super) fn weights(run: &Path) -> Vec<u8> {
    std::fs::read(run.join(files::STUDENT).join(record::WEIGHTS)).unwrap()
}

/// Asks to stop at a step.
pub(super) struct StopAt(pub(super) u64, pub(super) std::sync::atomic::AtomicU64, pub(super) Interrupt);

impl Progress for StopAt {
    fn begin(&self, _: &str, _: u64, _: &str) {}
    fn advance(&self, by: u64) {
        let done = self.1.fetch_add(by, std::sync::atomic::Ordering::SeqCst) + by;
        if done >= self.0 {
            self.2.request();
        }
    }
    fn note(&self, _: &str) {}
    fn end(&self) {}
}

#[test]
fn region_students_learn_without_an_image_and_go_on_as_if_never_stopped() -> Result<()> {
    let folder = tempdir().unwrap();
    let dataset = dataset(folder.path(), Has::Features);
    for kind in ["visualbert", "uniter", "villa"] {
        let settings = [format!("student.kind={kind}"), "adversarial.initial_norm=0.1".to_owned()];
        let recipe = recipe(&dataset, &settings.each_ref().map(String::as_str));
        let (whole, stopped) = (folder.path().join(kind), folder.path().join(format!("{kind}-stopped")));
        train(&recipe, &whole, &Quiet, &Interrupt::default())?;
        let interrupt = Interrupt::default();
        let stop = StopAt(31, std::sync::atomic::AtomicU64::new(0), interrupt.clone());
        let error = train(&recipe, &stopped, &stop, &interrupt).unwrap_err();
        assert!(matches!(error, crate::Error::Cache(retort_cache::Error::Interrupted)), "{error}");
        let outcome = train(&recipe, &stopped, &Quiet, &Interrupt::default())?;
        assert_eq!(outcome.began_at, 31);
        assert!(weights(&whole) == weights(&stopped), "{kind}: other weights");
        // Seven images are told apart by their regions; the eighth is a region of zeros.
        let scores = evaluate(&whole, "train", &Quiet, &Interrupt::default())?;
        assert!(scores.overall.accuracy > 0.8, "{kind}: {scores:?}");
        for tag in ["loss/adversarial", "loss/divergence"] {
            assert_eq!(logged(&whole, tag).is_some(), kind == "villa", "{kind} {tag}");
        }
    }
    Ok(())
}

#[test]
fn region_students_are_distilled_with_and_without_adversarial_training() -> Result<()> {
    let folder = tempdir().unwrap();
    let dataset = dataset(folder.path(), Has::Features);
    teach(&dataset);
    for (name, more) in [("visualbert", "adversarial.enabled=true"), ("uniter", "seed=1"), ("villa", "seed=1")] {
        let kind = format!("student.kind={name}");
        let settings = [
            "arm=kd",
            "optim.steps=150",
            "teachers.image=clip",
            "teachers.text=clip",
            "distil.kd_ratio=1",
            &kind,
            more,
        ];
        let run = folder.path().join(name);
        train(&recipe(&dataset, &settings), &run, &Quiet, &Interrupt::default())?;
        for tag in ["loss/vision", "loss/text"] {
            let [first, last] = logged(&run, tag).unwrap();
            assert!(last < 0.7 * first, "{name} {tag}: {first} to {last}");
        }
        assert_eq!(logged(&run, "loss/adversarial").is_some(), name != "uniter", "{name}");
        let scores = evaluate(&run, "train", &Quiet, &Interrupt::default())?;
        assert!(scores.overall.accuracy > 0.8, "{name}: {scores:?}");
    }
    Ok(())
}

#[test]
fn a_perturbation_of_nothing_doubles_every_gradient() -> Result<()> {
    let folder = tempdir().unwrap();
    let dataset = dataset(folder.path(), Has::Features);
    let norm = |kind: &str, enabled: &str| -> Result<f64> {
        let settings = [kind, enabled, "adversarial.steps=1", "adversarial.kl=0", "optim.steps=2", "log.every=1"];
        let run = folder.path().join(format!("{kind}-{enabled}"));
        train(&recipe(&dataset, &settings), &run, &Quiet, &Interrupt::default())?;
        Ok(logged(&run, "gradient_norm").unwrap()[0])
    };
    for kind in ["student.kind=visualbert", "student.kind=uniter"] {
        let (clean, both) = (norm(kind, "adversarial.enabled=false")?, norm(kind, "adversarial.enabled=true")?);
        assert!((both / clean - 2.0).abs() < 1e-4, "{kind}: {clean} and {both}");
    }
    Ok(())
}

#[test]
fn what_a_student_sees_of_an_image() -> Result<()> {
    let folder = tempdir().unwrap();
    let dataset = Dataset::open(&dataset(folder.path(), Has::Features))?;
    let shards: Vec<_> = dataset.split_shards("train")?.collect::<Result<_, _>>()?;
    let regions = crate::regions::Regions::read(&dataset, &shards[0])?;
    // Image 2 has three regions, the first of the highest score; a box is 10, 5, 30, 15 of 40 by 20 pixels.
    let seen = regions.of_image(2, 2)?;
    assert_eq!(seen.boxes, [[0.25, 0.25, 0.75, 0.75]; 2]);
    let close = |found: &[f32], expected: &[f32]| {
        assert_eq!(found.len(), expected.len());
        found.iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-3, "{found:?} is not {expected:?}"));
    };
    assert_eq!(label(2), 1);
    close(&seen.features, &[0.0, 2.0, 0.2, 0.3, 0.4, 0.5, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
    assert_eq!(regions.of_image(2, 36)?.boxes.len(), 3);
    let lost = crate::regions::Regions::read(&dataset, &shards[1])?.of_image(3, 36)?;
    assert_eq!((lost.features, lost.boxes), (vec![0.0; WIDTH], vec![[0.0, 0.0, 1.0, 1.0]]));
    Ok(())
}

#[test]
fn a_data_set_without_features_is_refused_with_what_to_do() {
    for (has, says) in [(Has::NoRegions, "has no regions"), (Has::Boxes, "has boxes without features")] {
        let folder = tempdir().unwrap();
        let recipe = recipe(&dataset(folder.path(), has), &[]);
        let error = train(&recipe, &folder.path().join("run"), &Quiet, &Interrupt::default()).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("train-00000") && error.contains("--regions"), "{error}");
    }
}
