//! What a run says before its first steps, and what a later start of it takes over.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use retort_cache::{Interrupt, Progress, Quiet};
use retort_schemas::runs::files;
use tempfile::tempdir;

use super::train;
use crate::Recipe;
use crate::fixture::{Asked, Result, recipe, write};

/// Keeps what is said.
#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl Progress for Lines {
    fn begin(&self, _: &str, _: u64, _: &'static str) {}
    fn advance(&self, _: u64) {}
    fn note(&self, _: &str) {}
    fn end(&self) {}
    fn say(&self, line: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
    }
}

/// The lines that a run says.
fn said(recipe: &Recipe, run: &Path) -> Result<Vec<String>> {
    let lines = Lines::default();
    train(recipe, run, &lines, &Interrupt::default())?;
    Ok(lines.0.into_inner()?)
}

#[test]
fn an_alpha_that_counts_as_nothing_is_told_of() -> Result {
    let folder = tempdir()?;
    let dataset = write(folder.path(), Asked::Answers)?;
    for (at, (settings, told)) in [
        (&["arm=kd+ts"][..], false),
        (&["arm=kd+ts", "teachers.image=eyes"], true),
        (&["arm=base", "adapt.mode=aft", "teachers.image=eyes"], true),
        (&["arm=mad", "teachers.image=eyes"], true),
        (&["arm=kd", "teachers.image=eyes"], false),
        (&["arm=kd+ts", "teachers.image=eyes", "selection.alpha=0"], false),
    ]
    .into_iter()
    .enumerate()
    {
        let steps = ["optim.steps=2", "adapt.steps=2"];
        let lines = said(&recipe(&dataset, &[settings, &steps].concat())?, &folder.path().join(at.to_string()))?;
        assert_eq!(lines.len(), usize::from(told), "{settings:?}: {lines:?}");
        let words = ["words are selected by the text alone", "teacher eyes@"];
        assert!(lines.iter().all(|line| words.iter().all(|word| line.contains(word))), "{lines:?}");
    }
    Ok(())
}

#[test]
fn texts_that_are_cut_are_told_of() -> Result {
    let folder = tempdir()?;
    let dataset = write(folder.path(), Asked::Choice)?;
    let lines = said(&recipe(&dataset, &["arm=base", "student.text_tokens=4"])?, &folder.path().join("cut"))?;
    assert!(lines.len() == 1 && lines[0].starts_with("100.0 % of the first "), "{lines:?}");
    Ok(())
}

#[test]
fn a_student_that_begins_nowhere_is_refused_before_anything_is_written() -> Result {
    let folder = tempdir()?;
    let dataset = write(folder.path(), Asked::Answers)?;
    let run = folder.path().join("run");
    let refusal = said(&recipe(&dataset, &["student.from=models/none"])?, &run).unwrap_err().to_string();
    assert!(refusal.starts_with("student.from is models/none, and there is no such folder"), "{refusal}");
    assert!(!run.exists());
    Ok(())
}

#[test]
fn confidences_of_an_earlier_start_are_taken_over() -> Result {
    let folder = tempdir()?;
    let dataset = write(folder.path(), Asked::Answers)?;
    let recipe = |folds: &str| recipe(&dataset, &["arm=kd+ts+cw", &format!("confidence.folds={folds}")]);
    let model = |run: &Path| fs::read(run.join(files::STUDENT).join("model.safetensors"));
    let (five, two) = (folder.path().join("five"), folder.path().join("two"));
    for (folds, run) in [("5", &five), ("2", &two)] {
        train(&recipe(folds)?, run, &Quiet, &Interrupt::default())?;
    }
    // A start of the first that finds its own confidences, or those of the other.
    for (of, as_ever) in [(&five, true), (&two, false)] {
        let again = tempdir()?;
        let run = again.path().join("run");
        fs::create_dir_all(run.join(files::STUDENT))?;
        fs::copy(five.join("student/tokenizer.json"), run.join("student/tokenizer.json"))?;
        fs::copy(of.join("confidence.parquet"), run.join("confidence.parquet"))?;
        train(&recipe("5")?, &run, &Quiet, &Interrupt::default())?;
        assert_eq!(model(&run)? == model(&five)?, as_ever);
        assert!(fs::read(run.join("confidence.parquet"))? == fs::read(of.join("confidence.parquet"))?);
    }
    Ok(())
}
