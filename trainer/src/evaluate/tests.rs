//! Predictions in the formats of others.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::tempdir;

use super::summary::{Scores, summarise};
use super::{Evaluated, PredictionsFormat, Row, join_by_question, predictions};
use crate::fixture::Result;
use crate::tasks::Objective;

/// A sample of which nothing is known.
pub(super) fn row(task: &str, id: &str) -> Row {
    Row {
        id: id.to_owned(),
        shard: "test-00000".to_owned(),
        row: 0,
        task: task.to_owned(),
        text: "what?".to_owned(),
        question_type: None,
        answer_type: None,
        prediction: String::new(),
        truth: None,
        confidence: 0.5,
        said: Vec::new(),
        scores: None,
    }
}

fn evaluated(rows: &[Row], choices: &[&str]) -> Result<Evaluated> {
    let choices: Vec<String> = choices.iter().map(|choice| (*choice).to_owned()).collect();
    let predictions = predictions::table(Path::new("predictions"), rows, &choices)?;
    Ok(Evaluated { evaluation: summarise("test", Objective::Class, rows), predictions })
}

const FOUR: [&str; 4] = ["0", "1", "2", "3"];

/// A VCR sample with the probabilities first, 0.25, 0.125, 0.
fn chosen(task: &str, id: &str, first: f32) -> Row {
    let said = [first, 0.25, 0.125, 0.0].into_iter().zip(0..).map(|(p, choice)| (choice, p)).collect();
    Row { said, ..row(task, id) }
}

fn written(evaluated: &[&Evaluated], name: &str) -> Result<String> {
    let folder = tempdir()?;
    let path = folder.path().join(name);
    PredictionsFormat::of(&path)?.write(evaluated, &path)?;
    Ok(fs::read_to_string(path)?)
}

fn refused(evaluated: &[&Evaluated], name: &str) -> Result<String> {
    let folder = tempdir()?;
    let path = folder.path().join(name);
    let error = PredictionsFormat::of(&path).and_then(|format| format.write(evaluated, &path)).unwrap_err();
    assert!(!path.exists(), "{name} was written");
    Ok(format!("{error}; {}", error.hint().ok_or("no hint")?).replace(&*path.to_string_lossy(), "FILE"))
}

/// As two runs on a split without labels: the answers of two questions, and the rationales given each answer.
fn unlabelled() -> Result<[Evaluated; 2]> {
    let answers = [chosen("vcr_qa", "test-7:qa", 0.5), chosen("vcr_qa", "test-3:qa", 0.75)];
    // In another order than the answers.
    let rationales: Vec<Row> = ["test-3", "test-7"]
        .iter()
        .flat_map(|question| (0..4).map(move |a| chosen("vcr_qar", &format!("{question}:qar:a{a}"), a as f32 + 1.0)))
        .collect();
    Ok([evaluated(&answers, &FOUR)?, evaluated(&rationales, &FOUR)?])
}

#[test]
fn the_leaderboard_of_vcr_has_its_twenty_columns() -> Result {
    let [answers, rationales] = unlabelled()?;
    let expected = "annot_id,answer_0,answer_1,answer_2,answer_3,\
        rationale_conditioned_on_a0_0,rationale_conditioned_on_a0_1,rationale_conditioned_on_a0_2,rationale_conditioned_on_a0_3,\
        rationale_conditioned_on_a1_0,rationale_conditioned_on_a1_1,rationale_conditioned_on_a1_2,rationale_conditioned_on_a1_3,\
        rationale_conditioned_on_a2_0,rationale_conditioned_on_a2_1,rationale_conditioned_on_a2_2,rationale_conditioned_on_a2_3,\
        rationale_conditioned_on_a3_0,rationale_conditioned_on_a3_1,rationale_conditioned_on_a3_2,rationale_conditioned_on_a3_3\n\
        test-7,0.5,0.25,0.125,0,1,0.25,0.125,0,2,0.25,0.125,0,3,0.25,0.125,0,4,0.25,0.125,0\n\
        test-3,0.75,0.25,0.125,0,1,0.25,0.125,0,2,0.25,0.125,0,3,0.25,0.125,0,4,0.25,0.125,0\n";
    assert_eq!(written(&[&answers, &rationales], "a.csv")?, expected);
    assert!(answers.evaluation.is_none(), "an accuracy is made up");
    assert_eq!(join_by_question(&answers, &rationales)?, None);
    // As of one run that does both; in one table too.
    let both = evaluated(&[chosen("vcr_qa", "q:qa", 0.5)], &FOUR)?;
    let lacks = refused(&[&both], "a.csv")?;
    assert_eq!(
        lacks,
        "predictions FILE: question q has nothing for rationale_conditioned_on_a0_0; give the run that chooses answers and \
         the one that chooses rationales, and a split with both: retort eval QA_RUN QAR_RUN"
    );
    let labelled = evaluated(&[chosen("vcr_qar", "q:qar", 0.5)], &FOUR)?;
    let refusal = refused(&[&both, &labelled], "a.csv")?;
    assert!(refusal.contains("sample q:qar has the rationales of the right answer, not of each"), "{refusal}");
    Ok(())
}

#[test]
fn two_runs_are_joined_by_question() -> Result {
    let half = |task: &str, suffix: &str, scores: [f64; 4]| -> Result<Evaluated> {
        let judged = |(question, own): (usize, f64)| Row {
            scores: Some(Scores { own, majority: 0.0, question_only: 0.0, text_only: None }),
            ..row(task, &format!("q{question}:{suffix}"))
        };
        evaluated(&scores.into_iter().enumerate().map(|(q, own)| judged((q, own))).collect::<Vec<_>>(), &FOUR)
    };
    // By hand: both right of question 0 alone; the answers of 0, 1, 2, the rationales of 0 and 3.
    let joint =
        join_by_question(&half("vcr_qa", "qa", [1.0, 1.0, 1.0, 0.0])?, &half("vcr_qar", "qar", [1.0, 0.0, 0.0, 1.0])?)?;
    let joint = joint.ok_or("nothing joined")?;
    assert_eq!([joint.answer, joint.rationale, joint.both], [0.75, 0.5, 0.25]);
    assert_eq!((joint.questions, joint.alone), (4, 0));
    Ok(())
}

#[test]
fn classes_are_a_plain_csv() -> Result {
    let of = |id: &str, prediction: &str| Row {
        prediction: prediction.to_owned(),
        said: vec![(0, 0.5), (1, 0.375), (2, 0.125)],
        ..row("snli_ve", id)
    };
    let classes = ["entailment", "neutral", "contradiction"];
    let found = evaluated(&[of("1.jpg#0r1e", "entailment"), of("a,\"b\"", "neutral")], &classes)?;
    assert_eq!(
        written(&[&found], "a.csv")?,
        "id,prediction,entailment,neutral,contradiction\n1.jpg#0r1e,entailment,0.5,0.375,0.125\n\
         \"a,\"\"b\"\"\",neutral,0.5,0.375,0.125\n"
    );
    let refusal = refused(&[&found], "a.json")?;
    assert_eq!(
        refusal,
        "predictions FILE: expected samples of the task vqa for .json, found snli_ve; take .csv or .parquet"
    );
    assert!(refused(&[&found], "a.txt")?.contains("expected a file that ends in .parquet, .json or .csv"));
    Ok(())
}

#[test]
fn answers_are_the_results_file_of_vqa() -> Result {
    let of = |id: &str, prediction: &str| Row { prediction: prediction.to_owned(), ..row("vqa", id) };
    let found = evaluated(&[of("262148000", "yes"), of("7", "a \"b\"")], &[])?;
    let results: Value = serde_json::from_str(&written(&[&found], "a.json")?)?;
    assert_eq!(
        results,
        json!([{"question_id": 262_148_000, "answer": "yes"}, {"question_id": 7, "answer": "a \"b\""}])
    );
    let refusal = refused(&[&found], "a.csv")?;
    assert!(refusal.starts_with("predictions FILE: VQA has no CSV of predictions; take .json"), "{refusal}");
    let refusal = refused(&[&evaluated(&[of("seven", "yes")], &[])?], "a.json")?;
    assert!(refusal.contains("sample \"seven\" has no number for an id"), "{refusal}");
    Ok(())
}

#[test]
fn a_table_holds_the_scores() -> Result {
    let [answers, rationales] = unlabelled()?;
    let folder = tempdir()?;
    let path: PathBuf = folder.path().join("a.parquet");
    PredictionsFormat::Parquet.write(&[&answers, &rationales], &path)?;
    let table = retort_cache::read_plain_table(&path, retort_schemas::runs::predictions::VERSION)?;
    let rows = predictions::rows(&table)?;
    assert_eq!(rows.len(), 10);
    assert_eq!((rows[9].id, rows[9].task, rows[9].score), ("test-7:qar:a3", "vcr_qar", None));
    assert_eq!(rows[9].scores, [("0", 4.0), ("1", 0.25), ("2", 0.125), ("3", 0.0)].map(|(c, p)| (c.to_owned(), p)));
    Ok(())
}
