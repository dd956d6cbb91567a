//! The answer vocabulary: which answers are classes, and in which order.

use std::collections::HashMap;
use std::path::PathBuf;

use retort_schemas::answers::{soft_score, vocabulary_entry};
use retort_schemas::manifest::AnswerVocabulary;
use serde_json::Value;

use crate::formats::json::SourceFile;
use crate::{Error, Result, images};

/// How many questions an answer needs to be a class, in the code that all VQA classifiers descend from.
pub const DEFAULT_MIN_COUNT: usize = 9;

/// Where the answer vocabulary of a split comes from. All splits of a data set share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerPlan {
    /// The data set has it already.
    Existing,
    /// From this split's annotations: the normalised truths of at least this many questions, the commonest first,
    /// equally common ones in the order of their characters. A data set that has a vocabulary keeps it.
    Build {
        /// Least number of questions an answer needs.
        min_count: usize,
    },
    /// From a JSON file: a list in class order, or an object from answer to class.
    File(PathBuf),
}

impl Default for AnswerPlan {
    fn default() -> Self {
        Self::Build { min_count: DEFAULT_MIN_COUNT }
    }
}

/// A vocabulary with its classes by answer.
#[derive(Debug)]
pub struct Vocabulary {
    pub(crate) stored: AnswerVocabulary,
    classes: HashMap<String, u32>,
}

impl Vocabulary {
    pub(crate) fn new(stored: AnswerVocabulary) -> Self {
        let classes = (0..).zip(&stored.answers).map(|(class, answer)| (answer.clone(), class)).collect();
        Self { stored, classes }
    }

    /// Classes in this order.
    pub(crate) fn from_answers(origin: String, answers: Vec<String>) -> Self {
        let hash = images::hash_text(answers.join("\n").as_bytes());
        Self::new(AnswerVocabulary { origin, hash, answers })
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.stored.answers.len()
    }

    /// Counts the truths, one a question, in normal form.
    pub(crate) fn build<'a>(
        file: &SourceFile,
        split: &str,
        truths: impl Iterator<Item = &'a str>,
        min_count: usize,
    ) -> Result<Self> {
        // Few truths are distinct, and the normal form is the slow part.
        let mut raw_counts: HashMap<&str, usize> = HashMap::new();
        for truth in truths {
            *raw_counts.entry(truth).or_default() += 1;
        }
        let mut counts: HashMap<String, usize> = HashMap::new();
        for (truth, count) in raw_counts {
            *counts.entry(vocabulary_entry(truth)).or_default() += count;
        }
        let origin = format!("built from {split}, at least {min_count} questions");
        Self::commonest(origin, counts, min_count)
            .ok_or_else(|| Error::EmptyVocabulary { path: file.path.clone(), min_count })
    }

    /// The answers that were counted often enough, the commonest first, equally common ones in the order of their
    /// characters. `None` where there is none.
    pub(crate) fn commonest(origin: String, counts: HashMap<String, usize>, min_count: usize) -> Option<Self> {
        let mut frequent: Vec<(String, usize)> = counts.into_iter().filter(|(_, count)| *count >= min_count).collect();
        frequent.sort_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then_with(|| a.cmp(b)));
        let answers: Vec<String> = frequent.into_iter().map(|(answer, _)| answer).collect();
        (!answers.is_empty()).then(|| Self::from_answers(origin, answers))
    }

    pub(crate) fn load(file: &SourceFile) -> Result<Self> {
        let expected = "a list of answers, or an object from answer to class";
        let invalid = |problem: String| Error::InvalidVocabulary { path: file.path.clone(), problem };
        let answers = match file.value(expected)? {
            Value::Array(items) => {
                let answers = (0..).zip(items).map(|(class, item): (usize, Value)| match item {
                    Value::String(answer) => Ok(answer),
                    other => Err(invalid(format!("entry {class} is {other}, expected a text"))),
                });
                answers.collect::<Result<Vec<_>>>()?
            }
            Value::Object(entries) => {
                let mut answers = vec![None; entries.len()];
                for (answer, class) in entries {
                    let place = class.as_u64().and_then(|class| answers.get_mut(usize::try_from(class).ok()?));
                    match place {
                        Some(place @ None) => *place = Some(answer),
                        Some(Some(other)) => {
                            return Err(invalid(format!("{other:?} and {answer:?} both have class {class}")));
                        }
                        None => {
                            let last = answers.len() - 1;
                            return Err(invalid(format!("{answer:?} has class {class}, expected one of 0 to {last}")));
                        }
                    }
                }
                // As many answers as places, and no place taken twice: none is left empty.
                answers.into_iter().flatten().collect()
            }
            other => return Err(invalid(format!("it is {other}, expected {expected}"))),
        };
        let vocabulary = Self::from_answers(format!("file {}", file.name()), answers);
        if vocabulary.stored.answers.is_empty() {
            return Err(invalid("it has no answers".to_owned()));
        }
        // The map keeps the last class of an answer that occurs twice.
        let twice = (0..).zip(&vocabulary.stored.answers).find(|(class, answer)| vocabulary.classes[*answer] != *class);
        match twice {
            Some((class, answer)) => {
                let other = vocabulary.classes[answer];
                Err(invalid(format!("{answer:?} has two classes, {class} and {other}")))
            }
            None => Ok(vocabulary),
        }
    }

    /// The classes of this source: the data set's own where they are the same, whatever they came from. Else the data
    /// set refuses them.
    pub(crate) fn or_same(self, existing: Option<&AnswerVocabulary>) -> Self {
        match existing {
            Some(existing) if existing.hash == self.stored.hash => Self::new(existing.clone()),
            _ => self,
        }
    }

    /// Class of a label, to the letter.
    pub(crate) fn class_of_label(&self, label: &str) -> Option<u32> {
        self.classes.get(label).copied()
    }

    /// Class of a truth, which is compared in normal form.
    pub(crate) fn class_of_truth(&self, truth: &str) -> Option<u32> {
        self.classes.get(&vocabulary_entry(truth)).copied()
    }

    /// The class of this very name.
    pub(crate) fn class_of_name(&self, name: &str) -> Option<u32> {
        self.classes.get(name).copied()
    }

    /// Class and score of each answer that is a class, by class. The answers are counted as they are: the code that
    /// published scores come from normalises the vocabulary alone.
    pub(crate) fn targets<'a>(&self, answers: impl Iterator<Item = &'a str>) -> Vec<(u32, f32)> {
        let mut counts: Vec<(u32, usize)> = Vec::new();
        for class in answers.filter_map(|answer| self.classes.get(answer)) {
            match counts.iter_mut().find(|(counted, _)| counted == class) {
                Some((_, count)) => *count += 1,
                None => counts.push((*class, 1)),
            }
        }
        counts.sort_unstable();
        counts.into_iter().map(|(class, count)| (class, soft_score(count))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> (tempfile::TempDir, SourceFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.json");
        std::fs::write(&path, text).unwrap();
        let file = SourceFile::read(&path).unwrap();
        (folder, file)
    }

    #[test]
    fn the_commonest_come_first_and_the_rare_not_at_all() -> Result<()> {
        let (_folder, file) = source("[]");
        let truths = ["red", "blue", "Red.", "no", "yes", "no", "yes", "the yes", "blue", "rare"];
        let vocabulary = Vocabulary::build(&file, "train", truths.into_iter(), 2)?;
        assert_eq!(vocabulary.stored.answers, ["yes", "blue", "no", "red"]);
        assert_eq!(vocabulary.stored.hash, &blake3::hash(b"yes\nblue\nno\nred").to_hex()[..32]);
        assert_eq!(vocabulary.stored.origin, "built from train, at least 2 questions");
        assert_eq!(vocabulary.class_of_truth("A blue!"), Some(1));
        assert_eq!(vocabulary.class_of_truth("rare"), None);
        let none = Vocabulary::build(&file, "train", truths.into_iter(), 4).unwrap_err();
        assert!(matches!(none, Error::EmptyVocabulary { min_count: 4, .. }), "{none}");
        Ok(())
    }

    #[test]
    fn targets_count_raw_answers_in_class_order() -> Result<()> {
        let (_folder, file) = source(r#"["2", "dog", "cat", "yes"]"#);
        let vocabulary = Vocabulary::load(&file)?;
        let answers = ["yes", "cat", "two", "2", "cat", "Dog", "cat", "yes", "yes", "yes"];
        assert_eq!(vocabulary.targets(answers.into_iter()), [(0, 0.3), (2, 0.9), (3, 1.0)]);
        assert_eq!(vocabulary.targets(["two", "Dog"].into_iter()), []);
        assert_eq!(vocabulary.class_of_truth("two"), Some(0));
        Ok(())
    }

    #[test]
    fn a_file_is_a_list_or_a_numbering() -> Result<()> {
        let (_folder, file) = source(r#"{"net": 1, "pitcher": 2, "": 0}"#);
        let vocabulary = Vocabulary::load(&file)?;
        assert_eq!(vocabulary.stored.answers, ["", "net", "pitcher"]);
        assert_eq!(vocabulary.stored.origin, "file answers.json");
        for (wrong, found) in [
            (r#"["a", "b", "a"]"#, "two classes, 0 and 2"),
            (r#"["a", 5]"#, "entry 1 is 5"),
            (r#"{"a": 0, "b": 0}"#, "both have class 0"),
            (r#"{"a": 0, "b": 2}"#, "class 2, expected one of 0 to 1"),
            (r#"{"a": "0"}"#, "class \"0\""),
            ("[]", "no answers"),
            ("{}", "no answers"),
            ("5", "it is 5"),
        ] {
            let (_folder, file) = source(wrong);
            let error = Vocabulary::load(&file).unwrap_err();
            assert!(error.to_string().contains(found), "{wrong}: {error}");
        }
        let (_folder, file) = source("answers");
        assert!(matches!(Vocabulary::load(&file), Err(Error::Malformed { .. })));
        Ok(())
    }
}
