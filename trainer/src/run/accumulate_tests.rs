//! Runs whose batches come in parts: what they learn is what whole batches would teach.

use std::path::Path;

use retort_cache::{Interrupt, Quiet};
use retort_nn::Checkpoint;
use retort_schemas::runs::files;
use tch::Kind;
use tempfile::tempdir;

use super::train;
use crate::adapt::Stage;
use crate::fixture::{Asked, Result, recipe, write};
use crate::metrics::Metrics;

/// Every value that a run logged but its speed, by tag and step.
fn logged(run: &Path) -> Result<Vec<(String, u64, f64)>> {
    let mut all = Vec::new();
    for (stage, prefix) in [(Stage::Adapt, "adapt/"), (Stage::Task, "")] {
        let metrics = Metrics::read(run, stage, u64::MAX)?;
        let said = metrics.rows().iter().filter(|row| {
            row.tag.starts_with(&format!("{prefix}loss/")) || ["lambda", "gradient_norm"].contains(&row.tag.as_str())
        });
        all.extend(said.map(|row| (row.tag.clone(), row.step, row.value)));
    }
    all.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    Ok(all)
}

/// || a - b || / || a || over all weights of two exported students.
fn apart(one: &Path, other: &Path) -> Result<f64> {
    let open = |run: &Path| Checkpoint::open_file(&run.join(files::STUDENT).join("model.safetensors"));
    let (one, other) = (open(one)?, open(other)?);
    let (mut difference, mut length) = (0.0, 0.0);
    for name in one.names() {
        let (a, b) = (one.tensor(name)?, other.tensor(name)?);
        difference += (&a - b).square().sum(Kind::Double).double_value(&[]);
        length += a.square().sum(Kind::Double).double_value(&[]);
    }
    Ok((difference / length).sqrt())
}

#[test]
fn parts_teach_what_the_whole_batch_does() -> Result {
    let folder = tempdir()?;
    for (name, asked, settings) in [
        ("base", Asked::Answers, &["arm=base"][..]),
        ("weighed", Asked::Answers, &["arm=kd+ts+cw", "distil.balance_steps=3"]),
        ("shuffled", Asked::Class, &["arm=kd+ts+cw", "control=shuffled-weights", "optim.recompute=true"]),
        ("choice", Asked::Choice, &["arm=kd+ts", "distil.balance_steps=3"]),
        ("binary", Asked::Choice, &["arm=kd", "task.choice_loss=binary"]),
        ("masked", Asked::Choice, &["arm=base", "adapt.mode=mlm"]),
        ("pressed", Asked::Choice, &["arm=kd", "adversarial.enabled=true", "adversarial.initial_norm=0.1"]),
    ] {
        let dataset = write(&folder.path().join(name), asked)?;
        let run = |parts: &str| -> Result<_> {
            let run = folder.path().join(format!("{name}-{parts}"));
            let accumulate = format!("optim.accumulate={parts}");
            train(&recipe(&dataset, &[settings, &[&accumulate]].concat())?, &run, &Quiet, &Interrupt::default())?;
            Ok((logged(&run)?, run))
        };
        let (whole, whole_run) = run("1")?;
        assert!(whole.len() >= 24, "{name}: {}", whole.len());
        // Of 8 samples 2, 3 and 3; and each alone.
        for parts in ["3", "8"] {
            let (found, found_run) = run(parts)?;
            assert_eq!(found.len(), whole.len(), "{name} in {parts}");
            for (a, b) in whole.iter().zip(&found) {
                assert!(a.0 == b.0 && (a.2 - b.2).abs() < 1e-3 * a.2.abs().max(0.01), "{name} in {parts}: {a:?} {b:?}");
            }
            let apart = apart(&whole_run, &found_run)?;
            assert!(apart < 1e-3, "{name} in {parts}: weights are {apart} apart");
        }
    }
    Ok(())
}

#[test]
fn the_contrast_of_parts_is_among_their_own_samples() -> Result {
    let folder = tempdir()?;
    let dataset = write(folder.path(), Asked::Answers)?;
    let first = |parts: &str, tag: &str| -> Result<f64> {
        let run = folder.path().join(parts);
        if !run.exists() {
            let accumulate = format!("optim.accumulate={parts}");
            train(&recipe(&dataset, &["arm=mad", &accumulate])?, &run, &Quiet, &Interrupt::default())?;
        }
        Ok(logged(&run)?.into_iter().find(|(found, ..)| found == tag).ok_or("not logged")?.2)
    };
    for tag in ["adapt/loss/vision", "adapt/loss/text", "adapt/loss/tokens"] {
        assert!((first("1", tag)? - first("4", tag)?).abs() < 1e-5, "{tag}");
    }
    // Fewer to be told from: of one sample none at all.
    let contrast = |parts| first(parts, "adapt/loss/contrast_images");
    assert!(contrast("4")? < contrast("1")? && contrast("8")?.abs() < 1e-6);
    Ok(())
}
