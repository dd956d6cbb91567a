//! Runs of a student that starts from a folder in Hugging Face layout: read once, and gone on with as if never stopped.

use retort_cache::Quiet;
use retort_schemas::runs::files;
use tempfile::tempdir;

use super::region_tests::{Has, StopAt, dataset, weights};
use super::*;
use crate::evaluate;

fn recipe(dataset: &Path, from: &Path, settings: &[&str]) -> Recipe {
    let text = format!(
        "device = \"cpu\"\n[data]\ndataset = {:?}\n[student]\nkind = \"vilt\"\nhidden = 24\nlayers = 2\nheads = 2\nimage_size = 32\n\
         patch_size = 8\ntext_tokens = 16\nfit = \"squash\"\nfrom = {:?}\n\
         [optim]\nsteps = 60\nbatch = 4\nlr = 0.002\nwarmup_steps = 5\n",
        dataset.display().to_string(),
        from.display().to_string()
    );
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    Recipe::parse(Path::new("test"), &text, &settings).unwrap()
}

#[test]
fn a_pretrained_vilt_is_finetuned_stopped_scored_and_started_from() -> Result<()> {
    let folder = tempdir().unwrap();
    let dataset = dataset(folder.path(), Has::Pixels);
    let pretrained = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/golden/vilt-mlm");
    let recipe_of = |from: &Path, settings: &[&str]| recipe(&dataset, from, settings);
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    train(&recipe_of(&pretrained, &[]), &whole, &Quiet, &Interrupt::default())?;
    let interrupt = Interrupt::default();
    let stop = StopAt(31, std::sync::atomic::AtomicU64::new(0), interrupt.clone());
    assert!(train(&recipe_of(&pretrained, &[]), &stopped, &stop, &interrupt).is_err());
    assert_eq!(train(&recipe_of(&pretrained, &[]), &stopped, &Quiet, &Interrupt::default())?.began_at, 31);
    assert!(weights(&whole) == weights(&stopped), "other weights");
    let scores = evaluate(&whole, "train", &Quiet, &Interrupt::default())?;
    assert!(scores.overall.accuracy > 0.8, "{scores:?}");
    // What was exported is a folder to start from; its ids are those of the vocab.txt.
    let student = whole.join(files::STUDENT);
    let ids = |tokenizer: retort_nn::TextTokenizer| tokenizer.encode("the red circle?").map(|text| text.ids);
    let known = ids(crate::vocabulary::of_folder(&pretrained, 16)?)?;
    assert_eq!(ids(crate::vocabulary::of_folder(&student, 16)?)?, known);
    let again = folder.path().join("again");
    train(&recipe_of(&student, &["optim.steps=1", "optim.lr=0"]), &again, &Quiet, &Interrupt::default())?;
    assert!(weights(&again) == weights(&whole), "a step of length nothing changes nothing");
    Ok(())
}
