//! What the two rules of VCR have in common: choices in which the only person, or the only group, is written otherwise.
//!
//! The rules are those of Ye and Kovashka, *A Case Study of the Shortcut Effects in Visual Commonsense Reasoning* (AAAI
//! 2021). A wrong choice is made to look like the question, a right one not to: a wrong choice gets the question's tags
//! for its own, a right choice gets a pronoun. Where the text holds the right answer before its rationales, that answer
//! is the right choice of the other task and is rewritten as such.

use retort_schemas::tables::samples::tasks;

use super::engine::{Change, Counts, Fate};
use super::original::Original;
use super::tokens::{Edit, Token, choice_start, edited, tokens};
use crate::source::{ObjectReference, Text};

/// A question, or a choice, taken apart.
pub(super) struct Sentence<'t> {
    pub text: &'t str,
    pub tokens: Vec<Token>,
}

impl<'t> Sentence<'t> {
    fn of(text: &'t Text<'_>, from: usize, to: usize) -> Self {
        Self { text: &text.text, tokens: tokens(text, from, to) }
    }

    /// The words in order.
    pub(super) fn words(&self) -> impl Iterator<Item = &'t str> {
        self.tokens.iter().filter_map(|token| token.word(self.text))
    }

    /// Whether the sentence has one of these words.
    pub(super) fn has(&self, wanted: &[&str]) -> bool {
        self.words().any(|word| wanted.contains(&word))
    }
}

/// Which objects of an image are persons.
pub(super) struct Persons<'a>(pub &'a [String]);

impl Persons<'_> {
    /// Whether an object is a person.
    pub(super) fn has(&self, object: u32) -> bool {
        self.0.get(object as usize).is_some_and(|class| class == "person")
    }
}

/// How the tokens of a choice are replaced: `tags` wherever they stand, and for a wrong choice `pronouns`.
pub(super) struct Rewriting {
    /// The list of references that is replaced; nothing where the choice has a pronoun only.
    pub tags: Option<Vec<u32>>,
    /// The word that takes its place in a right choice, in lower case.
    pub pronoun: &'static str,
}

/// A rule that says which questions it is for and how their choices change.
pub(super) trait Rule: Sync {
    /// Words that stand for the persons and are replaced in wrong choices.
    fn pronouns(&self) -> &'static [&'static str];
    /// The persons that the question is about, if it is one for this rule.
    fn group(&self, question: &Sentence<'_>, persons: &Persons<'_>) -> Option<Vec<u32>>;
    /// What is replaced in a choice; nothing where the choice is left alone.
    fn rewriting(&self, choice: &Sentence<'_>, question: &Sentence<'_>, persons: &Persons<'_>) -> Option<Rewriting>;
}

/// What becomes of a sample.
pub(super) fn fate(rule: &dyn Rule, sample: &Original<'_>, counts: &mut Counts) -> Fate {
    let is_rationale = match sample.record.task {
        tasks::VCR_QA => false,
        tasks::VCR_QAR => true,
        _ => return counts.drop("not a sample of VCR"),
    };
    let Some(label) = sample.record.label else { return counts.drop("no label") };
    if sample.classes.is_empty() {
        return counts.drop("no detected objects");
    }
    let persons = Persons(sample.classes);
    let mut texts = Vec::new();
    let (choices, modified) =
        if is_rationale { ("rationales", "rationales modified") } else { ("answers", "answers modified") };
    for (place, text) in sample.record.texts.iter().enumerate() {
        let Some(answer) = text.parts.first().map(|part| *part as usize) else {
            return counts.drop("no choice behind the question");
        };
        let question = Sentence::of(text, 0, answer);
        let Some(group) = rule.group(&question, &persons) else {
            return counts.drop("the question is not one for the rule");
        };
        let group = Group { objects: &group, text };
        let mut edits = Vec::new();
        let start = choice_start(text);
        if is_rationale {
            let given = Sentence::of(text, answer, start);
            if let Some(rewriting) = rule.rewriting(&given, &question, &persons) {
                edits.extend(group.edits(rule, &given, &rewriting, true));
            }
        }
        let choice = Sentence::of(text, start, text.text.len());
        counts.add(choices, 1);
        if let Some(rewriting) = rule.rewriting(&choice, &question, &persons) {
            counts.add(modified, 1);
            edits.extend(group.edits(rule, &choice, &rewriting, place == label as usize));
        }
        if !edits.is_empty() {
            texts.push((place, edited(text, &edits)));
        }
    }
    counts.keep();
    Change::of_texts(sample, texts)
}

/// The question's persons, with the names that the text calls them by.
struct Group<'t> {
    objects: &'t [u32],
    text: &'t Text<'t>,
}

impl Group<'_> {
    fn edits(&self, rule: &dyn Rule, choice: &Sentence<'_>, rewriting: &Rewriting, is_right: bool) -> Vec<Edit> {
        let mut edits = Vec::new();
        for (place, token) in choice.tokens.iter().enumerate() {
            let is_tags = !token.tags.is_empty() && Some(&token.tags) == rewriting.tags.as_ref();
            let is_pronoun = token.word(choice.text).is_some_and(|word| rule.pronouns().contains(&word));
            if is_right && is_tags {
                let pronoun = if place == 0 { capitalised(rewriting.pronoun) } else { rewriting.pronoun.to_owned() };
                edits.push(Edit::words(token.start, token.end, &pronoun));
            } else if !is_right && (is_tags || is_pronoun) && token.tags != self.objects {
                edits.push(self.named(token));
            }
        }
        edits
    }

    /// The persons' names in the place of a token.
    fn named(&self, token: &Token) -> Edit {
        let (mut by, mut objects) = (String::new(), Vec::new());
        for (place, object) in self.objects.iter().enumerate() {
            match self.objects.len() - place {
                _ if place == 0 => {}
                1 => by.push_str(" and "),
                _ => by.push_str(", "),
            }
            let reference = self.text.objects.iter().find(|reference| reference.object == *object);
            let name = reference.and_then(|span| self.text.text.get(span.start as usize..span.end as usize));
            let start = by.len() as u32;
            by.push_str(name.unwrap_or_default());
            objects.push(ObjectReference { start, end: by.len() as u32, object: *object });
        }
        Edit { start: token.start, end: token.end, by, objects }
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
