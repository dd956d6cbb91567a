//! From scores of samples to those of a split: over all, by type, and of both halves of a VCR question.

use std::collections::{BTreeMap, HashMap};

use retort_schemas::runs::{EVALUATION_VERSION, Evaluation, Joint, Score};
use retort_schemas::tables::samples::tasks;

use super::Row;
use crate::tasks::Objective;

/// Scores of one sample, 0 to 1: the student's and those of the floors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scores {
    pub(super) own: f64,
    pub(super) majority: f64,
    pub(super) question_only: f64,
    /// Where there is this floor.
    pub(super) text_only: Option<f64>,
}

/// The scores of a split; none where no sample's truth is known.
pub(super) fn summarise(split: &str, objective: Objective, rows: &[Row]) -> Option<Evaluation> {
    let known: Vec<(&Row, Scores)> = rows.iter().filter_map(|row| Some((row, row.scores?))).collect();
    if known.is_empty() {
        return None;
    }
    let all: Vec<Scores> = known.iter().map(|(_, scores)| *scores).collect();
    let judged = known.iter().map(|(row, scores)| (row.task.as_str(), row.id.as_str(), scores.own));
    Some(Evaluation {
        schema: EVALUATION_VERSION.to_string(),
        split: split.to_owned(),
        metric: objective.metric().to_owned(),
        overall: mean("all", &all),
        by_question_type: by(&known, |row| Some(row.question_type.as_deref().unwrap_or("unknown"))),
        by_answer_type: by(&known, |row| row.answer_type.as_deref()),
        joint: join(judged),
    })
}

/// Scores by what rows are, in the order of the alphabet; rows that are nothing are left out.
fn by<'a>(known: &[(&'a Row, Scores)], kind: impl Fn(&'a Row) -> Option<&'a str>) -> Vec<Score> {
    let mut kinds: BTreeMap<&str, Vec<Scores>> = BTreeMap::new();
    for (row, scores) in known {
        if let Some(kind) = kind(row) {
            kinds.entry(kind).or_default().push(*scores);
        }
    }
    kinds.iter().map(|(name, scores)| mean(name, scores)).collect()
}

fn mean(name: &str, scores: &[Scores]) -> Score {
    let count = scores.len().max(1) as f64;
    let of = |part: fn(&Scores) -> f64| scores.iter().map(part).sum::<f64>() / count;
    // Of some samples alone it would not stand beside the others.
    let text_only: Option<f64> = scores.iter().map(|scores| scores.text_only).sum();
    Score {
        name: name.to_owned(),
        samples: scores.len() as u64,
        accuracy: of(|scores| scores.own),
        majority: of(|scores| scores.majority),
        question_only: of(|scores| scores.question_only),
        text_only: text_only.map(|sum| sum / count),
    }
}

/// The question of a VCR sample, the `annot_id`: its id without the task, `train-0` of `train-0:qa` and `train-0:qar:a2`.
pub(super) fn question_of(sample_id: &str) -> &str {
    let ends = sample_id.strip_suffix(":qa").or_else(|| sample_id.strip_suffix(":qar"));
    ends.or_else(|| Some(sample_id.rsplit_once(":qar:a")?.0)).unwrap_or(sample_id)
}

/// Joins judged samples (task, id, score) by question; none without any question of which both halves are judged.
pub(super) fn join<'a>(judged: impl Iterator<Item = (&'a str, &'a str, f64)>) -> Option<Joint> {
    let mut questions: HashMap<&str, [Option<f64>; 2]> = HashMap::new();
    for (task, id, score) in judged {
        let half = match task {
            tasks::VCR_QA => 0,
            tasks::VCR_QAR => 1,
            _ => continue,
        };
        questions.entry(question_of(id)).or_default()[half] = Some(score);
    }
    let mut joint = Joint { questions: 0, alone: 0, answer: 0.0, rationale: 0.0, both: 0.0 };
    for halves in questions.values() {
        let [Some(answer), Some(rationale)] = halves else {
            joint.alone += 1;
            continue;
        };
        // Scores are 0 or 1: their sums are exact in any order.
        joint.questions += 1;
        joint.answer += answer;
        joint.rationale += rationale;
        joint.both += answer * rationale;
    }
    let count = joint.questions as f64;
    [&mut joint.answer, &mut joint.rationale, &mut joint.both].into_iter().for_each(|sum| *sum /= count);
    (joint.questions > 0).then_some(joint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_right_for_the_same_question() {
        // By hand: q1 both right, q2 answer only, q3 rationale only, q4 neither, q5 both right, q6 has no rationale.
        let judged = [
            ("vcr_qa", "q1:qa", 1.0),
            ("vcr_qa", "q2:qa", 1.0),
            ("vcr_qa", "q3:qa", 0.0),
            ("vcr_qa", "q4:qa", 0.0),
            ("vcr_qa", "q5:qa", 1.0),
            ("vcr_qa", "q6:qa", 1.0),
            ("vcr_qar", "q5:qar", 1.0),
            ("vcr_qar", "q4:qar", 0.0),
            ("vcr_qar", "q3:qar", 1.0),
            ("vcr_qar", "q2:qar", 0.0),
            ("vcr_qar", "q1:qar", 1.0),
        ];
        let joint = join(judged.into_iter());
        assert_eq!(joint, Some(Joint { questions: 5, alone: 1, answer: 0.6, rationale: 0.6, both: 0.4 }));
        assert_eq!(join(judged[..6].iter().copied()), None);
        assert_eq!(join([("vqa", "1", 1.0)].into_iter()), None);
    }
}
