//! Real questions and photographs, which are not part of the project: without them these tests say so and pass.

use super::*;
use crate::formats::json::SourceFile;
use crate::sources::testing::shared_data;
use crate::sources::vqa::records::Annotations;
use crate::vocabulary::Vocabulary;

#[test]
fn official_files_with_their_photos() -> Result<()> {
    let Some(data) = shared_data("coco_vqa") else { return Ok(()) };
    let fixture = Fixture::empty();
    let source = VqaSource {
        questions: data.join("v2_OpenEnded_mscoco_train2014_questions.json"),
        annotations: Some(data.join("v2_mscoco_train2014_annotations.json")),
        images: data,
        answers: AnswerPlan::Build { min_count: 2 },
        shard_images: 20,
        ..fixture.source()
    };
    let report = fixture.ingest(&source)?;
    assert_eq!((report.samples, report.images, report.shards, report.rejected()), (73, 48, 3, 0));
    let dataset = Dataset::open(&fixture.out())?;
    assert_eq!(dataset.answers()?.answers[..4], ["yes", "no", "3", "1"]);
    let table = fixture.table(0, samples::NAME);
    assert_eq!(strings(&table, samples::SAMPLE_ID)[0], "446001");
    assert_eq!(numbers(&table, samples::LABEL)[0], Some(0));
    assert_eq!(targets(&table)[0], [(0, 1.0)]);
    assert_eq!(numbers(&fixture.table(0, images::NAME), images::WIDTH), [Some(224); 20]);
    Ok(())
}

#[test]
fn vocabularies_of_sixty_thousand_real_questions() -> Result<()> {
    let Some(data) = shared_data("coco_vqa/vqa_v2_60k") else { return Ok(()) };
    let read = |part: &str| SourceFile::read(&data.join(format!("vqa_annotatons_{part}.gzip")));
    let parts = [read("train")?, read("valid")?, read("test")?];
    let truths = |part| Annotations::parse(part).map(|annotations| annotations.truths());
    let truths = parts.iter().map(truths).collect::<Result<Vec<_>>>()?;
    let all = || truths.iter().flatten().map(AsRef::as_ref);
    let classes = |truths: &mut dyn Iterator<Item = &str>, min_count: usize| {
        Vocabulary::build(&parts[0], "train", truths, min_count).map(|vocabulary| vocabulary.stored.answers.len())
    };
    assert_eq!(all().count(), 60_000);
    assert_eq!(classes(&mut all(), 1)?, 5_677);
    assert_eq!(classes(&mut all(), 9)?, 433);
    assert_eq!(classes(&mut truths[0].iter().map(AsRef::as_ref), 9)?, 353);
    Ok(())
}

#[test]
fn published_vocabularies_hold_the_same_answers_in_other_orders() -> Result<()> {
    let Some(data) = shared_data("vqa_answer_vocab") else { return Ok(()) };
    let load = |name: &str| SourceFile::read(&data.join(name)).and_then(|file| Vocabulary::load(&file));
    let uniter = load("uniter_ans2label.json")?.stored;
    let lxmert = load("lxmert_trainval_ans2label.json")?.stored;
    assert_eq!(uniter.answers.len(), 3_129);
    assert_ne!(uniter.hash, lxmert.hash);
    // The list and the numbering of one publication are the same vocabulary.
    assert_eq!(load("lxmert_trainval_label2ans.json")?.stored.hash, lxmert.hash);
    Ok(())
}
