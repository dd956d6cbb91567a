//! Whole runs on a small data set: stages, kills, controls.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use retort_cache::{Interrupt, Progress, Quiet};
use retort_nn::Checkpoint;
use retort_schemas::runs::{Environment, RunInfo, files};
use tempfile::tempdir;

use super::train;
use crate::adapt::Stage;
use crate::fixture::{Asked, Result, recipe, write};
use crate::metrics::Metrics;
use crate::{Error, Recipe};

fn trained(recipe: &Recipe, run: &Path) -> Result<RunInfo> {
    Ok(train(recipe, run, &Quiet, &Interrupt::default())?.info)
}

/// The values of a tag, in order of steps.
fn curve(run: &Path, tag: &str) -> Result<Vec<f64>> {
    let all = Metrics::read(run, Stage::Task, u64::MAX)?;
    Ok(all.rows().iter().filter(|row| row.tag == tag).map(|row| row.value).collect())
}

/// Mean of the first and of the last values.
fn ends(curve: &[f64]) -> (f64, f64) {
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    (mean(&curve[..5]), mean(&curve[curve.len() - 5..]))
}

fn model(run: &Path) -> Result<Vec<u8>> {
    Ok(fs::read(run.join(files::STUDENT).join("model.safetensors"))?)
}

#[test]
fn every_feature_distance_falls() -> Result {
    let folder = tempdir()?;
    let dataset = write(folder.path(), Asked::Answers)?;
    for distance in ["l1", "l2", "cosine"] {
        let run = folder.path().join(distance);
        let distance = format!("distil.distance={distance}");
        let settings = ["arm=kd+ts", "optim.steps=120", "distil.kd_ratio=3", &distance];
        trained(&recipe(&dataset, &settings)?, &run)?;
        for tag in ["loss/vision", "loss/text", "loss/tokens"] {
            let (first, last) = ends(&curve(&run, tag)?);
            assert!(last < 0.8 * first, "{distance}: {tag} went from {first} to {last}");
        }
    }
    Ok(())
}

#[test]
fn adaptive_finetuning_lowers_each_of_its_losses_and_hands_its_weights_on() -> Result {
    let folder = tempdir()?;
    for asked in [Asked::Answers, Asked::Choice] {
        let place = folder.path().join(format!("{asked:?}"));
        let dataset = write(&place, asked)?;
        let (mad, plain) = (place.join("mad"), place.join("plain"));
        let info = trained(&recipe(&dataset, &["arm=mad", "adapt.steps=120"])?, &mad)?;
        assert_eq!((info.arm.as_str(), info.adapt.as_str()), ("mad", "aft"));
        assert_eq!((info.adapt_steps, info.steps, info.complete), (120, 8, true));
        let mut parts = Vec::new();
        for tag in ["vision", "text", "tokens", "contrast_images", "contrast_texts"] {
            let found = curve(&mad, &format!("adapt/loss/{tag}"))?;
            assert_eq!(found.len(), 120);
            let (first, last) = ends(&found);
            assert!(last < 0.8 * first, "{asked:?}: {tag} went from {first} to {last}");
            parts.push(found);
        }
        // The objective is their sum, with no weights.
        for (step, total) in curve(&mad, "adapt/loss/total")?.iter().enumerate() {
            let sum: f64 = parts.iter().map(|part| part[step]).sum();
            assert!((sum - total).abs() < 1e-4, "step {}: {total}, parts {sum}", step + 1);
        }
        // The task stage goes on from there, with its own warm-up and without labels' losses before it.
        trained(&recipe(&dataset, &["arm=kd+ts+cw"])?, &plain)?;
        for tag in ["loss/vision", "loss/text", "loss/tokens"] {
            let (adapted, fresh) = (curve(&mad, tag)?, curve(&plain, tag)?);
            assert_eq!(adapted.len(), 8);
            assert!(adapted[0] < 0.8 * fresh[0], "{asked:?}: {tag} starts at {} of {}", adapted[0], fresh[0]);
        }
        assert_eq!(curve(&mad, "lr")?, curve(&plain, "lr")?);
        assert!(curve(&mad, "adapt/loss/task")?.is_empty() && curve(&plain, "adapt/loss/total")?.is_empty());
    }
    Ok(())
}

#[test]
fn the_compute_matched_baseline_learns_the_texts_and_leaves_no_head() -> Result {
    let folder = tempdir()?;
    let dataset = write(folder.path(), Asked::Class)?;
    let run = folder.path().join("run");
    let info = trained(&recipe(&dataset, &["arm=base", "adapt.mode=mlm", "adapt.steps=150"])?, &run)?;
    assert_eq!((info.arm.as_str(), info.adapt.as_str(), info.adapt_steps), ("base+mlm", "mlm", 150));
    let (first, last) = ends(&curve(&run, "adapt/loss/total")?);
    assert!(last < 0.7 * first, "from {first} to {last}");
    let checkpoint = |name: &str| -> Result<BTreeSet<String>> {
        let path = run.join(files::CHECKPOINTS).join(name);
        Ok(Checkpoint::open_file(&path)?.names().map(str::to_owned).collect())
    };
    let has = |names: &BTreeSet<String>, part: &str| names.iter().any(|name| name.contains(part));
    let adapting = checkpoint("adapt-00000150.safetensors")?;
    assert!(has(&adapting, "weight/mlm.decoder") && !has(&adapting, "distil."));
    assert!(!has(&checkpoint("step-00000008.safetensors")?, "mlm."));
    let student = Checkpoint::open_file(&run.join(files::STUDENT).join("model.safetensors"))?;
    let student: BTreeSet<String> = student.names().map(str::to_owned).collect();
    assert!(has(&student, "vilt.") && !has(&student, "mlm."), "{student:?}");
    Ok(())
}

#[test]
fn a_kill_at_any_moment_ends_with_the_same_bits() -> Result {
    let folder = tempdir()?;
    let dataset = write(folder.path(), Asked::Choice)?;
    for settings in [
        &["arm=mad", "selection.mode=sample"][..],
        &["arm=base", "adapt.mode=mlm"],
        &["arm=mad", "optim.accumulate=3", "augment.mirror=0.5", "augment.crop_scale=[0.5, 1.0]"],
    ] {
        let recipe = recipe(&dataset, settings)?;
        let whole = folder.path().join(settings.concat());
        trained(&recipe, &whole)?;
        let expected = model(&whole)?;
        let mut checkpoints: Vec<String> = fs::read_dir(whole.join(files::CHECKPOINTS))?
            .map(|entry| Ok(entry?.file_name().into_string().unwrap()))
            .collect::<Result<_>>()?;
        checkpoints.sort();
        assert_eq!(checkpoints.len(), 3 + 4, "{checkpoints:?}");
        // What a run has on disk when it is killed between these checkpoints: the metrics may be ahead of them.
        for kept in 0..checkpoints.len() {
            let broken = tempdir()?;
            let run = broken.path().join("run");
            fs::create_dir_all(run.join(files::CHECKPOINTS))?;
            fs::create_dir_all(run.join(files::STUDENT))?;
            for file in [files::RECIPE, "metrics.parquet", "student/tokenizer.json"] {
                fs::copy(whole.join(file), run.join(file))?;
            }
            for name in &checkpoints[..kept] {
                let place = Path::new(files::CHECKPOINTS).join(name);
                fs::copy(whole.join(&place), run.join(&place))?;
            }
            let outcome = train(&recipe, &run, &Quiet, &Interrupt::default())?;
            assert_eq!(outcome.began_at, 2 * kept as u64);
            assert!(model(&run)? == expected, "{settings:?}: other weights after {kept} checkpoints");
            for tag in ["adapt/loss/total", "loss/total", "adapt/lr", "lr"] {
                assert_eq!(curve(&run, tag)?, curve(&whole, tag)?, "{settings:?}: {tag} after {kept} checkpoints");
            }
        }
    }
    Ok(())
}

#[test]
fn label_smoothing_reaches_every_task_loss() -> Result {
    let folder = tempdir()?;
    for (name, asked, loss) in [
        ("answers", Asked::Answers, "softmax"),
        ("class", Asked::Class, "softmax"),
        ("choice", Asked::Choice, "softmax"),
        ("binary", Asked::Choice, "binary"),
    ] {
        let dataset = write(&folder.path().join(name), asked)?;
        let choice_loss = format!("task.choice_loss={loss}");
        let first = |smoothing: &str| -> Result<f64> {
            let run = folder.path().join(format!("{name}-{smoothing}"));
            let smoothing = format!("task.label_smoothing={smoothing}");
            trained(&recipe(&dataset, &["arm=base", "optim.steps=1", &choice_loss, &smoothing])?, &run)?;
            Ok(curve(&run, "loss/task")?[0])
        };
        let (plain, smoothed) = (first("0.0")?, first("0.5")?);
        assert!((plain - smoothed).abs() > 1e-4, "{name}: {plain} {smoothed}");
    }
    Ok(())
}

/// Asks to stop when a stage begins whose name starts so.
struct StopAt(&'static str, Interrupt);

impl Progress for StopAt {
    fn begin(&self, stage: &str, _: u64, _: &'static str) {
        if stage.starts_with(self.0) {
            self.1.request();
        }
    }
    fn advance(&self, _: u64) {}
    fn note(&self, _: &str) {}
    fn end(&self) {}
}

#[test]
fn a_run_that_is_asked_to_stop_in_either_stage_is_not_complete() -> Result {
    let folder = tempdir()?;
    let dataset = write(folder.path(), Asked::Answers)?;
    let run = folder.path().join("run");
    let recipe = recipe(&dataset, &["arm=mad"])?;
    for (stage, checkpoint) in [("aft", "adapt-00000000"), ("train mad", "step-00000000")] {
        let interrupt = Interrupt::default();
        let stopped = train(&recipe, &run, &StopAt(stage, interrupt.clone()), &interrupt);
        assert!(matches!(stopped, Err(Error::Cache(retort_cache::Error::Interrupted))), "{stopped:?}");
        assert!(run.join(files::CHECKPOINTS).join(format!("{checkpoint}.safetensors")).is_file(), "{checkpoint}");
        let info: RunInfo = serde_json::from_str(&fs::read_to_string(run.join(files::RUN))?)?;
        assert!(!info.complete && !run.join("student/model.safetensors").exists(), "{stage}: {info:?}");
    }
    assert!(trained(&recipe, &run)?.complete);
    Ok(())
}

#[test]
fn each_arm_has_its_terms_after_each_stage() -> Result {
    let folder = tempdir()?;
    let dataset = write(folder.path(), Asked::Answers)?;
    let all = ["loss/vision", "loss/text", "loss/tokens"];
    for (arm, terms) in [
        ("base", &[][..]),
        ("kd-v", &all[..1]),
        ("kd-t", &all[1..2]),
        ("kd", &all[..2]),
        ("kd+ts", &all),
        ("kd+ts+cw", &all),
        ("mad", &all),
    ] {
        for mode in ["none", "aft", "mlm"] {
            if arm == "mad" && mode != "aft" {
                continue;
            }
            let run = folder.path().join(format!("{arm}-{mode}"));
            let (arm_is, mode_is) = (format!("arm={arm}"), format!("adapt.mode={mode}"));
            let recipe = recipe(&dataset, &[&arm_is, &mode_is, "adapt.steps=2", "optim.steps=2"])?;
            assert_eq!(trained(&recipe, &run)?.adapt, mode);
            let has = |tag: &str| -> Result<bool> { Ok(curve(&run, tag)?.len() == 2) };
            assert!(has("loss/task")? && has("adapt/loss/total")? == (mode != "none"), "{arm} {mode}");
            for term in all {
                assert_eq!(has(term)?, terms.contains(&term), "{arm} {mode}: {term}");
                assert_eq!(has(&format!("adapt/{term}"))?, mode == "aft", "{arm} {mode}: {term} before the task");
            }
            assert_eq!(run.join("confidence.parquet").is_file(), arm == "kd+ts+cw" || arm == "mad", "{arm} {mode}");
        }
    }
    Ok(())
}

#[test]
fn controls_change_what_they_say_and_nothing_else() -> Result {
    let folder = tempdir()?;
    let dataset = write(folder.path(), Asked::Answers)?;
    let run_of = |name: &str, settings: &[&str]| -> Result<std::path::PathBuf> {
        let run = folder.path().join(name);
        let settings = [&["arm=kd+ts+cw", "selection.words=1"], settings].concat();
        let info = trained(&recipe(&dataset, &settings)?, &run)?;
        assert_eq!(info.control, if name == "plain" { "none" } else { name.trim_end_matches("-again") });
        Ok(run)
    };
    let plain = run_of("plain", &[])?;
    for control in ["random-words", "shuffled-weights", "random-teacher"] {
        let setting = format!("control={control}");
        let run = run_of(control, &[&setting])?;
        let again = run_of(&format!("{control}-again"), &[&setting])?;
        assert!(model(&run)? == model(&again)?, "{control} is not seeded");
        assert!(model(&run)? != model(&plain)?, "{control} changes nothing");
        // Before the first step the students are the same: what differs is what the control replaced.
        let differs = |tag: &str| -> Result<bool> { Ok(curve(&run, tag)?[0] != curve(&plain, tag)?[0]) };
        assert!(!differs("loss/task")?, "{control}");
        let of_teacher = control == "random-teacher";
        assert_eq!((differs("loss/vision")?, differs("loss/text")?), (of_teacher, of_teacher), "{control}");
        assert_eq!(differs("loss/tokens")?, control != "shuffled-weights", "{control}");
        assert!(differs("lambda")?, "{control}");
    }
    Ok(())
}

#[test]
fn a_tokenizer_without_a_mask_is_refused() -> Result {
    let folder = tempdir()?;
    let dataset = write(folder.path(), Asked::Class)?;
    let own = crate::vocabulary::from_texts(["there is a red circle"].into_iter(), 12)?;
    let path = folder.path().join("tokenizer.json");
    fs::write(&path, own.to_json()?.replace("[MASK]", "[HOLE]"))?;
    let tokenizer = format!("student.tokenizer={}", path.display());
    let recipe = recipe(&dataset, &["arm=base", "adapt.mode=mlm", &tokenizer])?;
    let refusal = train(&recipe, &folder.path().join("run"), &Quiet, &Interrupt::default()).unwrap_err().to_string();
    assert!(refusal.contains("adapt.mode is mlm, and the student's tokenizer has neither [MASK]"), "{refusal}");
    Ok(())
}

#[test]
fn layers_that_are_computed_again_learn_the_same() -> Result {
    let folder = tempdir()?;
    let dataset = write(folder.path(), Asked::Choice)?;
    for (name, settings) in [
        ("mad", ["arm=mad", "adapt.steps=3", "student.layers=3"]),
        ("mlm", ["adapt.mode=mlm", "adapt.steps=3", "student.layers=2"]),
        ("villa", ["arm=kd", "adversarial.enabled=true", "student.layers=2"]),
    ] {
        let run = |again: bool| -> Result<_> {
            let run = folder.path().join(format!("{name}-{again}"));
            let again = format!("optim.recompute={again}");
            trained(&recipe(&dataset, &[&settings[..], &[&again]].concat())?, &run)?;
            Ok((curve(&run, "gradient_norm")?, curve(&run, "loss/total")?))
        };
        let (kept, again) = (run(false)?, run(true)?);
        assert_eq!(kept.0.len(), 8);
        for (kept, again) in kept.0.iter().chain(&kept.1).zip(again.0.iter().chain(&again.1)) {
            assert!((kept - again).abs() < 1e-3 * kept.abs(), "{name}: {kept} {again}");
        }
    }
    Ok(())
}

#[test]
fn layers_in_bf16_learn_nearly_the_same() -> Result {
    let folder = tempdir()?;
    let dataset = write(folder.path(), Asked::Choice)?;
    for (name, settings) in [
        ("mad", ["arm=mad", "adapt.steps=3", "optim.recompute=true"]),
        ("villa", ["arm=kd", "adversarial.enabled=true", "student.layers=2"]),
    ] {
        let run = |precision: &str| -> Result<_> {
            let run = folder.path().join(format!("{name}-{precision}"));
            let precision = format!("optim.precision={precision}");
            trained(&recipe(&dataset, &[&settings[..], &[&precision]].concat())?, &run)?;
            curve(&run, "loss/total")
        };
        let (single, mixed) = (run("f32")?, run("bf16")?);
        assert_eq!(single.len(), 8);
        // Eight bits of a number are kept, and errors grow with each step.
        let first = (single[0] - mixed[0]).abs();
        assert!(first > 0.0 && first < 1e-2 * single[0], "{name}: {} {}", single[0], mixed[0]);
        let apart = single.iter().zip(&mixed).map(|(single, mixed)| (single - mixed).abs() / single);
        assert!(apart.clone().all(|apart| apart < 0.1), "{name}: {:?}", apart.collect::<Vec<_>>());
    }
    Ok(())
}

#[test]
fn each_start_of_a_run_is_written_down_and_decides_nothing() -> Result {
    let folder = tempdir()?;
    let dataset = write(folder.path(), Asked::Class)?;
    let run = folder.path().join("run");
    let recipe = recipe(&dataset, &["arm=base", "adapt.mode=mlm"])?;
    let interrupt = Interrupt::default();
    train(&recipe, &run, &StopAt("train", interrupt.clone()), &interrupt).unwrap_err();
    trained(&recipe, &run)?;
    let path = run.join(files::ENVIRONMENT);
    let environment: Environment = serde_json::from_str(&fs::read_to_string(&path)?)?;
    let devices: Vec<&str> = environment.starts.iter().map(|start| start.device.as_str()).collect();
    assert_eq!(devices, ["cpu", "cpu"], "one for each start, whatever its stages");
    fs::remove_file(&path)?;
    let before = model(&run)?;
    trained(&recipe, &run)?;
    assert!(model(&run)? == before && path.is_file());
    Ok(())
}

#[test]
fn a_device_that_is_not_there_is_refused_before_anything_is_written() -> Result {
    let folder = tempdir()?;
    let dataset = write(folder.path(), Asked::Class)?;
    for (word, says) in [("cuda:99", "CUDA devices"), ("gpu", "expected auto, cpu, cuda or cuda:N")] {
        let run = folder.path().join(word.replace(':', "-"));
        let recipe = recipe(&dataset, &[&format!("device={word}")])?;
        let refusal = train(&recipe, &run, &Quiet, &Interrupt::default()).unwrap_err();
        assert!(refusal.to_string().contains(word) && refusal.to_string().contains(says), "{refusal}");
        assert!(refusal.hint().is_some_and(|hint| hint.contains("auto")) && !run.exists());
    }
    let run = folder.path().join("run");
    let recipe = recipe(&dataset, &["optim.steps=1"])?;
    assert_eq!(recipe.device, "cpu");
    trained(&recipe, &run)?;
    let refusal = crate::evaluate_on(&run, "train", Some("cuda:99"), &Quiet, &Interrupt::default()).unwrap_err();
    assert!(refusal.to_string().contains("cuda:99"), "{refusal}");
    crate::evaluate_on(&run, "train", Some("cpu"), &Quiet, &Interrupt::default())?;
    Ok(())
}
