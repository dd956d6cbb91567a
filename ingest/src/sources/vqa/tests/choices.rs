//! Parts of a split, splits anew, and what is said before anything is written.

use super::*;
use crate::{Selection, dry_run};

fn vqa(fixture: &Fixture) -> Result<Vqa> {
    let VqaSource { questions, annotations, images, image_pattern, answers, .. } = fixture.source();
    Vqa::open(&VqaFiles { questions, annotations, images, image_pattern, answers })
}

fn options(shard_images: usize, selection: Selection) -> Options {
    Options { shard_images, selection, ..Options::new("train") }
}

/// The ids of the samples that a selection leaves.
fn chosen(fixture: &Fixture, selection: Selection) -> Result<Vec<String>> {
    let out = tempfile::tempdir().unwrap();
    ingest(&vqa(fixture)?, &options(1024, selection), out.path(), &Quiet, &Interrupt::default())?;
    let dataset = Dataset::open(out.path())?;
    let ids = dataset.shards().map(|shard| {
        let samples = dataset.read(&shard.unwrap(), samples::NAME, Columns::All).unwrap();
        strings(&samples, samples::SAMPLE_ID)
    });
    Ok(ids.flatten().collect())
}

#[test]
fn a_limit_takes_the_first_images_with_all_their_questions() -> Result<()> {
    let fixture = Fixture::small();
    let limit = |images| Selection { limit: Some(images), ..Selection::default() };
    assert_eq!(chosen(&fixture, limit(1))?, ["10", "11", "12"]);
    assert_eq!(chosen(&fixture, limit(2))?, ["10", "11", "12", "20"]);
    assert_eq!(chosen(&fixture, limit(9))?, ["10", "11", "12", "20"]);
    Ok(())
}

#[test]
fn a_sample_is_drawn_by_image_and_a_limit_counts_what_is_drawn() -> Result<()> {
    let fixture = Fixture::wide(40);
    let drawn = |share, limit| chosen(&fixture, Selection { share: Some(share), limit, seed: 3 });
    let half = drawn(0.5, None)?;
    assert!((10..30).contains(&half.len()), "{half:?}");
    assert_eq!(drawn(0.5, Some(4))?, half[..4]);
    let quarter = drawn(0.25, None)?;
    assert!(quarter.len() < half.len() && quarter.iter().all(|id| half.contains(id)), "{quarter:?} of {half:?}");
    Ok(())
}

#[test]
fn a_dry_run_counts_what_an_ingest_would_write_and_writes_nothing() -> Result<()> {
    let fixture = Fixture::small();
    let mut annotations: Vec<Value> = [10, 11, 20].map(|id| annotation(id, "yes", &["yes"; 10])).into();
    annotations.push(annotation(99, "no", &["no"; 10]));
    fixture.annotations(annotations.into());
    let options = options(1, Selection::default());
    let said = dry_run(&vqa(&fixture)?, &options, &fixture.out())?;
    assert!(!fixture.out().exists());
    assert_eq!((said.shards, said.images, said.samples, said.shards_there), (2, 2, 3, 0));
    assert_eq!(said.classes, Some(2));
    let rejects = [("annotation_without_question", 1), ("no_annotation", 1)];
    assert_eq!(said.rejects, rejects.map(|(code, count)| (code.to_owned(), count)).into());
    assert_eq!(said.reads, ["q.json", "a.json", "images"].map(|name| fixture.path(name)));

    let report = ingest(&vqa(&fixture)?, &options, &fixture.out(), &Quiet, &Interrupt::default())?;
    assert_eq!((report.shards, report.images, report.samples), (said.shards, said.images, said.samples));
    assert_eq!(report.rejects, said.rejects);
    assert_eq!(dry_run(&vqa(&fixture)?, &options, &fixture.out())?.shards_there, 2);
    Ok(())
}

#[test]
fn force_replaces_a_split_and_nothing_else() -> Result<()> {
    let fixture = Fixture::wide(4);
    let run = |split: &str, limit, force| {
        let selection = Selection { limit, ..Selection::default() };
        let options = Options { shard_images: 2, selection, force, ..Options::new(split) };
        ingest(&vqa(&fixture)?, &options, &fixture.out(), &Quiet, &Interrupt::default())
    };
    run("train", None, false)?;
    run("val", None, false)?;
    let before = files(&fixture.out());
    let error = run("train", Some(2), false).unwrap_err();
    assert!(matches!(error, Error::Cache(retort_cache::Error::SplitExists { .. })), "{error}");
    assert_eq!(files(&fixture.out()), before);

    let report = run("train", Some(2), true)?;
    assert_eq!((report.shards, report.samples, report.skipped_already), (1, 2, false));
    let after = files(&fixture.out());
    let gone: Vec<_> = before.keys().filter(|path| !after.contains_key(*path)).collect();
    assert_eq!(gone.len(), 4, "the second shard of train: {gone:?}");
    let of_val = |(path, _): &(&PathBuf, &Vec<u8>)| path.to_string_lossy().contains("val-");
    assert_eq!(after.iter().filter(of_val).collect::<Vec<_>>(), before.iter().filter(of_val).collect::<Vec<_>>());
    let verdict = retort_cache::verify(&fixture.out(), &Quiet, &Interrupt::default())?;
    assert!(verdict.damages.is_empty(), "{verdict:?}");
    Ok(())
}
