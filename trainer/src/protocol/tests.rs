//! Protocols from the file to the table, on the fixture's data set, in this process.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use retort_cache::{Interrupt, Quiet};
use retort_schemas::protocol::FAILED_FILE;
use retort_schemas::runs::{files, predictions};

use super::*;
use crate::fixture::{self, Asked};

const PROTOCOL: &str = r#"
seeds = [1, 2, 3]
arms = ["base", "kd", { arm = "kd+ts", control = "random-words" }]
[settings]
device = "cpu"
data = { dataset = "DATASET", pool_samples = 32, block_samples = 4 }
teachers = { image = "clip", text = "text" }
student = { hidden = 16, layers = 1, heads = 2, image_size = 16, patch_size = 8, text_tokens = 12 }
optim = { batch = 8, lr = 0.005, warmup_steps = 2 }
log = { every = 1, checkpoint_every = 2 }
[[conditions]]
name = "half"
shots = "50%"
steps = 4
test = "train"
[[conditions]]
name = "all"
steps = 6
test = "train"
"#;

/// Does what processes do, here; fails for a recipe, and asks to stop after some things, where it is told to.
#[derive(Default)]
struct Here {
    done: Mutex<Vec<String>>,
    fails: Option<&'static str>,
    stop_after: Option<usize>,
}

impl Here {
    /// What was done since the last time, by run.
    fn done(&self) -> BTreeMap<String, usize> {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.drain(..).fold(BTreeMap::new(), |mut counts, run| {
            *counts.entry(run).or_default() += 1;
            counts
        })
    }
}

impl Worker for Here {
    fn work(
        &self,
        doing: &Doing,
        run: &Path,
        _: Slot,
        _: &File,
        _: &(dyn Fn(&str) + Sync),
        interrupt: &Interrupt,
    ) -> Result<Ended> {
        let name = run.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if self.fails.is_some_and(|fails| name.starts_with(fails)) {
            return Ok(Ended::Failed { how: "exit code 2".into(), stderr: vec!["error: as told".into()] });
        }
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.push(name);
        if self.stop_after == Some(done.len()) {
            interrupt.request();
        }
        drop(done);
        let ended = match doing {
            Doing::Train => {
                let recipe = crate::Recipe::read(&run.join("recipe.toml"), &[])?;
                crate::train(&recipe, run, &Quiet, interrupt).map(drop)
            }
            Doing::Eval(split) => crate::evaluate(run, split, &Quiet, interrupt).map(drop),
        };
        match ended {
            Ok(()) => Ok(Ended::Done),
            Err(crate::Error::Cache(retort_cache::Error::Interrupted)) => Ok(Ended::Stopped),
            Err(error) => Err(error),
        }
    }
}

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> fixture::Result<Self> {
        let folder = tempfile::tempdir()?;
        fixture::write(folder.path(), Asked::Answers)?;
        Ok(Self { folder })
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn protocol(&self, edit: impl Fn(String) -> String) -> Result<Protocol> {
        let path = self.folder.path().join("protocol.toml");
        let text = PROTOCOL.replace("DATASET", &self.folder.path().join("set").display().to_string());
        std::fs::write(&path, edit(text)).unwrap();
        Protocol::read(&path, &[])
    }

    fn carry_out(&self, plan: &Plan, worker: &Here) -> Result<Vec<Failure>> {
        let (out, slots) = (self.out(), Slot::divide(1, 1, 0));
        let site = Site { out: &out, slots: &slots, worker, progress: &Quiet, interrupt: &Interrupt::default() };
        carry_out("test", &plan.runs, &site)
    }
}

#[test]
fn it_is_stopped_and_goes_on_with_what_is_missing_and_a_change_touches_its_runs_only() -> fixture::Result {
    let place = Place::new()?;
    let protocol = place.protocol(|text| text)?;
    let plan = Plan::of(&protocol)?;
    assert_eq!((plan.runs.len(), plan.cells.len()), (18, 6));

    let stopping = Here { stop_after: Some(5), ..Here::default() };
    let stopped = place.carry_out(&plan, &stopping).unwrap_err();
    assert!(matches!(stopped, crate::Error::Cache(retort_cache::Error::Interrupted)), "{stopped}");
    let before = stopping.done();
    assert_eq!(before.values().sum::<usize>(), 5);

    // Two runs were trained and scored; the third had begun.
    let worker = Here::default();
    assert_eq!(place.carry_out(&plan, &worker)?, []);
    let after = worker.done();
    assert_eq!(after.len(), 16);
    assert!(plan.runs[..2].iter().all(|run| !after.contains_key(&run.folder)), "{after:?}");
    assert!(after.values().all(|count| *count == 2), "{after:?}");
    assert_eq!(place.carry_out(&plan, &worker)?, []);
    assert!(worker.done().is_empty());

    let changed = place.protocol(|text| text.replace("steps = 6", "steps = 7"))?;
    let changed = Plan::of(&changed)?;
    place.carry_out(&changed, &worker)?;
    let redone = worker.done();
    assert_eq!(redone.len(), 9);
    assert!(redone.keys().all(|run| run.contains("-all-")), "{redone:?}");

    let results = conclude(&protocol, &plan, &[], &place.out())?;
    assert_eq!((results.sections.len(), results.scored.len()), (2, 18));
    let [base, kd, control] = &results.sections[1].rows[..] else { panic!("{:?}", results.sections) };
    assert_eq!((base.scores.len(), &base.gain, control.arm.as_str()), (3, &None, "kd+ts+random-words"));
    let gain = kd.gain.as_ref().ok_or("no gain")?;
    let expected = kd.mean().unwrap() - base.mean().unwrap();
    assert!((gain.absolute - expected).abs() < 1e-12 && gain.seeds == 3, "{gain:?}");
    assert!(gain.interval[0] <= gain.absolute && gain.absolute <= gain.interval[1], "{gain:?}");
    assert_eq!(base.samples_seen, 48.0);
    assert!(base.wall_secs.is_some_and(|secs| secs > 0.0));
    assert!(results.markdown.contains("floor: question alone"), "{}", results.markdown);
    assert!(results.markdown.contains("is tested on train, which it is trained on"), "{}", results.markdown);
    Ok(())
}

#[test]
fn a_split_without_labels_is_predicted_once_and_one_with_labels_until_it_is_scored() -> fixture::Result {
    let place = Place::new()?;
    let mut plan = Plan::of(&place.protocol(|text| text)?)?;
    plan.runs.truncate(1);
    place.carry_out(&plan, &Here::default())?;
    let run = &plan.runs[0];
    assert!(run.missing(&place.out())?.is_nothing());
    // As if it had been killed before the scores were written.
    let folder = run.path(&place.out());
    std::fs::remove_file(folder.join(files::evaluation("train"))).unwrap();
    assert_eq!(run.missing(&place.out())?.splits, ["train"]);
    let path = folder.join(files::predictions("train"));
    let all = retort_cache::read_plain_table(&path, predictions::VERSION)?;
    let mut columns = all.columns().to_vec();
    let at = all.schema().index_of(predictions::SCORE)?;
    columns[at] = arrow::array::new_null_array(&DataType::Float32, all.num_rows());
    retort_cache::write_plain_table(&path, &RecordBatch::try_new(all.schema(), columns)?)?;
    assert!(run.missing(&place.out())?.is_nothing());
    Ok(())
}

#[test]
fn a_run_that_fails_is_reported_and_the_others_are_made() -> fixture::Result {
    let place = Place::new()?;
    let plan = Plan::of(&place.protocol(|text| text)?)?;
    let worker = Here { fails: Some("kd-50%-seed2"), ..Here::default() };
    let failures = place.carry_out(&plan, &worker)?;
    let [failure] = &failures[..] else { panic!("{failures:?}") };
    assert_eq!((failure.arm.as_str(), failure.seed, failure.doing.as_str()), ("kd", 2, "train"));
    assert_eq!(worker.done().len(), 17);
    assert!(place.out().join(FAILED_FILE).is_file());
    let protocol = place.protocol(|text| text)?;
    let results = conclude(&protocol, &plan, &failures, &place.out())?;
    assert!(results.markdown.contains("(train): exit code 2: error: as told"), "{}", results.markdown);
    // What is compared is what both have.
    let kd = &results.sections[0].rows[1];
    assert_eq!((kd.scores.len(), kd.seeds, kd.gain.as_ref().map(|gain| gain.seeds)), (2, 3, Some(2)));
    // It is tried again, and then nothing is said of it.
    let worker = Here::default();
    assert_eq!(place.carry_out(&plan, &worker)?, []);
    assert_eq!(worker.done().len(), 1);
    assert!(!place.out().join(FAILED_FILE).exists());
    Ok(())
}

#[test]
fn what_is_not_honest_is_said() -> fixture::Result {
    let place = Place::new()?;
    let said = |edit: &dyn Fn(String) -> String| -> fixture::Result<String> {
        Ok(Plan::of(&place.protocol(edit)?)?.warnings.join("\n"))
    };
    let with = |arms: &'static str| move |text: String| text.replace("\"kd\",", arms);
    assert!(said(&|text| text.replace("[1, 2, 3]", "[1, 2]"))?.contains("2 seeds: a comparison needs at least 3"));
    let longer = said(&with("{ arm = \"kd\", optim.steps = 9 },"))?;
    assert!(longer.contains("condition \"half\": kd differs from base in optim.steps: 9 against 4"), "{longer}");
    assert!(said(&with("{ arm = \"kd\", optim.lr = 1.0 },"))?.contains("schedule or optimiser"));
    assert!(said(&with("{ arm = \"kd\", validate.share = 0.5 },"))?.contains("how a student is selected"));
    let mad = said(&with("\"mad\","))?;
    assert!(mad.contains("mad has 500 steps more than base: add the compute-matched baseline"), "{mad}");
    let matched = said(&with("\"mad\", { arm = \"base\", adapt.mode = \"mlm\" },"))?;
    assert!(!matched.contains("compute-matched"), "{matched}");
    assert!(said(&|text| text.replace("\"base\",", ""))?.contains("no arm is base"));
    Ok(())
}

#[test]
fn what_is_no_protocol_is_refused_with_the_nearest_key() -> fixture::Result {
    let place = Place::new()?;
    for (from, to, says) in [
        ("seeds =", "sedes =", "the protocol has an unknown key \"sedes\": did you mean \"seeds\"?"),
        ("shots =", "shosts =", "conditions[1] has an unknown key \"shosts\": did you mean \"shots\"?"),
        ("control =", "contrl =", "arms[3] has an unknown key \"contrl\": did you mean \"control\"?"),
        ("batch = 8", "bach = 8", "settings has an unknown key \"optim.bach\": did you mean \"optim.batch\"?"),
        ("device = \"cpu\"", "seed = 3", "settings.seed: the protocol's seeds decide that"),
        ("device = \"cpu\"", "device = \"cuda:1\"", "expected auto, cpu or cuda"),
        ("[1, 2, 3]", "[1, 1]", "seeds: \"1\" is there twice"),
        ("[1, 2, 3]", "[]", "seeds: expected a list of at least one"),
        ("\"kd\",", "{ arm = \"base\", name = \"again\" },", "are one and the same run in condition \"half\""),
        ("\"kd\",", "\"kdd\",", "unknown variant `kdd`"),
        ("steps = 4", "steps = 4\noptim = { steps = 5 }", "has both steps and optim.steps"),
    ] {
        let refusal = match place.protocol(|text| text.replacen(from, to, 1)).and_then(|read| Plan::of(&read)) {
            Err(refusal) => refusal.to_string(),
            Ok(_) => panic!("{to} is accepted"),
        };
        assert!(refusal.contains(says), "{to}: {refusal}");
    }
    Ok(())
}

#[test]
fn conditions_that_differ_in_what_is_tested_share_their_runs() -> fixture::Result {
    let place = Place::new()?;
    let shifted = "[[conditions]]\nname = \"shifted\"\nsteps = 6\ntest = \"other\"\nshift = \"third\"\n";
    let plan = Plan::of(&place.protocol(|text| text + shifted)?)?;
    assert_eq!((plan.runs.len(), plan.cells.len()), (18, 9));
    assert_eq!(plan.runs[9].splits, ["train", "other", "third"]);
    assert_eq!(plan.runs[9].conditions, ["all", "shifted"]);
    Ok(())
}

#[test]
fn the_time_is_estimated_from_a_few_steps_and_then_from_what_is_finished() -> fixture::Result {
    let place = Place::new()?;
    let protocol = place.protocol(|text| text.replace("[1, 2, 3]", "[1]"))?;
    let plan = Plan::of(&protocol)?;
    let (out, slots, worker) = (place.out(), Slot::divide(1, 1, 0), Here::default());
    let interrupt = Interrupt::default();
    let site = Site { out: &out, slots: &slots, worker: &worker, progress: &Quiet, interrupt: &interrupt };
    let first = estimate(&plan.runs, &site)?;
    assert!(first.secs > 0.0 && first.unknown == 0, "{first:?}");
    assert_eq!(worker.done().len(), 3);
    // What an arm takes is known now.
    estimate(&plan.runs, &site)?;
    assert!(worker.done().is_empty());
    carry_out("test", &plan.runs, &site)?;
    assert_eq!(estimate(&plan.runs, &site)?, Estimate { secs: 0.0, unknown: 0 });
    Ok(())
}

#[test]
fn every_protocol_that_comes_with_the_project_is_one_that_a_reviewer_accepts() -> fixture::Result {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocols");
    for (name, runs) in [("easy-vqa", 108), ("easy-vqa-quick", 9), ("vcr", 144), ("snli-ve", 144), ("vqa", 144)] {
        let protocol = Protocol::read(&folder.join(format!("{name}.toml")), &[])?;
        let plan = Plan::of(&protocol)?;
        assert_eq!((protocol.name.as_str(), plan.runs.len()), (name, runs));
        assert_eq!(plan.warnings, Vec::<String>::new(), "{name}");
        assert!(plan.runs.iter().all(|run| run.recipe.validate.share > 0.0), "{name}");
    }
    Ok(())
}
