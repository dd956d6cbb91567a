//! Shifted splits of small data sets; the cases of VCR are worked out by hand.

use std::sync::Arc;

use arrow::array::{Array, Float32Array, RecordBatch, StringArray, UInt32Array};
use retort_cache::{Columns, Dataset, DatasetWriter, Interrupt, Quiet, SplitPlan};
use retort_schemas::manifest::AnswerVocabulary;
use retort_schemas::runs::word_scores;
use retort_schemas::tables::{images, regions, samples, samples::tasks, texts};
use tempfile::TempDir;

use super::original::ShardRows;
use super::*;
use crate::images::{CheckedImage, content_id};
use crate::shard::{RegionColumns, ShardBuilder};
use crate::source::{ObjectReference, Record, Region, Regions, Text};
use crate::sources::testing::strings;

/// Names of the objects 0 to 4; the last is a table.
const NAMES: [&str; 5] = ["Al", "Bo", "Cy", "Di", "table"];

/// A text of parts, in which `@3` is the name of object 3.
fn told(parts: &[&str]) -> Text<'static> {
    let (mut text, mut objects, mut starts) = (String::new(), Vec::new(), Vec::new());
    for (place, part) in parts.iter().enumerate() {
        if place > 0 {
            text.push(' ');
            starts.push(text.len() as u32);
        }
        let mut letters = part.chars();
        while let Some(letter) = letters.next() {
            if letter != '@' {
                text.push(letter);
                continue;
            }
            let object = letters.next().unwrap().to_digit(10).unwrap();
            let start = text.len() as u32;
            text.push_str(NAMES[object as usize]);
            objects.push(ObjectReference { start, end: text.len() as u32, object });
        }
    }
    Text { text: text.into(), parts: starts, objects }
}

fn record(id: &str, task: &'static str, texts: Vec<Text<'static>>, label: u32) -> Record<'static> {
    let truth = texts
        .get(label as usize)
        .filter(|_| texts.len() > 1)
        .map(|text| text.text[text.parts.last().map_or(0, |part| *part as usize)..].to_owned().into());
    Record { id: id.to_owned().into(), task, texts, label: Some(label), label_text: truth, ..Record::default() }
}

fn qa(id: &str, question: &str, answers: [&str; 4], label: u32) -> Record<'static> {
    let texts = answers.map(|answer| told(&[question, answer]));
    record(&format!("{id}:qa"), tasks::VCR_QA, texts.to_vec(), label)
}

fn qar(id: &str, question: &str, answer: &str, rationales: [&str; 4], label: u32) -> Record<'static> {
    let texts = rationales.map(|rationale| told(&[question, answer, rationale]));
    record(&format!("{id}:qar"), tasks::VCR_QAR, texts.to_vec(), label)
}

struct Set {
    folder: TempDir,
}

impl Set {
    /// A data set with the split `val`: a shard for each list, an image for each record.
    fn of(shards: Vec<Vec<Record<'static>>>) -> Self {
        let set = Self { folder: tempfile::tempdir().unwrap() };
        set.add("val", shards);
        set
    }

    fn add(&self, split: &str, shards: Vec<Vec<Record<'static>>>) {
        let answers = ["entailment", "neutral", "contradiction"].map(str::to_owned).to_vec();
        let plan = SplitPlan {
            name: split.to_owned(),
            source: "test".to_owned(),
            options: Value::Null,
            answers: Some(AnswerVocabulary { origin: "test".to_owned(), hash: String::new(), answers }),
        };
        let mut writer = DatasetWriter::begin(self.folder.path(), plan).unwrap();
        for (number, records) in shards.into_iter().enumerate() {
            let mut builder = ShardBuilder::new(RegionColumns::Boxes);
            for record in records {
                let name = format!("{split} {number} {}", record.id.split(':').next().unwrap());
                let bytes = name.clone().into_bytes();
                let image = CheckedImage {
                    id: content_id(&bytes),
                    source: name,
                    bytes,
                    format: "png",
                    width: 4,
                    height: 4,
                    source_width: 4,
                    source_height: 4,
                    phash: 0,
                    truncated: None,
                };
                let class = |name: &&str| (if *name == "table" { "dining table" } else { "person" }).to_owned();
                let region = |name| Region { class: Some(class(&name)), ..Region::default() };
                let found = Regions { boxes: NAMES.into_iter().map(region).collect(), features: None };
                let row = builder.add_image(image, Some(found));
                builder.add_sample(row, record);
            }
            writer.commit(&builder.finish("shard", split).unwrap().named()).unwrap();
        }
        writer.finish().unwrap();
    }

    fn shift(&self, kind: &Kind, to: &str) -> Result<Vec<ShiftReport>> {
        let (from, to) = (["val".to_owned()], shifted_names(kind, to));
        shift(kind, self.folder.path(), [&from, &to], false, &Quiet, &Interrupt::default())
    }

    fn rows(&self, split: &str) -> Vec<ShardRows> {
        let dataset = Dataset::open(self.folder.path()).unwrap();
        let shards = dataset.split_shards(split).unwrap();
        shards.map(|shard| ShardRows::read(&dataset, split, &shard.unwrap()).unwrap()).collect()
    }

    /// The samples of a split.
    fn records(&self, split: &str) -> Vec<Record<'static>> {
        let rows = self.rows(split);
        rows.iter().flat_map(ShardRows::samples).map(|sample| sample.record.clone()).collect()
    }

    fn table(&self, split: &str, shard: usize, table: &str) -> RecordBatch {
        let dataset = Dataset::open(self.folder.path()).unwrap();
        let shard = dataset.split_shards(split).unwrap().nth(shard).unwrap().unwrap();
        dataset.read(&shard, table, Columns::All).unwrap()
    }

    fn scores(&self, rows: &[(&str, u32, u32, u32, f32)]) -> PathBuf {
        let path = self.folder.path().join("scores.parquet");
        let numbers =
            |of: fn(&(&str, u32, u32, u32, f32)) -> u32| Arc::new(UInt32Array::from_iter_values(rows.iter().map(of)));
        let batch = RecordBatch::try_new(
            word_scores::schema(),
            vec![
                Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0))),
                numbers(|row| row.1),
                numbers(|row| row.2),
                numbers(|row| row.3),
                Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| row.4))),
            ],
        );
        retort_cache::write_plain_table(&path, &batch.unwrap()).unwrap();
        path
    }
}

/// The choices of a sample of VCR, after checking that its references still name their objects.
fn choices(record: &Record<'_>) -> Vec<String> {
    let choice = |text: &Text<'_>| {
        for named in &text.objects {
            assert_eq!(&text.text[named.start as usize..named.end as usize], NAMES[named.object as usize], "{text:?}");
        }
        text.text[*text.parts.last().unwrap() as usize..].to_owned()
    };
    record.texts.iter().map(choice).collect()
}

fn shifted_choices(kind: &Kind, record: Record<'static>) -> (Vec<String>, BTreeMap<String, u64>) {
    let set = Set::of(vec![vec![record]]);
    let reports = set.shift(kind, "new").unwrap();
    (choices(&set.records("new")[0]), reports[0].counts.clone())
}

#[test]
fn singular_gives_wrong_choices_the_tag_and_the_right_one_a_pronoun() {
    let question = "Why is @0 at the @4 with her hat?";
    // The pronoun is told by the question where the choice does not say.
    let answers = ["@1's friend left.", "@1 sees @1 and his @1.", "She isn't, but her hat is.", "@1 and @2 left."];
    let (new, counts) = shifted_choices(&Kind::RuleSingular, qa("a", question, answers, 1));
    // Bo is replaced each time, at the start with a capital; his makes it he; possessives stay. Two persons are left.
    assert_eq!(new, ["Al's friend left.", "He sees he and his he.", "Al isn't, but her hat is.", "Bo and Cy left."]);
    assert_eq!((counts["answers"], counts["answers modified"], counts["samples"]), (4, 3, 1));

    let answers = ["he saw @1.", "@1 nods to @1.", "Nobody.", "It is @1 with the @4."];
    let (new, counts) = shifted_choices(&Kind::RuleSingular, qa("a", question, answers, 1));
    // A person and a pronoun are two. She: the question says her.
    assert_eq!(new, ["he saw Bo.", "She nods to she.", "Nobody.", "It is Al with the table."]);
    assert_eq!(counts["answers modified"], 2);
}

#[test]
fn singular_counts_a_right_choice_with_a_pronoun_and_leaves_lists_with_others() {
    let answers = ["@1 and @4 are near.", "They sit.", "He sits.", "HE sits."];
    let (new, counts) = shifted_choices(&Kind::RuleSingular, qa("a", "Why is @0 here?", answers, 2));
    // The list of Bo and the table is not the list of Bo; HE counts as a pronoun and is not replaced.
    assert_eq!(new, answers.map(|answer| told(&[answer]).text.into_owned()));
    assert_eq!(counts["answers modified"], 3);
}

#[test]
fn singular_without_a_hint_is_he_and_keeps_questions_about_one_person_only() {
    let record = |id: &str, question: &str| qa(id, question, ["@1 a.", "@1 b.", "c.", "d."], 0);
    let two = record("two", "Do @0 and @1 talk?");
    let set = Set::of(vec![vec![two, record("none", "Is the @4 old?")], vec![record("one", "Is @0 by @0?")]]);
    let report = set.shift(&Kind::RuleSingular, "new").unwrap().remove(0);
    assert_eq!((report.samples, report.shards, report.images), (1, 1, 1));
    assert_eq!(report.counts["dropped: the question is not one for the rule"], 2);
    assert_eq!(choices(&set.records("new")[0]), ["He a.", "Al b.", "c.", "d."]);
    assert_eq!(set.records("new")[0].label_text.as_deref(), Some("He a."));
}

#[test]
fn the_answer_before_the_rationales_is_the_right_choice_of_the_other_task() {
    let record = qar("a", "Why is @0 here?", "@1 is away.", ["@1 x.", "It y.", "@2 z.", "she."], 2);
    let set = Set::of(vec![vec![record]]);
    let report = set.shift(&Kind::RuleSingular, "new").unwrap().remove(0);
    let texts: Vec<String> = set.records("new")[0].texts.iter().map(|text| text.text.to_string()).collect();
    let rest = ["Al x.", "It y.", "He z.", "Al."];
    assert_eq!(texts, rest.map(|rest| format!("Why is Al here? He is away. {rest}")));
    assert_eq!(report.counts["rationales modified"], 3);
}

#[test]
fn plural_goes_by_sorted_groups() {
    // The question's group is inserted in rising order.
    let question = "What do @2 and @0 want?";
    let answers = ["@1 and @3 run.", "@0, @1 and @2 nap.", "their dog; They bark, they do.", "@3 and @1 run."];
    let (new, counts) = shifted_choices(&Kind::RulePlural, qa("a", question, answers, 1));
    // [3, 1] is not the sorted group [1, 3]: counted, and left alone.
    assert_eq!(new, ["Al and Cy run.", "They nap.", "their dog; Al and Cy bark, Al and Cy do.", "Di and Bo run."]);
    assert_eq!(counts["answers modified"], 4);
    let answers = ["@1 runs.", "@1 and @4 run.", "@1 and @2 see @3.", "So they wait."];
    let (new, counts) = shifted_choices(&Kind::RulePlural, qa("a", question, answers, 3));
    // One person, a thing in the list, two lists: none is a group; a right choice with they alone is counted.
    assert_eq!(new, answers.map(|answer| told(&[answer]).text.into_owned()));
    assert_eq!(counts["answers modified"], 1);
}

#[test]
fn plural_takes_questions_with_one_list_of_persons_alone() {
    let record = |id: &str, question: &str| qa(id, question, ["they a.", "b.", "c.", "d."], 1);
    let questions = ["Is @0 in?", "Are @0 and @4 old?", "Do @0 and @1 see @2?", "Do @0, @1 and @2 talk?"];
    let records = questions.iter().enumerate().map(|(at, question)| record(&at.to_string(), question)).collect();
    let set = Set::of(vec![records]);
    set.shift(&Kind::RulePlural, "new").unwrap();
    let [only] = &set.records("new")[..] else { panic!() };
    assert_eq!((only.id.as_ref(), choices(only)[0].as_str()), ("3:qa", "Al, Bo and Cy a."));
}

#[test]
fn rows_tell_their_originals_and_images_keep_bytes_and_ids() {
    let record = |id: &str, answer: &'static str| qa(id, "Why is @0 here?", [answer, "b.", "c.", "d."], 1);
    let two = qa("x", "Do @0 and @1 talk?", ["a.", "b.", "c.", "d."], 1);
    let set = Set::of(vec![vec![two, record("y", "@1 a."), record("z", "a.")]]);
    set.shift(&Kind::RuleSingular, "new").unwrap();
    let table = set.table("new", 0, samples::NAME);
    assert_eq!(strings(&table, samples::SAMPLE_ID), ["y:qa", "z:qa"]);
    assert_eq!(strings(&table, samples::ORIGIN), ["val", "val"]);
    assert_eq!(strings(&table, samples::SPLIT), ["new", "new"]);
    let changes = retort_cache::column::<StringArray>(&table, samples::CHANGE).unwrap();
    assert_eq!((changes.value(0), changes.is_null(1)), ("texts 0", true));
    for name in [images::NAME, regions::NAME] {
        let (old, new) = (set.table("val", 0, name), set.table("new", 0, name));
        assert_eq!(new.columns(), old.slice(1, 2).columns(), "{name}");
    }
    // A text that is as it was has the id that it had.
    let ids = |split| set.table(split, 0, texts::NAME).column(0).clone();
    let (old, new) = (ids("val"), ids("new"));
    let [old, new] = [&old, &new].map(|ids| {
        use arrow::array::AsArray;
        ids.as_fixed_size_binary().iter().flatten().map(<[u8]>::to_vec).collect::<std::collections::BTreeSet<_>>()
    });
    assert_eq!(new.difference(&old).count(), 1);
}

#[test]
fn again_is_done_already_and_another_shift_of_that_name_is_refused() {
    let set = Set::of(vec![vec![qa("a", "Why is @0 here?", ["@1 a.", "b.", "c.", "d."], 1)]]);
    let first = set.shift(&Kind::RuleSingular, "new").unwrap().remove(0);
    let again = set.shift(&Kind::RuleSingular, "new").unwrap().remove(0);
    assert_eq!(again, ShiftReport { skipped_already: true, ..first });
    let other = set.shift(&Kind::Hard { folds: 2, seed: 0 }, "new");
    assert!(matches!(other, Err(Error::NotShiftable { kind: "hard", .. })), "{other:?}");
    let itself = set.shift(&Kind::RuleSingular, "val");
    assert!(matches!(itself, Err(Error::NotShiftable { .. })), "{itself:?}");
    let none = set.shift(&Kind::RulePlural, "none").unwrap_err();
    assert!(none.to_string().contains("no sample would be in it"), "{none}");
    set.add("taken", vec![vec![qa("a", "b", ["a.", "b.", "c.", "d."], 1)]]);
    let taken = set.shift(&Kind::RuleSingular, "taken");
    assert!(matches!(taken, Err(Error::Cache(retort_cache::Error::SplitExists { .. }))), "{taken:?}");
}

#[test]
fn masks_go_by_scores_and_the_given_answer_by_its_own() {
    let question = "Why is @0 here?"; // 15 bytes as it is told: choices begin at 16
    let answers = ["@1 sat.", "it is.", "no.", "yes."];
    let set = Set::of(vec![vec![
        qa("a", question, answers, 0),
        qar("a", question, answers[0], ["so @2.", "b.", "c.", "d."], 1),
    ]]);
    let mut rows = vec![("a:qa", 0, 16, 18, 0.9), ("a:qa", 0, 19, 22, 0.2), ("a:qa", 0, 22, 23, 0.1)];
    rows.extend([
        ("a:qa", 1, 16, 18, 0.5),
        ("a:qa", 1, 19, 21, 0.5),
        ("a:qa", 2, 16, 18, 0.1),
        ("a:qa", 3, 16, 19, 0.1),
    ]);
    rows.extend([("a:qar", 0, 24, 26, 0.1), ("a:qar", 0, 27, 29, 0.4), ("a:qar", 1, 24, 25, 0.3)]);
    rows.extend([("a:qar", 2, 24, 25, 0.3), ("a:qar", 3, 24, 25, 0.3)]);
    let scores = set.scores(&rows);
    let report = set.shift(&Kind::RemoveTop1 { scores: scores.clone() }, "top").unwrap().remove(0);
    assert_eq!((report.counts["words of choices"], report.counts["words masked"]), (12, 8));
    let records = set.records("top");
    assert_eq!(choices(&records[0]), ["[MASK] sat.", "[MASK] is.", "[MASK].", "[MASK]."]);
    assert_eq!(records[1].texts[0].text, "Why is Al here? [MASK] sat. so [MASK].");
    assert_eq!(records[1].texts[0].objects.len(), 1, "only the question names an object");
    assert_eq!(records[1].label_text.as_deref(), Some("[MASK]."));
    set.shift(&Kind::KeepTop { keep: 1, scores }, "keep").unwrap();
    let records = set.records("keep");
    assert_eq!(choices(&records[0]), ["Bo [MASK] [MASK]", "it [MASK].", "no.", "yes."]);
    assert_eq!(records[1].texts[0].text, "Why is Al here? Bo [MASK] [MASK] [MASK] Cy.");

    let bad = set.scores(&[("a:qa", 0, 3, 6, 0.5)]);
    let error = set.shift(&Kind::RemoveTop1 { scores: bad }, "bad").unwrap_err();
    assert!(matches!(error, Error::BadScore { candidate: 0, .. }), "{error}");
    let few = set.scores(&[("a:qa", 0, 16, 18, 0.5)]);
    let error = set.shift(&Kind::RemoveTop1 { scores: few }, "few").unwrap_err();
    assert!(error.to_string().contains("2 dropped: a choice without scores"), "{error}");
}

fn hypothesis(id: usize, words: &str, class: u32) -> Record<'static> {
    let label = ["entailment", "neutral", "contradiction"][class as usize];
    Record { label_text: Some(label.into()), ..record(&id.to_string(), tasks::SNLI_VE, vec![told(&[words])], class) }
}

#[test]
fn the_hard_subset_is_what_the_text_alone_does_not_tell() {
    let usual = (0..40).map(|id| match id % 2 {
        0 => hypothesis(id, "nobody is here", 2),
        _ => hypothesis(id, "a man is outside", 0),
    });
    let unusual = [hypothesis(40, "nobody is here", 0), hypothesis(41, "a man is outside", 2)];
    // Words that a classifier knows only if it saw this very sample.
    let alone = hypothesis(42, "zebra stripes", 1);
    let set = Set::of(vec![usual.chain(unusual).chain([alone]).collect()]);
    let report = set.shift(&Kind::Hard { folds: 5, seed: 3 }, "hard").unwrap().remove(0);
    let ids: Vec<String> = set.records("hard").iter().map(|record| record.id.to_string()).collect();
    assert_eq!(ids, ["40", "41", "42"]);
    assert_eq!(report.shares["accuracy of the text alone"], 0.9302);
    assert_eq!(report.shares["share of the commonest class"], 0.4884);
}

/// Predictions of samples by their ids, with scores.
fn predictions(set: &Set, rows: &[(&str, Option<f32>)]) -> PathBuf {
    use retort_schemas::runs::predictions as names;
    let path = set.folder.path().join("predictions.parquet");
    let schema = names::schema();
    let column = |field: &Arc<arrow::datatypes::Field>| -> arrow::array::ArrayRef {
        match field.name().as_str() {
            names::SAMPLE_ID => Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0))),
            names::SCORE => Arc::new(Float32Array::from_iter(rows.iter().map(|row| row.1))),
            names::CONFIDENCE => Arc::new(Float32Array::from(vec![0.5; rows.len()])),
            names::ROW => Arc::new(UInt32Array::from(vec![0; rows.len()])),
            names::SCORES => arrow::array::new_null_array(field.data_type(), rows.len()),
            _ => Arc::new(StringArray::from(vec![""; rows.len()])),
        }
    };
    let batch = RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect());
    retort_cache::write_plain_table(&path, &batch.unwrap()).unwrap();
    path
}

#[test]
fn the_hard_subset_by_predictions_is_what_they_get_wrong() {
    let set = Set::of(vec![(0..4).map(|id| hypothesis(id, "a man", 0)).collect()]);
    let rows = [("2", Some(0.0)), ("0", Some(1.0)), ("1", None), ("9", Some(0.0))];
    let by = Kind::HardBy { predictions: predictions(&set, &rows) };
    let report = set.shift(&by, "hard").unwrap().remove(0);
    let ids: Vec<String> = set.records("hard").iter().map(|record| record.id.to_string()).collect();
    assert_eq!(ids, ["2"]);
    let dropped = ["predicted right", "no label", "not in the predictions"];
    assert_eq!(dropped.map(|why| report.counts[&format!("dropped: {why}")]), [1, 1, 1]);
    assert_eq!(report.shares["share predicted right"], 0.5);
    // Other predictions are another split.
    predictions(&set, &[("0", Some(0.0))]);
    assert!(matches!(set.shift(&by, "hard"), Err(Error::NotShiftable { .. } | Error::Cache(_))));
}

#[test]
fn labels_are_corrected_by_pair_id() {
    let set = Set::of(vec![(0..3).map(|id| hypothesis(id, "a man", 0)).collect()]);
    let pairs = set.folder.path().join("pairs.csv");
    let lines = ["pairID,hypothesis,gold_label", "0,a man,entailment", "2,a man,neutral", "2,a man,entailment"];
    std::fs::write(&pairs, [&lines[..], &["9,a man,neutral"]].concat().join("\n")).unwrap();
    let report = set.shift(&Kind::Relabel { pairs: vec![pairs] }, "new").unwrap().remove(0);
    let told: Vec<_> = set.records("new").iter().map(|record| (record.id.to_string(), record.label)).collect();
    assert_eq!(told, [("0".to_owned(), Some(0)), ("2".to_owned(), Some(1))]);
    assert_eq!(strings(&set.table("new", 0, samples::NAME), samples::CHANGE)[1], "label entailment -> neutral");
    let counted = |name: &str| report.counts[name];
    assert_eq!((counted("labels changed"), counted("dropped: not in the files"), counted("samples")), (1, 1, 2));
    assert_eq!(counted("pairs of the files that are not in the split"), 1);
}

#[test]
fn priors_differ_and_no_image_is_in_both() {
    let question = |id: usize| {
        let answer = ["red", "red", "blue", "green"][id % 4];
        let base = record(&id.to_string(), tasks::VQA, vec![told(&["what color is it?"])], 0);
        Record { label_text: Some(answer.into()), question_type: Some("what color".into()), ..base }
    };
    let set = Set::of(vec![(0..40).map(question).collect(), (40..80).map(question).collect()]);
    let kind = Kind::Prior { share: 0.5, seed: 1, strict: true };
    let reports = set.shift(&kind, "cp").unwrap();
    let split = |name: &str| -> [std::collections::BTreeSet<Vec<u8>>; 2] {
        let rows = set.rows(name);
        let all = || rows.iter().flat_map(ShardRows::samples);
        let answers = all().map(|sample| sample.record.label_text.as_deref().unwrap().as_bytes().to_vec()).collect();
        [all().map(|sample| sample.group.to_vec()).collect(), answers]
    };
    let ([train, train_answers], [test, test_answers]) = (split("cp-train"), split("cp-test"));
    assert!(train.is_disjoint(&test) && train_answers.is_disjoint(&test_answers));
    assert_eq!((reports[0].samples, reports[1].samples), (40, 40));
    let [types] = &reports[0].question_types[..] else { panic!("{reports:?}") };
    assert_eq!((types.after, types.samples), (1.0, 80));
    assert!(types.before < 0.5, "{types:?}");
    assert_eq!(set.shift(&kind, "cp").unwrap().iter().filter(|report| report.skipped_already).count(), 2);
}

#[test]
fn real_pairs_are_relabelled_and_the_text_alone_tells_many() -> Result<()> {
    use crate::sources::fixture::Fixture;
    let Some(data) = crate::sources::testing::shared_data("flickr8k_snlive") else { return Ok(()) };
    let fixture = Fixture::with_photos(&[]);
    let files = crate::SnliVeFiles {
        pairs: vec![data.join("snli_ve_dev.jsonl")],
        images: data.join("images"),
        part: crate::SnliVePart::All,
        id_map: Some(data.join("flickr30k_id_map.csv")),
    };
    fixture.ingest(&crate::SnliVe::open(&files)?, "dev")?;
    let run = |kind: &Kind, to: &str| {
        shift(kind, &fixture.out(), [&["dev".to_owned()], &[to.to_owned()]], false, &Quiet, &Interrupt::default())
    };
    let corrected = run(&Kind::Relabel { pairs: vec![data.join("esnlive_dev.csv")] }, "corrected")?.remove(0);
    // Both files hold the same labels of these pairs.
    assert_eq!((corrected.samples, corrected.counts.get("labels changed")), (3_217, None));
    let hard = run(&Kind::Hard { folds: 5, seed: 0 }, "hard")?.remove(0);
    let [accuracy, chance] =
        ["accuracy of the text alone", "share of the commonest class"].map(|name| hard.shares[name]);
    assert_eq!(hard.samples, 3_217 - hard.counts["dropped: told from the text alone"]);
    assert!(accuracy > chance + 0.1, "{accuracy} {chance}");
    println!("text alone: {accuracy}, commonest class: {chance}");
    Ok(())
}
