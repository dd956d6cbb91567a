//! Whole runs that hold a part of their images out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use arrow::array::{BooleanArray, Float32Array, StringArray, UInt32Array};
use retort_cache::{Dataset, Interrupt, Quiet, column, read_plain_table};
use retort_nn::Checkpoint;
use retort_schemas::runs::{RunInfo, confidence, drawn, files, predictions};
use tempfile::tempdir;

use super::setup::plan;
use super::train;
use crate::adapt::Stage;
use crate::checkpoint::read_best;
use crate::fixture::{Asked, Result, recipe, write};
use crate::metrics::Metrics;
use crate::{Recipe, evaluate};

const HELD: [&str; 3] = ["validate.share=0.25", "validate.every=2", "optim.lr=0.02"];

fn trained(recipe: &Recipe, run: &Path) -> Result<RunInfo> {
    Ok(train(recipe, run, &Quiet, &Interrupt::default())?.info)
}

fn curve(run: &Path, tag: &str) -> Result<Vec<(u64, f64)>> {
    let all = Metrics::read(run, Stage::Task, u64::MAX)?;
    Ok(all.rows().iter().filter(|row| row.tag == tag).map(|row| (row.step, row.value)).collect())
}

#[test]
fn what_is_held_out_is_in_no_part_of_training() -> Result {
    let folder = tempdir()?;
    let path = write(folder.path(), Asked::Answers)?;
    let dataset = Dataset::open(&path)?;
    let split = dataset.split("train")?;
    let groups = |parts: &[crate::stream::Part]| -> Result<BTreeSet<[u8; 16]>> {
        let mut groups = BTreeSet::new();
        for part in parts {
            let samples = crate::zipped::samples(&dataset, &part.shard)?;
            groups.extend(part.rows.iter().map(|row| samples[*row].group));
        }
        Ok(groups)
    };
    let (whole, held) = (recipe(&path, &[])?, recipe(&path, &["arm=kd+ts+cw", "validate.share=0.25"])?);
    let (whole, apart) = (plan(&whole, &dataset, split)?, plan(&held, &dataset, split)?);
    let (all, learnt, scored) = (groups(&whole.stream.parts)?, groups(&apart.stream.parts)?, groups(&apart.held_out)?);
    assert!(whole.held_out.is_empty() && learnt.is_disjoint(&scored));
    assert_eq!(learnt.union(&scored).copied().collect::<BTreeSet<_>>(), all);
    assert_eq!((scored.len(), apart.held_out_groups), (all.len() / 4, (all.len() / 4) as u64));
    // Neither the probe nor the student's vocabulary has seen it.
    let run = folder.path().join("run");
    let info = trained(&held, &run)?;
    let samples = info.validation.as_ref().map(|v| v.samples);
    assert_eq!(Some(whole.stream.samples() as u64), samples.map(|samples| samples + info.samples));
    let table = read_plain_table(&run.join("confidence.parquet"), confidence::VERSION)?;
    assert_eq!(table.num_rows() as u64, info.samples);
    // Both are written down, by their ids and places.
    let table = read_plain_table(&run.join("drawn.parquet"), drawn::VERSION)?;
    let ids = column::<StringArray>(&table, drawn::SAMPLE_ID)?;
    let shards = column::<StringArray>(&table, drawn::SHARD)?;
    let rows = column::<UInt32Array>(&table, drawn::ROW)?;
    let held_out = column::<BooleanArray>(&table, drawn::HELD_OUT)?;
    let mut found = (0..table.num_rows())
        .map(|at| (ids.value(at).to_owned(), shards.value(at).to_owned(), rows.value(at) as usize, held_out.value(at)));
    for (parts, is_held_out) in [(&apart.stream.parts, false), (&apart.held_out, true)] {
        for part in parts {
            let samples = crate::zipped::samples(&dataset, &part.shard)?;
            for row in &part.rows {
                let expected = (samples[*row].id.clone(), part.shard.name.clone(), *row, is_held_out);
                assert_eq!(found.next(), Some(expected));
            }
        }
    }
    assert_eq!(found.next(), None);
    Ok(())
}

#[test]
fn the_held_out_part_is_scored_as_evaluation_scores_it() -> Result {
    let folder = tempdir()?;
    for asked in [Asked::Answers, Asked::Class, Asked::Choice] {
        let place = folder.path().join(format!("{asked:?}"));
        let path = write(&place, asked)?;
        // The average of the weights is what is scored, and what is exported.
        let recipe = recipe(&path, &[&HELD[..], &["optim.ema=0.9"]].concat())?;
        let run = place.join("run");
        trained(&recipe, &run)?;
        evaluate(&run, "train", &Quiet, &Interrupt::default())?;
        let dataset = Dataset::open(&path)?;
        let held = plan(&recipe, &dataset, dataset.split("train")?)?.held_out;
        let held: BTreeMap<&str, &[usize]> = held.iter().map(|p| (p.shard.name.as_str(), p.rows.as_slice())).collect();
        let table = read_plain_table(&run.join(files::predictions("train")), predictions::VERSION)?;
        let shards = column::<StringArray>(&table, predictions::SHARD)?;
        let rows = column::<UInt32Array>(&table, predictions::ROW)?;
        let scores = column::<Float32Array>(&table, predictions::SCORE)?;
        let is_held = |at: &usize| {
            held.get(shards.value(*at)).is_some_and(|rows_of| rows_of.contains(&(rows.value(*at) as usize)))
        };
        let scores: Vec<f64> = (0..table.num_rows()).filter(is_held).map(|at| f64::from(scores.value(at))).collect();
        let expected = scores.iter().sum::<f64>() / scores.len() as f64;
        let last = curve(&run, "val/accuracy")?.pop();
        assert_eq!(last.map(|(step, _)| step), Some(8), "{asked:?}");
        assert!(last.is_some_and(|(_, score)| (score - expected).abs() < 1e-6), "{asked:?}: {last:?}, not {expected}");
        let losses = curve(&run, "val/loss")?;
        assert!(losses.len() == 4 && losses.iter().all(|(_, loss)| *loss > 0.0), "{asked:?}: {losses:?}");
    }
    Ok(())
}

#[test]
fn scoring_changes_nothing_of_training() -> Result {
    let folder = tempdir()?;
    let path = write(folder.path(), Asked::Class)?;
    let mut models = Vec::new();
    for every in ["validate.every=1", "validate.every=0"] {
        let run = folder.path().join(every);
        let settings = ["validate.share=0.25", "optim.ema=0.5", "validate.export=last", every];
        let info = trained(&recipe(&path, &settings)?, &run)?;
        assert_eq!(curve(&run, "val/accuracy")?.len(), if every.ends_with('1') { 8 } else { 1 });
        assert_eq!(info.validation.map(|v| v.exported).as_deref(), Some("last"));
        models.push(fs::read(run.join("student/model.safetensors"))?);
    }
    assert!(models[0] == models[1]);
    Ok(())
}

#[test]
fn the_best_is_kept_and_exported_whenever_a_run_is_killed() -> Result {
    let folder = tempdir()?;
    let path = write(folder.path(), Asked::Choice)?;
    // Steps so long that the last student is not the best.
    let settings = ["validate.export=best", "validate.every=1", "validate.share=0.25", "optim.lr=0.05", "log.keep=100"];
    let recipe = recipe(&path, &settings)?;
    let whole = folder.path().join("whole");
    let info = trained(&recipe, &whole)?;
    let scores = curve(&whole, "val/accuracy")?;
    let highest = scores.iter().map(|(_, score)| *score).fold(0.0, f64::max);
    let first = scores.iter().find(|(_, score)| *score == highest).copied();
    let validation = info.validation.clone();
    assert_eq!(validation.as_ref().and_then(|v| Some((v.best_step?, v.best_score?))), first, "{scores:?}");
    assert_ne!(first.map(|(step, _)| step), Some(8), "{scores:?}");
    let best_file = whole.join(files::CHECKPOINTS).join("best.safetensors");
    let (best, of_best) = read_best(&whole)?.ok_or("no best")?;
    assert_eq!(Some((best.step, best.score)), first);
    let student = Checkpoint::open_file(&whole.join("student/model.safetensors"))?;
    assert!(of_best.names().eq(student.names()));
    for name in student.names() {
        assert!(student.tensor(name)?.equal(&of_best.tensor(name)?), "{name}");
    }
    let mut checkpoints: Vec<String> = fs::read_dir(whole.join(files::CHECKPOINTS))?
        .map(|entry| Ok(entry?.file_name().into_string().map_err(|_| "no text")?))
        .filter(|name: &Result<String>| name.as_ref().is_ok_and(|name| name.starts_with("step-")))
        .collect::<Result<_>>()?;
    checkpoints.sort();
    assert_eq!(checkpoints.len(), 4);
    for kept in 0..=checkpoints.len() {
        let run = folder.path().join(format!("killed-{kept}"));
        fs::create_dir_all(run.join(files::CHECKPOINTS))?;
        fs::create_dir_all(run.join(files::STUDENT))?;
        for file in [files::RECIPE, "metrics.parquet", "student/tokenizer.json"] {
            fs::copy(whole.join(file), run.join(file))?;
        }
        for name in &checkpoints[..kept] {
            let place = Path::new(files::CHECKPOINTS).join(name);
            fs::copy(whole.join(&place), run.join(&place))?;
        }
        // It may be ahead of the checkpoints, and is never behind them.
        if kept > 0 {
            fs::copy(&best_file, run.join(files::CHECKPOINTS).join("best.safetensors"))?;
        }
        let again = trained(&recipe, &run)?;
        assert_eq!(again.validation, validation, "{kept}");
        for file in ["student/model.safetensors", "checkpoints/best.safetensors"] {
            assert!(fs::read(run.join(file))? == fs::read(whole.join(file))?, "{file} after {kept} checkpoints");
        }
        assert_eq!(curve(&run, "val/accuracy")?, scores);
    }
    Ok(())
}

#[test]
fn it_is_the_average_of_the_weights_that_is_scored() -> Result {
    let folder = tempdir()?;
    let path = write(folder.path(), Asked::Class)?;
    let mut curves = Vec::new();
    for ema in ["optim.ema=0.0", "optim.ema=0.9"] {
        let run = folder.path().join(ema);
        trained(&recipe(&path, &[&HELD[..], &[ema]].concat())?, &run)?;
        curves.push((curve(&run, "loss/total")?, curve(&run, "val/loss")?));
    }
    assert_eq!(curves[0].0, curves[1].0, "training does not see the average");
    assert_ne!(curves[0].1, curves[1].1);
    Ok(())
}

#[test]
fn of_equal_scores_the_first_is_the_best() -> Result {
    let folder = tempdir()?;
    let path = write(folder.path(), Asked::Class)?;
    let recipe = recipe(&path, &["validate.share=0.25", "validate.every=1", "optim.lr=0.0", "optim.steps=3"])?;
    let info = trained(&recipe, &folder.path().join("run"))?;
    assert_eq!(info.validation.and_then(|validation| validation.best_step), Some(1));
    Ok(())
}

#[test]
fn a_share_of_nothing_is_refused() -> Result {
    let folder = tempdir()?;
    let path = write(folder.path(), Asked::Class)?;
    let recipe = recipe(&path, &["validate.share=0.001"])?;
    let refusal = train(&recipe, &folder.path().join("run"), &Quiet, &Interrupt::default()).unwrap_err().to_string();
    assert!(refusal.contains("validate.share is 0.001") && refusal.contains("images is none"), "{refusal}");
    Ok(())
}
