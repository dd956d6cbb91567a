//! Runs of the student that reads a patch grid from the cache: images that are no images, trained, stopped, scored.

use arrow::array::{ArrayRef, ListArray, RecordBatch};
use arrow::buffer::OffsetBuffer;
use retort_cache::{Quiet, TeacherWriter, vectors};
use retort_schemas::manifest::BatchPlan;
use retort_schemas::{Dtype, VectorType, features};
use tempfile::tempdir;

use super::region_tests::{Has, IMAGES, SHARD, StopAt, add_split, dataset, ids, label, weights};
use super::*;
use crate::evaluate;

const PLACES: usize = 4;
const WIDTH: usize = 6;

/// The patch grids of a split's shards, of which one place tells the label. Of the last image, which is missing, zeros.
fn teach(folder: &Path, split: &str, identity: &str, uneven: bool) {
    let dataset = Dataset::open(folder).unwrap();
    let plan = BatchPlan::of_rows(1, 1);
    let identity = serde_json::Value::from(identity);
    let mut teacher = TeacherWriter::open(&dataset, "clip", false, Dtype::F16, identity, plan).unwrap();
    let vector = VectorType { dtype: Dtype::F16, width: WIDTH };
    for (at, shard) in dataset.split_shards(split).unwrap().enumerate() {
        let shard = shard.unwrap();
        let first = at * SHARD;
        let mut floats = Vec::new();
        for image in first..first + SHARD {
            for (place, x) in (0..PLACES).flat_map(|place| (0..WIDTH).map(move |x| (place, x))) {
                let told = place == 2 && x == label(image);
                let noise = ((image * 31 + place * 7 + x) as f32).sin() * 0.1;
                floats.push(if image == IMAGES - 1 {
                    0.0
                } else if told {
                    2.0
                } else {
                    noise
                });
            }
        }
        let lengths = if uneven { vec![PLACES - 1, PLACES + 1, PLACES, PLACES] } else { vec![PLACES; SHARD] };
        let values: ArrayRef = Arc::new(vectors::encode(vector, &floats).unwrap());
        let item = Arc::new(vector.field("item"));
        let grid: ArrayRef = Arc::new(ListArray::new(item, OffsetBuffer::from_lengths(lengths), values, None));
        let table = RecordBatch::try_new(features::patches::schema(vector), vec![ids(first, SHARD), grid]).unwrap();
        teacher.commit(&shard.name, &[(features::patches::NAME, table)]).unwrap();
    }
}

fn recipe(dataset: &Path) -> Recipe {
    let text = format!(
        "device = \"cpu\"\n[data]\ndataset = {:?}\n[teachers]\nimage = \"clip\"\n[student]\nkind = \"clip-grid\"\nhidden = 16\n\
         layers = 1\nheads = 2\n[optim]\nsteps = 80\nbatch = 4\nlr = 0.005\nwarmup_steps = 5\n",
        dataset.display().to_string()
    );
    Recipe::parse(Path::new("test"), &text, &[]).unwrap()
}

#[test]
fn clip_grid_learns_without_an_image_and_goes_on_as_if_never_stopped() -> Result<()> {
    let folder = tempdir().unwrap();
    let dataset = dataset(folder.path(), Has::NoRegions);
    teach(&dataset, "train", "a", false);
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    train(&recipe(&dataset), &whole, &Quiet, &Interrupt::default())?;
    let interrupt = Interrupt::default();
    let stop = StopAt(31, std::sync::atomic::AtomicU64::new(0), interrupt.clone());
    let error = train(&recipe(&dataset), &stopped, &stop, &interrupt).unwrap_err();
    assert!(matches!(error, crate::Error::Cache(retort_cache::Error::Interrupted)), "{error}");
    assert_eq!(train(&recipe(&dataset), &stopped, &Quiet, &Interrupt::default())?.began_at, 31);
    assert!(weights(&whole) == weights(&stopped), "other weights");
    let scores = evaluate(&whole, "train", &Quiet, &Interrupt::default())?;
    assert!(scores.overall.accuracy > 0.8, "{scores:?}");

    // A split that no teacher has seen, and then one that it has.
    add_split(&dataset, "test", Has::NoRegions);
    let error = evaluate(&whole, "test", &Quiet, &Interrupt::default()).unwrap_err().to_string();
    assert!(error.contains("no patch grid of shard test-00000") && error.contains("--patches"), "{error}");
    teach(&dataset, "test", "a", false);
    let scores = evaluate(&whole, "test", &Quiet, &Interrupt::default())?;
    assert!(scores.overall.accuracy > 0.8, "{scores:?}");

    // The teacher that it was trained on is gone, another one of its name is there.
    teach(&dataset, "train", "b", false);
    let trained_on = crate::students::grid_teacher(&whole.join("student"))?.unwrap();
    std::fs::remove_dir_all(dataset.join("cache").join(&trained_on)).unwrap();
    let error = evaluate(&whole, "train", &Quiet, &Interrupt::default()).unwrap_err().to_string();
    assert!(error.contains(&trained_on), "{error}");
    Ok(())
}

#[test]
fn a_cache_without_patch_grids_is_refused_with_what_to_do() {
    let folder = tempdir().unwrap();
    let dataset = dataset(folder.path(), Has::NoRegions);
    let run = || train(&recipe(&dataset), &folder.path().join("run"), &Quiet, &Interrupt::default());
    let error = run().unwrap_err().to_string();
    assert!(error.contains("\"clip\""), "{error}");
    let open = Dataset::open(&dataset).unwrap();
    let plan = BatchPlan::of_rows(1, 1);
    let empty = serde_json::Value::from("a");
    let mut teacher = TeacherWriter::open(&open, "clip", false, Dtype::F16, empty, plan).unwrap();
    teacher.commit("train-00000", &[]).unwrap();
    drop(teacher);
    let error = run().unwrap_err().to_string();
    assert!(error.contains("no patch grid of shard train-00000") && error.contains("--patches"), "{error}");
    teach(&dataset, "train", "a", true);
    let error = run().unwrap_err().to_string();
    assert!(error.contains("\"grid\"") && error.contains("row 1"), "{error}");
}
