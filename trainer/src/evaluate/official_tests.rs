//! VQA's accuracy held against a scorer of its own, `tests/py/score_vqa.py`, on real questions. They are not part of the
//! project: without them, or without Python, this says so and passes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rayon::prelude::*;
use retort_schemas::answers::normalise;
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

/// What the annotation files say, without what nothing here reads.
const UNPACK: &str = "import gzip, json, sys
rows = [row for path in sys.argv[1:] for row in json.load(gzip.open(path))['annotations']]
names = ['question_id', 'question_type', 'answer_type', 'multiple_choice_answer']
json.dump([[*(row[name] for name in names), [answer['answer'] for answer in row['answers']]] for row in rows], sys.stdout)";

/// Question id, question type, answer type, the commonest answer, the ten answers.
type Annotation = (u64, String, String, String, Vec<String>);

/// A row with our score, and the line of the results file.
fn scored(at: usize, annotation: &Annotation) -> (Row, Value) {
    let (question, question_type, answer_type, truth, answers) = annotation;
    let said = said(at, answers, truth);
    let sample = SampleRow { answers: answers.clone(), ..SampleRow::default() };
    let scores = scoring::score(Objective::Answers, &sample, &said).map(|own| Scores {
        own,
        majority: 0.0,
        question_only: 0.0,
        text_only: None,
    });
    let row = Row {
        question_type: Some(question_type.clone()),
        answer_type: Some(answer_type.clone()),
        scores,
        ..row("vqa", &question.to_string())
    };
    (row, json!({"question_id": question, "answer": said}))
}

fn scorer() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/py/score_vqa.py").to_string_lossy().into_owned()
}

/// Whether Python can be run; says so where not.
fn has_python() -> bool {
    let found = python(&["--version"]);
    if let Err(problem) = &found {
        println!("skipped: python3 cannot be run: {problem}");
    }
    found.is_ok()
}

#[test]
fn both_scorers_give_the_normal_forms_of_the_reference() -> Result {
    let known = [
        ("The U.S. Army", "us army"),
        ("1,000", "1000"),
        ("it's 3.5 ft.", "it's 3.5 ft"),
        ("yes!", "yes"),
        ("dont", "don't"),
        ("red/white", "red white"),
        ("a cat, a dog", "cat dog"),
        ("N.Y.", "ny"),
        ("10:30", "10:30"),
        ("'hello'", "'hello'"),
        ("two dogs", "2 dogs"),
        ("somebody'd", "somebodyd"),
    ];
    known.iter().for_each(|(raw, normal)| assert_eq!(normalise(raw), *normal, "{raw}"));
    if has_python() {
        let raw: Vec<&str> = known.iter().map(|(raw, _)| *raw).collect();
        let theirs = python(&[&[&*scorer(), "--normalise"], &raw[..]].concat())?;
        assert_eq!(theirs.lines().collect::<Vec<_>>(), known.map(|(_, normal)| normal));
    }
    Ok(())
}

#[test]
fn sixty_thousand_real_questions_are_scored_as_another_scorer_does() -> Result {
    let Some(parts) = real_annotations() else { return Ok(()) };
    if !has_python() {
        return Ok(());
    }
    let paths: Vec<&str> = parts.iter().filter_map(|path| path.to_str()).collect();
    let annotations: Vec<Annotation> = serde_json::from_str(&python(&[&["-c", UNPACK], &paths[..]].concat())?)?;
    assert_eq!(annotations.len(), 60_000);
    let (rows, results): (Vec<Row>, Vec<Value>) =
        annotations.par_iter().enumerate().map(|(at, annotation)| scored(at, annotation)).unzip();
    let folder = tempdir()?;
    let file = folder.path().join("results.json");
    fs::write(&file, Value::from(results).to_string())?;
    let (scorer, file) = (scorer(), file.to_string_lossy());
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
