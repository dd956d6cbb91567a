//! VQA's accuracy held against a scorer of its own, `tests/py/score_vqa.py`, on real questions. They are not part of the
//! project: without them, or without Python, this says so and passes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::tempdir;

use super::summary::{Scores, summarise};
use super::{Row, tests::row};
use crate::fixture::Result;
use crate::scoring;
use crate::tasks::Objective;
use crate::zipped::SampleRow;

/// The annotation files, if they are there.
fn real_annotations() -> Option<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/coco_vqa/vqa_v2_60k");
    let parts = ["train", "valid", "test"].map(|part| folder.join(format!("vqa_annotatons_{part}.gzip")));
    if parts.iter().all(|path| path.is_file()) {
        return Some(parts.into());
    }
    println!("skipped: {} is absent", folder.display());
    None
}

fn python(arguments: &[&str]) -> Result<String> {
    let ran = Command::new("python3").args(arguments).output()?;
    if !ran.status.success() {
        return Err(String::from_utf8_lossy(&ran.stderr).into());
    }
    Ok(String::from_utf8(ran.stdout)?)
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What a student might say: right, half right, wrong, and in every spelling that the rules are about.
fn said(at: usize, answers: &[String], truth: &str) -> String {
    let one = &answers[at % answers.len()];
    match at % 12 {
        0 | 1 => truth.to_owned(),
        2 | 3 => one.clone(),
        4 => format!(" The {}.\n", one.to_uppercase()),
        5 => format!("{one}!"),
        6 => one.replace(' ', "/"),
        7 => one.replace('\'', ""),
        8 => format!("{one}, {truth}"),
        9 => ["two", "none", "1,000", "3.5", "dont", "somebody'd", "it''s", "N.Y."][at / 12 % 8].to_owned(),
        10 => one.replace('2', "two").replace('1', "one").replace('-', "- "),
        _ => "yes".to_owned(),
    }
}

/// Rows with our scores, by question, and the results file.
fn score_all(annotations: &[Value]) -> Result<(Vec<Row>, Value)> {
    let (mut rows, mut results) = (Vec::new(), Vec::new());
    for (at, annotation) in annotations.iter().enumerate() {
        let answers = annotation["answers"].as_array().ok_or("no answers")?;
        let answers: Vec<String> = answers.iter().map(|answer| string(&answer["answer"])).collect();
        let said = said(at, &answers, &string(&annotation["multiple_choice_answer"]));
        results.push(json!({"question_id": annotation["question_id"], "answer": said}));
        let sample = SampleRow { answers, ..SampleRow::default() };
        let own = scoring::score(Objective::Answers, &sample, &said).ok_or("no score")?;
        rows.push(Row {
            question_type: Some(string(&annotation["question_type"])),
            answer_type: Some(string(&annotation["answer_type"])),
            scores: Some(Scores { own, majority: 0.0, question_only: 0.0, text_only: None }),
            ..row("vqa", &annotation["question_id"].to_string())
        });
    }
    Ok((rows, Value::from(results)))
}

#[test]
fn sixty_thousand_real_questions_are_scored_as_another_scorer_does() -> Result {
    let Some(parts) = real_annotations() else { return Ok(()) };
    if let Err(problem) = python(&["--version"]) {
        println!("skipped: python3 cannot be run: {problem}");
        return Ok(());
    }
    let paths: Vec<&str> = parts.iter().filter_map(|path| path.to_str()).collect();
    let unpack = "import gzip,json,sys; json.dump([r for p in sys.argv[1:] for r in json.load(gzip.open(p))['annotations']], sys.stdout)";
    let annotations: Vec<Value> = serde_json::from_str(&python(&[&["-c", unpack], &paths[..]].concat())?)?;
    assert_eq!(annotations.len(), 60_000);
    let (rows, results) = score_all(&annotations)?;
    let folder = tempdir()?;
    let file = folder.path().join("results.json");
    fs::write(&file, results.to_string())?;
    let scorer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/py/score_vqa.py");
    let (scorer, file) = (scorer.to_string_lossy(), file.to_string_lossy());
    let theirs: Value = serde_json::from_str(&python(&[&[&*scorer, &*file], &paths[..]].concat())?)?;

    let near = |ours: f64, theirs: &Value| theirs.as_f64().is_some_and(|theirs| (ours - theirs).abs() < 1e-9);
    let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
    for row in &rows {
        let own = row.scores.ok_or("no score")?.own;
        assert!(near(own, &theirs["perQuestion"][&row.id]), "{}: {own}, {}", row.id, theirs["perQuestion"][&row.id]);
        *seen.entry((own * 10.0).round() as u64).or_default() += 1;
    }
    // The comparison is worth nothing where all is right or wrong: every score that ten annotators can give is there.
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [0, 3, 6, 9, 10], "{seen:?}");
    let ours = summarise("val", Objective::Answers, &rows).ok_or("nothing is scored")?;
    assert!(near(ours.overall.accuracy, &theirs["overall"]), "{} {}", ours.overall.accuracy, theirs["overall"]);
    for (ours, theirs) in
        [(&ours.by_answer_type, &theirs["perAnswerType"]), (&ours.by_question_type, &theirs["perQuestionType"])]
    {
        assert_eq!(ours.len(), theirs.as_object().ok_or("no types")?.len());
        assert!(ours.iter().all(|score| near(score.accuracy, &theirs[&score.name])), "{ours:?} {theirs}");
    }
    assert_eq!(
        ours.by_answer_type.iter().map(|score| score.name.as_str()).collect::<Vec<_>>(),
        ["number", "other", "yes/no"]
    );
    Ok(())
}
